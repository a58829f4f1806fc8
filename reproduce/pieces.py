"""A batch in slices: micro-batches on one device, and the rows of several processes, with the numbers of the whole.

A function of single images (baselines.scoring) is evaluated in two passes. The first runs slice after slice without a
graph and puts the outputs together, so that a loss or a regularizer is a plain function of the whole batch's values.
When these are differentiated, the second pass runs each slice again, now with a graph, and sends its rows of the
gradient back. No more than one slice's graph is in memory at a time.

Several processes run the same loop on the same whole batches with the same random numbers, and each evaluates its own
rows. They exchange the outputs of the first pass and, once per backward pass, the parameters' gradients.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode

from baselines.layers import ROWS, Rows
from benchmarks.runs import InputError
from reproduce.parallel import processes, rank


@dataclass(frozen=True)
class Pieces:
    """`pieces(network, function, *inputs)`: the outputs of a function of rows, as baselines.scoring.whole gives them.

    micro_batch  images in the network at once; 0: as many as there are. A network with batch norm sees all rows of its
                 process at once
    group        how many consecutive images of a batch must stay together: those of minibatch standard deviation
    """

    micro_batch: int = 0
    group: int = 1

    def __call__(self, network: nn.Module, function: Callable, *inputs: Tensor) -> object:
        batch = len(inputs[0])
        slices = self.slices(network, batch)
        if slices == [Rows(0, batch, batch)]:
            return _replicated(function(*inputs))
        evaluation = Evaluation(network, function, slices, len(inputs), State.of(network))
        outputs = TwoPasses.apply(evaluation, *inputs, *network.parameters())
        return evaluation.as_function_returns_it(outputs)

    def slices(self, network: nn.Module, batch: int) -> list[Rows]:
        """The slices of this process."""
        group = group_size(batch, self.group)
        start, stop = own_rows(batch // group, group)
        if processes() > 1 and stop - start == batch:  # too few to share: every process has them all
            return [Rows(0, batch, batch)]
        size = stop - start
        if self.micro_batch and not has_batch_norm(network):
            size = max(group, self.micro_batch // group * group)
        return [Rows(first, min(first + size, stop), batch) for first in range(start, stop, size)]


def group_size(n: int, limit: int) -> int:
    """The largest divisor of n up to a limit: the size of groups into which n rows can be cut evenly."""
    return max(k for k in range(1, limit + 1) if n % k == 0)


def own_rows(groups: int, group: int) -> tuple[int, int]:
    """The first of this process's rows and the one after its last; all, where there are too few groups to share."""
    if groups < processes():
        return 0, groups * group
    count, number = processes(), rank()
    return groups * number // count * group, groups * (number + 1) // count * group


def _replicated(outputs: object) -> object:
    """Outputs that every process has worked out, so that the gradients of all processes add up to that of one."""
    if processes() == 1:
        return outputs
    for output in _as_list(outputs):
        if output is not None and output.requires_grad:
            output.register_hook(lambda gradient: gradient / processes())
    return outputs


def _as_list(outputs: object) -> list[Tensor | None]:
    if isinstance(outputs, Tensor):
        return [outputs]
    return list(outputs)


def has_batch_norm(network: nn.Module) -> bool:
    return any(isinstance(module, _BatchNorm) for module in network.modules())


def require_groups(batch: int, group: int, count: int) -> None:
    """Raises InputError where `count` processes are more than the groups that a discriminator must see together."""
    if count > batch // group:
        raise InputError(f"GPUS_PER_RUN={count}: a batch of {batch} in groups of {group} (minibatch standard "
                         f"deviation) is enough for at most {batch // group}")


def add_up(parameters: list[nn.Parameter]) -> None:
    """Sum the gradients of all processes, each of its own rows, in one exchange."""
    if processes() > 1:
        sum_over_processes([parameter.grad for parameter in parameters if parameter.grad is not None])


def sum_over_processes(tensors: list[Tensor]) -> None:
    """Put the sum over all processes in the place of each tensor, in one exchange."""
    flat = torch.cat([tensor.flatten() for tensor in tensors])
    dist.all_reduce(flat)
    parts = flat.split([tensor.numel() for tensor in tensors])
    for tensor, part in zip(tensors, parts, strict=True):
        tensor.copy_(part.view_as(tensor))


# Two passes -----------------------------------------------------------------------------------------------------------


