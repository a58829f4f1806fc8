"""A table at one look: whether it can see an effect at all, and how one method does against each of its competitors."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import pandas as pd

from reports.data.records import cell_id
from reports.data.stats import LEVEL, MIN_SEEDS, Contrasts, Estimate, average, contrast, estimate, holm
from reports.data.views import View, smallest
from reports.show.document import Grid, simple
from reports.show.words import NOTHING, detectable, interval, linked, score, title

BASELINE = "baseline"
BETTER, WORSE, ALIKE, FEW = "better", "worse", "not told apart", "too few seeds"
PHRASES = {BETTER: "is better than", WORSE: "is worse than", ALIKE: "is not told apart from",
           FEW: "has too few seeds to be compared with"}  # fmt: skip


@dataclass
class Duel:
    """A method against one other, over the cells that have both.

    cells   in how many of the table's cells both were measured: "3 of 5"
    effect  the mean over these cells, within each seed
    p       of "no effect", corrected for the number of `tests`
    """

    opponent: str
    cells: str
    effect: Estimate
    p: float
    tests: int = 1

    @property
    def verdict(self) -> str:
        if self.effect.n < MIN_SEEDS:
            return FEW
        if self.p >= LEVEL:
            return ALIKE
        if self.effect.mean < 0:  # the headline is a distance
            return BETTER
        return WORSE


def is_judged(view: View) -> bool:
    """Whether a table is meant for verdicts. One of fewer seeds (smoke) shows that the suite works."""
    return len(view.published) > 0 or view.table.seeds >= MIN_SEEDS


def contest(view: View) -> list[Duel]:
    """The paper's regularizer against each competitor, where data are fewest; [] for a table without verdicts."""
    if not is_judged(view):
        return []
    claimed = view.cells[view.cells["claimed"] & view.cells["baseline"].isin(smallest(view.cells))]
    return duels(view, {baseline: cell for cell, baseline in claimed["baseline"].items()})


def duels(view: View, sides: Mapping[str, str]) -> list[Duel]:
    """Each method of `sides` (baseline -> its cell) against the baseline and everything else that was trained on it.

    The baseline is the question, at LEVEL; the verdicts on the others are Holm-corrected for their number.
    """
    found, logs = [], view.logs(view.headline[0])
    for opponent, contrasts in _opponents(view, sides).items():
        seeds = {cell: len(contrast(logs, weights)) for cell, weights in contrasts.items()}
        enough = max(1, min(MIN_SEEDS, max(seeds.values())))  # or all that have any, where none has MIN_SEEDS
        measured = {cell: contrasts[cell] for cell in contrasts if seeds[cell] >= enough}
        values = contrast(logs, average(measured))
        if len(values):
            effect = estimate(values)
            found.append(Duel(opponent, f"{len(measured)} of {len(contrasts)}", effect, effect.p))
    others = [duel for duel in found if duel.opponent != BASELINE]
    for duel, p in zip(others, holm([duel.effect.p for duel in others]), strict=True):
        duel.p, duel.tests = p, len(others)
    return found


def _opponents(view: View, sides: Mapping[str, str]) -> dict[str, Contrasts]:
    """Opponent -> the contrasts of its cells. An augmentation with the method is set against it without."""
    opponents: dict[str, Contrasts] = {}
    for baseline, side in sides.items():
        beside = view.cells[(view.cells.index == baseline) | (view.cells["baseline"] == baseline)]
        for cell, row in beside.drop(side).iterrows():
            alone = cell_id(replace(row["run"], regularizers={}))
            if alone != cell and row["run"].regularizers == view.cells["run"][side].regularizers:
                name = f"{view.cells['method'].get(alone)}, when added to it"
                opponents.setdefault(name, {})[cell] = {cell: 1.0, alone: -1.0}
            else:
                opponents.setdefault(row["method"], {})[cell] = {side: 1.0, cell: -1.0}
    return opponents


def preconditions(view: View) -> list[Grid]:
    """For each model and data set the yardsticks, whether fewer data hurt, and whether DiffAugment helps."""
    metric = view.headline[0]
    known, rows = view.of(metric), []
    if known.empty or not is_judged(view):
        return []
    known["score"] = [linked(score(row.mean, row.sd, metric), row.Index) for row in known.itertuples()]
    known["change"] = known["effect"].map(interval)
    for least in smallest(view.cells):
        cell = view.cells.loc[least]
        same = known[known["dataset"] == cell["dataset"]]
        own = same[same["model"] == cell["model"]]
        fewest = own[own.index == least]
        rows.append({
            "model": title(cell["model"]), "data set": cell["dataset"],
            "held-out real images": _first(same.loc[same["kind"] == "heldout", "score"]),
            "most data": _first(own.loc[own.index == (cell["against"] or least), "score"]),
            "fewest data": _first(fewest["score"]), "untrained": _first(own.loc[own["kind"] == "untrained", "score"]),
            "fewer data": _first(fewest["change"]),
            "DiffAugment": _first(own.loc[own["control"] & (own["baseline"] == least), "change"])})  # fmt: skip
    return simple(rows, f"{title(metric)} from what a perfect generator would reach (held-out real images, scored as "
                  "if generated; without a test part these are among the references, and the value is too low), over "
                  "the baseline with the most and the fewest data, to where training starts. A table can answer only "
                  "where fewer data make the baseline worse (above zero) and DiffAugment, which is known to help, is "
                  "seen to help (below zero) where data are fewest.", 2)  # fmt: skip


def _first(texts: pd.Series) -> str:
    return next(iter(texts), NOTHING)


def duel_grid(view: View, found: list[Duel], name: str) -> list[Grid]:
    rows, metric = [], title(view.headline[0])
    for duel in found:
        rows.append({f"{name} against": duel.opponent, metric: interval(duel.effect), "verdict": duel.verdict,
                     "cells": duel.cells, "seeds": duel.effect.n,
                     "detectable": detectable(duel.effect, duel.tests)})  # fmt: skip
    return simple(rows, f"Change of {metric} (below zero: {name} is better) against each other method on the same "
                  "data, mean over the cells that have both, with its 95 % interval over the training seeds. The "
                  "baseline is tested alone at the 5 % level, the others with Holm's correction for their number, so "
                  "that an interval may leave out zero without a verdict. Detectable: the smallest change that would "
                  "have been found 4 times in 5.")  # fmt: skip


def in_words(view: View, found: list[Duel], name: str) -> str:
    """The competitors by the method's verdict against them, each with the change of the distance."""
    groups: dict[str, list[str]] = {}
    for duel in found:
        groups.setdefault(duel.verdict, []).append(f"{duel.opponent} ({interval(duel.effect)}, mean over {duel.cells} "
                                                     "cells)")
    parts = [f"{PHRASES[verdict]} {', '.join(opponents)}" for verdict, opponents in groups.items()]
    return f"by {title(view.headline[0])}, {name} {'; '.join(parts)}."
