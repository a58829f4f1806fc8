"""A user's own file: it trains without an edit of the project, a broken or changed one is refused with one line."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from baselines.regularizers import REGULARIZERS
from benchmarks import tables
from benchmarks.runs import InputError, Run
from benchmarks.tables import TABLES
from reproduce import methods, names, record
from reproduce.run import train_here
from reproduce.settings import Settings
from reproduce.train import train

MINE = """
import torch
from baselines.regularizers import Regularizer

class Mine(Regularizer):
    default_weight = 5

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(()))

    def forward(self, D, real, fake):
        value = real.norms().mean() - 0.9 * self.mean
        self.mean = value.detach()
        return value**2
"""
HEAD = """from baselines.regularizers import Regularizer
class Mine(Regularizer):
    def forward(self, D, real, fake):
"""
BROKEN = {
    "syntax": ("def f(:", "SyntaxError"),
    "no class": ("x = 1", "defines 0 subclasses"),
    "two": (HEAD + "        pass\nclass Other(Mine):\n    pass\n", "defines 2 subclasses"),
    "not a regularizer": ("class Mine:\n    pass\n", "defines 0 subclasses"),
    "crash": ("1 / 0", "ZeroDivisionError"),
    "shape": (HEAD + "        return real.norms()\n", "shape [5]"),
    "NaN": (HEAD + "        return real.norms().mean() / 0 * 0\n", "nan"),
    "no gradient": (HEAD + "        return real.norms().mean().detach()\n", "no gradient"),
    "gradients that it does not ask for": (HEAD.replace("def", "uses_gradients = False\n    def", 1)
                                           + "        return real.norms().mean()\n", "uses_gradients = True"),
}


@pytest.fixture
def write(tmp_path):
    """Writes a user's file under tmp_path; what it registers goes with the test."""
    before = dict(REGULARIZERS)

    def write(text: str, name: str = "mine.py") -> Path:
        (tmp_path / name).write_text(text)
        return tmp_path / name

    yield write
    REGULARIZERS.clear()
    REGULARIZERS.update(before)


@pytest.mark.parametrize("text, name", [
    ("diggan", "diggan1000"), ("gradgap", "gradgap100"), ("lecam0.3", "lecam0.3"), ("r1", "r1_10"), ("r1_3", "r1_3"),
    ("gradgap_lazy7", "gradgap_lazy7"), ("diffaugment+gradgap", "gradgap100-diffaugment"),
    ("ada", "baseline-ada"), ("lecam+apa+cr2", "lecam0.3+cr2-apa"),
])
def test_a_method_in_words(text, name):
    method = methods.read(text)
    assert method.name == name
    run = method.of(Run("wgan", "digits", 32))
    assert Run.from_id(run.id) == run


@pytest.mark.parametrize("text", ["", "nonsense", "gradgap+", "ada+apa", "r1+r1_5", "gradgap-1", "none.py", "Mine.py",
                                  "+", "++", ".py", "..py", "gradgap 100", "Gradgap", "gradgap1e5", "gradgap100,r1",
                                  "/etc/passwd", "\n", "baseline", "none"])
