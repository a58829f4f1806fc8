"""Checkpoints of a run: its whole state, in the newest one and the one before it."""

import hashlib
import io
import os
import pickle
from pathlib import Path

import torch

from benchmarks.runs import InputError
from benchmarks.state import read_json, typed
from reproduce import parallel
from reproduce.machine import peak_bytes
from reproduce.record import require_own, warn, write_bytes, write_json


def save(folder: Path, parts: dict, step: int, seconds: float, device: torch.device) -> None:
    """Write the whole state after `step` iterations, keeping the checkpoint before it, and the peak of memory so far.

    The log is brought to the disk first, so that no checkpoint is ahead of it after a power cut.
    """
    if parallel.rank():
        return
    last, new = folder / "checkpoint.pt", folder / "checkpoint.new.pt"
    _bring_to_disk(folder / "log.jsonl")
    state = {name: part.state_dict() for name, part in parts.items()}
    write(new, state | {"run": folder.name, "step": step, "seconds": seconds})
    write_json(folder / "usage.json", {"peak_bytes": max(trained_peak(folder) or 0, peak_bytes(device))})
    if last.exists():
        last.replace(folder / "checkpoint.prev.pt")
    new.replace(last)


def _bring_to_disk(file: Path) -> None:
    if file.exists():
        with file.open("rb") as opened:
            os.fsync(opened.fileno())


def write(path: Path, content: object) -> None:
    """Write tensors and numbers, followed by the sha256 of all that; torch.load passes over it."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    buffer.write(hashlib.sha256(buffer.getbuffer()).digest())
    write_bytes(path, buffer.getbuffer())


def load(folder: Path, parts: dict) -> tuple[int, float]:
    """Restore the newest checkpoint that is whole. Returns iterations done and seconds spent; (0, 0.0) without one."""
    found = newest(folder)
    if not found:
        return 0, 0.0
    file, state = found
    _restore(file, state, parts)
    return state["step"], state["seconds"]


def newest(folder: Path) -> tuple[Path, dict] | None:
    """The newest checkpoint that is whole, and its state."""
    there = [file for file in (folder / "checkpoint.pt", folder / "checkpoint.prev.pt") if file.exists()]
    for file in there:
        state = _read(file)
        if state is not None:
            typed(f"{file}", state, {"run": str, "step": int, "seconds": float | int}, _remedy(file))
            return file, state
    if there:
        warn(f"{folder}: no checkpoint is whole; the training begins anew")
    return None


def _read(file: Path) -> dict | None:
    """The checkpoint, or None, said aloud, when it is damaged. Raises InputError where it is no checkpoint.

    torch.load checks nothing, and the CRCs in its archive cover contents only: one bit in the archive's directory was
    seen to turn the weights into whatever lay in memory.
    """
    content = file.read_bytes()
    if hashlib.sha256(content[:-32]).digest() != content[-32:]:
        warn(f"{file} is damaged; it is passed over")
        return None
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError) as error:
        raise InputError(f"{file}: not a checkpoint of tensors and numbers, so refused; remove it") from error


def _restore(file: Path, state: dict, parts: dict) -> None:
    """Load the state of a checkpoint. Raises InputError where it is that of another run or another code."""
    remedy = _remedy(file)
    typed(f"{file}", state, dict.fromkeys(parts, dict), remedy)
    require_own(file, state["run"], file.parent.name, remedy)
    try:
        for name, part in parts.items():
            part.load_state_dict(state[name])
    except (RuntimeError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{file}: does not fit this version of the code ({reason}); {remedy}") from error


def _remedy(file: Path) -> str:
    return f"remove {file.parent} to train the run anew"


def trained_peak(folder: Path) -> int | None:
    """The peak of memory of a run's training, as its checkpoints have noted it; None where there is no note."""
    path = folder / "usage.json"
    if not path.exists():
        return None
    return read_json(path, {"peak_bytes": int}, "remove it")["peak_bytes"]
