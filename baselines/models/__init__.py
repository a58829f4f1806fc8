"""The models by name: `MODELS[name]` is the module baselines/models/NAME.py. See contract.py for what the file holds.

A file is imported and held to the contract when it is first asked for, so that a broken one stops no other model.
"""

from collections.abc import Iterator, Mapping
from pkgutil import iter_modules
from types import ModuleType

from baselines.models.contract import load


class Models(Mapping):
    """Name -> module of every file here that is not a test. An access raises Broken for a file that is broken."""

    def __init__(self, names: list[str]):
        self._modules: dict[str, ModuleType | None] = dict.fromkeys(names)

    def __getitem__(self, name: str) -> ModuleType:
        if self._modules[name] is None:
            self._modules[name] = load(f"{__name__}.{name}")
        return self._modules[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __len__(self) -> int:
        return len(self._modules)

    def __contains__(self, name: object) -> bool:  # a Mapping would load the file, and take its fault for an absence
        return name in self._modules


MODELS = Models([file.name for file in iter_modules(__path__)
                 if file.name != "contract" and not file.name.startswith("test_")])
