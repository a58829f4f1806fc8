"""Are two ways to train equally good? By fd_effnet over seeds, on the smoke table's twins at 10 % of small data sets.

Its runs, like any, are not done again when they are done. They have a folder of their own, <results>/bench/NAME, as
they belong to no table. `make bench-lazy` and `make bench-bf16` are such comparisons.
"""

import argparse
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from benchmarks.datasets import load
from benchmarks.runs import InputError, Protocol, Run, TryLaterError
from benchmarks.tables import TABLES
from reproduce import record
from reproduce.cell import STOP, finished, stop_on_signals
from reproduce.engines import serial
from reproduce.settings import Settings

METRIC = "fd_effnet"
PROTOCOL = Protocol("effnet", samples=300)  # as the smoke table

Ways = Mapping[str, Callable[[Run], Run]]  # name -> what makes a twin with gradgap one that is trained this way


def pairs(ways: Ways, datasets: tuple[str, ...], seeds: int) -> list[dict[str, Run]]:
    """Runs that differ in nothing but the way, for every data set, model and seed."""
    twins = [cell.run for cell in TABLES["smoke"].cells if cell.run.fraction < 1 and cell.run.regularizers]
    return [{name: way(replace(twin, dataset=dataset, seed=seed)) for name, way in ways.items()}
            for seed in range(seeds) for dataset in datasets for twin in twins]


def score(run: Run, results: Path) -> float | None:
    """The run's distance; None if it has diverged."""
    metrics = record.read_json(record.folder(results, run.id) / "metrics.json")["metrics"]
    return next((metric["value"] for metric in metrics if metric["name"] == METRIC), None)


def compare(name: str, doc: str, ways: Ways, datasets: tuple[str, ...]) -> None:
    """The command reproduce.bench_NAME: train and evaluate what is not done yet, write <results>/bench/NAME.json."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=4, help="how many training seeds, from 0")
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of the data sets")
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder of the runs")
    args = parser.parse_args()
    if args.seeds < 2:
        raise InputError(f"--seeds {args.seeds}: must be at least 2, since a spread is measured")
    os.environ |= {"OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}  # the runs are small: a core each
    folder = args.results.absolute() / "bench" / name
    settings = Settings(data=args.data.absolute(), results=folder, device="cpu", extractor=PROTOCOL.extractor,
                        samples=PROTOCOL.samples, jobs=os.cpu_count() or 1)
    wanted = pairs(ways, datasets, args.seeds)
    for dataset in datasets:
        load(dataset, wanted[0][next(iter(ways))].resolution, args.data)  # what is missing is named now, not in hours
    run_ids = [run.id for pair in wanted for run in pair.values()]
    stop_on_signals()
    outcome = serial([run_id for run_id in run_ids if not finished(run_id, settings)], settings)
    if STOP.is_set():
        raise TryLaterError("told to stop; the same command goes on")
    if failed := [tried.reason for tried in outcome.values() if tried.state != "done"]:
        raise InputError(f"{len(failed)} of {len(run_ids)} runs are not done: {failed[0]}")
    rows = [{"dataset": run.dataset, "model": run.model, "seed": run.seed,
             "runs": {way: run.id for way, run in pair.items()},
             METRIC: {way: score(run, folder) for way, run in pair.items()}}
            for pair in wanted for run in [next(iter(pair.values()))]]
    record.write_json(args.results / "bench" / f"{name}.json", {
        "command": f"make bench-{name} SEEDS={args.seeds}", "seeds": args.seeds, "metric": METRIC,
        "samples": PROTOCOL.samples, "rows": rows, "provenance": _common_provenance(run_ids, folder)})


def _common_provenance(run_ids: list[str], folder: Path) -> dict:
    """What code ran on what. Raises InputError where that is not the same for all runs."""
    found = {run_id: record.read_json(record.folder(folder, run_id) / "metrics.json")["provenance"]
             for run_id in run_ids}
    first = found[run_ids[0]]
    if others := [run_id for run_id, origin in found.items() if origin != first]:
        raise InputError(f"{folder}: {len(others)} of {len(run_ids)} runs, such as {others[0]}, were made by another "
                         "commit or on another machine; remove those of one of them")
    return first
