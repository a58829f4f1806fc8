"""The paper's claims, each put to the same test on every source of evidence: verdicts that a table may or may not give.

A claim is a set of contrasts of log values (a cell less its baseline, a small fraction less a large one). A verdict
needs every cell that the claim speaks of, with at least 3 seeds each; otherwise there is "not enough evidence". "In
every cell" tests each contrast, with Holm's correction; "on average" tests their mean within each seed.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.state import parsed
from reports.data.records import DAMAGE, GAP
from reports.data.stats import LEVEL, MIN_SEEDS, Contrasts, average, contrast, estimate, holm
from reports.data.views import MEANINGLESS, View, family, smallest
from reports.show.contest import is_judged
from reports.show.document import Section, simple
from reports.show.words import NOTHING, change, interval, title, unseen

SUPPORTED, CONTRADICTED, OPEN = "supported", "contradicted", "not enough evidence"
UNTESTABLE, CONSISTENT, INCONSISTENT = "not testable here", "consistent", "not consistent"
UNPUBLISHED = "nothing published"
PAPER, OURS, BENCH = "the paper's numbers", "Tables 1-3", "bench-regularizers"
CHEAP = 0.10  # share of training time: what is taken as "almost no extra cost"
QUANTITIES = {"fid": "distance", "fd": "distance", "is": "is", "norm": "gap"}  # by the family of a metric


@dataclass(frozen=True)
class Claim:
    """A claim as a test: the sign that the contrasts of a quantity should have, on average or in every one.

    of       what the claim is about: the "claimed" method or the positive "control", each less its baseline, or the
             "baseline" itself
    between  what is contrasted: "cells" as they are, those at the "smallest" fraction, the smallest fraction with the
             largest ("fractions"), or the mean over the cells of each model ("models")
    needs    the claim that is its precondition
    """

    name: str
    statement: str
    effect: str
    quantity: str
    sign: int
    of: str
    between: str
    every: bool = False
    needs: str = ""


@dataclass
class Evidence:
    """What one source has: quantity -> the cells that it speaks of, and their log values, a row for each seed."""

    name: str
    cells: dict[str, pd.DataFrame]
    logs: dict[str, pd.DataFrame]
    printed: bool = False  # are these the paper's printed numbers, one run each?


@dataclass
class Finding:
    """The outcome of a claim's test on a source: how large the effect is, which cells it covers, what it could see."""

    source: str
    claim: str
    statement: str
    verdict: str
    effect: str = NOTHING
    covered: str = NOTHING
    smallest: str = NOTHING


DISTANCE = "the distance (FID, or fd_effnet where that stands in)"
CLAIMS = [
    Claim("C0", "The baseline gets worse as data shrink", f"{DISTANCE} of the baseline, smallest against largest "
          "fraction", "distance", 1, "baseline", "fractions"),
    Claim("Control", "DiffAugment helps at the smallest fraction", f"{DISTANCE}, DiffAugment against baseline at the "
          "smallest fraction", "distance", -1, "control", "smallest"),
    Claim("C1", "R lowers FID in every cell", f"{DISTANCE}, gradgap against baseline", "distance", -1, "claimed",
          "cells", every=True),
    Claim("C2", "The gain grows as data shrink", "the ratio gradgap : baseline of the distance, smallest against "
          "largest fraction", "distance", -1, "claimed", "fractions", needs="C0"),
    Claim("C3", "The norm gap grows as data shrink", "the baseline's late |n_R - n_F|, smallest against largest "
          "fraction", "gap", 1, "baseline", "fractions", needs="C0"),
    Claim("C5", "R combines with any model", f"{DISTANCE}, gradgap against baseline, over each model's cells",
          "distance", -1, "claimed", "models", every=True),
    Claim("C6", "IS rises", "the Inception Score, gradgap against baseline", "is", 1, "claimed", "cells"),
    Claim("C7", "R shrinks the gap that it penalises", "late |n_R - n_F|, gradgap against baseline", "gap", -1,
          "claimed", "cells"),
]  # fmt: skip
COST = (f"CPU time of a whole training iteration with gradgap over that without, in the bench; up to {CHEAP:.0%} is "
        "taken as \"almost nothing\"")  # fmt: skip
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


