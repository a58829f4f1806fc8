"""A trained generator: its file, its network, and the images that it draws."""

import hashlib
import io
import json
import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torchvision.utils import make_grid

from benchmarks.runs import InputError, Run
from benchmarks.state import parsed
from reproduce import names
from reproduce.record import write_bytes

BATCH = 32  # images generated at a time


class Trained(NamedTuple):
    """A generator as it lies on disk."""

    state: dict[str, Tensor]
    iteration: int
    sha256: str  # of the file


def write(path: Path, G: nn.Module, run: Run, iteration: int) -> None:
    """Write weights as safetensors. One entry of the header says whose: several would come in random order."""
    state = {name: tensor.cpu().contiguous() for name, tensor in G.state_dict().items()}
    about = {"run": run.id, "iteration": iteration, "sha256": state_sha256(state, run.id, iteration)}
    write_bytes(path, save(state, {"trained": json.dumps(about)}))


def state_sha256(state: dict[str, Tensor], run_id: str, iteration: int) -> str:
    """sha256 over all that a generator's file tells: a flipped bit in it is noticed when it is read."""
    digest = hashlib.sha256(f"{run_id} {iteration}".encode())
    for name in sorted(state):
        tensor = state[name].contiguous()
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)} ".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def read(path: Path, run: Run) -> Trained:
    """A run's generator. Nothing in the file is executed. Raises InputError where it is missing, damaged or another."""
    if not path.exists():
        raise InputError(f"{path}: missing, and nothing else is read; `python -m reproduce.run {run.id}` makes it")
    remedy = f"get it again, or remove it and `python -m reproduce.run {run.id}`"
    try:
        state, about = _content(path)
        name, iteration, sha256 = about["run"], int(about["iteration"]), about["sha256"]
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: not a whole safetensors file of a generator; {remedy}") from error
    if name != run.id:
        raise InputError(f"{path}: the generator of another run, {name!r}, not of {run.id}")
    if state_sha256(state, name, iteration) != sha256:
        raise InputError(f"{path}: damaged, its weights are not those that were written; {remedy}")
    return Trained(state, iteration, hashlib.sha256(path.read_bytes()).hexdigest())


def _content(path: Path) -> tuple[dict[str, Tensor], dict]:
    """The tensors of a file and what its header says of them."""
    with safe_open(path, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, parsed(file.metadata()["trained"])


# --- The network ------------------------------------------------------------------------------------------------------


def built(run: Run, classes: int, state: dict[str, Tensor]) -> nn.Module:
    """A run's generator on a data set of so many classes, 0 for none, with these weights, in evaluation mode.

    Raises InputError where they are another network's, before any memory is taken for it: the run id may be nonsense.
    """
    model, recipe = names.resolve(run)
    if not recipe.conditional:
        classes = 0
    make = partial(model.Generator, run.resolution, classes, **recipe.generator)
    try:
        with torch.device("meta"):
            imagined = make()
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"run {run.id}: the options in its id make no network") from error
    _require_fit(run, imagined, state)
    G = make()
    G.load_state_dict(state)
    return G.eval()


def _require_fit(run: Run, G: nn.Module, state: dict[str, Tensor]) -> None:
    """Raises InputError where weights are not those of a network, by name, type and shape."""
    there, wanted = _shapes(state), _shapes(G.state_dict())
    wrong = sorted({name for name, _ in there.items() ^ wanted.items()})
    if wrong:
        name = wrong[0]
        raise InputError(f"run {run.id}: {len(wrong)} weights do not fit; {name!r} is {there.get(name, 'missing')}, "
                         f"the network's is {wanted.get(name, 'none')}")


def _shapes(state: dict[str, Tensor]) -> dict[str, str]:
    """Type and shape of each tensor in words: "float32 [64, 3, 3, 3]"."""
    texts = {name: f"{tensor.dtype} {list(tensor.shape)}" for name, tensor in state.items()}
    return {name: text.removeprefix("torch.") for name, text in texts.items()}


# --- Its images -------------------------------------------------------------------------------------------------------


@torch.inference_mode()
def stream(G: nn.Module, seed: int, labels: Tensor) -> Iterator[Tensor]:
    """Images of a generator in evaluation mode, one for each label [n]: batches of uint8 [<= BATCH, 3, R, R].

    Latents are N(0, 1), keyed on the seed alone and drawn on the CPU, so that they are the same on every device. What a
    generator draws by itself, as the noise of StyleGAN2, follows from the seed too.
    """
    torch.manual_seed(seed)
    z = torch.randn(len(labels), G.latent)
    for part, y in zip(z.split(BATCH), labels.split(BATCH), strict=True):
        yield to_bytes(G(part.to(labels.device), y))


def to_bytes(x: Tensor) -> Tensor:
    """Images in [-1, 1] as uint8."""
    return x.add(1).mul(127.5).round().clamp(0, 255).byte()


def generate(G: nn.Module, seed: int, labels: Tensor) -> Tensor:
    """All images of stream() as one tensor, uint8 [n, 3, R, R], on the device of the labels."""
    return torch.cat(list(stream(G, seed, labels)))


def in_turn(classes: Tensor, count: int) -> Tensor:
    """Labels [count], each the next one of the classes in turn."""
    return classes[torch.arange(count, device=classes.device) % len(classes)]


def grid(images: Tensor) -> bytes:
    """Images [n, 3, R, R] as a PNG, in rows of about as many as there are rows; empty places are black."""
    columns = math.ceil(math.sqrt(len(images)))
    pixels = make_grid(images, nrow=columns, padding=0).permute(1, 2, 0)
    buffer = io.BytesIO()
    Image.fromarray(pixels.cpu().numpy()).save(buffer, "png")
    return buffer.getvalue()