def test_what_is_no_method_is_refused(text, tmp_path, monkeypatch):
    (tmp_path / "Mine.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="METHOD"):
        methods.read(text)


def test_a_file_of_a_registered_name_is_refused(write):
    with pytest.raises(InputError, match="gradgap is a regularizer already"):
        methods.read(str(write(MINE, "gradgap.py")))


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_file_is_refused(kind, write):
    text, reason = BROKEN[kind]
    with pytest.raises(InputError, match=re.escape(reason)) as caught:
        methods.read(str(write(text)))
    assert "mine.py" in str(caught.value) and "\n" not in str(caught.value) and "mine" not in REGULARIZERS


@pytest.mark.parametrize("name", ["train", "update", "loss_d"])
def test_a_file_whose_name_a_trainer_uses_is_refused(name, write):
    with pytest.raises(InputError, match=f"{name} has another meaning in a trainer"):
        methods.read(str(write(MINE, f"{name}.py")))


@pytest.mark.parametrize("name", ["diffaugment", "baseline", "mine_", "r1"])
def test_a_file_whose_name_means_something_else_is_refused(name, write):
    with pytest.raises(InputError, match=f"{name}.*another name"):
        methods.read(str(write(MINE, f"{name}.py")))


@pytest.mark.parametrize("program, said, limit", [
    ("import sys; sys.exit(0)", "run: SystemExit", 60), ("while True: pass", "not loaded and checked within 4 s", 4),
    ("import os; os._exit(0)", "ended its process", 60), (BROKEN["shape"][0], "shape [5]", 60)])
def test_a_file_that_misbehaves_when_it_is_loaded_is_refused_in_one_line(program, said, limit, write):
    with pytest.raises(InputError, match=re.escape(said)) as caught:
        methods.read_apart(str(write(program)), limit)
    assert "mine.py" in str(caught.value) and "\n" not in str(caught.value)


def test_a_file_may_print_and_lie_where_it_likes(tmp_path, write):
    (tmp_path / "my + files").mkdir()
    path = write("print('hello')\n" + MINE + "        \nprint('there')\n", "my + files/mine.py")
    method = methods.read_apart(f"{path}2.5+diffaugment")
    assert method == methods.Method({"mine": 2.5}, "diffaugment") and method.name == "mine2.5-diffaugment"


def test_a_file_that_raises_late_is_blamed_with_its_line(write, tmp_path):
    """Its contract is held for the few updates that are tried; the tenth one fails."""
    late = MINE.replace("        return value**2", "        self.calls = getattr(self, 'calls', 0) + 1\n"
                        "        return value**2 / (self.calls < 10) if self.calls != 10 else 1 / 0")
    path = write(late)
    settings = Settings(data=tmp_path / "data", results=tmp_path / "results", device="cpu", method=str(path))
    run = Run("dcgan", "digits", 32, 0.1, {"mine": 1.0}, iterations=20, batch=2, override={"width": 0.1})
    with pytest.raises(InputError, match=r"mine\.py, line \d+: ZeroDivisionError: division by zero") as caught:
        train_here(run, settings)
    assert "\n" not in str(caught.value)


def test_the_method_comes_right_after_each_baseline_and_gradgap_last(write):
    method = methods.read(f"diffaugment+{write(MINE)}2.5")
    own = tables.runs("open", seeds=2)
    runs = methods.compared(own, method)
    pairs, others = runs[: 4 * 9], runs[4 * 9 :]
    assert pairs[::2] == [run for run in own if run.method == "baseline"]
    for baseline, mine in zip(pairs[::2], pairs[1::2], strict=True):
        assert mine == replace(baseline, regularizers={"mine": 2.5}, augment="diffaugment")
    assert others == [run for run in own if run.method == "gradgap100"]


def test_a_method_that_the_table_has_is_there_once():
    own = tables.runs("table3", seeds=1)
    assert {run.id for run in methods.compared(own, methods.read("gradgap"))} == {run.id for run in own}


def test_the_sweep_is_every_baseline_at_every_weight():
    rows = tables.sweep(tables.runs("smoke"))
    baselines = [cell.run for cell in TABLES["smoke"].cells if cell.run.iterations and not cell.run.regularizers]
    assert rows[::6] == baselines
    assert [run.regularizers.get("gradgap", 0) for run in rows] == [0, 1, 10, 100, 1000, 10000] * len(baselines)
    assert all(replace(run, regularizers={}) in baselines for run in rows)


def test_a_file_trains_by_its_formula_and_a_changed_one_is_refused(write, tmp_path):
    path = write(MINE)
    method = methods.read(str(path))
    run = Run("dcgan", "digits", 32, 0.1, method.regularizers, iterations=2, batch=2, override={"width": 0.1})
    train(run, Settings(data=tmp_path / "data", results=tmp_path / "results"), torch.device("cpu"))
    folder = tmp_path / "results" / run.id
    logged = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert len(logged) == 2
    mean = 0.0
    for line in logged:
        value = line["n_R"] - 0.9 * mean
        assert line["penalty"]["mine"] == pytest.approx(5 * value**2, rel=1e-4)
        mean = value
    methods.require_same_file(run, tmp_path / "results")
    before = record.read_json(folder / "config.json")["method_files"]
    methods.read(str(write(MINE + "# changed\n")))
    assert list(before) == ["mine"] and before != names.method_files(run)
    with pytest.raises(InputError, match="another file"):
        methods.require_same_file(run, tmp_path / "results")
    with pytest.raises(InputError, match="method_files.mine"):
        train(run, Settings(data=tmp_path / "data", results=tmp_path / "results"), torch.device("cpu"))
