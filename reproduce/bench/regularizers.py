"""`make bench-regularizers`: what gradgap adds to a training iteration, in CPU time and memory, for every model.

Side by side, in turn within one run: an iteration without it; with it as it is first written, by forward passes of its
own; as done here, by the pass that the loss makes anyway, at every update (gradgap) and at every 8th (gradgap_lazy);
and by finite differences, which need no second derivative. Writes <results>/bench/regularizers.json.
"""

import copy
import math
import statistics
import sys
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from baselines.regularizers import REGULARIZERS, GradGap
from baselines.scoring import Scored, Scorer
from benchmarks.runs import Run, command, options
from reproduce import record
from reproduce.counting import Stand, operations, peak_bytes, seconds

ROUNDS, CLASSES, WEIGHT = 3, 10, 0.1  # the weight does not matter for the cost
# The published recipes at 32 px, as thin as in the smoke table, so that a CPU can
CASES = [Run(model, "digits", 32, batch=8, override={"width": width}) for model, width in
         (("dcgan", 0.25), ("wgan", 0.125), ("biggan", 0.125), ("stylegan2", 0.0625))]


class Naive(GradGap):
    """As it is first written: D once more on the real images and once more on the generated, and a gradient of each."""

    uses_gradients = False  # of the pass that the loss makes

    def forward(self, D: Scorer, real: Scored, fake: Scored) -> Tensor:
        return super().forward(D, D(real.x, real.y), D(fake.x, fake.y))


class FiniteDifferences(GradGap):
    """The gap's gradient by D's parameters from scores a step along and against d, without second derivatives.

    d is the images' gradient over its norm, turned about for generated images: the derivative of sum_i D(x_i) along it
    is N times the gap, and stays so to first order when d is held constant.
    """

    step = 0.01

    def forward(self, D: Scorer, real: Scored, fake: Scored) -> Tensor:
        gap = (real.norms().mean() - fake.norms().mean()).detach()
        along_real = self.step * normalize(real.gradient.detach()).view_as(real.x)
        along_fake = -self.step * normalize(fake.gradient.detach()).view_as(fake.x)
        ahead = D.pair(real.x + along_real, real.y, fake.x + along_fake, fake.y, gradient=False)
        back = D.pair(real.x - along_real, real.y, fake.x - along_fake, fake.y, gradient=False)
        difference = sum(side.logits.sum() for side in ahead) - sum(side.logits.sum() for side in back)
        slope = difference / (2 * self.step * len(real.x))
        return self.averaged(gap + slope - slope.detach()) ** 2


REGULARIZERS |= {"naive": Naive, "finite_differences": FiniteDifferences}
FORMS = {"none": "", "naive": "naive", "gradgap": "gradgap", "gradgap_lazy": "gradgap_lazy",
         "finite differences": "finite_differences"}


def with_form(run: Run, form: str) -> Run:
    name = FORMS[form]
    return replace(run, regularizers={name: WEIGHT}) if name else run


def iterations_of_a_round(run: Run) -> int:
    """The fewest iterations in which every regularizer is due a whole number of times, in every form."""
    _, recipe = record.resolve(run)
    intervals = [REGULARIZERS[name]().interval for name in (*recipe.regularizers, *filter(None, FORMS.values()))]
    return math.lcm(recipe.d_steps, *intervals) // recipe.d_steps


def times(run: Run) -> dict[str, list[float]]:
    """CPU seconds of an iteration with each form, in rounds; within a round they take turns, iteration by iteration."""
    stands = {form: Stand(with_form(run, form), CLASSES, torch.device("cpu")) for form in FORMS}
    count = iterations_of_a_round(run)
    found = {form: [0.0] * ROUNDS for form in FORMS}
    for stand in stands.values():
        stand.iterate()  # warms up
    for turn in range(ROUNDS * count):
        for form, stand in stands.items():
            found[form][turn // count] += seconds(stand.iterate) / count
    return found


def operation_ratios(run: Run) -> dict[str, float]:
    """Operations of an iteration with each form over those without, for the model as published, at 64 px, batch 16."""
    full = replace(run, resolution=64, batch=16, override={})
    count = iterations_of_a_round(full)
    counts = {form: operations(with_form(full, form), CLASSES, count) for form in FORMS}
    return {form: value / counts["none"] for form, value in counts.items()}


def gradient_error(run: Run) -> float:
    """|| finite differences - exact || / || exact ||, of gradgap's gradient by all parameters of D as it is made."""
    torch.manual_seed(0)
    D = Stand(run, CLASSES, torch.device("cpu")).trainer.D
    real, fake = torch.rand(2, run.batch, 3, run.resolution, run.resolution) * 2 - 1
    y = torch.arange(run.batch) % CLASSES
    exact, near = (gradient(copy.deepcopy(D), form(), real, fake * 0.5, y) for form in (GradGap, FiniteDifferences))
    return ((near - exact).norm() / exact.norm()).item()


def gradient(network: nn.Module, regularizer: GradGap, real: Tensor, fake: Tensor, y: Tensor) -> Tensor:
    """Of the regularizer by all parameters, those that it does not depend on as zeros."""
    D = Scorer(network)
    value = regularizer(D, *D.pair(real, y, fake, y))
    parts = torch.autograd.grad(value, [*network.parameters()], allow_unused=True, materialize_grads=True)
    return torch.cat([part.flatten() for part in parts])


def measure(run: Run) -> dict:
    """One row: for each form the seconds, the ratio to an iteration without, the operations and the memory."""
    found, counted = times(run), operation_ratios(run)
    forms = {}
    for form, values in found.items():
        ratios = [value / none for value, none in zip(values, found["none"], strict=True)]
        forms[form] = {"cpu_seconds": statistics.median(values), "ratio": statistics.median(ratios),
                       "ratio_low": min(ratios), "ratio_high": max(ratios), "operations_ratio": counted[form],
                       "peak_bytes": peak_bytes(with_form(run, form), CLASSES, iterations_of_a_round(run))}
    extra = []
    for ours, naive, none in zip(found["gradgap"], found["naive"], found["none"], strict=True):
        extra.append((ours - none) / (naive - none))
    return {"run": run.id, "forms": forms, "gradgap_extra_over_naive_extra": statistics.median(extra),
            "finite_differences_gradient_error": gradient_error(run)}


def main() -> None:
    results = Path(options(sys.argv[1:], {"RESULTS": "results"})["RESULTS"])
    record.keep_memory()
    torch.set_num_threads(1)
    rows = []
    for run in CASES:
        rows.append(measure(run))
        forms = rows[-1]["forms"]
        print(f"{run.model}: " + ", ".join(f"{name} {form['ratio']:.2f}" for name, form in forms.items()), flush=True)
    record.write_json(results / "bench" / "regularizers.json",
                      {"command": "make bench-regularizers", "rounds": ROUNDS, "rows": rows,
                       "provenance": record.provenance(torch.device("cpu"))})


if __name__ == "__main__":
    command(main)
