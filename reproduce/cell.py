"""Bring one cell of a table to its end: its run, in a process of its own (reproduce.run) that is watched.

Every engine of the sweep runs cells through here. The truth is in the run's folder: a process that crashes or hangs is
started again and goes on from its checkpoint, and a cell that is done is left alone, without even loading torch.
"""

import ast
import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.runs import InputError, Run, TryLaterError
from benchmarks.state import read_json
from reproduce.settings import Settings

ROOT = Path(__file__).parents[1]
STOP = threading.Event()  # set by SIGTERM (a preemption) or Ctrl-C: what is under way is saved, and ends
GRACE = 30.0  # seconds between SIGTERM and SIGKILL: time for a checkpoint
PRCTL = ctypes.CDLL(None).prctl if sys.platform == "linux" else None  # loaded before a fork, not after
POLL = 0.2  # seconds between two looks at a process


def stop_on_signals() -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: STOP.set())


def _metric_names() -> set[str]:
    """The names of all metrics, read from the source of their registry: importing it would load torch."""
    source = (ROOT / "benchmarks" / "metrics.py").read_text(encoding="utf-8")
    for statement in ast.parse(source).body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "METRICS":
            return {ast.literal_eval(key) for key in statement.value.keys}
    raise AssertionError("benchmarks/metrics.py has no METRICS")


# Read once, before there are threads: ast.parse of Python 3.11 fails when several call it at once
METRIC_NAMES = _metric_names()


def finished(run_id: str, settings: Settings) -> bool:
    """Whether a run has diverged, or is evaluated by this protocol. A damaged record is not finished.

    A run that was evaluated before a metric was written is not finished: it gets it from its stored features, unless
    its record is all that is here.
    """
    try:
        known = read_json(settings.results / run_id / "metrics.json")
        if known["status"] == "diverged":
            return True
        complete = METRIC_NAMES <= set(known["considered"]) or is_record_alone(run_id, settings.results)
        return str(settings.protocol) in known["evaluated"] and complete
    except (ValueError, KeyError, TypeError):
        return False


def is_record_alone(run_id: str, results: Path) -> bool:
    """Whether a training has its record here and no weights, as in a clone, since git tracks none."""
    folder = results / run_id
    weights = (folder / "generator.safetensors", folder / "checkpoint.pt")
    trained = Run.from_id(run_id).iterations > 0
    return trained and (folder / "metrics.json").exists() and not any(path.exists() for path in weights)


@dataclass(frozen=True)
class Attempt:
    """What came of one try of a cell.

    state    "done"; "refused" for what the user must mend; "failed" when its process crashed or hung more often than
             `retries`; "later" where another process is at it or this one was told to stop; "left out" by the
             preflight, which found that its data set or its generator is not there
    reason   one line
    seconds  how long the try took
    """

    run_id: str
    state: str
    reason: str = ""
    seconds: float = 0.0


# What the exit status of a run's process means; any other one is a crash
STATES = {0: ("done", "done"), InputError.status: ("refused", "refused, as said above"),
          TryLaterError.status: ("later", "another process is at it, or it was told to stop")}


def attempt(run_id: str, settings: Settings) -> Attempt:
    """Train and evaluate a run, or what is left of that."""
    if STOP.is_set():
        return Attempt(run_id, "later")
    began = time.monotonic()
    try:
        state, reason = _tried(run_id, settings)
    except OSError as error:
        state, reason = "failed", f"{run_id}: {error}"
    return Attempt(run_id, state, reason, time.monotonic() - began)


def _tried(run_id: str, settings: Settings) -> tuple[str, str]:
    """State and reason of an attempt. A process that crashes or hangs is started again, `retries` times."""
    if finished(run_id, settings):
        return "done", f"{run_id}: done"
    for left in reversed(range(settings.retries + 1)):
        status = watched(settings.command(run_id), settings.results / run_id, settings.timeout)
        if status in STATES:
            state, reason = STATES[status]
            return state, f"{run_id}: {reason}"
        if left:
            print(f"{run_id}: {ended(status)}; starting it again", file=sys.stderr, flush=True)
    return "failed", f"{run_id}: {ended(status)} {settings.retries + 1} times"


def ended(status: int | None) -> str:
    """How a process ended, in words."""
    if status is None:
        return "hung"
    if status < 0:
        return f"ended by {signal.Signals(-status).name}"
    return f"ended with status {status}"


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


def answered(module: str, arguments: list[str], limit: float = 0.0) -> tuple[dict | None, int | None]:
    """Run `python -m MODULE FILE ARGUMENTS` for what it writes to FILE as JSON, within `limit` seconds (0: any).

    Returns that, or None where it wrote nothing, and the exit status, None where the limit has passed. Raises
    TryLaterError when this process is told to stop meanwhile.
    """
    with TemporaryDirectory() as folder:
        file = Path(folder) / "answer.json"
        status = watched([sys.executable, "-m", module, str(file), *arguments], file.parent, limit)
        if STOP.is_set():
            raise TryLaterError("stopped; the same command goes on")
        answer = json.loads(file.read_text("utf-8")) if file.exists() else None
    return answer, status


def _wait(process: subprocess.Popen, seconds: float) -> int | None:
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None


def _signs(folder: Path) -> set[tuple]:
    """What changes while a run makes progress. Compared, not subtracted from the clock, which may jump."""
    signs = set()
    for path in folder.glob("*"):
        with suppress(FileNotFoundError):  # files are renamed meanwhile
            stat = path.stat()
            signs.add((path.name, stat.st_mtime_ns, stat.st_size))
    return signs


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


def end_with(parent: int) -> None:
    """Let this process end with its parent: it may save for GRACE seconds, and then is ended, whatever it waits for."""
    die_with_parent()
    threading.Thread(target=_end_after, args=(parent,), daemon=True).start()


def _end_after(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1.0)
    os.kill(os.getpid(), signal.SIGTERM)  # again: it may have died before it could be asked to tell us
    time.sleep(GRACE)
    os._exit(TryLaterError.status)
