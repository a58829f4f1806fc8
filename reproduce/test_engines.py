"""Sweeps under every engine: each cell made once, through kills and stops, with the numbers of an undisturbed sweep.

Most cells are stand-ins: a small process that behaves like a training, with a step instead of an iteration. Ray and
SLURM are the real ones, where they are installed; SLURM's daemons are started for the test, with all that is theirs.
"""

import getpass
import importlib.util
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.runs import InputError, Run
from reproduce import engines
from reproduce.cell import ROOT, STOP, Attempt
from reproduce.engines import ENGINES
from reproduce.settings import Settings

TINY = Run("dcgan", "few", 32, 0.5, {"gradgap": 100.0}, iterations=60, batch=4, override={"width": 0.1}).id
STEPS = 15
STAND_IN = """
import fcntl, json, os, signal, sys, time
from pathlib import Path
folder, steps, evaluated = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
signal.signal(signal.SIGTERM, lambda *_: (folder / "told").touch() or sys.exit(75))
folder.mkdir(parents=True, exist_ok=True)
lock, log = (folder / ".lock").open("a"), folder / "log"
try:
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    sys.exit(75)
if (folder / "metrics.json").exists():
    sys.exit(0)
gpu = os.environ.get("CUDA_VISIBLE_DEVICES") or sys.argv[4].partition("cuda:")[2]
if gpu:
    held = (folder.parent / f"gpu{gpu}").open("a")
    fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
for step in range(len(log.read_text().split()) if log.exists() else 0, steps):
    time.sleep(0.1)
    with log.open("a") as file:
        file.write(f"{step}\\n")
aside = folder / "aside"
aside.write_text(json.dumps({"status": "done", "evaluated": [evaluated], "steps": log.read_text().split()}))
aside.rename(folder / "metrics.json")
"""


class StandIn(Settings):
    """A stand-in for the command of a cell, but for TINY; that of a run named "exit-N" ends with status N."""

    def command(self, run_id: str) -> list[str]:
        (self.results / f"{run_id}.starter").write_text(str(os.getpid()))
        if run_id == TINY:
            return super().command(run_id)
        if run_id.startswith("exit-"):
            return [sys.executable, "-c", f"raise SystemExit({run_id[5:]})"]
        return [sys.executable, "-c", STAND_IN, str(self.results / run_id), str(STEPS), str(self.protocol),
                self.device]


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("TQDM_DISABLE", "1")
        yield


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(engines, "PAUSE", 0.2)
    yield
    STOP.clear()


def until(condition: Callable[[], object], seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.02)


@contextmanager
def meanwhile(*steps: Callable[[], object]) -> Iterator[None]:
    """Do these, one after another, while what is inside goes on."""
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(lambda: [step() for step in steps])
        yield
        future.result()


def assert_each_made_once(results: Path, run_ids: list[str]) -> None:
    for run_id in run_ids:
        assert json.loads((results / run_id / "metrics.json").read_text())["steps"] == [str(i) for i in range(STEPS)]


def kill_starter(results: Path, run_id: str) -> None:
    """Kill the process that started a cell which has come some way."""
    until(lambda: list((results / run_id).glob("log*")))
    assert not list((results / run_id).glob("generator.pt"))
    os.kill(int((results / f"{run_id}.starter").read_text()), signal.SIGKILL)


def states(outcome: dict[str, Attempt]) -> dict[str, str]:
    return {run_id: tried.state for run_id, tried in outcome.items()}


def values(results: Path, run_id: str) -> dict:
    metrics = json.loads((results / run_id / "metrics.json").read_text())["metrics"]
    return {(metric["name"], metric["eval_seed"]): metric["value"] for metric in metrics}


# --- Threads ----------------------------------------------------------------------------------------------------------


