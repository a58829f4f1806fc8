"""`make bench-train`: the speed of training, with and without gradgap, eager, as CUDA graphs, and these in bf16.

Training itself is run on noise for some seconds each, side by side in this run, and its own log is read: milliseconds
per iteration (every step of both networks, the average, feeding), images per second, peak memory, share of the bf16
matrix peak that is measured first. On a CPU the thin twins of the smoke table stand in, and only ratios mean anything.
Writes <results>/bench/train.json.
"""

import gc
import shlex
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch

from baselines.models import MODELS
from benchmarks.runs import InputError, Run, command, options
from benchmarks.tables import GRADGAP, TABLES
from reproduce import record
from reproduce.counting import operations
from reproduce.plan import probe

RESOLUTIONS = "64,256,1024"  # on a GPU, in pixels


def cases(device: torch.device, resolutions: list[int]) -> Iterator[Run]:
    """Baselines whose speed is measured, each also with gradgap; at the protocol's batch of 16 on a GPU."""
    if device.type == "cpu":
        yield from (cell.run for cell in TABLES["smoke"].cells if cell.run.fraction == 1 and cell.run.iterations
                    and not cell.run.regularizers)  # fmt: skip
        return
    for name, model in MODELS.items():
        sizes = {size for recipe in model.RECIPES.values() for size in recipe.resolutions}
        yield from (Run(name, "cifar-100", size) for size in resolutions if size in sizes)


def measure(run: Run, graphs: bool, seconds: float, device: torch.device) -> dict:
    """One row: a run trained in one mode. Where its memory is not enough the row says that alone."""
    row = {"run": run.id, "mode": "graphs" if graphs else "eager"}
    cuda = device.type == "cuda"
    if cuda:
        gc.collect()  # what the case before has left in cycles
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    try:
        found = probe(run, seconds, device, graphs)
    except torch.cuda.OutOfMemoryError:
        return row | {"error": "out of memory"}
    done = operations(replace(run, regularizers={}, augment=""))
    return row | {"ms": 1000 * found.seconds, "iterations": found.iterations,
                  "images_per_second": run.batch / found.seconds, "flop_per_second": done / found.seconds,
                  "peak_bytes": torch.cuda.max_memory_allocated(device) if cuda else None}


def matrix_peak(device: torch.device, size: int = 8192, rounds: int = 20) -> float:
    """Operations per second of a large bf16 matrix product on random numbers, the best of some rounds."""
    a, b = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    best = float("inf")
    for _ in range(rounds):
        torch.cuda.synchronize(device)
        began = time.perf_counter()
        a @ b
        torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - began)
    return 2 * size**3 / best


def main() -> None:
    given = options(sys.argv[1:], {"RESULTS": "results", "DEVICE": "auto", "SECONDS": "10", "RESOLUTIONS": RESOLUTIONS})
    device, seconds = record.device(given["DEVICE"]), float(given["SECONDS"])
    resolutions = [int(size) for size in given["RESOLUTIONS"].split(",")]
    baselines = list(cases(device, resolutions))
    if not baselines:
        raise InputError(f"RESOLUTIONS={given['RESOLUTIONS']}: no model has a recipe for any of them")
    record.keep_memory()
    rows, peak, modes = [], None, ("eager",)
    if device.type == "cuda":
        peak, modes = matrix_peak(device), ("eager", "graphs", "graphs in bf16")
    for baseline in baselines:
        for run in (baseline, replace(baseline, regularizers=GRADGAP)):
            for mode in modes:
                override = dict(run.override)
                if mode == "graphs in bf16":
                    override["bf16"] = 1
                rows.append(measure(replace(run, override=override), mode != "eager", seconds, device))
                print(", ".join(f"{key} {value}" for key, value in rows[-1].items()), flush=True)
                record.write_json(Path(given["RESULTS"]) / "bench" / "train.json", {  # so far, should the time run out
                    "command": f"make bench-train {shlex.join(sys.argv[1:])}".strip(),
                    "seconds": seconds, "matrix_peak": peak, "rows": rows,
                    "provenance": record.provenance(device)})


if __name__ == "__main__":
    command(main)
