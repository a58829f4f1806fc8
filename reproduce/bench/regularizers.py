"""`make bench-regularizers`: what gradgap adds to a training iteration, in CPU time and memory, for every model.

Side by side, in turn within one run: an iteration without it; with it as it is first written, by forward passes of its
own; as done here, by the pass that the loss makes anyway, at every update (gradgap) and at every 8th (gradgap_lazy);
and by finite differences, which need no second derivative. Writes <results>/bench/regularizers.json.
"""

import copy
import math
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from baselines.regularizers import REGULARIZERS, GradGap
from baselines.scoring import Scored, Scorer
from benchmarks.runs import Run, command
from reproduce import machine, names
from reproduce.bench.harness import CPU, begun, cpu_seconds, in_turn, write
from reproduce.counting import Stand, operations, peak_bytes

ROUNDS, CLASSES, WEIGHT = 3, 10, 0.1  # the weight does not matter for the cost
WIDTHS = {"dcgan": 0.25, "wgan": 0.125, "biggan": 0.125, "stylegan2": 0.0625}  # of the smoke table: a CPU trains these
CASES = [Run(model, "digits", 32, batch=8, override={"width": width}) for model, width in WIDTHS.items()]


class Naive(GradGap):
    """gradgap as one first writes it: D runs once more on the real images and once more on the generated ones."""

    uses_gradients = False  # of the pass that the loss makes

    def forward(self, D: Scorer, real: Scored, fake: Scored) -> Tensor:
        return super().forward(D, D(real.x, real.y), D(fake.x, fake.y))


class FiniteDifferences(GradGap):
    """gradgap without second derivatives: D scores images moved a step along d and against it.

    The direction d is an image's gradient over its norm, with the opposite sign for generated images. The derivative of
    sum_i D(x_i) along d is N times the gap, and stays so to first order when d is held constant.
    """

    step = 0.01

    def forward(self, D: Scorer, real: Scored, fake: Scored) -> Tensor:
        gap = (real.norms().mean() - fake.norms().mean()).detach()
        along_real = self.step * normalize(real.gradient.detach()).view_as(real.x)
        along_fake = -self.step * normalize(fake.gradient.detach()).view_as(fake.x)
        ahead = D.pair(real.x + along_real, real.y, fake.x + along_fake, fake.y, gradient=False)
        back = D.pair(real.x - along_real, real.y, fake.x - along_fake, fake.y, gradient=False)
        slope = (total(*ahead) - total(*back)) / (2 * self.step * len(real.x))
        return self.averaged(gap + slope - slope.detach()) ** 2


def total(real: Scored, fake: Scored) -> Tensor:
    return real.logits.sum() + fake.logits.sum()


EXTRA = {"naive": Naive, "finite_differences": FiniteDifferences}  # members while they are measured
FORMS = {"none": "", "naive": "naive", "gradgap": "gradgap", "gradgap_lazy": "gradgap_lazy",
         "finite differences": "finite_differences"}


def with_form(run: Run, form: str) -> Run:
    name = FORMS[form]
    if not name:
        return run
    return replace(run, regularizers={name: WEIGHT})


def iterations_of_a_round(run: Run) -> int:
    """The fewest iterations in which every regularizer is due a whole number of times, in every form."""
    _, recipe = names.resolve(run)
    members = [*recipe.regularizers, *filter(None, FORMS.values())]
    intervals = [REGULARIZERS[name]().interval for name in members]
    return math.lcm(recipe.d_steps, *intervals) // recipe.d_steps


def times(run: Run) -> dict[str, np.ndarray]:
    """CPU seconds of an iteration with each form [ROUNDS]. The forms take turns, iteration by iteration."""
    stands = {form: Stand(with_form(run, form), CLASSES, CPU) for form in FORMS}
    for stand in stands.values():
        stand.iterate()  # warms up
    count = iterations_of_a_round(run)
    taken = in_turn({form: stand.iterate for form, stand in stands.items()}, ROUNDS * count, cpu_seconds)
    return {form: np.reshape(values, (ROUNDS, count)).mean(1) for form, values in taken.items()}


def operation_ratios(run: Run) -> dict[str, float]:
    """Operations of an iteration with each form over those without, for the model as published, at 64 px, batch 16."""
    full = replace(run, resolution=64, batch=16, override={})
    count = iterations_of_a_round(full)
    counts = {form: operations(with_form(full, form), CLASSES, count) for form in FORMS}
    return {form: value / counts["none"] for form, value in counts.items()}


def gradient_error(run: Run) -> float:
    """|| finite differences - exact || / || exact ||, of gradgap's gradient by all parameters of an untrained D."""
    torch.manual_seed(0)
    D = Stand(run, CLASSES, CPU).trainer.D
    real, fake = torch.rand(2, run.batch, 3, run.resolution, run.resolution) * 2 - 1
    fake = fake * 0.5
    y = torch.arange(run.batch) % CLASSES
    exact = gradient(copy.deepcopy(D), GradGap(), real, fake, y)
    near = gradient(copy.deepcopy(D), FiniteDifferences(), real, fake, y)
    return ((near - exact).norm() / exact.norm()).item()


def gradient(network: nn.Module, regularizer: GradGap, real: Tensor, fake: Tensor, y: Tensor) -> Tensor:
    """The regularizer's gradient by all parameters in one vector, with zeros for those that it does not depend on."""
    D = Scorer(network)
    value = regularizer(D, *D.pair(real, y, fake, y))
    parts = torch.autograd.grad(value, [*network.parameters()], materialize_grads=True)
    return torch.cat([part.flatten() for part in parts])


def measure(run: Run) -> dict:
    """One row: for each form the seconds, the ratio to an iteration without, the operations and the memory."""
    seconds, counted = times(run), operation_ratios(run)
    plain = seconds["none"]
    forms = {}
    for form, values in seconds.items():
        forms[form] = {"cpu_seconds": np.median(values).item(), **spread(values / plain),
                       "operations_ratio": counted[form],
                       "peak_bytes": peak_bytes(with_form(run, form), CLASSES, iterations_of_a_round(run))}
    extra = (seconds["gradgap"] - plain) / (seconds["naive"] - plain)
    return {"run": run.id, "forms": forms, "gradgap_extra_over_naive_extra": np.median(extra).item(),
            "finite_differences_gradient_error": gradient_error(run)}


def spread(ratios: np.ndarray) -> dict[str, float]:
    return {"ratio": np.median(ratios).item(), "ratio_low": ratios.min().item(), "ratio_high": ratios.max().item()}


def main() -> None:
    given = begun()
    REGULARIZERS.update(EXTRA)
    machine.keep_memory()
    torch.set_num_threads(1)
    rows = []
    for run in CASES:
        rows.append(measure(run))
        texts = [f"{name} {form['ratio']:.2f}" for name, form in rows[-1]["forms"].items()]
        print(f"{run.model}: " + ", ".join(texts), flush=True)
    write("regularizers", given, {"command": "make bench-regularizers", "rounds": ROUNDS, "rows": rows}, CPU)


if __name__ == "__main__":
    command(main)
