"""The figures of a table as SVG, the same bytes for the same records.

A line is the geometric mean over the training seeds, its band one standard deviation of the logarithms to each side; it
carries its name at its end instead of a legend.
"""

import io
import math
from collections.abc import Callable
from dataclasses import dataclass

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from benchmarks.tables import Cell
from reports.data.records import Results
from reports.data.stats import MIN_SEEDS, Estimate
from reports.data.views import View, curves, is_gradgap, norms, off_table, share, view
from reports.show.contest import champions, duels, is_judged
from reports.show.words import interval, title

matplotlib.use("Agg")
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00"]  # Okabe and Ito
STYLE = {"font.size": 9, "axes.titlesize": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True,
         "grid.alpha": 0.3, "svg.hashsalt": "reports", "svg.fonttype": "none"}  # fmt: skip
OVER_TRAINING = ("Left: without, right: with the paper's regularizer. Above each panel is the late level at the "
                 "smallest fraction over that at the largest.")  # fmt: skip
Panels = dict[str, dict[str, pd.DataFrame]]  # title -> line's name -> its points: x, seed, value
TICKS = [-90, -80, -65, -50, -30, -20, -10, 0, 10, 25, 50, 100, 200, 400, 900]  # percent


@dataclass
class Figure:
    """A picture and what it shows, in whole sentences."""

    name: str
    caption: str
    svg: bytes


def figures(view: View, results: Results) -> list[Figure]:
    """Those that the records of a table have something for; the first is the one to look at."""
    made = []
    for draw in (contest, effects, by_fraction, gradient_norms, learning_curves, weights):
        with plt.rc_context(STYLE):
            figure = draw(view, results)
        if figure:
            made.append(figure)
    return made


def _save(name: str, caption: str, figure: plt.Figure) -> Figure:
    """SVG without date and version."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    plt.close(figure)
    return Figure(name, caption, buffer.getvalue())


def contest(view: View, results: Results) -> Figure | None:
    """The paper's regularizer against each competitor, where data are fewest."""
    found = duels(view, champions(view)) if is_judged(view) else []
    if not found:
        return None
    figure, axis = plt.subplots(figsize=(7, 1.1 + 0.27 * len(found)), layout="constrained")
    limit = _limit([duel.effect for duel in found])
    for y, duel in enumerate(found):
        _forest_line(axis, y, duel.effect, COLOURS[1], duel.tests, limit)
        axis.plot(np.clip(duel.each, -limit, limit), [y] * len(duel.each), "|", color="0.25", ms=6)
        axis.annotate(f"{interval(duel.effect)}  {duel.verdict}, {len(duel.each)} of {duel.listed} cells", (1.02, y),
                      xycoords=("axes fraction", "data"), va="center", fontsize=8, annotation_clip=False)  # fmt: skip
    _forest_axis(axis, [f"against {duel.opponent}" for duel in found], limit)
    metric = title(view.headline[0])
    axis.set_xlabel(f"change of {metric}, percent")
    axis.set_title("\u2190 better", loc="left")
    axis.set_title("worse \u2192", loc="right")
    return _save("contest", f"gradgap against the baseline and each competitor where data are fewest: change of "
                 f"{metric}, mean over the cells that have both (strokes: each of them), with its 95 % interval over "
                 "the training seeds. Grey: changes too small to be seen with these seeds.", figure)  # fmt: skip


def _limit(found: list[Estimate]) -> float:
    """How far an axis reaches to each side: all means, and intervals up to twice as far."""
    ends = [0.1]
    for effect in found:
        ends.append(1.25 * abs(effect.mean))
        if math.isfinite(effect.low):
            ends.append(min(1.1 * max(-effect.low, effect.high), 2.5 * abs(effect.mean) + 0.3))
    return min(max(ends), 3.0)


def _forest_line(axis: plt.Axes, y: int, effect: Estimate, colour: str, tests: int, limit: float) -> None:
    """An effect with its interval, above the grey range of what could not have been seen."""
    if effect.n >= MIN_SEEDS:
        unseen = min(effect.smallest(tests), limit)
        axis.barh(y, 2 * unseen, left=-unseen, height=0.72, color="0.5", alpha=0.22, lw=0)
        axis.plot(np.clip([effect.low, effect.high], -limit, limit), [y, y], "-", lw=1.8, color=colour)
    axis.plot(np.clip(effect.mean, -limit, limit), y, "o", ms=4.5, color=colour)


def _forest_axis(axis: plt.Axes, names: list[str], limit: float) -> None:
    axis.set_yticks(range(len(names)), names)
    axis.set_ylim(len(names) - 0.5, -0.5)
    axis.axvline(0, color="0.3", lw=1)
    axis.set_xlim(-limit, limit)
    kept: list[float] = [0.0]
    for tick in sorted(np.log1p(np.array(TICKS) / 100), key=abs, reverse=True):
        near = np.abs(np.array(kept) - tick).min()
        if abs(tick) < limit and near > 0.38 * limit:  # ticks leave each other room
            kept.append(float(tick))
    axis.set_xticks(kept)
    axis.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{100 * math.expm1(x):+.0f}".replace("+0", "0")))


