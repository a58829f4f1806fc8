"""The rule of tuning: the lowest distance wins, divergence loses, and what is not all tried is left out."""

import csv
import io
import math

import pytest

from benchmarks.runs import InputError
from benchmarks.tables import small_tasks
from reproduce import record, tune


def write(folder, run, value):
    entry = {"name": "fd_effnet", "checkpoint": "last", "n_generated": 1000, "value": value, "extractor": "effnet",
             "extractor_sha256": "", "resize": "", "iteration": 0, "eval_seed": 0}  # fmt: skip
    metrics = [entry | {"checkpoint": "best", "value": 1.0}, entry]
    content = {"id": run.id, "status": "done", "metrics": metrics, "evaluated": [], "generator_sha256": ""}
    if value == math.inf:
        content |= {"status": "diverged", "metrics": []}
    record.write_json(folder / run.id / "metrics.json", content)


def test_the_lowest_distance_at_the_end_wins(tmp_path):
    first, second, *_ = tune.tunings()
    for value, run in zip((70.0, 50.0, 30.5, math.inf), first.tries.values(), strict=True):
        write(tmp_path, run, value)
    for value, run in zip((1.0, 2.0), second.tries.values(), strict=False):
        write(tmp_path, run, value)
    (row,) = csv.DictReader(io.StringIO(tune.table(tmp_path)))
    assert row == {"baseline": first.task.id, "regularizer": "gradgap", "weight": "10",
                   "tries": "0.1=70.0 1=50.0 10=30.5 100=inf"}


def test_what_another_results_folder_has_not_keeps_its_row(tmp_path):
    first, second, *_ = tune.tunings()
    before = "baseline,regularizer,weight,tries\n"
    for tuning in (first, second):
        before += f"{tuning.task.id},{tuning.regularizer},5,5=1.0\n"
    assert tune.table(tmp_path, before) == before
    for value, run in zip((70.0, 50.0, 30.5, 40.0), first.tries.values(), strict=True):
        write(tmp_path, run, value)
    rows = list(csv.DictReader(io.StringIO(tune.table(tmp_path, before))))
    assert [row["weight"] for row in rows] == ["10", "5"]
    assert tune.table(tmp_path, before + "nonsense,gradgap,1,1=1\n").count("\n") == 3


def test_a_damaged_record_is_named(tmp_path):
    first, *_ = tune.tunings()
    for value, run in zip((70.0, 50.0, math.nan, 40.0), first.tries.values(), strict=True):
        write(tmp_path, run, value)
    with pytest.raises(InputError, match="metrics.json: metrics.1.: 'value' is nan, must be a finite number"):
        tune.table(tmp_path)


def test_every_regularizer_has_as_many_tries_on_seeds_that_no_table_shows():
    for tuning in tune.tunings():
        assert len(tuning.tries) == len(tune.POWERS[tuning.task.model]) >= 3
        assert {run.seed for run in tuning.tries.values()} == {100}
    tuned = {(tuning.task.id, tuning.regularizer) for tuning in tune.tunings()}
    for task in small_tasks():
        assert (task.id, "gradgap") in tuned
    names = {name for _, name in tuned}
    assert {"diggan", "lecam", "r1", "gradgap_abs"} <= names and not names & {"gradgap_lazy", "gradgap_pairs"}
