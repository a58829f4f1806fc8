"""`make bench-train`: the speed of training, with and without gradgap, eager, as CUDA graphs, and these in bf16.

Each is trained on noise for some seconds after as many of warming up, side by side in this run: milliseconds per
iteration (every step of both networks and the average), images per second, peak memory, share of the bf16 matrix peak
that is measured first. On a CPU the thin twins of the smoke table stand in, and only ratios mean anything.
Writes <results>/bench/train.json.
"""

import shlex
import sys
from collections.abc import Iterator
from dataclasses import replace

import torch

from baselines.models import MODELS
from benchmarks.datasets import DATASETS, SIDES
from benchmarks.runs import InputError, Option, Run, command, whole
from benchmarks.tables import GRADGAP, TABLES
from reproduce import machine, names
from reproduce.bench.harness import begun, in_turn, wall_seconds, write
from reproduce.counting import operations, probe
from reproduce.settings import seconds as length


def cases(device: torch.device, resolutions: list[int]) -> Iterator[Run]:
    """Baselines whose speed is measured, each also with gradgap; at the protocol's batch of 16 on a GPU."""
    if device.type == "cpu":
        yield from thin_baselines()
        return
    for name, model in MODELS.items():
        for size in resolutions:
            if size in names.resolutions(model):
                yield Run(name, "cifar-100", size)


def thin_baselines() -> Iterator[Run]:
    """The smoke table's trained baselines on the whole data set."""
    for cell in TABLES["smoke"].cells:
        run = cell.run
        if run.fraction == 1 and run.is_baseline:
            yield run


def measure(run: Run, graphs: bool, seconds: float, device: torch.device) -> dict:
    """One row: a run trained in one mode. A run that needs more memory than there is has a row that says so."""
    row = {"run": run.id, "mode": "eager"}
    if graphs:
        row["mode"] = "graphs"
    machine.free_memory(device)
    machine.reset_peak(device)
    try:
        speed = probe(run, DATASETS[run.dataset].classes, seconds, device, graphs)
    except torch.cuda.OutOfMemoryError:
        return row | {"error": "out of memory"}
    counted = operations(replace(run, regularizers={}, augment=""))
    return row | {"ms": 1000 * speed.seconds, "iterations": speed.iterations,
                  "images_per_second": run.batch / speed.seconds, "flop_per_second": counted / speed.seconds,
                  "peak_bytes": machine.peak_bytes(device)}


def matrix_peak(device: torch.device) -> float | None:
    """Operations per second of a large bf16 matrix product on random numbers, the best of some rounds; None on CPUs."""
    if device.type == "cpu":
        return None
    size = 8192
    a, b = torch.randn(2, size, size, device=device, dtype=torch.bfloat16)
    taken = in_turn({"product": lambda: a @ b}, 20, wall_seconds)
    return 2 * size**3 / min(taken["product"])


def sizes(text: str) -> list[int]:
    """The resolutions in a list with commas."""
    return [whole(*SIDES)(size) for size in text.split(",")]


OPTIONS = {"DEVICE": Option(str, "auto"), "SECONDS": Option(length, 10.0),
           "RESOLUTIONS": Option(sizes, [64, 256, 1024])}  # of a GPU, in pixels  # fmt: skip


def main() -> None:
    given = begun(OPTIONS)
    device, seconds = machine.device(given["DEVICE"]), given["SECONDS"]
    machine.keep_memory()
    baselines = list(cases(device, given["RESOLUTIONS"]))
    if not baselines:
        raise InputError(f"RESOLUTIONS: no model has a recipe for any of {', '.join(map(str, given['RESOLUTIONS']))}")
    rows: list[dict] = []
    table = {"command": f"make bench-train {shlex.join(sys.argv[1:])}".strip(), "seconds": seconds,
             "matrix_peak": matrix_peak(device), "rows": rows}
    for baseline in baselines:
        for run in (baseline, replace(baseline, regularizers=GRADGAP)):
            for mode in modes(run, device):
                rows.append(measure(*mode, seconds, device))
                print(", ".join(f"{key} {value}" for key, value in rows[-1].items()), flush=True)
                write("train", given, table, device)  # each time, should the time run out


def modes(run: Run, device: torch.device) -> list[tuple[Run, bool]]:
    """The run and whether it is trained as CUDA graphs: eager, and on a GPU also as graphs, in float32 and in bf16."""
    if device.type != "cuda":
        return [(run, False)]
    bf16 = replace(run, override={**run.override, "bf16": 1})
    return [(run, False), (run, True), (bf16, True)]


if __name__ == "__main__":
    command(main)