@dataclass
class Evaluation:
    """One evaluation of a function, from the first pass until its backward pass.

    Every slice starts from the buffers and random numbers that the network found before the first one. So a spectral
    norm takes one step of its power iteration, and batch norm notes one batch, however often slices are run.
    """

    network: nn.Module
    function: Callable
    slices: list[Rows]
    inputs: int
    before: "State"
    alone: bool = False  # whether the function returns a single tensor

    def outputs(self, rows: Rows, inputs: list[Tensor]) -> list[Tensor | None]:
        """The function's outputs of some rows, given the inputs of these rows."""
        self.before.restore(self.network)
        norm = nullcontext()
        if processes() > 1 and has_batch_norm(self.network):
            norm = GlobalNorm()
        with only(rows), norm:
            outputs = self.function(*inputs)
        self.alone = isinstance(outputs, Tensor)
        return _as_list(outputs)

    def add_gradients(self, rows: Rows, tensors: list[Tensor], totals: list[Tensor | None],
                      gradients: tuple[Tensor | None, ...]) -> None:
        """Run a slice with a graph, and add its gradients to the totals of those tensors that need one.

        The first `inputs` of the tensors have a row for each image, the others are the network's parameters.
        """
        wanted, places = [], []  # tensors to differentiate by, and where their gradients go
        pieces = []
        for number, (tensor, total) in enumerate(zip(tensors, totals, strict=True)):
            has_rows = number < self.inputs
            if has_rows:
                tensor = tensor[rows.start:rows.stop].detach().requires_grad_(total is not None)
                pieces.append(tensor)
            if total is not None:
                wanted.append(tensor)
                places.append(total[rows.start:rows.stop] if has_rows else total)
        with torch.enable_grad():
            outputs = self.outputs(rows, pieces)
        for place, part in zip(places, self.differentiated(rows, outputs, gradients, wanted), strict=True):
            place += part

    def differentiated(self, rows: Rows, outputs: list[Tensor | None], gradients: tuple[Tensor | None, ...],
                       wanted: list[Tensor]) -> tuple[Tensor, ...]:
        """The gradients by the wanted tensors of a slice's outputs, given the gradients of the outputs of all rows."""
        values, cotangents = [], []
        for output, gradient in zip(outputs, gradients, strict=True):
            if gradient is not None:
                values.append(output)
                cotangents.append(gradient[rows.start:rows.stop])
        return torch.autograd.grad(values, wanted, cotangents, materialize_grads=True)

    def as_function_returns_it(self, outputs: tuple[Tensor | None, ...]) -> object:
        if self.alone:
            return outputs[0]
        return outputs


