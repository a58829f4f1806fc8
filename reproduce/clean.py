"""`make clean`: remove what `make smoke` left. Records of other runs stay, and so does everything else.

A folder is removed only if it is called like a run of the smoke table, its config.json says that it is that run, and no
process is working on it. Of the rendered smoke report only files go, of the kinds that are rendered.
"""

import fcntl
import shutil
import sys
from pathlib import Path

from benchmarks.runs import InputError, command
from benchmarks.state import read_json
from benchmarks.tables import runs
from reproduce.settings import Settings

RENDERED = {".md", ".csv", ".tex", ".html", ".png", ".svg", ".pdf", ".jsonl"}


def is_run(folder: Path, run_id: str) -> bool:
    """Does its config.json say that it is this run, and is nobody at work in it?"""
    if folder.is_symlink():
        return False
    try:
        config = read_json(folder / "config.json")
        with (folder / ".lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return config.get("id") == run_id
    except (OSError, InputError):
        return False


def remove_runs(settings: Settings) -> int:
    """Remove the runs of the smoke table. Returns how many there were."""
    smoke = runs("smoke", settings.seeds, settings.iterations)
    folders = [settings.results / run.id for run in smoke if is_run(settings.results / run.id, run.id)]
    for folder in folders:
        shutil.rmtree(folder)
    return len(folders)


def remove_report(folder: Path) -> None:
    """Remove what is rendered there, and the folders that are empty then."""
    if folder.is_symlink() or not folder.is_dir():
        return
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_file() and path.suffix in RENDERED:
            path.unlink()
        elif path.is_dir() and not path.is_symlink():
            _remove_if_empty(path)
    _remove_if_empty(folder)


def _remove_if_empty(folder: Path) -> None:
    if not any(folder.iterdir()):
        folder.rmdir()


def main() -> None:
    settings = Settings.parse(sys.argv[1:], "smoke")
    count = remove_runs(settings)
    remove_report(settings.reports / "smoke")
    print(f"removed {count} runs of the smoke table from {settings.results}")


if __name__ == "__main__":
    command(main)
