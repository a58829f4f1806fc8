"""What an iteration takes, counted on PyTorch's meta device, which computes shapes alone, and timed on a real one."""

import time
import weakref
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from benchmarks.runs import Run
from reproduce.generators import in_turn
from reproduce.graphs import CudaRecorder
from reproduce.trainer import Trainer

META = torch.device("meta")


class PeakMemory(TorchDispatchMode):
    """Counts the bytes of all tensors made inside it that are alive; `peak` is the most there were at once.

    What a device needs beyond them, workspaces of kernels and gaps of its allocator, is not seen.
    """

    def __init__(self):
        super().__init__()
        self.alive: dict[int, int] = {}
        self.now = self.peak = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor):
                self._add(tensor.untyped_storage())
        return out

    def _add(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key not in self.alive:
            self.alive[key] = storage.nbytes()
            self.now += storage.nbytes()
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._drop, key)

    def _drop(self, key: int) -> None:
        self.now -= self.alive.pop(key)


class Operations(TorchDispatchMode):
    """Counts operations of convolutions and matrix products, a multiply-add being two.

    It counts those of inner gradients too, where torch's FlopCounterMode fails.
    """

    total = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        count = flop_registry.get(func.overloadpacket)
        if count:
            self.total += count(*args, **(kwargs or {}), out_val=out)
        return out


class Stand:
    """A trainer and random batches for it: `stand.iterate()` does the next iteration of a run, without a data set."""

    def __init__(self, run: Run, classes: int, device: torch.device):
        labels = torch.arange(max(1, classes), device=device)
        self.trainer = Trainer(run, classes, labels, device)
        self.x = torch.rand(run.batch, 3, run.resolution, run.resolution, device=device) * 2 - 1
        self.y = in_turn(labels, run.batch)
        self.step = 0

    def feed(self, update: int) -> tuple[Tensor, Tensor]:
        return self.x, self.y

    def iterate(self) -> None:
        self.trainer.iteration(self.step, self.feed, logging=False)
        self.step += 1


class Probe(NamedTuple):
    """Seconds per iteration, and over how many iterations that was measured."""

    seconds: float
    iterations: int


def probe(run: Run, classes: int, seconds: float, device: torch.device, graphs: bool = False) -> Probe:
    """Train on noise for about so many seconds, after as many in which it warms up and its graphs are recorded."""
    endless = replace(run, iterations=10**9)  # learning rates that fall to zero at the end do not get there
    stand = Stand(endless, classes, device)
    if graphs:
        stand.trainer.record_graphs(CudaRecorder())
    _iterate(stand, seconds)
    return _iterate(stand, seconds)


def _iterate(stand: Stand, seconds: float) -> Probe:
    began, count = time.monotonic(), 0
    while count == 0 or time.monotonic() - began < seconds:
        stand.iterate()
        count += 1
    if stand.x.is_cuda:
        torch.cuda.synchronize(stand.x.device)
    return Probe((time.monotonic() - began) / count, count)


def operations(run: Run, classes: int = 0, iterations: int = 1) -> float:
    """Operations of an iteration, the mean over so many of them."""
    stand = Stand(run, classes, META)
    with Operations() as counter:
        for _ in range(iterations):
            stand.iterate()
    return counter.total / iterations


def peak_bytes(run: Run, classes: int = 0, iterations: int = 1) -> int:
    """Most bytes of tensors at once, networks and optimizers among them, in so many iterations."""
    with PeakMemory() as memory:
        stand = Stand(run, classes, META)
        for _ in range(iterations):
            stand.iterate()
    return memory.peak
