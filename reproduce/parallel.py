"""One training over several processes, or in pieces of a batch, with the numbers of one process and the whole batch.

Every process runs the same training loop on the same whole batches with the same random numbers, so a loss, a
regularizer or an augmentation need not know. Only the networks are shared out: each process runs its rows of a batch
through them, and what comes out is put together again for all. `launch` is torchrun of reproduce.run with K processes
on this machine.
"""

import logging
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stderr, redirect_stdout
from functools import partial

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd import Function
from torch.func import functional_call
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode

from baselines.layers import ROWS, Rows, group_size, trunk
from benchmarks import runs
from benchmarks.runs import InputError, TryLaterError
from reproduce.cell import die_with_parent

MEETING = "REPRODUCE_MEETING"  # in the environment: a file through which the processes of one machine find each other

# The processes --------------------------------------------------------------------------------------------------------


def processes() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """This process's number. Number 0 is the one that writes and speaks."""
    return dist.get_rank() if dist.is_initialized() else 0


def command(main: Callable[[], None]) -> None:
    """As benchmarks.runs.command, where torchrun may have started several. One speaks, unless another crashes."""
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        die_with_parent()  # save and end with torchrun, however it ends
        meeting = {"init_method": f"file://{os.environ[MEETING]}"} if MEETING in os.environ else {}
        dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo", **meeting,
                                rank=int(os.environ["RANK"]), world_size=int(os.environ["WORLD_SIZE"]))
    nowhere = open(os.devnull, "w") if rank() else None
    with redirect_stdout(nowhere or sys.stdout), redirect_stderr(nowhere or sys.stderr):
        runs.command(partial(_to_the_end, main))


def _to_the_end(main: Callable[[], None]) -> None:
    main()
    if dist.is_initialized():
        dist.destroy_process_group()


def device(found: torch.device) -> torch.device:
    """The device of this process, given the user's: of several processes each has a GPU of its own."""
    if processes() == 1 or found.type == "cpu":
        return found
    if found.index is not None:
        raise InputError(f"device {found}: several processes take a GPU each; give auto, cuda or cpu")
    if torch.cuda.device_count() < int(os.environ["LOCAL_WORLD_SIZE"]):
        raise InputError(f"GPUS_PER_RUN={processes()}: there are {torch.cuda.device_count()} GPUs here")
    torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    return torch.device("cuda", torch.cuda.current_device())


@contextmanager
def first() -> Iterator[None]:
    """Process 0 does what is inside, then the others do. If it fails, they end with it and its status."""
    status = torch.ones((), dtype=torch.long)
    if rank():
        dist.broadcast(status, 0)
        if status:
            sys.exit(status.item())
    try:
        yield
        status.zero_()
    except InputError as error:
        status.fill_(error.status)
        raise
    finally:
        if processes() > 1 and not rank():
            dist.broadcast(status, 0)


def any_of(flag: bool) -> bool:
    """Whether the flag is up in any process; all wait for each other here."""
    if processes() == 1:
        return flag
    flags = torch.tensor(int(flag))
    dist.all_reduce(flags)  # on the CPU: no wait for the GPU's work
    return bool(flags)


# Values that cross between processes ----------------------------------------------------------------------------------
# A value is either whole, the same in all processes, and so is its gradient; or a part, whose gradient is of that part.


