"""The processes of one training, which gives the numbers of a single process.

Every process runs the same training loop on the same whole batches with the same random numbers, so a loss, a
regularizer or an augmentation need not know how many there are. Only the networks' work is divided: each process runs
its rows of a batch through them, and reproduce.pieces puts the outputs together. `launch` starts reproduce.run in K
processes on this machine, by torchrun.
"""

import logging
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from functools import partial

import torch
import torch.distributed as dist

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
    """benchmarks.runs.command where torchrun may have started several processes. Number 0 speaks for all.

    A crash of another process is printed all the same.
    """
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        die_with_parent()  # save and end with torchrun, however it ends
        _join()
    with silence():
        runs.command(partial(_to_the_end, main))


@contextmanager
def silence() -> Iterator[None]:
    """Process 0 may speak, the others print nothing."""
    if not rank():
        yield
        return
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        yield


def _join() -> None:
    """Join the process group that torchrun has started."""
    backend, init_method = "gloo", None
    if torch.cuda.is_available():
        backend = "cpu:gloo,cuda:nccl"
    if MEETING in os.environ:
        init_method = f"file://{os.environ[MEETING]}"
    dist.init_process_group(backend, init_method, rank=int(os.environ["RANK"]),
                            world_size=int(os.environ["WORLD_SIZE"]))


def _to_the_end(main: Callable[[], None]) -> None:
    main()
    if dist.is_initialized():
        dist.destroy_process_group()


def device(chosen: torch.device) -> torch.device:
    """The device of this process, given the one that the user chose: each of several processes has a GPU of its own."""
    if processes() == 1 or chosen.type == "cpu":
        return chosen
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


# torchrun -------------------------------------------------------------------------------------------------------------

# Its stores listen on all interfaces, so files stand in for them, and the processes talk over the loopback interface
INTERFACE = "lo" if sys.platform == "linux" else "lo0"
LOCAL = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1", "GLOO_SOCKET_IFNAME": INTERFACE, "NCCL_SOCKET_IFNAME": INTERFACE}


def launch(count: int, arguments: list[str]) -> int:
    """Run `reproduce.run` with these arguments in so many processes. Returns its exit status."""
    from torch.distributed import run as torchrun  # here, as no other command needs it
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    threads = max(1, (os.cpu_count() or 1) // count)
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    os.environ.update(LOCAL)
    logging.disable(logging.ERROR)  # torchrun's own account of how a process ended: that has said so itself
    with tempfile.TemporaryDirectory() as folder:
        os.environ[MEETING] = f"{folder}/processes"
        options = ["--rdzv-backend=c10d", f"--rdzv-endpoint={folder}/torchrun", "--rdzv-conf=store_type=file",
                   f"--nproc-per-node={count}", "-m", "reproduce.run"]
        try:
            torchrun.run(torchrun.parse_args([*options, *arguments]))
        except ChildFailedError as error:
            return error.get_first_failure()[1].exitcode
        except SignalException:  # passed on to the processes, which have saved
            return TryLaterError.status
    return 0
