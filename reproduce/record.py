"""What a run is on disk: where its files lie, how they are written, and what is noted down beside every result."""

import ctypes
import fcntl
import hashlib
import io
import json
import os
import pickle
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, fields, replace
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from baselines.augment import AUGMENTATIONS
from baselines.models import MODELS, BrokenModel
from baselines.recipe import Recipe
from baselines.regularizers import REGULARIZERS
from benchmarks.datasets import Dataset
from benchmarks.runs import InputError, Run, TryLaterError
from reproduce import parallel


def folder(results: Path, run_id: str) -> Path:
    return Path(results) / run_id


def write_bytes(path: Path, data: bytes) -> None:
    """Write aside, flush to the disk and rename: a reader sees the old file or the new one, never a part.

    Of several processes of one training, the first one writes.
    """
    if parallel.rank():
        return
    aside = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with aside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except OSError as error:
        with suppress(OSError):  # on a read-only disk not even this can be done
            aside.unlink()
        raise InputError(f"cannot write {path}: {error.strerror}; the file that was there is unchanged") from error


def remove_asides(folder: Path, name: str = "*") -> None:
    """Remove what killed processes were writing. The caller holds a lock, so that nobody else is writing."""
    for aside in folder.rglob(f"{name}.*.tmp"):
        aside.unlink()


def write_json(path: Path, content: object) -> None:
    write_bytes(path, (json.dumps(content, indent=1) + "\n").encode())


def write_torch(path: Path, content: object) -> None:
    """Write tensors and numbers, followed by the sha256 of all that; torch.load passes over it."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    digest = hashlib.sha256(buffer.getbuffer()).digest()
    buffer.seek(0, io.SEEK_END)
    buffer.write(digest)
    write_bytes(path, buffer.getbuffer())


def read_json(path: Path) -> dict:
    """A JSON file of a run. Raises InputError when it is missing or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from error


class Trained(NamedTuple):
    """A generator as it lies on disk."""

    state: dict[str, Tensor]
    iteration: int
    sha256: str  # of the file


def write_generator(path: Path, G: nn.Module, run: Run, iteration: int) -> None:
    """Write weights as safetensors. One entry of the header says whose: several would come in random order."""
    state = {name: tensor.cpu().contiguous() for name, tensor in G.state_dict().items()}
    write_bytes(path, save(state, {"trained": json.dumps({"run": run.id, "iteration": iteration})}))


def read_generator(path: Path, run: Run) -> Trained:
    """A run's generator. Nothing in the file is executed. Raises InputError where it is missing, damaged or another."""
    if not path.exists():
        raise InputError(f"{path}: missing, and nothing else is read; `python -m reproduce.run {run.id}` makes it")
    try:
        with safe_open(path, "pt") as file:
            state = {name: file.get_tensor(name) for name in file.keys()}
            about = json.loads(file.metadata()["trained"])
        name, iteration = about["run"], int(about["iteration"])
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: not a whole safetensors file of a generator; get it again, or remove it and "
                         f"`python -m reproduce.run {run.id}`") from error
    if name != run.id:
        raise InputError(f"{path}: the generator of another run, {name!r}, not of {run.id}")
    return Trained(state, iteration, hashlib.sha256(path.read_bytes()).hexdigest())


def device(name: str) -> torch.device:
    """The device of a name; "auto" is the GPU where there is one. Raises InputError for one that is not there.

    A GPU is the current one from then on, which streams and graphs are made on.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    valid = ["auto", "cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    if name not in (*valid, *(["cuda"] if torch.cuda.is_available() else [])):
        raise InputError(f"device {name!r}: not one of {', '.join(valid)}")
    found = torch.device(name)
    if found.index is not None:
        torch.cuda.set_device(found)
    return found


def require_method(run: Run) -> None:
    """Raises InputError for a regularizer or an augmentation that does not exist."""
    for name in run.regularizers:
        _known("regularizer", name, REGULARIZERS)
    _known("augmentation", run.augment, AUGMENTATIONS)


def method_files(run: Run) -> dict[str, str]:
    """The sha256 of the file of each regularizer that comes from a user's file."""
    digests = {name: REGULARIZERS[name]().sha256 for name in run.regularizers}
    return {name: digest for name, digest in digests.items() if digest}


