"""Training over several processes against one process: the same numbers, for every model.

Two processes that run all cases are started once, over gloo on the CPU; the oracle runs meanwhile in this one.
"""

import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from baselines.augment import AUGMENTATIONS
from baselines.models import MODELS
from baselines.regularizers import REGULARIZERS, LeCam
from benchmarks.runs import InputError, Run, TryLaterError
from reproduce import parallel, record
from reproduce.run import main
from reproduce.settings import Settings
from reproduce.train import train

ROOT = Path(__file__).parents[1]
CPU = torch.device("cpu")
MAPPED = [name for name, model in MODELS.items() if hasattr(model.Generator, "mapping")]  # path length needs one


def penalties(model: str) -> list[str]:
    """One of each kind, and gradgap of pairs: a run id with all would be no file name."""
    names = {"gradgap_pairs": "gradgap_pairs"} | {type(make()): name for name, make in REGULARIZERS.items()}
    return [name for name in names.values() if REGULARIZERS[name]().of == "D" or model in MAPPED]


def case(number: int, model: str) -> Run:
    """A small run with all penalties at once and one of the augmentations.

    eps is well above rounding: the gradient of a bias before batch norm is 0 up to rounding, and Adam divides it by its
    own size.
    """
    augment = list(AUGMENTATIONS)[number % len(AUGMENTATIONS)]
    return Run(model, "digits", 32, 0.1, dict.fromkeys(penalties(model), 0.01), augment, iterations=2, batch=8,
               override={"width": 0.03, "d_steps": 1, "eps": 0.01})


RUNS = [case(number, model) for number, model in enumerate(MODELS)]
LONG = Run("dcgan", "digits", 32, 0.1, {"gradgap": 100.0}, iterations=12, batch=4, override={"width": 0.03})
LOW = replace(LONG, iterations=4, override={"width": 0.03, "eps": 0.01, "bf16": 1})


@contextmanager
def precision(dtype: torch.dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def often():
    """Lazy penalties run at every second update, and no penalty is silent at first."""
    classes = {type(member()) for member in REGULARIZERS.values()}
    before = {kind: kind.interval for kind in classes}
    for kind in classes:
        kind.interval = min(2, kind.interval)
    silent, LeCam.starts_after = LeCam.starts_after, 0
    try:
        yield
    finally:
        LeCam.starts_after = silent
        for kind, interval in before.items():
            kind.interval = interval


def train_all(results: Path, data: Path) -> None:
    """In float64, where the same numbers are the same to 1e-12, and runs as users have them, in float32 and in bf16."""
    with often(), precision(torch.float64):
        for run in RUNS:
            train(run, Settings(data=data, results=results), CPU)
    for run in (LONG, LOW):
        train(run, Settings(data=data, results=results), CPU)


def worker(rank: int, port: int, folder: Path) -> None:
    """One of two processes. It notes each file under `results` that it writes, makes or renames."""
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    touched = []

    def watch(event: str, args: tuple) -> None:
        changes = event in ("os.mkdir", "os.rename", "os.remove") or event == "open" and args[2] & (os.O_RDWR | 1)
        if changes and str(args[0]).startswith(str(folder / "results")):
            touched.append(str(args[0]))

    sys.addaudithook(watch)
    try:
        parallel.command(partial(train_all, folder / "results", folder / "data"))
    finally:
        (folder / f"touched{rank}.json").write_text(json.dumps(touched))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Holds results/ of two processes, alone/ of one, data/ and what each of the two touched."""
    folder = tmp_path_factory.mktemp("parallel")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = [multiprocessing.get_context("spawn").Process(target=worker, args=(rank, port, folder))
               for rank in range(2)]
    for process in started:
        process.start()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        train_all(folder / "alone", folder / "data")
        for process in started:
            process.join(900)  # on a busy machine
        assert [process.exitcode for process in started] == [0, 0]
    finally:
        torch.set_num_threads(threads)
        for process in started:
            process.kill()
    return folder


def difference(a: dict, b: dict) -> float:
    """Largest difference of two state_dicts' tensors, relative to the largest value of each."""
    assert a.keys() == b.keys()
    return max((((a[name] - b[name]).abs().max() / a[name].abs().max().clamp(min=1e-3)).item()
                for name in a if a[name].is_floating_point() and a[name].numel()), default=0.0)


@pytest.mark.parametrize("run, tolerance", [*((run, 1e-12) for run in RUNS), (LONG, 1e-4), (LOW, 0.1)],
                         ids=[*MODELS, "float32", "bfloat16"])
def test_two_processes_train_as_one(run, tolerance, folder):
    one, two = (torch.load(folder / name / run.id / "checkpoint.pt", weights_only=True)
                for name in ("alone", "results"))
    for name in ("G", "D", "ema", "regularizers", "augment"):
        assert difference(one[name], two[name]) < tolerance, name
    assert record.read_json(folder / "results" / run.id / "config.json")["provenance"]["processes"] == 2


def test_one_process_writes(folder):
    touched = [json.loads((folder / f"touched{rank}.json").read_text()) for rank in range(2)]
    assert any(path.endswith("log.jsonl") for path in touched[0]) and not touched[1]


# From outside ---------------------------------------------------------------------------------------------------------


TRAIN = """
import sys
from benchmarks.runs import Run
from reproduce.run import train_in_processes
from reproduce.settings import Settings
train_in_processes(Run.from_id(sys.argv[1]), Settings.parse(sys.argv[2:]))
"""


def command(run_id: str, results: Path, data: Path) -> list[str]:
    return [sys.executable, "-c", TRAIN, run_id, "GPUS_PER_RUN=2", f"RESULTS={results}", f"DATA={data}", "DEVICE=cpu"]


ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}


def test_too_many_processes_are_refused_in_one_line(tmp_path, ended):
    run_id = "stylegan2-digits-32-f1.0-baseline-b4-width0.03-s0"
    status, _, said = ended(main, run_id, "GPUS_PER_RUN=2", f"RESULTS={tmp_path / 'r'}", f"DATA={tmp_path}",
                            "DEVICE=cpu", "EXTRACTOR=effnet")
    assert status == InputError.status and not (tmp_path / "r").exists()
    assert said == ("error: GPUS_PER_RUN=2: a batch of 4 in groups of 4 (minibatch standard deviation) is enough for "
                    "at most 1\n")


def test_told_to_stop_both_save_and_the_resumed_run_ends_as_the_undisturbed(tmp_path, folder):
    path = tmp_path / LONG.id
    process = subprocess.Popen(command(LONG.id, tmp_path, folder / "data"), cwd=ROOT, env=ENVIRONMENT)
    try:
        while not (path / "log.jsonl").exists() or (path / "log.jsonl").read_bytes().count(b"\n") < 1:
            assert process.poll() is None
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGTERM)
    assert process.wait() == TryLaterError.status
    assert 1 <= torch.load(path / "checkpoint.pt", weights_only=True)["step"] < LONG.iterations
    subprocess.run(command(LONG.id, tmp_path, folder / "data"), cwd=ROOT, env=ENVIRONMENT, check=True)
    resumed, whole = (torch.load(f / LONG.id / "checkpoint.pt", weights_only=True)
                      for f in (tmp_path, folder / "results"))
    for name in ("G", "D", "ema", "regularizers"):
        assert resumed[name].keys() == whole[name].keys()
        assert all(torch.equal(resumed[name][key], whole[name][key]) for key in whole[name]), name
