"""`make status`: where every cell of every table stands, from the files alone, also while training runs.

Standard library only, so that it answers without any installation.
"""

from collections import Counter
from dataclasses import replace
from pathlib import Path

from benchmarks.runs import InputError, Run
from benchmarks.tables import TABLES, Cell
from reports.data.folders import State, run_folders, state


class Board:
    """The cells of one table and the states of their runs."""

    def __init__(self, table: str, results: Path, runs: list[Run], iterations: int | None):
        self.table = table
        self.cells: list[tuple[Cell, list[State]]] = []
        for cell in TABLES[table].cells:
            length = min(cell.run.iterations, iterations) if iterations is not None else cell.run.iterations
            cell = replace(cell, run=replace(cell.run, iterations=length))
            own = [run for run in runs if replace(run, seed=cell.run.seed) == cell.run]
            self.cells.append((cell, [state(results, run) for run in own] or [State("missing")]))

    @property
    def complete(self) -> bool:
        """Has every cell a finished run, and no unfinished one? A run that diverged is finished."""
        return all(each.finished for _, states in self.cells for each in states)

    def lines(self) -> list[list[str]]:
        """A header of data sets, then a line for each model and method; "" where the table has no cell."""
        columns: dict[str, None] = {}
        rows: dict[str, dict[str, str]] = {}
        names = list(dict.fromkeys(cell.run.dataset for cell, _ in self.cells))
        for cell, _ in sorted(self.cells, key=lambda item: (names.index(item[0].run.dataset), item[0].run.fraction)):
            columns[column(cell.run)] = None
        for cell, states in self.cells:
            rows.setdefault(row(cell), {})[column(cell.run)] = text(states)
        lines = [[self.table, *columns]]
        for name, places in rows.items():
            lines.append([name, *(places.get(place, "") for place in columns)])
        return lines


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
        board = Board(table, results, runs, iterations)
        print(("\n" if number else "") + aligned(board.lines()))
        listed += [cell.run for cell, _ in board.cells]
        complete = complete and board.complete
    others = []
    for run in runs:
        if replace(run, seed=0) not in listed:
            others.append([run.id, str(state(results, run))])
    if others and not tables:
        print(f"\nother runs:\n{aligned(others)}")
    return int(require == "all" and not complete)
