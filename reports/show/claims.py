"""The paper's claims, each put to the same test on every source of evidence: verdicts that a table may or may not give.

A claim is a set of contrasts of log values (a cell less its baseline, a small fraction less a large one). A verdict
needs every cell that the claim speaks of, with at least 3 seeds each; otherwise there is "not enough evidence". "In
every cell" is tested with Holm's correction; "on average" is the mean of the contrasts within each seed.
"""

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from benchmarks.state import parsed
from benchmarks.tables import TABLES
from reports.data.records import GAP
from reports.data.stats import LEVEL, MIN_SEEDS, Estimate, contrast, estimate, holm
from reports.data.views import MEANINGLESS, View, family
from reports.show.grids import Grid, simple
from reports.show.words import change, interval, title

SUPPORTED, CONTRADICTED, OPEN = "supported", "contradicted", "not enough evidence"
UNTESTABLE, CONSISTENT, INCONSISTENT = "not testable here", "consistent", "not consistent"
NOTHING = "nothing published"
PAPER, BENCH = "the paper's numbers", "bench-regularizers"
CHEAP = 0.10  # share of training time: what is taken as "almost no extra cost"
QUANTITIES = {"fid": "distance", "fd": "distance", "is": "is", "norm": "gap"}  # by the family of a metric
Weights = dict[str, float]  # cell id -> its coefficient in a contrast
Contrasts = dict[str, Weights]  # what a contrast is about -> the contrast


@dataclass
class Evidence:
    """What one source has for the claims: the cells of its tables, and the log values of each quantity.

    cells  quantity ("distance", "is" or "gap") -> the cells that the source speaks of
    logs   quantity -> log values, a row for each seed, a column for each cell
    """

    name: str
    cells: dict[str, pd.DataFrame]
    logs: dict[str, pd.DataFrame]
    printed: bool = False  # are these the paper's printed numbers, one run each?


@dataclass(frozen=True)
class Claim:
    """A claim as a test: the sign that the contrasts of a quantity should have, on average or in every one."""

    name: str
    statement: str
    effect: str
    quantity: str
    sign: int
    contrasts: Callable[[pd.DataFrame], Contrasts]
    every: bool = False
    needs: str = ""  # the claim that is its precondition

    @property
    def title(self) -> str:
        return f"{self.name}. {self.statement}"


@dataclass
class Finding:
    """The outcome of a claim's test."""

    verdict: str
    effect: str = "-"
    covered: str = "-"
    smallest: str = "-"

    def row(self, source: str) -> dict[str, str]:
        """As a row of the details of a claim."""
        return {"source": source, "verdict": self.verdict, "effect [95 % interval]": self.effect,
                "cells covered": self.covered, "smallest effect seen": self.smallest}  # fmt: skip


def gain(cells: pd.DataFrame) -> Contrasts:
    """The claimed method less its baseline, in each cell."""
    made = {}
    for cell, row in cells[cells["claimed"]].iterrows():
        made[cell] = {cell: 1.0, row["baseline"]: -1.0}
    return made


def model_gain(cells: pd.DataFrame) -> Contrasts:
    """The mean of `gain` over the cells of each model."""
    made = {}
    for model, group in cells[cells["claimed"]].groupby("model", sort=False):
        made[title(model)] = average(gain(group))
    return made


def shrinking(cells: pd.DataFrame) -> Contrasts:
    """The baseline at the smallest fraction less the baseline at the largest, for each model and data set."""
    made = {}
    for name, small, large in _ends(cells[cells["kind"] == "baseline"]):
        made[name] = {small: 1.0, large: -1.0}
    return made


def gain_shrinking(cells: pd.DataFrame) -> Contrasts:
    """The gain at the smallest fraction less that at the largest."""
    made = {}
    for name, small, large in _ends(cells[cells["claimed"]]):
        made[name] = {small: 1.0, cells["baseline"][small]: -1.0, large: -1.0, cells["baseline"][large]: 1.0}
    return made


def control(cells: pd.DataFrame) -> Contrasts:
    """DiffAugment less the baseline, at the smallest fraction of each model and data set that has several."""
    made = {}
    for name, small, _ in _ends(cells[cells["control"]]):
        made[name] = {small: 1.0, cells["baseline"][small]: -1.0}
    return made


