"""A table at one look: whether it can see an effect at all, and how one method does against each of its competitors."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import pandas as pd

from reports.data.records import cell_id
from reports.data.stats import LEVEL, MIN_SEEDS, Contrasts, Estimate, average, contrast, estimate, holm
from reports.data.views import View, share
from reports.show.grids import Grid, simple
from reports.show.words import NOTHING, change, interval, scores, smallest, title

PLACES = ["held-out real images", "baseline, most data", "baseline, fewest data", "untrained", "fewer data",
          "DiffAugment", "trained"]  # fmt: skip
BASELINE = "baseline"
BETTER, WORSE, ALIKE, FEW = "better", "worse", "not told apart", "too few seeds"


@dataclass
class Duel:
    """A method against one other, over the cells that have both.

    each    the mean log ratio in each of these cells, by what the cell is called
    listed  in how many cells the table has both
    effect  the mean over the cells, within each seed
    p       of "no effect", corrected for the number of `tests`
    """

    opponent: str
    each: dict[str, float]
    listed: int
    effect: Estimate
    p: float
    tests: int = 1
    verdict: str = FEW


def is_judged(view: View) -> bool:
    """Whether a table is meant for verdicts. One of fewer seeds (smoke) shows that the suite works."""
    return len(view.published) > 0 or view.table.seeds >= MIN_SEEDS


def champions(view: View) -> dict[str, str]:
    """Baseline -> the paper's regularizer beside it, where data are fewest."""
    claimed = view.cells[view.cells["claimed"] & view.cells["baseline"].isin(view.smallest)]
    return {baseline: cell for cell, baseline in claimed["baseline"].items()}


def duels(view: View, sides: Mapping[str, str]) -> list[Duel]:
    """Each method of `sides` (baseline -> its cell) against the baseline and everything else that was trained on it.

    The baseline is the question, at LEVEL; the verdicts on the others are Holm-corrected for their number.
    """
    logs, found = view.logs(view.headline[0]), []
    for opponent, contrasts in _opponents(view, sides).items():
        seeds = {cell: contrast(logs, weights) for cell, weights in contrasts.items()}
        enough = min(MIN_SEEDS, max(map(len, seeds.values())))
        measured = {cell: contrasts[cell] for cell, values in seeds.items() if len(values) >= max(enough, 1)}
        values = contrast(logs, average(measured))
        if len(values):
            each = {_task(view, cell): seeds[cell].mean() for cell in measured}
            effect = estimate(values)
            found.append(Duel(opponent, each, len(contrasts), effect, effect.p))
    others = [duel for duel in found if duel.opponent != BASELINE]
    for duel, p in zip(others, holm([duel.effect.p for duel in others]), strict=True):
        duel.p, duel.tests = p, len(others)
    for duel in found:
        if duel.effect.n >= MIN_SEEDS:
            duel.verdict = ALIKE
        if duel.p < LEVEL:
            duel.verdict = BETTER if duel.effect.mean < 0 else WORSE  # the headline is a distance
    return found


def _opponents(view: View, sides: Mapping[str, str]) -> dict[str, Contrasts]:
    """Opponent -> the contrasts of its cells. An augmentation with the method is set against it without."""
    opponents: dict[str, Contrasts] = {}
    for baseline, side in sides.items():
        beside = view.cells[(view.cells.index == baseline) | (view.cells["baseline"] == baseline)]
        for cell, row in beside.drop(side).iterrows():
            alone = cell_id(replace(row["run"], regularizers={}))
            if alone != cell and row["run"].regularizers == view.cells["run"][side].regularizers:
                name = f"{view.cells['method'].get(alone)}, added to it"
                opponents.setdefault(name, {})[cell] = {cell: 1.0, alone: -1.0}
            else:
                opponents.setdefault(row["method"], {})[cell] = {side: 1.0, cell: -1.0}
    return opponents


def _task(view: View, cell: str) -> str:
    row = view.cells.loc[cell]
    return f"{title(row['model'])}, {row['dataset']} {share(row['fraction'])}"


