"""A method against a table's baselines: `python -m reproduce.compare METHOD`. METHOD needs no edit of this project.

METHOD is a registered regularizer ("diggan", "lecam0.3"), an augmentation, one file of your own that defines a subclass
of baselines.regularizers.Regularizer ("path/to/mine.py", "path/to/mine.py5"), or several joined by +. A number is the
weight; without one it is the regularizer's default_weight. Every regularizer is held to the contract first.

Without --table it prints the method's name in run ids. With it, the ids of the runs to compare: the table's own and,
for each of its baselines, the same run with the method.
"""

import argparse
import re
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from baselines.augment import AUGMENTATIONS
from baselines.contract import Broken, check, register
from baselines.regularizers import REGULARIZERS
from benchmarks import tables
from benchmarks.runs import InputError, Run, command
from reproduce import record


class Method(NamedTuple):
    """What replaces the baseline's regularizers and augmentation."""

    regularizers: dict[str, float]
    augment: str

    @property
    def name(self) -> str:
        """As in run ids: "mine5-diffaugment"."""
        return Run("", "", 0, **self._asdict()).method


def read(text: str) -> Method:
    """The method that a text names; a user's file is registered. Raises InputError for what is none."""
    parts = text.split("+")
    augment = [part for part in parts if part and part in AUGMENTATIONS]
    weights = [_regularizer(part) for part in parts if part not in augment]
    if len(augment) > 1 or len(dict(weights)) < len(weights):
        raise InputError(f"method {text!r}: at most one augmentation, and each regularizer once")
    return Method(dict(weights), "".join(augment))


def _regularizer(part: str) -> tuple[str, float]:
    """Name and weight of one regularizer, registered or in a file."""
    names = "|".join(map(re.escape, REGULARIZERS))
    match = re.fullmatch(rf"(?:(?P<file>.+\.py)|(?P<name>{names}))_?(?P<weight>\d+(\.\d+)?)?", part)
    if not match:
        raise InputError(f"method {part!r}: not a file that ends in .py, one of {', '.join(REGULARIZERS)}, with or "
                         f"without a weight, or one of {', '.join(filter(None, AUGMENTATIONS))}")
    try:
        name = register(Path(match["file"])) if match["file"] else match["name"]
        check(REGULARIZERS[name])
    except Broken as error:
        raise InputError(f"method {part!r}: {error}") from error
    return name, float(match["weight"] or REGULARIZERS[name]().default_weight)


def runs(method: Method, table: str, seeds: int = 1, iterations: int | None = None) -> list[Run]:
    """The trained runs of a table, and the method in the place of each baseline."""
    trained = [run for run in tables.runs(table, seeds, iterations) if run.iterations]
    theirs = [replace(run, **method._asdict()) for run in trained if not run.regularizers and not run.augment]
    return trained + [run for run in theirs if run not in trained]


def require_same_file(run: Run, results: Path) -> None:
    """Raises InputError where the run was begun with a file that has changed since."""
    path = record.folder(results, run.id) / "config.json"
    if path.exists() and record.read_json(path).get("method_files", {}) != record.method_files(run):
        raise InputError(f"run {run.id} was begun with another file of that name; remove {path.parent} to begin anew, "
                         "or give the changed file a name of its own")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("method", help="NAME[WEIGHT] or FILE.py[WEIGHT], joined by +")
    parser.add_argument("--table", help=f"one of {', '.join(tables.TABLES)}")
    parser.add_argument("--seeds", type=int, default=1, help="how many training seeds, from 0")
    parser.add_argument("--iterations", type=int, help="generator steps instead of the protocol's")
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder of the runs")
    args = parser.parse_args()
    method = read(args.method)
    if not args.table:
        print(method.name)
        return
    listed = runs(method, args.table, args.seeds, args.iterations)
    for run in listed:
        require_same_file(run, args.results)
    print("\n".join(run.id for run in listed))


if __name__ == "__main__":
    command(main)
