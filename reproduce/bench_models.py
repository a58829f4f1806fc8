"""`make bench-models`: parameters, operations and peak memory of every model at every size, and the speed of training.

Counts and memory are exact and need no machine: they are taken on PyTorch's meta device, which computes shapes alone.
The speed is CPU time per operation of a whole iteration (one step of each network, with Adam), as a multiple of that
of a plain 3x3 convolution forward and backward, measured in turn in this run. Writes <results>/bench/models.json.
"""

import argparse
import statistics
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from baselines.losses import LOSSES
from baselines.models import MODELS
from baselines.regularizers import score
from benchmarks.runs import command
from reproduce import record

BATCH, ROUNDS = 16, 3
# model, resolution, classes, batch: the configurations whose speed is measured
TIMED = [("dcgan", 64, 0, 16), ("wgan", 64, 0, 16), ("biggan", 32, 100, 16), ("stylegan2", 64, 0, 4)]


class PeakMemory(TorchDispatchMode):
    """Counts the bytes of all tensors made inside it that are alive; `peak` is the most there were at once.

    What a device needs beyond them, workspaces of kernels and gaps of its allocator, is not seen.
    """

    def __init__(self):
        super().__init__()
        self.alive: dict[int, int] = {}
        self.now = self.peak = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor):
                self._add(tensor.untyped_storage())
        return out

    def _add(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key not in self.alive:
            self.alive[key] = storage.nbytes()
            self.now += storage.nbytes()
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._drop, key)

    def _drop(self, key: int) -> None:
        self.now -= self.alive.pop(key)


class Adam(torch.optim.Adam):
    """As in training; on the meta device too, where PyTorch 2.4 would have it count its steps."""

    def __init__(self, network: nn.Module, *hyperparameters):
        super().__init__(network.parameters(), *hyperparameters, fused=not next(network.parameters()).is_meta)

    def step(self) -> None:
        with torch.device("cpu"):
            super().step()


def trainer(name: str, resolution: int, classes: int, batch: int) -> tuple[nn.Module, nn.Module, Callable[[], None]]:
    """The networks of a model's default recipe, and a function that trains them by one step each on random images."""
    model = MODELS[name]
    recipe = next(recipe for recipe in model.RECIPES.values() if resolution in recipe.resolutions)
    G = model.Generator(resolution, classes, **recipe.generator)
    D = model.Discriminator(resolution, classes, **recipe.discriminator)
    if recipe.channels_last:
        G, D = (network.to(memory_format=torch.channels_last) for network in (G, D))
    x, y = torch.rand(batch, 3, resolution, resolution), torch.zeros(batch, dtype=torch.long)
    opt_g, opt_d = Adam(G), Adam(D)
    loss = LOSSES[recipe.loss]

    def step() -> None:
        D.requires_grad_(True)
        with torch.no_grad():
            images = G(torch.randn(batch, G.latent), y)
        real, fake = score(D, x, y, images, y, gradient=False)
        opt_d.zero_grad()
        loss.discriminator(real.logits, fake.logits).backward()
        opt_d.step()
        D.requires_grad_(False)
        opt_g.zero_grad()
        loss.generator(D(G(torch.randn(batch, G.latent), y), y)).backward()
        opt_g.step()

    return G, D, step


def counts(name: str, resolution: int, classes: int) -> dict:
    """Parameters, GFLOP per image of a forward pass of each network and of an iteration, GB at its peak."""
    with torch.device("meta"), PeakMemory() as memory:
        G, D, step = trainer(name, resolution, classes, BATCH)
        y = torch.zeros(BATCH, dtype=torch.long)
        with torch.no_grad():
            forward_g, images = gflop(lambda: G(torch.randn(BATCH, G.latent), y))
            forward_d, _ = gflop(lambda: D(images, y))
        iteration, _ = gflop(step)
    parameters = [sum(p.numel() for p in network.parameters()) for network in (G, D)]
    return {"model": name, "resolution": resolution, "classes": classes,
            "parameters_g": parameters[0], "parameters_d": parameters[1],
            "gflop_g": forward_g / BATCH, "gflop_d": forward_d / BATCH, "gflop_iteration": iteration / BATCH,
            "peak_gb": memory.peak / 1e9, "batch": BATCH}  # fmt: skip


def gflop(work: Callable[[], object]) -> tuple[float, object]:
    """10^9 operations, a multiply-add being two, and what the work returns."""
    with FlopCounterMode(display=False) as counter:
        result = work()
    return counter.get_total_flops() / 1e9, result


def convolution() -> Callable[[], None]:
    """Forward and backward of the plain convolution that is the yardstick: 3x3, 256 channels, 32x32, batch 16."""
    x, weight = torch.randn(16, 256, 32, 32, requires_grad=True), torch.randn(256, 256, 3, 3, requires_grad=True)
    return lambda: F.conv2d(x, weight, padding=1).backward(torch.ones(16, 256, 32, 32))


def seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def speeds() -> Iterator[dict]:
    """GFLOP per CPU second of an iteration and of the convolution beside it, medians of rounds in turn."""
    plain = convolution()
    plain_gflop, _ = gflop(plain)
    for name, resolution, classes, batch in TIMED:
        *_, step = trainer(name, resolution, classes, batch)
        step_gflop, _ = gflop(step)  # also warms up
        rounds = [(seconds(plain), seconds(step), seconds(plain)) for _ in range(ROUNDS)]
        speed = step_gflop / statistics.median(whole for _, whole, _ in rounds)
        yardstick = plain_gflop / statistics.median((before + after) / 2 for before, _, after in rounds)
        yield {"model": name, "resolution": resolution, "classes": classes, "batch": batch,
               "gflop_per_s": speed, "convolution_gflop_per_s": yardstick, "ratio": yardstick / speed}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder of the runs")
    args = parser.parse_args()
    record.keep_memory()
    columns = "{model:10} {resolution:>5} {classes:>4} {parameters_g:>12,} {parameters_d:>12,} " \
              "{gflop_g:9.2f} {gflop_d:9.2f} {gflop_iteration:10.2f} {peak_gb:8.2f}"
    print(f"model       size    y  parameters G            D   GFLOP/image: G   D      iteration   GB, batch {BATCH}")
    sizes, timed = [], []
    for name, model in MODELS.items():
        for resolution in sorted({size for recipe in model.RECIPES.values() for size in recipe.resolutions}):
            for classes in (0, 100):
                sizes.append(counts(name, resolution, classes))
                print(columns.format(**sizes[-1]), flush=True)
    print("\nmodel       size  batch  GFLOP per CPU second, and of a plain convolution    ratio of times per operation")
    for row in speeds():
        timed.append(row)
        print("{model:10} {resolution:>5} {batch:>6} {gflop_per_s:10.1f} {convolution_gflop_per_s:10.1f} {ratio:10.2f}"
              .format(**row), flush=True)
    record.write_json(args.results / "bench" / "models.json",
               {"sizes": sizes, "speed": timed, "provenance": record.provenance(torch.device("cpu"))})


if __name__ == "__main__":
    command(main)
