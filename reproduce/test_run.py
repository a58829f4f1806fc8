"""One run in one process: trained and evaluated, refused before it trains, and its errors in one line."""

import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.runs import InputError, Run
from reproduce import run as module
from reproduce.run import out_of_memory, train_here
from reproduce.settings import Settings

ROOT = Path(__file__).parents[1]
RESULTS = 'my "results" é'
TINY = Run("dcgan", "noise", 32, 0.5, iterations=10, batch=4, override={"width": 0.1})


@pytest.fixture
def where(tmp_path) -> list[str]:
    folder = tmp_path / "mes 'données'"
    (folder / "noise").mkdir(parents=True)
    for i, image in enumerate(np.random.default_rng(0).integers(0, 256, (24, 32, 32, 3), dtype=np.uint8)):
        Image.fromarray(image).save(folder / "noise" / f"{i}.png")
    return [f"DATA={folder}", f"RESULTS={tmp_path / RESULTS}", "DEVICE=cpu", "EXTRACTOR=effnet", "SAMPLES=12"]


def call(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "reproduce.run", *arguments], cwd=ROOT, capture_output=True, text=True,
                          env=os.environ | {"OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}, timeout=240)  # fmt: skip


def test_it_trains_in_two_processes_evaluates_and_then_does_nothing(where, tmp_path):
    done = call(TINY.id, *where, "GPUS_PER_RUN=2")
    file = tmp_path / RESULTS / TINY.id / "metrics.json"
    assert done.returncode == 0 and json.loads(file.read_text())["status"] == "done", done.stderr
    assert "trained 10 iterations" in done.stdout and "fd_effnet" in done.stdout
    before = file.read_bytes()
    assert call(TINY.id, *where).returncode == 0 and file.read_bytes() == before


def running(results: Path) -> list[int]:
    """The processes that were told to work in a results folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it has ended meanwhile
            if f"RESULTS={results}" in path.read_bytes().decode(errors="replace").split("\0"):
                found.append(int(path.parent.name))
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="needs PR_SET_PDEATHSIG and /proc")
def test_no_process_of_a_training_outlives_its_launcher(where, tmp_path):
    """The launcher of two is killed, in a training that would take minutes; both processes save and end."""
    run, results = replace(TINY, iterations=100_000), tmp_path / RESULTS
    command = [sys.executable, "-m", "reproduce.run", run.id, *where, "GPUS_PER_RUN=2"]
    launcher = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                env=os.environ | {"OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"})  # fmt: skip
    try:
        end = time.monotonic() + 120
        while not (results / run.id / "log.jsonl").exists() or not (results / run.id / "log.jsonl").stat().st_size:
            assert launcher.poll() is None and time.monotonic() < end
            time.sleep(0.1)
        assert len(running(results)) == 3
    finally:
        launcher.kill()
        launcher.wait()
    end = time.monotonic() + 60
    while running(results):
        assert time.monotonic() < end, "some are left"
        time.sleep(0.1)
    assert (results / run.id / "checkpoint.pt").exists()


@pytest.mark.parametrize("options, words", [
    (["EXTRACTOR=vgg"], "EXTRACTOR=vgg"), (["WEIGHTS=/none.pt"], "none.pt"), (["GPUS_PER_RUN=99"], "GPUS_PER_RUN=99"),
    (["SAMPLES=1"], "SAMPLES=1"), (["DEVICE=abacus"], "abacus")])
def test_what_evaluation_would_refuse_is_refused_before_training(options, words, where, tmp_path, ended):
    names = [option.partition("=")[0] for option in options]
    kept = [argument for argument in where if argument.partition("=")[0] not in names]
    status, _, said = ended(module.main, TINY.id, *kept, *options)
    assert status == 2 and said, said
    for line in said.splitlines():  # GPUS_PER_RUN=99 is more than there are, and than a batch can be cut into
        assert line.startswith("error: ") and words in line, said
    assert not (tmp_path / RESULTS).exists()


def test_exhausted_memory_is_one_line_that_names_what_helps(where, monkeypatch):
    """Raised by torch on a GPU, by its allocator on a CPU, by Python."""
    errors = (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB\nmore"), MemoryError(),
              RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"))
    assert not out_of_memory(RuntimeError("shape mismatch"))
    for error in errors:
        line = out_of_memory(error)
        assert "MICRO_BATCH" in line and "\n" not in line

    def exhausted(*_):
        raise errors[0]

    import reproduce.train

    monkeypatch.setattr(reproduce.train, "train", exhausted)
    monkeypatch.setattr(module, "stop_on_signals", lambda: None)
    with pytest.raises(InputError, match=f"run {TINY.id}: out of memory.*MICRO_BATCH"):
        train_here(TINY, Settings.parse(where))


def test_another_error_is_not_hidden(where, monkeypatch):
    import reproduce.train

    monkeypatch.setattr(reproduce.train, "train", lambda *_: 1 / 0)
    monkeypatch.setattr(module, "stop_on_signals", lambda: None)
    with pytest.raises(ZeroDivisionError):
        train_here(TINY, Settings.parse(where))
