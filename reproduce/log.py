"""log.jsonl of a run: one line per logged iteration."""

import json
from pathlib import Path

import numpy as np

from benchmarks.runs import InputError
from benchmarks.state import parsed, typed
from reproduce import parallel
from reproduce.record import warn, write_bytes

LINE = {"iteration": int, "seconds": float | int}


class Log:
    """The log of a training that goes on after `start` iterations. Lines of later ones are dropped: they are redone."""

    def __init__(self, file: Path, start: int):
        lines = [line for line in read(file) if line["iteration"] <= start]
        _warn_of_holes(file, [line["iteration"] for line in lines], start)
        write_bytes(file, "".join(json.dumps(line) + "\n" for line in lines).encode())
        self.file = file

    def write(self, **values) -> None:
        if parallel.rank():
            return
        try:
            with self.file.open("a", encoding="utf-8") as file:
                file.write(json.dumps(values) + "\n")
        except OSError as error:  # half a line may be there, which is dropped when the run goes on
            raise InputError(f"cannot write {self.file}: {error.strerror}") from error


def read(file: Path) -> list[dict]:
    """The lines of a log. A last line that is cut short belongs to a killed process; other damaged ones are named."""
    lines, rows = _lines(file), []
    for number, line in enumerate(lines, 1):
        try:
            rows.append(typed("", parsed(line), LINE))
        except ValueError:  # InputError is one
            if line.endswith(b"\n") or number < len(lines):
                warn(f"{file}: line {number} is damaged; it is passed over")
    return rows


def _lines(file: Path) -> list[bytes]:
    try:
        return file.read_bytes().splitlines(keepends=True)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error})") from error


def trained_seconds(folder: Path) -> float:
    """How long a run was trained, by the last line of its log; 0.0 without one."""
    lines = read(folder / "log.jsonl")
    if not lines:
        return 0.0
    return float(lines[-1]["seconds"])


def _warn_of_holes(file: Path, iterations: list[int], start: int) -> None:
    """Name the iterations that a log lacks up to `start`. It has every n-th one, and the last one of the training."""
    if not iterations:
        return
    every = min([iterations[0], *np.diff(iterations[:-1])])
    if every < 1:
        warn(f"{file}: its iterations do not ascend")
        return
    missing = sorted(set(range(every, start + 1, every)) - set(iterations))
    if missing:
        warn(f"{file}: {len(missing)} lines are missing, of iterations {missing[0]} to {missing[-1]}: figures that are "
             "drawn from it have a hole")
