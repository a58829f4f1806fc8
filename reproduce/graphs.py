"""Steps of training as CUDA graphs: recorded once with all their kernels, then launched as one.

At batch 16 a GPU spends most of an iteration waiting for Python to launch the next kernel. A graph has the whole step,
gradients of gradients and the optimizer included, in one launch. It repeats what was recorded at the same addresses, so
a step may depend on the iteration through tensors alone, and what it remembers must be changed in place.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from benchmarks.runs import InputError

EAGER = 2  # calls of a kind before it is recorded: they create what lives on, such as Adam's moments

Outputs = dict[str, Tensor]
Replay = Callable[[], None]


class Recorded(NamedTuple):
    inputs: list[Tensor]
    replay: Replay
    outputs: Outputs


class Graphed:
    """step(*tensors, **kind) -> outputs, as a graph for each kind.

    state   the modules that the step changes. Raises InputError where one puts a new tensor in a buffer's place
    record  records work and returns what repeats it, and its outputs
    """

    def __init__(self, step: Callable[..., Outputs], state: nn.Module, record: "CudaRecorder"):
        self.step, self.state, self.record = step, state, record
        self.calls: dict[tuple, int] = {}
        self.recorded: dict[tuple, Recorded] = {}

    def __call__(self, *inputs: Tensor, **kind) -> Outputs:
        key = tuple(sorted(kind.items()))
        if key not in self.recorded:
            self.calls[key] = self.calls.get(key, 0) + 1
            if self.calls[key] <= EAGER:
                return self.record.aside(lambda: self.step(*inputs, **kind))
            self.recorded[key] = self._record(inputs, kind)
        recorded = self.recorded[key]
        for ours, given in zip(recorded.inputs, inputs, strict=True):
            ours.copy_(given)
        recorded.replay()
        return {name: output.clone() for name, output in recorded.outputs.items()}  # graphs share their memory

    def _record(self, inputs: tuple[Tensor, ...], kind: dict) -> Recorded:
        """Record the step without taking it: on CUDA, recording runs no kernel."""
        ours = [tensor.clone() for tensor in inputs]
        before = {name: buffer.data_ptr() for name, buffer in self.state.named_buffers()}
        replay, outputs = self.record(lambda: self.step(*ours, **kind))
        for name, buffer in self.state.named_buffers():
            if before.get(name) != buffer.data_ptr():
                raise InputError(f"buffer {name!r}: replaced by a new tensor in training; as CUDA graphs need it "
                                 "changed in place, as by copy_, train this without GRAPHS")
        return Recorded(ours, replay, outputs)


class CudaRecorder:
    """Records on a stream of its own. The graphs share their memory, since they never run at the same time."""

    def __init__(self):
        self.stream, self.pool = torch.cuda.Stream(), torch.cuda.graph_pool_handle()

    def aside(self, work: Callable[[], Outputs]) -> Outputs:
        """Run work on that stream: autograd remembers on which one a parameter was used first."""
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            outputs = work()
        torch.cuda.current_stream().wait_stream(self.stream)
        return outputs

    def __call__(self, work: Callable[[], Outputs]) -> tuple[Replay, Outputs]:
        graph = torch.cuda.CUDAGraph()
        # thread_local: the feed's threads may go on allocating pinned memory meanwhile
        with torch.cuda.graph(graph, pool=self.pool, stream=self.stream, capture_error_mode="thread_local"):
            outputs = work()
        return graph.replay, outputs
