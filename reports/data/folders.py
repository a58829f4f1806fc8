"""Run folders on disk: which there are, where each stands, and how a report is written. Standard library only."""

import fcntl
import os
from contextlib import suppress
from pathlib import Path

from benchmarks.runs import InputError, Run
from benchmarks.state import parsed, write_whole

RESULTS = "results"  # the tracked results folder, from which the tracked reports are made
FINISHED = ("done", "diverged")  # states of a run that nothing is left to do for
SOURCE = "results.txt"  # in a reports folder: the results folder that it was made from


def reports_folder(results: Path, text: str) -> Path:
    """Where the reports of a results folder go: where asked, else beside the tracked results or inside any other."""
    if text:
        return Path(text)
    return Path("reports") if results.resolve() == Path(RESULTS).resolve() else results / "reports"


def claim_reports(results: Path, reports: Path) -> None:
    """Note in the reports folder what it is made from. Raises InputError where that is another results folder."""
    note = reports / SOURCE
    source = Path(os.path.relpath(results.resolve(), reports.resolve())).as_posix()
    if note.exists() and (found := note.read_text("utf-8").strip()) != source:
        raise InputError(f"REPORTS={reports}: was made from the results folder {reports / found}, not from {results}; "
                         "give another REPORTS")
    write(note, f"{source}\n")


def write(path: Path, data: bytes | str) -> None:
    """Write a report file aside, then rename it: nobody reads half of it. Raises InputError where it cannot."""
    if isinstance(data, str):
        data = data.encode("utf-8")
    write_whole(path, data)


def run_folders(results: Path) -> list[Run]:
    """The runs that have a folder, sorted by name; what is not named like a run is passed over."""
    runs = []
    for path in sorted(results.iterdir()):
        with suppress(InputError):
            runs.append(Run.from_id(path.name))
    return runs


def state(results: Path, run: Run) -> str:
    """Where a run stands, from its files alone: done, diverged, running, failed, trained (not evaluated), stopped,
    damaged or missing; of those under way also how far, as in "running 45 % 3h10m left"."""
    path = results / run.id
    if (path / "metrics.json").exists():
        with suppress(OSError, ValueError, KeyError, TypeError):
            status = parsed((path / "metrics.json").read_text("utf-8"))["status"]
            if status in FINISHED:
                return status
        return "damaged"
    done, left = _progress(path / "log.jsonl", run)
    if _locked(path / ".lock"):
        return f"running {done:.0f} %{left}"
    for file, name in (("failed.json", "failed"), ("diverged.json", "diverged"), ("generator.safetensors", "trained"),
                       ("config.json", f"stopped {done:.0f} %")):  # fmt: skip
        if (path / file).exists():
            return name
    return "missing"


def _locked(path: Path) -> bool:
    """Does a process hold the run's lock? The probe is shared and let go at once."""
    try:
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
    except OSError as error:  # without the file nobody has begun
        return isinstance(error, BlockingIOError)


def _progress(path: Path, run: Run) -> tuple[float, str]:
    """Percent done and the time to go, from the end of the log; (0, "") before its first line."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 8192))
            last = parsed(file.read().split(b"\n")[-2])
        done, seconds = last["iteration"], last["seconds"]
        minutes = round(seconds / max(done, 1) * (run.iterations - done) / 60)
    except (OSError, IndexError, ValueError, KeyError, TypeError, OverflowError):
        return 0.0, ""
    left = f"{minutes // 60}h{minutes % 60:02d}m" if minutes >= 60 else f"{minutes}m"
    return 100 * done / max(run.iterations, 1), f" {left} left"
