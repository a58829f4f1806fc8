"""The pairs of the lazy-against-exact measurement, and reading their scores."""

from dataclasses import replace

from benchmarks.tables import TABLES
from reproduce import bench_lazy, record


def test_pairs_differ_in_the_way_alone():
    """A twin of the smoke table on two data sets, over seeds; both at its weight."""
    found = bench_lazy.pairs(3)
    models = {cell.run.model for cell in TABLES["smoke"]}
    assert len(found) == 3 * 2 * len(models)
    assert len({run.id for pair in found for run in pair.values()}) == 2 * len(found)
    for pair in found:
        lazy, exact = pair["gradgap"], pair["gradgap_exact"]
        assert list(lazy.regularizers.values()) == list(exact.regularizers.values())
        assert replace(lazy, regularizers=exact.regularizers) == exact


def test_score_is_that_of_the_run_and_none_if_it_diverged(tmp_path):
    run = bench_lazy.pairs(1)[0]["gradgap"]
    path = record.folder(tmp_path, run.id) / "metrics.json"
    record.write_json(path, {"metrics": [{"name": "is_effnet", "value": 1.0}, {"name": "fd_effnet", "value": 42.0}]})
    assert bench_lazy.score(run, tmp_path) == 42.0
    record.write_json(path, {"metrics": []})
    assert bench_lazy.score(run, tmp_path) is None
