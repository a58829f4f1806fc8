"""The one door from results/ to a report: reads run folders, checks every record, and says what it left out and why.

Standard library only, so that `make status` answers at once while training runs.
"""

import json
import math
import os
from array import array
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import fmean, stdev

from benchmarks.runs import InputError, Run
from reports.states import State, state

KNOWN = {  # metric -> direction, which no record may contradict, and decimals to print; in the order of the reports
    "fid": ("lower", 2),
    "fd": ("lower", 2),  # the Frechet distance of any other extractor: fd_effnet, never "fid"
    "is": ("higher", 2),
    "kid": ("lower", 4),
    "precision": ("higher", 3),
    "recall": ("higher", 3),
    "density": ("higher", 3),
    "coverage": ("higher", 3),
    "memorised": ("lower", 3),
}
DECIMALS = 4  # of any other metric
LITERATURE = ("fid", "kid", "is")  # of Inception's features alone; every other score is called METRIC_EXTRACTOR
RECORD = ("id", "run", "status", "iteration", "config", "provenance", "seconds")
LOG = ("iteration", "loss_d", "loss_g", "n_R", "n_F", "gap")
SCORE = ("name", "value", "better", "n_generated", "n_reference", "extractor", "extractor_sha256", "resize", "weights",
         "checkpoint", "seed")


@dataclass(frozen=True)
class Score:
    """One number with its protocol: what must be equal before two numbers may stand in one column.

    Where the samples were drawn several times it is the mean over the draws, and `sampling_sd` their standard deviation
    (of a sample), which is not that over training seeds. `iteration` is that of the generator, where it is known.
    """

    metric: str
    value: float
    protocol: dict[str, str]
    iteration: int | None = None
    draws: int = 1
    sampling_sd: float | None = None


@dataclass(frozen=True)
class Record:
    """A finished run: status "done" or "diverged", its scores, and where they come from.

    `curve` holds the scores of generators that were kept during training; those of the last and the best are `scores`.
    """

    run: Run
    status: str
    scores: list[Score]
    curve: list[Score]
    provenance: dict
    seconds: dict


@dataclass
class Results:
    """Everything under a results folder. `problems` names each thing that was left out, one line each."""

    folder: Path
    runs: list[Run] = field(default_factory=list)
    records: dict[str, Record] = field(default_factory=dict)
    states: dict[str, State] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    logs: dict[str, dict[str, array]] = field(default_factory=dict)

    def log(self, run_id: str) -> dict[str, array]:
        """The columns of a run's log.jsonl, read once; {} without one. A half-written last line is passed over: the
        run may be writing it."""
        if run_id not in self.logs:
            path = self.folder / run_id / "log.jsonl"
            text = path.read_text("utf-8") if path.exists() else ""
            try:
                lines = json.loads(f"[{','.join(text[:text.rfind(chr(10)) + 1].splitlines())}]")
                self.logs[run_id] = {name: array("d", [line[name] for line in lines]) for name in LOG if lines}
            except (ValueError, KeyError, TypeError) as error:
                self.logs[run_id] = {}
                self.problems.append(f"{path}: {_reason(error)}; left out")
        return self.logs[run_id]


def read(folder: Path) -> Results:
    """Every run folder under `folder`, sorted by name. A damaged record is a line in `problems`, not an error."""
    results = Results(folder, list(run_folders(folder)))
    for run in results.runs:
        path = folder / run.id / "metrics.json"
        if path.exists():
            try:
                results.records[run.id] = _record(run, json.loads(path.read_text("utf-8")), results.problems)
            except (ValueError, KeyError, TypeError) as error:
                results.problems.append(f"{path}: {_reason(error)}; left out")
        results.states[run.id] = state(folder, run)
    return results


def run_folders(folder: Path) -> Iterator[Run]:
    """The runs that have a folder, sorted by name; what is not named like a run is passed over."""
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        try:
            yield Run.from_id(path.name)
        except InputError:
            continue