def test_cells_that_fail_do_not_stop_the_others(tmp_path, capsys):
    run_ids = ["a", "exit-2", "b", "exit-3"]
    outcome = ENGINES["serial"](run_ids, StandIn(results=tmp_path, retries=1, jobs=2))
    assert states(outcome) == {"a": "done", "b": "done", "exit-2": "refused", "exit-3": "failed"}
    assert "exit-2: refused" in outcome["exit-2"].reason
    assert "ended with status 3 2 times" in outcome["exit-3"].reason
    assert_each_made_once(tmp_path, ["a", "b"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["[1/4]", "[2/4]", "[3/4]", "[4/4]"]
    assert sum(line.split()[1:3] in (["a:", "done"], ["b:", "done"]) for line in lines) == 2


def test_two_sweeps_over_the_same_cells_at_once_make_each_once(tmp_path):
    run_ids, settings = ["a", "b", "c", "d"], StandIn(results=tmp_path, jobs=2)
    with ThreadPoolExecutor(2) as pool:
        sweeps = [pool.submit(ENGINES["serial"], run_ids, settings) for _ in range(2)]
        assert [states(future.result()) for future in sweeps] == [dict.fromkeys(run_ids, "done")] * 2
    assert_each_made_once(tmp_path, run_ids)


def test_a_sweep_that_is_told_to_stop_ends_at_once_and_goes_on_later(tmp_path):
    run_ids, settings = ["a", "b", "c"], StandIn(results=tmp_path)
    with meanwhile(lambda: until((tmp_path / "b" / "log").exists), STOP.set):
        outcome = ENGINES["serial"](run_ids, settings)
    assert states(outcome) == {"a": "done", "b": "later", "c": "later"} and "told to stop" in outcome["b"].reason
    assert not (tmp_path / "c").exists()
    STOP.clear()
    assert states(ENGINES["serial"](run_ids, replace(settings, jobs=2))) == dict.fromkeys(run_ids, "done")
    assert_each_made_once(tmp_path, run_ids)


def test_serial_gives_each_run_a_gpu_for_itself(tmp_path, monkeypatch):
    """A stand-in ends with an error where another one is on its GPU."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    run_ids = ["a", "b", "c", "d", "e"]
    outcome = ENGINES["serial"](run_ids, StandIn(results=tmp_path, retries=0, gpus=2))
    assert states(outcome) == dict.fromkeys(run_ids, "done")
    assert_each_made_once(tmp_path, run_ids)
    assert {path.name for path in tmp_path.glob("gpu*")} == {"gpu0", "gpu1"}


def test_serial_puts_several_runs_on_a_gpu_when_told_to(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    outcome = ENGINES["serial"](["a", "b"], StandIn(results=tmp_path, retries=0, gpus=1, runs_per_gpu=2))
    assert sorted(states(outcome).values()) == ["done", "failed"], "one must have met the other on its GPU"


@pytest.mark.parametrize("options, named", [
    ({"gpus": 2, "device": "cpu"}, "DEVICE=cpu"), ({"gpus": 2, "jobs": 3}, "JOBS=3"),
    ({"gpus": 2, "gpus_per_run": 2}, "GPUS_PER_RUN=2"), ({"gpus": 99}, "GPUS=99")])
def test_serial_refuses_what_does_not_go_with_gpus(options, named):
    with pytest.raises(InputError, match=named):
        ENGINES["serial"]([TINY], Settings(**options))


# --- The real cell, once ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """A data folder with a set of 24 images."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "few").mkdir()
    for i, image in enumerate(np.random.default_rng(0).integers(0, 256, (24, 32, 32, 3), np.uint8)):
        Image.fromarray(image).save(folder / "few" / f"{i}.png")
    return folder


def settings_of(data: Path, results: Path) -> Settings:
    return StandIn(data=data, results=results, device="cpu", extractor="effnet", samples=12)


@pytest.fixture(scope="module")
def of_serial(data, tmp_path_factory) -> dict:
    """The values of the tiny run, made undisturbed."""
    results = tmp_path_factory.mktemp("serial")
    assert states(ENGINES["serial"]([TINY], settings_of(data, results))) == {TINY: "done"}
    return values(results, TINY)


def test_a_real_cell_is_trained_and_evaluated(of_serial):
    assert ("fd_effnet", 0) in of_serial


# --- Ray --------------------------------------------------------------------------------------------------------------

needs_ray = pytest.mark.skipif(not importlib.util.find_spec("ray"), reason="Ray is not installed")


def test_without_ray_its_engine_says_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=f"pip install ray=={engines.RAY}"):
        ENGINES["ray"](["a"], StandIn(results=tmp_path))


@needs_ray
def test_a_ray_cluster_that_does_not_answer_is_named(tmp_path, monkeypatch):
    address = f"127.0.0.1:{free_ports(1)[0]}"
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(InputError, match=f"RAY_ADDRESS {address}: no Ray cluster"):
        ENGINES["ray"](["a"], StandIn(results=tmp_path))
    with pytest.raises(InputError, match="GPUS=2"):
        ENGINES["ray"](["a"], StandIn(results=tmp_path, gpus=2))


@needs_ray
def test_ray_gives_each_run_a_gpu_and_outlives_a_killed_worker(data, of_serial, tmp_path):
    """A stand-in on a GPU that another is using fails: its status is 1, and so does the cell."""
    run_ids, settings = ["a", "b", TINY, "c", "d"], replace(settings_of(data, tmp_path), retries=1, gpus=2)
    with meanwhile(lambda: kill_starter(tmp_path, "b"), lambda: kill_starter(tmp_path, TINY)):
        assert states(ENGINES["ray"](run_ids, settings)) == dict.fromkeys(run_ids, "done")
    assert_each_made_once(tmp_path, ["a", "b", "c", "d"])
    assert values(tmp_path, TINY) == of_serial
    assert {path.name for path in tmp_path.glob("gpu*")} == {"gpu0", "gpu1"}


def assert_on_loopback(nodes: list[dict]) -> None:
    """What listens to all addresses would answer at 127.0.0.2 as well."""
    for port in [node[name] for node in nodes for name in ("NodeManagerPort", "ObjectManagerPort")]:
        socket.create_connection(("127.0.0.1", port)).close()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.2", port)).close()


@needs_ray
def test_ray_that_is_told_to_stop_ends_kindly_and_listens_on_loopback_alone(tmp_path):
    settings, nodes = StandIn(results=tmp_path, gpus=1), []
    with meanwhile(lambda: until((tmp_path / "b" / "log").exists), lambda: nodes.extend(sys.modules["ray"].nodes()),
                   lambda: assert_on_loopback(nodes), STOP.set):
        outcome = ENGINES["ray"](["a", "b", "c"], settings)
    assert states(outcome) == {"a": "done", "b": "later", "c": "later"}
    assert (tmp_path / "b" / "told").exists() and not (tmp_path / "c").exists()
    STOP.clear()
    outcome = ENGINES["serial"](["a", "b"], replace(settings, gpus=None))
    assert states(outcome) == {"a": "done", "b": "done"}
    assert_each_made_once(tmp_path, ["a", "b"])


@needs_ray
def test_ray_outlives_a_killed_machine(tmp_path, monkeypatch):
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "num_gpus": 0})
    try:
        other = cluster.add_node(num_cpus=1, num_gpus=0)
        monkeypatch.setenv("RAY_ADDRESS", cluster.address)
        both = [(tmp_path / name / "log").exists for name in "ab"]
        with meanwhile(*map(lambda there: lambda: until(there), both),
                       lambda: cluster.remove_node(other, allow_graceful=False)):
            outcome = ENGINES["ray"](["a", "b"], StandIn(results=tmp_path))
    finally:
        cluster.shutdown()
    assert states(outcome) == {"a": "done", "b": "done"}
    assert_each_made_once(tmp_path, ["a", "b"])


