"""From run folders to one tidy frame: every record is checked, and whatever is left out is named with the reason."""

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.runs import Run
from benchmarks.state import parsed
from reports.data.folders import run_folders

COLUMNS = [
    "run", "cell", "kind", "status", "model", "dataset", "resolution", "fraction", "method", "iterations", "batch",
    "override", "seed", "metric", "value", "sd", "better", "draw", "checkpoint", "iteration", "weights", "extractor",
    "extractor_sha256", "resize", "n_generated", "n_reference", "n_training", "data_digest", "commit", "dirty",
    "device", "threads", "versions", "seconds_train", "seconds_evaluate", "record",
]  # fmt: skip
# cell: the run id without its seed. kind: "run", or "external" for images of other code. draw: the eval_seed.
# n_reference is the number of images compared with, n_training that of the whole training set. record: its path.
GAP = "norm_gap"  # mean |n_R - n_F| over the second half of training, from the log
DIRECTIONS = {"fid": "lower", "fd": "lower", "kid": "lower", "memorised": "lower", "is": "higher",
              "precision": "higher", "recall": "higher", "density": "higher", "coverage": "higher"}  # fmt: skip
LITERATURE = ("fid", "kid", "is")  # names of Inception's scores alone; any other is called METRIC_EXTRACTOR
COPIED = ("better", "n_generated", "n_reference", "extractor", "extractor_sha256", "resize", "weights")
UNIQUE = ("metric", "draw", "checkpoint", "weights", "extractor", "extractor_sha256", "resize", "n_generated",
          "n_reference")  # fmt: skip
NO_CHECKPOINT = {"weights": "", "checkpoint": "last", "eval_seed": 0}  # of images that other code made
EXTERNAL = re.compile(r"external-.+-f\d+\.\d+-s\d+")
DAMAGE = (OSError, ValueError, KeyError, TypeError, AttributeError)  # what a file of another form raises


@dataclass
class Results:
    """A results folder, read once. `problems` has a line for each thing that was left out."""

    folder: Path
    frame: pd.DataFrame
    logs: dict[str, pd.DataFrame] = field(default_factory=dict)  # run id -> iteration, n_R, n_F, gap
    problems: list[str] = field(default_factory=list)


def read(folder: Path) -> Results:
    """Every record under a results folder. A damaged one is a line in `problems`, not an error."""
    rows: list[dict] = []
    logs: dict[str, pd.DataFrame] = {}
    problems: list[str] = []
    for run in run_folders(folder):
        log = _log(folder / run.id / "log.jsonl", problems)
        if log is not None:
            logs[run.id] = log
        rows += _rows(folder / run.id / "metrics.json", _run_facts, run, problems)
        if log is not None and rows and rows[-1]["run"] == run.id:
            rows += _gap_row(rows[-1], log)
    for path in sorted(folder.glob("external-*/metrics.json")):
        if EXTERNAL.fullmatch(path.parent.name):
            rows += _rows(path, _external_facts, path.parent.name, problems)
    return Results(folder, pd.DataFrame(rows, columns=COLUMNS), logs, problems)


def _rows(path: Path, facts: Callable[[dict, object], dict], of: object, problems: list[str]) -> Iterator[dict]:
    """A row for each metric of a record that can be believed; a row without one for a run that diverged."""
    if not path.exists():
        return
    try:
        data = parsed(path.read_text("utf-8"))
        common = facts(data, of) | _provenance(data) | {"record": f"{path.parent.name}/{path.name}"}
        entries = list(data["metrics"])
    except DAMAGE as error:
        problems.append(f"{path}: {type(error).__name__}: {error}; left out")
        return
    if not entries:
        yield common
    seen: list[list] = []
    for entry in entries:
        try:
            row = _metric(NO_CHECKPOINT | entry if common["kind"] == "external" else entry)
            key = [row[name] for name in UNIQUE]
            if key in seen:
                raise ValueError(f"{row['metric']} is there twice under one protocol and eval_seed")
        except DAMAGE as error:
            problems.append(f"{path}: a metric with {type(error).__name__}: {error}; left out")
            continue
        seen.append(key)
        yield common | row


