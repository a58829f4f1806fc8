"""The files of a run: where they lie, how they are written and read, and the provenance noted beside every result."""

import ctypes
import fcntl
import hashlib
import io
import json
import math
import os
import pickle
import platform
import resource
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
from baselines.recipe import LIMITS, Recipe
from baselines.regularizers import REGULARIZERS
from benchmarks.datasets import Dataset
from benchmarks.runs import InputError, Run, TryLaterError
from benchmarks.state import parsed, read_json, typed, write_whole
from reproduce import parallel

HELDOUT = "heldout"  # the model of runs that score held-out real images and train nothing


def folder(results: Path, run_id: str) -> Path:
    return Path(results) / run_id


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file whole or not at all. Of several processes of one training, the first one writes."""
    if not parallel.rank():
        write_whole(path, data)


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


CONFIG = {"id": str, "run": dict, "dataset": dict, "subset": dict, "provenance": dict}
METRICS_FILE = {"id": str, "status": str, "metrics": list}
ENTRY = {"name": str, "value": float | int, "extractor": str, "extractor_sha256": str, "resize": str, 
         "n_generated": int, "checkpoint": str, "iteration": int, "eval_seed": int}  # fmt: skip


def read_config(folder: Path, run: Run) -> dict:
    """A run's config.json. Raises InputError where it is damaged or that of another run."""
    remedy = f"get it again, or remove {folder} to train the run anew"
    config = read_json(folder / "config.json", CONFIG, remedy)
    typed(f"{folder / 'config.json'}: dataset", config["dataset"], {"name": str, "digest": str}, remedy)
    if config["id"] != run.id:
        raise InputError(f"{folder / 'config.json'}: of another run, {config['id']!r}; {remedy}")
    return config


def read_metrics(folder: Path) -> dict:
    """A run's metrics.json, {} where there is none. Raises InputError where it is damaged or that of another run."""
    path, remedy = folder / "metrics.json", "remove it to have the run measured anew"
    if not path.exists():
        return {}
    known = read_json(path, METRICS_FILE, remedy)
    if known["id"] != folder.name:
        raise InputError(f"{path}: of another run, {known['id']!r}; {remedy}")
    if known["status"] != "diverged":
        typed(f"{path}", known, {"evaluated": list, "generator_sha256": str}, remedy)
    for i, entry in enumerate(known["metrics"]):
        typed(f"{path}: metrics[{i}]", entry, ENTRY, remedy)
    return known


def read_diverged(folder: Path) -> dict:
    """Where a run diverged: {"iteration": ...}."""
    return read_json(folder / "diverged.json", {"iteration": int}, f"remove {folder} to train the run anew")


def trained_seconds(folder: Path) -> float:
    """How long a run was trained, by the last line of its log; 0.0 without one."""
    lines = read_log(folder / "log.jsonl")
    if not lines:
        return 0.0
    return float(lines[-1]["seconds"])


class Trained(NamedTuple):
    """A generator as it lies on disk."""

    state: dict[str, Tensor]
    iteration: int
    sha256: str  # of the file


def write_generator(path: Path, G: nn.Module, run: Run, iteration: int) -> None:
    """Write weights as safetensors. One entry of the header says whose: several would come in random order."""
    state = {name: tensor.cpu().contiguous() for name, tensor in G.state_dict().items()}
    about = {"run": run.id, "iteration": iteration, "sha256": state_sha256(state, run.id, iteration)}
    write_bytes(path, save(state, {"trained": json.dumps(about)}))


def state_sha256(state: dict[str, Tensor], run_id: str, iteration: int) -> str:
    """sha256 over all that a generator's file tells: a flipped bit in it is noticed when it is read."""
    digest = hashlib.sha256(f"{run_id} {iteration}".encode())
    for name in sorted(state):
        tensor = state[name].contiguous()
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)} ".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def read_generator(path: Path, run: Run) -> Trained:
    """A run's generator. Nothing in the file is executed. Raises InputError where it is missing, damaged or another."""
    if not path.exists():
        raise InputError(f"{path}: missing, and nothing else is read; `python -m reproduce.run {run.id}` makes it")
    remedy = f"get it again, or remove it and `python -m reproduce.run {run.id}`"
    try:
        with safe_open(path, "pt") as file:
            state = {name: file.get_tensor(name) for name in file.keys()}
            about = parsed(file.metadata()["trained"])
        name, iteration, sha256 = about["run"], int(about["iteration"]), about["sha256"]
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: not a whole safetensors file of a generator; {remedy}") from error
    if name != run.id:
        raise InputError(f"{path}: the generator of another run, {name!r}, not of {run.id}")
    if state_sha256(state, name, iteration) != sha256:
        raise InputError(f"{path}: damaged, its weights are not those that were written; {remedy}")
    return Trained(state, iteration, hashlib.sha256(path.read_bytes()).hexdigest())


