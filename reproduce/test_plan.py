"""What a table will cost: the probe, the counting, and the division among devices."""

import itertools
from dataclasses import replace

import pytest
import torch

from benchmarks.runs import Run
from reproduce import counting, plan

TINY = Run("dcgan", "digits", 32, 0.1, {"gradgap": 0.1}, iterations=500, batch=4, override={"width": 0.1})


def test_a_probe_is_the_time_of_training_divided_by_its_iterations(monkeypatch):
    """On a clock by which each iteration takes half a second: those of the first 2 seconds warm up."""
    clock = [0.0]
    iterate = counting.Stand.iterate

    def ticking(stand):
        iterate(stand)
        clock[0] += 0.5

    monkeypatch.setattr(counting.Stand, "iterate", ticking)
    monkeypatch.setattr(counting.time, "monotonic", lambda: clock[0])
    assert counting.probe(TINY, 10, 2.0, torch.device("cpu")) == counting.Probe(0.5, 4)
    assert clock == [4.0]
    assert counting.probe(TINY, 10, 0.1, torch.device("cpu")) == counting.Probe(0.5, 1)


def test_operations_are_those_of_bf16_too():
    """Whose layers have the same shapes."""
    assert counting.operations(replace(TINY, override={"width": 0.1, "bf16": 1})) == counting.operations(TINY)


def test_what_does_not_fit_is_not_tried(monkeypatch, capsys):
    """At 1024 px the images of a batch alone, real and generated, are 0.4 GB."""
    monkeypatch.setattr(plan, "room", lambda device: 400_000_000)
    monkeypatch.setattr(plan, "probe", lambda *_: pytest.fail("it was tried"))
    assert plan.tried(replace(TINY, resolution=1024, batch=16), 1.0, torch.device("cpu")) is None
    assert "not tried, there are 0 GB" in capsys.readouterr().out


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
