"""`make bench-lazy`: is gradgap at every 8th update, the default, as good as at every update? By fd_effnet, over seeds.

The twins of the smoke table at 10 % of digits and of fashion-mnist (which needs Debian's dataset-fashion-mnist, or
DATA/FashionMNIST), trained both ways. They are runs like any other, so that what is done is not done again. Writes
<results>/bench/lazy.json.
"""

import argparse
import os
from dataclasses import replace
from pathlib import Path

from benchmarks.tables import TABLES, InputError, Protocol, Run, command
from reproduce import record
from reproduce.cell import Settings, finished, stop_on_signals
from reproduce.engines import Capacity, serial

DATASETS, WAYS, METRIC = ("digits", "fashion-mnist"), ("gradgap", "gradgap_exact"), "fd_effnet"
PROTOCOL = Protocol("effnet", samples=300)  # as the smoke table


def pairs(seeds: int) -> list[dict[str, Run]]:
    """Runs that differ in nothing but the way, for every data set, model and seed."""
    twins = [cell.run for cell in TABLES["smoke"] if cell.run.fraction < 1 and cell.run.regularizers]
    return [{way: replace(twin, dataset=dataset, seed=seed, regularizers={way: weight}) for way in WAYS}
            for seed in range(seeds) for dataset in DATASETS for twin in twins
            for weight in twin.regularizers.values()]


def score(run: Run, results: Path) -> float | None:
    """The run's distance; None if it has diverged."""
    metrics = record.read_json(record.folder(results, run.id) / "metrics.json")["metrics"]
    return next((metric["value"] for metric in metrics if metric["name"] == METRIC), None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, help="how many training seeds, from 0")
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of the data sets")
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder of the runs")
    args = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}  # the runs are small: a core each
    settings = Settings(args.data.absolute(), args.results.absolute(), "cpu", PROTOCOL)
    wanted = pairs(args.seeds)
    run_ids = [run.id for pair in wanted for run in pair.values()]
    stop_on_signals()
    outcome = serial([run_id for run_id in run_ids if not finished(run_id, settings)], settings,
                     Capacity(jobs=os.cpu_count() or 1))
    if failed := [line for line in outcome.values() if line]:
        raise InputError(f"{len(failed)} of {len(run_ids)} runs are not done: {failed[0]}")
    rows = [{"dataset": pair["gradgap"].dataset, "model": pair["gradgap"].model, "seed": pair["gradgap"].seed,
             "runs": {way: run.id for way, run in pair.items()},
             METRIC: {way: score(run, args.results) for way, run in pair.items()}} for pair in wanted]
    origin = record.read_json(record.folder(args.results, run_ids[0]) / "metrics.json")["provenance"]
    record.write_json(args.results / "bench" / "lazy.json", {
        "command": f"python -m reproduce.bench_lazy --seeds {args.seeds}", "seeds": args.seeds, "metric": METRIC,
        "samples": PROTOCOL.samples, "rows": rows, "provenance": origin})  # fmt: skip


if __name__ == "__main__":
    command(main)