def device(name: str) -> torch.device:
    """The device of a name; "auto" is the GPU where there is one. Raises InputError for one that is not there.

    A GPU is the current one from then on, which streams and graphs are made on.
    """
    if name == "auto":
        name = "cpu"
        if torch.cuda.is_available():
            name = "cuda"
        return torch.device(name)
    valid = ["auto", "cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    current = name == "cuda" and torch.cuda.is_available()
    if name not in valid and not current:
        raise InputError(f"device {name!r}: not one of {', '.join(valid)}")
    chosen = torch.device(name)
    if chosen.index is not None:
        torch.cuda.set_device(chosen)
    return chosen


def require_method(run: Run) -> None:
    """Raises InputError for a regularizer or an augmentation that does not exist, or not for the run's model."""
    for name in run.regularizers:
        _known("regularizer", name, REGULARIZERS)
        if REGULARIZERS[name]().of == "G" and not hasattr(model_of(run).Generator, "mapping"):
            raise InputError(f"regularizer {name!r}: needs a generator with a mapping to styles, which {run.model} has "
                             "not")
    if run.augment:
        _known("augmentation", run.augment, [name for name in AUGMENTATIONS if name])


def method_files(run: Run) -> dict[str, str]:
    """The sha256 of the file of each regularizer that comes from a user's file."""
    digests = {name: REGULARIZERS[name]().sha256 for name in run.regularizers}
    return {name: digest for name, digest in digests.items() if digest}


def model_of(run: Run) -> ModuleType:
    """The model's module. Raises InputError for a model that does not exist, or whose file is broken."""
    _known("model", run.model, MODELS)
    try:
        return MODELS[run.model]
    except BrokenModel as error:
        raise InputError(f"model {run.model!r}: {error}") from error


def resolve(run: Run) -> tuple[ModuleType, Recipe]:
    """The model's module and its recipe with the run's overrides. Raises InputError for a name that does not exist."""
    model, override = model_of(run), dict(run.override)
    name = override.pop("recipe", _default_recipe(model, run.resolution))
    _known("recipe", name, model.RECIPES)
    recipe = _override(model.RECIPES[name], override)
    _require_groups(run, recipe)
    return model, recipe


def _default_recipe(model: ModuleType, resolution: int) -> str:
    """The name of the model's first recipe for a resolution."""
    _known("resolution", resolution, resolutions(model))
    return next(name for name, recipe in model.RECIPES.items() if resolution in recipe.resolutions)


def resolutions(model: ModuleType) -> list[int]:
    """The image sizes in pixels for which a model has a recipe."""
    sizes = set()
    for recipe in model.RECIPES.values():
        sizes.update(recipe.resolutions)
    return sorted(sizes)


def _require_groups(run: Run, recipe: Recipe) -> None:
    """Raises InputError where a batch is no whole number of the groups of minibatch standard deviation."""
    if run.batch % recipe.group:
        raise InputError(f"batch {run.batch}: must be a multiple of mbstd_group = {recipe.group}, the images that "
                         f"{run.model}'s minibatch standard deviation compares")


def _override(recipe: Recipe, override: dict) -> Recipe:
    """A recipe with other values of its numbers and of its networks' options."""
    numbers = {}
    for field in fields(Recipe):
        value = getattr(recipe, field.name)
        if isinstance(value, int | float):
            numbers[field.name] = value
    parts = {"generator": dict(recipe.generator), "discriminator": dict(recipe.discriminator)}
    published = {**parts["discriminator"], **parts["generator"], **numbers}
    changed = {}
    for key, value in override.items():
        _known("override", key, sorted(published))
        _require_like(published[key], key, value)
        if key in numbers:
            changed[key] = value
        for part in parts.values():
            if key in part:
                part[key] = value
    return replace(recipe, **changed, **parts)


def _require_like(known: object, key: str, value: float | str) -> None:
    """Raises InputError where the value is not of the kind that the published one is."""
    if isinstance(value, str):
        raise InputError(f"override {key} {value!r}: must be a number")
    if isinstance(known, bool) and value not in (0, 1):
        raise InputError(f"override {key} {value}: must be 0 or 1")
    if isinstance(known, int) and value != int(value):
        raise InputError(f"override {key} {value}: must be a whole number")
    low, high = LIMITS.get(key, (-math.inf, math.inf))
    if not low < value <= high:
        raise InputError(f"override {key} {value}: must be above {max(low, 0):g} and at most {high:g}")


def _known(kind: str, name: object, names) -> None:
    if name not in names:
        raise InputError(f"{kind} {name!r}: not one of {', '.join(map(str, names))}")


def provenance(device: torch.device) -> dict:
    """The commit, the versions and the machine that a result comes from."""
    versions = {"python": platform.python_version()}
    for package in ("torch", "torchvision", "numpy"):
        versions[package] = version(package)
    return {
        "commit": _git("rev-parse", "HEAD") or "unknown",
        "dirty": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "versions": versions,
        "device": _device_name(device),
        "threads": torch.get_num_threads(),
        "processes": parallel.processes(),
    }


def _git(*arguments: str) -> str:
    """What git prints of this project; "" where there is no git."""
    try:
        done = subprocess.run(["git", "-C", Path(__file__).parent, *arguments], capture_output=True, text=True,
                              check=False)
    except FileNotFoundError:  # not every machine that trains has git
        return ""
    return done.stdout.strip()


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"cpu ({platform.machine()})"


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


def open_config(folder: Path, run: Run, recipe: Recipe | None, dataset: Dataset, indices: np.ndarray,
                device: torch.device) -> None:
    """Write config.json, which holds all that decides a run's numbers, and subset.json; or check those that are there.

    Raises InputError that lists the differences when the run was begun with another config, and warns where a CPU goes
    on with another number of threads, since sums are then rounded in another order.
    """
    subset = {"count": len(indices), "sha256": hashlib.sha256(indices.astype("<i8").tobytes()).hexdigest()}
    facts = {"name": dataset.name, "digest": dataset.digest, "classes": dataset.classes, "flip": dataset.flip,
             "count": len(dataset.images)}
    config = config_of(run, recipe, facts, subset, method_files(run))
    file = folder / "config.json"
    if not file.exists():
        write_json(folder / "subset.json", subset | {"indices": indices.tolist()})
        write_json(file, config | {"provenance": provenance(device) | {"dataset": dict(dataset.provenance)}})
        return
    begun = read_config(folder, run)
    differences = [f"{key}: {there} there, {now} now" for key, there, now in config_differences(begun, config)]
    if differences:
        raise InputError(f"run {run.id} was begun with another config ({'; '.join(differences)}); "
                         f"remove {folder} to begin anew")
    _warn_of_threads(run, begun, folder, device)


def config_of(run: Run, recipe: Recipe | None, dataset: dict, subset: dict, files: dict[str, str]) -> dict:
    """A config.json without its provenance: what is trained, on what, with the sha256 of a user's regularizers."""
    options = {}
    if recipe:
        options = asdict(recipe)
    return {"id": run.id, "run": asdict(run), "recipe": options, "dataset": dataset, "subset": subset,
            "method_files": files}


def config_differences(there: dict, now: dict) -> Iterator[tuple[str, object, object]]:
    """Key and both values where the config of a file differs from that of now, its provenance apart."""
    there = _flat({key: value for key, value in there.items() if key != "provenance"})
    now = _flat(json.loads(json.dumps(now)))  # tuples become lists, as in the file
    for key in sorted({*there, *now}):
        if there.get(key) != now.get(key):
            yield key, there.get(key), now.get(key)


def _warn_of_threads(run: Run, begun: dict, folder: Path, device: torch.device) -> None:
    """Warn where a CPU goes on with another number of threads than the run was begun with."""
    threads = begun["provenance"].get("threads")
    going_on = (folder / "checkpoint.pt").exists() and not (folder / "generator.safetensors").exists()
    if device.type == "cpu" and going_on and threads != torch.get_num_threads():
        print(f"warning: {run.id}: begun with {threads} threads, now {torch.get_num_threads()}: on a CPU the numbers "
              "will differ from an undisturbed run's in their last bits", file=sys.stderr)


def _flat(tree: dict, prefix: str = "") -> dict:
    flat = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def save_checkpoint(folder: Path, parts: dict, step: int, seconds: float) -> None:
    """Write the whole state after `step` iterations, keeping the checkpoint before it.

    The log is brought to the disk first, so that no checkpoint is ahead of it after a power cut.
    """
    if parallel.rank():
        return
    last, new, log = folder / "checkpoint.pt", folder / "checkpoint.new.pt", folder / "log.jsonl"
    if log.exists():
        with log.open("rb") as file:
            os.fsync(file.fileno())
    state = {name: part.state_dict() for name, part in parts.items()}
    write_torch(new, state | {"run": folder.name, "step": step, "seconds": seconds})
    peak = max(trained_peak(folder) or 0, peak_bytes(_device_of(parts)))
    write_json(folder / "usage.json", {"peak_bytes": peak})
    if last.exists():
        last.replace(folder / "checkpoint.prev.pt")
    new.replace(last)


def load_checkpoint(folder: Path, parts: dict) -> tuple[int, float]:
    """Restore the newest checkpoint that is whole. Returns iterations done and seconds spent; (0, 0.0) without one."""
    there = [file for file in (folder / "checkpoint.pt", folder / "checkpoint.prev.pt") if file.exists()]
    for file in there:
        state = _read_checkpoint(file)
        if state is not None:
            _restore(file, state, parts)
            return state["step"], state["seconds"]
    if there:
        print(f"warning: {folder}: no checkpoint is whole; the training begins anew", file=sys.stderr)
    return 0, 0.0


def _restore(file: Path, state: dict, parts: dict) -> None:
    """Load the state of a checkpoint. Raises InputError where it is that of another run or another code."""
    run_id, remedy = file.parent.name, f"remove {file.parent} to train the run anew"
    typed(f"{file}", state, {"run": str, "step": int, "seconds": float | int} | dict.fromkeys(parts, dict), remedy)
    if state["run"] != run_id:
        raise InputError(f"{file}: of another run, {state['run']!r}, not of {run_id}; {remedy}")
    try:
        for name, part in parts.items():
            part.load_state_dict(state[name])
    except (RuntimeError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{file}: does not fit this version of the code ({reason}); {remedy}") from error


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


# --- Peak memory ------------------------------------------------------------------------------------------------------


def reset_peak(device: torch.device) -> None:
    """Let peak_bytes() begin anew, where the system can do that: on CUDA and on Linux."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # sets VmHWM to what is resident now


def peak_bytes(device: torch.device) -> int:
    """The most memory that was in use at once: of tensors on CUDA, resident memory of the process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    with suppress(OSError, IndexError, ValueError):
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) * 1024
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if sys.platform == "darwin":  # bytes there, elsewhere KiB
        return largest
    return largest * 1024


def trained_peak(folder: Path) -> int | None:
    """peak_bytes() of a run's training, as its checkpoints have noted it; None where there is no note."""
    path = folder / "usage.json"
    if not path.exists():
        return None
    return read_json(path, {"peak_bytes": int}, "remove it")["peak_bytes"]


def _device_of(parts: dict) -> torch.device:
    for part in parts.values():
        if isinstance(part, nn.Module):
            for tensor in part.parameters():
                return tensor.device
    return torch.device("cpu")


class Log:
    """log.jsonl, one line per logged iteration. Lines after `start` belong to steps that are to be done again."""

    def __init__(self, file: Path, start: int):
        lines = [line for line in read_log(file, damaged="dropped") if line["iteration"] <= start]
        _warn_of_holes(file, [line["iteration"] for line in lines], start)
        write_bytes(file, "".join(json.dumps(line) + "\n" for line in lines).encode())
        self.file = file

    def write(self, **values) -> None:
        if parallel.rank():
            return
        try:
            with self.file.open("a", encoding="utf-8") as file:
                file.write(json.dumps(values) + "\n")
        except OSError as error:  # half a line may be there, which is dropped when the run goes on
            raise InputError(f"cannot write {self.file}: {error.strerror}") from error


def read_log(file: Path, damaged: str = "passed over") -> list[dict]:
    """The lines of a log. A last line that is cut short belongs to a killed process; other damaged ones are named."""
    try:
        if not file.exists():
            return []
        lines = file.read_bytes().splitlines(keepends=True)
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error})") from error
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            rows.append(typed("", parsed(line), {"iteration": int, "seconds": float | int}))
        except ValueError:  # InputError is one
            if line.endswith(b"\n") or number < len(lines):
                print(f"warning: {file}: line {number} is damaged; it is {damaged}", file=sys.stderr)
    return rows


def _warn_of_holes(file: Path, iterations: list[int], start: int) -> None:
    """Name the iterations that a log lacks up to `start`. It has every n-th one, and the last one of the training."""
    if not iterations:
        return
    every = min([iterations[0], *np.diff(iterations[:-1])])
    if every < 1:
        print(f"warning: {file}: its iterations do not ascend", file=sys.stderr)
        return
    missing = sorted(set(range(every, start + 1, every)) - set(iterations))
    if missing:
        print(f"warning: {file}: {len(missing)} lines are missing, of iterations {missing[0]} to {missing[-1]}: "
              "figures that are drawn from it have a hole", file=sys.stderr)


def keep_memory() -> None:
    """Let glibc keep freed memory of whatever size for the next tensor, instead of fetching zeroed pages anew.

    On a CPU that fetching costs more than an elementwise operation on the tensor. Other C libraries go without.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(-4, 0)  # M_MMAP_MAX: no mapping of its own for a large tensor
        libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD: nothing goes back to the system
