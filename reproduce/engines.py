"""Who runs the cells of a sweep, and where: threads of this process, Ray, or SLURM.

Each engine comes down to reproduce.cell, whose truth is in files: an engine may die at any moment, and the same sweep
under any engine goes on from there. A new engine is a function here and a line in ENGINES.
"""

import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from types import ModuleType

from benchmarks.runs import InputError, TryLaterError
from reproduce.cell import GRACE, ROOT, STOP, CellError, Settings, cell

PAUSE = 30.0  # seconds until a cell that another process holds is tried again
RAY = "2.60.0"  # the version this was tested with
WARNING = 120  # seconds before its time limit at which SLURM tells a job to stop


@dataclass(frozen=True)
class Capacity:
    """What there is to run on.

    jobs          serial: cells at a time, on a CPU or on one GPU
    gpus          GPUs to use, or for Ray to pretend it has; None: serial uses one, the others all there are
    runs_per_gpu  small runs that share a GPU
    sbatch        slurm: further options of sbatch, such as "--partition=long --time=2-00:00:00"
    """

    jobs: int = 1
    gpus: int | None = None
    runs_per_gpu: int = 1
    sbatch: str = ""

    def require(self, settings: Settings) -> None:
        """Raises InputError where a run shares a GPU and has several at once, or needs more than there are."""
        if self.runs_per_gpu > 1 and settings.gpus_per_run > 1:
            raise InputError(f"--runs-per-gpu {self.runs_per_gpu} with --gpus-per-run {settings.gpus_per_run}: "
                             "one of them must be 1")
        if self.gpus and self.gpus < settings.gpus_per_run:
            raise InputError(f"--gpus {self.gpus}: must be at least --gpus-per-run, {settings.gpus_per_run}")


Try = tuple[str, str | None, float]  # run id; "" when done, a line why not, None for another time; seconds it took


def attempt(run_id: str, settings: Settings) -> Try:
    """Try a cell once."""
    began = time.monotonic()
    if STOP.is_set():
        return run_id, None, 0.0
    try:
        cell(run_id, settings)
        line = ""
    except TryLaterError:
        line = None
    except (InputError, CellError) as error:
        line = str(error)
    except OSError as error:
        line = f"{run_id}: {error}"
    return run_id, line, time.monotonic() - began


def rounds(run_ids: list[str], tries: Callable[[list[str]], Iterator[Try]]) -> dict[str, str]:
    """Try all cells, then again those that another process held, until each has an outcome or STOP is set."""
    outcome: dict[str, str] = {}
    while not STOP.is_set() and (left := [run_id for run_id in run_ids if run_id not in outcome]):
        for run_id, line, seconds in tries(left):
            if line is not None:
                outcome[run_id] = line
                print(f"[{len(outcome)}/{len(run_ids)}] {line or run_id + ': done'} ({seconds:.0f} s)", flush=True)
        if len(outcome) < len(run_ids):
            STOP.wait(PAUSE)
    return {run_id: outcome.get(run_id, f"{run_id}: told to stop; the same command goes on") for run_id in run_ids}


# --- Threads ----------------------------------------------------------------------------------------------------------


def serial(run_ids: list[str], settings: Settings, capacity: Capacity) -> dict[str, str]:
    """On this machine, `jobs` cells at a time, or `runs_per_gpu` on each of its GPUs.

    Returns run id -> "" when done, or a line why not.
    """
    devices, free = _devices(settings, capacity), SimpleQueue()
    for device in devices:
        free.put(device)

    def on_a_free_one(run_id: str) -> Try:
        device = free.get()
        try:
            return attempt(run_id, replace(settings, device=device))
        finally:
            free.put(device)

    def tries(left: list[str]) -> Iterator[Try]:
        with ThreadPoolExecutor(len(devices)) as pool:
            for future in as_completed([pool.submit(on_a_free_one, run_id) for run_id in left]):
                yield future.result()

    return rounds(run_ids, tries)


