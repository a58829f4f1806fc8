"""What every regularizer must hold, and the way in for one from a user's own file, which is held to it first.

The tests hold every registered member to the same functions.
"""

import copy
import hashlib
import re
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import torch
from torch import Tensor, nn

from baselines.regularizers import REGULARIZERS, Regularizer, Training
from baselines.scoring import Drawer, Scorer

BATCH, SHAPE = 5, (3, 8, 8)
TRAINING = Training(BATCH, d_steps=1, iterations=2000)


class Broken(ValueError):
    """A regularizer, or a model's file, that does not hold its contract: one line that names the fault."""


def register(path: Path) -> str:
    """Put the regularizer of a user's file into REGULARIZERS and return its name, the file's without ".py".

    Raises Broken for a file that does not run, or whose regularizer does not hold the contract.
    """
    name = path.stem
    if not re.fullmatch("[a-z][a-z0-9_]*", name):
        raise Broken("the file's name goes into run ids: lower-case letters, digits and _, first a letter")
    if name in REGULARIZERS and not REGULARIZERS[name]().sha256:
        raise Broken(f"{name} is a regularizer already; give the file another name")
    if name in ("loss_d", "loss_g") or hasattr(nn.ModuleDict(), name):
        raise Broken(f"{name} has another meaning in a trainer; give the file another name")
    member = _load(path)
    check(member)
    member.sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    REGULARIZERS[name] = member
    return name


def _load(path: Path) -> type[Regularizer]:
    """The one subclass of Regularizer that a file defines."""
    spec = spec_from_file_location(path.stem, path)
    module = module_from_spec(spec)
    attempt("does not run", lambda: spec.loader.exec_module(module))
    found = [value for value in vars(module).values() if isinstance(value, type) and issubclass(value, Regularizer)
             and value.__module__ == module.__name__]
    if len(found) != 1:
        raise Broken(f"defines {len(found)} subclasses of baselines.regularizers.Regularizer; it must define one")
    return found[0]


def attempt(what: str, work: Callable[[], object]) -> object:
    """What the work returns. Raises Broken in one line for whatever goes wrong in a stranger's code."""
    try:
        return work()
    except (Exception, SystemExit) as error:
        raise Broken(f"{what}: {first_line(error)}") from error


def first_line(error: BaseException) -> str:
    """Type and message of an error, as in the last line of a traceback."""
    return f"{type(error).__name__}: {str(error).strip()}".splitlines()[0]


def check(make: Callable[[], Regularizer]) -> None:
    """Hold a regularizer to the contract, on a small network. Raises Broken. torch's random state stays as it was."""
    with torch.random.fork_rng(devices=[]):  # all of it is on the CPU
        torch.manual_seed(0)
        regularizer = attempt("cannot be made without arguments", make)
        check_settings(regularizer)
        attempt("begin failed", lambda: regularizer.begin(TRAINING))
        network = NETWORKS[regularizer.of]()
        check_value(regularizer, network)
        check_state(make, network)


def check_settings(regularizer: Regularizer) -> None:
    """Of a network that exists, at a whole interval and a weight of more than 0."""
    weight, interval = regularizer.default_weight, regularizer.interval
    if regularizer.of not in NETWORKS:
        raise Broken(f'of is {regularizer.of!r}; it must be "D" or "G"')
    if not isinstance(interval, int) or interval < 1:
        raise Broken(f"interval is {interval!r}; it must be a whole number of at least 1")
    if not isinstance(weight, int | float) or not 0 < weight <= 1e38:
        raise Broken("default_weight must be a number above 0 and at most 1e38")


def check_value(regularizer: Regularizer, network: nn.Module) -> None:
    """A finite scalar whose gradient reaches the parameters of its network, and is finite."""
    for update in range(regularizer.starts_after * TRAINING.d_steps + 1):
        value = penalise(regularizer, network, update)
    if not isinstance(value, Tensor) or value.shape != ():
        got = f"a tensor of shape {list(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
        raise Broken(f"forward returned {got}; it must return a scalar tensor (shape [])")
    if not value.is_floating_point():
        raise Broken(f"forward returned a scalar of {value.dtype}; it must return a real number")
    if not value.isfinite():
        raise Broken(f"forward returned {value.item()}; it must return a finite number")
    gradients = parameter_gradients(value, network)
    if not any(gradient.any() for gradient in gradients):
        raise Broken(f"no gradient reaches the parameters of {regularizer.of}")
    if not all(gradient.isfinite().all() for gradient in gradients):
        raise Broken(f"its gradient by the parameters of {regularizer.of} is not finite")


def check_state(make: Callable[[], Regularizer], network: nn.Module) -> None:
    """Whoever goes on from the state_dict computes the same bits as who never stopped."""
    regularizer, again = make(), make()
    for member in (regularizer, again):
        member.begin(TRAINING)
    for update in range(4):
        penalise(regularizer, network, update)
    again.load_state_dict(copy.deepcopy(regularizer.state_dict()))
    for update in range(4, 7):
        if not torch.equal(*(penalise(member, network, update) for member in (regularizer, again))):
            raise Broken("does not continue exactly from its state_dict; what it remembers must be in buffers")


def parameter_gradients(value: Tensor, network: nn.Module) -> list[Tensor]:
    """By all parameters, 0 where the value does not depend on one; [] where it depends on none."""
    if not value.requires_grad:
        return []
    return list(torch.autograd.grad(value, [*network.parameters()], materialize_grads=True))


def penalise(regularizer: Regularizer, network: nn.Module, update: int) -> Tensor:
    """The regularizer's value at random images or latents, keyed on the update."""
    torch.manual_seed(update)
    y = torch.zeros(BATCH, dtype=torch.long)
    if regularizer.of == "G":
        z = torch.randn(BATCH, network.latent)
        return attempt("forward(G, z, y) failed", lambda: regularizer(Drawer(network), z, y))
    D = Scorer(network)
    images = torch.randn(BATCH, *SHAPE), y, torch.randn(BATCH, *SHAPE), y
    real, fake = D.pair(*images, gradient=regularizer.uses_gradients)
    return attempt("forward(D, real, fake) failed", lambda: regularizer(D, real, fake))


class Discriminator(nn.Module):
    """The smallest network whose gradient norms are neither constant nor a closed form."""

    joint = True

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.LeakyReLU(0.2), nn.Flatten(), nn.Linear(72, 16),
                                 nn.Softplus(), nn.Linear(16, 1))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.net(x).squeeze(1)


class Generator(nn.Module):
    """A mapping to two layers' styles and a synthesis from them, as StyleGAN2 has."""

    latent = 4

    def __init__(self):
        super().__init__()
        self.style, self.image = nn.Linear(4, 2 * 6), nn.Linear(2 * 6, 3 * 8 * 8)

    def mapping(self, z: Tensor, y: Tensor) -> Tensor:
        return self.style(z).tanh().unflatten(1, (2, 6))

    def synthesis(self, ws: Tensor) -> Tensor:
        return self.image(ws.flatten(1)).tanh().unflatten(1, SHAPE)

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        return self.synthesis(self.mapping(z, y))


NETWORKS = {"D": Discriminator, "G": Generator}
