"""What a table will cost: the probe, the counting, and the division among devices."""

import itertools
import json
from dataclasses import replace

import pytest
import torch

from benchmarks.runs import Run
from reproduce import plan
from reproduce.cell import STOP

TINY = Run("dcgan", "digits", 32, 0.1, {"gradgap": 0.1}, iterations=500, batch=4, override={"width": 0.1})


def test_a_probe_measures_training_and_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(plan.tempfile, "tempdir", str(tmp_path))
    found = plan.probe(TINY, 2.0, torch.device("cpu"))
    assert 0 < found.seconds < 2 and found.iterations >= 1 and found.disk > 1000
    assert not STOP.is_set() and not list(tmp_path.glob("tmp*")) and plan.NOISE not in plan.DATASETS


def test_what_does_not_fit_is_not_tried(monkeypatch, capsys):
    """At 1024 px the images of a batch alone, real and generated, are 0.4 GB."""
    monkeypatch.setattr(plan, "room", lambda device: 400_000_000)
    monkeypatch.setattr(plan, "probe", lambda *_: pytest.fail("it was tried"))
    assert plan.tried(replace(TINY, resolution=1024, batch=16), 1.0, torch.device("cpu")) is None
    assert "not tried, there are 0 GB" in capsys.readouterr().out


def test_seconds_per_iteration_leave_out_the_start(tmp_path):
    """0.5 s per iteration; a start of 100 s, 7 s of warming up, 30 s at a save. One line: the checkpoint's mean."""
    extra = [0, 7, 7, 7, 37, 37, 37]
    lines = [{"iteration": 16 * i, "seconds": 100 + 8.0 * i + extra[i - 1]} for i in range(1, 8)]
    torch.save({"step": 100, "seconds": 150.0}, tmp_path / "checkpoint.pt")
    (tmp_path / "checkpoint.prev.pt").write_bytes(b"the one before")
    size = (tmp_path / "checkpoint.pt").stat().st_size
    for count, expected in ((7, (0.5, 48)), (3, (0.5, 16)), (2, (15 / 16, 16)), (1, (1.5, 100))):
        text = "".join(json.dumps(line) + "\n" for line in lines[:count])
        (tmp_path / "log.jsonl").write_text(text)
        assert plan._read(tmp_path) == plan.Probe(*expected, 2 * size + len(text))


def test_hours_on_several_devices():
    """Longest first is at most 4/3 - 1/(3m) of the best division (Graham 1969), as of these hours; all are tried."""
    hours = [5.0, 5.0, 4.0, 4.0, 3.0, 3.0, 3.0]
    assert plan.wall(hours, 1) == sum(hours) and plan.wall(hours, 8) == max(hours)
    best = min(max(sum(h for h, place in zip(hours, places, strict=True) if place == gpu) for gpu in range(3))
               for places in itertools.product(range(3), repeat=len(hours)))
    assert best <= plan.wall(hours, 3) <= best * (4 / 3 - 1 / 9) + 1e-9


def test_runs_that_cost_the_same_are_one_kind():
    same = [replace(TINY, dataset="fashion-mnist"), replace(TINY, fraction=1.0), replace(TINY, seed=3)]
    other = [replace(TINY, regularizers={}), replace(TINY, batch=8), replace(TINY, resolution=64)]
    assert {plan.kind(run) for run in same} == {plan.kind(TINY)}
    assert len({plan.kind(run) for run in [TINY, *other]}) == 4
