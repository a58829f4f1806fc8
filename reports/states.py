"""Where a run stands, from its files alone, so that it can be asked while training runs. Standard library only."""

import fcntl
import json
from dataclasses import dataclass
from pathlib import Path

from benchmarks.runs import Run


@dataclass(frozen=True)
class State:
    """Where a run stands: done, diverged, running, failed, trained (not evaluated), stopped, damaged or missing."""

    name: str
    percent: float = 0.0
    eta: float | None = None  # seconds

    def __str__(self) -> str:
        return f"{self.name} {self.percent:.0f} %" if self.name in ("running", "stopped") else self.name


def state(folder: Path, run: Run) -> State:
    """Where a run stands, from its files alone."""
    path = folder / run.id
    if (path / "metrics.json").exists():
        return State(_finished(path / "metrics.json"), 100)
    if _locked(path / ".lock"):
        return State("running", *_progress(path / "log.jsonl", run))
    if (path / "failed.json").exists():
        return State("failed")
    for name, state in (("diverged.json", "diverged"), ("generator.safetensors", "trained")):
        if (path / name).exists():
            return State(state, 100)
    if (path / "config.json").exists():
        return State("stopped", _progress(path / "log.jsonl", run)[0])
    return State("missing")


def _finished(path: Path) -> str:
    try:
        status = json.loads(path.read_text("utf-8"))["status"]
    except (ValueError, KeyError, TypeError):
        return "damaged"
    return status if status in ("done", "diverged") else "damaged"


def _locked(path: Path) -> bool:
    """Does a process hold the run's lock? The probe is shared and let go at once."""
    if not path.exists():
        return False
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _progress(path: Path, run: Run) -> tuple[float, float | None]:
    """Percent done and seconds to go, from the end of the log; (0, None) before its first line."""
    if not path.exists():
        return 0.0, None
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 8192))
        lines = file.read().split(b"\n")[:-1]
    try:
        last = json.loads(lines[-1])
        done, seconds = last["iteration"], last["seconds"]
    except (IndexError, ValueError, KeyError, TypeError):
        return 0.0, None
    return 100 * done / max(run.iterations, 1), seconds / max(done, 1) * (run.iterations - done)
