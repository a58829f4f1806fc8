"""The figures of a table as SVG, the same bytes for the same records.

A line is the geometric mean over the training seeds, its band one standard deviation of the logarithms to each side; it
carries its name at its end instead of a legend.
"""

import io
import math
from dataclasses import dataclass, field

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from benchmarks.tables import Cell
from reports.data.records import Results
from reports.data.stats import MIN_SEEDS, Estimate
from reports.data.views import REAL, UNTRAINED, View, curves, is_gradgap, norms, off_table, share, view
from reports.show.contest import champions, duels, is_judged
from reports.show.words import interval, title

matplotlib.use("Agg")
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00"]  # Okabe and Ito
STYLE = {"font.size": 9, "axes.titlesize": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True,
         "grid.alpha": 0.3, "svg.hashsalt": "reports", "svg.fonttype": "none"}  # fmt: skip
GAP_LABEL = "| n_R - n_F |"
TICKS = [-90, -80, -65, -50, -30, -20, -10, 0, 10, 25, 50, 100, 200, 400, 900]  # percent


@dataclass
class Panel:
    """One pair of axes: named lines of points (columns x, seed, value), and named levels to compare with."""

    title: str
    lines: dict[str, pd.DataFrame]
    levels: dict[str, float] = field(default_factory=dict)


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
        axis.plot(np.clip(list(duel.each.values()), -limit, limit), [y] * len(duel.each), "|", color="0.25", ms=6)
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
        if abs(tick) < limit and near > 0.3 * limit:  # ticks leave each other room
            kept.append(float(tick))
    axis.set_xticks(kept)
    axis.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{100 * math.expm1(x):+.0f}".replace("+0", "0")))


