"""`make status`: where every cell of every table stands, from the files alone, also while training runs.

Standard library only, so that it answers without any installation.
"""

from collections import Counter
from dataclasses import replace
from pathlib import Path

from benchmarks.runs import InputError, Run
from benchmarks.tables import TABLES, Cell
from reports.data.folders import FINISHED, run_folders, state


def board(table: str, runs: list[Run], results: Path) -> tuple[list[list[str]], dict]:
    """A header of data sets, then a line for each model and method, "" where it has no cell; and the states of the
    seeds of each cell, by its run."""
    columns: dict[tuple[int, float], str] = {}  # place of the data set and fraction -> what it is called
    rows: dict[str, dict[tuple, str]] = {}
    datasets: dict[str, int] = {}
    states: dict[str, list[str]] = {}
    for cell in TABLES[table].cells:
        run = cell.run
        own = [state(results, each) for each in runs if replace(each, seed=run.seed) == run] or ["missing"]
        column = datasets.setdefault(run.dataset, len(datasets)), run.fraction
        columns[column] = f"{run.dataset} {100 * run.fraction:.3g}%"
        rows.setdefault(row(cell), {})[column] = text(own)
        states[run.id] = own
    lines = [[table, *[columns[column] for column in sorted(columns)]]]
    for name, places in rows.items():
        lines.append([name, *[places.get(column, "") for column in sorted(columns)]])
    return lines, states


def row(cell: Cell) -> str:
    method = "untrained" if cell.run.iterations == 0 else cell.label or cell.run.method
    return "held-out real images" if cell.run.model == "heldout" else f"{cell.run.model} {method}"


def text(states: list[str]) -> str:
    """The states of the seeds of a cell: "done", "2 done, 1 running 45 % 3h10m left"."""
    if len(states) == 1:
        return states[0]
    return ", ".join(f"{count} {name}" for name, count in Counter(states).items())


def aligned(lines: list[list[str]]) -> str:
    widths = [max(map(len, values)) for values in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def status(results: Path, tables: list[str], require: str = "") -> int:
    """Print the boards, below several the runs of no table; 1 where `require` is "all" and a cell is not finished."""
    if require not in ("", "all"):
        raise InputError(f"REQUIRE={require}: must be all, or not given")
    runs = run_folders(results)
    states: dict[str, list[str]] = {}
    for number, table in enumerate(tables):
        lines, own = board(table, runs, results)
        print(("\n" if number else "") + aligned(lines))
        states |= own
    others = [[run.id, state(results, run)] for run in runs if replace(run, seed=0).id not in states]
    if others and len(tables) > 1:
        print(f"\nother runs:\n{aligned(others)}")
    unfinished = set(sum(states.values(), [])) - set(FINISHED)
    return int(require == "all" and bool(unfinished))
