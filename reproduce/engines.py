"""Who runs the cells of a sweep, and where: threads of this process, Ray, or SLURM.

Each engine comes down to reproduce.cell, whose truth is in files: an engine may die at any moment, and the same sweep
under any engine goes on from there. A new engine is a function here, a line in ENGINES, and its name in
settings.ENGINES, which knows no engine so that `make` can check options without loading any.
"""

import os
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from types import ModuleType

from benchmarks.runs import InputError
from reproduce.cell import GRACE, ROOT, STOP, Attempt, attempt
from reproduce.settings import Settings

PAUSE = 30.0  # seconds until a cell that another process holds is tried again
RAY = "2.60.0"  # the version this was tested with
WARNING = 120  # seconds before its time limit at which SLURM tells a job to stop


def rounds(run_ids: list[str], tries: Callable[[list[str]], Iterator[Attempt]]) -> dict[str, Attempt]:
    """Try all cells, then again those that another process held, until each has an outcome or STOP is set."""
    outcome: dict[str, Attempt] = {}
    left = run_ids
    while left and not STOP.is_set():
        for tried in tries(left):
            if tried.state != "later":
                outcome[tried.run_id] = tried
                print(f"[{len(outcome)}/{len(run_ids)}] {tried.reason} ({tried.seconds:.0f} s)", flush=True)
        left = [run_id for run_id in run_ids if run_id not in outcome]
        if left:
            STOP.wait(PAUSE)
    return outcome | _later(left, "told to stop; the same command goes on")


def _later(run_ids: list[str], reason: str) -> dict[str, Attempt]:
    return {run_id: Attempt(run_id, "later", f"{run_id}: {reason}") for run_id in run_ids}


# --- Threads ----------------------------------------------------------------------------------------------------------


def serial(run_ids: list[str], settings: Settings) -> dict[str, Attempt]:
    """On this machine, `jobs` cells at a time, or `runs_per_gpu` on each of its GPUs."""
    devices, free = places(settings), SimpleQueue()
    for device in devices:
        free.put(device)

    def on_a_free_one(run_id: str) -> Attempt:
        device = free.get()
        try:
            return attempt(run_id, replace(settings, device=device))
        finally:
            free.put(device)

    def tries(left: list[str]) -> Iterator[Attempt]:
        with ThreadPoolExecutor(len(devices)) as pool:
            for future in as_completed([pool.submit(on_a_free_one, run_id) for run_id in left]):
                yield future.result()

    return rounds(run_ids, tries)


def places(settings: Settings) -> list[str]:
    """The device of each of the cells that run at a time. Raises InputError for GPUs that cannot be shared out so."""
    if not settings.gpus:
        return [settings.device] * max(settings.jobs, settings.runs_per_gpu)
    fitting = ("JOBS=1", "DEVICE=auto", "DEVICE=cuda", "GPUS_PER_RUN=1")
    given = (f"JOBS={settings.jobs}", f"DEVICE={settings.device}", f"GPUS_PER_RUN={settings.gpus_per_run}")
    others = [option for option in given if option not in fitting]
    if others:
        raise InputError(f"GPUS={settings.gpus}: ENGINE=serial shares them out to runs of one GPU each, RUNS_PER_GPU "
                         f"at a time; leave out {', '.join(others)}")
    from torch.cuda import device_count  # here, because it takes torch seconds to load

    if settings.gpus > device_count():
        raise InputError(f"GPUS={settings.gpus}: there are {device_count()} here")
    return [f"cuda:{gpu}" for gpu in range(settings.gpus)] * settings.runs_per_gpu


# --- Ray --------------------------------------------------------------------------------------------------------------


def ray(run_ids: list[str], settings: Settings) -> dict[str, Attempt]:
    """A Ray task per cell, which has its GPUs for itself or its share of one; as serial otherwise.

    On a Ray of this machine alone, or on the cluster that RAY_ADDRESS names: checkout, data and results must then be at
    the same path on every node. Ray starts a cell again, up to `retries` times, whose worker or machine is lost.
    """
    with connected(settings) as core:
        task = core.remote(max_retries=settings.retries, **_share(core, settings))(_quiet_attempt)
        return rounds(run_ids, partial(_tries_on_ray, core, task, settings))


@contextmanager
def connected(settings: Settings) -> Iterator[ModuleType]:
    """The module `ray`, connected. Raises InputError where it is not installed or the cluster does not answer."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    if not os.environ.get("RAY_ADDRESS"):
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # what keeps Ray on loopback, on Linux as well
    try:
        import ray as core  # here, because it is optional
    except ModuleNotFoundError as error:
        raise InputError(f"ENGINE=ray: Ray is not installed; `.venv/bin/pip install ray=={RAY}`") from error
    try:
        with handlers_kept():
            _init(core, settings)
        yield core
    finally:
        core.shutdown()


@contextmanager
def handlers_kept() -> Iterator[None]:
    """Ray sets handlers of its own for the signals that tell a sweep to stop."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


