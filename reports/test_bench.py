"""The rendered measurements: every number where it belongs, and a damaged file named."""

import json

import pytest

from benchmarks.runs import InputError
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


def test_models_and_feeding(tmp_path):
    folder = tmp_path / "results" / "bench"
    folder.mkdir(parents=True)
    size = {"model": "wgan", "resolution": 64, "classes": 0, "parameters_g": 12220675, "parameters_d": 10141441,
            "gflop_g": 3.911, "gflop_d": 1.291, "gflop_iteration": 25.93, "peak_gb": 0.54, "batch": 16}
    speed = {"model": "wgan", "resolution": 64, "batch": 16, "gflop_per_s": 90.0, "convolution_gflop_per_s": 99.0,
             "ratio": 1.1}
    feeding = {"images_per_second": {"feed": 1234.5}, "ratios": {"feed / image_folder": 5.5}, "count": 8,
               "resolution": 256, "batch": 16, "cores": 2, "provenance": PROVENANCE}
    (folder / "models.json").write_text(json.dumps({"sizes": [size], "speed": [speed], "provenance": PROVENANCE}))
    (folder / "data.json").write_text(json.dumps(feeding))
    data, models = (path.read_text() for path in bench.render(tmp_path / "results", tmp_path))
    assert "| feed | 1,234.5 |" in data and "| feed / image_folder | 5.50x |" in data and "`make bench-data`" in data
    assert "| wgan | 64 px | - | 12,220,675 | 10,141,441 | 3.91 | 1.29 | 25.93 | 0.54 |" in models
    assert "| wgan | 64 px | 16 | 90.0 | 99.0 | 1.10 |" in models


def test_training_table(tmp_path):
    """40 and 44 ms eager, 10 and 11 in graphs, 5 and 6 in bf16 too; shares of the peak; one that did not fit."""
    def row(method, mode, ms, flop):
        return {"run": f"wgan-cifar-100-64-f1.0-{method}-s0", "mode": mode, "ms": ms, "iterations": 48,
                "images_per_second": 16000 / ms, "flop_per_second": flop, "peak_bytes": 2_500_000_000}

    data = {"seconds": 5.0, "matrix_peak": 1e15, "provenance": PROVENANCE, "rows": [
        row("baseline", "eager", 40.0, 1e14), row("baseline", "graphs", 10.0, 5e14),
        row("gradgap100", "eager", 44.0, 1e14), row("gradgap100", "graphs", 11.0, 4e14),
        row("baseline-bf16_1", "graphs", 5.0, 8e14), row("gradgap100-bf16_1", "graphs", 6.0, 8e14),
        {"run": "biggan-cifar-100-64-f1.0-baseline-s0", "mode": "eager", "error": "out of memory"}]}
    (tmp_path / "bench").mkdir()
    (tmp_path / "bench" / "train.json").write_text(json.dumps(data))
    [made] = bench.render(tmp_path, tmp_path)
    text = made.read_text()
    assert "| WGAN | 64 px | 16 | baseline | graphs | 10.0 | 48 | 1600.0 | 2.50 | 50.0% | 4.00 | - |" in text
    assert "| WGAN | 64 px | 16 | gradgap100 | graphs | 11.0 | 48 | 1454.5 | 2.50 | 40.0% | 4.00 | 1.10 |" in text
    assert "| WGAN | 64 px | 16 | gradgap100 | graphs, bf16 | 6.0 | 48 | 2666.7 | 2.50 | 80.0% | 7.33 | 1.20 |" in text
    assert "| WGAN | 64 px | 16 | gradgap100 | eager | 44.0 | 48 | 363.6 | 2.50 | 10.0% | - | 1.10 |" in text
    assert "- biggan-cifar-100-64-f1.0-baseline-s0, eager: out of memory." in text