def contrasts_of(claim: Claim, cells: pd.DataFrame) -> Contrasts:
    """What a claim compares, as weights of cells."""
    chosen = cells[cells["kind"] == "baseline"] if claim.of == "baseline" else cells[cells[claim.of]]
    if claim.between == "smallest":
        chosen = chosen[chosen["baseline"].isin(smallest(cells))]
    each: Contrasts = {}
    for cell, baseline in chosen["baseline"].items():
        each[cell] = {cell: 1.0, baseline: -1.0} if baseline else {cell: 1.0}
    if claim.between in ("cells", "smallest"):
        return each
    found: Contrasts = {}
    for (model, dataset, _), group in chosen.groupby(["model", "dataset", "resolution"], sort=False):
        least, most = group["fraction"].idxmin(), group["fraction"].idxmax()
        if claim.between == "fractions" and least != most:
            against = {cell: -weight for cell, weight in each[most].items()}
            found[f"{title(model)}, {dataset}"] = each[least] | against
    if claim.between == "models":
        for model, group in chosen.groupby("model", sort=False):
            found[title(model)] = average({cell: each[cell] for cell in group.index})
    return found


def judge(claim: Claim, source: Evidence) -> Finding:
    """The verdict of a source on a claim, without regard to its precondition."""
    cells, logs = source.cells[claim.quantity], source.logs[claim.quantity]
    contrasts = contrasts_of(claim, cells)
    if source.printed:
        outcome = _printed(claim, cells, logs, contrasts)
    elif not contrasts:
        outcome = UNTESTABLE, "no such cells in this table"
    else:
        outcome = _measured(claim, logs, contrasts)
    return Finding(source.name, claim.name, claim.statement, *outcome)


def _measured(claim: Claim, logs: pd.DataFrame, contrasts: Contrasts) -> tuple[str, ...]:
    """Verdict, effect, cells covered and what could have been seen, from the seeds of our runs.

    Supported where each contrast (or their mean) has the sign after Holm's correction, contradicted where one has the
    other.
    """
    mean = average(contrasts)
    enough = logs.count().reindex(list(mean), fill_value=0) >= MIN_SEEDS
    covered, together = f"{enough.sum()} of {len(enough)}", contrast(logs, mean)
    complete = enough.all() and len(together) >= MIN_SEEDS
    if complete and not claim.every:
        contrasts = {"mean": mean}
    seeds = [contrast(logs, weights) for weights in contrasts.values()]
    found = [estimate(values) for values in seeds if len(values)]
    if not found:
        return OPEN, "nothing measured", covered
    signed = claim.sign * np.array([effect.mean for effect in found])
    average_change = change(claim.sign * signed.mean())
    if not complete:
        return OPEN, f"{average_change} in the {len(found)} contrasts that were measured", covered
    sure = holm([effect.p for effect in found]) < LEVEL
    agree, against = (sure & (signed > 0)).sum(), (sure & (signed <= 0)).sum()
    verdict = OPEN
    if against:
        verdict = CONTRADICTED
    elif agree == len(found):
        verdict = SUPPORTED
    widest = max(found, key=lambda effect: effect.error)
    if not claim.every:
        return verdict, f"{interval(widest)}, {widest.n} seeds", covered, unseen(widest)
    return (verdict, f"{average_change} on average, {change(claim.sign * signed.min())} in the least; on the claim's "
            f"side in {(signed > 0).sum()} of {len(found)}, for sure in {agree}, for sure against it in {against}",
            covered, f"{unseen(widest, len(found))} in one of {len(found)}")  # fmt: skip


def _printed(claim: Claim, cells: pd.DataFrame, logs: pd.DataFrame, contrasts: Contrasts) -> tuple[str, ...]:
    """What the printed numbers say: single runs, so that they can be consistent with a claim and no more.

    The unit is the data set, since the cells of one share its images; "in every cell" is taken at its word.
    """
    rows = []
    for name, weights in contrasts.items():
        datasets = cells["dataset"][list(weights)].unique()
        if len(datasets) == 1:
            name = datasets[0]
        rows += [(name, value) for value in contrast(logs, weights)]
    if not rows:
        return (UNPUBLISHED,)
    values = pd.DataFrame(rows, columns=["cluster", "value"])
    effect = estimate(values.groupby("cluster")["value"].mean())
    agrees = effect.mean * claim.sign > 0
    if claim.every:
        agrees = (values["value"] * claim.sign > 0).all()
    unit = "data sets" if values["cluster"].isin(cells["dataset"]).all() else "models"
    text = interval(effect)
    if effect.n < MIN_SEEDS:
        text += ", no interval"
    verdict = CONSISTENT if agrees else INCONSISTENT
    return (verdict, f"{text}, by {unit} ({effect.n}), {len(values)} numbers", f"{len(values)} of {len(contrasts)}")