def effects(view: View, results: Results) -> Figure | None:
    """Each method's change against its baseline, a panel for each column of the table, three in a row."""
    metric = view.headline[0]
    found = {}
    for cell, baseline in view.cells["baseline"].items():
        effect = view.change(cell, baseline, metric)
        if effect:
            found[cell] = effect
    if not found:
        return None
    cells = view.cells.loc[list(found)]
    cells = cells.assign(name=cells["model"].map(title) + ", " + cells["method"],
                         place=cells["dataset"] + " " + cells["fraction"].map(share))  # fmt: skip
    datasets = list(view.cells["dataset"].unique())
    cells = cells.iloc[np.lexsort([cells["fraction"], cells["dataset"].map(datasets.index)])]
    places = list(cells["place"].unique())
    rows = [cells[cells["place"].isin(places[start:start + 3])] for start in range(0, len(places), 3)]
    heights = [row["name"].nunique() + 3 for row in rows]
    width = min(3, len(places))
    figure, axes = plt.subplots(len(rows), width, squeeze=False, sharey="row", layout="constrained",
                                figsize=(2.2 + 1.75 * width, 0.2 * sum(heights)), height_ratios=heights)  # fmt: skip
    limit = _limit(list(found.values()))
    for axis in axes.flat[len(places):]:
        axis.axis("off")
    for number, (axis, place) in enumerate(zip(axes.flat, places, strict=False)):
        names = list(rows[number // 3]["name"].unique())
        for cell, row in cells[cells["place"] == place].iterrows():
            colour = COLOURS[1] if row["claimed"] else COLOURS[0]
            _forest_line(axis, names.index(row["name"]), found[cell], colour, 1, limit)
        _forest_axis(axis, names, limit)
        axis.set_title(place)
    figure.supxlabel(f"change of {title(metric)} against the baseline, percent", fontsize=9)
    return _save("effects", f"Change of {title(metric)} against the same model's baseline in each cell, with its 95 % "
                 "interval over the training seeds (none below 3 seeds). Left of zero is better; the paper's "
                 "regularizer is in orange; grey: changes too small to be seen with these seeds.", figure)  # fmt: skip


def by_fraction(view: View, results: Results) -> Figure | None:
    """The headline metric against the fraction: baseline, the paper's regularizer and the control."""
    metric, where = view.headline[0], "ours"
    values = view.values[view.values["metric"] == metric]
    if values.empty:
        values, where = view.published[view.published["metric"] == metric].assign(seed=0), "as published (single runs)"
    points = view.trained.join(values.set_index("cell")[["seed", "value"]], how="inner")
    panels: Panels = {}
    for (model, dataset), group in points.rename(columns={"fraction": "x"}).groupby(["model", "dataset"], sort=False):
        if group["x"].nunique() > 1:
            panels[f"{title(model)}, {dataset}"] = {
                "baseline": group[group["kind"] == "baseline"], "gradgap": group[group["claimed"]],
                "diffaugment": group[group["control"]]}  # fmt: skip
    return _draw("by_fraction", f"{title(metric)} against the fraction of the training set, on log axes; {where}.",
                 panels, "fraction of the training set", title(metric), share)  # fmt: skip


def gradient_norms(view: View, results: Results) -> Figure | None:
    """The question of the paper's Figure 1: does the gap of the gradient norms grow as data shrink?"""
    return _draw("gradient_norms", "The gap of the gradient norms, |n_R - n_F|, over training, for each fraction of "
                 f"the data. The paper's Figure 1 asks whether it grows as data shrink. {OVER_TRAINING}",
                 _over_training(view, norms(results, view)), "share of training", "| n_R - n_F |")  # fmt: skip


def learning_curves(view: View, results: Results) -> Figure | None:
    """The headline metric of the generators that were kept on the way."""
    metric = view.headline[0]
    return _draw("learning_curves", f"{title(metric)} of the generators kept during training, for each fraction of the "
                 f"data. {OVER_TRAINING}", _over_training(view, curves(view, metric)), "share of training",
                 title(metric))  # fmt: skip


def _over_training(view: View, points: pd.DataFrame) -> Panels:
    """Two panels for each model and data set, baseline and claimed method, with a line for each fraction."""
    panels: Panels = {}
    chosen = view.cells[view.cells.index.isin(points["cell"])].sort_values("fraction", kind="stable")
    for (model, dataset), group in chosen.groupby(["model", "dataset"], sort=False):
        for name, part in (("baseline", group[group["kind"] == "baseline"]), ("gradgap", group[group["claimed"]])):
            lines, late = {}, []
            for cell, row in part.iterrows():
                own = points[points["cell"] == cell]
                own = lines[share(row["fraction"])] = own.assign(x=own["iteration"] / row["run"].iterations)
                late.append(own.loc[own["x"] > 0.5, "value"].mean())
            ratio = f" (×{late[0] / late[-1]:.2g})" if len(late) > 1 and late[-1] > 0 else ""
            panels[f"{title(model)}, {dataset}: {name}{ratio}"] = lines
    return panels


def weights(table: View, results: Results) -> Figure | None:
    """The headline metric against the weight of gradgap, where a baseline was run with three weights at least."""
    extra = [Cell(run) for run in off_table(results, table) if is_gradgap(run)]
    swept = view(results, table.name, table.iterations, extra) if extra else table
    metric, panels = swept.headline[0], {}
    points = swept.trained.join(swept.values[swept.values["metric"] == metric].set_index("cell"), how="inner")
    points = points[points["run"].map(is_gradgap) | (points["kind"] == "baseline")]
    points["x"] = [run.regularizers.get("gradgap", 0.0) for run in points["run"]]
    for (model, dataset, fraction), group in points.groupby(["model", "dataset", "fraction"], sort=False):
        if group["x"].nunique() > 3:
            least = group.loc[group["x"] > 0, "x"].min()
            lines = panels.setdefault(f"{title(model)}, {dataset}", {})
            lines[share(fraction)] = group.replace({"x": {0.0: least / 10}})
    return _draw("weights", f"{title(metric)} against the weight of gradgap; the baseline, whose weight is 0, stands a "
                 "tenth below the smallest weight.", panels, "weight of gradgap", title(metric), "{:g}".format)


def _draw(name: str, caption: str, panels: Panels, x_label: str, y_label: str, ticks: Callable | None = None):
    """Panels in rows of two or three, so that their text stays readable in a narrow window; None without panels.

    ticks  how the points on a logarithmic x axis are labelled; without, x is the share of training on a linear one
    """
    if not panels:
        return None
    columns = min(len(panels), 3 if ticks and len(panels) > 4 else 2)
    rows = math.ceil(len(panels) / columns)
    figure, axes = plt.subplots(rows, columns, squeeze=False, layout="constrained", sharey="none" if ticks else "row",
                                figsize=(3.5 * min(columns, 2), 0.4 + 2.0 * rows))  # fmt: skip
    ends = []
    for axis, (heading, lines) in zip(axes.flat, panels.items(), strict=False):
        _axes(axis, heading, lines, ticks)
        for (line, points), colour in zip(lines.items(), COLOURS, strict=False):
            if len(points):
                ends.append((axis, line, *_line(axis, points, colour), colour))
    _name_ends(ends)
    for axis in axes.flat[len(panels):]:
        axis.axis("off")
    figure.supxlabel(x_label, fontsize=9)
    figure.supylabel(y_label, fontsize=9)
    return _save(name, caption, figure)


def _axes(axis: plt.Axes, heading: str, lines: dict[str, pd.DataFrame], ticks: Callable | None) -> None:
    axis.set_title(heading)
    axis.set_yscale("log")
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=6))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
    axis.yaxis.set_minor_formatter(NullFormatter())
    if ticks is None:
        axis.xaxis.set_major_formatter(FuncFormatter(lambda x, _: share(x)))
    elif lines:
        places = sorted(pd.concat(lines.values())["x"].unique())
        axis.set_xscale("log")
        axis.set_xticks(places, map(ticks, places))
        axis.xaxis.set_minor_locator(NullLocator())