def resolve(run: Run) -> tuple[ModuleType, Recipe]:
    """The model's module and its recipe with the run's overrides. Raises InputError for a name that does not exist."""
    _known("model", run.model, MODELS)
    try:
        model, override = MODELS[run.model], dict(run.override)
    except BrokenModel as error:
        raise InputError(f"model {run.model!r}: {error}") from error
    defaults = [name for name, recipe in model.RECIPES.items() if run.resolution in recipe.resolutions]
    sizes = sorted({size for recipe in model.RECIPES.values() for size in recipe.resolutions})
    _known("resolution", run.resolution, sizes)
    name = override.pop("recipe", defaults[0])
    _known("recipe", name, model.RECIPES)
    recipe = _override(model.RECIPES[name], override)
    group = recipe.discriminator.get("mbstd_group", 1)
    if group < 1:
        raise InputError(f"override mbstd_group {group}: must be at least 1")
    if run.batch % group:
        raise InputError(f"batch {run.batch}: must be a multiple of mbstd_group = {group}, the images that "
                         f"{run.model}'s minibatch standard deviation compares")
    return model, recipe


def _override(recipe: Recipe, override: dict) -> Recipe:
    parts = {"generator": dict(recipe.generator), "discriminator": dict(recipe.discriminator)}
    names = [field.name for field in fields(Recipe) if isinstance(getattr(recipe, field.name), int | float)]
    for key, value in override.items():
        _known("override", key, sorted({*names, *parts["generator"], *parts["discriminator"]}))
        known = getattr(recipe, key) if key in names else next(part[key] for part in parts.values() if key in part)
        _require_like(known, key, value)
        if key in names:
            recipe = replace(recipe, **{key: value})
        for part in parts.values():
            part |= {key: value} if key in part else {}
    if recipe.d_steps < 1:
        raise InputError(f"override d_steps {recipe.d_steps}: must be at least 1")
    return replace(recipe, **parts)


def _require_like(known: object, key: str, value: float | str) -> None:
    """Raises InputError where the value is not of the kind that the published one is."""
    if isinstance(value, str):
        raise InputError(f"override {key} {value!r}: must be a number")
    if isinstance(known, bool) and value not in (0, 1):
        raise InputError(f"override {key} {value}: must be 0 or 1")
    if isinstance(known, int) and value != int(value):
        raise InputError(f"override {key} {value}: must be a whole number")


def _known(kind: str, name: object, names) -> None:
    if name not in names:
        raise InputError(f"{kind} {name!r}: not one of {', '.join(map(str, names))}")


def provenance(device: torch.device) -> dict:
    """What code ran on what: commit, versions, device."""
    here = Path(__file__).parent

    def git(*args: str) -> str:
        try:
            done = subprocess.run(["git", "-C", here, *args], capture_output=True, text=True, check=False)
        except FileNotFoundError:  # not every machine that trains has git
            return ""
        return done.stdout.strip()

    cuda = device.type == "cuda"
    return {
        "commit": git("rev-parse", "HEAD") or "unknown",
        "dirty": bool(git("status", "--porcelain", "--untracked-files=no")),
        "versions": {"python": platform.python_version()} | {p: version(p) for p in ("torch", "torchvision", "numpy")},
        "device": torch.cuda.get_device_name(device) if cuda else f"cpu ({platform.machine()})",
        "threads": torch.get_num_threads(),
        "processes": parallel.processes(),
    }


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a run's folder alone. Raises TryLaterError when another process holds it; the lock ends with its holder."""
    if parallel.rank():  # the first process of this training holds it
        yield
        return
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = (path / ".lock").open("a")
    except OSError as error:
        raise InputError(f"cannot write to {path}: {error.strerror}") from error
    with lock as file:
        for attempt in range(5):  # `make status` holds it for an instant while it looks
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if attempt == 4:
                    raise TryLaterError(f"run {path.name}: another process is working on it; "
                                        "wait for it or stop it") from error
                time.sleep(0.05)
        remove_asides(path)
        yield


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
            write_json(path / "failed.json", {"error": f"{type(error).__name__}: {error}".splitlines()[0]})
        raise


