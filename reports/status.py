"""`make status`: where every cell of every table stands, from the files alone, also while training runs."""

import argparse
from collections import Counter
from dataclasses import replace
from pathlib import Path

from benchmarks.runs import InputError, Run, command
from benchmarks.tables import TABLES, Cell
from reports.results import run_folders
from reports.states import State, state


def grid(table: str, folder: Path, runs: list[Run]) -> list[list[str]]:
    """Rows of text: a header of data sets, then a model and method each; "" where the table has no cell."""
    cells = [cell.run for cell in TABLES[table].cells]
    names = list(dict.fromkeys(run.dataset for run in cells))
    ordered = sorted(cells, key=lambda run: (names.index(run.dataset), run.fraction))
    columns = list(dict.fromkeys(map(column, ordered)))
    grid = {row(cell): dict.fromkeys(columns, "") for cell in TABLES[table].cells}
    for cell in TABLES[table].cells:
        grid[row(cell)][column(cell.run)] = text([state(folder, run) for run in _of(cell.run, runs)])
    return [[table, *columns], *([name, *entries.values()] for name, entries in grid.items())]


def complete(table: str, folder: Path, runs: list[Run]) -> bool:
    """Has every cell of the table a finished run, and no unfinished one? A run that diverged is finished."""
    cells = [cell.run for cell in TABLES[table].cells]
    return all(state(folder, run).name in ("done", "diverged") for cell in cells for run in _of(cell, runs))


def _of(cell: Run, runs: list[Run]) -> list[Run]:
    """The runs of a cell, one for each training seed; the cell's own where none was begun."""
    return [run for run in runs if replace(run, seed=cell.seed) == cell] or [cell]


def row(cell: Cell) -> str:
    return f"{cell.run.model} {'untrained' if cell.run.iterations == 0 else cell.label or cell.run.method}"


def column(run: Run) -> str:
    return f"{run.dataset} {run.fraction:.0%}"


def text(states: list[State]) -> str:
    """The states of the seeds of a cell: "done", "2 done, 1 running 45 % 3h10m"."""
    counts = Counter(f"{s}{f' {duration(s.eta)} left' if s.eta is not None else ''}" for s in states)
    return ", ".join(f"{n} {name}" if len(states) > 1 else name for name, n in counts.items())


def duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60}h{minutes % 60:02d}m" if minutes >= 60 else f"{minutes}m"


def show(rows: list[list[str]]) -> str:
    widths = [max(map(len, values)) for values in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, values, widths)).rstrip() for values in rows)


def main() -> int:
    parser = argparse.ArgumentParser(description="Show done, running, failed and missing cells of the tables.")
    parser.add_argument("tables", nargs="*", help=f"of {', '.join(TABLES)}; all where none is given")
    parser.add_argument("--require-all", action="store_true", help="exit status 1 unless every cell is done")
    parser.add_argument("--results", type=Path, default=Path("results"))
    args = parser.parse_args()
    if unknown := [name for name in args.tables if name not in TABLES]:
        raise InputError(f"table {unknown[0]!r}: not one of {', '.join(TABLES)}")
    runs = list(run_folders(args.results))
    tables = args.tables or list(TABLES)
    print("\n\n".join(show(grid(table, args.results, runs)) for table in tables))
    cells = [replace(cell.run, seed=0) for table in TABLES for cell in TABLES[table].cells]
    others = [run for run in runs if replace(run, seed=0) not in cells]
    if others and not args.tables:
        print("\nother runs:\n" + show([["", run.id, text([state(args.results, run)])] for run in others]))


    return int(args.require_all and not all(complete(table, args.results, runs) for table in tables))


if __name__ == "__main__":
    command(main)