def _line(axis: plt.Axes, points: pd.DataFrame, colour: str) -> tuple[float, float]:
    """A line with its band over the seeds; gives back where it ends."""
    logs = points.assign(value=np.log(points["value"].clip(lower=1e-12))).groupby("x")["value"].agg(["mean", "std"])
    x, mean, sd = logs.index.to_numpy(), logs["mean"].to_numpy(), logs["std"].fillna(0).to_numpy()
    axis.plot(x, np.exp(mean), marker="o" if len(x) < 12 else "", ms=4, lw=1.6, color=colour)
    axis.fill_between(x, np.exp(mean - sd), np.exp(mean + sd), color=colour, alpha=0.18, lw=0)
    return x[-1], float(np.exp(mean[-1]))


def _name_ends(ends: list[tuple]) -> None:
    """Each line's name at its right end, moved up where it would cover the one below.

    Called when all lines are there, since the axes of a row share their limits.
    """
    lowest: dict[plt.Axes, float] = {}
    for axis, name, x, y, colour in sorted(ends, key=lambda end: end[3]):
        place = axis.transAxes.inverted().transform(axis.transData.transform((x, y)))[1]
        lowest[axis] = max(place, lowest.get(axis, -math.inf) + 0.1)
        axis.annotate(name, (1.02, lowest[axis]), xycoords="axes fraction", color=colour, va="center", fontsize=8,
                      annotation_clip=False)  # fmt: skip