class Share(Function):
    """Whole values to where each process does its part with them. The gradients of the parts add up."""

    @staticmethod
    def forward(ctx, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        return tuple(tensor.view_as(tensor) for tensor in tensors)

    @staticmethod
    def backward(ctx, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        sums = iter(Sum.apply(*(gradient for gradient in gradients if gradient is not None)))
        return tuple(None if gradient is None else next(sums) for gradient in gradients)


class Sum(Function):
    """Parts to their whole, the sum over all processes, in one exchange. Its gradient is that of every part."""

    @staticmethod
    def forward(ctx, *tensors: Tensor) -> tuple[Tensor, ...]:
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        dist.all_reduce(flat)
        sums = flat.split([tensor.numel() for tensor in tensors])
        return tuple(part.view_as(tensor) for part, tensor in zip(sums, tensors, strict=True))

    @staticmethod
    def backward(ctx, *gradients: Tensor) -> tuple[Tensor, ...]:
        return Share.apply(*gradients)


class GlobalNorm(TorchFunctionMode):
    """Inside, batch norm takes its statistics over the rows of all processes."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        return (batch_norm if function is F.batch_norm else function)(*args, **(kwargs or {}))


def batch_norm(x: Tensor, running_mean: Tensor | None, running_var: Tensor | None, weight: Tensor | None = None,
               bias: Tensor | None = None, training: bool = False, momentum: float = 0.1, eps: float = 1e-5) -> Tensor:
    """F.batch_norm of this process's rows x [N, C, ...], with the mean and variance of the whole batch in training."""
    if not training:
        return F.batch_norm(x, running_mean, running_var, weight, bias, False, momentum, eps)
    dtype, x = x.dtype, x.float() if x.dtype == torch.bfloat16 else x  # as F.batch_norm, which takes sums in float32
    others = [dim for dim in range(x.ndim) if dim != 1]
    count = ROWS.get().whole * x[0, 0].numel()

    def mean_of(values: Tensor) -> Tensor:
        (total,) = Share.apply(*Sum.apply(values.sum(others, keepdim=True)))
        return total / count

    mean = mean_of(x)
    variance = mean_of((x - mean).square())
    with torch.no_grad():
        for running, now in ((running_mean, mean), (running_var, variance * count / (count - 1))):
            if running is not None:
                running.lerp_(now.flatten(), momentum)
    scale = (variance + eps).rsqrt() * (1 if weight is None else weight.view_as(mean))
    return ((x - mean) * scale + (0 if bias is None else bias.view_as(mean))).to(dtype)


# Pieces of a batch ----------------------------------------------------------------------------------------------------


class Piecewise(Function):
    """A function, piece by piece of its rows. What is between its inputs and outputs is not kept but computed again.

    function  (rows, wanted, *tensors) -> those of its outputs whose numbers are in `wanted`
    cut       of each of the tensors, then of each wanted output: has it rows, or is it shared by all pieces? Such an
              output is summed over them

    The backward pass is Piecewise again, of the vector-Jacobian product: that too may be differentiated.
    """

    @staticmethod
    def forward(ctx, function: Callable, pieces: list[Rows], wanted: list[int], cut: list[bool], *tensors: Tensor
                ) -> tuple[Tensor, ...]:
        ctx.function, ctx.pieces, ctx.wanted, ctx.cut = function, pieces, wanted, cut
        ctx.save_for_backward(*tensors)
        ctx.set_materialize_grads(False)
        n, first = len(tensors), pieces[0].start
        results = [[] if has_rows else None for has_rows in cut[n:]]
        for rows in pieces:
            here = slice(rows.start - first, rows.stop - first)
            seen = [tensor.detach()[here] if has_rows else tensor.detach()
                    for tensor, has_rows in zip(tensors, cut[:n], strict=True)]
            outputs = function(rows, wanted, *seen)
            for i, output in enumerate(outputs):
                if cut[n + i]:
                    results[i].append(output)
                else:
                    results[i] = output if results[i] is None else results[i] + output
        return tuple(torch.cat(r) if has_rows else r for r, has_rows in zip(results, cut[n:], strict=True))

    @staticmethod
    def backward(ctx, *cotangents: Tensor | None) -> tuple[Tensor | None, ...]:
        tensors = ctx.saved_tensors
        given = [i for i, cotangent in enumerate(cotangents) if cotangent is not None]
        by = [i for i, needed in enumerate(ctx.needs_input_grad[4:]) if needed]
        cut = [*(ctx.cut[len(tensors) + i] for i in given), *ctx.cut[:len(tensors)], *(ctx.cut[i] for i in by)]
        product = partial(vector_jacobian, ctx.function, [ctx.wanted[i] for i in given], by)
        with torch.random.fork_rng([tensors[0].device] if tensors[0].is_cuda else []):
            found = Piecewise.apply(product, ctx.pieces, list(range(len(by))), cut,
                                    *(cotangents[i] for i in given), *tensors)
        gradients = dict(zip(by, found, strict=True))
        return (None,) * 4 + tuple(gradients.get(i) for i in range(len(tensors)))


def vector_jacobian(function: Callable, given: list[int], by: list[int], rows: Rows, wanted: list[int],
                    *tensors: Tensor) -> tuple[Tensor, ...]:
    """Gradients by the inputs number by[i], i in wanted, from cotangents of the outputs `given` and all inputs."""
    cotangents, inputs = tensors[:len(given)], list(tensors[len(given):])
    twice = torch.is_grad_enabled()
    with torch.enable_grad():
        for i in by:
            inputs[i] = inputs[i] if inputs[i].requires_grad else inputs[i].detach().requires_grad_()
        outputs = function(rows, given, *inputs)
        return torch.autograd.grad(outputs, [inputs[by[i]] for i in wanted], cotangents, create_graph=twice,
                                   materialize_grads=True)


class Replay:
    """A network's forward as Piecewise wants it, each time from the same buffers and the same random numbers."""

    def __init__(self, network: nn.Module, names: Sequence[str], device: torch.device):
        self.network, self.names = network, names
        self.before = {name: buffer.clone() for name, buffer in network.named_buffers()}
        self.generators = [torch.default_generator]
        if device.type == "cuda":
            self.generators.append(torch.cuda.default_generators[device.index])
        self.states = [generator.get_state() for generator in self.generators]

    def __call__(self, rows: Rows, wanted: list[int], *tensors: Tensor) -> tuple[Tensor]:
        for generator, state in zip(self.generators, self.states, strict=True):
            generator.set_state(state)
        self.after = {name: buffer.clone() for name, buffer in self.before.items()}
        inputs, parameters = tensors[:-len(self.names)], tensors[-len(self.names):]
        state = dict(zip(self.names, parameters, strict=True)) | self.after
        with only(rows):
            return (functional_call(self.network, state, inputs),)

    def keep(self) -> None:
        """Leave the network's buffers as one call does; the random numbers are there already."""
        for name, buffer in self.network.named_buffers():
            buffer.copy_(self.after[name])


@contextmanager
def only(rows: Rows) -> Iterator[None]:
    """Tell the layers that they see these rows alone."""
    token = ROWS.set(rows)
    try:
        yield
    finally:
        ROWS.reset(token)


# Networks -------------------------------------------------------------------------------------------------------------


def check(batch: int, group: int) -> None:
    """Raises InputError where there are more processes than groups of rows that a discriminator must see together."""
    group = group_size(batch, group)
    if processes() > batch // group:
        reason = f", cut in groups of {group} for minibatch standard deviation," if group > 1 else ""
        raise InputError(f"GPUS_PER_RUN={processes()}: a batch of {batch}{reason} is enough for at most "
                         f"{batch // group}")


def shard(network: nn.Module, micro_batch: int = 0) -> None:
    """Have a network share its batches out to all processes, and run them in pieces of at most micro_batch images.

    That is its trunk; the rest is the same in all processes. A piece has no less than a group of `mbstd_group`. With
    batch norm a batch cannot be cut: a process runs its rows at once.
    """
    part = trunk(network)
    whole, limit = part.forward, getattr(network, "mbstd_group", 1)
    norms = any(isinstance(module, _BatchNorm) for module in part.modules())

    def forward(*inputs: Tensor) -> Tensor:
        n = len(inputs[0])
        group = group_size(n, limit)
        if ROWS.get() or n // group < processes():  # inside already, or too few: every process runs them all
            return whole(*inputs)
        names, parameters = zip(*part.named_parameters(), strict=True)
        rows, tensors = _rows(n, group), (*inputs, *parameters)
        if processes() > 1:
            tensors = Share.apply(*tensors)
        inputs, parameters = (t[rows.start:rows.stop] for t in tensors[:len(inputs)]), tensors[len(inputs):]
        if micro_batch and not norms:
            out = _in_pieces(part, names, _pieces(rows, micro_batch, group), tuple(inputs), parameters)
        else:
            with only(rows), GlobalNorm() if norms and processes() > 1 else nullcontext():
                out = functional_call(part, dict(zip(names, parameters, strict=True)), tuple(inputs))
        if processes() == 1:
            return out
        return Sum.apply(F.pad(out, [0, 0] * (out.ndim - 1) + [rows.start, n - rows.stop]))[0]

    if processes() > 1 or micro_batch and not norms:
        part.forward = forward


def _rows(n: int, group: int) -> Rows:
    """This process's rows of a batch of n: whole groups, as even as can be."""
    groups = n // group
    start, stop = (groups * k // processes() * group for k in (rank(), rank() + 1))
    return Rows(start, stop, n)


def _pieces(rows: Rows, size: int, group: int) -> list[Rows]:
    step = max(group, size // group * group)
    return [Rows(start, min(start + step, rows.stop), rows.whole) for start in range(rows.start, rows.stop, step)]


def _in_pieces(network: nn.Module, names: Sequence[str], pieces: list[Rows], inputs: tuple[Tensor, ...],
               parameters: tuple[Tensor, ...]) -> Tensor:
    replay = Replay(network, names, inputs[0].device)
    cut = [True] * len(inputs) + [False] * len(parameters) + [True]
    (out,) = Piecewise.apply(replay, pieces, [0], cut, *inputs, *parameters)
    replay.keep()
    return out


# torchrun -------------------------------------------------------------------------------------------------------------

# Its stores listen on all interfaces, so files stand in for them, and the processes talk over the loopback interface
INTERFACE = "lo" if sys.platform == "linux" else "lo0"
LOCAL = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1", "GLOO_SOCKET_IFNAME": INTERFACE, "NCCL_SOCKET_IFNAME": INTERFACE}


def launch(count: int, arguments: list[str]) -> int:
    """Run `reproduce.run` with these arguments in so many processes. Returns its exit status."""
    from torch.distributed import run as torchrun  # here, as no other command needs it
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // count)))
    logging.disable(logging.ERROR)  # torchrun's own account of how a process ended: that has said so itself
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= LOCAL | {MEETING: f"{folder}/processes"}
        options = ["--rdzv-backend=c10d", f"--rdzv-endpoint={folder}/torchrun", "--rdzv-conf=store_type=file",
                   f"--nproc-per-node={count}", "-m", "reproduce.run"]
        try:
            torchrun.run(torchrun.parse_args([*options, *arguments]))
        except ChildFailedError as error:
            return error.get_first_failure()[1].exitcode
        except SignalException:  # passed on to the processes, which have saved
            return TryLaterError.status
    return 0
