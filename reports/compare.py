"""A method beside a table's baselines and regularized runs, and every published number of the table's data sets.

`python -m reports.compare --method NAME --table TABLE` writes reports/compare/NAME/TABLE.md and TABLE.csv. NAME is the
method's name in run ids, such as "mine5-diffaugment". Published numbers stand below ours, one table for each protocol,
because numbers of two protocols do not rank.
"""

import argparse
import csv
import io
import re
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from statistics import fmean, stdev

import benchmarks.tables
from benchmarks.runs import Run, command
from benchmarks.tables import TABLES, Cell
from reports.formats import Grid, Text, markdown
from reports.options import parse
from reports.results import Results, decimals, read, write
from reports.sections import Section, sections, title
from reports.stats import Interval, student
from reports.tables import Place, heading, ours

RELATED = Path(benchmarks.tables.__file__).with_name("related_work.csv")
STD = re.compile(r",? std (\d+\.\d+)")
FACTS = ["method", "base_model", "metric", "source", "fraction", "n_images", "value", "sd"]
COLUMNS = ["kind", "method", "base_model", "dataset", "resolution", "fraction", "n_images", "metric", "value", "sd",
           "seeds", "difference", "low", "high", "protocol", "source"]
LEGEND = ["Ours: mean ± standard deviation over n training seeds; \"-\": not run. Run ids, which say how each was "
          "trained, and the source of each number are in the .csv beside this file.",
          "Difference: the method - the baseline over the training seeds that both have, with the 95 % interval by "
          "Student's t; one seed gives no interval.",
          "Published numbers are under their own protocols, one table each: between two protocols, and between them "
          "and ours, compare differences to a baseline, not levels."]


class Line:
    """A baseline of the table with what competes against it."""

    def __init__(self, baseline: Cell, gradgap: Cell | None, method: Cell):
        self.baseline, self.gradgap, self.method = baseline, gradgap, method

    @property
    def cells(self) -> list[Cell]:
        return [cell for cell in (self.baseline, self.gradgap, self.method) if cell]


def lines(table: str, name: str) -> list[Line]:
    """A line for each trained baseline of the table. Raises InputError for a name that is no method."""
    asked = Run.from_id(f"model-dataset-1-f1.0-{name}-s0")
    trained = [cell for cell in TABLES[table].cells if cell.run.iterations]
    regularized = {_task(cell.run): cell for cell in trained if list(cell.run.regularizers) == ["gradgap"]}
    return [Line(cell, regularized.get(_task(cell.run)),
                 Cell(replace(cell.run, regularizers=asked.regularizers, augment=asked.augment)))
            for cell in trained if not cell.run.regularizers and not cell.run.augment]


def _task(run: Run) -> tuple:
    return run.model, run.dataset, run.resolution, run.fraction


def found(compared: list[Line], results: Results) -> list[Section]:
    """The numbers, one section for each protocol: the table's own, and those others in which the method has any."""
    cells = {cell.run.id: cell for line in compared for cell in line.cells}
    first, *others = sections(list(cells.values()), results)
    return [first, *(section for section in others if any(measured(section, line) for line in compared))]


def measured(section: Section, line: Line) -> bool:
    """Has the method a number there?"""
    return any(section.ours(line.method, metric) for metric in section.metrics)


def difference(section: Section, line: Line, metric: str) -> Interval | None:
    """The method - the baseline, over the training seeds that both have; None without one."""
    method, baseline = ({value.seed: value.value for value in section.ours(cell, metric)}
                        for cell in (line.method, line.baseline))
    paired = [method[seed] - baseline[seed] for seed in method if seed in baseline]
    return student(paired, "training seeds") if paired else None


def _difference(interval: Interval | None, metric: str) -> str:
    if interval is None:
        return "-"
    mean, low, high = (None if x is None else f"{x:+.{decimals(metric)}f}" for x in interval[:3])
    return f"{mean} [{low}, {high}]" if low else f"{mean} (n=1: no interval)"


def grid(section: Section, compared: list[Line], name: str) -> Grid:
    header = ["model", "data set", "fraction", "metric", "baseline", "gradgap", name, f"{name} - baseline"]
    rows = []
    for line in compared:
        run = line.baseline.run
        for metric in section.metrics:
            scores = [ours(Place(section, cell, None, metric)) if cell else Text("")
                      for cell in (line.baseline, line.gradgap, line.method)]
            rows.append([*map(Text, (title(run.model), f"{run.dataset}, {run.resolution} px", f"{run.fraction:.0%}",
                                     title(metric))),
                         *scores, Text(_difference(difference(section, line, metric), metric))])
    return Grid([(text,) for text in header], rows, labels=4)


