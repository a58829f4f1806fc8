"""The pairs of runs that a comparison of two ways trains, and reading their scores."""

from dataclasses import replace

import pytest

from benchmarks.runs import Run
from benchmarks.tables import TABLES
from reproduce import bench_bf16, bench_lazy, record
from reproduce.pairs import pairs, score


def test_lazy_differs_from_exact_in_the_regularizer_alone():
    """A twin of the smoke table on two data sets, over seeds; both at its weight."""
    found = pairs(bench_lazy.WAYS, ("digits", "fashion-mnist"), 3)
    models = {cell.run.model for cell in TABLES["smoke"].cells}
    assert len(found) == 3 * 2 * len(models)
    assert len({run.id for pair in found for run in pair.values()}) == 2 * len(found)
    for pair in found:
        lazy, exact = pair["default"], pair["exact"]
        assert list(lazy.regularizers) == ["gradgap"] and list(exact.regularizers) == ["gradgap_exact"]
        assert list(lazy.regularizers.values()) == list(exact.regularizers.values())
        assert replace(lazy, regularizers=exact.regularizers) == exact


def test_bf16_differs_from_float32_in_the_precision_alone():
    for pair in pairs(bench_bf16.WAYS, ("digits",), 1):
        assert pair["bf16"] == replace(pair["float32"], override={**pair["float32"].override, "bf16": 1})
        assert Run.from_id(pair["bf16"].id) == pair["bf16"]
        low, recipe = (record.resolve(pair[way])[1] for way in ("bf16", "float32"))
        assert low.bf16 and not recipe.bf16 and replace(low, bf16=False) == recipe


def test_score_is_that_of_the_run_and_none_if_it_diverged(tmp_path):
    run = TABLES["smoke"].cells[1].run
    path = record.folder(tmp_path, run.id) / "metrics.json"
    record.write_json(path, {"metrics": [{"name": "is_effnet", "value": 1.0}, {"name": "fd_effnet", "value": 42.0}]})
    assert score(run, tmp_path) == pytest.approx(42.0)
    record.write_json(path, {"metrics": []})
    assert score(run, tmp_path) is None