def effects(view: View, results: Results) -> Figure | None:
    """Each method's change against its baseline, a panel for each column of the table, three in a row."""
    metric = view.headline[0]
    cells = view.cells.loc[[cell for cell, name in view.effects if name == metric]]
    if cells.empty:
        return None
    cells = cells.assign(name=cells["model"].map(title) + ", " + cells["method"])
    columns = list(cells.groupby(["dataset", "fraction"], sort=False))
    rows = [columns[start:start + 3] for start in range(0, len(columns), 3)]
    names = [list(pd.concat([group for _, group in row])["name"].unique()) for row in rows]
    figure, axes = plt.subplots(len(rows), min(3, len(columns)), squeeze=False, sharey="row", layout="constrained",
                                figsize=(2.2 + 1.75 * min(3, len(columns)), sum(0.7 + 0.2 * len(own) for own in names)),
                                height_ratios=[len(own) + 1 for own in names])  # fmt: skip
    limit = _limit([view.effects[cell, metric] for cell in cells.index])
    for axis in axes.flat[len(columns):]:
        axis.axis("off")
    for number, (axis, ((dataset, fraction), group)) in enumerate(zip(axes.flat, columns, strict=False)):
        own = names[number // 3]
        for cell, row in group.iterrows():
            colour = COLOURS[1] if row["claimed"] else COLOURS[0]
            _forest_line(axis, own.index(row["name"]), view.effects[cell, metric], colour, 1, limit)
        _forest_axis(axis, own, limit)
        axis.set_title(f"{dataset} {share(fraction)}")
    figure.supxlabel(f"change of {title(metric)} against the baseline, percent", fontsize=9)
    return _save("effects", f"Change of {title(metric)} against the same model's baseline in each cell, with its 95 % "
                 "interval over the training seeds (none below 3 seeds). Left of zero is better; the paper's "
                 "regularizer is in orange; grey: changes too small to be seen with these seeds.", figure)  # fmt: skip


def by_fraction(view: View, results: Results) -> Figure | None:
    """The headline metric against the fraction: baseline, the paper's regularizer and the control."""
    metric = view.headline[0]
    measured = metric in set(view.values["metric"])
    source = view.values[view.values["metric"] == metric] if measured else _printed(view, metric)
    wide = view.cells.join(source.set_index("cell")[["seed", "value"]], how="inner").rename(columns={"fraction": "x"})
    panels = []
    for (model, dataset), group in view.trained.groupby(["model", "dataset"], sort=False):
        if group["fraction"].nunique() < 2:
            continue
        chosen = wide.loc[wide.index.isin(group.index)]
        lines = {"baseline": chosen[chosen["kind"] == "baseline"], "gradgap": chosen[chosen["claimed"]],
                 "diffaugment": chosen[chosen["control"]]}  # fmt: skip
        panels.append(Panel(f"{title(model)}, {dataset}", _nonempty(lines), _levels(view, metric, model, dataset)))
    if not any(panel.lines for panel in panels):
        return None
    where = "as published (single runs)"
    if measured:
        where = "ours; dotted: real held-out images and the untrained generator, where they were measured"
    figure = _draw(panels, "fraction of the training set", title(metric), percent=True)
    return _save("by_fraction", f"{title(metric)} against the fraction of the training set, on log axes; {where}.",
                 figure)  # fmt: skip


def _printed(view: View, metric: str) -> pd.DataFrame:
    return view.published[view.published["metric"] == metric].assign(seed=0)


def _nonempty(lines: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    kept = {}
    for name, points in lines.items():
        if len(points):
            kept[name] = points[["x", "seed", "value"]]
    return kept


def _levels(view: View, metric: str, model: str, dataset: str) -> dict[str, float]:
    """The yardsticks of a panel."""
    scores, levels = view.scores(metric)["mean"], {}
    for cell, row in view.cells[view.cells["dataset"] == dataset].iterrows():
        if cell in scores.index and row["kind"] == "heldout":
            levels[REAL] = scores[cell]
        if cell in scores.index and row["kind"] == "untrained" and row["model"] == model:
            levels[UNTRAINED] = scores[cell]
    return levels


def gradient_norms(view: View, results: Results) -> Figure | None:
    """The question of the paper's Figure 1: does the gap of the gradient norms grow as data shrink?"""
    panels = _over_training(view, norms(results, view))
    if not panels:
        return None
    figure = _draw(panels, "share of training", GAP_LABEL, percent=True, log_x=False)
    return _save("gradient_norms", "The gap of the gradient norms, |n_R - n_F|, over training, for each fraction of "
                 "the data: without (left) and with the paper's regularizer (right). The paper's Figure 1 asks whether "
                 "it grows as data shrink; above each panel is the late gap at the smallest fraction over that at the "
                 "largest.", figure)  # fmt: skip


def learning_curves(view: View, results: Results) -> Figure | None:
    """The headline metric of the generators that were kept on the way."""
    metric = view.headline[0]
    panels = _over_training(view, curves(view, metric))
    if not panels:
        return None
    figure = _draw(panels, "share of training", title(metric), percent=True, log_x=False)
    return _save("learning_curves", f"{title(metric)} of the generators kept during training, for each fraction of the "
                 "data: without (left) and with the paper's regularizer (right). Above each panel is the last value at "
                 "the smallest fraction over that at the largest.", figure)  # fmt: skip


def _over_training(view: View, points: pd.DataFrame) -> list[Panel]:
    """Two panels for each model and data set, baseline and claimed method, with a line for each fraction.

    Data sets of one fraction are left out, but for a table that has no others.
    """
    panels = []
    chosen = view.cells[view.cells.index.isin(points["cell"])]
    fractions = chosen.groupby(["model", "dataset"])["fraction"].transform("nunique")
    if len(chosen) and fractions.max() > 1:
        chosen = chosen[fractions > 1]
    for (model, dataset), group in chosen.groupby(["model", "dataset"], sort=False):
        for name, part in (("baseline", group[group["kind"] == "baseline"]), ("gradgap", group[group["claimed"]])):
            lines = {}
            for cell, row in part.sort_values("fraction").iterrows():
                own = points[points["cell"] == cell]
                lines[share(row["fraction"])] = own.assign(x=own["iteration"] / row["run"].iterations)
            panels.append(Panel(f"{title(model)}, {dataset}: {name}{_ratio(lines)}", lines))
    return panels


def _ratio(lines: dict[str, pd.DataFrame]) -> str:
    """The late level of the first line over that of the last, where there are several fractions."""
    if len(lines) < 2:
        return ""
    late = []
    for points in lines.values():
        late.append(points.loc[points["x"] > 0.5, "value"].mean())
    return f" (×{late[0] / late[-1]:.2g})" if late[-1] > 0 else ""


def weights(table: View, results: Results) -> Figure | None:
    """The headline metric against the weight of gradgap, where a baseline was run with three weights at least."""
    extra = [Cell(run) for run in off_table(results, table) if is_gradgap(run)]
    if not extra:
        return None
    swept = view(results, table.name, table.iterations, extra)
    values = swept.values[swept.values["metric"] == swept.headline[0]].set_index("cell")
    panels: dict[str, Panel] = {}
    for (model, dataset, fraction), group in swept.trained.groupby(["model", "dataset", "fraction"], sort=False):
        runs = group.loc[group["run"].map(is_gradgap) | (group["kind"] == "baseline"), "run"]
        x = runs.map(lambda run: run.regularizers.get("gradgap", 0.0)).rename("x")
        points = values.join(x, how="inner")
        if points["x"].nunique() > 2:
            points["x"] = points["x"].replace(0.0, points.loc[points["x"] > 0, "x"].min() / 10)
            panel = panels.setdefault(f"{title(model)}, {dataset}", Panel(f"{title(model)}, {dataset}", {}))
            panel.lines[share(fraction)] = points[["x", "seed", "value"]]
    if not panels:
        return None
    metric = title(swept.headline[0])
    return _save("weights", f"{metric} against the weight of gradgap; the baseline, whose weight is 0, stands a tenth "
                 "below the smallest weight.", _draw(list(panels.values()), "weight of gradgap", metric))  # fmt: skip


def _draw(panels: list[Panel], x_label: str, y_label: str, percent: bool = False, log_x: bool = True) -> plt.Figure:
    """Panels in rows of two or three, so that their text stays readable in a narrow window."""
    columns = min(2 + (log_x and len(panels) > 4), len(panels))
    rows = math.ceil(len(panels) / columns)
    figure, axes = plt.subplots(rows, columns, squeeze=False, layout="constrained", sharey="none" if log_x else "row",
                                figsize=(7 if columns > 1 else 3.5, 0.4 + 2.0 * rows))  # fmt: skip
    drawn = list(zip(axes.flat, panels, strict=False))
    ends = [_panel(axis, panel, log_x, percent) for axis, panel in drawn]
    for (axis, _), named in zip(drawn, ends, strict=True):  # now that a row has its common limits
        _label_ends(axis, named)
    for axis in axes.flat[len(panels):]:
        axis.axis("off")
    figure.supxlabel(x_label, fontsize=9)
    figure.supylabel(y_label, fontsize=9)
    return figure


def _panel(axis: plt.Axes, panel: Panel, log_x: bool, percent: bool) -> list[tuple]:
    """Draw the lines; gives back each line's name, end and colour."""
    axis.set_title(panel.title)
    axis.set_yscale("log")
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=6))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
    axis.yaxis.set_minor_formatter(NullFormatter())
    if log_x:
        axis.set_xscale("log")
    ends = []
    for number, (name, points) in enumerate(panel.lines.items()):
        ends.append((name, *_line(axis, points, COLOURS[number % len(COLOURS)])))
    if log_x and percent:
        ticks = sorted({x for points in panel.lines.values() for x in points["x"]})
        axis.set_xticks(ticks, [share(x) for x in ticks])
        axis.xaxis.set_minor_locator(NullLocator())
    elif percent:
        axis.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:.0%}"))
    for name, level in panel.levels.items():
        axis.axhline(level, color="0.4", ls=":", lw=1.2)
        axis.annotate(name, (0.02, level), xycoords=("axes fraction", "data"), va="bottom", fontsize=7, color="0.35")
    return ends