def protocols(section: Section, results: Results) -> list[str]:
    """How the numbers of a section were measured, each way once."""
    shown = {(metric, value.value) for (_, metric), values in section.values.items() for value in values}
    scores = [score for record in results.records.values() for score in record.scores]
    return list(dict.fromkeys(", ".join(f"{key} {value}" for key, value in score.protocol.items())
                              for score in scores if (score.metric, score.value) in shown))


def published(dataset: str) -> list[dict[str, str]]:
    """The rows of related_work.csv on a data set, by protocol and then as in the file; what is a number's standard
    deviation goes from its protocol into "sd"."""
    with RELATED.open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["dataset"].lower().replace(" ", "-") == dataset]
    for row in rows:
        deviation = STD.search(row["protocol"])
        row["sd"] = deviation[1] if deviation else ""
        row["protocol"] = STD.sub("", row["protocol"])
    return sorted(rows, key=_protocol)


def _protocol(row: dict[str, str]) -> tuple[int, str]:
    return int(row["resolution"] or 0), row["protocol"]


def _published_markdown(dataset: str) -> list[str]:
    text = [f"## Published numbers on {dataset}"]
    for (resolution, protocol), rows in groupby(published(dataset), key=_protocol):
        table = [[Text(row[name]) for name in FACTS] for row in rows]
        text += [f"### {f'{resolution} px' if resolution else 'resolution not stated'}; {protocol}",
                 markdown(Grid([(name.replace("_", " "),) for name in FACTS], table, labels=4))]
    return text if len(text) > 1 else [*text, "None in `benchmarks/related_work.csv`."]


def to_markdown(table: str, name: str, compared: list[Line], results: Results) -> str:
    text = [f"# {name} on {table}"]
    for number, section in enumerate(found(compared, results)):
        shown = compared if number == 0 else [line for line in compared if measured(section, line)]
        text += [f"## {heading(section)}", markdown(grid(section, shown, name)),
                 *(f"Measured with {protocol}." for protocol in protocols(section, results))]
    text += ["\n".join(f"- {note}" for note in [*LEGEND, *(f"Left out: {problem}" for problem in results.problems)])]
    for dataset in dict.fromkeys(line.baseline.run.dataset for line in compared):
        text += _published_markdown(dataset)
    return "\n\n".join(text) + "\n"


def to_csv(compared: list[Line], results: Results) -> str:
    """Every number with every digit: ours, then the published ones."""
    file = io.StringIO()
    writer = csv.DictWriter(file, COLUMNS, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    for section in found(compared, results):
        for line in compared:
            for metric in section.metrics:
                writer.writerows(_ours(section, line, cell, metric) for cell in line.cells)
    for dataset in dict.fromkeys(line.baseline.run.dataset for line in compared):
        writer.writerows({"kind": "published"} | row for row in published(dataset))
    return file.getvalue()


def _ours(section: Section, line: Line, cell: Cell, metric: str) -> dict:
    run, values = cell.run, [value.value for value in section.ours(cell, metric)]
    row = {"kind": "ours", "method": run.method, "base_model": run.model, "dataset": run.dataset,
           "resolution": run.resolution, "fraction": run.fraction, "metric": metric, "seeds": len(values),
           "protocol": section.departure or "the table's", "source": "\n".join(
               value.source for value in section.ours(cell, metric)) or run.id}
    row |= {"value": fmean(values)} if values else {}
    row |= {"sd": stdev(values)} if len(values) > 1 else {}
    interval = difference(section, line, metric) if cell is line.method else None
    return row | (dict(zip(("difference", "low", "high"), interval, strict=False)) if interval else {})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", required=True, help="its name in run ids, as `python -m reproduce.compare` prints")
    parser.add_argument("--table", required=True, help=f"one of {', '.join(TABLES)}")
    args = parse(parser)
    compared, results = lines(args.table, args.method), read(args.results)
    path = args.out / "compare" / args.method / f"{args.table}.md"
    write(path, to_markdown(args.table, args.method, compared, results).encode())
    write(path.with_suffix(".csv"), to_csv(compared, results).encode())
    section = found(compared, results)[0]
    done = sum(measured(section, line) for line in compared)
    print(f"{markdown(grid(section, compared, args.method))}\n\n{done} of {len(compared)} cells measured; wrote {path} "
          "and .csv, with the published numbers")
    return 0 if done == len(compared) else 1


if __name__ == "__main__":
    command(main)