# --- SLURM ------------------------------------------------------------------------------------------------------------

DAEMONS = ["munged", "slurmctld", "slurmd"]
SBIN = os.environ.get("PATH", "") + os.pathsep + "/usr/sbin"  # where Debian has them; a user's PATH often lacks it
lacking = [name for name in (*DAEMONS, "sbatch") if not shutil.which(name, path=SBIN)]
needs_slurm = pytest.mark.skipif(bool(lacking), reason=f"SLURM is not installed: no {', '.join(lacking)}")
CONF = """
ClusterName=test
SlurmctldHost=localhost(127.0.0.1)
NodeName=localhost NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=all Nodes=localhost Default=YES MaxTime=INFINITE State=UP
SlurmUser={user}
SlurmdUser={user}
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
AuthInfo=socket={folder}/munge.sock
StateSaveLocation={folder}
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
ReturnToService=2
SchedulerParameters=sched_interval=1,batch_sched_delay=0
"""


def output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@pytest.fixture
def cluster(tmp_path_factory, monkeypatch) -> Iterator[None]:
    """A SLURM of one node with two cores, of its own, on loopback; it ends with the test."""
    folder = tmp_path_factory.mktemp("slurm")
    (folder / "spool").mkdir()
    (folder / "munge.key").write_bytes(secrets.token_bytes(128))
    (folder / "munge.key").chmod(0o600)
    (folder / "slurm.conf").write_text(CONF.format(folder=folder, user=getpass.getuser(), ports=free_ports(2)))
    monkeypatch.setenv("SLURM_CONF", str(folder / "slurm.conf"))
    monkeypatch.setenv("PATH", SBIN)
    files = {"key-file": "munge.key", "socket": "munge.sock", "pid-file": "munged.pid", "log-file": "munged.log",
             "seed-file": "munged.seed"}
    munged = ["munged", "--foreground", "--force", *(f"--{name}={folder / file}" for name, file in files.items())]
    with ExitStack() as stack:
        for command in (munged, ["slurmctld", "-D"], ["slurmd", "-D", "-N", "localhost"]):
            stack.callback(end, subprocess.Popen(command, stdout=(folder / f"{command[0]}.out").open("w"),
                                                 stderr=subprocess.STDOUT))
            until((folder / "munge.sock").exists)
        until(lambda: "idle" in subprocess.run(["sinfo"], capture_output=True, text=True).stdout)
        stack.callback(until, nothing_queued)
        stack.callback(output, "scancel", "--user", getpass.getuser())
        yield


