"""The sweep as a command: which cells, in which order, with which exit status; and a table made from nothing."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.runs import InputError
from benchmarks.tables import TABLES
from reproduce.sweep import cheapest_first, listed, parser

ROOT = Path(__file__).parents[1]
TINY = [f"dcgan-noise-32-f0.5-{method}-i{iterations}-b4-width0.1-s0"
        for iterations in (40, 20) for method in ("baseline", "gradgap0.1")]  # fmt: skip


@pytest.fixture
def where(tmp_path) -> list[str]:
    """Options: a data set of 24 images, an empty results folder, a quick evaluation."""
    (tmp_path / "data" / "noise").mkdir(parents=True)
    for i, image in enumerate(np.random.default_rng(0).integers(0, 256, (24, 32, 32, 3), dtype=np.uint8)):
        Image.fromarray(image).save(tmp_path / "data" / "noise" / f"{i}.png")
    return ["--data", str(tmp_path / "data"), "--results", str(tmp_path / "results"), "--device", "cpu",
            "--extractor", "effnet", "--samples", "12"]


def sweep(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "reproduce.sweep", *arguments]


def environment() -> dict:
    return os.environ | {"OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}


def test_names_stand_for_runs_each_once():
    table = [cell.run.id for cell in TABLES["table3"].cells]
    assert listed(["table3", table[0], TINY[0]], 1, None) == [*table, TINY[0]]
    assert len(listed(["table3"], 3, 10)) == 3 * len(table)
    for wrong in ("table9", "dcgan-nonsense"):
        with pytest.raises(InputError, match=wrong):
            listed([wrong], 1, None)


def test_every_variable_of_make_is_an_option():
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    names = shown.stdout.rsplit("`: ", 1)[1].splitlines()[0].split()[3:]  # after PYTHON REPORTS TABLE
    options = {f"--{name.lower().replace('_', '-')}" for name in names}
    assert len(options) > 15 and options <= set(parser()._option_string_actions)


def test_the_cheapest_come_first():
    """Half the iterations, half the operations; cells of one cost stay in the table's order."""
    assert cheapest_first(TINY) == [*TINY[2:], *TINY[:2]]


def test_a_sweep_makes_all_cells_and_does_nothing_again(where, tmp_path):
    command = sweep(*where, "--eval-every", "10", "--micro-batch", "2", *TINY[2:])
    broken = "dcgan-no-such-set-32-f0.1-baseline-i4-b4-width0.1-s0"
    done = subprocess.run([*command, broken], cwd=ROOT, env=environment(), capture_output=True, text=True)
    assert done.returncode == 1 and "2 of 3 cells done" in done.stdout and "no-such-set" in done.stderr, done.stderr
    paths = [tmp_path / "results" / run_id / "metrics.json" for run_id in TINY[2:]]
    before = [path.read_bytes() for path in paths]
    assert all(json.loads(content)["evaluated"] == ["effnet 12 x1 every 10"] for content in before)
    again = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True)
    assert again.returncode == 0 and "2 of 2 cells done" in again.stdout and [p.read_bytes() for p in paths] == before


def test_interrupted_it_saves_ends_and_goes_on(where, tmp_path):
    """Ctrl-C in the middle of a training of 4,000 iterations, which the same command then resumes."""
    run_id = TINY[0].replace("-i40-", "-i4000-")
    folder = tmp_path / "results" / run_id

    def lines() -> list[str]:
        return (folder / "log.jsonl").read_text().splitlines() if (folder / "log.jsonl").exists() else []

    for count in (1, 2):
        process = subprocess.Popen(sweep(*where, run_id), cwd=ROOT, env=environment(), stderr=subprocess.PIPE,
                                   text=True)
        try:
            while len(lines()) < count:
                assert process.poll() is None, process.stderr.read()
                time.sleep(0.02)
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=60)
        finally:
            process.kill()
        assert process.returncode == 75 and "told to stop; saved at iteration" in errors, errors
        assert (folder / "checkpoint.pt").exists() and not (folder / "failed.json").exists()
    assert [json.loads(line)["iteration"] for line in lines()] == [80 * (i + 1) for i in range(len(lines()))]


@pytest.mark.parametrize("arguments, named", [(["table9"], "table9"), ([TINY[0], "--jobs", "0"], "--jobs 0"),
                                              ([TINY[0], "--samples", "3"], "samples 3"),
                                              ([TINY[0], "--gpus-per-run", "2", "--gpus", "1"], "--gpus 1")])
def test_wrong_options_end_with_one_line_and_status_2(arguments, named, tmp_path):
    done = subprocess.run(sweep(*arguments, "--results", str(tmp_path / "r")), cwd=ROOT, env=environment(),
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and named in done.stderr and done.stderr.count("\n") == 1, done.stderr
    assert not (tmp_path / "r").exists()
