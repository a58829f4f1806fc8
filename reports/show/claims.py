"""The paper's claims, each put to the same test on every source of evidence. NOTES say how a verdict is reached.

A claim is a set of contrasts of log values: a cell less its baseline, a small fraction less a large one.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.state import parsed
from reports.data.records import DAMAGE, GAP
from reports.data.stats import LEVEL, MIN_SEEDS, Contrasts, average, contrast, estimate, holm
from reports.data.views import MEANINGLESS, View, smallest
from reports.show.contest import is_judged
from reports.show.document import Section, simple
from reports.show.words import NOTHING, change, detectable, interval, title

SUPPORTED, CONTRADICTED, OPEN = "supported", "contradicted", "not enough evidence"
UNTESTABLE, CONSISTENT, INCONSISTENT = "not testable here", "consistent", "not consistent"
UNPUBLISHED = "nothing published"
PAPER, OURS, BENCH = "the paper's numbers", "Tables 1-3", "bench-regularizers"
CHEAP = 0.10  # share of training time: what is taken as "almost no extra cost"
WORDS = {"distance": "the distance (FID, or fd_effnet where that stands in)", "is": "the Inception Score",
         "gap": "late |n_R - n_F|", "baseline": "of the baseline", "claimed": "gradgap against baseline",
         "control": "DiffAugment against baseline", "cells": "over all cells", "fewest": "at the smallest fraction",
         "fractions": "smallest against largest fraction", "models": "over each model's cells"}  # fmt: skip


@dataclass(frozen=True)
class Claim:
    """A claim as a test: the sign that the contrasts of a quantity should have, on average or in every one.

    of       what the claim is about: the "claimed" method or the positive "control", each less its baseline, or the
             "baseline" itself
    between  what is contrasted: "cells" as they are, those where data are "fewest", the smallest fraction with the
             largest ("fractions"), or the mean over the cells of each model ("models")
    needs    the claim that is its precondition
    """

    name: str
    statement: str
    quantity: str
    sign: int
    of: str
    between: str
    every: bool = False
    needs: str = ""


CLAIMS = [
    Claim("C0", "The baseline gets worse as data shrink", "distance", 1, "baseline", "fractions"),
    Claim("Control", "DiffAugment helps at the smallest fraction", "distance", -1, "control", "fewest"),
    Claim("C1", "R lowers FID in every cell", "distance", -1, "claimed", "cells", every=True),
    Claim("C2", "The gain grows as data shrink", "distance", -1, "claimed", "fractions", needs="C0"),
    Claim("C3", "The norm gap grows as data shrink", "gap", 1, "baseline", "fractions", needs="C0"),
    Claim("C5", "R combines with any model", "distance", -1, "claimed", "models", every=True),
    Claim("C6", "IS rises", "is", 1, "claimed", "cells"),
    Claim("C7", "R shrinks the gap that it penalises", "gap", -1, "claimed", "cells"),
]
C4 = Claim("C4", "R costs almost nothing", "cost", 1, "claimed", "models")  # which has a measurement of its own


@dataclass
class Finding:
    """The outcome of a claim's test: how large the effect is, which cells it covers, what it could see."""

    claim: Claim
    verdict: str
    effect: str = NOTHING
    covered: str = NOTHING
    detectable: str = NOTHING


NOTES = [
    "Every effect is the log ratio of two conditions, taken within each training seed, its mean over the seeds and "
    "Student's t interval, printed as percent of change.",
    *[f"{claim.name}: {WORDS[claim.quantity]}, {WORDS[claim.of]}, {WORDS[claim.between]}." for claim in CLAIMS],
    f"C4: CPU time of a whole training iteration with gradgap over that without, in the bench; up to {CHEAP:.0%} is "
    "taken as \"almost nothing\"; iterations measured in turn on one thread, not the wall clock of shared machines.",
    f"A verdict needs every cell that the claim speaks of, with at least {MIN_SEEDS} seeds each; \"cells covered\" "
    "says how many have them.",
    f"\"In every cell\" (C1, C5) is tested with Holm's correction at {LEVEL:.0%}, and the claims on average by their "
    "95 % interval.",
    "Detectable: the smallest change that a test with this many seeds and this spread would have found 4 times in 5.",
    "C0 is the precondition of C2 and C3: where the baseline does not get worse as data shrink, they are not testable.",
    "The control is no claim of the paper: DiffAugment is known to help with few images, so a benchmark that cannot "
    "see that may not see a gain of gradgap either.",
    "The paper's numbers are single runs: they can be consistent with a claim, and cannot support it. The unit is the "
    "data set; \"in every cell\" is taken at its word.",
]


def contrasts_of(claim: Claim, cells: pd.DataFrame) -> Contrasts:
    """What a claim compares, as weights of cells."""
    chosen = cells[cells["kind"] == "baseline"] if claim.of == "baseline" else cells[cells[claim.of]]
    if claim.between == "fewest":
        chosen = chosen[chosen["baseline"].isin(smallest(cells))]
    each: Contrasts = {}
    for cell, baseline in chosen["baseline"].items():
        each[cell] = {cell: 1.0, baseline: -1.0} if baseline else {cell: 1.0}
    if claim.between in ("cells", "fewest"):
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


def judge(claim: Claim, view: View) -> Finding:
    """The verdict of a table, or of the paper's numbers, on a claim, without regard to its precondition."""
    metric = {"distance": view.headline[0], "is": view.headline[-1], "gap": GAP}[claim.quantity]
    logs, printed = view.logs(metric), view.published.loc[view.published["metric"] == metric, "cell"]
    cells = view.trained[~view.trained["dataset"].isin(MEANINGLESS.get(metric, []))]
    if len(printed):  # then the claim speaks of the cells that the paper printed
        cells = view.cells.loc[printed]
    contrasts = contrasts_of(claim, cells)
    if view.name == PAPER:
        outcome = _printed(claim, cells, logs, contrasts)
    elif not contrasts:
        outcome = UNTESTABLE, "no such cells in this table"
    else:
        outcome = _measured(claim, logs, contrasts)
    return Finding(claim, *outcome)


