"""From run folders to one tidy frame: every record is checked, and whatever is left out is named with the reason."""

import math
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.field import SUBJECT
from benchmarks.runs import Run
from benchmarks.state import parsed, typed
from reports.data.folders import run_folders

COLUMNS = [
    "run", "cell", "kind", "status", "model", "dataset", "resolution", "fraction", "method", "iterations", "batch",
    "override", "seed", "metric", "value", "sd", "better", "draw", "protocol", "checkpoint", "iteration", "weights",
    "extractor", "extractor_sha256", "resize", "n_generated", "n_reference", "n_training", "data_digest", "commit",
    "dirty", "device", "threads", "versions", "seconds_train", "seconds_evaluate", "record",
]  # fmt: skip
# cell: the run id without its seed. kind: "run", or "external" for images of other code. draw: the eval_seed.
# protocol: how the metric was measured, in words. n_reference is the number of images compared with, n_training that of
# the whole training set. record: its path.
GAP = "norm_gap"  # mean |n_R - n_F| over the second half of training, from the log
LITERATURE = ("fid", "kid", "is")  # names of Inception's scores alone; any other is called METRIC_EXTRACTOR
ELSEWHERE = {"kind": "external", "model": "external", "iterations": 0, "batch": 0, "override": ""}  # of other code
DAMAGE = (OSError, ValueError, KeyError, TypeError, AttributeError)  # what a file of another form raises


@dataclass
class Results:
    """A results folder, read once.

    logs      the gaps of the gradient norms of all runs: cell, seed, iterations (of the run), iteration, gap
    problems  a line for each thing that was left out
    """

    folder: Path
    frame: pd.DataFrame
    logs: pd.DataFrame
    problems: list[str]


def read(folder: Path) -> Results:
    """Every record under a results folder. A damaged one is a line in `problems`, not an error."""
    rows: list[dict] = []
    problems: list[str] = []
    logs = [pd.DataFrame(columns=["cell", "seed", "iterations", "iteration", "gap"])]
    for run in run_folders(folder):
        log = _log(folder / run.id / "log.jsonl", problems)
        rows += _rows(folder / run.id / "metrics.json", run, log, problems)
        if log is not None:
            logs.append(log.assign(cell=cell_id(run), seed=run.seed, iterations=run.iterations))
    for path in sorted(folder.glob("external-*/metrics.json")):
        rows += _rows(path, None, None, problems)
    return Results(folder, pd.DataFrame(rows, columns=COLUMNS), pd.concat(logs[1:] or logs), problems)


def _rows(path: Path, run: Run | None, log: pd.DataFrame | None, problems: list[str]) -> list[dict]:
    """A row for each metric of a record that can be believed; a row without one for a run that diverged.

    run  that of the record's folder; None for images that other code made
    """
    if not path.exists():
        return []
    try:
        data = parsed(path.read_text("utf-8"))
        common, entries = _facts(data, path, run), list(data["metrics"])
    except DAMAGE as error:
        problems.append(f"{path}: {type(error).__name__}: {error}; left out")
        return []
    if not entries:
        return [common]
    rows: dict[tuple, dict] = {}
    for entry in entries:
        try:
            row = _metric(entry | common)
            key = row["metric"], row["protocol"], row["draw"]
            if key in rows:
                raise ValueError(f"{row['metric']} is there twice under one protocol and eval_seed")
            rows[key] = row
        except DAMAGE as error:
            problems.append(f"{path}: a metric with {type(error).__name__}: {error}; left out")
    found = list(rows.values())
    if found and log is not None and common["status"] == "done":
        found += _gap(common, log)
    return found


