"""Bring the cells of a table to their end: `python -m reproduce.sweep TABLE` or `python -m reproduce.sweep RUN_ID ...`.

Cells that are done are left alone, interrupted ones go on, so the same command may be given again at any time, also
twice at once. Exit status: 0 when all are done, 1 when some failed, 75 when some are to be done later.
"""

import argparse
import sys
from pathlib import Path

from benchmarks.runs import InputError, Protocol, Run, command
from benchmarks.tables import TABLES, runs
from reproduce.cell import STOP, Settings, finished, stop_on_signals
from reproduce.engines import ENGINES, Capacity


def listed(names: list[str], seeds: int, iterations: int | None) -> list[str]:
    """The run ids that names stand for, each once: a table's, or a run's own. Raises InputError for other names."""
    ids = [run.id for name in names
           for run in (runs(name, seeds, iterations) if name in TABLES or "-" not in name else [Run.from_id(name)])]
    return list(dict.fromkeys(ids))


def cheapest_first(run_ids: list[str]) -> list[str]:
    """By the operations of a whole training, counted and not measured."""
    from reproduce.plan import operations  # here, because it takes torch seconds to load

    return sorted(run_ids, key=lambda run_id: operations(Run.from_id(run_id)))


def require_counts(args: argparse.Namespace) -> None:
    """Raises InputError for a number that is too small."""
    for name, least in {"seeds": 1, "jobs": 1, "gpus": 1, "runs_per_gpu": 1, "gpus_per_run": 1, "micro_batch": 0,
                        "timeout": 0, "retries": 0}.items():  # fmt: skip
        value = getattr(args, name)
        if value is not None and value < least:
            raise InputError(f"--{name.replace('_', '-')} {value}: must be at least {least}")


def main() -> int:
    args = parser().parse_args()
    require_counts(args)
    protocol = Protocol(args.extractor, args.samples, args.eval_seeds, args.eval_every, args.weights)
    settings = Settings(args.data.absolute(), args.results.absolute(), args.device, protocol, args.method,
                        args.gpus_per_run, args.micro_batch, bool(args.graphs), args.timeout, args.retries)
    capacity = Capacity(args.jobs, args.gpus, args.runs_per_gpu, args.sbatch)
    capacity.require(settings)
    run_ids = listed(args.names, args.seeds, args.iterations)
    left = [run_id for run_id in run_ids if not finished(run_id, settings)]
    stop_on_signals()
    ordered = cheapest_first(left) if args.order == "cost" else left
    outcome = ENGINES[args.engine](ordered, settings, capacity) if left else {}
    unfinished = {run_id: line for run_id, line in outcome.items() if line}
    told = STOP.is_set() or args.engine == "slurm"  # that some are left is no news then
    lines = ["stopped; the same command goes on"] if STOP.is_set() else [] if told else unfinished.values()
    print("".join(f"{line}\n" for line in lines), end="", file=sys.stderr)
    print(f"{len(run_ids) - len(unfinished)} of {len(run_ids)} cells done")
    return 75 if told and unfinished else int(bool(unfinished))


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="+", metavar="TABLE|RUN_ID", help=f"of the tables {', '.join(TABLES)}, or runs")
    parser.add_argument("--seeds", type=int, default=1, help="how many training seeds of a table, from 0")
    parser.add_argument("--iterations", type=int, help="generator steps instead of the protocol's, for a table")
    parser.add_argument("--order", choices=["table", "cost"], default="table", help="cost: the cheapest first")
    how = parser.add_argument_group("how they are run")
    how.add_argument("--engine", choices=ENGINES, default="serial")
    how.add_argument("--jobs", type=int, default=1, help="serial: cells at a time")
    how.add_argument("--gpus", type=int, help="how many GPUs to use; serial: 1 if not given, else all")
    how.add_argument("--runs-per-gpu", type=int, default=1, help="small runs that share a GPU")
    how.add_argument("--gpus-per-run", type=int, default=1, help="GPUs that one training is split over")
    how.add_argument("--sbatch", default="", help="slurm: further options, such as \"--partition=long --time=2-0\"")
    how.add_argument("--micro-batch", type=int, default=0, help="images that go through a network at once; 0: all")
    how.add_argument("--graphs", type=int, choices=(0, 1), default=0, help="1: launch each step as one CUDA graph")
    how.add_argument("--timeout", type=float, default=0.0, help="seconds without progress that mean hung; 0: none do")
    how.add_argument("--retries", type=int, default=2, help="how often a crashed or hung process is started again")
    how.add_argument("--method", default="", help="where a regularizer is in a file of your own (reproduce.compare)")
    what = parser.add_argument_group("how they are measured")
    what.add_argument("--extractor", default="inception")
    what.add_argument("--samples", type=int, default=5000, help="generated images")
    what.add_argument("--eval-seeds", type=int, default=1, help="independent draws of them")
    what.add_argument("--eval-every", type=int, help="iterations between generators that are kept and measured")
    what.add_argument("--weights", type=Path, help="weights file of the extractor, instead of a download")
    where = parser.add_argument_group("where")
    where.add_argument("--data", type=Path, default=Path("data"), help="folder of the data sets")
    where.add_argument("--results", type=Path, default=Path("results"), help="folder of the runs")
    where.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, ...")
    return parser


if __name__ == "__main__":
    command(main)
