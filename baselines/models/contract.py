'''What a model's file defines, checked when the file is first asked for.

    Generator(resolution, classes, **recipe.generator)
        .latent           the size of z, a whole number
        forward(z, y)     latents [N, latent] and labels [N] -> images [N, 3, resolution, resolution]
    Discriminator(resolution, classes, **recipe.discriminator)
        forward(x, y)     images and labels [N] -> logits [N], twice differentiable
        .joint            of the class: whether real and generated images may go through it as one batch. True unless it
                          is given; False with batch norm, whose statistics must not mix the two
    RECIPES               name -> baselines.recipe.Recipe, the first of those for a size is that size's default

`resolution` is any size that a recipe names, of baselines.recipe.SIZES. `classes` is 0 for a model that does not see
labels, which must then ignore y; otherwise images and logits depend on y. Both networks take a `width` that multiplies
their channels, 1 as published, and each recipe gives it. The loss reaches every parameter. The smallest whole model:

    import torch
    from torch import Tensor, nn

    from baselines.recipe import Recipe


    class Generator(nn.Module):
        latent = 16

        def __init__(self, resolution: int, classes: int, width: float = 1.0):
            super().__init__()
            hidden = round(64 * width)
            self.embed = nn.Embedding(classes, 16) if classes else None
            self.net = nn.Sequential(nn.Linear(16, hidden), nn.ReLU(), nn.Linear(hidden, 3 * resolution**2), nn.Tanh(),
                                     nn.Unflatten(1, (3, resolution, resolution)))

        def forward(self, z: Tensor, y: Tensor) -> Tensor:
            return self.net(z if self.embed is None else z + self.embed(y))


    class Discriminator(nn.Module):
        def __init__(self, resolution: int, classes: int, width: float = 1.0):
            super().__init__()
            hidden = round(64 * width)
            self.features = nn.Sequential(nn.Flatten(), nn.Linear(3 * resolution**2, hidden), nn.Softplus())
            self.out = nn.Linear(hidden, max(1, classes))

        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            logits = self.out(self.features(x))
            return logits[:, 0] if logits.shape[1] == 1 else logits[torch.arange(len(y)), y]


    RECIPES = {"mine": Recipe(source="where its hyperparameters were published, or: ours", resolutions=(32, 64))}
'''

from importlib import import_module
from types import ModuleType

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from baselines.contract import Broken, attempt
from baselines.losses import LOSSES
from baselines.recipe import SIZES, Recipe
from baselines.regularizers import REGULARIZERS

BATCH, CLASSES, THIN = 8, 3, 1 / 32


def load(module: str) -> ModuleType:
    """Import a model's file and hold it to the contract, at the smallest of its sizes. Raises Broken."""
    path = module.replace(".", "/") + ".py"
    try:
        model = attempt("does not run", lambda: import_module(module))
        check_definitions(model)
        check_recipes(model)
        if not hasattr(model.Discriminator, "joint"):
            model.Discriminator.joint = True
        recipe, resolution = smallest(model)
        for classes in (0, CLASSES):
            check_networks(model, recipe, resolution, classes)
    except Broken as error:
        raise Broken(f"{path}: {error}") from error
    return model


def check_definitions(model: ModuleType) -> None:
    """Generator, Discriminator and RECIPES, each of its kind."""
    for name in ("Generator", "Discriminator"):
        network = getattr(model, name, None)
        if not isinstance(network, type) or not issubclass(network, nn.Module):
            raise Broken(f"must define {name}, a subclass of torch.nn.Module")
    recipes = getattr(model, "RECIPES", None)
    if not isinstance(recipes, dict) or not recipes:
        raise Broken("must define RECIPES, a dict of at least one name -> baselines.recipe.Recipe")
    for name, recipe in recipes.items():
        if not isinstance(recipe, Recipe):
            raise Broken(f"RECIPES[{name!r}] is a {type(recipe).__name__}, must be a baselines.recipe.Recipe")


def check_recipes(model: ModuleType) -> None:
    """Losses, regularizers and sizes that exist, a source, and a width for both networks."""
    for name, recipe in model.RECIPES.items():
        where = f"RECIPES[{name!r}]"
        if recipe.loss not in LOSSES:
            raise Broken(f"{where}: loss {recipe.loss!r} is not one of {', '.join(LOSSES)}")
        for regularizer in recipe.regularizers:
            if regularizer not in REGULARIZERS:
                raise Broken(f"{where}: regularizer {regularizer!r} is not one of {', '.join(REGULARIZERS)}")
        for size in recipe.resolutions:
            if size not in SIZES:
                raise Broken(f"{where}: resolution {size!r} is not one of {', '.join(map(str, SIZES))}")
        for part in ("generator", "discriminator"):
            if "width" not in getattr(recipe, part):
                raise Broken(f"{where}: {part} must give a width")
        if not recipe.source:
            raise Broken(f"{where}: source must say where the hyperparameters were published")
    if not any(recipe.resolutions for recipe in model.RECIPES.values()):
        raise Broken("no recipe in RECIPES is for any resolution")