def _ends(cells: pd.DataFrame) -> list[tuple[str, str, str]]:
    """Of each model and data set with several fractions: its name, the cells of the smallest and the largest."""
    ends = []
    for (model, dataset, _), group in cells.groupby(["model", "dataset", "resolution"], sort=False):
        group = group.sort_values("fraction")
        if group["fraction"].iloc[0] < group["fraction"].iloc[-1]:
            ends.append((f"{title(model)}, {dataset}", group.index[0], group.index[-1]))
    return ends


def average(contrasts: Contrasts) -> Weights:
    """The mean of several contrasts, as one."""
    mean: Weights = {}
    for weights in contrasts.values():
        for cell, weight in weights.items():
            mean[cell] = mean.get(cell, 0.0) + weight / len(contrasts)
    return mean


DISTANCE = "the distance (FID, or fd_effnet where that stands in)"
CLAIMS = [
    Claim("C0", "The baseline gets worse as data shrink", f"{DISTANCE} of the baseline, smallest against largest "
          "fraction", "distance", 1, shrinking),
    Claim("Control", "DiffAugment helps at the smallest fraction", f"{DISTANCE}, DiffAugment against baseline at the "
          "smallest fraction", "distance", -1, control),
    Claim("C1", "R lowers FID in every cell", f"{DISTANCE}, gradgap against baseline", "distance", -1, gain,
          every=True),
    Claim("C2", "The gain grows as data shrink", "the ratio gradgap : baseline of the distance, smallest against "
          "largest fraction", "distance", -1, gain_shrinking, needs="C0"),
    Claim("C3", "The norm gap grows as data shrink", "the baseline's late |n_R - n_F|, smallest against largest "
          "fraction", "gap", 1, shrinking, needs="C0"),
    Claim("C5", "R combines with any model", f"{DISTANCE}, gradgap against baseline, over each model's cells",
          "distance", -1, model_gain, every=True),
    Claim("C6", "IS rises", "the Inception Score, gradgap against baseline", "is", 1, gain),
    Claim("C7", "R shrinks the gap that it penalises", "late |n_R - n_F|, gradgap against baseline", "gap", -1, gain),
]  # fmt: skip


C4, C4_PLACE = "C4. R costs almost nothing", 5  # it has a measurement of its own; its place among CLAIMS
COST = (f"Effect: CPU time of a whole training iteration with gradgap over that without, in the bench; up to "
        f"{CHEAP:.0%} is taken as \"almost nothing\".")  # fmt: skip


def judge(claim: Claim, source: Evidence) -> Finding:
    """The verdict of a source's seeds on a claim, without regard to its precondition."""
    contrasts, logs = claim.contrasts(source.cells[claim.quantity]), source.logs[claim.quantity]
    needed = _needed(contrasts)
    if not needed:
        return Finding(UNTESTABLE, "no such cells in this table")
    counts = logs.count().reindex(needed, fill_value=0)
    covered = f"{(counts >= MIN_SEEDS).sum()} of {len(needed)}"
    mean = contrast(logs, average(contrasts))
    complete = (counts >= MIN_SEEDS).all() and len(mean) >= MIN_SEEDS
    if complete and not claim.every:
        return _on_average(claim, estimate(list(mean)), covered)
    found = {}
    for name, weights in contrasts.items():
        seeds = contrast(logs, weights)
        if len(seeds):
            found[name] = estimate(list(seeds))
    return _in_every(claim, found, covered) if complete else Finding(OPEN, _partial(found), covered)


def _needed(contrasts: Contrasts) -> list[str]:
    cells: dict[str, None] = {}
    for weights in contrasts.values():
        cells |= dict.fromkeys(weights)
    return list(cells)


def _partial(found: dict[str, Estimate]) -> str:
    if not found:
        return "nothing measured"
    mean = sum(effect.mean for effect in found.values()) / len(found)
    return f"{change(mean)} in the {len(found)} contrasts that were measured"


def _on_average(claim: Claim, effect: Estimate, covered: str) -> Finding:
    """By the sign of the mean, where its interval leaves out zero."""
    verdict = OPEN
    if effect.p < LEVEL:
        verdict = SUPPORTED if effect.mean * claim.sign > 0 else CONTRADICTED
    return Finding(verdict, f"{interval(effect)}, {effect.n} seeds", covered, _size(effect.smallest()))


