"""Bring one cell of a table to its end: train, then evaluate, each a process of its own that is watched.

Every engine of the sweep runs cells through here. The truth is in the run's folder: a process that crashes or hangs is
started again and goes on from its checkpoint, and a cell that is done is left alone, without even loading torch.
"""

import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.runs import InputError, Protocol, TryLaterError

ROOT = Path(__file__).parents[1]
STOP = threading.Event()  # set by SIGTERM (a preemption) or Ctrl-C: what is under way is saved, and ends
GRACE = 30.0  # seconds between SIGTERM and SIGKILL: time for a checkpoint
PRCTL = ctypes.CDLL(None).prctl if sys.platform == "linux" else None  # loaded before a fork, not after
POLL = 0.2  # seconds between two looks at a process


def stop_on_signals() -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: STOP.set())


@dataclass(frozen=True)
class Settings:
    """How cells are run; the same for all of a sweep.

    method        a file of your own that a run's regularizer is in, "" for none
    gpus_per_run  processes that one training is split over
    micro_batch   images that go through a network at once; 0: the whole batch
    graphs        whether steps are launched as CUDA graphs
    timeout       seconds without a new file or log line after which a process has hung; 0: any time is fine
    retries       how often a process that crashed or hung is started again
    """

    data: Path = Path("data")
    results: Path = Path("results")
    device: str = "auto"
    protocol: Protocol = field(default_factory=Protocol)
    method: str = ""
    gpus_per_run: int = 1
    micro_batch: int = 0
    graphs: bool = False
    timeout: float = 0.0
    retries: int = 2

    def commands(self, run_id: str) -> list[list[str]]:
        """The two commands that make a cell."""
        python = [sys.executable, "-m"]
        split = ["reproduce.parallel", str(self.gpus_per_run)] if self.gpus_per_run > 1 else ["reproduce.train"]
        where = [run_id, "--data", str(self.data), "--results", str(self.results), "--device", self.device]
        protocol = self.protocol
        train = {"--method": self.method, "--micro-batch": self.micro_batch, "--eval-every": protocol.eval_every}
        evaluate = {"--extractor": protocol.extractor, "--samples": protocol.samples, "--seeds": protocol.eval_seeds,
                    "--every": protocol.eval_every, "--weights": protocol.weights}
        graphs = ["--graphs"] if self.graphs else []
        return [[*python, *split, *where, *graphs, *_given(train)],
                [*python, "reproduce.evaluate", *where, *_given(evaluate)]]


def _given(options: dict[str, object]) -> list[str]:
    return [str(part) for name, value in options.items() if value for part in (name, value)]


def finished(run_id: str, settings: Settings) -> bool:
    """Is the run evaluated just so, or has it diverged? A damaged record is not finished: evaluation names it."""
    try:
        known = json.loads((settings.results / run_id / "metrics.json").read_text("utf-8"))
        return known["status"] == "diverged" or str(settings.protocol) in known["evaluated"]
    except (OSError, ValueError, KeyError, TypeError):
        return False


def cell(run_id: str, settings: Settings) -> None:
    """Train and evaluate a run, or what is left of that.

    Raises InputError for what the user must mend, TryLaterError where another process is at it or this one was told to
    stop, CellError when a process has crashed or hung more often than `retries`.
    """
    if finished(run_id, settings):
        return
    for command in settings.commands(run_id):
        for left in reversed(range(settings.retries + 1)):
            status = watched(command, settings.results / run_id, settings.timeout)
            if status == 0:
                break
            if status == InputError.status:
                raise InputError(f"{run_id}: refused, as said above")
            if status == TryLaterError.status:
                raise TryLaterError(f"{run_id}: another process is at it, or it was told to stop")
            what = "hung" if status is None else f"ended with status {status}"
            if not left:
                raise CellError(f"{run_id}: {command[2]} {what} {settings.retries + 1} times")  # of python -m MODULE
            print(f"{run_id}: {what}; starting it again", file=sys.stderr, flush=True)


class CellError(RuntimeError):
    """A cell's process crashed or hung again and again."""


def watched(command: list[str], folder: Path, timeout: float) -> int | None:
    """Run a command to its end. Returns its exit status, or None if it was ended for showing no sign of life.

    The command is ended with its starter, however that ends, so that a killed worker leaves no process behind that
    would hold the run's lock.
    """
    process = subprocess.Popen(command, cwd=ROOT, start_new_session=True, preexec_fn=die_with_parent)
    signs, seen = None, time.monotonic()
    try:
        while (status := _wait(process, POLL)) is None:
            if STOP.is_set():
                return TryLaterError.status
            if timeout and signs != (signs := _signs(folder)):
                seen = time.monotonic()
            if timeout and time.monotonic() - seen > timeout:
                return None
        return status
    finally:
        _end(process)


def _wait(process: subprocess.Popen, seconds: float) -> int | None:
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None


def _signs(folder: Path) -> list[tuple]:
    """What changes while a run makes progress. Compared, not subtracted from the clock, which may jump."""
    files = [(path, path.stat()) for path in folder.glob("*") if not path.name.endswith(".tmp")]
    return sorted((path.name, found.st_mtime_ns, found.st_size) for path, found in files)


def _end(process: subprocess.Popen) -> None:
    """End a process and all that it started: kindly, then not."""
    for number, seconds in ((signal.SIGTERM, GRACE), (signal.SIGKILL, GRACE)):
        if process.poll() is None:
            os.killpg(process.pid, number)
            _wait(process, seconds)


def die_with_parent() -> None:
    """Linux: let this process get SIGTERM when its parent dies, even of SIGKILL."""
    if PRCTL:
        PRCTL(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
