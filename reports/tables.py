"""The tables of the paper with ours beside the published numbers: reports/TABLE/table.md, table.csv and table.tex.

A table is a pure function of benchmarks.tables.TABLES and results/.
"""

import argparse
import csv
import io
from collections.abc import Callable
from pathlib import Path
from statistics import fmean, stdev
from typing import NamedTuple

from benchmarks.runs import BATCH, ITERATIONS, command
from benchmarks.tables import TABLES, Cell
from reports.check import TITLE as CHECK
from reports.check import check
from reports.convergence import convergence
from reports.formats import Grid, Text, latex, markdown
from reports.options import parse, say_left_out
from reports.results import KNOWN, Results, decimals, family, read, write
from reports.sections import Section, method, sections, title
from reports.status import text as states_text

STAND_INS = {"fd_effnet": "FID (lower is better)", "is_effnet": "IS (higher is better)"}
STAND_IN = ("{} has EfficientNet-Lite0 features in Inception's place: a stand-in for {} that compares with no "
            "published number.")
SAMPLING = ("sampling sd: standard deviation over several draws of the images of one generator (root mean square over "
            "the training seeds); ours is then the mean over the draws. It is no part of the deviation after ±.")
LEGEND = ("ours: mean ± standard deviation over n training seeds; difference: ours - published; change: the method - "
          'the baseline; "-": not run; trained: not evaluated yet; empty: no such cell.')


class Place(NamedTuple):
    """One place of a table: a cell of a section under a metric, and the baseline of the cell (None: it has none)."""

    section: Section
    cell: Cell
    baseline: Cell | None
    metric: str

    def mean(self, baseline: bool = False) -> float | None:
        """Ours, over the training seeds; None where nothing is measured."""
        cell = self.baseline if baseline else self.cell
        values = self.section.ours(cell, self.metric) if cell else []
        return fmean(value.value for value in values) if values else None

    def published(self, baseline: bool = False) -> float | None:
        cell = self.baseline if baseline else self.cell
        return cell.published.get(self.metric) if cell and not self.section.departure else None

    def signed(self, value: float | None, reference: float | None) -> str:
        if value is None or reference is None:
            return "-"
        difference = round(value - reference, decimals(self.metric)) + 0.0  # + 0.0: no "-0.00"
        return f"{difference:+.{decimals(self.metric)}f}"

    def change(self, value: float | None, reference: float | None) -> str:
        change = self.signed(value, reference)
        if change == "-" or not reference:
            return change
        return f"{change} ({round((value - reference) / reference, 2) + 0.0:+.0%})"  # + 0.0: as above


LINES: dict[str, Callable[[Place], Text]] = {  # what a method can show, one line each
    "published": lambda place: Text(f"{place.published():g}"),
    "ours": lambda place: ours(place),
    "sampling sd": lambda place: sampling(place),
    "difference": lambda place: Text(place.signed(place.mean(), place.published())),
    "change, published": lambda place: Text(place.change(place.published(), place.published(baseline=True))),
    "change, ours": lambda place: Text(place.change(place.mean(), place.mean(baseline=True))),
}


def ours(place: Place) -> Text:
    """Mean and standard deviation over the training seeds, or why there are none."""
    values = place.section.ours(place.cell, place.metric)
    states = place.section.states.get(place.cell.run.id, [])
    unfinished = [state for state in states if state.name != "done"]
    parts = [spread([value.value for value in values], place.metric)] if values else []
    parts += [states_text(unfinished)] if unfinished else []
    parts += ["not measured"] if len(states) > len(values) + len(unfinished) else []
    return Text(", ".join(parts) or "-", "\n".join(value.source for value in values))


def sampling(place: Place) -> Text:
    """Standard deviation over the draws of the samples, and how many there are."""
    sd = place.section.sampling_sd(place.cell, place.metric)
    draws = {score.draws for score in place.section.scores.get((place.cell.run.id, place.metric), [])}
    counts = " or ".join(map(str, sorted(draws)))
    return Text("-" if sd is None else f"{sd:.{decimals(place.metric)}f} (draws={counts})")


def spread(values: list[float], metric: str) -> str:
    digits = decimals(metric)
    deviation = f" ± {stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{fmean(values):.{digits}f}{deviation} (n={len(values)})"


def grid(section: Section) -> Grid:
    """The paper's shape: lines for each model and method, a column for each data set, fraction and metric."""
    runs, rows = [cell.run for cell in section.cells], []
    columns = [(dataset, fraction, metric) for dataset in dict.fromkeys(run.dataset for run in runs)
               for fraction in sorted({run.fraction for run in runs if run.dataset == dataset})
               for metric in section.metrics]
    cells = {(cell.run.model, method(cell), cell.run.dataset, cell.run.fraction): cell for cell in section.cells}
    for model, label in dict.fromkeys((model, label) for model, label, *_ in cells):
        for number, line in enumerate(lines(section, label)):
            row = [Text("" if number else f"{title(model)}{label}"), Text(line)]
            for dataset, fraction, metric in columns:
                cell = cells.get((model, label, dataset, fraction))
                place = Place(section, cell, cells.get((model, "", dataset, fraction)), metric)
                row.append(LINES[line](place) if cell else Text(""))
            rows.append(row)
    header = [("", "", ""), ("", "", ""), *((d, f"{f:.0%}", title(m)) for d, f, m in columns)]
    return Grid([levels[:2] for levels in header] if len(section.metrics) == 1 else header, rows, labels=2)


