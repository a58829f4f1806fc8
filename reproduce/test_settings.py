"""Options: each is parsed once, travels whole, and a wrong one is refused in one line that says what is valid."""

import os
import sys
from dataclasses import fields, replace
from pathlib import Path

import pytest

from benchmarks.runs import InputError
from benchmarks.tables import TABLES
from reproduce.settings import Settings, split

ROOT = Path(__file__).parents[1]
ODD = Settings(
    table="open", seeds=3, iterations=7, method="my + file.py5", order="cost", data=Path("/my data"),
    results=Path("/it's $HOME"), reports=Path("/r"), extractor="effnet", weights=Path("/w.pt"), samples=12,
    eval_seeds=2, eval_every=10, device="cuda", engine="slurm", jobs=2, gpus=4, runs_per_gpu=1, gpus_per_run=2,
    sbatch='--time=2-0 --comment="a=b"', micro_batch=4, timeout=60.0, retries=5)  # fmt: skip


@pytest.fixture(autouse=True)
def no_weights_in_the_environment(monkeypatch):
    for name in ("INCEPTION", "CLIP", "DINOV2", "EFFNET"):
        monkeypatch.delenv(name, raising=False)


def test_settings_as_arguments_are_read_back():
    plain = Settings.parse([])
    for one in fields(ODD):
        assert getattr(ODD, one.name) != getattr(plain, one.name) or one.name in ("runs_per_gpu", "graphs"), one.name
    for settings in (ODD, Settings.parse(["GRAPHS=1"]), Settings.parse(["DATA=elsewhere"], "smoke")):
        assert Settings.parse(settings.arguments()) == settings


def test_a_run_is_told_nothing_of_how_runs_are_shared_out():
    """On the GPU that it has from a sweep over four, it would take GPUS=4 for a contradiction."""
    python, _, module, run_id, *arguments = replace(ODD, gpus_per_run=1).command("ID")
    assert (python, module, run_id) == (sys.executable, "reproduce.run", "ID")
    told = Settings.parse(arguments)
    assert (told.engine, told.jobs, told.gpus, told.runs_per_gpu, told.sbatch) == ("serial", 1, None, 1, "")
    assert told.device == "cuda" and told.protocol == ODD.protocol


def test_what_is_not_given_is_the_tables():
    for name, table in TABLES.items():
        settings = Settings.parse([], name)
        assert (settings.protocol, settings.seeds) == (table.protocol, table.seeds)
        assert settings.device == ("cpu" if table.small else "auto")
        assert settings.jobs == (os.cpu_count() if table.small else 1)
    given = Settings.parse(["SEEDS=9", "EXTRACTOR=clip", "SAMPLES=", "DEVICE=cuda"], "smoke")
    samples = TABLES["smoke"].protocol.samples
    assert (given.seeds, given.extractor, given.samples, given.device, given.jobs) == (9, "clip", samples, "cuda", 1)
    assert Settings.parse(["GPUS=2"], "smoke").device == "auto"


def test_weights_are_taken_from_the_environment_of_their_extractor(monkeypatch):
    monkeypatch.setenv("INCEPTION", "/inception.pt")
    assert Settings.parse(["EXTRACTOR=inception_tf"]).weights == Path("/inception.pt")
    assert Settings.parse(["EXTRACTOR=effnet"]).weights is None
    assert Settings.parse(["WEIGHTS=/mine.pt"]).weights == Path("/mine.pt")


@pytest.mark.parametrize("argument, valid", [
    ("SEEDS=abc", "whole number, at least 1"), ("SEEDS=0", "at least 1"), ("SEEDS=-1", "at least 1"),
    ("SEEDS=1e3", "whole number"), ("SEEDS=" + "9" * 120, "whole number"), ("ITERATIONS=1.5", "at least 0"),
    ("SAMPLES=3", "at least 10"), ("EVAL_EVERY=0", "at least 1"), ("ENGINE=cloud", "serial, ray, slurm"),
    ("ORDER=", ""), ("ORDER=size", "table, cost"), ("TABLE=table9", "table1"), ("GRAPHS=yes", "0 or 1"),
    ("TIMEOUT=-1", "seconds"), ("TIMEOUT=nan", "seconds"), ("TIMEOUT=inf", "seconds"), ("MICRO_BATCH=-1", "at least 0"),
    ("SEDES=3", "SEEDS=..."), ("SEEDS", "not an option")])
def test_a_wrong_value_is_one_line_that_says_what_is_valid(argument, valid):
    if argument.endswith("="):
        assert Settings.parse([argument]) == Settings.parse([])
        return
    with pytest.raises(InputError) as caught:
        Settings.parse([argument])
    assert argument in str(caught.value) and valid in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("arguments", [
    ["RUNS_PER_GPU=2", "GPUS_PER_RUN=2"], ["GPUS=1", "GPUS_PER_RUN=2"], ["DEVICE=cuda:1", "GPUS_PER_RUN=2"]])
def test_what_cannot_be_shared_out_is_refused(arguments):
    with pytest.raises(InputError, match="GPUS_PER_RUN"):
        Settings.parse(arguments)


def test_names_and_options_are_told_apart():
    assert split(["table1", "SEEDS=3", "a-b"]) == (["table1", "a-b"], ["SEEDS=3"])
    with pytest.raises(InputError, match="NAME=value"):
        split(["table1", "--seeds", "3"])
