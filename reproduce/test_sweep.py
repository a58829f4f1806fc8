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

from benchmarks import tables
from benchmarks.runs import InputError, Run
from benchmarks.tables import TABLES
from reproduce import methods
from reproduce.preflight import look
from reproduce.settings import Settings
from reproduce.sweep import chosen, listed

ROOT = Path(__file__).parents[1]
TINY = [f"dcgan-noise-32-f0.5-{method}-i{iterations}-b4-width0.1-s0"
        for iterations in (40, 20) for method in ("baseline", "gradgap0.1")]  # fmt: skip


@pytest.fixture
def where(tmp_path) -> list[str]:
    """Options: a data set of 24 images, an empty results folder, a quick evaluation."""
    (tmp_path / "data" / "noise").mkdir(parents=True)
    for i, image in enumerate(np.random.default_rng(0).integers(0, 256, (24, 32, 32, 3), dtype=np.uint8)):
        Image.fromarray(image).save(tmp_path / "data" / "noise" / f"{i}.png")
    return [f"DATA={tmp_path / 'data'}", f"RESULTS={tmp_path / 'results'}", "DEVICE=cpu", "EXTRACTOR=effnet",
            "SAMPLES=12"]


def sweep(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "reproduce.sweep", *arguments]


def environment() -> dict:
    return os.environ | {"OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}


def run(*arguments: str, **more: str) -> subprocess.CompletedProcess:
    return subprocess.run(sweep(*arguments), cwd=ROOT, env=environment() | more, capture_output=True, text=True,
                          timeout=240)


def test_names_stand_for_a_table_or_for_runs_each_once():
    assert chosen([TINY[0], TINY[1], TINY[0]])[:2] == ("", TINY[:2])
    table, run_ids, settings = chosen(["table3", "SEEDS=3", "ITERATIONS=10"])
    assert (table, run_ids) == ("table3", []) and len(listed(table, settings)) == 3 * len(TABLES["table3"].cells)
    assert chosen(["TABLE=open"])[0] == chosen(["lambda", "TABLE=open"])[0] == "open"
    for wrong, named in (["table9"], "table9"), (["dcgan-nonsense"], "dcgan-nonsense"), (["compare"], "METHOD"):
        with pytest.raises(InputError, match=named):
            chosen(wrong)


def test_lambda_is_every_baseline_at_every_weight():
    assert listed("smoke", Settings(), weights=True) == [run.id for run in tables.sweep(tables.runs("smoke"))]


def test_the_cheapest_come_first(where, tmp_path):
    """Half the iterations, half the operations; cells of one cost stay in the table's order."""
    settings = Settings.parse([*where, "ORDER=cost"])
    assert look([Run.from_id(run_id) for run_id in TINY], settings).run_ids == [*TINY[2:], *TINY[:2]]


def test_a_sweep_makes_all_cells_and_does_nothing_again(where, tmp_path):
    """The cell whose data set is missing is named before and after, and stops no other."""
    arguments = [*where, "EVAL_EVERY=10", "MICRO_BATCH=2", *TINY[2:]]
    done = run(*arguments, "dcgan-no-such-set-32-f0.1-baseline-i4-b4-width0.1-s0")
    assert done.returncode == 1 and "2 of 3 cells done" in done.stdout, done.stderr
    assert "error: dataset 'no-such-set'" in done.stderr and "make data DATASET=no-such-set" in done.stderr
    paths = [tmp_path / "results" / run_id / "metrics.json" for run_id in TINY[2:]]
    before = [path.read_bytes() for path in paths]
    assert all(json.loads(content)["evaluated"] == ["effnet 12 x1 every 10"] for content in before)
    again = run(*arguments)
    assert again.returncode == 0 and "2 of 2 cells done" in again.stdout and [p.read_bytes() for p in paths] == before


def test_a_method_is_set_beside_the_baselines_of_a_table(where):
    done = run("compare", *where, "METHOD=diffaugment", "TABLE=table3", "RETRIES=0")
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert "(runs that need it: 18)" in done.stderr, done.stderr


def test_the_name_of_a_method_is_left_for_those_who_show_its_runs(where):
    methods.note(methods.Method({}, "diffaugment"), Settings.parse([*where, "METHOD=diffaugment"]))
    methods.note(methods.Method({"mine": 5.0}, ""), Settings.parse([*where, "METHOD=my + files/mine.py"]))
    command = [sys.executable, "-m", "reproduce.methods", "name", *where]
    for text, name in (("diffaugment", "baseline-diffaugment"), ("my + files/mine.py", "mine5"), ("r1", "r1")):
        done = subprocess.run([*command, f"METHOD={text}"], cwd=ROOT, capture_output=True, text=True)
        assert done.stdout == f"{name}\n"


def test_a_changed_method_file_is_refused_though_its_run_is_done(where, tmp_path):
    """Its finished seeds and those to come would be of two formulas."""
    (tmp_path / "mine.py").write_text("from baselines.regularizers import Regularizer\n\nclass Mine(Regularizer):\n"
                                      "    def forward(self, D, real, fake):\n        return real.norms().mean()\n")
    done = TINY[0].replace("baseline", "mine1")
    (tmp_path / "results" / done).mkdir(parents=True)
    (tmp_path / "results" / done / "metrics.json").write_text('{"status": "diverged"}')
    (tmp_path / "results" / done / "config.json").write_text('{"method_files": {"mine": "sha256 of another"}}')
    tried = run(done, *where, f"METHOD={tmp_path / 'mine.py'}")
    assert tried.returncode == 2 and "begun with another file of that name" in tried.stderr, tried.stderr


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


@pytest.mark.parametrize("arguments, named", [
    (["table9"], "table9"), ([TINY[0], "JOBS=0"], "JOBS=0"), ([TINY[0], "SAMPLES=3"], "SAMPLES=3"),
    ([TINY[0], "SEDES=3"], "SEDES=3"), ([TINY[0], "--seeds", "3"], "NAME=value"),
    ([TINY[0], "GPUS_PER_RUN=2", "GPUS=1"], "GPUS=1"), (["compare"], "METHOD")])
def test_wrong_options_end_with_one_line_and_status_2(arguments, named, tmp_path):
    done = run(*arguments, f"RESULTS={tmp_path / 'r'}")
    assert done.returncode == 2 and named in done.stderr and done.stderr.count("\n") == 1, done.stderr
    assert not (tmp_path / "r").exists()
