"""What the names in a run id stand for: the model's module, its recipe with the run's overrides, its method."""

import math
from collections.abc import Iterable
from dataclasses import replace
from types import ModuleType

from baselines.augment import AUGMENTATIONS
from baselines.contract import Broken
from baselines.models import MODELS
from baselines.recipe import LIMITS, Recipe
from baselines.regularizers import REGULARIZERS
from benchmarks.runs import InputError, Run

ANY = (-math.inf, math.inf)  # the limits of what has none
HELDOUT = "heldout"  # the model of runs that score held-out real images and train nothing


def model_of(run: Run) -> ModuleType:
    """The model's module. Raises InputError for a model that does not exist, or whose file is broken."""
    _require("model", run.model, MODELS)
    try:
        return MODELS[run.model]
    except Broken as error:
        raise InputError(f"model {run.model!r}: {error}") from error


def resolve(run: Run) -> tuple[ModuleType, Recipe]:
    """The model's module and its recipe with the run's overrides. Raises InputError for a name that does not exist,
    a value that is not allowed, or a batch that minibatch standard deviation cannot divide into groups.
    """
    model, override = model_of(run), dict(run.override)
    name = override.pop("recipe", "") or _default_recipe(model, run.resolution)
    _require("recipe", name, model.RECIPES)
    recipe = _overridden(model.RECIPES[name], override)
    if run.batch % recipe.group:  # else a group of the joint batch would mix real and generated images
        raise InputError(f"batch {run.batch}: must be a multiple of mbstd_group = {recipe.group}, the images that "
                         f"{run.model}'s minibatch standard deviation compares")
    return model, recipe


def _default_recipe(model: ModuleType, resolution: int) -> str:
    """The name of the model's first recipe for a resolution."""
    _require("resolution", resolution, resolutions(model))
    return next(name for name, recipe in model.RECIPES.items() if resolution in recipe.resolutions)


def resolutions(model: ModuleType) -> list[int]:
    """The image sizes in pixels for which a model has a recipe."""
    sizes = set()
    for recipe in model.RECIPES.values():
        sizes.update(recipe.resolutions)
    return sorted(sizes)


def _overridden(recipe: Recipe, override: dict) -> Recipe:
    """A recipe with other values of its numbers and of its networks' options."""
    numbers = {name: value for name, value in vars(recipe).items() if isinstance(value, int | float)}
    generator, discriminator = dict(recipe.generator), dict(recipe.discriminator)
    published = {**discriminator, **generator, **numbers}
    for name, value in override.items():
        _require("override", name, sorted(published))
        _require_kind(published[name], name, value)
        _require_within_limits(name, value)
        for options in (numbers, generator, discriminator):
            if name in options:
                options[name] = value
    return replace(recipe, **numbers, generator=generator, discriminator=discriminator)


def _require_kind(published: float, name: str, value: float | str) -> None:
    """Raises InputError where the value is not of the kind that the published one is."""
    if isinstance(value, str):
        raise InputError(f"override {name} {value!r}: must be a number")
    if isinstance(published, str):
        raise InputError(f"override {name} {value}: is a word in the recipe, so give another recipe")
    if isinstance(published, bool) and value not in (0, 1):
        raise InputError(f"override {name} {value}: must be 0 or 1")
    if isinstance(published, int) and value != int(value):
        raise InputError(f"override {name} {value}: must be a whole number")


def _require_within_limits(name: str, value: float) -> None:
    low, high = LIMITS.get(name, ANY)
    least = f"above {low:g}"
    if low < 0:  # just below, so that 0 itself is valid
        least = "at least 0"
    if not low < value <= high:
        raise InputError(f"override {name} {value}: must be {least} and at most {high:g}")


def require_method(run: Run) -> None:
    """Raises InputError for a regularizer or an augmentation that does not exist, or not for the run's model."""
    for name in run.regularizers:
        _require("regularizer", name, REGULARIZERS)
        if REGULARIZERS[name]().of == "G" and not hasattr(model_of(run).Generator, "mapping"):
            raise InputError(f"regularizer {name!r}: needs a generator with a mapping to styles, which {run.model} has "
                             "not")
    if run.augment:
        _require("augmentation", run.augment, filter(None, AUGMENTATIONS))


def method_files(run: Run) -> dict[str, str]:
    """The sha256 of the file of each regularizer that comes from a user's file."""
    digests = {name: REGULARIZERS[name]().sha256 for name in run.regularizers}
    return {name: digest for name, digest in digests.items() if digest}


def _require(kind: str, name: object, known: Iterable) -> None:
    known = list(known)
    if name not in known:
        raise InputError(f"{kind} {name!r}: not one of {', '.join(map(str, known))}")
