"""Figures that compare scores: FID against the fraction of the data, the sweep over lambda, the regularizer's cost."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from statistics import fmean, stdev

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import MaxNLocator

from benchmarks.tables import TABLES, Cell
from reports.evidence import late_gap, measured
from reports.results import Results, family
from reports.sections import Section, claimed, members, method, sections, title
from reports.style import BASELINE, COLOURS, KINDS, REGULARIZED, key, swatches

Lines = dict[str, list[tuple[float, list[float]]]]  # name -> (x, values)
GAP = "|$n_R - n_F$|, mean over the second half of training"
Points = list[tuple[float, list[float]]]  # (x, values of the training seeds)
Series = dict[tuple[str, str, bool], Points]  # panel, colour, baseline ->
Place = Callable[[Cell], tuple[str, str]]  # panel and colour of a cell


def fid_by_fraction(table: str, results: Results) -> plt.Figure | None:
    """Published above ours. A panel for each data set, a colour for each model; where others than gradgap compete, a
    panel for each model too, a colour for each method. None where a table has one fraction only, or no numbers."""
    section = sections(TABLES[table].cells, results)[0]
    metric, cells = section.metrics[0], _several_fractions(section.cells)
    place = by_model if claimed(cells) == cells else by_method
    rows = {"published": _series(cells, place, lambda cell: [cell.published[metric]] if cell.published else []),
            "ours": _series(cells, place, lambda cell: [value.value for value in section.ours(cell, metric)])}
    rows = {name: series for name, series in rows.items() if any(len(points) > 1 for points in series.values())}
    if not rows:
        return None
    panels = list(dict.fromkeys(panel for series in rows.values() for panel, *_ in series))
    names = list(dict.fromkeys(place(cell)[1] for cell in cells))
    fractions = sorted({x for series in rows.values() for points in series.values() for x, _ in points})
    figure, axes = _axes(list(rows), panels, fractions, title(metric))
    for series, line in zip(rows.values(), axes, strict=True):
        for (panel, name, baseline), points in series.items():
            number = names.index(name)
            aside = 0.06 * (number - len(names) // 2) if place is by_method else 0
            points = [(fractions.index(fraction) + aside, values) for fraction, values in points]
            _errorbar(line[panels.index(panel)], points, COLOURS[number % len(COLOURS)], baseline)
    for axis in axes.flat if place is by_model else ():
        axis.set_ylim(bottom=0)
    key(figure, swatches(names) | (KINDS if place is by_model else {"baseline": {"color": COLOURS[0], **BASELINE}}))
    return figure


def _axes(rows: list[str], panels: list[str], fractions: list[float], metric: str) -> tuple[plt.Figure, np.ndarray]:
    width, height = max(6.5, 3.3 * len(panels)), 1.1 + 2.3 * len(rows)
    figure, axes = plt.subplots(len(rows), len(panels), squeeze=False, figsize=(width, height))
    figure.subplots_adjust(0.6 / width, 0.5 / height, 0.98, 1 - 0.7 / height)
    for axis in axes.flat:
        axis.set_xticks(range(len(fractions)), [f"{fraction:.0%}" for fraction in fractions])
        axis.yaxis.set_major_locator(MaxNLocator(4))
    for axis, row in zip(axes[:, 0], rows, strict=True):
        axis.set_ylabel(f"{metric}, {row}")
    for axis, panel in zip(axes[0], panels, strict=True):
        axis.set_title(panel, fontsize=9)
    for axis in axes[-1]:
        axis.set_xlabel("fraction of the training set")
    return figure, axes


def by_model(cell: Cell) -> tuple[str, str]:
    return cell.run.dataset, title(cell.run.model)


def by_method(cell: Cell) -> tuple[str, str]:
    return f"{title(cell.run.model)}, {cell.run.dataset}", method(cell).removeprefix(" + ") or "baseline"


def _several_fractions(cells: list[Cell]) -> list[Cell]:
    """The trained cells of the data sets of which the table has more than one fraction."""
    fractions = {(cell.run.dataset, cell.run.fraction) for cell in cells}
    counts = Counter(dataset for dataset, _ in fractions)
    return [cell for cell in cells if cell.run.iterations and counts[cell.run.dataset] > 1]


def _series(cells: list[Cell], place: Place, values: Callable[[Cell], list[float]]) -> Series:
    series: Series = {}
    for cell in cells:
        if found := values(cell):
            name = *place(cell), cell.run.method == "baseline"
            series.setdefault(name, []).append((cell.run.fraction, found))
    return {name: sorted(points) for name, points in series.items()}


def _errorbar(axis: plt.Axes, points: Points, colour: str, baseline: bool) -> None:
    """Mean and standard deviation over the training seeds."""
    spread = [stdev(values) if len(values) > 1 else 0 for _, values in points]
    axis.errorbar([x for x, _ in points], [fmean(values) for _, values in points], spread, color=colour, capsize=2,
                  marker="o", ms=4, mfc="white" if baseline else colour, **(BASELINE if baseline else REGULARIZED))


def lambda_sweep(table: str, results: Results) -> plt.Figure | None:
    """The first metric of the table, and the gap of the gradient norms late in training, against the weight of gradgap.
    None where no cell was run with three weights."""
    baselines = [cell for cell in claimed(TABLES[table].cells) if not cell.run.regularizers]
    weights = sorted({run.regularizers["gradgap"] for run in results.runs if list(run.regularizers) == ["gradgap"]})
    cells = baselines + [Cell(replace(cell.run, regularizers={"gradgap": weight}))
                         for cell in baselines for weight in weights]

    def scores_of(section: Section) -> Lines:
        return _sweeps(cells, lambda cell: [value.value for value in section.ours(cell, section.metrics[0])])

    found = [section for section in sections(cells, results)  # the table's own protocol first
             if family(section.metrics[0]) in ("fd", "fid") and scores_of(section)]
    if not found:
        return None
    section, scores = found[0], scores_of(found[0])
    gaps = _sweeps(cells, _late_gaps(cells, section, results))
    figure, axes = plt.subplots(1, 2, figsize=(9.9, 3.6), layout="constrained")
    for axis, lines, label in zip(axes, (scores, gaps), (_label(section), GAP), strict=True):
        for number, name in enumerate(scores):
            _errorbar(axis, lines.get(name, []), COLOURS[number % len(COLOURS)], baseline=number >= len(COLOURS))
        axis.set_xscale("symlog", linthresh=min(weight for weight in weights if weight))
        axis.set_xlabel("weight of gradgap, lambda (0: the baseline)")
        axis.set_ylabel(label)
    axes[1].set_yscale("log")
    axes[0].legend(list(scores), frameon=False, fontsize=8)
    return figure


def _label(section: Section) -> str:
    metric = title(section.metrics[0])
    return f"{metric} ({section.departure})" if section.departure else metric


def _late_gaps(cells: list[Cell], section: Section, results: Results) -> Callable[[Cell], list[float]]:
    """Of a cell's runs that were trained as those of the section."""
    found = members(cells, results)
    trained = max((training for *_, training in found if section.departure.startswith(training)), key=len)
    return lambda cell: [gap for other, run, training in found if (other, training) == (cell, trained)
                         and (gap := late_gap(run, results))]