def open_config(folder: Path, run: Run, recipe: Recipe, dataset: Dataset, indices: np.ndarray,
                device: torch.device) -> None:
    """Write config.json, which holds all that decides a run's numbers, and subset.json; or check those that are there.

    Raises InputError that lists the differences when the run was begun with another config.
    """
    subset = {"count": len(indices), "sha256": hashlib.sha256(indices.astype("<i8").tobytes()).hexdigest()}
    facts = {key: getattr(dataset, key) for key in ("name", "digest", "classes", "flip")}
    facts["count"] = len(dataset.images)
    config = {"id": run.id, "run": asdict(run), "recipe": asdict(recipe), "dataset": facts, "subset": subset,
              "method_files": method_files(run)}
    file = folder / "config.json"
    if not file.exists():
        write_json(folder / "subset.json", subset | {"indices": indices.tolist()})
        write_json(file, config | {"provenance": provenance(device) | {"dataset": dict(dataset.provenance)}})
        return
    there, now = (_flat(c) for c in (read_json(file) | {"provenance": {}}, json.loads(json.dumps(config))))
    differences = [f"{key}: {there.get(key)} there, {now.get(key)} now"
                   for key in sorted({*there, *now}) if there.get(key) != now.get(key)]
    if differences:
        raise InputError(f"run {run.id} was begun with another config ({'; '.join(differences)}); "
                         f"remove {folder} to begin anew")


def _flat(tree: dict, prefix: str = "") -> dict:
    flat = {}
    for key, value in tree.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def save_checkpoint(folder: Path, parts: dict, step: int, seconds: float) -> None:
    """Write the whole state after `step` iterations, keeping the checkpoint before it."""
    if parallel.rank():
        return
    last, new = folder / "checkpoint.pt", folder / "checkpoint.new.pt"
    write_torch(new, {name: part.state_dict() for name, part in parts.items()} | {"step": step, "seconds": seconds})
    if last.exists():
        last.replace(folder / "checkpoint.prev.pt")
    new.replace(last)


def load_checkpoint(folder: Path, parts: dict) -> tuple[int, float]:
    """Restore the newest checkpoint that is whole. Returns iterations done and seconds spent; (0, 0.0) without one."""
    there = [file for file in (folder / "checkpoint.pt", folder / "checkpoint.prev.pt") if file.exists()]
    for file in there:
        if state := _read_checkpoint(file):
            for name, part in parts.items():
                part.load_state_dict(state[name])
            return state["step"], state["seconds"]
    if there:
        print(f"warning: {folder}: no checkpoint is whole; the training begins anew", file=sys.stderr)
    return 0, 0.0


def _read_checkpoint(file: Path) -> dict | None:
    """The checkpoint, or None, said aloud, when it is damaged. Raises InputError where it is no checkpoint.

    torch.load checks nothing, and the CRCs in its archive cover contents only: one bit in the archive's directory was
    seen to turn the weights into whatever lay in memory.
    """
    content = file.read_bytes()
    if hashlib.sha256(content[:-32]).digest() != content[-32:]:
        print(f"warning: {file} is damaged; it is passed over", file=sys.stderr)
        return None
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError) as error:
        raise InputError(f"{file}: not a checkpoint of tensors and numbers, so refused; remove it") from error


class Log:
    """log.jsonl, one line per logged iteration. Lines after `start` belong to steps that are to be done again."""

    def __init__(self, file: Path, start: int):
        lines = file.read_text(encoding="utf-8").splitlines(keepends=True) if file.exists() else []
        whole = [line for line in lines if line.endswith("\n") and json.loads(line)["iteration"] <= start]
        write_bytes(file, "".join(whole).encode())
        self.file = file

    def write(self, **values) -> None:
        if parallel.rank():
            return
        try:
            with self.file.open("a", encoding="utf-8") as file:
                file.write(json.dumps(values) + "\n")
        except OSError as error:  # half a line may be there, which is dropped when the run goes on
            raise InputError(f"cannot write {self.file}: {error.strerror}") from error


def keep_memory() -> None:
    """Let glibc keep freed memory of whatever size for the next tensor, instead of fetching zeroed pages anew.

    On a CPU that fetching costs more than an elementwise operation on the tensor. Other C libraries go without.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(-4, 0)  # M_MMAP_MAX: no mapping of its own for a large tensor
        libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD: nothing goes back to the system
