"""What a run leaves on disk: whose checkpoint it is, flipped bits, holes in a log, threads, and damaged files."""

import json
import mmap
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.datasets import Dataset
from benchmarks.runs import InputError, Run
from reproduce import checkpoint, generators, machine, names, record
from reproduce.log import Log

RUN = Run("dcgan", "few", 32, iterations=4)
CPU = torch.device("cpu")


def parts() -> dict[str, nn.Module]:
    torch.manual_seed(0)
    return {"G": nn.Linear(3, 2), "D": nn.Linear(2, 1)}


def test_a_checkpoint_of_another_run_is_refused_whatever_its_shapes(tmp_path):
    mine, other = tmp_path / "mine", tmp_path / "other"
    for folder in (mine, other):
        folder.mkdir()
        checkpoint.save(folder, parts(), 5, 1.0, CPU)
    assert checkpoint.load(mine, parts()) == (5, 1.0)
    (other / "checkpoint.pt").replace(mine / "checkpoint.pt")
    with pytest.raises(InputError, match="checkpoint.pt: of another run, 'other', not of mine"):
        checkpoint.load(mine, parts())


@pytest.mark.parametrize("content, words", [
    ({"step": 5, "seconds": 1.0}, "'run' is missing"), ([1, 2], "not a JSON object"),
    ({"run": "x", "step": "5"}, "'step' is '5'"), ({"run": "x", "step": 5, "seconds": 1.0, "G": {}}, "'D' is missing"),
    ({"run": "x", "step": 5, "seconds": 1.0, "G": {}, "D": {}}, "does not fit"),
])  # fmt: skip
def test_a_checkpoint_of_another_shape_is_one_line(content, words, tmp_path):
    folder = tmp_path / "x"
    folder.mkdir()
    checkpoint.write(folder / "checkpoint.pt", content)
    with pytest.raises(InputError, match=words) as caught:
        checkpoint.load(folder, parts())
    assert "checkpoint.pt" in str(caught.value) and "\n" not in str(caught.value)


def test_every_flipped_bit_of_a_generator_is_noticed(tmp_path):
    path = tmp_path / "generator.safetensors"
    generators.write(path, nn.Linear(4, 4), RUN, 4)
    whole = path.read_bytes()
    assert generators.read(path, RUN).iteration == 4
    for place in range(len(whole)):
        content = bytearray(whole)
        content[place] ^= 1 << place % 8
        path.write_bytes(content)
        try:
            assert generators.read(path, RUN).state.keys() == {"weight", "bias"}
        except InputError as error:
            assert "\n" not in str(error)
        else:  # only what tells nothing may be damaged: the spaces that fill the header
            assert whole[place : place + 1] == b" ", f"byte {place} was flipped unnoticed"


def logged(folder: Path, iterations: list[int]) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "log.jsonl"
    path.write_text("".join(json.dumps({"iteration": i, "seconds": 0.5}) + "\n" for i in iterations))
    return path


@pytest.mark.parametrize("iterations, start, words", [
    ([2, 4, 6, 8], 8, ""), ([2, 4, 6, 8], 9, ""), ([2, 4, 6, 8, 9], 9, ""), ([2, 4, 6, 8], 4, ""), ([], 0, ""),
    ([2, 4, 8], 8, "1 lines are missing, of iterations 6 to 6"),
    ([2, 4], 9, "2 lines are missing, of iterations 6 to 8"),
    ([4, 6, 8], 8, "1 lines are missing, of iterations 2 to 2"), ([2, 2, 4], 4, "do not ascend"),
])  # fmt: skip
def test_a_hole_in_a_log_is_named(iterations, start, words, tmp_path, capsys):
    path = logged(tmp_path / "run", iterations)
    Log(path, start)
    assert [json.loads(line)["iteration"] for line in path.read_text().splitlines()] == [
        i for i in iterations if i <= start]
    said = capsys.readouterr().err
    assert words in said and said.count("\n") == (1 if words else 0)


def test_a_damaged_line_of_a_log_is_dropped_and_named(tmp_path, capsys):
    path = logged(tmp_path / "run", [1, 2])
    path.write_bytes(path.read_bytes() + b"\xff\n[]\n" + b'{"iteration": 5, "seconds": 1}\n{"iteration": 6')
    Log(path, 5)
    assert [json.loads(line)["iteration"] for line in path.read_text().splitlines()] == [1, 2, 5]
    said = capsys.readouterr().err.splitlines()
    for words, line in zip(("line 3 is damaged", "line 4 is damaged", "of iterations 3 to 4"), said, strict=True):
        assert words in line


def test_the_log_is_on_the_disk_before_the_checkpoint(tmp_path, monkeypatch):
    logged(tmp_path / "run", [1])
    order, fsync, write = [], checkpoint.os.fsync, checkpoint.write
    monkeypatch.setattr(checkpoint.os, "fsync", lambda file: (order.append("fsync"), fsync(file)))
    monkeypatch.setattr(checkpoint, "write", lambda *args: (order.append("checkpoint"), write(*args)))
    checkpoint.save(tmp_path / "run", parts(), 1, 0.5, CPU)
    assert order[:2] == ["fsync", "checkpoint"]


def test_another_number_of_threads_is_said_when_a_training_goes_on(tmp_path, capsys):
    dataset = Dataset("few", np.zeros((20, 3, 32, 32), np.uint8), np.zeros(20, np.int64), 0, True, "d")
    folder, (_, recipe) = tmp_path / RUN.id, names.resolve(RUN)
    record.open_config(folder, RUN, asdict(recipe), dataset, np.arange(20), CPU)
    checkpoint.save(folder, parts(), 2, 0.5, CPU)
    record.open_config(folder, RUN, asdict(recipe), dataset, np.arange(20), CPU)
    assert not capsys.readouterr().err
    config = json.loads((folder / "config.json").read_text())
    config["provenance"]["threads"] += 3
    (folder / "config.json").write_text(json.dumps(config))
    record.open_config(folder, RUN, asdict(recipe), dataset, np.arange(20), CPU)
    said = capsys.readouterr().err
    assert f"begun with {torch.get_num_threads() + 3} threads, now {torch.get_num_threads()}" in said


def test_peak_memory_is_noted_with_the_checkpoint(tmp_path):
    (tmp_path / "run").mkdir()
    assert checkpoint.trained_peak(tmp_path / "run") is None
    machine.reset_peak(CPU)
    before = machine.peak_bytes(CPU)
    ballast = mmap.mmap(-1, 160_000_000)  # new pages, which no freed memory stands in for
    ballast.write(b"1" * len(ballast))
    checkpoint.save(tmp_path / "run", parts(), 1, 0.5, CPU)
    assert checkpoint.trained_peak(tmp_path / "run") - before > 0.9 * len(ballast)
    (tmp_path / "run" / "usage.json").write_text('{"peak_bytes": "much"}')
    with pytest.raises(InputError, match="usage.json: 'peak_bytes' is 'much'"):
        checkpoint.trained_peak(tmp_path / "run")