def _run_facts(data: dict, run: Run) -> dict:
    if data["id"] != run.id or data["run"] != asdict(run):
        raise ValueError(f"describes {data['id']!r} with {data['run']}, not the run of its folder")
    if data["status"] not in ("done", "diverged"):
        raise ValueError(f"status {data['status']!r} is neither done nor diverged")
    if data["status"] == "done" and data["iteration"] != run.iterations:
        raise ValueError(f"done at iteration {data['iteration']} of {run.iterations}")
    override = " ".join(f"{name}={value}" for name, value in run.override.items())
    return {"run": run.id, "cell": cell_id(run), "kind": "run", "status": data["status"], "model": run.model,
            "dataset": run.dataset, "resolution": run.resolution, "fraction": run.fraction, "method": run.method,
            "iterations": run.iterations, "batch": run.batch, "override": override, "seed": run.seed,
            **_dataset(data["config"]["dataset"])}  # fmt: skip


def _external_facts(data: dict, name: str) -> dict:
    run = data["run"]
    if data["status"] != "external" or data["id"] != name:
        raise ValueError(f"describes {data['id']!r} with status {data['status']!r}, not images of other code")
    return {"run": name, "cell": name.rpartition("-s")[0], "kind": "external", "status": "external",
            "model": "external", "dataset": run["dataset"], "resolution": run["resolution"],
            "fraction": run["fraction"], "method": run["name"], "iterations": 0, "batch": 0, "override": "",
            "seed": run["seed"], **_dataset(data["dataset"])}  # fmt: skip


def cell_id(run: Run) -> str:
    """The run's id without its seed: what the seeds of a cell have in common."""
    return run.id.rpartition("-s")[0]


def _dataset(dataset: dict) -> dict:
    return {"n_training": dataset["count"], "data_digest": str(dataset["digest"])[:12]}


def _provenance(data: dict) -> dict:
    origin = data["provenance"]
    versions = ", ".join(f"{name} {version}" for name, version in origin["versions"].items())
    return {"commit": str(origin["commit"])[:12], "dirty": origin["dirty"], "device": origin["device"],
            "threads": origin.get("threads"), "versions": versions, "seconds_train": data["seconds"].get("train"),
            "seconds_evaluate": data["seconds"].get("evaluate")}  # fmt: skip


def _metric(entry: dict) -> dict:
    """A checked entry of "metrics"; raises ValueError for one that cannot be believed."""
    name, value, extractor = entry["name"], entry["value"], entry["extractor"]
    family = name.removesuffix(f"_{extractor}")
    if (family == name or family == "fid") and not (name in LITERATURE and extractor == "inception"):
        raise ValueError(f"{name!r} with extractor {extractor!r}: scores are called METRIC_EXTRACTOR, and "
                         f"{', '.join(LITERATURE)} are Inception's")
    if entry["better"] != DIRECTIONS.get(family, entry["better"]) or entry["better"] not in ("lower", "higher"):
        raise ValueError(f"{name}: better is {entry['better']!r}")
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{name}: value {value!r} is not a finite number")
    if family in ("fid", "fd", "is") and value <= 0:
        raise ValueError(f"{name}: value {value!r}, which is always above 0")
    return {"metric": name, "value": float(value), "sd": entry.get("sd"), "draw": entry["eval_seed"],
            "checkpoint": str(entry["checkpoint"]), "iteration": entry.get("iteration"),
            **{key: entry[key] for key in COPIED}}  # fmt: skip


def _log(path: Path, problems: list[str]) -> pd.DataFrame | None:
    """The gradient norms of a log; None without one. A half-written last line is passed over: the run may be at it."""
    if not path.exists():
        return None
    try:
        lines = path.read_text("utf-8").rpartition("\n")[0].splitlines()
        data = pd.DataFrame(parsed(f"[{','.join(lines)}]"))
        return data[["iteration", "n_R", "n_F", "gap"]].astype(float) if len(data) else None
    except DAMAGE as error:
        problems.append(f"{path}: {type(error).__name__}: {error}; left out")
        return None


def _gap_row(row: dict, log: pd.DataFrame) -> list[dict]:
    """The regularizer's own quantity as a metric: how far apart the gradient norms were late in training.

    row  any row of the run, for what all its rows have in common
    """
    late = log.loc[log["iteration"] > row["iterations"] / 2, "gap"].abs().replace([np.inf], np.nan).dropna()
    if row["status"] != "done" or late.empty or late.mean() <= 0:
        return []
    common = {name: value for name, value in row.items() if name not in (*COPIED, "sd")}
    return [common | {"metric": GAP, "value": late.mean(), "better": "lower", "draw": 0, "checkpoint": "last",
                      "iteration": row["iterations"], "extractor": "log"}]  # fmt: skip
