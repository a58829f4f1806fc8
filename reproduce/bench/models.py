"""`make bench-models`: parameters, operations and peak memory of every model at every size, and the speed of training.

Counts and memory are exact and need no machine: they are taken on PyTorch's meta device. An iteration is the recipe's:
all discriminator steps, a generator step, Adam, and the regularizers of the first one. The speed is CPU time per
operation, as a multiple of that of a plain 3x3 convolution forward and backward, measured in turn in this run.
Writes <results>/bench/models.json.
"""

import operator
import statistics
from collections.abc import Callable, Iterable, Iterator
from itertools import starmap

import torch
from torch import nn
from torch.nn import functional as F

from baselines.models import MODELS
from benchmarks.runs import Run, command
from reproduce import machine, names
from reproduce.bench.harness import CPU, begun, cpu_seconds, in_turn, write
from reproduce.counting import META, Operations, Stand, operations, peak_bytes

BATCH, ROUNDS, CLASSES = 16, 3, 100
# The configurations whose speed is measured, and their classes
TIMED = [(Run("dcgan", "noise", 64), 0), (Run("wgan", "noise", 64), 0), (Run("biggan", "noise", 32), CLASSES),
         (Run("stylegan2", "noise", 64, batch=4), 0)]


def counts(run: Run, classes: int) -> dict:
    """Parameters, GFLOP per image of a forward pass of each network and of an iteration, GB at its peak."""
    trainer = Stand(run, classes, META).trainer
    z = torch.randn(BATCH, trainer.G.latent, device=META)
    y = torch.zeros(BATCH, dtype=torch.long, device=META)
    with torch.no_grad():
        forward_g, images = gflop(lambda: trainer.G(z, y))
        forward_d, _ = gflop(lambda: trainer.D(images, y))
    return {"model": run.model, "resolution": run.resolution, "classes": classes,
            "parameters_g": parameters(trainer.G), "parameters_d": parameters(trainer.D),
            "gflop_g": forward_g / BATCH, "gflop_d": forward_d / BATCH,
            "gflop_iteration": operations(run, classes) / 1e9 / BATCH,
            "peak_gb": peak_bytes(run, classes) / 1e9, "batch": BATCH}


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def gflop(work: Callable[[], object]) -> tuple[float, object]:
    """10^9 operations of the work, and what it returns."""
    with Operations() as counter:
        result = work()
    return counter.total / 1e9, result


def convolution() -> Callable[[], None]:
    """Forward and backward of the plain convolution that is the yardstick: 3x3, 256 channels, 32x32, batch 16."""
    x = torch.randn(16, 256, 32, 32, requires_grad=True)
    weight = torch.randn(256, 256, 3, 3, requires_grad=True)
    return lambda: F.conv2d(x, weight, padding=1).backward(torch.ones(16, 256, 32, 32))


def speeds() -> Iterator[dict]:
    """GFLOP per CPU second of an iteration and of the convolution beside it, medians of rounds in turn."""
    plain = convolution()
    plain_gflop, _ = gflop(plain)
    for run, classes in TIMED:
        stand = Stand(run, classes, CPU)
        stand.iterate()  # warms up
        taken = in_turn({"before": plain, "iteration": stand.iterate, "after": plain}, ROUNDS, cpu_seconds)
        counted = [operations_of_iteration(run, classes, step) for step in range(1, stand.step)]
        speed = statistics.median(map(operator.truediv, counted, taken["iteration"]))
        yardstick = plain_gflop / statistics.median(taken["before"] + taken["after"])
        yield {"model": run.model, "resolution": run.resolution, "classes": classes, "batch": run.batch,
               "gflop_per_s": speed, "convolution_gflop_per_s": yardstick, "ratio": yardstick / speed}


def operations_of_iteration(run: Run, classes: int, step: int) -> float:
    """10^9 operations of iteration `step`, in which other regularizers may be due than in the first."""
    stand = Stand(run, classes, META)
    stand.step = step
    return gflop(stand.iterate)[0]


def every_size() -> Iterator[tuple[Run, int]]:
    """Every model at every resolution for which it has a recipe, without classes and with."""
    for name, model in MODELS.items():
        for resolution in names.resolutions(model):
            for classes in (0, CLASSES):
                yield Run(name, "noise", resolution, batch=BATCH), classes


SIZES = ("{model:10} {resolution:>5} {classes:>4} {parameters_g:>12,} {parameters_d:>12,} "
         "{gflop_g:9.2f} {gflop_d:9.2f} {gflop_iteration:10.2f} {peak_gb:8.2f}")
SPEEDS = "{model:10} {resolution:>5} {batch:>6} {gflop_per_s:10.1f} {convolution_gflop_per_s:10.1f} {ratio:10.2f}"


def printed(rows: Iterable[dict], columns: str) -> list[dict]:
    """The rows, each of them printed as soon as it is there."""
    made = []
    for row in rows:
        made.append(row)
        print(columns.format(**row), flush=True)
    return made


def main() -> None:
    given = begun()
    machine.keep_memory()
    print(f"model       size    y  parameters G            D   GFLOP/image: G   D      iteration   GB, batch {BATCH}")
    sizes = printed(starmap(counts, every_size()), SIZES)
    print("\nmodel       size  batch  GFLOP per CPU second, and of a plain convolution    ratio of times per operation")
    write("models", given, {"sizes": sizes, "speed": printed(speeds(), SPEEDS)}, CPU)


if __name__ == "__main__":
    command(main)