def _reason(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"not valid JSON ({error})"
    return f"key {error} is missing" if isinstance(error, KeyError) else str(error)


def _record(run: Run, data: dict, problems: list[str]) -> Record:
    """A checked record; raises KeyError, TypeError or ValueError for one that cannot be believed."""
    if not isinstance(data, dict):
        raise ValueError("not a JSON object")
    _require(data, RECORD)
    _require(data["config"]["dataset"], ("count", "digest"))
    _require(data["provenance"], ("commit", "dirty", "versions", "device"))
    _require(data["seconds"], ("train",))
    if data["status"] == "done":
        _require(data, ("metrics",))
    if data["id"] != run.id or data["run"] != asdict(run):
        raise ValueError(f"describes {data['id']!r} with {data['run']}, not the run of its folder")
    if data["status"] not in ("done", "diverged"):
        raise ValueError(f"status {data['status']!r} is neither done nor diverged")
    if data["status"] == "done" and data["iteration"] != run.iterations:
        raise ValueError(f"done at iteration {data['iteration']} of {run.iterations}")
    scores = _scores(run, data, problems) if data["status"] == "done" else []
    curve = [score for score in scores if score.protocol["checkpoint"].isdigit()]
    scores = [score for score in scores if score not in curve]
    return Record(run, data["status"], scores, curve, data["provenance"], data["seconds"])


def _scores(run: Run, data: dict, problems: list[str]) -> list[Score]:
    """A score for each metric and protocol, over its draws. What cannot be believed is a line in `problems`."""
    found: dict[tuple[str, str], dict[int, Score]] = {}
    for entry in data["metrics"]:
        try:
            score = _score(entry, data["config"]["dataset"])
            draws = found.setdefault((score.metric, str(score.protocol)), {})
            if draws.setdefault(entry["seed"], score) is not score:
                raise ValueError(f"{score.metric} is there twice under one protocol and sampling seed")
        except (ValueError, KeyError, TypeError) as error:
            problems.append(f"{run.id}: metric {entry}: {_reason(error)}; left out")
    return [_mean(list(draws.values())) for draws in found.values() if draws]


def _mean(draws: list[Score]) -> Score:
    values = [score.value for score in draws]
    sd = stdev(values) if len(values) > 1 else None
    return replace(draws[0], value=fmean(values), draws=len(values), sampling_sd=sd)


def _require(data: dict, keys: tuple[str, ...]) -> None:
    if missing := [key for key in keys if key not in data]:
        raise ValueError(f"without {', '.join(missing)}")


def _score(entry: dict, dataset: dict) -> Score:
    _require(entry, SCORE)
    name, value, better = str(entry["name"]), entry["value"], entry["better"]
    _require_name(name, entry["extractor"])
    directions = (KNOWN[family(name)][0],) if family(name) in KNOWN else ("lower", "higher")
    if better not in directions:
        raise ValueError(f"better is {better!r}, for {name} it is {' or '.join(directions)}")
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"value {value!r} is not a finite number")
    if family(name) in ("fid", "fd", "is") and value <= 0:
        raise ValueError(f"value {value!r}: {name} is always above 0")
    full = entry["n_reference"] == dataset["count"]
    return Score(name, float(value), {
        "direction": f"{better} is better",
        "generated images": str(entry["n_generated"]),
        "reference": "full training set" if full else f"{entry['n_reference']} images",
        "extractor": entry["extractor"],
        "extractor sha256": str(entry["extractor_sha256"])[:12],
        "resize": str(entry["resize"]),
        "weights": entry["weights"],
        "checkpoint": str(entry["checkpoint"]),
        "data": str(dataset["digest"])[:12],
    }, entry.get("iteration"))


def _require_name(name: str, extractor: str) -> None:
    """A score carries its extractor's name, and only Inception's have those of the literature."""
    metric = name.removesuffix(f"_{extractor}")
    carries = metric != name and metric != "fid" and metric.isalnum()
    if not carries and (name not in LITERATURE or extractor != "inception"):
        raise ValueError(f"{name!r} with extractor {extractor!r}: scores are called METRIC_EXTRACTOR (METRIC: one "
                         f"word), and {', '.join(LITERATURE)} are Inception's")


def family(metric: str) -> str:
    """The metric without its extractor: "fd" of "fd_effnet"."""
    return metric.split("_")[0]


def decimals(metric: str) -> int:
    """How many digits after the point a report prints."""
    return KNOWN.get(family(metric), ("", DECIMALS))[1]


def write(path: Path, data: bytes) -> None:
    """Write a report file aside, then rename it: nobody reads half of it. Raises InputError where it cannot."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside.write_bytes(data)
        aside.replace(path)
    except OSError as error:
        with suppress(OSError):
            aside.unlink(missing_ok=True)
        raise InputError(f"cannot write {path}: {error.strerror}; what was there is unchanged") from error