def _sweeps(cells: list[Cell], values: Callable[[Cell], list[float]]) -> Lines:
    """Model, data set and fraction -> (weight, values) of each cell that has any; those with three weights or more."""
    lines: Lines = {}
    for cell in cells:
        if found := values(cell):
            name = f"{title(cell.run.model)}, {cell.run.dataset} {cell.run.fraction:.0%}"
            lines.setdefault(name, []).append((cell.run.regularizers.get("gradgap", 0), found))
    return {name: points for name, points in lines.items() if len(points) > 2}


def cost(table: str, results: Results) -> plt.Figure | None:
    """Training time of the regularized run over its baseline's on the same device, a point for each training seed.
    None without such a pair."""
    source = measured(table, [table], results)
    times = {name: source.effects(name, lambda base, value: value / base)
             for name in source.values if name.startswith("seconds on ")}
    points = [(task, device, seed_values) for device, tasks in times.items() for task, seed_values in tasks.items()]
    if not points:
        return None
    height = 0.8 + 0.22 * len(points)
    figure, axis = plt.subplots(figsize=(6.5, height))
    figure.subplots_adjust(0.42, 0.5 / height, 0.97, 1 - 0.1 / height)
    for y, (_, _, values) in enumerate(points):
        axis.plot(list(values.values()), [y] * len(values), "o", ms=4, color=COLOURS[0])
    axis.axvline(1, color="0.3", lw=1)
    axis.set_yticks(range(len(points)), [f"{title(model)}, {dataset} {fraction:.0%}"
                                         for (model, dataset, fraction), _, _ in points], fontsize=8)
    axis.set_ylim(len(points) - 0.5, -0.5)
    axis.set_xlim(0, 1.1 * max(max(values.values()) for *_, values in points))
    axis.set_xlabel("training time with gradgap / without")
    return figure