def verdicts(source: Evidence) -> list[Finding]:
    """The findings of a source; a claim whose precondition does not hold is not judged."""
    found: dict[str, Finding] = {}
    for claim in CLAIMS:
        finding = found[claim.name] = judge(claim, source)
        judged = finding.verdict in (CONSISTENT, INCONSISTENT) or finding.smallest != NOTHING
        if judged and claim.needs and found[claim.needs].verdict not in (SUPPORTED, CONSISTENT):
            finding.verdict = UNTESTABLE
    return list(found.values())


def cost(results: Path) -> Finding:
    """C4 from the controlled measurement of `make bench-regularizers`: the update itself, in turn, on one thread."""
    path = results / "bench" / "regularizers.json"
    found = Finding(BENCH, "C4", "R costs almost nothing", OPEN, "not measured: `make bench-regularizers` does")
    if not path.exists():
        return found
    try:
        rows = parsed(path.read_bytes())["rows"]
        form = pd.DataFrame([row["forms"]["gradgap"] for row in rows]) - 1
        low, high, middle = form["ratio_low"], form["ratio_high"], 100 * form["ratio"]
    except DAMAGE as error:
        found.effect = f"{path.name} has another form ({error!r}); `make bench-regularizers` makes it anew"
        return found
    found.effect = f"{middle.min():+.0f} % to {middle.max():+.0f} % of a training iteration, at every update"
    found.covered = f"{len(rows)} models"
    if high.max() < CHEAP:
        found.verdict = SUPPORTED
    elif low.max() > CHEAP:
        found.verdict = CONTRADICTED
    return found


def sources(views: dict[str, View]) -> list[Evidence]:
    """The printed numbers, ours for the paper's tables together, and ours for each other table meant for verdicts."""
    paper = [view for view in views.values() if len(view.published)]
    found = [_evidence(PAPER, paper, printed=True), _evidence(OURS, paper)] if paper else []
    for view in views.values():
        if view not in paper and is_judged(view):
            found.append(_evidence(view.name, [view]))
    return found


def _evidence(name: str, views: list[View], printed: bool = False) -> Evidence:
    cells: dict[str, list[pd.DataFrame]] = {"distance": [], "is": [], "gap": []}
    logs: dict[str, list[pd.DataFrame]] = {"distance": [], "is": [], "gap": []}
    for view in views:
        for metric in [*view.headline, GAP]:
            quantity = QUANTITIES[family(metric)]
            doubtful = [dataset for name, dataset in MEANINGLESS if name == metric]
            cells[quantity].append(view.trained[~view.trained["dataset"].isin(doubtful)])
            values = view.logs(metric)
            if printed:
                chosen = view.published[view.published["metric"] == metric].set_index("cell")["published"]
                values = np.log(chosen).to_frame().T
            logs[quantity].append(values)
    return Evidence(name, {quantity: pd.concat(parts) for quantity, parts in cells.items()},
                    {quantity: pd.concat(parts, axis=1) for quantity, parts in logs.items()}, printed)  # fmt: skip


def judge_all(views: dict[str, View], results: Path) -> list[Finding]:
    """The findings of every source that has anything at all, and that on the cost."""
    found = []
    for source in sources(views):
        if sum(map(len, source.logs.values())):
            found += verdicts(source)
    return [*found, cost(results)]


def sections(findings: list[Finding]) -> list[Section]:
    """What each source says about each claim, with what stands behind it, and how a verdict is reached."""
    overview: dict[str, dict[str, str]] = {}
    behind: dict[str, list[dict[str, str]]] = {}
    for finding in findings:
        claim = f"{finding.claim}. {finding.statement}"
        overview.setdefault(claim, {"claim": claim})[finding.source] = finding.verdict
        behind.setdefault(finding.source, []).append(
            {"claim": claim, "verdict": finding.verdict, "effect [95 % interval]": finding.effect,
             "cells covered": finding.covered, "could have been seen": finding.smallest})  # fmt: skip
    made = [Section("", [simple(overview.values(), "What each source says about each claim. A source without any "
                                "record is not shown.")])]  # fmt: skip
    for source, rows in behind.items():
        made.append(Section(f"Behind the verdicts: {source}", [simple(rows, "Effects and coverage.")], folded=True))
    return [*made, Section("How a verdict is reached", NOTES, folded=True)]
