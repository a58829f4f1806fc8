"""Runs as TensorBoard's event files, read back by TensorBoard where it is installed; refused in one line without it."""

import io
import json
import sys
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.runs import InputError
from reproduce import export

LOG = [{"iteration": 10, "loss_d": 1.5, "gap": -0.25, "penalty": {"gradgap": 0.5}, "seconds": 1.0},
       {"iteration": 20, "loss_d": 1.25, "gap": 0.125, "penalty": {"gradgap": 0.25}, "seconds": 2.0}]  # fmt: skip
METRICS = [{"name": "fid", "value": 30.5, "checkpoint": "last", "iteration": 20, "eval_seed": 0},
           {"name": "fid", "value": 31.5, "checkpoint": "last", "iteration": 20, "eval_seed": 1},
           {"name": "fid", "value": 40.5, "checkpoint": "10", "iteration": 10, "eval_seed": 0},
           {"name": "fid", "value": 29.5, "checkpoint": "best", "iteration": 20, "eval_seed": 0}]  # fmt: skip
EXPECTED = {"train/loss_d": [(10, 1.5), (20, 1.25)], "train/gap": [(10, -0.25), (20, 0.125)],
            "train/penalty/gradgap": [(10, 0.5), (20, 0.25)], "train/seconds": [(10, 1.0), (20, 2.0)],
            "last/fid": [(10, 40.5), (20, 30.5)], "best/fid": [(20, 29.5)]}  # fmt: skip


@pytest.fixture
def results(tmp_path) -> Path:
    run = tmp_path / "results" / "one"
    run.mkdir(parents=True)
    lines = [json.dumps(line) + "\n" for line in LOG]
    (run / "log.jsonl").write_text("".join(lines) + '{"iteration": 30, "los')
    (run / "metrics.json").write_text(json.dumps({"metrics": METRICS}))
    Image.new("RGB", (8, 8), "red").save(run / "samples.png")
    return tmp_path / "results"


def test_every_number_of_a_run_is_a_scalar(results):
    found: dict[str, list] = {}
    for tag, step, value in export.scalars(results / "one"):
        found.setdefault(tag, []).append((step, value))
    assert {tag: sorted(points) for tag, points in found.items()} == EXPECTED


def test_tensorboard_reads_them_back(results, tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    for _ in range(2):  # the second time in the place of the first
        assert "1 runs" in export.tensorboard(results, tmp_path / "out")
    read = accumulator.EventAccumulator(str(tmp_path / "out" / "one"))
    read.Reload()
    scalars = {tag: sorted((event.step, event.value) for event in read.Scalars(tag)) for tag in read.Tags()["scalars"]}
    assert scalars == EXPECTED
    image, = read.Images("samples")
    assert (image.step, image.width, image.height) == (20, 8, 8)
    assert Image.open(io.BytesIO(image.encoded_image_string)).getpixel((3, 3)) == (255, 0, 0)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["one"]


def test_without_tensorboard_it_says_how_to_get_it(results, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    with pytest.raises(InputError, match="pip install tensorboard"):
        export.tensorboard(results, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_damaged_file_is_named(results, capsys):
    (results / "one" / "log.jsonl").write_text("{\n")
    list(export.scalars(results / "one"))
    assert "log.jsonl: line 1 is damaged" in capsys.readouterr().err
    (results / "one" / "metrics.json").write_text("{\n")
    with pytest.raises(InputError, match="metrics.json"):
        list(export.scalars(results / "one"))


def test_what_is_refused(results, tmp_path, monkeypatch):
    for arguments, word in (([], "tensorboard"), (["wandb"], "tensorboard"), (["tensorboard", "TABLE=x"], "RESULTS")):
        monkeypatch.setattr(sys, "argv", ["export", *arguments])
        with pytest.raises(InputError, match=word):
            export.main()
    pytest.importorskip("tensorboard")
    with pytest.raises(InputError, match="no run"):
        export.tensorboard(tmp_path / "nothing", tmp_path / "out")
    (tmp_path / "out" / "one").mkdir(parents=True)
    (tmp_path / "out" / "one" / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="mine.txt"):
        export.tensorboard(results, tmp_path / "out")
    assert (tmp_path / "out" / "one" / "mine.txt").read_text() == "mine"
