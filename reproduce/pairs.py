"""Are two ways to train equally good? By fd_effnet over seeds, on the smoke table's twins at 10 % of small data sets.

The runs are runs like any other, so that what is done is not done again. `make bench-lazy` and `make bench-bf16` are
such comparisons.
"""

import argparse
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from benchmarks.tables import TABLES, InputError, Protocol, Run
from reproduce import record
from reproduce.cell import Settings, finished, stop_on_signals
from reproduce.engines import Capacity, serial

METRIC = "fd_effnet"
PROTOCOL = Protocol("effnet", samples=300)  # as the smoke table

Ways = Mapping[str, Callable[[Run], Run]]  # name -> what makes a twin with gradgap one that is trained this way


def pairs(ways: Ways, datasets: tuple[str, ...], seeds: int) -> list[dict[str, Run]]:
    """Runs that differ in nothing but the way, for every data set, model and seed."""
    twins = [cell.run for cell in TABLES["smoke"] if cell.run.fraction < 1 and cell.run.regularizers]
    return [{name: way(replace(twin, dataset=dataset, seed=seed)) for name, way in ways.items()}
            for seed in range(seeds) for dataset in datasets for twin in twins]


def score(run: Run, results: Path) -> float | None:
    """The run's distance; None if it has diverged."""
    metrics = record.read_json(record.folder(results, run.id) / "metrics.json")["metrics"]
    return next((metric["value"] for metric in metrics if metric["name"] == METRIC), None)


def compare(name: str, doc: str, ways: Ways, datasets: tuple[str, ...]) -> None:
    """The command reproduce.bench_NAME: train and evaluate what is not done yet, write <results>/bench/NAME.json."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, help="how many training seeds, from 0")
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of the data sets")
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder of the runs")
    args = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}  # the runs are small: a core each
    settings = Settings(args.data.absolute(), args.results.absolute(), "cpu", PROTOCOL)
    wanted = pairs(ways, datasets, args.seeds)
    run_ids = [run.id for pair in wanted for run in pair.values()]
    stop_on_signals()
    outcome = serial([run_id for run_id in run_ids if not finished(run_id, settings)], settings,
                     Capacity(jobs=os.cpu_count() or 1))
    if failed := [line for line in outcome.values() if line]:
        raise InputError(f"{len(failed)} of {len(run_ids)} runs are not done: {failed[0]}")
    rows = [{"dataset": run.dataset, "model": run.model, "seed": run.seed,
             "runs": {way: run.id for way, run in pair.items()},
             METRIC: {way: score(run, args.results) for way, run in pair.items()}}
            for pair in wanted for run in [next(iter(pair.values()))]]
    origin = record.read_json(record.folder(args.results, run_ids[0]) / "metrics.json")["provenance"]
    record.write_json(args.results / "bench" / f"{name}.json", {
        "command": f"python -m reproduce.bench_{name} --seeds {args.seeds}", "seeds": args.seeds, "metric": METRIC,
        "samples": PROTOCOL.samples, "rows": rows, "provenance": origin})  # fmt: skip