def _devices(settings: Settings, capacity: Capacity) -> list[str]:
    """That of each of the cells that run at a time."""
    if not capacity.gpus:
        return [settings.device] * max(capacity.jobs, capacity.runs_per_gpu)
    others = [f"--jobs {capacity.jobs}"] if capacity.jobs > 1 else []
    others += [f"--device {settings.device}"] if settings.device not in ("auto", "cuda") else []
    others += [f"--gpus-per-run {settings.gpus_per_run}"] if settings.gpus_per_run > 1 else []
    if others:
        raise InputError(f"--gpus {capacity.gpus}: --engine serial shares them out to runs of one GPU each, "
                         f"--runs-per-gpu at a time; leave out {', '.join(others)}")
    from torch.cuda import device_count  # here, because it takes torch seconds to load

    if capacity.gpus > device_count():
        raise InputError(f"--gpus {capacity.gpus}: there are {device_count()} here")
    return [f"cuda:{gpu}" for gpu in range(capacity.gpus)] * capacity.runs_per_gpu


# --- Ray --------------------------------------------------------------------------------------------------------------


def ray(run_ids: list[str], settings: Settings, capacity: Capacity) -> dict[str, str]:
    """A Ray task per cell, which has its GPUs for itself or its share of one; as serial otherwise.

    On a Ray of this machine alone, or on the cluster that RAY_ADDRESS names: checkout, data and results must then be at
    the same path on every node. Ray starts a cell again, up to `retries` times, whose worker or machine is lost.
    """
    with connected(capacity) as core:
        task = core.remote(max_retries=settings.retries, **_share(core, settings, capacity))(_quiet_attempt)
        return rounds(run_ids, partial(_tries_on_ray, core, task, settings))


@contextmanager
def connected(capacity: Capacity) -> Iterator[ModuleType]:
    """The module `ray`, connected. Raises InputError where it is not installed or the cluster does not answer."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    if not os.environ.get("RAY_ADDRESS"):
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # what keeps Ray on loopback, on Linux as well
    try:
        import ray as core  # here, because it is optional
    except ModuleNotFoundError as error:
        raise InputError(f"--engine ray: Ray is not installed; `.venv/bin/pip install ray=={RAY}`") from error
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        _init(core, capacity)
        for number, handler in handlers.items():  # Ray has set its own
            signal.signal(number, handler)
        yield core
    finally:
        core.shutdown()


def _init(core: ModuleType, capacity: Capacity) -> None:
    address = os.environ.get("RAY_ADDRESS")
    if not address:
        core.init("local", num_gpus=capacity.gpus, include_dashboard=False, object_store_memory=100 << 20,
                  logging_level="warning")
        return
    if capacity.gpus:
        raise InputError(f"--gpus {capacity.gpus}: all GPUs of the cluster at RAY_ADDRESS are used")
    host, _, port = address.rpartition(":")
    try:
        if port.isdecimal():  # asked here, since Ray asks for many minutes
            socket.create_connection((host, int(port)), 10).close()
        core.init(address, logging_level="warning")
    except OSError as error:
        raise InputError(f"RAY_ADDRESS {address}: no Ray cluster there lets us in; is it up, and RAY_AUTH_MODE "
                         "(token or disabled) the same here?") from error


def _share(core: ModuleType, settings: Settings, capacity: Capacity) -> dict[str, float]:
    """What a cell takes of Ray's resources: GPUs, or a core where there are none."""
    most = max(node["Resources"].get("GPU", 0) for node in core.nodes() if node["Alive"])
    if settings.gpus_per_run > max(most, 1):
        raise InputError(f"--gpus-per-run {settings.gpus_per_run}: no machine has more than {most:g} GPUs")
    return {"num_gpus": settings.gpus_per_run / capacity.runs_per_gpu, "num_cpus": 0} if most else {"num_cpus": 1}


def _quiet_attempt(run_id: str, settings: Settings) -> Try:
    os.environ["TQDM_DISABLE"] = "1"  # progress bars of many machines through one log are of no use
    return attempt(run_id, settings)


def _tries_on_ray(core: ModuleType, task: Callable, settings: Settings, left: list[str]) -> Iterator[Try]:
    running = {task.remote(run_id, settings): run_id for run_id in left}
    while running and not STOP.is_set():
        for reference in core.wait([*running], timeout=1.0)[0]:
            run_id = running.pop(reference)
            try:
                yield core.get(reference)
            except core.exceptions.RayError as error:  # its worker was lost more often than `retries`
                yield run_id, f"{run_id}: {type(error).__name__}, {str(error).splitlines()[0]}", 0.0
    if running:
        for reference in running:  # a KeyboardInterrupt in cell.watched, which ends its process kindly
            core.cancel(reference)
        core.wait([*running], num_returns=len(running), timeout=2 * GRACE)


