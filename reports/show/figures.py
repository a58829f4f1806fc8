"""The figures of a table as SVG, the same bytes for the same records.

A line is the geometric mean over the training seeds, its band one standard deviation of the logarithms to each side; it
carries its name at its end instead of a legend.
"""

import io
import math
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from reports.data.records import Results
from reports.data.stats import MIN_SEEDS, Estimate
from reports.data.views import View, curves, norms, share
from reports.show.contest import contest
from reports.show.document import Figure
from reports.show.samples import samples
from reports.show.words import interval, title

matplotlib.use("Agg")
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00"]  # Okabe and Ito
STYLE = {"font.size": 9, "axes.titlesize": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True,
         "grid.alpha": 0.3, "svg.hashsalt": "reports", "svg.fonttype": "none"}  # fmt: skip
OVER_TRAINING = ("Left: without, right: with the paper's regularizer. Above each panel is the late level at the "
                 "smallest fraction over that at the largest.")  # fmt: skip
Panels = dict[str, pd.DataFrame]  # title -> points: line (its name), x, seed, value
TICKS = np.log1p([-0.95, -0.8, -0.5, -0.2, -0.05, 0, 0.05, 0.25, 1, 4, 19])  # of an axis of changes
GREY = "Grey: changes too small to be seen with these seeds."


def figures(view: View, results: Results, folder: Path) -> list[Figure]:
    """Those that the records of a table have something for; the first is the one to look at."""
    made = []
    with plt.rc_context(STYLE):
        for draw in (duels, effects, by_fraction, gradient_norms, learning_curves):
            made.append(draw(view, results))
        made.append(samples(view, results, folder))
    return [figure for figure in made if figure]


def _save(name: str, caption: str, figure: plt.Figure, view: View) -> Figure:
    """SVG without date and version."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    plt.close(figure)
    return Figure(f"{name}.svg", caption, buffer.getvalue(), view.folder)


@dataclass
class Effect:
    """A line of a forest plot."""

    name: str
    estimate: Estimate
    note: str
    claimed: bool = True
    tests: int = 1


def duels(view: View, results: Results) -> Figure | None:
    """The paper's regularizer against each competitor, where data are fewest."""
    lines = []
    for duel in contest(view):
        note = f"{interval(duel.effect)}  {duel.verdict}, {duel.cells} cells"
        lines.append(Effect(f"against {duel.opponent}", duel.effect, note, tests=duel.tests))
    return _forest("contest", "gradgap against the baseline and each competitor where data are fewest: change of "
                   f"{title(view.headline[0])}, mean over the cells that have both, with its 95 % interval over the "
                   f"training seeds. {GREY}", lines, view)  # fmt: skip


def effects(view: View, results: Results) -> Figure | None:
    """Each method's change against its baseline, in each cell."""
    lines, cells = [], view.of(view.headline[0]).dropna(subset="effect")
    datasets = list(view.cells["dataset"].unique())
    for row in cells.iloc[np.lexsort([cells["fraction"], cells["dataset"].map(datasets.index)])].itertuples():
        name = f"{row.dataset} {share(row.fraction)}: {title(row.model)}, {row.method}"
        lines.append(Effect(name, row.effect, interval(row.effect), row.claimed))
    return _forest("effects", f"Change of {title(view.headline[0])} against the same model's baseline in each cell, "
                   "with its 95 % interval over the training seeds (none below 3 seeds). Left of zero is better; the "
                   f"paper's regularizer is in orange. {GREY}", lines, view)  # fmt: skip


def _forest(name: str, caption: str, lines: list[Effect], view: View) -> Figure | None:
    """Effects with their intervals, above the grey range of what could not have been seen; None without any."""
    if not lines:
        return None
    figure, axis = plt.subplots(figsize=(7, 1.1 + 0.27 * len(lines)), layout="constrained")
    limit = min(3.0, 0.1 + 2 * max(abs(line.estimate.mean) for line in lines))  # a longer interval is cut
    for y, line in enumerate(lines):
        effect, colour = line.estimate, COLOURS[int(line.claimed)]
        if effect.n >= MIN_SEEDS:
            unseen = min(effect.smallest(line.tests), limit)
            axis.barh(y, 2 * unseen, left=-unseen, height=0.72, color="0.5", alpha=0.22, lw=0)
            axis.plot([effect.low, effect.high], [y, y], "-", lw=1.8, color=colour)
        axis.plot(effect.mean, y, "o", ms=4.5, color=colour)
        axis.annotate(line.note, (1.02, y), xycoords=("axes fraction", "data"), va="center", fontsize=8,
                      annotation_clip=False)  # fmt: skip
    axis.axvline(0, color="0.3", lw=1)
    axis.set_xlim(-limit, limit)
    axis.set_xticks([tick for tick in TICKS if tick == 0 or limit / 4 < abs(tick) < limit])
    axis.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{100 * math.expm1(x):+.0f}".replace("+0", "0")))
    axis.set_yticks(range(len(lines)), [line.name for line in lines])
    axis.set_ylim(len(lines) - 0.5, -0.5)
    axis.set_xlabel(f"change of {title(view.headline[0])}, percent")
    axis.set_title("\u2190 better", loc="left")
    axis.set_title("worse \u2192", loc="right")
    return _save(name, caption, figure, view)


