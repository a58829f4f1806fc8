"""`make tune`: the weights with which the small table's regularizers compete, each found with the same number of tries.

A try is a training of a baseline with a regularizer at one of some powers of ten, on a seed that no table shows.
The weight whose generator has the lowest distance at the end is the tuned one. Writes benchmarks/tuned.csv, with every
try, for the tasks whose tries are all done. What is done is not done again.
"""

import csv
import io
import math
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks import tables
from benchmarks.runs import Run, command
from benchmarks.tables import TUNING, contest, small_tasks, weight_of
from reproduce import record
from reproduce.settings import Settings

METRIC, SAMPLES = "fd_effnet", 1000
# Weights of gradgap and of whatever else penalises gaps of gradient norms. With DCGAN they lie around
# the best of a pilot on digits, with the others around 100, which the paper states for its Table 3.
POWERS = {"dcgan": (0.1, 1.0, 10.0, 100.0), "wgan": (10.0, 100.0, 1000.0), "biggan": (10.0, 100.0, 1000.0)}
LOWER = (0.01, 0.1, 1.0, 10.0)  # of lecam and r1, whose published weights are 0.3 and 10
OUT = Path(tables.__file__).parent / "tuned.csv"


@dataclass(frozen=True)
class Tuning:
    """One regularizer of one task, and the weights to try."""

    task: Run
    regularizer: str

    @property
    def tries(self) -> dict[float, Run]:
        """The run of each weight, all on the seed of tunings."""
        weights = POWERS[self.task.model]
        if self.regularizer in ("lecam", "r1"):
            weights = LOWER
        runs = {}
        for weight in weights:
            runs[weight] = replace(self.task, regularizers={self.regularizer: weight}, seed=TUNING)
        return runs


def tunings() -> list[Tuning]:
    """gradgap of every task; at the smallest fraction the other regularizers that do not share a weight with it."""
    tuned = []
    for task in small_tasks():
        tuned.append(Tuning(task, "gradgap"))
        for name in contest(task):
            if weight_of(name) == name:
                tuned.append(Tuning(task, name))
    return tuned


def distance(run: Run, results: Path) -> float | None:
    """The run's distance at its end: infinity where it has diverged, None where it is not measured yet."""
    metrics = record.read_metrics(results / run.id)
    if not metrics:
        return None
    if metrics["status"] == "diverged":
        return math.inf
    for entry in metrics["metrics"]:
        if entry["name"] == METRIC and entry["checkpoint"] == "last" and entry["n_generated"] == SAMPLES:
            return entry["value"]
    return None


def table(results: Path, before: str = "") -> str:
    """The CSV of all tunings whose tries are done: baseline, regularizer, weight and every try as weight=distance.

    A tuning whose tries are not all in the results folder keeps its row of the table before.
    """
    kept = {(row[0], row[1]): row for row in csv.reader(io.StringIO(before))}
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["baseline", "regularizer", "weight", "tries"])
    for tuning in tunings():
        distances = {weight: distance(run, results) for weight, run in tuning.tries.items()}
        if None in distances.values():
            if (tuning.task.id, tuning.regularizer) in kept:
                writer.writerow(kept[tuning.task.id, tuning.regularizer])
            continue
        best = min(distances, key=distances.get)
        tries = " ".join(f"{weight:g}={value:.1f}" for weight, value in distances.items())
        writer.writerow([tuning.task.id, tuning.regularizer, f"{best:g}", tries])
    return out.getvalue()


def main() -> int:
    settings = Settings.parse(sys.argv[1:], "small")
    settings = replace(settings, samples=SAMPLES, eval_every=None, table="small")
    run_ids = []
    for tuning in tunings():
        run_ids += [run.id for run in tuning.tries.values()]
    status = subprocess.run([sys.executable, "-m", "reproduce.sweep", *run_ids, *settings.arguments()]).returncode
    record.write_bytes(OUT, table(settings.results, OUT.read_text("utf-8")).encode())
    return status


if __name__ == "__main__":
    command(main)
