"""The figures of a table as SVG, and its samples as PNG; the same bytes for the same records.

A line is the geometric mean over the training seeds, its band one standard deviation of the logarithms to each side; it
carries its name at its end instead of a legend.
"""

import io
import math
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.ticker import LogLocator, NullFormatter, NullLocator
from PIL import Image

from reports.data.records import Results
from reports.data.stats import MIN_SEEDS
from reports.data.views import View, curves, norms, share
from reports.show.contest import contest
from reports.show.document import Figure
from reports.show.words import interval, title

matplotlib.use("Agg")
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00"]  # Okabe and Ito
STYLE = {"font.size": 9, "axes.titlesize": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True,
         "grid.alpha": 0.3, "svg.hashsalt": "reports", "svg.fonttype": "none"}  # fmt: skip
OVER_TRAINING = ("Left: without, right: with the paper's regularizer. Above each panel is the late level at the "
                 "smallest fraction over that at the largest.")  # fmt: skip
Panels = dict[str, pd.DataFrame]  # title -> points: line (its name), x, seed, value
SHOWN, TILE, STEP = 4, 128, 134  # samples of a run in each direction, and the pixels of all of them and with a margin
TICKS = np.log1p([-0.95, -0.8, -0.5, -0.2, -0.05, 0, 0.05, 0.25, 1, 4, 19])  # of an axis of changes


def figures(view: View, results: Results, folder: Path) -> list[Figure]:
    """Those that the records of a table have something for; the first is the one to look at.

    The sheet of samples that is in the folder stays where no run has any: they are not tracked.
    """
    made = []
    for draw in (duels, by_fraction, gradient_norms, learning_curves, samples):
        with plt.rc_context(STYLE):
            figure = draw(view, results)
        if figure and (figure.data or (folder / figure.file).exists()):
            figure.folder = view.name
            made.append(figure)
    return made


def _save(name: str, caption: str, figure: plt.Figure) -> Figure:
    """SVG without date and version."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    plt.close(figure)
    return Figure(f"{name}.svg", caption, buffer.getvalue())


def duels(view: View, results: Results) -> Figure | None:
    """A forest plot: the paper's regularizer against each competitor, where data are fewest."""
    found = contest(view)
    if not found:
        return None
    figure, axis = plt.subplots(figsize=(7, 1.1 + 0.27 * len(found)), layout="constrained")
    limit = min(3.0, 0.1 + 2 * max(abs(duel.effect.mean) for duel in found))  # a longer interval is cut
    for y, duel in enumerate(found):
        effect = duel.effect
        if effect.n >= MIN_SEEDS:
            hidden = min(effect.detectable(duel.tests), limit)
            axis.barh(y, 2 * hidden, left=-hidden, height=0.72, color="0.5", alpha=0.22, lw=0)
            axis.plot([effect.low, effect.high], [y, y], "-", lw=1.8, color=COLOURS[1])
        axis.plot(effect.mean, y, "o", ms=4.5, color=COLOURS[1])
        axis.annotate(f"{interval(effect)}  {duel.verdict}, {duel.cells} cells", (1.02, y), va="center", fontsize=8,
                      xycoords=("axes fraction", "data"), annotation_clip=False)  # fmt: skip
    axis.axvline(0, color="0.3", lw=1)
    axis.set_xticks([tick for tick in TICKS if tick == 0 or limit / 4 < abs(tick) < limit])
    axis.xaxis.set_major_formatter(lambda x, _: f"{100 * math.expm1(x):+.0f}".replace("+0", "0"))
    axis.set_yticks(range(len(found)), [f"against {duel.opponent}" for duel in found])
    axis.set(xlim=(-limit, limit), ylim=(len(found) - 0.5, -0.5))
    axis.set_xlabel(f"change of {title(view.headline[0])}, percent")
    axis.set_title("\u2190 better", loc="left")
    axis.set_title("worse \u2192", loc="right")
    return _save("contest", "gradgap against the baseline and each competitor where data are fewest: change of "
                 f"{title(view.headline[0])}, mean over the cells that have both, with its 95 % interval over the "
                 "training seeds. Grey: changes too small to be detectable with these seeds.", figure)  # fmt: skip


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
                 panels, "fraction of the training set", title(metric), log_x=True)  # fmt: skip


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
    points = view.cells.join(points.set_index("cell"), how="inner").rename_axis("cell")
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


def _draw(name: str, caption: str, panels: Panels, x_label: str, y_label: str, log_x: bool = False):
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
    return _save(name, caption, figure)


def _axes(axis: plt.Axes, heading: str, points: pd.DataFrame, log_x: bool) -> None:
    axis.set(title=heading, yscale="log")
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=6))
    axis.yaxis.set_major_formatter("{x:g}")
    axis.yaxis.set_minor_formatter(NullFormatter())
    if log_x:
        axis.set_xscale("log")
        axis.set_xticks(sorted(points["x"].unique()))
        axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter(lambda x, _: share(x))


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


def samples(view: View, results: Results) -> Figure:
    """A row for each model, with and without the claimed method and the control; a column for each fraction.

    Of several seeds the first that has the picture is shown.
    """
    cells = view.trained[(view.trained["kind"] == "baseline") | view.trained["claimed"] | view.trained["control"]]
    tiles = pd.Series({cell: _tile(cell, results) for cell in cells.index}, dtype=object)
    cells = cells.assign(tile=tiles, name=cells["model"].map(title) + "\n" + cells["method"],
                         place=cells["dataset"] + " " + cells["fraction"].map(share)).dropna(subset="tile")  # fmt: skip
    caption = "Samples of the generators, drawn at fixed latents, of the first seed."
    return Figure("samples.png", caption, _sheet(cells) if len(cells) else None)


def _sheet(cells: pd.DataFrame) -> bytes:
    """The tiles below the names of the columns and beside those of the rows, as a PNG of few colours."""
    names, places = list(cells["name"].unique()), list(cells["place"].unique())
    sheet = np.full((STEP * len(names), STEP * len(places), 3), 255, np.uint8)
    for row in cells.itertuples():
        y, x = STEP * names.index(row.name), STEP * places.index(row.place)
        sheet[y:y + TILE, x:x + TILE] = row.tile
    figure, axis = plt.subplots(figsize=(2 + 1.4 * len(places), 0.4 + 1.4 * len(names)), layout="constrained")
    axis.imshow(sheet)
    axis.set_frame_on(False)
    axis.grid(False)
    axis.tick_params(length=0, labelbottom=False, labeltop=True)
    axis.set_xticks(STEP * np.arange(len(places)) + TILE / 2, places)
    axis.set_yticks(STEP * np.arange(len(names)) + TILE / 2, names)
    buffer, small = io.BytesIO(), io.BytesIO()
    figure.savefig(buffer, format="png")
    plt.close(figure)
    Image.open(buffer).convert("RGB").quantize(128).save(small, "PNG", optimize=True)
    return small.getvalue()


def _tile(cell: str, results: Results) -> np.ndarray | None:
    """The first images of a cell's samples.png, which has 8 x 8 of them."""
    for path in sorted(results.folder.glob(f"{cell}-s?/samples.png")):
        try:
            with Image.open(path) as image:
                side = image.width * SHOWN // 8
                tile = image.convert("RGB").crop((0, 0, side, side))
                return np.asarray(tile.resize((TILE, TILE), Image.Resampling.BOX))
        except OSError as error:
            results.problems.append(f"{path}: {error}; left out")
    return None