def end(process: subprocess.Popen) -> None:
    process.terminate()
    process.wait(60)


def nothing_queued() -> bool:
    return not output("squeue", "--noheader")


@needs_slurm
def test_slurm_makes_the_cells_and_one_that_is_stopped_goes_on(cluster, data, of_serial, tmp_path, capsys):
    other = TINY.replace("gradgap100", "baseline")
    outcome = ENGINES["slurm"]([TINY, other], replace(settings_of(data, tmp_path), sbatch="--comment='as asked'"))
    job = outcome[TINY].reason.split()[-1]
    assert f"SLURM job {job}:" in capsys.readouterr().out and outcome[other].reason.endswith(job)
    until((tmp_path / TINY / "log.jsonl").exists)
    output("scancel", "--batch", "--signal=TERM", f"{job}_0")  # as SLURM does before the time limit
    until(lambda: "PENDING" in output("squeue", "--format=%T", f"--job={job}_0"))
    assert not (tmp_path / TINY / "metrics.json").exists()
    output("scontrol", "update", f"JobId={job}_0", "StartTime=now+3")  # instead of two minutes later
    until(nothing_queued)
    assert values(tmp_path, TINY) == of_serial
    assert values(tmp_path, other).keys() == of_serial.keys()
    assert "1 of 1 cells done" in (tmp_path / "sweeps" / f"{job}_0.log").read_text()


@needs_slurm
def test_a_cancelled_job_of_slurm_stays_cancelled(cluster, data, tmp_path):
    """Two runs that share what would be a GPU are saved both, and not queued again."""
    results = tmp_path / "my results"
    both = [TINY.replace("-i60-", f"-i{n}-") for n in (50000, 60000)]
    outcome = ENGINES["slurm"](both, replace(settings_of(data, results), runs_per_gpu=2))
    for run_id in both:
        until((results / run_id / "log.jsonl").exists)
    output("scancel", outcome[both[0]].reason.split()[-1])
    until(nothing_queued)
    assert all((results / run_id / "checkpoint.pt").exists() for run_id in both)


@needs_slurm
def test_what_slurm_refuses_is_one_line(cluster, data, tmp_path):
    with pytest.raises(InputError, match="sbatch refused .*partition"):
        ENGINES["slurm"]([TINY], replace(settings_of(data, tmp_path), sbatch="--partition=none-such"))
    assert not list((tmp_path / "sweeps").iterdir())


def test_the_batch_script_asks_for_what_was_asked(tmp_path):
    settings = Settings(results=tmp_path / "my results", gpus=4, runs_per_gpu=2, sbatch="--time=9")
    text = engines.script(["a", "b", "c"], settings, tmp_path / "my results" / "sweeps")
    options = [line.removeprefix("#SBATCH ") for line in text.splitlines() if line.startswith("#SBATCH")]
    assert {"--array=0-1%4", "--requeue", "--gres=gpu:1", "--time=9", f"--chdir={ROOT}"} <= set(options)
    runs = text.split("runs=(")[1].split(")")[0].split("\n")
    assert runs[1:3] == ["'a b'", "c"]
    text = engines.script(["a"], Settings(results=tmp_path, device="cpu"), tmp_path)
    assert "--gres" not in text and "--array=0-0\n" in text
