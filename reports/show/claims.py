"""The paper's claims, each put to the same test on every source of evidence: verdicts that a table may or may not give.

A claim is a set of contrasts of log values (a cell less its baseline, a small fraction less a large one). A verdict
needs every cell that the claim speaks of, with at least 3 seeds each; otherwise there is "not enough evidence". "In
every cell" is tested with Holm's correction; "on average" is the mean of the contrasts within each seed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.state import parsed
from reports.data.records import GAP
from reports.data.stats import LEVEL, MIN_SEEDS, Contrasts, Estimate, average, contrast, estimate, holm
from reports.data.views import MEANINGLESS, View, family, smallest
from reports.show import words
from reports.show.contest import is_judged
from reports.show.grids import Section, simple
from reports.show.words import NOTHING, change, interval, title

SUPPORTED, CONTRADICTED, OPEN = "supported", "contradicted", "not enough evidence"
UNTESTABLE, CONSISTENT, INCONSISTENT = "not testable here", "consistent", "not consistent"
UNPUBLISHED = "nothing published"
PAPER, OURS, BENCH = "the paper's numbers", "Tables 1-3", "bench-regularizers"
CHEAP = 0.10  # share of training time: what is taken as "almost no extra cost"
QUANTITIES = {"fid": "distance", "fd": "distance", "is": "is", "norm": "gap"}  # by the family of a metric


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
    """The outcome of a claim's test: how large its effect is, which cells it covers, what it could have seen."""

    verdict: str
    effect: str = NOTHING
    covered: str = NOTHING
    smallest: str = NOTHING

    def row(self, claim: str) -> dict[str, str]:
        return {"claim": claim, "verdict": self.verdict, "effect [95 % interval]": self.effect,
                "cells covered": self.covered, "could have been seen": self.smallest}  # fmt: skip


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
    """DiffAugment less the baseline, where data are fewest."""
    made = {}
    for cell, row in cells[cells["control"] & cells["baseline"].isin(smallest(cells))].iterrows():
        made[cell] = {cell: 1.0, row["baseline"]: -1.0}
    return made


def _ends(cells: pd.DataFrame) -> list[tuple[str, str, str]]:
    """Of each model and data set with several fractions: its name, the cells of the smallest and the largest."""
    ends = []
    for (model, dataset, _), group in cells.groupby(["model", "dataset", "resolution"], sort=False):
        group = group.sort_values("fraction")
        if group["fraction"].iloc[0] < group["fraction"].iloc[-1]:
            ends.append((f"{title(model)}, {dataset}", group.index[0], group.index[-1]))
    return ends


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


C4 = "C4. R costs almost nothing"
COST = (f"CPU time of a whole training iteration with gradgap over that without, in the bench; up to {CHEAP:.0%} is "
        "taken as \"almost nothing\"")  # fmt: skip


def judge(claim: Claim, source: Evidence) -> Finding:
    """The verdict of a source's seeds on a claim, without regard to its precondition."""
    contrasts, logs = claim.contrasts(source.cells[claim.quantity]), source.logs[claim.quantity]
    needed = list(average(contrasts))
    if not needed:
        return Finding(UNTESTABLE, "no such cells in this table")
    counts = logs.count().reindex(needed, fill_value=0)
    covered = f"{(counts >= MIN_SEEDS).sum()} of {len(needed)}"
    mean = contrast(logs, average(contrasts))
    complete = (counts >= MIN_SEEDS).all() and len(mean) >= MIN_SEEDS
    if complete and not claim.every:
        return _on_average(claim, estimate(mean), covered)
    found = {}
    for name, weights in contrasts.items():
        seeds = contrast(logs, weights)
        if len(seeds):
            found[name] = estimate(seeds)
    if complete:
        return _in_every(claim, list(found.values()), covered)
    partial = "nothing measured"
    if found:
        partial = f"{change(_means(found.values()).mean())} in the {len(found)} contrasts that were measured"
    return Finding(OPEN, partial, covered)


def _means(found) -> np.ndarray:
    return np.array([effect.mean for effect in found])


def _on_average(claim: Claim, effect: Estimate, covered: str) -> Finding:
    """By the sign of the mean, where its interval leaves out zero."""
    verdict = OPEN
    if effect.p < LEVEL:
        verdict = SUPPORTED if effect.mean * claim.sign > 0 else CONTRADICTED
    return Finding(verdict, f"{interval(effect)}, {effect.n} seeds", covered, words.smallest(effect))


def _in_every(claim: Claim, found: list[Estimate], covered: str) -> Finding:
    """Supported where each contrast has the sign after Holm's correction, contradicted where one has the other."""
    right = _means(found) * claim.sign > 0
    sure = holm([effect.p for effect in found]) < LEVEL
    agree, against = (sure & right).sum(), (sure & ~right).sum()
    verdict = OPEN
    if against:
        verdict = CONTRADICTED
    elif agree == len(found):
        verdict = SUPPORTED
    least = (_means(found) * claim.sign).min() * claim.sign
    effect = (f"{change(_means(found).mean())} on average, {change(least)} in the least; on the claim's side in "
              f"{right.sum()} of {len(found)}, for sure in {agree}, for sure against it in {against}")  # fmt: skip
    widest = max(found, key=lambda effect: effect.error)
    return Finding(verdict, effect, covered, f"{words.smallest(widest, len(found))} in one of {len(found)}")


