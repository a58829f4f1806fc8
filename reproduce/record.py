"""The folder of a run: its config and its record, written whole, read with a check, held by one process at a time."""

import fcntl
import hashlib
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TextIO

import numpy as np
import torch

from baselines.contract import first_line
from benchmarks.datasets import Dataset
from benchmarks.runs import InputError, Run, TryLaterError
from benchmarks.state import read_json, typed, write_whole
from reproduce import machine, names, parallel

CONFIG = {"id": str, "run": dict, "dataset": dict, "subset": dict, "provenance": dict}
METRICS_FILE = {"id": str, "status": str, "metrics": list}
ENTRY = {"name": str, "value": float | int, "extractor": str, "extractor_sha256": str, "resize": str,
         "n_generated": int, "checkpoint": str, "iteration": int, "eval_seed": int}  # fmt: skip


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file whole or not at all. Of several processes of one training, the first one writes."""
    if not parallel.rank():
        write_whole(path, data)


def write_json(path: Path, content: object) -> None:
    write_bytes(path, (json.dumps(content, indent=1) + "\n").encode())


def remove_asides(folder: Path, name: str = "*") -> None:
    """Remove what killed processes were writing. The caller holds a lock, so that nobody else is writing."""
    for aside in folder.rglob(f"{name}.*.tmp"):
        aside.unlink()


def warn(text: str) -> None:
    print(f"warning: {text}", file=sys.stderr)


# --- The record -------------------------------------------------------------------------------------------------------


def read_metrics(folder: Path) -> dict:
    """A run's metrics.json, {} where there is none. Raises InputError where it is damaged or that of another run."""
    path, remedy = folder / "metrics.json", "remove it to have the run measured anew"
    if not path.exists():
        return {}
    known = read_json(path, METRICS_FILE, remedy)
    require_own(path, known["id"], folder.name, remedy)
    if known["status"] != "diverged":
        typed(f"{path}", known, {"evaluated": list, "generator_sha256": str}, remedy)
    for i, entry in enumerate(known["metrics"]):
        typed(f"{path}: metrics[{i}]", entry, ENTRY, remedy)
    return known


def require_own(path: Path, there: str, run_id: str, remedy: str) -> None:
    """Raises InputError where a file says that it is of another run."""
    if there != run_id:
        raise InputError(f"{path}: of another run, {there!r}, not of {run_id}; {remedy}")


def read_diverged(folder: Path) -> dict:
    """Where a run diverged: {"iteration": ...}."""
    return read_json(folder / "diverged.json", {"iteration": int}, f"remove {folder} to train the run anew")


# --- One process at a time --------------------------------------------------------------------------------------------


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a run's folder alone. Raises TryLaterError when another process holds it; the lock ends with its holder."""
    if parallel.rank():  # the first process of this training holds it
        yield
        return
    with _opened(path) as lock:
        _take(lock, path.name)
        remove_asides(path)
        yield


def _opened(path: Path) -> TextIO:
    """The file in a folder that is locked. Raises InputError where there can be none."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        return (path / ".lock").open("a")
    except OSError as error:
        raise InputError(f"cannot write to {path}: {error.strerror}") from error


def _take(lock: TextIO, run_id: str) -> None:
    for _ in range(5):  # `make status` holds it for an instant while it looks
        with suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        time.sleep(0.05)
    raise TryLaterError(f"run {run_id}: another process is working on it; wait for it or stop it")


@contextmanager
def failures_noted(path: Path) -> Iterator[None]:
    """Leave failed.json in a run's folder when what is inside raises, for `make status`; remove an older one."""
    if not parallel.rank():
        (path / "failed.json").unlink(missing_ok=True)
    try:
        yield
    except TryLaterError:
        raise
    except Exception as error:
        with suppress(InputError):  # what cannot be written at all must not hide the error
            write_json(path / "failed.json", {"error": first_line(error)})
        raise


# --- The config: all that decides a run's numbers ---------------------------------------------------------------------


def open_config(folder: Path, run: Run, recipe: dict, dataset: Dataset, indices: np.ndarray,
                device: torch.device) -> None:
    """Write config.json and subset.json; or check those that are there. The recipe is {} where nothing is trained.

    Raises InputError that lists the differences when the run was begun with another config, and warns where a CPU goes
    on with another number of threads, since sums are then rounded in another order.
    """
    subset = {"count": len(indices), "sha256": hashlib.sha256(indices.astype("<i8").tobytes()).hexdigest()}
    facts = {"name": dataset.name, "digest": dataset.digest, "classes": dataset.classes, "flip": dataset.flip,
             "count": len(dataset.images)}
    config = config_of(run, recipe, facts, subset, names.method_files(run))
    if (folder / "config.json").exists():
        _require_same(folder, run, config, device)
        return
    write_json(folder / "subset.json", subset | {"indices": indices.tolist()})
    provenance = machine.provenance(device) | {"dataset": dict(dataset.provenance)}
    write_json(folder / "config.json", config | {"provenance": provenance})


def config_of(run: Run, recipe: dict, dataset: dict, subset: dict, files: dict[str, str]) -> dict:
    """A config.json without its provenance: what is trained, on what, with the sha256 of a user's regularizers."""
    return {"id": run.id, "run": asdict(run), "recipe": recipe, "dataset": dataset, "subset": subset,
            "method_files": files}


def _require_same(folder: Path, run: Run, config: dict, device: torch.device) -> None:
    begun = read_config(folder, run)
    differences = [f"{key}: {there} there, {now} now" for key, there, now in config_differences(begun, config)]
    if differences:
        raise InputError(f"run {run.id} was begun with another config ({'; '.join(differences)}); "
                         f"remove {folder} to begin anew")
    if device.type == "cpu":
        _warn_of_threads(run, begun["provenance"].get("threads"), folder)


def read_config(folder: Path, run: Run) -> dict:
    """A run's config.json. Raises InputError where it is damaged or that of another run."""
    path, remedy = folder / "config.json", f"get it again, or remove {folder} to train the run anew"
    config = read_json(path, CONFIG, remedy)
    typed(f"{path}: dataset", config["dataset"], {"name": str, "digest": str}, remedy)
    require_own(path, config["id"], run.id, remedy)
    return config


def config_differences(there: dict, now: dict) -> Iterator[tuple[str, object, object]]:
    """Key and both values where the config of a file differs from that of now, its provenance apart."""
    there = flat(there | {"provenance": {}})
    now = flat(json.loads(json.dumps(now)))  # tuples become lists, as in the file
    for key in sorted({*there, *now}):
        before, after = there.get(key), now.get(key)
        if before != after:
            yield key, before, after


def flat(tree: dict, joint: str = ".", prefix: str = "") -> dict:
    """A tree of dicts as one dict, whose keys are those on the way joined: {"a": {"b": 1}} is {"a.b": 1}."""
    leaves = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            leaves |= flat(value, joint, f"{prefix}{key}{joint}")
        else:
            leaves[f"{prefix}{key}"] = value
    return leaves


def _warn_of_threads(run: Run, begun_with: int | None, folder: Path) -> None:
    """Warn where a training goes on with another number of threads than it was begun with."""
    threads = torch.get_num_threads()
    going_on = (folder / "checkpoint.pt").exists() and not (folder / "generator.safetensors").exists()
    if going_on and begun_with != threads:
        warn(f"{run.id}: begun with {begun_with} threads, now {threads}: on a CPU the numbers will differ from an "
             "undisturbed run's in their last bits")