def _measured(claim: Claim, logs: pd.DataFrame, contrasts: Contrasts) -> tuple[str, ...]:
    """Verdict, effect, cells covered and what was detectable, from the seeds of our runs.

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
        return verdict, f"{interval(widest)}, {widest.n} seeds", covered, detectable(widest)
    return (verdict, f"{average_change} on average, {change(claim.sign * signed.min())} in the least; on the claim's "
            f"side in {(signed > 0).sum()} of {len(found)}, for sure in {agree}, for sure against it in {against}",
            covered, f"{detectable(widest, len(found))} in one of {len(found)}")  # fmt: skip


def _printed(claim: Claim, cells: pd.DataFrame, logs: pd.DataFrame, contrasts: Contrasts) -> tuple[str, ...]:
    """What the printed numbers say: single runs, so that they can be consistent with a claim and no more.

    The unit is the data set, since the cells of one share its images; "in every cell" is taken at its word.
    """
    values = pd.Series({name: contrast(logs, contrasts[name]).mean() for name in contrasts}, dtype=float).dropna()
    if values.empty:
        return (UNPUBLISHED,)
    unit, clusters = "models", values.index
    if claim.between != "models":  # any cell of a contrast says its data set: they have one
        unit, clusters = "data sets", cells["dataset"][[min(contrasts[name]) for name in values.index]].to_numpy()
    effect = estimate(values.groupby(clusters).mean())
    agrees = effect.mean * claim.sign > 0
    if claim.every:
        agrees = (values * claim.sign > 0).all()
    text = interval(effect)
    if effect.n < MIN_SEEDS:
        text += ", no interval"
    verdict = CONSISTENT
    if not agrees:
        verdict = INCONSISTENT
    printed = logs.count().reindex(list(average(contrasts)), fill_value=0) > 0
    return (verdict, f"{text}, by {unit} ({effect.n}), {len(values)} numbers", f"{printed.sum()} of {len(printed)}")


def verdicts(view: View) -> list[Finding]:
    """The findings of a table; a claim whose precondition does not hold is not judged."""
    found: dict[str, Finding] = {}
    for claim in CLAIMS:
        finding = found[claim.name] = judge(claim, view)
        judged = finding.verdict in (CONSISTENT, INCONSISTENT) or finding.detectable != NOTHING
        if judged and claim.needs and found[claim.needs].verdict not in (SUPPORTED, CONSISTENT):
            finding.verdict = UNTESTABLE
    return list(found.values())


def cost(results: Path) -> Finding:
    """C4 from the controlled measurement of `make bench-regularizers`: the update itself, in turn, on one thread."""
    found = Finding(C4, OPEN, "not measured: `make bench-regularizers` does")
    try:
        rows = parsed((results / "bench" / "regularizers.json").read_bytes())["rows"]
        extra = pd.DataFrame([row["forms"]["gradgap"] for row in rows])[["ratio", "ratio_low", "ratio_high"]] - 1
    except DAMAGE:  # or there is none
        return found
    least, most = 100 * extra["ratio"].min(), 100 * extra["ratio"].max()
    found.effect = f"{least:+.0f} % to {most:+.0f} % of a training iteration, at every update"
    found.covered = f"{len(rows)} models"
    if extra["ratio_high"].max() < CHEAP:
        found.verdict = SUPPORTED
    elif extra["ratio_low"].max() > CHEAP:
        found.verdict = CONTRADICTED
    return found


def judge_all(views: list[View], results: Path) -> dict[str, list[Finding]]:
    """The findings of every source: the printed numbers, ours for the paper's tables together, ours for each other
    table that is meant for verdicts and has any, and the measurement of the cost."""
    paper = [view for view in views if len(view.published)]
    sources = [view for view in views if view not in paper and is_judged(view)]
    if paper:
        joined = {}
        for name in ("cells", "values", "summary"):
            joined[name] = pd.concat(getattr(view, name) for view in paper)
        ours = replace(paper[0], name=OURS, headline=["fid", "is"], cache={}, **joined)
        printed = ours.published.assign(seed=0, value=ours.published["published"])
        sources = [replace(ours, name=PAPER, values=printed, cache={}), ours, *sources]
    found = {source.name: verdicts(source) for source in sources if len(source.values)}
    return found | {BENCH: [cost(results)]}


def sections(findings: dict[str, list[Finding]]) -> list[Section]:
    """What each source says about each claim, with what stands behind it, and how a verdict is reached."""
    overview: dict[str, dict[str, str]] = {}
    behind = []
    for source, found in findings.items():
        rows = []
        for finding in found:
            claim = f"{finding.claim.name}. {finding.claim.statement}"
            overview.setdefault(claim, {"claim": claim})[source] = finding.verdict
            rows.append({"claim": claim, "verdict": finding.verdict, "effect [95 % interval]": finding.effect,
                         "cells covered": finding.covered, "detectable": finding.detectable})  # fmt: skip
        behind.append(Section(f"Behind the verdicts: {source}", simple(rows, "Effects and coverage."), folded=True))
    first = simple(overview.values(), "What each source says about each claim. A source without any record is not "
                   "shown.")  # fmt: skip
    return [Section("", first), *behind, Section("How a verdict is reached", NOTES, folded=True)]
