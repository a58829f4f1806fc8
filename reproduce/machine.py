"""The machine that a run is on: its device, its memory, and the provenance noted beside every result."""

import ctypes
import gc
import platform
import resource
import subprocess
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

import torch

from benchmarks.runs import InputError
from reproduce import parallel


def device(name: str) -> torch.device:
    """The device of a name; "auto" is the GPU where there is one. Raises InputError for one that is not there.

    A GPU is the current one from then on, which streams and graphs are made on.
    """
    valid = ["cpu"]
    if torch.cuda.is_available():
        valid = ["cuda", "cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    if name == "auto":
        name = valid[0]
    if name not in valid:
        raise InputError(f"device {name!r}: not one of auto, {', '.join(valid)}")
    chosen = torch.device(name)
    if chosen.index is not None:
        torch.cuda.set_device(chosen)
    return chosen


# --- Provenance -------------------------------------------------------------------------------------------------------


def provenance(device: torch.device) -> dict:
    """The commit, the versions and the machine that a result comes from."""
    versions = {package: version(package) for package in ("torch", "torchvision", "numpy")}
    return {
        "commit": _git("rev-parse", "HEAD") or "unknown",
        "dirty": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "versions": {"python": platform.python_version(), **versions},
        "device": _name(device),
        "threads": torch.get_num_threads(),
        "processes": parallel.processes(),
    }


def _git(*arguments: str) -> str:
    """What git prints of this project; "" where there is no git."""
    command = ["git", "-C", Path(__file__).parent, *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    except FileNotFoundError:  # not every machine that trains has git
        return ""


def _name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"cpu ({platform.machine()})"


# --- Memory -----------------------------------------------------------------------------------------------------------


def keep_memory() -> None:
    """Let glibc keep freed memory of whatever size for the next tensor, instead of fetching zeroed pages anew.

    On a CPU that fetching costs more than an elementwise operation on the tensor. Other C libraries go without.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(-4, 0)  # M_MMAP_MAX: no mapping of its own for a large tensor
        libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD: nothing goes back to the system


def free_memory(device: torch.device) -> None:
    """Give back what nothing uses any more: some networks of a training are in cycles."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


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
    status = Path("/proc/self/status")
    if status.exists():
        return int(status.read_text().split("VmHWM:")[1].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # on macOS in bytes