def _in_every(claim: Claim, found: dict[str, Estimate], covered: str) -> Finding:
    """Supported where each contrast has the sign after Holm's correction, contradicted where one has the other."""
    names = list(found)
    adjusted = holm([found[name].p for name in names])
    agree, against = 0, 0
    for name, p in zip(names, adjusted, strict=True):
        if p < LEVEL:
            right = found[name].mean * claim.sign > 0
            agree, against = agree + right, against + (not right)
    verdict = OPEN
    if against or agree == len(names):
        verdict = CONTRADICTED if against else SUPPORTED
    means = pd.Series(found).map(operator.attrgetter("mean"))
    side = (means * claim.sign > 0).sum()
    least = (means * claim.sign).min() * claim.sign
    effect = (f"{change(means.mean())} on average, {change(least)} in the least; on the claim's side in "
              f"{side} of {len(names)}, for sure in {agree}, for sure against it in {against}")  # fmt: skip
    smallest = max(effect.smallest(len(names)) for effect in found.values())
    return Finding(verdict, effect, covered, f"{_size(smallest)} in one of {len(names)}")


def _size(log_ratio: float) -> str:
    return f"{100 * -math.expm1(-log_ratio):.0f} % less or {100 * math.expm1(min(log_ratio, 50)):.0f} % more"


def judge_printed(claim: Claim, source: Evidence) -> Finding:
    """What the printed numbers say: single runs, so that they can be consistent with a claim and no more.

    The unit is the data set, since the cells of one share its images; "in every cell" is taken at its word.
    """
    cells, logs = source.cells[claim.quantity], source.logs[claim.quantity]
    contrasts = claim.contrasts(cells)
    clusters: dict[str, list[float]] = {}
    for name, weights in contrasts.items():
        datasets = list(dict.fromkeys(cells["dataset"][list(weights)]))
        for value in contrast(logs, weights):
            clusters.setdefault(datasets[0] if len(datasets) == 1 else name, []).append(value)
    if not clusters:
        return Finding(NOTHING)
    values = [value for group in clusters.values() for value in group]
    means = [sum(group) / len(group) for group in clusters.values()]
    effect = estimate(means)
    agrees = effect.mean * claim.sign > 0
    if claim.every:
        agrees = all(value * claim.sign > 0 for value in values)
    text = interval(effect) if effect.n >= MIN_SEEDS else f"{change(effect.mean)}, no interval"
    kind = "data sets" if set(clusters) <= set(cells["dataset"]) else "models"
    unit = f"by {kind} ({len(means)}), {len(values)} numbers"
    return Finding(CONSISTENT if agrees else INCONSISTENT, f"{text}, {unit}", f"{len(values)} of {len(contrasts)}")


def verdicts(source: Evidence) -> dict[str, Finding]:
    """The findings of a source, by the claims' names; a claim whose precondition does not hold is not judged."""
    found = {}
    for claim in CLAIMS:
        finding = judge_printed(claim, source) if source.printed else judge(claim, source)
        holds = not claim.needs or found[claim.needs].verdict in (SUPPORTED, CONSISTENT)
        if not holds and finding.verdict in (SUPPORTED, CONTRADICTED):
            finding.verdict = UNTESTABLE
        elif not holds and finding.verdict == OPEN and finding.smallest != "-":
            finding.verdict = UNTESTABLE
        found[claim.name] = finding
    return found


def cost(results: Path) -> Finding:
    """C4 from the controlled measurement of `make bench-regularizers`: the update itself, in turn, on one thread."""
    path = results / "bench" / "regularizers.json"
    if not path.exists():
        return Finding(OPEN, "not measured: `make bench-regularizers` does")
    try:
        rows = parsed(path.read_text("utf-8"))["rows"]
        form = pd.DataFrame([row["forms"]["gradgap"] for row in rows]) - 1
        low, high, middle = form["ratio_low"], form["ratio_high"], 100 * form["ratio"]
    except (ValueError, KeyError, IndexError, TypeError) as error:
        return Finding(OPEN, f"{path.name} has another form ({error!r}); `make bench-regularizers` makes it anew")
    verdict = OPEN
    if high.max() < CHEAP:
        verdict = SUPPORTED
    elif low.max() > CHEAP:
        verdict = CONTRADICTED
    effect = f"{middle.min():+.0f} % to {middle.max():+.0f} % of a training iteration, at every update"
    return Finding(verdict, effect, f"{len(rows)} models")


