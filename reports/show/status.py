"""`make status`: where every cell of every table stands, from the files alone, also while training runs.

Standard library only, so that it answers without any installation.
"""

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.runs import InputError, Run
from benchmarks.tables import TABLES, Cell
from reports.data.folders import State, run_folders, state


@dataclass
class Board:
    """The states of one table: a header of data sets, then a line for each model and method; "" where it has no cell.

    complete  whether every cell has a finished run, and no unfinished one; a run that diverged is finished
    """

    lines: list[list[str]]
    runs: list[Run]
    complete: bool


def board(table: str, results: Path, runs: list[Run], iterations: int | None) -> Board:
    made = Board([], [], True)
    columns: dict[str, tuple] = {}  # with what they are ordered by
    rows: dict[str, dict[str, str]] = {}
    datasets: dict[str, int] = {}
    for cell in TABLES[table].cells:
        run = cell.run
        if iterations is not None:
            run = replace(run, iterations=min(run.iterations, iterations))
        own = [each for each in runs if replace(each, seed=run.seed) == run]
        states = [state(results, each) for each in own] or [State("missing")]
        columns[column(run)] = datasets.setdefault(run.dataset, len(datasets)), run.fraction
        rows.setdefault(row(cell), {})[column(run)] = text(states)
        made.runs.append(run)
        made.complete = made.complete and all(each.finished for each in states)
    order = sorted(columns, key=columns.get)
    made.lines.append([table, *order])
    for name, places in rows.items():
        made.lines.append([name, *[places.get(place, "") for place in order]])
    return made


def row(cell: Cell) -> str:
    method = "untrained" if cell.run.iterations == 0 else cell.label or cell.run.method
    return "held-out real images" if cell.run.model == "heldout" else f"{cell.run.model} {method}"


def column(run: Run) -> str:
    return f"{run.dataset} {100 * run.fraction:.3g}%"


def text(states: list[State]) -> str:
    """The states of the seeds of a cell: "done", "2 done, 1 running 45 % 3h10m left"."""
    counts: Counter[str] = Counter()
    for each in states:
        left = "" if each.eta is None else f" {duration(each.eta)} left"
        counts[f"{each}{left}"] += 1
    if len(states) == 1:
        return next(iter(counts))
    return ", ".join(f"{count} {name}" for name, count in counts.items())


def duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60}h{minutes % 60:02d}m" if minutes >= 60 else f"{minutes}m"


def aligned(lines: list[list[str]]) -> str:
    widths = [max(map(len, values)) for values in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def status(results: Path, tables: list[str], iterations: int | None = None, require: str = "") -> int:
    """Print the boards; 1 where `require` is "all" and a cell is not finished."""
    if require not in ("", "all"):
        raise InputError(f"REQUIRE={require}: must be all, or not given")
    runs = run_folders(results)
    listed: list[Run] = []
    complete = True
    for number, table in enumerate(tables or TABLES):
        made = board(table, results, runs, iterations)
        print(("\n" if number else "") + aligned(made.lines))
        listed += made.runs
        complete = complete and made.complete
    others = []
    for run in runs:
        if replace(run, seed=0) not in listed:
            others.append([run.id, str(state(results, run))])
    if others and not tables:
        print(f"\nother runs:\n{aligned(others)}")
    return int(require == "all" and not complete)
