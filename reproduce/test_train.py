"""Training from outside, as a user runs it: exact resume after SIGKILL, refusals, divergence; and its small parts."""

import fcntl
import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from benchmarks.runs import InputError, Run, TryLaterError
from reproduce import checkpoint, generators, names, record
from reproduce.preflight import require_kept
from reproduce.run import main
from reproduce.settings import Settings
from reproduce.train import snapshot, train
from reproduce.trainer import move_average

ROOT = Path(__file__).parents[1]
CPU = torch.device("cpu")
TINY = Run("dcgan", "digits", 32, 0.1, {"gradgap": 100.0, "gp": 1.0}, iterations=30, batch=4, override={"width": 0.1})


TRAIN = "from benchmarks.runs import command; from reproduce.run import process; command(process)"


def command(run_id: str, results: Path, data: Path) -> list[str]:
    """Training alone, in a process of its own."""
    return [sys.executable, "-c", TRAIN, run_id, f"RESULTS={results}", f"DATA={data}", "DEVICE=cpu"]


def environment() -> dict:
    return os.environ | {"OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}


def log_of(folder: Path) -> list[dict]:
    lines = map(json.loads, (folder / "log.jsonl").read_text().splitlines())
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def assert_equal(a, b):
    assert type(a) is type(b)
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_equal(a[key], b[key])
    elif isinstance(a, torch.Tensor):
        assert torch.equal(a, b)
    else:
        assert a == b


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return tmp_path_factory.mktemp("data")


@pytest.fixture
def one_thread():
    """As the processes of these tests have it: on a CPU the last bits depend on the number of threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("model", ["dcgan", "wgan"])
def test_killed_at_a_random_moment_and_resumed_ends_with_the_same_bits(model, tmp_path, data, one_thread):
    """A process is killed; this one goes on, and does the undisturbed training."""
    run = replace(TINY, model=model, override={"width": 0.1, "d_steps": 2})
    folder = tmp_path / "killed" / run.id
    train(run, Settings(data=data, results=tmp_path / "whole"), CPU)
    process = subprocess.Popen(command(run.id, tmp_path / "killed", data), cwd=ROOT, env=environment())
    kill_after = random.randint(1, run.iterations - 2)
    try:
        while not (folder / "log.jsonl").exists() or len(log_of(folder)) < kill_after:
            assert process.poll() is None, f"ended before iteration {kill_after}"
            time.sleep(0.002)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not (folder / "generator.safetensors").exists()
    train(run, Settings(data=data, results=tmp_path / "killed"), CPU)

    whole = tmp_path / "whole" / run.id
    assert log_of(folder) == log_of(whole) and len(log_of(whole)) == run.iterations, f"killed after {kill_after}"
    states = [torch.load(path / "checkpoint.pt", weights_only=True) for path in (folder, whole)]
    assert_equal(*({k: v for k, v in state.items() if k != "seconds"} for state in states))
    a, b = ((path / "generator.safetensors").read_bytes() for path in (folder, whole))
    assert a == b


def test_a_finished_run_is_left_alone_and_a_changed_config_refused(tmp_path, data):
    run = replace(TINY, iterations=2)
    train(run, Settings(data=data, results=tmp_path), CPU)
    folder = tmp_path / run.id
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert "already finished" in train(run, Settings(data=data, results=tmp_path), CPU)
    assert before == {path.name: path.read_bytes() for path in folder.iterdir()}
    config = json.loads(before["config.json"])
    record.write_json(folder / "config.json", config | {"recipe": config["recipe"] | {"lr_d": 0.5}})
    with pytest.raises(InputError, match=r"recipe.lr_d: 0.5 there, 0.0002 now"):
        train(run, Settings(data=data, results=tmp_path), CPU)


def test_generators_are_kept_on_the_way_and_training_does_not_feel_it(tmp_path, data):
    """That of iteration 4 is what a run of 4 iterations ends with."""
    run, short = replace(TINY, iterations=6), replace(TINY, iterations=4)
    train(run, Settings(data=data, results=tmp_path / "plain"), CPU)
    train(short, Settings(data=data, results=tmp_path / "plain"), CPU)
    train(run, Settings(data=data, results=tmp_path / "kept", eval_every=2), CPU)
    folder = tmp_path / "kept" / run.id
    assert sorted(path.name for path in (folder / "generators").iterdir()) == [f"{i}.safetensors" for i in (2, 4, 6)]
    for kept, ended in ((4, short), (6, run)):
        a = generators.read(folder / "generators" / f"{kept}.safetensors", run)
        b = generators.read(tmp_path / "plain" / ended.id / "generator.safetensors", ended)
        assert_equal(a.state, b.state)
        assert a.iteration == b.iteration == kept
    a, b = (torch.load(tmp_path / name / run.id / "checkpoint.pt", weights_only=True) for name in ("plain", "kept"))
    assert_equal(a | {"seconds": 0}, b | {"seconds": 0})
    assert record.read_json(folder / "config.json")["run"] == record.read_json(
        tmp_path / "plain" / run.id / "config.json")["run"]


def test_told_to_stop_it_keeps_the_generator_of_that_iteration(tmp_path, data, monkeypatch):
    """The checkpoint of an iteration says that it will not be done again."""
    settings = Settings(data=data, results=tmp_path, eval_every=2)
    with monkeypatch.context() as told:
        told.setattr("reproduce.train.STOP", SimpleNamespace(is_set=lambda: True))
        for done in (1, 2):
            with pytest.raises(TryLaterError, match=f"iteration {done}"):
                train(TINY, settings, CPU)
    assert (tmp_path / TINY.id / "generators" / "2.safetensors").exists()
    require_kept(TINY, settings)


def test_a_run_that_another_process_holds_is_refused(tmp_path, data):
    folder = tmp_path / TINY.id
    folder.mkdir()
    with (folder / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="another process"):
            train(TINY, Settings(data=data, results=tmp_path), CPU)
    assert [path.name for path in folder.iterdir()] == [".lock"]


def test_infinity_ends_a_run_as_diverged(tmp_path, data):
    run = replace(TINY, regularizers={"gradgap": 1e38}, iterations=60)
    assert "diverged" in train(run, Settings(data=data, results=tmp_path), CPU)
    assert (tmp_path / run.id / "diverged.json").exists()
    assert not (tmp_path / run.id / "generator.safetensors").exists()


def test_a_crash_is_noted_and_the_note_goes_with_the_next_success(tmp_path, data, monkeypatch):
    run = replace(TINY, iterations=1)
    with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
        patch.setattr(checkpoint, "save", lambda *_: 1 / 0)
        train(run, Settings(data=data, results=tmp_path), CPU)
    assert "ZeroDivisionError" in record.read_json(tmp_path / run.id / "failed.json")["error"]
    train(run, Settings(data=data, results=tmp_path), CPU)
    assert not (tmp_path / run.id / "failed.json").exists()


@pytest.mark.parametrize("run_id, named", [
    ("dcgan-digits-32-f1.0-baseline-s4294967296", "seed 4294967296"),
    ("stylegan2-digits-32-f1.0-baseline-mbstd_group0-s0", "mbstd_group"),
    ("dcgan-digits-32-f1.0-gradgap" + "9" * 120 + "-s0", "gradgap"),
    ("dcgan-digits-32-f1.0-gradgap0-s0", "gradgap"), ("dcgan-digits-32-f1.0-baseline-b99999999-s0", "batch"),
    ("dcgan-digits-32-f1.0-baseline-width99999-s0", "width"), ("dcgan-digits-32-f1.0-baseline-width0-s0", "width"),
    ("dcgan-digits-32-f1.0-baseline-lr_g0-s0", "lr_g"),
    ("stylegan2-digits-32-f1.0-baseline-ema_decay5-s0", "ema_decay"),
    ("dcgan-digits-32-f1.0-baseline-eps0-s0", "eps"), ("dcgan-digits-32-f1.0-path_length2-s0", "path_length"),
    ("dcgan-digits-32-f1.0-baseline-nonsense-s0", "augmentation 'nonsense': not one of diffaugment, "),
])
def test_numbers_beyond_reason_are_refused(run_id, named):
    with pytest.raises(InputError, match=named):
        run = Run.from_id(run_id)
        names.require_method(run)
        names.resolve(run)


@pytest.mark.parametrize("run_id, options, named", [
    ("nonsense", [], "nonsense"),
    ("vae-digits-32-f1.0-baseline-s0", [], "vae"),
    ("dcgan-digits-48-f1.0-baseline-s0", [], "48"),
    ("dcgan-digits-32-f0.0-baseline-s0", [], "fraction"),
    ("dcgan-digits-32-f1.0-wisdom1-s0", [], "wisdom"),
    ("dcgan-digits-32-f1.0-baseline-depth3-s0", [], "depth"),
    ("dcgan-digits-32-f1.0-baseline-width.wide-s0", [], "width"),
    ("dcgan-digits-32-f1.0-baseline-bf16_7-s0", [], "bf16"),
    ("dcgan-digits-32-f1.0-baseline-d_steps0-s0", [], "d_steps"),
    ("dcgan-digits-32-f1.0-baseline-d_steps0.5-s0", [], "d_steps"),
    ("stylegan2-digits-32-f1.0-baseline-b6-s0", [], "batch 6"),
    ("stylegan2-digits-32-f1.0-baseline-mbstd_group0-s0", [], "mbstd_group"),
    ("dcgan-digits-32-f1.0-baseline-i10.5-s0", [], "iterations"),
    ("dcgan-digits-32-f0.001-baseline-s0", [], "fraction 0.001"),
    ("dcgan-no-such-folder-32-f1.0-baseline-s0", [], "no-such-folder"),
    ("dcgan-digits-32-f1.0-baseline-s0", ["DEVICE=abacus"], "abacus"),
    ("dcgan-digits-32-f1.0-baseline-s0", ["EVAL_EVERY=0"], "EVAL_EVERY=0"),
    ("dcgan-digits-32-f1.0-baseline-s0", ["MICRO_BATCH=-1"], "MICRO_BATCH=-1"),
])
def test_wrong_input_is_one_line_and_leaves_nothing(run_id, options, named, tmp_path, data, ended):
    where = [f"RESULTS={tmp_path / 'results'}", f"DATA={data}", "EXTRACTOR=effnet"]
    status, _, said = ended(main, run_id, *where, *(options or ["DEVICE=cpu"]))
    assert status == 2 and said.count("\n") == 1 and named in said
    assert not (tmp_path / "results").exists()


def test_a_damaged_checkpoint_falls_back_to_the_one_before(tmp_path, capsys):
    parts = {"layer": nn.Linear(2, 2)}
    for step in (10, 20):
        nn.init.constant_(parts["layer"].weight, step)
        checkpoint.save(tmp_path, parts, step, float(step), torch.device("cpu"))
    assert checkpoint.load(tmp_path, parts) == (20, 20.0)
    damaged = bytearray((tmp_path / "checkpoint.pt").read_bytes())
    place = damaged.index(b"\x00\x00\xa0\x41")  # 20.0 in float32: one bit of a weight flips, the archive stays readable
    damaged[place + 2] ^= 1
    (tmp_path / "checkpoint.pt").write_bytes(damaged)
    assert checkpoint.load(tmp_path, parts) == (10, 10.0)
    assert (parts["layer"].weight == 10).all() and "checkpoint.pt is damaged" in capsys.readouterr().err


def test_no_bit_of_a_checkpoint_can_flip_unseen(tmp_path):
    """In the directory of the archive, which no CRC covers: bit 4 of an entry's attributes loses the tensor."""
    parts = {"layer": nn.Linear(2, 2)}
    for step in (10, 20):
        checkpoint.save(tmp_path, parts, step, float(step), torch.device("cpu"))
    whole = (tmp_path / "checkpoint.pt").read_bytes()
    for place in range(whole.index(b"PK\x01\x02"), len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << 4
        (tmp_path / "checkpoint.pt").write_bytes(damaged)
        assert checkpoint.load(tmp_path, parts) == (10, 10.0), place
    for length in (0, 16, 32, 1000, len(whole) - 1):
        (tmp_path / "checkpoint.pt").write_bytes(whole[:length])
        assert checkpoint.load(tmp_path, parts) == (10, 10.0), length


def test_the_average_is_that_of_all_weights_so_far():
    """Decays of 0, 1/2, 1/3, ...: batch norm's statistics too, its counter not."""
    G, ema, seen = nn.BatchNorm1d(3), nn.BatchNorm1d(3), []
    for t in range(5):
        for tensor in (G.weight, G.bias, G.running_mean, G.running_var):
            nn.init.normal_(tensor)
        seen.append({name: tensor.clone() for name, tensor in G.state_dict().items()})
        move_average(ema, G, t / (t + 1))
    for name, tensor in ema.state_dict().items():
        expected = torch.stack([state[name] for state in seen]).double().mean(0)
        assert torch.allclose(tensor.double(), expected, atol=1e-6), name


def test_standing_statistics_are_those_of_many_batches():
    """A generator whose batch norm sees z itself: mean 0 and variance 1 over all batches, not the last one's."""

    class Toy(nn.Module):
        latent = 3

        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm1d(3)

        def forward(self, z, y):
            return self.norm(2 * z + 1)

    toy = Toy()
    trainer = SimpleNamespace(average=toy, labels=torch.zeros(4, dtype=torch.long), run=replace(TINY, batch=256))
    G = snapshot(trainer)
    assert not G.training and not toy.norm.running_mean.any()
    torch.testing.assert_close(G.norm.running_mean, torch.ones(3), atol=0.1, rtol=0)
    torch.testing.assert_close(G.norm.running_var, torch.full((3,), 4.0), atol=0.2, rtol=0)
