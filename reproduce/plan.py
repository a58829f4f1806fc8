"""What a table will cost, before it is begun: `make plan TABLE=table1`.

Each kind of run in it is trained for some seconds on this device, on noise in place of the images, which gives its
seconds per iteration; what it leaves on the disk is estimated. Evaluation is not counted: minutes beside hours.
"""

import os
import sys
from collections import Counter
from dataclasses import replace

import torch

from benchmarks.datasets import DATASETS
from benchmarks.runs import Run, command
from benchmarks.tables import runs
from reproduce import machine
from reproduce.counting import Probe, peak_bytes, probe
from reproduce.preflight import bytes_left_by
from reproduce.settings import Settings

SECONDS = 10.0  # for which each kind of run is timed, after as many of warming up


def kind(run: Run) -> str:
    """What the cost of an iteration depends on, as a run id: without the data set, the seed and the like."""
    return replace(run, dataset="noise", fraction=1.0, seed=0, iterations=1).id


def wall(hours: list[float], gpus: int) -> float:
    """Hours until all are done when each goes, the longest first, to the GPU that is free first."""
    busy = [0.0] * gpus
    for run in sorted(hours, reverse=True):
        busy[busy.index(min(busy))] += run
    return max(busy)


def room(device: torch.device) -> int:
    """Bytes of memory of a device, free or not."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[1]
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def tried(run: Run, seconds: float, device: torch.device) -> Probe | None:
    """The probe of a run, or None where it needs more memory than the device has. Prints one line."""
    need, there = peak_bytes(run), room(device)
    print(f"{run.model} {run.resolution} px {run.method}, {need / 1e9:.1f} GB at the peak: ", end="")
    if need >= there:
        print(f"not tried, there are {there / 1e9:.0f} GB", flush=True)
        return None
    machine.free_memory(device)  # of the run before
    try:
        made = probe(run, DATASETS[run.dataset].classes, seconds, device)
    except torch.cuda.OutOfMemoryError:
        print(f"out of memory, of {there / 1e9:.0f} GB", flush=True)
        return None
    print(f"{made.seconds:.3g} s per iteration (over {made.iterations})", flush=True)
    return made


def main() -> None:
    given = sys.argv[1:]
    settings = Settings.parse(given, Settings.parse(given).table)
    device = machine.device(settings.device)
    machine.keep_memory()
    rows = [run for run in runs(settings.table, settings.seeds, settings.iterations) if run.iterations]
    kinds, counts = {kind(run): run for run in rows}, Counter(map(kind, rows))
    print(f"{settings.table}: {len(rows)} runs of {len(kinds)} kinds, each tried for {2 * SECONDS:g} s "
          f"on {machine.provenance(device)['device']}", flush=True)
    probes = {}
    for name, run in kinds.items():
        print(f"  {counts[name]:4} x ", end="")
        probes[name] = tried(run, SECONDS, device)
    report(rows, probes, settings)


def report(rows: list[Run], probes: dict[str, Probe | None], settings: Settings) -> None:
    """Print what the runs cost together, by the probe of each one's kind."""
    hours = [run.iterations * probes[kind(run)].seconds / 3600 for run in rows if probes[kind(run)]]
    disk = sum(bytes_left_by(run, settings) for run in rows)
    print(f"device-hours: {sum(hours):,.1f} of {len(hours)} runs; disk: {disk / 1e9:,.1f} GB of {len(rows)} runs")
    if hours:
        print(f"  on 1 such device: {wall(hours, 1):,.1f} hours")
        for gpus in (2, 4, 8):
            print(f"  on {gpus} such devices: {wall(hours, gpus):,.1f} hours")


if __name__ == "__main__":
    command(main)