def _line(axis: plt.Axes, points: pd.DataFrame, colour: str) -> tuple[float, float, str]:
    """A line with its band; gives back where it ends, and its colour."""
    logs = points.assign(value=np.log(points["value"].clip(lower=1e-12))).groupby("x")["value"].agg(["mean", "std"])
    x, mean, sd = logs.index.to_numpy(), logs["mean"].to_numpy(), logs["std"].fillna(0).to_numpy()
    marker = "o" if len(x) < 12 else ""
    axis.plot(x, np.exp(mean), marker=marker, ms=4, lw=1.6, color=colour)
    axis.fill_between(x, np.exp(mean - sd), np.exp(mean + sd), color=colour, alpha=0.18, lw=0)
    return x[-1], float(np.exp(mean[-1])), colour


def _label_ends(axis: plt.Axes, ends: list[tuple[str, float, float, str]]) -> None:
    """Each line's name at its right end, moved up where it would cover the one below."""
    lowest = -math.inf
    for name, x, y, colour in sorted(ends, key=lambda end: end[2]):
        place = axis.transAxes.inverted().transform(axis.transData.transform((x, y)))[1]
        place = max(place, lowest + 0.1)
        lowest = place
        axis.annotate(name, (1.02, place), xycoords="axes fraction", color=colour, va="center", fontsize=8,
                      annotation_clip=False)  # fmt: skip