def smallest(model: ModuleType) -> tuple[Recipe, int]:
    """The recipe of the smallest size, and that size."""
    sizes = []
    for recipe in model.RECIPES.values():
        sizes += recipe.resolutions
    resolution = min(sizes)
    return next(recipe for recipe in model.RECIPES.values() if resolution in recipe.resolutions), resolution


def check_networks(model: ModuleType, recipe: Recipe, resolution: int, classes: int) -> None:
    """Build thin networks on the CPU and run them once, forward and backward. torch's random state stays as it was."""
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.manual_seed(0)
        arguments = f"(resolution={resolution}, classes={classes}, width={THIN})"
        thin = {"width": THIN}
        G = attempt(f"Generator{arguments} failed",
                    lambda: model.Generator(resolution, classes, **recipe.generator | thin))
        D = attempt(f"Discriminator{arguments} failed",
                    lambda: model.Discriminator(resolution, classes, **recipe.discriminator | thin))
        latent = getattr(G, "latent", None)
        if not isinstance(latent, int) or latent < 1:
            raise Broken(f"Generator.latent is {latent!r}, must be the size of z, a whole number")
        if not isinstance(D.joint, bool):
            raise Broken(f"Discriminator.joint is {D.joint!r}, must be True or False")
        if D.joint and any(isinstance(module, _BatchNorm) for module in D.modules()):
            raise Broken("Discriminator has batch norm, and so must say joint = False")
        y = torch.arange(BATCH)  # which a network without classes has to ignore, whatever they are
        if classes:
            y = y % classes
        z = torch.randn(BATCH, latent)
        x = attempt("Generator.forward(z, y) failed", lambda: G(z, y))
        check_output("Generator.forward(z, y)", x, (BATCH, 3, resolution, resolution))
        logits = attempt("Discriminator.forward(x, y) failed", lambda: D(x, y))
        check_output("Discriminator.forward(x, y)", logits, (BATCH,))
        check_gradients(G, D, x.detach(), y, logits)
        if classes:
            check_labels(G, D, z, x.detach())


def check_output(what: str, value: object, shape: tuple[int, ...]) -> None:
    """A finite tensor of the shape."""
    if not isinstance(value, Tensor):
        raise Broken(f"{what} returned a {type(value).__name__}, must return a tensor")
    if value.shape != shape:
        raise Broken(f"{what} returned a tensor of shape {list(value.shape)}, must be {list(shape)}")
    if not value.isfinite().all():
        raise Broken(f"{what} returned numbers that are not finite")


def check_gradients(G: nn.Module, D: nn.Module, x: Tensor, y: Tensor, logits: Tensor) -> None:
    """The loss reaches every parameter, and the norm of D's gradient by its input can be differentiated."""
    attempt("the backward pass of both networks failed", lambda: logits.sum().backward())
    for name, network in (("Generator", G), ("Discriminator", D)):
        for key, parameter in network.named_parameters():
            if parameter.requires_grad and parameter.grad is None:
                raise Broken(f"{name}.{key} gets no gradient from the loss")

    def penalise() -> None:
        images = x.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(D(images, y).sum(), images, create_graph=True)
        gradient.square().sum().backward()

    attempt("Discriminator cannot be differentiated twice", penalise)


@torch.no_grad()
def check_labels(G: nn.Module, D: nn.Module, z: Tensor, x: Tensor) -> None:
    """Other labels give other images and logits, once the parameters have left their first values."""
    for network in (G, D):
        for parameter in network.parameters():  # tables of labels may begin at constants
            parameter.add_(0.05 * torch.randn_like(parameter))
    zeros = torch.zeros(BATCH, dtype=torch.long)
    for name, network, inputs in (("Generator", G.eval(), z), ("Discriminator", D.eval(), x)):
        outputs = []
        for y in (zeros, zeros + 1):
            torch.manual_seed(1)  # of the noise that a network may draw
            outputs.append(network(inputs, y))
        if torch.equal(*outputs):
            raise Broken(f"{name} ignores its labels where there are classes")