def duel_grid(view: View, found: list[Duel], name: str) -> Grid:
    rows = []
    for duel in found:
        rows.append({f"{name} against": duel.opponent, f"{title(view.headline[0])}": interval(duel.effect),
                     "verdict": duel.verdict, "cells": f"{len(duel.each)} of {duel.listed}", "seeds": duel.effect.n,
                     "could have been seen": smallest(duel.effect, duel.tests)})  # fmt: skip
    return simple(rows, f"Change of {title(view.headline[0])} (below zero: {name} is better) against each other method "
                  "on the same data, mean over the cells that have both, with its 95 % interval over the training "
                  "seeds. Verdicts are at the 5 % level, Holm-corrected for the number of competitors. The last "
                  "column is the smallest change that would have been seen 4 times in 5.")  # fmt: skip


def in_words(view: View, found: list[Duel], name: str) -> str:
    """The duel with the baseline in full, then the others by their verdicts."""
    groups: dict[str, list[str]] = {}
    parts = []
    for duel in found:
        if duel.opponent == BASELINE:
            parts.append(f"{name} changes {title(view.headline[0])} by {interval(duel.effect)} against the baseline "
                         f"({duel.verdict}; {len(duel.each)} of {duel.listed} cells, {duel.effect.n} seeds)")
        elif duel.verdict in (BETTER, WORSE):
            groups.setdefault(duel.verdict, []).append(f"{duel.opponent} ({change(duel.effect.mean)})")
        else:
            groups.setdefault(duel.verdict, []).append(duel.opponent)
    for verdict, phrase in {BETTER: "it is better than", WORSE: "it is worse than", ALIKE: "it is not told apart from",
                            FEW: "too few seeds are there to compare it with"}.items():  # fmt: skip
        if verdict in groups:
            parts.append(f"{phrase} {'; '.join(groups[verdict])}")
    return ". ".join(part[0].upper() + part[1:] for part in parts) + "."


def contest(view: View) -> list[Grid]:
    """The paper's regularizer against each competitor, where data are fewest."""
    found = duels(view, champions(view)) if is_judged(view) else []
    return [duel_grid(view, found, "gradgap")] if found else []


def preconditions(view: View) -> list[Grid]:
    """For each model and data set: the yardsticks, whether fewer data hurt, and whether DiffAugment helps."""
    metric, rows, links = view.headline[0], [], []
    means = view.scores(metric)["mean"]
    for small in view.smallest:
        cell = view.cells.loc[small]
        same = view.cells[view.cells["dataset"] == cell["dataset"]]
        own = same[same["model"] == cell["model"]]
        large = own.loc[own["kind"] == "baseline", "fraction"].idxmax()
        places = {"held-out real images": same.index[same["kind"] == "heldout"], "baseline, most data": [large],
                  "baseline, fewest data": [small], "untrained": own.index[own["kind"] == "untrained"]}  # fmt: skip
        changes = {"fewer data": (small, large)}
        for control in own.index[own["control"] & (own["baseline"] == small)]:
            changes["DiffAugment"] = control, small
        row, leads = {"model": title(cell["model"]), "data set": cell["dataset"]}, {}
        for name, cells in places.items():
            for found in means.index.intersection(cells):
                row[name] = scores(view, metric)[found]
                leads[name] = view.address(found)
        for name, (one, other) in changes.items():
            found = contrast(view.logs(metric), {one: 1.0, other: -1.0})
            if len(found) and one != other:
                row[name] = interval(estimate(found))
        rows.append(row | {"trained": _trained(own, means)})
        links.append(leads)
    columns = ["model", "data set", *PLACES]
    frame = pd.DataFrame(rows).reindex(columns=columns)
    grid = simple(frame, f"{title(metric)} from what a perfect generator would reach (held-out real images, scored as "
                  "if generated) to where training starts. A table can answer only where fewer data make the baseline "
                  "worse and DiffAugment, which is known to help, is seen to help (below zero) where data are fewest. "
                  "Trained: how many of the trained cells have at most half of their untrained generator's distance.",
                  labels=2, missing=NOTHING)  # fmt: skip
    grid.links = pd.DataFrame(links, grid.text.index, columns[2:], dtype=object).fillna("")
    return [grid]


def _trained(own: pd.DataFrame, means: pd.Series) -> str:
    """Did training work at all?"""
    means = means[means.index.isin(own.index)]
    untrained = own["kind"][means.index] == "untrained"
    if not untrained.any() or untrained.all():
        return NOTHING
    well = means[~untrained] <= means[untrained].iloc[0] / 2
    return f"{well.sum()} of {len(well)}"
