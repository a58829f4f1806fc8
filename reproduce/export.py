"""Runs for other tools: `python -m reproduce.export tensorboard [RESULTS=results] [OUT=tensorboard]`.

Turns the log, the scores and the sample grid of every run under RESULTS into an event file OUT/RUN_ID/events..., which
`tensorboard --logdir OUT` shows. TensorBoard is an optional extra; nothing else in the project depends on it. The same
command again writes the event files anew.
"""

import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from benchmarks.runs import InputError, command, options

EXTRA = "`.venv/bin/pip install tensorboard`"


def scalars(folder: Path) -> Iterator[tuple[str, int, float]]:
    """Tag, iteration and value of every number in a run's log.jsonl and metrics.json.

    A line that a killed process left half-written is passed over. Raises InputError for a damaged file.
    """
    log = folder / "log.jsonl"
    for number, line in enumerate(_text(log).splitlines(keepends=True), 1):
        if line.endswith("\n"):
            yield from _logged(_parsed(line, f"{log}:{number}"))
    metrics = folder / "metrics.json"
    if metrics.exists():
        for entry in _parsed(_text(metrics), f"{metrics}")["metrics"]:
            if entry.get("eval_seed", 0) == 0 and entry["iteration"] is not None:
                yield _tag(entry), entry["iteration"], entry["value"]


def _logged(row: dict) -> Iterator[tuple[str, int, float]]:
    """Tag, iteration and value of the numbers in a line of the log."""
    for name, value in _flat(row):
        if name != "iteration":
            yield f"train/{name}", row["iteration"], value


def _tag(entry: dict) -> str:
    """The tag of a score: those of the best generator apart from those of the last and of the curve to it."""
    if entry["checkpoint"] == "best":
        return f"best/{entry['name']}"
    return f"last/{entry['name']}"


def _text(path: Path) -> str:
    try:
        if not path.exists():
            return ""
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from error


def _parsed(text: str, where: str) -> dict:
    try:
        return json.loads(text)
    except ValueError as error:
        raise InputError(f"{where}: damaged ({error})") from error


def _flat(row: dict, prefix: str = "") -> Iterator[tuple[str, float]]:
    """The numbers of a line of the log; those of "penalty" are called penalty/NAME."""
    for name, value in row.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}/")
        elif isinstance(value, int | float):
            yield f"{prefix}{name}", value


def tensorboard(results: Path, out: Path) -> str:
    """Write the event files of all runs. Returns what was written, one line."""
    try:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.event_file_writer import EventFileWriter
    except ImportError as error:
        raise InputError(f"tensorboard is not installed: {EXTRA}") from error
    runs = _runs(results)
    if not runs:
        raise InputError(f"RESULTS={results}: no run with a log.jsonl or metrics.json there")

    def event(step: int, value: object) -> object:
        return Event(step=step, wall_time=step, summary=Summary(value=[value]))

    for folder in runs:
        events, last = [], 0
        for tag, step, value in scalars(folder):
            events.append(event(step, Summary.Value(tag=tag, simple_value=value)))
            last = max(last, step)
        grid = folder / "samples.png"
        if grid.exists():
            with Image.open(grid) as image:
                picture = Summary.Image(height=image.height, width=image.width, colorspace=3,
                                        encoded_image_string=grid.read_bytes())
            events.append(event(last, Summary.Value(tag="samples", image=picture)))
        _write(out / folder.name, events, EventFileWriter)
    return f"{out}: event files of {len(runs)} runs; `tensorboard --logdir {out}` shows them"


def _runs(results: Path) -> list[Path]:
    """The folders of runs that have a log or scores."""
    return sorted({path.parent for path in (*results.glob("*/log.jsonl"), *results.glob("*/metrics.json"))})


def _require_event_files(target: Path) -> None:
    """Raises InputError where the place of a run's event file holds a file of another kind."""
    if target.is_file():
        raise InputError(f"{target}: is no event file; give another OUT")
    if target.is_dir():
        for file in target.iterdir():
            if "tfevents" not in file.name:
                raise InputError(f"{file}: is no event file; give another OUT")


def _write(target: Path, events: list, writer_class: type) -> None:
    """One event file in a folder of its own, written aside and renamed, in the place of an older one."""
    _require_event_files(target)
    aside = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        aside.mkdir(parents=True)
        writer = writer_class(str(aside))
        for event in events:
            writer.add_event(event)
        writer.close()
        shutil.rmtree(target, ignore_errors=True)
        aside.replace(target)
    except OSError as error:
        raise InputError(f"cannot write {target}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


FORMATS = {"tensorboard": tensorboard}


def main() -> None:
    if sys.argv[1:2] == [] or sys.argv[1] not in FORMATS:
        raise InputError(f"say what to export to: {', '.join(FORMATS)} [RESULTS=results] [OUT=folder]")
    chosen = options(sys.argv[2:], {"RESULTS": "results", "OUT": sys.argv[1]})
    print(FORMATS[sys.argv[1]](Path(chosen["RESULTS"]), Path(chosen["OUT"])))


if __name__ == "__main__":
    command(main)