class TwoPasses(Function):
    """Outputs of an evaluation by its inputs and the network's parameters."""

    @staticmethod
    def forward(ctx, evaluation: Evaluation, *tensors: Tensor) -> tuple[Tensor | None, ...]:
        ctx.evaluation = evaluation
        ctx.save_for_backward(*tensors[:evaluation.inputs])
        ctx.set_materialize_grads(False)
        sliced = []
        for rows in evaluation.slices:
            inputs = [tensor[rows.start:rows.stop] for tensor in tensors[:evaluation.inputs]]
            sliced.append(evaluation.outputs(rows, inputs))
        joined = [_joined(parts) for parts in zip(*sliced, strict=True)]
        return gathered(joined, evaluation.slices)

    @staticmethod
    def backward(ctx, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise InputError("a regularizer that differentiates the scores by itself cannot be evaluated in slices: "
                             "use .norms() or .gradient of real, fake or D(x, y), or leave out MICRO_BATCH and "
                             "GPUS_PER_RUN")
        evaluation, inputs = ctx.evaluation, ctx.saved_tensors
        tensors = [*inputs, *evaluation.network.parameters()]
        totals: list[Tensor | None] = [None] * len(tensors)
        for number, needed in enumerate(ctx.needs_input_grad[1:]):
            if needed:
                totals[number] = torch.zeros_like(tensors[number])
        with evaluation.before.aside(evaluation.network):
            for rows in evaluation.slices:
                evaluation.add_gradients(rows, tensors, totals, gradients)
        return None, *totals


def _joined(parts: tuple[Tensor | None, ...]) -> Tensor | None:
    """An output of all slices; None where the function returns None in its place."""
    if parts[0] is None:
        return None
    return torch.cat(parts).detach()


@dataclass
class State:
    """What a network's evaluation changes besides its outputs: its buffers and the random numbers."""

    buffers: list[Tensor]
    generators: list[torch.Generator]
    numbers: list[Tensor]

    @classmethod
    def of(cls, network: nn.Module) -> "State":
        generators = generators_of(next(network.parameters()).device)
        buffers = [buffer.clone() for buffer in network.buffers()]
        return cls(buffers, generators, [generator.get_state() for generator in generators])

    def restore(self, network: nn.Module) -> None:
        for buffer, value in zip(network.buffers(), self.buffers, strict=True):
            buffer.copy_(value)
        for generator, state in zip(self.generators, self.numbers, strict=True):
            generator.set_state(state)

    @contextmanager
    def aside(self, network: nn.Module) -> Iterator[None]:
        """Leave the network and the random numbers as they are now, whatever is evaluated inside."""
        now = State.of(network)
        try:
            yield
        finally:
            now.restore(network)


def generators_of(device: torch.device) -> list[torch.Generator]:
    """The sources of random numbers that a network on a device may draw from."""
    generators = [torch.default_generator]
    if device.type == "cuda":
        generators.append(torch.cuda.default_generators[device.index])
    return generators


@contextmanager
def only(rows: Rows) -> Iterator[None]:
    """Tell the layers that they see these rows alone."""
    token = ROWS.set(rows)
    try:
        yield
    finally:
        ROWS.reset(token)


def gathered(outputs: list[Tensor | None], slices: list[Rows]) -> tuple[Tensor | None, ...]:
    """Outputs of all rows from those of each process, in one exchange."""
    if processes() == 1 or slices[0].stop - slices[0].start == slices[0].whole:
        return tuple(outputs)
    before, after = slices[0].start, slices[0].whole - slices[-1].stop
    padded = [_padded(output, before, after) for output in outputs]
    sum_over_processes([output for output in padded if output is not None])
    return tuple(padded)


def _padded(output: Tensor | None, before: int, after: int) -> Tensor | None:
    """An output with rows of zeros before it and after it."""
    if output is None:
        return None
    others = [0, 0] * (output.ndim - 1)
    return F.pad(output, [*others, before, after])


# Batch norm over all processes ----------------------------------------------------------------------------------------


class SumOfProcesses(Function):
    """The sum of a value over all processes. Its gradient is the sum of theirs: each has a loss of its own rows."""

    @staticmethod
    def forward(ctx, value: Tensor) -> Tensor:
        total = value.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        return SumOfProcesses.apply(gradient)


def sum_of_channels(x: Tensor) -> Tensor:
    """The sum of each channel over images, pixels and processes, [1, C, 1, ...]."""
    others = [dim for dim in range(x.ndim) if dim != 1]
    return SumOfProcesses.apply(x.sum(others, keepdim=True))


class GlobalNorm(TorchFunctionMode):
    """Inside, batch norm takes its statistics over the rows of all processes."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function is F.batch_norm:
            function = batch_norm
        return function(*args, **(kwargs or {}))


def batch_norm(x: Tensor, running_mean: Tensor | None, running_var: Tensor | None, weight: Tensor | None = None,
               bias: Tensor | None = None, training: bool = False, momentum: float = 0.1, eps: float = 1e-5) -> Tensor:
    """F.batch_norm of this process's rows x [N, C, ...], with the mean and variance of the whole batch in training."""
    if not training:
        return F.batch_norm(x, running_mean, running_var, weight, bias, False, momentum, eps)
    dtype = x.dtype
    if dtype == torch.bfloat16:
        x = x.float()  # as F.batch_norm, which takes sums in float32
    rows = ROWS.get()
    images = len(x) * rows.whole // (rows.stop - rows.start)  # of all processes; x may hold rows of two batches
    count = images * x[0, 0].numel()
    mean = sum_of_channels(x) / count
    variance = sum_of_channels((x - mean).square()) / count
    if running_mean is not None:
        with torch.no_grad():
            running_mean.lerp_(mean.flatten(), momentum)
            running_var.lerp_((variance * count / (count - 1)).flatten(), momentum)
    out = (x - mean) * (variance + eps).rsqrt()
    if weight is not None:
        out = out * weight.view_as(mean)
    if bias is not None:
        out = out + bias.view_as(mean)
    return out.to(dtype)