def judge_printed(claim: Claim, source: Evidence) -> Finding:
    """What the printed numbers say: single runs, so that they can be consistent with a claim and no more.

    The unit is the data set, since the cells of one share its images; "in every cell" is taken at its word.
    """
    cells, logs = source.cells[claim.quantity], source.logs[claim.quantity]
    contrasts = claim.contrasts(cells)
    rows = []
    for name, weights in contrasts.items():
        datasets = cells["dataset"][list(weights)].unique()
        if len(datasets) == 1:
            name = datasets[0]
        rows += [(name, value) for value in contrast(logs, weights)]
    if not rows:
        return Finding(UNPUBLISHED)
    values = pd.DataFrame(rows, columns=["cluster", "value"])
    effect = estimate(values.groupby("cluster")["value"].mean())
    agrees = effect.mean * claim.sign > 0
    if claim.every:
        agrees = (values["value"] * claim.sign > 0).all()
    unit = "data sets" if values["cluster"].isin(cells["dataset"]).all() else "models"
    text = interval(effect)
    if effect.n < MIN_SEEDS:
        text += ", no interval"
    return Finding(CONSISTENT if agrees else INCONSISTENT, f"{text}, by {unit} ({effect.n}), {len(values)} numbers",
                   f"{len(values)} of {len(contrasts)}")  # fmt: skip


def verdicts(source: Evidence) -> dict[str, Finding]:
    """The findings of a source, by the claims' names; a claim whose precondition does not hold is not judged."""
    found = {}
    for claim in CLAIMS:
        finding = judge_printed(claim, source) if source.printed else judge(claim, source)
        holds = not claim.needs or found[claim.needs].verdict in (SUPPORTED, CONSISTENT)
        complete = finding.verdict in (SUPPORTED, CONTRADICTED) or finding.smallest != NOTHING
        if complete and not holds:
            finding.verdict = UNTESTABLE
        found[claim.name] = finding
    return found


def cost(results: Path) -> Finding:
    """C4 from the controlled measurement of `make bench-regularizers`: the update itself, in turn, on one thread."""
    path = results / "bench" / "regularizers.json"
    if not path.exists():
        return Finding(OPEN, "not measured: `make bench-regularizers` does")
    try:
        rows = parsed(path.read_bytes())["rows"]
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
    """The printed numbers, ours for the paper's tables together, and ours for each other table meant for verdicts."""
    paper = [view for view in views.values() if len(view.published)]
    found = [_printed(paper), _measured(OURS, paper)] if paper else []
    for view in views.values():
        if view not in paper and is_judged(view):
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
        logs[QUANTITIES[metric]] = np.log(chosen).to_frame().T
        cells[QUANTITIES[metric]] = every.loc[chosen.index]
    return Evidence(PAPER, cells, logs, printed=True)


@dataclass
class Judged:
    """All verdicts: source -> claim -> finding, and that on the cost, which has one source."""

    findings: dict[str, dict[str, Finding]]
    cost: Finding
    measured: list[str]  # the sources that have anything at all

    def sections(self) -> list[Section]:
        """The verdicts of each source that has anything, with what stands behind them, and how they are reached."""
        rows = []
        for claim in CLAIMS:
            verdict = {source: self.findings[source][claim.name].verdict for source in self.measured}
            rows.append({"claim": claim.title} | verdict)
        rows.append({"claim": C4, BENCH: self.cost.verdict})
        unmeasured = [source for source in self.findings if source not in self.measured]
        caption = "What each source says about each claim."
        if unmeasured:
            caption += f" Nothing is measured yet of {', '.join(unmeasured)}."
        made = [Section("", [simple(rows, caption, missing=NOTHING)])]
        for source in self.measured:
            lines = [self.findings[source][claim.name].row(claim.title) for claim in CLAIMS]
            grid = simple(lines, f"Effects and coverage: {source}.")
            made.append(Section(f"Behind the verdicts: {source}", [grid], folded=True))
        grid = simple([self.cost.row(C4)], f"{COST}.")
        made.append(Section(f"Behind the verdicts: {BENCH}", [grid], folded=True))
        return [*made, Section("How a verdict is reached", lines=NOTES, folded=True)]


NOTES = [
    "Every effect is the log ratio of two conditions, taken within each training seed, its mean over the seeds and "
    "Student's t interval, printed as percent of change.",
    *[f"{claim.name}: {claim.effect}." for claim in CLAIMS],
    f"C4: {COST}; iterations measured in turn on one thread, not the wall clock of shared machines.",
    f"A verdict needs every cell that the claim speaks of, with at least {MIN_SEEDS} seeds each; \"cells covered\" "
    "says how many have them.",
    f"\"In every cell\" (C1, C5) is tested with Holm's correction at {LEVEL:.0%}, and the claims on average by their "
    "95 % interval.",
    "Could have been seen: the smallest change that a test with this many seeds and this spread would have found 4 "
    "times in 5.",
    "C0 is the precondition of C2 and C3: where the baseline does not get worse as data shrink, they are not testable.",
    "The control is no claim of the paper: DiffAugment is known to help with few images, so a benchmark that cannot "
    "see that may not see a gain of gradgap either.",
    "The paper's numbers are single runs: they can be consistent with a claim, and cannot support it. The unit is the "
    "data set; \"in every cell\" is taken at its word.",
]


def judge_all(views: dict[str, View], results: Path) -> Judged:
    judged = Judged({}, cost(results), [])
    for source in sources(views):
        judged.findings[source.name] = verdicts(source)
        if sum(map(len, source.logs.values())):
            judged.measured.append(source.name)
    return judged