def sources(views: dict[str, View]) -> list[Evidence]:
    """The printed numbers, ours for the paper's tables together, and ours for each other table of 3 seeds or more.

    A table of fewer seeds (smoke) shows that the suite works; it has no verdicts.
    """
    paper = [view for view in views.values() if len(view.published)]
    found = [_printed(paper), _measured("Tables 1-3", paper)] if paper else []
    for view in views.values():
        if view not in paper and TABLES[view.name].seeds >= MIN_SEEDS:
            found.append(_measured(view.name, [view]))
    return found


def _measured(name: str, views: list[View]) -> Evidence:
    cells: dict[str, list[pd.DataFrame]] = {"distance": [], "is": [], "gap": []}
    logs: dict[str, list[pd.DataFrame]] = {"distance": [], "is": [], "gap": []}
    for view in views:
        for metric in [*view.headline, GAP]:
            quantity = QUANTITIES[family(metric)]
            doubtful = [dataset for name, dataset in MEANINGLESS if name == metric]
            cells[quantity].append(view.trained[~view.trained["dataset"].isin(doubtful)])
            logs[quantity].append(view.logs(metric))
    return Evidence(name, {quantity: pd.concat(parts) for quantity, parts in cells.items()},
                    {quantity: pd.concat(parts, axis=1) for quantity, parts in logs.items()})  # fmt: skip


def _printed(views: list[View]) -> Evidence:
    numbers = pd.concat([view.published for view in views])
    every = pd.concat([view.trained for view in views])
    cells, logs = {"gap": every}, {"gap": pd.DataFrame()}
    for metric in ("fid", "is"):
        chosen = numbers[numbers["metric"] == metric].set_index("cell")["value"]
        logs[QUANTITIES[metric]] = chosen.map(math.log).to_frame().T
        cells[QUANTITIES[metric]] = every.loc[chosen.index]
    return Evidence(PAPER, cells, logs, printed=True)


@dataclass
class Judged:
    """All verdicts: source -> claim -> finding, and that on the cost, which has one source."""

    findings: dict[str, dict[str, Finding]]
    cost: Finding
    measured: list[str]  # the sources of ours that have anything at all

    def summary(self) -> Grid:
        """A row for each claim, a column for each source; ours only where something was measured."""
        rows = []
        for claim in CLAIMS:
            row = {"claim": claim.title}
            for name, found in self.findings.items():
                if name == PAPER or name in self.measured:
                    row[name] = found[claim.name].verdict
            rows.append(row)
        rows.insert(C4_PLACE, {"claim": C4, BENCH: self.cost.verdict})
        return simple(rows, "What each source says about each claim.", missing="-")

    def details(self) -> dict[str, Grid]:
        """What stands behind the verdicts: for each claim its effect in each source."""
        made = {}
        for number, claim in enumerate(CLAIMS):
            if number == C4_PLACE:
                made[C4] = simple([self.cost.row(BENCH)], COST)
            rows = [found[claim.name].row(name) for name, found in self.findings.items()]
            made[claim.title] = simple(rows, f"Effect: {claim.effect}.")
        return made


NOTES = [
    "Every effect is the log ratio of two conditions, taken within each training seed, its mean over the seeds and "
    "Student's t interval, printed as percent of change.",
    f"A verdict needs every cell that the claim speaks of, with at least {MIN_SEEDS} seeds each; \"cells covered\" "
    "says how many have them.",
    f"\"In every cell\" (C1, C5) is tested with Holm's correction at {LEVEL:.0%}, and the claims on average by their "
    "95 % interval.",
    "Smallest effect seen: what a test with this many seeds and this spread would have found 4 times in 5.",
    "C0 is the precondition of C2 and C3: where the baseline does not get worse as data shrink, they are not testable.",
    "The control is no claim of the paper: DiffAugment is known to help with few images, so a benchmark that cannot "
    "see that may not see a gain of gradgap either.",
    "The paper's numbers are single runs: they can be consistent with a claim, and cannot support it. The unit is the "
    "data set; \"in every cell\" is taken at its word.",
    "C4 compares training iterations measured in turn on one thread, not the wall clock of shared machines.",
]


def judge_all(views: dict[str, View], results: Path) -> Judged:
    found = sources(views)
    measured = []
    for source in found:
        if not source.printed and any(len(logs) for logs in source.logs.values()):
            measured.append(source.name)
    return Judged({source.name: verdicts(source) for source in found}, cost(results), measured)