def by_fraction(view: View, results: Results) -> Figure | None:
    """The headline metric against the fraction: baseline, the paper's regularizer and the control."""
    metric, where = view.headline[0], "ours"
    values = view.values[view.values["metric"] == metric]
    if values.empty:
        where, values = "as published (single runs)", view.published.assign(seed=0, value=view.published["published"])
    points = view.trained.join(values[values["metric"] == metric].set_index("cell")[["seed", "value"]], how="inner")
    points["line"] = np.select([points["kind"] == "baseline", points["claimed"], points["control"]],
                               ["baseline", "gradgap", "diffaugment"], "")  # fmt: skip
    points["x"] = points["fraction"]
    points = points[points["line"] != ""]
    panels: Panels = {}
    for (model, dataset), group in points.groupby(["model", "dataset"], sort=False):
        if group["x"].nunique() > 1:
            panels[f"{title(model)}, {dataset}"] = group
    return _draw("by_fraction", f"{title(metric)} against the fraction of the training set, on log axes; {where}.",
                 panels, "fraction of the training set", title(metric), view, log_x=True)  # fmt: skip


def gradient_norms(view: View, results: Results) -> Figure | None:
    """The question of the paper's Figure 1: does the gap of the gradient norms grow as data shrink?"""
    return _draw("gradient_norms", "The gap of the gradient norms, |n_R - n_F|, over training, for each fraction of "
                 f"the data. The paper's Figure 1 asks whether it grows as data shrink. {OVER_TRAINING}",
                 _over_training(view, norms(results, view)), "share of training", "| n_R - n_F |", view)  # fmt: skip


def learning_curves(view: View, results: Results) -> Figure | None:
    """The headline metric of the generators that were kept on the way."""
    metric = view.headline[0]
    return _draw("learning_curves", f"{title(metric)} of the generators kept during training, for each fraction of the "
                 f"data. {OVER_TRAINING}", _over_training(view, curves(view, metric)), "share of training",
                 title(metric), view)  # fmt: skip


def _over_training(view: View, points: pd.DataFrame) -> Panels:
    """Two panels for each model and data set, baseline and claimed method, with a line for each fraction."""
    panels: Panels = {}
    points = points.join(view.cells, on="cell").sort_values("fraction", kind="stable")
    points["x"] = points["iteration"] / points["run"].map(lambda run: run.iterations)
    points["line"] = points["fraction"].map(share)
    for (model, dataset), group in points.groupby(["model", "dataset"], sort=False):
        for name, part in (("baseline", group[group["kind"] == "baseline"]), ("gradgap", group[group["claimed"]])):
            late = part[part["x"] > 0.5].groupby("fraction")["value"].mean()
            heading = f"{title(model)}, {dataset}: {name}"
            if len(late) > 1 and late.iloc[-1] > 0:
                heading += f" (×{late.iloc[0] / late.iloc[-1]:.2g})"
            panels[heading] = part
    return panels


def _draw(name: str, caption: str, panels: Panels, x_label: str, y_label: str, view: View, log_x: bool = False):
    """Panels in rows of two or three, so that their text stays readable in a narrow window; None without panels."""
    if not panels:
        return None
    columns = min(len(panels), 3 if log_x and len(panels) > 4 else 2)
    rows = math.ceil(len(panels) / columns)
    figure, axes = plt.subplots(rows, columns, squeeze=False, layout="constrained", sharey="none" if log_x else "row",
                                figsize=(3.5 * min(columns, 2), 0.4 + 2.0 * rows))  # fmt: skip
    lines = pd.concat(panels.values())["line"].unique()
    colours, ends = dict(zip(lines, COLOURS, strict=False)), []
    for axis, (heading, points) in zip(axes.flat, panels.items(), strict=False):
        _axes(axis, heading, points, log_x)
        for line, own in points.groupby("line", sort=False):
            colour = colours.get(line, "0.4")
            ends.append((axis, line, *_line(axis, own, colour), colour))
    _name_ends(ends)
    for axis in axes.flat[len(panels):]:
        axis.axis("off")
    figure.supxlabel(x_label, fontsize=9)
    figure.supylabel(y_label, fontsize=9)
    return _save(name, caption, figure, view)


def _axes(axis: plt.Axes, heading: str, points: pd.DataFrame, log_x: bool) -> None:
    axis.set_title(heading)
    axis.set_yscale("log")
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=6))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
    axis.yaxis.set_minor_formatter(NullFormatter())
    if log_x:
        axis.set_xscale("log")
        axis.set_xticks(sorted(points["x"].unique()))
        axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter(FuncFormatter(lambda x, _: share(x)))


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
