"""Runs for other tools: `python -m reproduce.export tensorboard [RESULTS=results] [OUT=tensorboard]`.

Turns the log, the scores and the sample grid of every run under RESULTS into an event file OUT/RUN_ID/events..., which
`tensorboard --logdir OUT` shows. TensorBoard is an optional extra; nothing else in the project depends on it. The same
command again writes the event files anew.
"""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.runs import InputError, Option, command, read_options
from benchmarks.state import aside, read_json
from reproduce import log
from reproduce.record import flat

OPTIONS = {"RESULTS": Option(Path, Path("results")), "OUT": Option(Path, Path("tensorboard"))}


def scalars(folder: Path) -> Iterator[tuple[str, int, float]]:
    """Tag, iteration and value of every number in a run's log.jsonl and metrics.json, of the first draw of samples."""
    for row in log.read(folder / "log.jsonl"):
        yield from _logged(row)
    if (folder / "metrics.json").exists():
        yield from _scores(folder / "metrics.json")


def _logged(row: dict) -> Iterator[tuple[str, int, float]]:
    step = row.pop("iteration")
    for name, value in flat(row, joint="/").items():
        if isinstance(value, int | float):
            yield f"train/{name}", step, value


def _scores(file: Path) -> Iterator[tuple[str, int, float]]:
    for entry in read_json(file, {"metrics": list})["metrics"]:
        if entry.get("eval_seed", 0) == 0 and entry["iteration"] is not None:
            yield _tag(entry), entry["iteration"], entry["value"]


def _tag(entry: dict) -> str:
    """The tag of a score: those of the best generator apart from those of the last and of the curve to it."""
    if entry["checkpoint"] == "best":
        return f"best/{entry['name']}"
    return f"last/{entry['name']}"


def tensorboard(results: Path, out: Path) -> str:
    """Write the event files of all runs. Returns what was written, one line."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise InputError("tensorboard is not installed: `.venv/bin/pip install tensorboard`") from error
    runs = sorted({path.parent for path in (*results.glob("*/log.jsonl"), *results.glob("*/metrics.json"))})
    if not runs:
        raise InputError(f"RESULTS={results}: no run with a log.jsonl or metrics.json there")
    for folder in runs:
        target = out / folder.name
        _require_event_files(target)
        with aside(target) as partial:
            with SummaryWriter(str(partial)) as writer:
                _write(writer, folder)
            shutil.rmtree(target, ignore_errors=True)
    return f"{out}: event files of {len(runs)} runs; `tensorboard --logdir {out}` shows them"


def _write(writer, folder: Path) -> None:
    """The scalars of a run and its sample grid. Their clock is the iteration, so that the same run is the same file."""
    last = 0
    for tag, step, value in scalars(folder):
        writer.add_scalar(tag, value, step, walltime=step)
        last = max(last, step)
    grid = folder / "samples.png"
    if grid.exists():
        writer.add_image("samples", np.asarray(Image.open(grid)), last, walltime=last, dataformats="HWC")


def _require_event_files(target: Path) -> None:
    """Raises InputError where the place of a run's event file holds a file of another kind."""
    others = [file for file in target.glob("*") if "tfevents" not in file.name]
    if target.is_file():
        others = [target]
    if others:
        raise InputError(f"{others[0]}: is no event file; give another OUT")


def main() -> None:
    if sys.argv[1:2] != ["tensorboard"]:
        raise InputError("say what to export to: tensorboard [RESULTS=results] [OUT=tensorboard]")
    given = read_options(sys.argv[2:], OPTIONS)
    print(tensorboard(given["RESULTS"], given["OUT"]))


if __name__ == "__main__":
    command(main)
