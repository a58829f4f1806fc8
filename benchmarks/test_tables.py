"""The rows of the tables against the paper's own numbers, and run ids against their grammar."""

import subprocess
import sys
from dataclasses import replace

import pytest

from benchmarks.runs import InputError, Run
from benchmarks.tables import TABLES, runs


@pytest.mark.parametrize("table, cells, numbers", [("table1", 54, 54), ("table2", 30, 30), ("table3", 12, 24)])
def test_every_published_number_has_its_cell(table, cells, numbers):
    assert len(TABLES[table].cells) == cells == len({cell.run.id for cell in TABLES[table].cells})
    assert sum(len(cell.published) for cell in TABLES[table].cells) == numbers


@pytest.mark.parametrize("run_id, metric, value", [
    ("stylegan2-ffhq-1024-f1.0-baseline-s0", "fid", 8.31),  # read off Table 1 of the paper
    ("biggan-100-shot-panda-256-f1.0-gradgap100-s0", "fid", 21.32),  # Table 2
    ("biggan-cifar-100-64-f0.1-gradgap100-s0", "is", 8.05),  # Table 3
])
def test_published_values_by_run_id(run_id, metric, value):
    (cell,) = [cell for table in TABLES.values() for cell in table.cells if cell.run.id == run_id]
    assert cell.published[metric] == value


def test_published_protocol():
    published = [cell.run for table in ("table1", "table2", "table3") for cell in TABLES[table].cells]
    assert {(run.iterations, run.batch) for run in published} == {(100_000, 16)}


def test_the_open_table_has_the_shapes_of_tables_3_and_2():
    cells = TABLES["open"].cells
    assert len({cell.run.id for cell in cells}) == len(cells) == 2 * 3 * 5 + 3 * 2
    assert {(cell.run.iterations, cell.run.batch) for cell in cells} == {(20_000, 16)}
    for cell in cells:  # at full size; the only override is an average that fits so short a training
        assert set(cell.run.override) == ({"ema_decay", "ema_start"} if cell.run.model == "biggan" else set())
    tasks = {table: {(cell.run.model, cell.run.fraction) for cell in TABLES[table].cells}
             for table in ("table2", "table3")}
    for dataset, table in (("fashion-mnist", "table3"), ("emoji-faces", "table2")):
        for method in ("baseline", "gradgap100"):
            found = [cell.run for cell in cells if (cell.run.dataset, cell.run.method) == (dataset, method)]
            assert {(run.model, run.fraction) for run in found} == tasks[table]


@pytest.mark.parametrize("run_id", [  # DigGAN's weights are those of its code for CIFAR-100 at 10, 20 and 100 %
    "wgan-fashion-mnist-32-f0.1-diggan10000-i20000-s0",
    "biggan-fashion-mnist-32-f0.2-diggan5000-i20000-ema_decay0.999-ema_start1000-s0",
    "wgan-fashion-mnist-32-f1.0-diggan1000-i20000-s0",
    "biggan-fashion-mnist-32-f0.1-lecam0.3-i20000-ema_decay0.999-ema_start1000-s0",
    "wgan-fashion-mnist-32-f0.2-baseline-diffaugment_translation_cutout-i20000-s0",
    "stylegan2-emoji-faces-128-f1.0-gradgap100-i20000-s0",
])
def test_runs_of_the_open_table(run_id):
    (cell,) = [cell for cell in TABLES["open"].cells if cell.run.id == run_id]
    assert cell.label == ("diggan" if "diggan" in run_id else "")


@pytest.mark.parametrize("run", [
    *(cell.run for table in TABLES.values() for cell in table.cells),
    Run("wgan", "100-shot-obama", 256, 0.5, {"gradgap": 0.5, "r1": 10.0, "lecam": 3e-7}, "diffaugment", 7, 4, 3,
        {"width": 0.25, "recipe": "paper256", "d_steps": 2}),
    Run("biggan", "cifar-100", 32, augment="diffaugment_translation_cutout", override={"recipe": "imagenet"}),
])
def test_an_id_says_everything(run):
    assert Run.from_id(run.id) == run


@pytest.mark.parametrize("text", ["", "wgan", "wgan-digits-32-f0.1-s0", "wgan-digits-32-f0-baseline-s0",
                                  "wgan-digits-32-f0.0-baseline-s0", "wgan-digits-32-f1.5-baseline-s0",
                                  "../wgan-digits-32-f1.0-baseline-s0", "wgan-digits-32-f1.0-gradgap-s0",
                                  "wgan-digits-32-f1.00-baseline-s0", "wgan-digits-32-f1.0-baseline-i100000-s0"])
def test_what_is_not_an_id_is_refused(text):
    with pytest.raises(InputError):
        Run.from_id(text)


def test_seeds_and_iterations():
    rows = runs("table3", seeds=3, iterations=50)
    assert len(rows) == 36 and {run.seed for run in rows} == {0, 1, 2} and {run.iterations for run in rows} == {50}
    assert replace(rows[0], iterations=100_000) == TABLES["table3"].cells[0].run
    untrained = [run.id for run in runs("small", iterations=0)]
    assert len(set(untrained)) == len(untrained), "runs that become one are listed once"


def test_the_command_lists_ids_with_the_standard_library_alone():
    command = [sys.executable, "-S", "-m", "benchmarks.tables"]
    listed = subprocess.run([*command, "table1"], capture_output=True, text=True, check=True).stdout.split()
    assert listed == [cell.run.id for cell in TABLES["table1"].cells]
    refused = subprocess.run([*command, "table9"], capture_output=True, text=True)
    assert refused.returncode == 2 and refused.stderr.count("\n") == 1 and "table9" in refused.stderr
