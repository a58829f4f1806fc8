"""The rendered measurements: every number where it belongs, and a damaged file named."""

import json

import pytest

from benchmarks.tables import InputError
from reports import bench
from reports.conftest import PROVENANCE

EVAL = {"images": 500, "references": 100, "command": "python -m reproduce.bench_eval --images 500 --sides 64",
        "provenance": PROVENANCE, "cpu_seconds": {"64": {
            "clean-fid": {"network": 196.0, "distance": 22.0, "total": 222.0, "fid": 12.5},
            "ours": {"network": 150.0, "resize": 1.4, "distance": 0.31, "total": 166.5, "fid": 12.25, "all": {}}}}}


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "results" / "bench" / "eval.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(EVAL))
    return path


def test_evaluation_table(file, tmp_path):
    [made] = bench.render(tmp_path / "results", tmp_path)
    lines = made.read_text().splitlines()
    assert "| px | tool | network | distance | resize | total | of clean-fid | FID |" in lines
    assert "| 64 | clean-fid | 196.00 | 22.00 | - | 222.00 | 1.00 | 12.5000 |" in lines
    assert "| 64 | ours | 150.00 | 0.31 | 1.40 | 166.50 | 0.75 | 12.2500 |" in lines
    assert EVAL["command"] in lines[-1] and "test device" in lines[-1] and made.name == "eval.md"


def test_a_tool_that_fails_is_said_to(file, tmp_path):
    data = json.loads(file.read_text())
    data["cpu_seconds"]["64"]["clean-fid"] |= {"fid": None, "error": "Imaginary component 0.5"}
    file.write_text(json.dumps(data))
    [made] = bench.render(tmp_path / "results", tmp_path)
    assert "| 222.00 | 1.00 | fails: Imaginary component 0.5 |" in made.read_text()


@pytest.mark.parametrize("damage", ["{", "[]", json.dumps({**EVAL, "provenance": None}),
                                    json.dumps({**EVAL, "cpu_seconds": {"64": {"ours": {}}}})])
def test_a_damaged_file_is_named(damage, file, tmp_path):
    file.write_text(damage)
    with pytest.raises(InputError, match="eval.json"):
        bench.render(tmp_path / "results", tmp_path)
    assert not (tmp_path / "bench").exists()


def test_nothing_measured(tmp_path):
    assert bench.render(tmp_path, tmp_path) == []