def lines(section: Section, label: str) -> list[str]:
    """Which lines a method gets: published ones only in the table's own protocol, a change only beside a baseline."""
    published = not section.departure and all(set(section.metrics) <= set(cell.published) for cell in section.cells)
    names = [name for name in LINES if published or name in ("ours", "sampling sd", "change, ours")]
    if not sampled(section):
        names.remove("sampling sd")
    return [name for name in names if not name.startswith("change") or label.startswith(" +")]


def sampled(section: Section) -> bool:
    """Were the samples of any score drawn more than once?"""
    return any(score.draws > 1 for scores in section.scores.values() for score in scores)


def heading(section: Section) -> str:
    """What a further section measures, which way is better, and under which other protocol."""
    names = ", ".join(f"{title(metric)} ({direction(section, metric)})" for metric in section.metrics)
    return f"{names}, other protocol: {section.departure}" if section.departure else names


def direction(section: Section, metric: str) -> str:
    """Which way is better; for a metric that is not KNOWN as its scores say."""
    if family(metric) in KNOWN:
        return f"{KNOWN[family(metric)][0]} is better"
    return next(scores[0].protocol["direction"] for (_, name), scores in section.scores.items() if name == metric)


def training(cells: list[Cell]) -> list[str]:
    """How the table's runs are trained, where that is not the paper's protocol."""
    runs = [cell.run for cell in cells if cell.run.iterations]
    iterations, batches = (_span([getattr(run, name) for run in runs]) for name in ("iterations", "batch"))
    ours, paper = f"{iterations} iterations at batch {batches}", f"{ITERATIONS:,} iterations at batch {BATCH}"
    return [f"Protocol of this table: {ours}; the paper's: {paper}."] if ours != paper else []


def labels(cells: list[Cell]) -> list[str]:
    """The methods behind each label of a row."""
    found: dict[str, list[str]] = {}
    for cell in cells:
        if cell.label:
            found.setdefault(cell.label, []).append(f"{cell.run.method} at {cell.run.fraction:.0%}")
    return [f"{label}: {', '.join(dict.fromkeys(methods))} of the data." for label, methods in found.items()]


def _span(values: list[int]) -> str:
    return " to ".join(f"{value:,}" for value in sorted({min(values), max(values)}))


def notes(table: str, parts: list[Section], results: Results) -> list[str]:
    """The footnotes: how to read, how it was trained and whether to the end, the paper's oddities, the stand-ins."""
    metrics = dict.fromkeys(metric for section in parts for metric in section.metrics)
    stand_ins = [STAND_IN.format(metric, STAND_INS[metric]) for metric in metrics if metric in STAND_INS]
    return [LEGEND, *([SAMPLING] if any(map(sampled, parts)) else []), *TABLES[table].notes,
            *labels(TABLES[table].cells), *training(TABLES[table].cells), *stand_ins, *convergence(table, results)]


def to_markdown(table: str, results: Results) -> str:
    parts = sections(TABLES[table].cells, results)
    text = [f"# {TABLES[table].title}", markdown(grid(parts[0]))]
    if trained := check(parts):
        text += [f"## {CHECK}", markdown(trained)]
    for section in parts[1:]:
        text += [f"## {heading(section)}", markdown(grid(section))]
    footnotes = [*notes(table, parts, results), *(f"Left out: {problem}" for problem in results.problems)]
    return "\n\n".join([*text, "\n".join(f"- {note}" for note in footnotes)]) + "\n"


def to_latex(table: str, results: Results) -> str:
    parts = sections(TABLES[table].cells, results)
    text = [f"% {TABLES[table].title}; needs \\usepackage{{booktabs}}", latex(grid(parts[0]))]
    for section in parts[1:]:
        text += [f"% {heading(section)}", latex(grid(section))]
    footnotes = [*notes(table, parts, results), *(f"Left out: {problem}" for problem in results.problems)]
    return "\n\n".join([*text, "\n".join(f"% {note}" for note in footnotes)]) + "\n"


def to_csv(table: str, results: Results) -> str:
    """One line for each cell, metric and protocol, with every digit."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["table", "protocol", "model", "dataset", "resolution", "fraction", "iterations", "method",
                     "metric", "published", "mean", "sd", "n", "sampling_sd", "difference", "seeds", "status"])
    for section in sections(TABLES[table].cells, results):
        for cell in section.cells:
            run = cell.run
            for metric in section.metrics:
                writer.writerow([table, section.departure, run.model, run.dataset, run.resolution, run.fraction,
                                 run.iterations, run.method, metric, *_numbers(section, cell, metric)])
    return file.getvalue()


def _numbers(section: Section, cell: Cell, metric: str) -> list:
    place = Place(section, cell, None, metric)
    values = {value.seed: value.value for value in section.ours(cell, metric)}
    published, mean = place.published(), place.mean()
    deviation = stdev(values.values()) if len(values) > 1 else None
    difference = None if published is None or mean is None else mean - published
    status = states_text(section.states.get(cell.run.id, [])) or "missing"
    return [published, mean, deviation, len(values), section.sampling_sd(cell, metric), difference,
            " ".join(map(str, values)), status]


def write_files(table: str, results: Results, folder: Path) -> None:
    """table.md, table.csv and table.tex."""
    for name, text in (("md", to_markdown), ("csv", to_csv), ("tex", to_latex)):
        write(folder / f"table.{name}", text(table, results).encode())


def main() -> None:
    parser = argparse.ArgumentParser(description="Write a table with ours beside the published numbers.")
    parser.add_argument("table", help=f"one of {', '.join(TABLES)}")
    args = parse(parser)
    results = read(args.results)
    say_left_out(results)
    folder = args.out / args.table
    write_files(args.table, results, folder)
    print(f"{to_markdown(args.table, results)}\nwrote table.md, table.csv and table.tex in {folder}")


if __name__ == "__main__":
    command(main)
