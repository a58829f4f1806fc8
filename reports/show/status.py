"""`make status`: where every cell of every table stands, from the files alone, also while training runs.

Standard library only, so that it answers without any installation.
"""

from collections import Counter
from dataclasses import replace
from pathlib import Path

from benchmarks.runs import Run
from benchmarks.tables import TABLES, TUNING, Cell
from reports.data.folders import FINISHED, run_folders, state


def board(table: str, runs: list[Run], results: Path, seeds: int) -> tuple[list[list[str]], dict]:
    """A header of data sets, then a line for each model and method, "" where it has no cell; and the states of the
    seeds of each cell, by its run. A cell that has fewer than so many seeds misses the others."""
    cells = TABLES[table].cells
    datasets = list(dict.fromkeys(cell.run.dataset for cell in cells))
    columns = sorted({(datasets.index(cell.run.dataset), cell.run.fraction) for cell in cells})
    lines = {"": [table, *[f"{datasets[place]} {100 * fraction:.3g}%" for place, fraction in columns]]}
    states: dict[str, list[str]] = {}
    for cell in cells:
        run, name = cell.run, row(cell)
        own = [state(results, each) for each in runs
               if each.seed < TUNING and replace(each, seed=run.seed) == run]
        own += ["missing"] * (seeds - len(own))
        line = lines.setdefault(name, [name] + [""] * len(columns))
        line[1 + columns.index((datasets.index(run.dataset), run.fraction))] = text(own)
        states[run.id] = own
    return list(lines.values()), states


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


def status(results: Path, tables: list[str], require: str = "", seeds: int | None = None) -> int:
    """Print the boards, below several the runs of no table; 1 where `require` is "all" and a run is not finished.

    seeds  how many a cell should have; those of the table if not given
    """
    runs = run_folders(results)
    states: dict[str, list[str]] = {}
    for number, table in enumerate(tables):
        lines, own = board(table, runs, results, seeds or TABLES[table].seeds)
        print(("\n" if number else "") + aligned(lines))
        states |= own
    others = [[run.id, state(results, run)] for run in runs if replace(run, seed=0).id not in states]
    if others and len(tables) > 1:
        print(f"\nother runs:\n{aligned(others)}")
    unfinished = set(sum(states.values(), [])) - set(FINISHED)
    return int(require == "all" and bool(unfinished))
