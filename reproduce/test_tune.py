"""The rule of tuning: the lowest distance wins, divergence loses, and what is not all tried is left out."""

import csv
import io
import math

from benchmarks.tables import small_tasks
from reproduce import record, tune


def write(folder, run, value):
    metrics = [{"name": "fd_effnet", "checkpoint": "best", "n_generated": 1000, "value": 1.0},
               {"name": "fd_effnet", "checkpoint": "last", "n_generated": 1000, "value": value}]
    content = {"status": "done", "metrics": metrics}
    if value == math.inf:
        content = {"status": "diverged", "metrics": []}
    record.write_json(folder / run.id / "metrics.json", content)


def test_the_lowest_distance_at_the_end_wins(tmp_path):
    first, second, *_ = tune.tunings()
    for value, run in zip((50.0, 30.5, math.inf), first.tries.values(), strict=True):
        write(tmp_path, run, value)
    for value, run in zip((1.0, 2.0), second.tries.values(), strict=False):
        write(tmp_path, run, value)
    (row,) = csv.DictReader(io.StringIO(tune.table(tmp_path)))
    assert row == {"baseline": first.task.id, "regularizer": "gradgap", "weight": "10",
                   "tries": "1=50.0 10=30.5 100=inf"}


def test_every_regularizer_has_as_many_tries_on_seeds_that_no_table_shows():
    for tuning in tune.tunings():
        assert len(tuning.tries) == 3 and {run.seed for run in tuning.tries.values()} == {100}
    tuned = {(tuning.task.id, tuning.regularizer) for tuning in tune.tunings()}
    for task in small_tasks():
        assert (task.id, "gradgap") in tuned
    names = {name for _, name in tuned}
    assert {"diggan", "lecam", "r1", "gradgap_abs"} <= names and not names & {"gradgap_lazy", "gradgap_pairs"}
