"""Watching a cell's processes: crashes, hangs, refusals, and what happens to them when their watcher dies."""

import json
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks.metrics import METRICS
from reproduce import cell
from reproduce.cell import METRIC_NAMES, answered, attempt, finished, watched
from reproduce.settings import Settings

RUN_ID = "dcgan-digits-32-f0.1-baseline-i30-b4-s0"


@dataclass(frozen=True)
class Script(Settings):
    """Settings whose cells are one python program, which finds the results folder in its argument."""

    program: str = ""

    def command(self, run_id):
        return [sys.executable, "-c", self.program, str(self.results)]


def script(tmp_path, program: str, **settings) -> Script:
    (tmp_path / RUN_ID).mkdir(exist_ok=True)
    return Script(results=tmp_path, program="import os, sys, time; os.chdir(sys.argv[1])\n" + program, **settings)


def gone(pid: int) -> bool:
    """Has a process ended? One that nobody has waited for yet has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


def eventually(condition, seconds=20.0) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    return condition()


def test_a_process_that_crashes_is_started_again(tmp_path, capfd):
    """It dies of SIGKILL twice and works the third time."""
    program = "open('tries', 'a').write('x')\nif os.path.getsize('tries') < 3: os.kill(os.getpid(), 9)"
    assert attempt(RUN_ID, script(tmp_path, program, retries=2)).state == "done"
    assert (tmp_path / "tries").read_text() == "xxx" and capfd.readouterr().err.count("starting it again") == 2
    (tmp_path / "tries").unlink()
    tried = attempt(RUN_ID, script(tmp_path, program, retries=1))
    assert tried.state == "failed" and "SIGKILL 2 times" in tried.reason and tried.seconds > 0


@pytest.mark.parametrize("status, state", [(2, "refused"), (75, "later")])
def test_a_refusal_is_not_tried_again(tmp_path, status, state):
    program = f"open('tries', 'a').write('x'); sys.exit({status})"
    assert attempt(RUN_ID, script(tmp_path, program)).state == state and (tmp_path / "tries").read_text() == "x"


def test_a_process_that_hangs_is_ended_with_its_children_and_started_again(tmp_path):
    """The first try starts a child and shows no sign of life any more; the second one works."""
    program = """
import subprocess
if os.path.exists('child'): sys.exit()
open('child', 'w').write(str(subprocess.Popen(['sleep', '600']).pid))
time.sleep(600)"""
    assert attempt(RUN_ID, script(tmp_path, program, timeout=1.0)).state == "done"
    assert eventually(lambda: gone(int((tmp_path / "child").read_text())))


def test_signs_of_life_keep_a_process_alive_beyond_the_timeout(tmp_path):
    """It takes twice the timeout and writes to its log on the way, with times of last century: clocks may jump."""
    log = tmp_path / RUN_ID / "log.jsonl"
    program = f"""
for i in range(20):
    open({str(log)!r}, 'a').write('x')
    os.utime({str(log)!r}, (i, i))
    time.sleep(0.15)"""
    settings = script(tmp_path, program)
    assert watched(settings.command(RUN_ID), tmp_path / RUN_ID, 1.5) == 0 and log.stat().st_size == 20


def test_a_process_ends_with_its_killed_watcher(tmp_path):
    program = "open('pid', 'w').write(str(os.getpid())); time.sleep(600)"
    watcher = f"import sys; sys.path.insert(0, {str(cell.ROOT)!r})\nfrom pathlib import Path\n" \
              f"from reproduce.cell import watched\n" \
              f"watched({script(tmp_path, program).command(RUN_ID)!r}, Path({str(tmp_path)!r}), 0)"
    process = subprocess.Popen([sys.executable, "-c", watcher])
    try:
        assert eventually(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert eventually(lambda: gone(int((tmp_path / "pid").read_text())))


def test_told_to_stop_it_ends_the_process_kindly(tmp_path, monkeypatch):
    """The process hears SIGTERM and has the time to note it."""
    program = """
import signal
def note(*_):
    open('saved', 'w').close(); sys.exit(75)
signal.signal(signal.SIGTERM, note)
open('ready', 'w').close()
time.sleep(600)"""

    class WhenReady:
        def is_set(self):
            return (tmp_path / "ready").exists()

    monkeypatch.setattr(cell, "STOP", WhenReady())
    assert attempt(RUN_ID, script(tmp_path, program)).state == "later"
    assert (tmp_path / "saved").exists()


def test_what_finished_means(tmp_path):
    settings = Settings(results=tmp_path, extractor="effnet", samples=300)
    (tmp_path / RUN_ID).mkdir()
    (tmp_path / RUN_ID / "generator.safetensors").touch()
    metrics = tmp_path / RUN_ID / "metrics.json"
    assert not finished(RUN_ID, settings)
    assert METRIC_NAMES == set(METRICS)
    for content, expected in (({"status": "done", "evaluated": ["effnet 300 x1"], "considered": [*METRICS]}, True),
                              ({"status": "done", "evaluated": ["effnet 300 x1"], "considered": ["fd"]}, False),
                              ({"status": "done", "evaluated": ["effnet 3000 x1"]}, False),
                              ({"status": "done", "evaluated": ["inception 300 x1"]}, False),
                              ({"status": "diverged"}, True), ({}, False)):  # fmt: skip
        metrics.write_text(json.dumps(content))
        assert finished(RUN_ID, settings) == expected
    metrics.write_text('{"status": "do')
    assert not finished(RUN_ID, settings)


def test_an_answer_is_what_a_module_writes_and_a_silent_one_has_none(tmp_path, monkeypatch):
    programs = {"says": "import sys; open(sys.argv[1], 'w').write(sys.argv[2])", "ends": "import sys; sys.exit(3)",
                "loops": "import time; time.sleep(600)"}
    for name, program in programs.items():
        (tmp_path / f"{name}.py").write_text(program)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert answered("says", ['{"a": "b c"}']) == ({"a": "b c"}, 0)
    assert answered("ends", []) == (None, 3)
    assert answered("loops", [], 1.0) == (None, None)


LAUNCHER = """
import os, subprocess, sys
subprocess.run([sys.executable, "-c", sys.argv[1], str(os.getpid()), *sys.argv[2:]], start_new_session=True)
"""
DEAF = """
import os, signal, sys, time
sys.path.insert(0, sys.argv[3])
from reproduce import cell
cell.GRACE = 0.5
signal.signal(signal.SIGTERM, signal.SIG_IGN)
cell.end_with(int(sys.argv[1]))
open(sys.argv[2], "w").write(str(os.getpid()))
time.sleep(600)
"""


def test_a_file_that_is_renamed_while_it_is_looked_at_is_no_fault(tmp_path, monkeypatch):
    (tmp_path / "log.jsonl").write_text("a line")
    before = cell._signs(tmp_path)
    there = list(tmp_path.iterdir())
    monkeypatch.setattr(Path, "glob", lambda folder, pattern: [*there, tmp_path / "checkpoint.new.pt"])
    assert len(before) == 1 and cell._signs(tmp_path) == before


@pytest.mark.skipif(sys.platform != "linux", reason="needs PR_SET_PDEATHSIG and /proc")
def test_a_process_that_is_deaf_ends_with_its_launcher(tmp_path):
    """The launcher is killed; its child does not hear SIGTERM, and is ended when its time to save has passed."""
    file = tmp_path / "pid"
    process = subprocess.Popen([sys.executable, "-c", LAUNCHER, DEAF, str(file), str(cell.ROOT)])
    try:
        assert eventually(lambda: file.exists() and file.read_text())
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert eventually(lambda: gone(int(file.read_text())))
