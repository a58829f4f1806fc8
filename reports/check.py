"""Did training work at all? Each trained generator against the untrained one of its model, by Frechet distance."""

from statistics import fmean

from benchmarks.tables import Cell
from reports.formats import Grid, Text
from reports.results import decimals, family
from reports.sections import Section

TITLE = "Trained against untrained: the Frechet distance must be at most half of the untrained generator's"
HEADER = ["run", "metric", "trained", "untrained", "ratio", "at most 0.5"]


def check(sections: list[Section]) -> Grid | None:
    """A row for each trained run; None for a table without untrained generators."""
    start = {_model(cell): cell for cell in sections[0].cells if cell.run.iterations == 0}
    sections = [section for section in sections if "checkpoint" not in section.departure]  # the headline is the last
    rows = [row for section in sections for metric in section.metrics if family(metric) in ("fd", "fid")
            for cell in section.cells if cell.run.iterations > 0 and _model(cell) in start
            for row in _rows(section, cell, metric, _untrained(sections, start[_model(cell)], metric))]
    return Grid([(name,) for name in HEADER], rows, labels=2) if start else None


def _model(cell: Cell) -> tuple[str, str, int]:
    return cell.run.model, cell.run.dataset, cell.run.resolution


def _untrained(sections: list[Section], cell: Cell, metric: str) -> float | None:
    """Of the first section that has it: a change of the number of iterations does not touch it."""
    for section in sections:
        if values := section.ours(cell, metric):
            return fmean(value.value for value in values)
    return None


def _rows(section: Section, cell: Cell, metric: str, untrained: float | None) -> list[list[Text]]:
    """One row a training seed; one that says "-" where the cell or its untrained generator was not measured."""
    values = section.ours(cell, metric)
    if not values or untrained is None:
        return [] if section.departure else [[Text(cell.run.id), Text(metric), *[Text("-")] * 3, Text("not measured")]]
    digits = decimals(metric)
    return [[Text(value.source.split(":")[0]), Text(metric), Text(f"{value.value:.{digits}f}", value.source),
             Text(f"{untrained:.{digits}f}"), Text(f"{value.value / untrained:.3f}"),
             Text("pass" if value.value <= 0.5 * untrained else "FAIL")] for value in values]
