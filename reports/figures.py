"""The figures of a table, PNG and SVG: gradient norms (Figure 1 of the paper), learning curves, FID against fraction.

`python -m reports.figures TABLE` writes them to reports/TABLE/, with samples.png, a sheet of what each run generates.
"""

import argparse
from array import array
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import MaxNLocator

from benchmarks.runs import Run, command
from benchmarks.tables import TABLES
from reports.comparisons import cost, fid_by_fraction, lambda_sweep
from reports.convergence import distances
from reports.options import parse, say_left_out
from reports.results import Results, read, write
from reports.samples import sheet
from reports.sections import claimed, members, title
from reports.style import BASELINE, COLOURS, KINDS, REGULARIZED, STYLE, key, save, swatches

POINTS = 200  # a curve is drawn as the means of this many stretches
NORMS = {"n_R": "gradient norm on real images, $n_R$", "n_F": "on generated images, $n_F$",
         "gap": "gap, $n_R - n_F$"}
LOSSES = {"loss_d": "discriminator's loss", "loss_g": "generator's loss"}
DISTANCE = "fd"  # the Frechet distance of generators kept on the way, by whatever name


@dataclass
class Curve:
    """The logs of one cell, averaged over its training seeds: quantity -> values at `iteration`."""

    run: Run
    iteration: np.ndarray
    values: dict[str, np.ndarray]


def curves(table: str, results: Results) -> tuple[str, list[Curve]]:
    """A curve for each baseline and each cell with gradgap that has logs, and how their training departs from the
    table's protocol ("" if not)."""
    logs: dict[str, dict[str, list]] = {}
    cells = {cell.run.id: cell.run for cell in TABLES[table].cells}
    _, kept = distances(table, results)
    for cell, run, training in members(claimed(TABLES[table].cells), results):
        if log := results.log(run.id):
            logs.setdefault(training, {}).setdefault(cell.run.id, []).append((log, kept.get(run.id, {})))
    for training, found in logs.items():  # the table's own protocol where it has any
        return training, [_curve(cells[cell], seeds) for cell, seeds in found.items()]
    return "", []


def _curve(run: Run, seeds: list[tuple[dict[str, array], dict[int, float]]]) -> Curve:
    grid = np.linspace(0, max(log["iteration"][-1] for log, _ in seeds), POINTS)
    stack = np.ma.masked_invalid([_resample(*seed, grid) for seed in seeds])  # [seeds, quantities, POINTS]
    return Curve(run, grid, dict(zip((*NORMS, *LOSSES, DISTANCE), stack.mean(axis=0), strict=True)))


def _resample(log: dict[str, array], distance: dict[int, float], grid: np.ndarray) -> list[np.ndarray]:
    """Each quantity of one run, averaged over stretches and read at the iterations of `grid`; nan outside the log."""
    points = np.stack([log[name] for name in ("iteration", *NORMS, *LOSSES)], axis=1)
    points = points[np.isfinite(points).all(axis=1)]  # a run that diverges ends in nan
    starts = np.unique(np.linspace(0, len(points), min(POINTS, len(points)), endpoint=False, dtype=int))
    means = np.add.reduceat(points, starts) / np.diff([*starts, len(points)])[:, None]
    read = [np.interp(grid, means[:, 0], column, left=np.nan, right=np.nan) for column in means[:, 1:].T]
    kept = [*distance] or [0], [*distance.values()] or [np.nan]
    return [*read, np.interp(grid, *kept, left=np.nan, right=np.nan)]



def panels(found: list[Curve], quantities: dict[str, str], departure: str) -> plt.Figure:
    """A row for each model and data set, a column for each quantity; colour is the fraction, dashed the baseline.

    Where all curves have one fraction, the rows are models and colour is the data set.
    """
    fractions = sorted({curve.run.fraction for curve in found})
    row, colour = (_task, _fraction) if len(fractions) > 1 else (_model, _dataset)
    rows = list(dict.fromkeys(row(curve.run) for curve in found))
    names = list(dict.fromkeys(colour(curve.run) for curve in sorted(found, key=lambda curve: curve.run.fraction)))
    height = 1.2 + 1.9 * len(rows)
    figure, axes = plt.subplots(len(rows), len(quantities), figsize=(9.9, height), squeeze=False)
    figure.subplots_adjust(0.085, 0.5 / height, 0.965, 1 - 0.8 / height, wspace=0.2, hspace=0.2)
    for curve in found:
        for axis, name in zip(axes[rows.index(row(curve.run))], quantities, strict=True):
            axis.plot(curve.iteration, curve.values[name], color=COLOURS[names.index(colour(curve.run)) % len(COLOURS)],
                      **(REGULARIZED if curve.run.regularizers else BASELINE))
    ends = [max(curve.iteration[-1] for curve in found if row(curve.run) == name) for name in rows]
    _label(axes, rows, quantities, ends, departure)
    key(figure, swatches(names) | KINDS)
    return figure


def _label(axes: np.ndarray, rows: list[str], quantities: dict[str, str], ends: list[float], departure: str) -> None:
    for number, (line, end) in enumerate(zip(axes, ends, strict=True), start=1):
        ticks = [0, end / 2, end]
        labelled = len(set(ends)) > 1 or number == len(ends)
        for axis in line:
            axis.set_xlim(0, end)
            axis.set_xticks(ticks, [f"{tick:,.0f}" for tick in ticks] if labelled else [])
            axis.yaxis.set_major_locator(MaxNLocator(3))
    for axis, name in zip(axes[:, 0], rows, strict=True):
        axis.set_ylabel(name)
    for axis, text in zip(axes[0], quantities.values(), strict=True):
        axis.set_title(text, fontsize=9)
    for axis in axes[-1]:
        axis.set_xlabel(f"iteration ({departure})" if departure else "iteration")


def _task(run: Run) -> str:
    return f"{title(run.model)}\n{run.dataset}"


def _model(run: Run) -> str:
    return title(run.model)


def _fraction(run: Run) -> str:
    return f"{run.fraction:.0%} of the data"


def _dataset(run: Run) -> str:
    return run.dataset


def render(table: str, results: Results, folder: Path) -> list[str]:
    """Write the figures that the results carry, and return their names."""
    departure, found = curves(table, results)
    metric, kept = distances(table, results)
    distance = {DISTANCE: f"{title(metric)} of kept generators"} if kept else {}
    made = []
    with plt.rc_context(STYLE):
        for name, draw in {
            "gradient_norms": lambda: panels(found, NORMS, departure) if found else None,
            "learning_curves": lambda: panels(found, LOSSES | distance, departure) if found else None,
            "fid_by_fraction": lambda: fid_by_fraction(table, results),
            "lambda_sweep": lambda: lambda_sweep(table, results),
            "cost": lambda: cost(table, results),
        }.items():
            if figure := draw():
                save(figure, folder / name)
                made.append(name)
    if data := sheet(table, results):
        write(folder / "samples.png", data)
        made.append("samples")
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw the figures of a table.")
    parser.add_argument("table", help=f"one of {', '.join(TABLES)}")
    args = parse(parser)
    results = read(args.results)
    made = render(args.table, results, args.out / args.table)
    say_left_out(results)
    print(f"{args.out / args.table}: {', '.join(made) or 'no figure, no run of this table has left anything yet'}")


if __name__ == "__main__":
    command(main)
