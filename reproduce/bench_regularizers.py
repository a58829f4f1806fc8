"""`make bench-regularizers`: what gradgap adds to a training iteration, in CPU time and memory, for every model.

Side by side, in turn within one run: an iteration without it; with it as it is first written, by forward passes of its
own at every update; as done here, by the pass that the loss makes anyway, at every update (exact) and at every 8th (the
default); and by finite differences, which need no second derivative. Writes <results>/bench/regularizers.json.
"""

import argparse
import copy
import math
import statistics
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from baselines.losses import LOSSES
from baselines.regularizers import REGULARIZERS, GradGap, Scored, input_grad, score
from benchmarks.runs import Run, command
from reproduce import record
from reproduce.bench_models import Adam, PeakMemory, seconds

ROUNDS, CLASSES, WEIGHT = 3, 10, 0.1  # the weight does not matter for the cost
# The published recipes at 32 px, as thin as in the smoke table, so that a CPU can
CASES = [Run(model, "digits", 32, batch=8, override={"width": width}) for model, width in
         (("dcgan", 0.25), ("wgan", 0.125), ("biggan", 0.125), ("stylegan2", 0.0625))]


class Naive(GradGap):
    """As it is first written: D once more on the real images and once more on the generated, and a gradient of each."""

    def forward(self, D: nn.Module, real: Scored, fake: Scored) -> Tensor:
        return super().forward(D, self._anew(D, real), self._anew(D, fake))

    @staticmethod
    def _anew(D: nn.Module, side: Scored) -> Scored:
        x = side.x.detach().requires_grad_()
        logits = D(x, side.y)
        return Scored(x, side.y, logits,
                      lambda: torch.autograd.grad(logits.sum(), x, create_graph=True)[0].flatten(1))


class FiniteDifferences(GradGap):
    """The gap's gradient by D's parameters from scores a step along and against d, without second derivatives.

    d is the images' gradient over its norm, turned about for generated images: the derivative of sum_i D(x_i) along it
    is N times the gap, and stays so to first order when d is held constant.
    """

    step = 0.01

    def forward(self, D: nn.Module, real: Scored, fake: Scored) -> Tensor:
        with torch.no_grad():
            gap = real.norms().mean() - fake.norms().mean()
            along = [self.step * sign * normalize(input_grad(side)).view_as(side.x)
                     for side, sign in ((real, 1), (fake, -1))]
        ahead, back = (torch.cat([side.logits for side in score(
            D, real.x.detach() + sign * along[0], real.y, fake.x.detach() + sign * along[1], fake.y, gradient=False)])
            for sign in (1, -1))
        slope = (ahead - back).sum() / (2 * self.step * len(real.x))
        return self.averaged(gap + slope - slope.detach()) ** 2


FORMS = {"none": None, "naive": partial(Naive, interval=1), "exact": partial(GradGap, interval=1), "default": GradGap,
         "finite differences": partial(FiniteDifferences, interval=1)}


def trainer(run: Run, form: Callable[[], GradGap] | None) -> tuple[Callable[[], None], int]:
    """A function that does iterations as reproduce.train does, and how many make a round.

    Less the average of G, and what regularizes G: neither depends on a regularizer of D.
    A round is the fewest iterations in which every regularizer is due a whole number of times.
    """
    model, recipe = record.resolve(run)
    classes = CLASSES if recipe.conditional else 0
    G = model.Generator(run.resolution, classes, **recipe.generator)
    D = model.Discriminator(run.resolution, classes, **recipe.discriminator)
    if recipe.channels_last:
        G, D = (network.to(memory_format=torch.channels_last) for network in (G, D))
    loss = LOSSES[recipe.loss]
    x, y = torch.rand(run.batch, 3, run.resolution, run.resolution) * 2 - 1, torch.arange(run.batch) % CLASSES
    opt_g, opt_d = Adam(G, recipe.lr_g, recipe.betas, recipe.eps), Adam(D, recipe.lr_d, recipe.betas, recipe.eps)
    members = [(weight, REGULARIZERS[name]()) for name, weight in recipe.regularizers.items()]
    members += [(WEIGHT, form())] if form else []
    updates = -recipe.d_steps  # at update 0, in the first iteration, every regularizer is due

    def step() -> None:
        nonlocal updates
        D.requires_grad_(True)
        for _ in range(recipe.d_steps):
            updates += 1
            with torch.no_grad():
                images = G(torch.randn(run.batch, G.latent), y)
            due = [(weight * r.interval, r) for weight, r in members if r.of == "D" and updates % r.interval == 0]
            real, fake = score(D, x, y, images, y, gradient=bool(due))
            loss_d = loss.discriminator(real.logits, fake.logits)
            opt_d.zero_grad()
            (loss_d + sum(weight * r(D, real, fake) for weight, r in due)).backward()
            opt_d.step()
        D.requires_grad_(False)
        opt_g.zero_grad()
        loss.generator(D(G(torch.randn(run.batch, G.latent), y), y)).backward()
        opt_g.step()

    intervals = [r.interval for _, r in members] + [GradGap().interval]
    return step, math.lcm(recipe.d_steps, *intervals) // recipe.d_steps


