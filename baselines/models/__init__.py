"""The models by name. A file here is a member when it defines Generator, Discriminator and RECIPES (see dcgan.py)."""

from importlib import import_module
from pkgutil import iter_modules

MODELS = {file.name: import_module(f"{__name__}.{file.name}")
          for file in iter_modules(__path__) if not file.name.startswith("test_")}
