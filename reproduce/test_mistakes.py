"""Whole sweeps of somebody who lacks something or mistypes it: nothing is trained before they are refused.

In this process, with a stand-in for what makes a cell.
"""

import shutil
import sys

import numpy as np
import pytest
from PIL import Image

from benchmarks import datasets
from benchmarks.runs import InputError, Run
from benchmarks.tables import TABLES
from reproduce import engines, methods, preflight
from reproduce import sweep as module
from reproduce.cell import Attempt
from reproduce.settings import Settings


def look(run_ids: list[str], settings: Settings) -> preflight.Findings:
    """The findings of this process."""
    return preflight.look([Run.from_id(run_id) for run_id in run_ids], settings)


@pytest.fixture
def sweep(monkeypatch, tmp_path, capsys):
    """Runs the command; returns its status, the lines on stderr, and the runs that it would have made."""
    made: list[str] = []
    monkeypatch.setattr(datasets, "find_source", lambda name, row, root: next(root.glob(name), None))

    def attempt(run_id: str, settings: Settings) -> Attempt:
        made.append(run_id)
        return Attempt(run_id, "done")

    monkeypatch.setattr(module, "stop_on_signals", lambda: None)
    monkeypatch.setattr(module, "read_apart", methods.read)
    monkeypatch.setattr(module, "look_apart", look)
    monkeypatch.setattr(engines, "attempt", attempt)
    # a table at full size needs tens of GB, which this machine may not have
    monkeypatch.setattr(preflight.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**13, 0, 10**13))
    monkeypatch.chdir(tmp_path)

    def sweep(*arguments: str) -> tuple[int, list[str], list[str]]:
        monkeypatch.setattr(sys, "argv", ["sweep", *arguments])
        made.clear()
        status = module.main()
        return status, capsys.readouterr().err.splitlines(), list(made)

    return sweep


CPU = ("DEVICE=cpu", "EXTRACTOR=effnet")


@pytest.mark.parametrize("table", ["table1", "table2", "table3", "open", "small"])
def test_without_data_a_table_is_refused_at_once_with_a_line_for_each_set(table, sweep, tmp_path):
    status, lines, made = sweep(table, *CPU, "ORDER=table")
    sets = {cell.run.dataset for cell in TABLES[table].cells}
    assert (status, made, len(lines)) == (2, [], len(sets)), lines
    for name in sets:
        assert sum(f"{name!r}" in line and f"make data DATASET={name}" in line for line in lines) == 1
    assert not list(tmp_path.iterdir())


def test_a_set_that_is_missing_leaves_the_others_their_turn(sweep, tmp_path):
    """As nature-photograph, which was never released, in Table 1."""
    image = tmp_path / "image.png"
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(image)
    for name in ("animalface-cat", "100-shot-obama"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for i in range(datasets.DATASETS[name].count):
            shutil.copy(image, tmp_path / "data" / name / f"{i}.png")
    status, lines, made = sweep("table2", *CPU)
    assert status == 1 and {Run.from_id(run_id).dataset for run_id in made} == {"animalface-cat", "100-shot-obama"}
    assert len(made) == 12 and "animalface-dog" in " ".join(lines)


def test_no_gpu_and_no_data_and_no_network_of_features_are_said_at_once(sweep, tmp_path, monkeypatch):
    status, lines, made = sweep("table3", "DEVICE=abacus", "EXTRACTOR=vgg", "RESULTS=/dev/null/r")
    assert (status, made) == (2, []) and not list(tmp_path.iterdir())
    for words in ("abacus", "vgg", "/dev/null/r", "cifar-100"):
        assert sum(words in line for line in lines) == 1, lines


@pytest.mark.parametrize("arguments, words", [
    (["table1", "table2"], "table1"), (["compare", "METHOD=gradgap0"], "gradgap 0"), (["compare"], "METHOD"),
    (["smoke", "SEEDS=101"], "SEEDS=101"), (["smoke", "JOBS=999999999"], "JOBS=999999999"), (["smoke", "-v"], "'-v'"),
    (["compare", f"METHOD=gradgap{'9' * 400}"], "gradgap inf"), (["lambda", "TABLE=tabel1"], "TABLE=tabel1"),
])
def test_what_is_mistyped_is_refused(arguments, words, sweep, tmp_path):
    with pytest.raises(InputError) as caught:
        sweep(*arguments)
    assert words in str(caught.value) and "\n" not in str(caught.value) and not list(tmp_path.iterdir())


def test_a_table_of_more_seeds_than_there_are_is_not_even_listed():
    """Seeds from 100 on are those of tuning, which no table shows."""
    with pytest.raises(InputError, match="at most 100"):
        Settings.parse(["SEEDS=101"])