def _init(core: ModuleType, settings: Settings) -> None:
    address = os.environ.get("RAY_ADDRESS")
    if not address:
        core.init("local", num_gpus=settings.gpus, include_dashboard=False, object_store_memory=100 << 20,
                  logging_level="warning")
        return
    if settings.gpus:
        raise InputError(f"GPUS={settings.gpus}: all GPUs of the cluster at RAY_ADDRESS are used")
    try:
        _call(address)
        core.init(address, logging_level="warning")
    except OSError as error:
        raise InputError(f"RAY_ADDRESS {address}: no Ray cluster there lets us in; is it up, and RAY_AUTH_MODE "
                         "(token or disabled) the same here?") from error


def _call(address: str) -> None:
    """Raises OSError where nobody answers at HOST:PORT. Ray would ask for many minutes."""
    host, _, port = address.rpartition(":")
    if port.isdecimal():
        socket.create_connection((host, int(port)), 10).close()


def _share(core: ModuleType, settings: Settings) -> dict[str, float]:
    """What a cell takes of Ray's resources: GPUs, or a core where there are none."""
    most = max(node["Resources"].get("GPU", 0) for node in core.nodes() if node["Alive"])
    if settings.gpus_per_run > max(most, 1):
        raise InputError(f"GPUS_PER_RUN={settings.gpus_per_run}: no machine has more than {most:g} GPUs")
    if not most or (settings.device == "cpu" and not settings.gpus):
        return {"num_cpus": settings.gpus_per_run}
    return {"num_gpus": settings.gpus_per_run / settings.runs_per_gpu, "num_cpus": 0}


def _quiet_attempt(run_id: str, settings: Settings) -> Attempt:
    os.environ["TQDM_DISABLE"] = "1"  # progress bars of many machines through one log are of no use
    return attempt(run_id, settings)


def _tries_on_ray(core: ModuleType, task: Callable, settings: Settings, left: list[str]) -> Iterator[Attempt]:
    running = {task.remote(run_id, settings): run_id for run_id in left}
    while running and not STOP.is_set():
        for reference in core.wait([*running], timeout=1.0)[0]:
            yield _result(core, reference, running.pop(reference))
    if running:
        for reference in running:  # a KeyboardInterrupt in cell.watched, which ends its process kindly
            core.cancel(reference)
        core.wait([*running], num_returns=len(running), timeout=2 * GRACE)


def _result(core: ModuleType, reference: object, run_id: str) -> Attempt:
    try:
        return core.get(reference)
    except core.exceptions.RayError as error:  # its worker was lost more often than `retries`
        return Attempt(run_id, "failed", f"{run_id}: {type(error).__name__}, {str(error).splitlines()[0]}")


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


def slurm(run_ids: list[str], settings: Settings) -> dict[str, Attempt]:
    """Submit an array job of one task per cell, or per `runs_per_gpu` cells, and return without waiting for it.

    The script and the logs are kept in the results folder as sweeps/JOB.sbatch and sweeps/JOB_TASK.log.
    """
    folder = settings.results.absolute() / "sweeps"
    folder.mkdir(parents=True, exist_ok=True)
    text = script(run_ids, settings, folder)
    job = _submit(text)
    (folder / f"{job}.sbatch").write_text(text, encoding="utf-8")
    print(f"SLURM job {job}: `squeue --job {job}` shows it, `scancel {job}` ends it, its logs are in {folder}")
    return _later(run_ids, f"submitted as a part of SLURM job {job}")


def _submit(text: str) -> str:
    """The number of the job that a batch script becomes."""
    done = subprocess.run(["sbatch", "--parsable"], input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        raise InputError(f"sbatch refused the sweep: {' '.join(done.stderr.split())}")
    return done.stdout.split(";")[0].strip()  # JOB or JOB;CLUSTER


def script(run_ids: list[str], settings: Settings, folder: Path) -> str:
    """The batch script: an array of tasks, each `python -m reproduce.sweep` of its cells, `runs_per_gpu` at a time."""
    size = settings.runs_per_gpu
    tasks = [shlex.quote(" ".join(run_ids[i : i + size])) for i in range(0, len(run_ids), size)]
    limit = ""
    if settings.gpus:
        limit = f"%{settings.gpus // settings.gpus_per_run}"
    task = replace(settings.of_one_run(), jobs=size)
    command = [sys.executable, "-m", "reproduce.sweep", *task.arguments()]
    return SCRIPT.format(
        array=f"0-{len(tasks) - 1}{limit}", root=shlex.quote(str(ROOT)), folder=shlex.quote(str(folder)),
        warning=WARNING, options=_options(settings), runs="\n".join(tasks), command=shlex.join(command))  # fmt: skip


def _options(settings: Settings) -> str:
    """The lines of the batch script for what was asked of SLURM."""
    options = []
    if settings.device != "cpu":
        options.append(f"#SBATCH --gres=gpu:{settings.gpus_per_run}")
    if settings.sbatch:
        options.append(f"#SBATCH {settings.sbatch}")
    return "\n".join(options)


ENGINES: dict[str, Callable[[list[str], Settings], dict[str, Attempt]]] = {
    "serial": serial, "ray": ray, "slurm": slurm}