def times(run: Run) -> dict[str, list[float]]:
    """CPU seconds of an iteration with each form, in rounds; within a round they take turns, iteration by iteration."""
    torch.manual_seed(0)
    forms = {name: trainer(run, form) for name, form in FORMS.items()}
    count = math.lcm(*(count for _, count in forms.values()))
    found = {name: [0.0] * ROUNDS for name in FORMS}
    for step, _ in forms.values():
        step()  # warms up
    for turn in range(ROUNDS * count):
        for name, (step, _) in forms.items():
            found[name][turn // count] += seconds(step) / count
    return found


def peak(run: Run, form: Callable[[], GradGap] | None) -> int:
    """Most bytes of tensors at once in an iteration in which every regularizer is due, counted on the meta device."""
    with torch.device("meta"), PeakMemory() as memory:
        step, _ = trainer(run, form)
        step()
    return memory.peak


class Operations(TorchDispatchMode):
    """Counts operations of convolutions and matrix products, in inner gradients too, where FlopCounterMode fails."""

    total = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if count := flop_registry.get(func.overloadpacket):
            self.total += count(*args, **(kwargs or {}), out_val=out)
        return out


def operations(run: Run) -> dict[str, float]:
    """Operations of an iteration with each form over those without, for the model as published, at 64 px, batch 16.

    Counted on the meta device, exactly; those of the default are the mean over its interval.
    """
    counts = {}
    for name in ("none", "naive", "exact", "finite differences"):
        with torch.device("meta"):
            step, _ = trainer(replace(run, resolution=64, batch=16, override={}), FORMS[name])
            step()
            with Operations() as counter:
                step()  # the second, in which no lazy regularizer of the recipe is due
        counts[name] = counter.total
    ratios = {name: count / counts["none"] for name, count in counts.items()}
    return ratios | {"default": 1 + (ratios["exact"] - 1) / GradGap().interval}


def gradient_error(run: Run) -> float:
    """|| finite differences - exact || / || exact ||, of gradgap's gradient by all parameters of D as it is made."""
    torch.manual_seed(0)
    model, recipe = record.resolve(run)
    D = model.Discriminator(run.resolution, CLASSES if recipe.conditional else 0, **recipe.discriminator)
    real, fake = torch.rand(2, run.batch, 3, run.resolution, run.resolution) * 2 - 1
    y = torch.arange(run.batch) % CLASSES
    exact, near = (_gradient(copy.deepcopy(D), form(), real, fake * 0.5, y) for form in (GradGap, FiniteDifferences))
    return ((near - exact).norm() / exact.norm()).item()


def _gradient(D: nn.Module, regularizer: GradGap, real: Tensor, fake: Tensor, y: Tensor) -> Tensor:
    regularizer(D, *score(D, real, y, fake, y)).backward()
    return torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in D.parameters()])


def measure(run: Run) -> dict:
    """One row: for each form the seconds, the ratio to an iteration without, and the memory."""
    found = times(run)
    forms, counted = {}, operations(run)
    for name, values in found.items():
        ratios = [value / none for value, none in zip(values, found["none"], strict=True)]
        forms[name] = {"cpu_seconds": statistics.median(values), "ratio": statistics.median(ratios),
                       "ratio_low": min(ratios), "ratio_high": max(ratios),
                       "operations_ratio": counted[name], "peak_bytes": peak(run, FORMS[name])}
    extra = [(exact - none) / (naive - none) for exact, naive, none in
             zip(found["exact"], found["naive"], found["none"], strict=True)]
    return {"run": run.id, "forms": forms, "exact_extra_over_naive_extra": statistics.median(extra),
            "finite_differences_gradient_error": gradient_error(run)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder of the runs")
    args = parser.parse_args()
    record.keep_memory()
    torch.set_num_threads(1)
    rows = []
    for run in CASES:
        rows.append(measure(run))
        forms = rows[-1]["forms"]
        print(f"{run.model}: " + ", ".join(f"{name} {form['ratio']:.2f}" for name, form in forms.items()), flush=True)
    record.write_json(args.results / "bench" / "regularizers.json",
                      {"command": "make bench-regularizers", "rounds": ROUNDS, "rows": rows,
                       "provenance": record.provenance(torch.device("cpu"))})


if __name__ == "__main__":
    command(main)
