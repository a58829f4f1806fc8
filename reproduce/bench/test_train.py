"""The speed benchmark on a CPU: its cases, and one row."""


import torch

from baselines.models import MODELS
from benchmarks.runs import Run
from benchmarks.tables import SMOKE
from reproduce.bench import train as bench_train

CPU = torch.device("cpu")
TINY = Run("dcgan", "digits", 32, 0.1, iterations=500, batch=4, override={"width": 0.1})


def test_a_row_agrees_with_itself():
    """Images a second are batch / time; operations a second those of an iteration, counted, over time."""
    row = bench_train.measure(TINY, graphs=False, seconds=1.5, device=CPU)
    seconds = row["ms"] / 1000
    assert abs(row["images_per_second"] * seconds / TINY.batch - 1) < 1e-12 and row["peak_bytes"] > 0
    counted = bench_train.operations(TINY)
    assert abs(row["flop_per_second"] * seconds / counted - 1) < 1e-12


def test_cases_are_the_full_models_on_a_gpu_and_thin_twins_on_a_cpu():
    full = list(bench_train.cases(torch.device("cuda"), [64, 1024]))
    assert {run.model for run in full} == set(MODELS) and all(run.batch == 16 and not run.override for run in full)
    assert {run.resolution for run in full} == {64, 1024}
    assert {run.model for run in bench_train.cases(CPU, [])} == set(SMOKE)