def _facts(data: dict, path: Path, run: Run | None) -> dict:
    """What all rows of a record have in common; raises for a record that is not that of its folder."""
    name, status, described, origin = path.parent.name, data["status"], data["run"], data["provenance"]
    if data["id"] != name or run and described != asdict(run):
        raise ValueError(f"describes {data['id']!r} with {described}, not the run of its folder")
    if status not in (("done", "diverged") if run else ("external",)):
        raise ValueError(f"status {status!r} is not one of a finished run")
    if status == "done" and data["iteration"] != run.iterations:
        raise ValueError(f"done at iteration {data['iteration']} of {run.iterations}")
    dataset = data["config"]["dataset"] if run else data["dataset"]
    facts = {"run": name, "cell": name.rpartition("-s")[0], "status": status, "n_training": dataset["count"],
             "data_digest": str(dataset["digest"])[:12], "commit": str(origin["commit"])[:12],
             "dirty": origin["dirty"], "device": origin["device"], "threads": origin.get("threads"),
             "versions": ", ".join(f"{package} {version}" for package, version in origin["versions"].items()),
             "seconds_train": data["seconds"].get("train"), "seconds_evaluate": data["seconds"].get("evaluate"),
             "record": f"{name}/{path.name}"}  # fmt: skip
    for key in ("dataset", "resolution", "fraction", "seed"):
        facts[key] = described[key]
    if run is None:
        typed("run", described, SUBJECT)
        return facts | ELSEWHERE | {"method": described["name"]}
    override = " ".join(f"{key}={value}" for key, value in run.override.items())
    return described | facts | {"kind": "run", "method": run.method, "override": override}


def cell_id(run: Run) -> str:
    """The run's id without its seed: what the seeds of a cell have in common."""
    return run.id.rpartition("-s")[0]


def _metric(entry: dict) -> dict:
    """The row of an entry of "metrics", which has its record's facts. Raises ValueError where it is not believed."""
    name, value, extractor = entry["name"], entry["value"], entry["extractor"]
    family = name.removesuffix(f"_{extractor}")
    if (family == name or family == "fid") and not (name in LITERATURE and extractor == "inception"):
        raise ValueError(f"{name!r} with extractor {extractor!r}: scores are called METRIC_EXTRACTOR, and "
                         f"{', '.join(LITERATURE)} are Inception's")
    if not math.isfinite(value) or entry["better"] not in ("lower", "higher"):
        raise ValueError(f"{name}: value {value!r}, better {entry['better']!r}: not a finite number, lower or higher")
    against = "the training set"
    if entry["n_reference"] != entry["n_training"]:
        against = f"{entry['n_reference']} others"
    protocol = (f"{entry['n_generated']} images against {against}, {extractor} {entry['extractor_sha256'][:12]}, "
                f"{entry['resize']}, {entry['weights'] or 'unknown'} weights, checkpoint {entry['checkpoint']}")
    return entry | {"metric": name, "value": float(value), "draw": entry["eval_seed"], "protocol": protocol,
                    "checkpoint": str(entry["checkpoint"])}  # fmt: skip


def _log(path: Path, problems: list[str]) -> pd.DataFrame | None:
    """The gaps in a log; None without one. A half-written last line is passed over: the run may be at it."""
    if not path.exists():
        return None
    try:
        lines = path.read_text("utf-8").rpartition("\n")[0].splitlines()
        data = pd.DataFrame(parsed(f"[{','.join(lines)}]"))
        return data[["iteration", "gap"]].astype(float) if len(data) else None
    except DAMAGE as error:
        problems.append(f"{path}: {type(error).__name__}: {error}; left out")
        return None


def _gap(common: dict, log: pd.DataFrame) -> list[dict]:
    """The regularizer's own quantity as a metric of a run: how far apart the gradient norms were late in training."""
    late = log.loc[log["iteration"] > common["iterations"] / 2, "gap"].abs().replace([np.inf], np.nan).dropna()
    if late.empty or late.mean() <= 0:
        return []
    return [common | {"metric": GAP, "value": late.mean(), "better": "lower", "draw": 0, "protocol": "from the log",
                      "checkpoint": "last", "iteration": common["iterations"], "extractor": "log"}]  # fmt: skip
