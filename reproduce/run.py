"""One run from its beginning to its record: `python -m reproduce.run RUN_ID NAME=value ...` trains, then evaluates it.

The same command again goes on where it was interrupted, and does nothing when all is done. With GPUS_PER_RUN=K the
training is shared by K processes of torchrun, which end before the evaluation begins. reproduce.settings lists the
options.
"""

import os
import signal
import sys

from benchmarks.runs import InputError, Run, TryLaterError, command
from reproduce.cell import STOP, end_with, finished, stop_on_signals
from reproduce.preflight import look
from reproduce.settings import Settings, split

LAUNCHER = "REPRODUCE_LAUNCHER"  # in the environment of torchrun's processes: the process that they end with


def main() -> int:
    named, given = split(sys.argv[1:])
    if len(named) != 1:
        raise InputError(f"{len(named)} run ids: give one, as listed by `python -m benchmarks.tables TABLE`")
    run, settings = Run.from_id(named[0]), Settings.parse(given)
    if finished(run.id, settings):
        print(f"{run.id}: done")
        return 0
    if look([run], settings).say():
        return InputError.status
    if settings.gpus_per_run > 1:
        train_in_processes(run, settings)
    else:
        print(train_here(run, settings), flush=True)
        if STOP.is_set():
            raise TryLaterError(f"run {run.id}: trained, and told to stop; the same command evaluates it")
    print(evaluate_here(run, settings), flush=True)
    return 0


# torch takes seconds to load, so what needs it is imported where it is used


def train_here(run: Run, settings: Settings) -> str:
    """Train in this process. Raises InputError also where memory is not enough or a file of the user's fails."""
    from reproduce import machine, methods, parallel
    from reproduce.train import train

    stop_on_signals()
    machine.keep_memory()
    if settings.method:
        methods.read(settings.method)
    try:
        return train(run, settings, parallel.device(machine.device(settings.device)))
    except InputError:
        raise
    except Exception as error:
        reason = out_of_memory(error) or methods.blamed(error, settings.method)
        if not reason:
            raise
        raise InputError(f"run {run.id}: {reason}") from error


def out_of_memory(error: Exception) -> str:
    """What to do about an error that says that memory is exhausted; "" for any other error."""
    import torch

    text = str(error).partition("\n")[0]
    exhausted = isinstance(error, MemoryError | torch.cuda.OutOfMemoryError) or "can't allocate memory" in text
    if not exhausted:
        return ""
    return (f"out of memory ({text or 'MemoryError'}); give a MICRO_BATCH (or a smaller one), "
            "or a run id with a smaller batch, such as -b8")


def train_in_processes(run: Run, settings: Settings) -> None:
    """Train in processes of torchrun. Ends this process with their status where that is not 0."""
    from reproduce import parallel

    os.environ[LAUNCHER] = str(os.getpid())
    status = parallel.launch(settings.gpus_per_run, [run.id, *settings.arguments()])
    del os.environ[LAUNCHER]
    if status:
        sys.exit(status)


def evaluate_here(run: Run, settings: Settings) -> str:
    """Evaluate in this process. It has nothing to save, so that a signal ends it at once."""
    from reproduce import machine
    from reproduce.evaluate import evaluate

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os._exit(TryLaterError.status))
    device = machine.device(settings.device)
    machine.free_memory(device)
    return evaluate(run, settings.protocol, settings.data, settings.results, device)


def process() -> None:
    """One of torchrun's processes."""
    names, given = split(sys.argv[1:])
    print(train_here(Run.from_id(names[0]), Settings.parse(given)), flush=True)


if __name__ == "__main__":
    if LAUNCHER in os.environ:
        end_with(int(os.environ[LAUNCHER]))  # before torch is loaded, which takes seconds
        from reproduce import parallel

        parallel.command(process)
    else:
        command(main)
