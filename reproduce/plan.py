"""What a table will cost, before it is begun: `make plan TABLE=table1`.

For each kind of run in it, training itself is run for some seconds on this device, on noise in place of the images,
and its seconds per iteration and the size of its files are read from what it leaves. Evaluation is not counted: minutes
beside hours.
"""

import io
import json
import os
import sys
import tempfile
import time
from collections import Counter
from contextlib import redirect_stderr
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from statistics import median
from threading import Event, Thread

import numpy as np
import torch
from PIL import Image

from benchmarks.datasets import DATASETS, OWN
from benchmarks.runs import Run, TryLaterError, command
from benchmarks.tables import runs
from reproduce import record
from reproduce.cell import STOP
from reproduce.counting import peak_bytes
from reproduce.settings import Settings
from reproduce.train import train

NOISE, IMAGES = "noise", 32
SECONDS = 20.0  # for which each kind of run is tried
ITERATIONS = 800  # of a probe, at the most: a line of the log every 16, a multiple of every lazy interval


@dataclass(frozen=True)
class Probe:
    """Seconds per iteration, how many iterations that was measured over, bytes left in the run's folder."""

    seconds: float
    iterations: int
    disk: int


def kind(run: Run) -> str:
    """The id of a run that costs as much: what the cost does not depend on is taken out."""
    return replace(run, dataset=NOISE, fraction=1.0, seed=0, iterations=ITERATIONS).id


def probe(run: Run, seconds: float, device: torch.device, graphs: bool = False) -> Probe:
    """Train a run of this one's kind for about so many seconds after it has warmed up."""
    with tempfile.TemporaryDirectory() as folder:
        data, results = Path(folder) / "data", Path(folder) / "results"
        classes = DATASETS[run.dataset].classes
        _write_noise(data / NOISE, run.resolution, classes)
        DATASETS[NOISE] = replace(OWN, classes=classes)
        ended, log = Event(), record.folder(results, kind(run)) / "log.jsonl"
        Thread(target=_stop, args=(log, seconds, ended), daemon=True).start()
        try:
            with redirect_stderr(io.StringIO()):  # the progress bar of a probe that is cut short says nothing
                train(Run.from_id(kind(run)), data, results, device, graphs=graphs)
        except TryLaterError:
            pass  # _stop ended it, as it should
        finally:
            ended.set()
            STOP.clear()
            del DATASETS[NOISE]
        return _read(record.folder(results, kind(run)))


def _stop(log: Path, seconds: float, ended: Event) -> None:
    """Tell a training to stop so many seconds after its first line of the log; without one, after 5 times as many."""
    latest = time.monotonic() + 5 * seconds
    while not (log.exists() and log.stat().st_size) and time.monotonic() < latest:
        if ended.wait(0.05):
            return
    if not ended.wait(seconds):
        STOP.set()


def _write_noise(folder: Path, side: int, classes: int) -> None:
    """As many files as a probe needs, in a folder for each class."""
    rng = np.random.default_rng(0)
    for i in range(max(IMAGES, classes)):
        path = folder / f"{i % max(1, classes)}" / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8)).save(path)


def _read(folder: Path) -> Probe:
    """From the log, else from the checkpoint.

    The median between two lines of its second half: it leaves out warming up, recording graphs, and saving, which is
    rarer in a real training.
    """
    times = {"checkpoint.pt": 2, "checkpoint.prev.pt": 0}  # the one before is kept, in a long training
    disk = sum(path.stat().st_size * times.get(path.name, 1) for path in folder.iterdir())
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text("utf-8").splitlines()]
    if len(lines) > 1:
        late = lines[(len(lines) - 1) // 2:]
        means = [(b["seconds"] - a["seconds"]) / (b["iteration"] - a["iteration"]) for a, b in pairwise(late)]
        return Probe(median(means), late[-1]["iteration"] - late[0]["iteration"], disk)
    saved = torch.load(folder / "checkpoint.pt", map_location="cpu", weights_only=True)
    return Probe(saved["seconds"] / saved["step"], saved["step"], disk)


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
    """The probe of a run, or None where its tensors alone are more than the device has. Says which, in one line."""
    need, there = peak_bytes(Run.from_id(kind(run))), room(device)
    if need < there:
        made = probe(run, seconds, device)
        said = f"{made.seconds:.3g} s per iteration (over {made.iterations}), {made.disk / 1e6:,.0f} MB of disk"
    else:
        made, said = None, f"not tried, there are {there / 1e9:.0f} GB"
    print(f"{run.model} {run.resolution} px {run.method}, {need / 1e9:.1f} GB at the peak: {said}", flush=True)
    return made


def main() -> None:
    given = sys.argv[1:]
    settings = Settings.parse(given, Settings.parse(given).table)
    device = record.device(settings.device)
    record.keep_memory()
    rows = [run for run in runs(settings.table, settings.seeds, settings.iterations) if run.iterations]
    kinds = {kind(run): run for run in rows}
    counts = Counter(map(kind, rows))
    print(f"{settings.table}: {len(rows)} runs of {len(kinds)} kinds, each tried for {SECONDS:g} s "
          f"on {record.provenance(device)['device']}", flush=True)
    probes = {}
    for name, run in kinds.items():
        print(f"  {counts[name]:4} x ", end="")
        probes[name] = tried(run, SECONDS, device)
    report(rows, probes)


def report(rows: list[Run], probes: dict[str, Probe | None]) -> None:
    """Print what the runs cost together, by the probe of each one's kind."""
    hours, disk = [], 0
    for run in rows:
        made = probes[kind(run)]
        if made:
            hours.append(run.iterations * made.seconds / 3600)
            disk += made.disk
    print(f"device-hours: {sum(hours):,.1f}; disk: {disk / 1e9:,.1f} GB; {len(rows) - len(hours)} runs not counted")
    if hours:
        print(f"  on 1 such device: {wall(hours, 1):,.1f} hours")
        for gpus in (2, 4, 8):
            print(f"  on {gpus} such devices: {wall(hours, gpus):,.1f} hours")


if __name__ == "__main__":
    command(main)
