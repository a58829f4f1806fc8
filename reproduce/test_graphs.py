"""Training in graphs against eager training, on a CPU: a recorder that repeats recorded operations as CUDA does.

It runs each operation again on the same tensors and leaves the result where the first one was, whatever Python would
do now: what a step takes from anywhere but tensors stays as it was when it was recorded.
"""

import json
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from baselines.augment import AUGMENTATIONS
from baselines.models import MODELS
from baselines.regularizers import REGULARIZERS
from benchmarks.runs import InputError, Run
from reproduce import graphs
from reproduce.graphs import Graphed
from reproduce.settings import Settings
from reproduce.train import train

CPU = torch.device("cpu")
WAITING = {"_local_scalar_dense", "nonzero", "masked_select", "equal"}  # the device's numbers in Python's hands


class Tape(TorchDispatchMode):
    """Notes every operation with its arguments and results. None may wait for the device."""

    def __init__(self):
        super().__init__()
        self.operations = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        waits = func._schema.name.split("::")[1] in WAITING and "fused_adam" not in func.name()
        assert not waits, f"{func} in a step"
        results = func(*args, **(kwargs or {}))
        self.operations.append((func, args, kwargs or {}, results))
        return results


class Recorder:
    """As CudaRecorder, on a CPU. Recording runs the work here, so the first repetition is left out."""

    def __init__(self):
        self.repeated = 0

    def aside(self, work):
        return work()

    def __call__(self, work):
        with Tape() as tape:
            outputs = work()
        fresh = True

        def replay():
            nonlocal fresh
            if not fresh:
                self.repeated += 1
                repeat(tape)
            fresh = False

        return replay, outputs


@torch.no_grad()
def repeat(tape: Tape) -> None:
    for func, args, kwargs, before in tape.operations:
        given = {tensor.untyped_storage().data_ptr() for tensor in tree_leaves((args, kwargs)) if is_tensor(tensor)}
        for old, new in zip(tree_leaves(before), tree_leaves(func(*args, **kwargs)), strict=True):
            if is_tensor(old) and old.untyped_storage().data_ptr() not in given:  # else in place, or a view
                old.copy_(new)


def is_tensor(value) -> bool:
    return isinstance(value, torch.Tensor)


def both(run: Run, tmp_path) -> tuple[dict, dict]:
    """The last checkpoint of eager training and of training in graphs, without the seconds."""
    recorder, found = Recorder(), []
    for name in ("eager", "graphs"):
        torch.set_rng_state(torch.Generator().manual_seed(len(name)).get_state())
        settings = Settings(data=tmp_path / "data", results=tmp_path / name, graphs=name == "graphs")
        train(run, settings, CPU, recorder=lambda: recorder)
        found.append(torch.load(tmp_path / name / run.id / "checkpoint.pt", weights_only=True) | {"seconds": 0})
    assert recorder.repeated > run.iterations // 2
    return found[0], found[1]


def assert_equal(a, b, where=""):
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_equal(a[key], b[key], f"{where}.{key}")
    elif isinstance(a, list):
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_equal(x, y, f"{where}.{i}")
    elif is_tensor(a):
        assert torch.equal(a, b), where
    else:
        assert a == b, where


TINY = Run("dcgan", "digits", 32, 0.1, iterations=24, batch=4, override={"width": 0.1})
OF_D = {name: 0.1 for name, make in REGULARIZERS.items() if make().of == "D"}


@pytest.mark.parametrize("model", MODELS)
def test_graphs_give_the_same_bits_for_every_model(model, tmp_path):
    """With gradgap at every 8th update, so that steps differ in kind, and decay of the learning rates."""
    width, iterations = {"dcgan": (0.1, 24), "stylegan2": (0.03, 24)}.get(model, (0.1, 8))  # others: several D steps
    run = replace(TINY, model=model, regularizers={"gradgap_lazy": 1.0}, iterations=iterations,
                  override={"width": width, "lr_decay": 1})
    assert_equal(*both(run, tmp_path))


def test_graphs_give_the_same_bits_with_every_regularizer(tmp_path):
    assert_equal(*both(replace(TINY, regularizers=OF_D), tmp_path))


@pytest.mark.parametrize("model", ["biggan", "stylegan2"])  # the latter has a trunk of its own
def test_graphs_give_the_same_bits_in_bf16(model, tmp_path):
    run = replace(TINY, model=model, regularizers={"gradgap": 1.0}, iterations=8,
                  override={"width": 0.03 if model == "stylegan2" else 0.1, "bf16": 1})
    assert_equal(*both(run, tmp_path))


def test_graphs_give_the_same_bits_with_path_length(tmp_path):
    run = replace(TINY, model="stylegan2", iterations=16, regularizers={"path_length": 2.0}, override={"width": 0.03})
    assert_equal(*both(run, tmp_path))


@pytest.mark.parametrize("augment", [name for name in AUGMENTATIONS if name])
def test_graphs_give_the_same_bits_with_every_augmentation(augment, tmp_path):
    assert_equal(*both(replace(TINY, augment=augment, iterations=12), tmp_path))


DEVICES = [("cpu", Recorder), pytest.param("cuda", graphs.CudaRecorder, marks=pytest.mark.skipif(
    not torch.cuda.is_available(), reason="no GPU"))]  # fmt: skip


@pytest.mark.parametrize("precision", [0, 1])
@pytest.mark.parametrize("device, make", DEVICES)
def test_the_losses_are_those_of_eager_training(device, make, precision, tmp_path):
    """Of every iteration. Sums of a GPU come in another order each time, and bfloat16 shows it soonest."""
    run, lines = replace(TINY, regularizers={"gradgap_lazy": 1.0}, override={"width": 0.1, "bf16": precision}), []
    for name in ("eager", "graphs"):
        settings = Settings(data=tmp_path / "data", results=tmp_path / name, graphs=name == "graphs")
        train(run, settings, torch.device(device), recorder=make)
        lines.append(list(map(json.loads, (tmp_path / name / run.id / "log.jsonl").read_text().splitlines())))
    for eager, graph in zip(*lines, strict=True):
        for name in ("loss_d", "loss_g", "n_R", "n_F"):
            assert graph[name] == pytest.approx(eager[name], rel=0.2 if precision else 0.02), (name, eager["iteration"])


def test_a_buffer_that_is_replaced_is_refused():
    class Counter(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("count", torch.zeros(()))

        def forward(self, x):
            self.count = self.count + x.sum()
            return {"count": self.count}

    counter = Counter()
    step = Graphed(counter, counter, Recorder())
    with pytest.raises(InputError, match="'count'.*in place"):
        for _ in range(graphs.EAGER + 1):
            step(torch.ones(2))


def test_the_recorder_repeats_what_was_recorded():
    """A number from Python stays as it was, a tensor does not: 2 x + state, then state = 2 x + state."""
    state, factor = torch.zeros(2), 2.0

    def step(x):
        y = factor * x + state
        state.copy_(y)
        return {"y": y}

    recorded = Graphed(step, nn.Module(), Recorder())
    for i in range(1, 6):
        factor = 2.0 if i <= graphs.EAGER + 1 else 100.0
        assert torch.equal(recorded(torch.full((2,), float(i)))["y"], torch.full((2,), float(i * (i + 1))))
