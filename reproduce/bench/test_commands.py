"""The benches' commands: what would fail at their end is said before they begin, and so is how long they take."""

import importlib
import sys

import pytest

from benchmarks.runs import InputError

BENCHES = ("data", "eval", "models", "regularizers", "train")


def call(name: str, monkeypatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    importlib.import_module(f"reproduce.bench.{name}").main()


@pytest.mark.parametrize("name", BENCHES)
@pytest.mark.parametrize("argument", ["RESULTS=/dev/null/results", "RESULT=x", "SEEDS=3", "RESULTS"])
def test_a_bench_that_cannot_end_does_not_begin(name, argument, monkeypatch):
    with pytest.raises(InputError) as caught:
        call(name, monkeypatch, argument)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("argument, words", [
    ("SECONDS=abc", "SECONDS=abc"), ("SECONDS=nan", "SECONDS=nan"), ("RESOLUTIONS=big", "RESOLUTIONS=big"),
    ("RESOLUTIONS=32,", "whole number"), ("DEVICE=abacus", "abacus"),
])
def test_what_the_bench_of_training_refuses(argument, words, monkeypatch):
    with pytest.raises(InputError, match=words):
        call("train", monkeypatch, argument)


def test_evaluations_bench_says_what_it_begins(monkeypatch, capsys, tmp_path):
    """It is silent for minutes after that."""
    module = importlib.import_module("reproduce.bench.eval")

    def stop(place):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "stand_in", stop)
    with pytest.raises(KeyboardInterrupt):
        call("eval", monkeypatch, f"RESULTS={tmp_path}")
    assert "clean-fid" in capsys.readouterr().out and not list(tmp_path.iterdir())