# --- SLURM ------------------------------------------------------------------------------------------------------------

# A task that is told to stop saves and ends with status 75. SLURM itself queues it again after a preemption, and not
# after scancel; near the time limit the task runs on for SLURM, and queues itself.
SCRIPT = """\
#!/bin/bash
#SBATCH --job-name=sweep
#SBATCH --array={array}
#SBATCH --chdir={root}
#SBATCH --output={folder}/%A_%a.log
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --signal=B:TERM@{warning}
{options}
runs=(
{runs}
)
trap 'told=yes; kill $(jobs -p)' TERM
{command} ${{runs[SLURM_ARRAY_TASK_ID]}} &
wait $!
status=$?
if [ "$told" ]; then wait; status=75; fi
task=${{SLURM_ARRAY_JOB_ID}}_$SLURM_ARRAY_TASK_ID
if [ $status = 75 ] && [ "$(squeue --noheader --format=%T --job=$task)" = RUNNING ]; then scontrol requeue $task; fi
exit $status
"""


def slurm(run_ids: list[str], settings: Settings, capacity: Capacity) -> dict[str, str]:
    """Submit an array job of one task per cell, or per `runs_per_gpu` cells, and return without waiting for it.

    The script and the logs are kept in the results folder as sweeps/JOB.sbatch and sweeps/JOB_TASK.log.
    """
    folder = settings.results.absolute() / "sweeps"
    folder.mkdir(parents=True, exist_ok=True)
    text = script(run_ids, settings, capacity, folder)
    try:
        done = subprocess.run(["sbatch", "--parsable"], input=text, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise InputError("--engine slurm: no sbatch here; submit from a login node of a SLURM cluster") from error
    if done.returncode:
        raise InputError(f"sbatch refused the sweep: {' '.join(done.stderr.split())}")
    job = done.stdout.split(";")[0].strip()  # JOB or JOB;CLUSTER
    (folder / f"{job}.sbatch").write_text(text, encoding="utf-8")
    print(f"SLURM job {job}: `squeue --job {job}` shows it, `scancel {job}` ends it, its logs are in {folder}")
    return {run_id: f"{run_id}: submitted as a part of SLURM job {job}" for run_id in run_ids}


def script(run_ids: list[str], settings: Settings, capacity: Capacity, folder: Path) -> str:
    """The batch script: an array of tasks, each `python -m reproduce.sweep` of its cells, `runs_per_gpu` at a time."""
    size = capacity.runs_per_gpu
    tasks = [" ".join(run_ids[i : i + size]) for i in range(0, len(run_ids), size)]
    limit = f"%{capacity.gpus // settings.gpus_per_run}" if capacity.gpus else ""
    options = [f"--gres=gpu:{settings.gpus_per_run}"] if settings.device != "cpu" else []
    options += [capacity.sbatch] if capacity.sbatch else []
    command = [sys.executable, "-m", "reproduce.sweep", *arguments(settings), f"--jobs={size}"]
    return SCRIPT.format(
        array=f"0-{len(tasks) - 1}{limit}", root=shlex.quote(str(ROOT)), folder=shlex.quote(str(folder)),
        warning=WARNING, options="\n".join(f"#SBATCH {option}" for option in options),
        runs="\n".join(map(shlex.quote, tasks)), command=shlex.join(command))  # fmt: skip


def arguments(settings: Settings) -> list[str]:
    """The settings as options of reproduce.sweep."""
    protocol = settings.protocol
    options = {"data": settings.data, "results": settings.results, "device": settings.device,
               "extractor": protocol.extractor, "samples": protocol.samples, "eval-seeds": protocol.eval_seeds,
               "eval-every": protocol.eval_every, "weights": protocol.weights, "method": settings.method,
               "gpus-per-run": settings.gpus_per_run, "micro-batch": settings.micro_batch,
               "graphs": int(settings.graphs), "timeout": settings.timeout, "retries": settings.retries}
    return [f"--{name}={value}" for name, value in options.items() if value not in (None, "")]


ENGINES: dict[str, Callable[[list[str], Settings, Capacity], dict[str, str]]] = {
    "serial": serial, "ray": ray, "slurm": slurm}
