"""The options of runs and sweeps: NAME=value, as `make` hands them through, declared and parsed here and nowhere else.

A new option is a field of Settings here, and the place where it acts. One Settings travels whole: from the sweep to its
engine, from there to a cell, and to the cell's process as NAME=value again. Standard library only.

`python -m reproduce.settings NAME=value ...` refuses what is no option or no value of one; `... help` lists the options
and `... tables` the tables.
"""

import math
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

from benchmarks.runs import MINIMUM, InputError, Option, Protocol, command, one_of, options, read_options, whole, yes
from benchmarks.tables import TABLES, Table

ENGINES = ("serial", "ray", "slurm")
MOST = 1000  # runs at a time, or GPUs

# Names that `make` takes for commands which are no run or sweep, and what they mean
OTHERS = {
    "DATASET": "data, score, field: the data set",
    "SOURCE": "data: a folder, archive, parquet file or address to take it from",
    "RESOLUTION": "data, score: width and height in pixels, instead of the paper's",
    "ALLOW_COUNT": "data: 1 takes another number of images than the published one, and notes it",
    "IMAGES": "score: a folder, zip, npz, npy or safetensors file of images that other code made",
    "FRACTION": "score: the share of the training set that they were trained on",
    "SEED": "score: which share of that size",
    "TRAIN": "score: a folder of the images that they were trained on, instead of a share of the data set",
    "PROTOCOL": "score: a named protocol of the literature",
    "RESIZE": "score: 1 resizes the images, and notes it",
}


def seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise ValueError("must be a number of seconds, at least 0")
    return value


def path(text: str) -> Path:
    return Path(text).absolute()


# --- The options ------------------------------------------------------------------------------------------------------


def option(default: object, read: Callable[[str], object], help: str):
    return field(default=default, metadata={"read": read, "help": help})


@dataclass(frozen=True)
class Settings:
    """Every option of a sweep. An option is called like its field, in capitals: SEEDS=3 sets `seeds`."""

    table: str = option("smoke", one_of(*TABLES), "of compare (small if not given), lambda and plan")
    seeds: int = option(1, whole(1, 100), "training seeds of a table, from 0")
    iterations: int | None = option(None, whole(0), "generator steps, at most, instead of a table's own")
    method: str = option("", str, "a regularizer, an augmentation or a file of your own, joined by +: beside baselines")
    order: str = option("table", one_of("table", "cost"), "cost: the cheapest runs first")

    data: Path = option(Path("data"), path, "folder of the data sets")
    results: Path = option(Path("results"), path, "folder of the runs")
    reports: Path = option(Path("reports"), path, "folder of what is rendered; inside RESULTS, where another is given")

    extractor: str = option(Protocol.extractor, str, "the feature network of the metrics; effnet needs no download")
    weights: Path | None = option(None, path, "file of its weights, instead of a download")
    samples: int = option(Protocol.samples, whole(MINIMUM), "generated images that are measured")
    eval_seeds: int = option(Protocol.eval_seeds, whole(1), "independent draws of them")
    eval_every: int | None = option(None, whole(1), "iterations between generators that are kept and measured")

    device: str = option("auto", str, "auto, cpu, cuda, cuda:1, ...")
    engine: str = option("serial", one_of(*ENGINES), "serial, ray or slurm")
    jobs: int = option(1, whole(1, MOST), "serial: runs at a time")
    gpus: int | None = option(None, whole(1, MOST), "GPUs to use; serial: one if not given, else all")
    runs_per_gpu: int = option(1, whole(1, MOST), "small runs that share a GPU")
    gpus_per_run: int = option(1, whole(1, MOST), "GPUs that one training is split over")
    sbatch: str = option("", str, 'slurm: further options, such as "--partition=long --time=2-0"')
    micro_batch: int = option(0, whole(0), "images that go through a network at once; 0: the whole batch")
    graphs: bool = option(False, yes, "1: launch each training step as one CUDA graph")
    timeout: float = option(0.0, seconds, "seconds without progress after which a process has hung; 0: no limit")
    retries: int = option(2, whole(0), "how often a process that crashed or hung is started again")

    def __post_init__(self):
        """Raises InputError for options that contradict each other."""
        shared = self.gpus_per_run > 1
        if shared and self.runs_per_gpu > 1:
            raise InputError(f"RUNS_PER_GPU={self.runs_per_gpu} with GPUS_PER_RUN={self.gpus_per_run}: one of them "
                             "must be 1")
        if shared and ":" in self.device:
            raise InputError(f"DEVICE={self.device}: with GPUS_PER_RUN must be auto, cuda or cpu")
        if self.gpus and self.gpus < self.gpus_per_run:
            raise InputError(f"GPUS={self.gpus}: must be at least GPUS_PER_RUN, {self.gpus_per_run}")
        if self.graphs and (shared or self.micro_batch):
            raise InputError("GRAPHS=1: is for whole batches in one process, without MICRO_BATCH and GPUS_PER_RUN")

    @classmethod
    def parse(cls, arguments: list[str], table: str = "") -> "Settings":
        """The settings that NAME=value arguments give; an empty value gives none. The rest is the table's, or ours."""
        given = _given(arguments)
        values = _own_defaults() | given
        if "reports" not in given and values["results"] != cls.results.absolute():
            values["reports"] = values["results"] / "reports"
        if table:
            values = defaults(TABLES[table], values) | values
        values.setdefault("weights", weights_in_environment(values.get("extractor", cls.extractor)))
        return cls(**values)

    def arguments(self) -> list[str]:
        """The same settings as NAME=value arguments, with absolute paths."""
        texts = {name.upper(): _as_text(value) for name, value in vars(self).items()}
        return [f"{name}={text}" for name, text in texts.items() if text]

    def command(self, run_id: str) -> list[str]:
        """The command that makes a run."""
        return [sys.executable, "-m", "reproduce.run", run_id, *self.of_one_run().arguments()]

    def of_one_run(self) -> "Settings":
        """Without what says how runs are shared out: one of them has its device for itself."""
        return replace(self, engine="serial", jobs=1, gpus=None, runs_per_gpu=1, sbatch="")

    @property
    def protocol(self) -> Protocol:
        return Protocol(self.extractor, self.samples, self.eval_seeds, self.eval_every, self.weights)


KNOWN = {one.name.upper(): Option(one.metadata["read"]) for one in fields(Settings)}


def _own_defaults() -> dict[str, Path]:
    """The folders, absolute: a cell may run in another one."""
    return {one.name: one.default.absolute() for one in fields(Settings) if isinstance(one.default, Path)}


def _given(arguments: list[str]) -> dict[str, object]:
    """Field -> value of what NAME=value arguments give."""
    values = read_options(arguments, KNOWN)
    return {name.lower(): value for name, value in values.items() if value is not None}


def _as_text(value: object) -> str:
    """What is read back as the value; "" for none."""
    if value is None:
        return ""
    if isinstance(value, bool):
        value = int(value)
    if isinstance(value, Path):
        value = value.absolute()
    return str(value)


def weights_in_environment(extractor: str) -> Path | None:
    """The file of an extractor's weights that an environment variable names: INCEPTION, CLIP, ..."""
    file = os.environ.get(extractor.split("_")[0].upper())
    if not file:
        return None
    return path(file)


def defaults(table: Table, given: dict[str, object]) -> dict[str, object]:
    """What a table says of how its runs are made and measured. Small runs take a core of the CPU each."""
    protocol = table.protocol
    values = {"seeds": table.seeds, "extractor": protocol.extractor, "samples": protocol.samples,
              "eval_seeds": protocol.eval_seeds, "eval_every": protocol.eval_every}
    if table.small and "gpus" not in given:
        values["device"] = "cpu"
        if given.get("device", "cpu") == "cpu":
            values["jobs"] = os.cpu_count() or 1
    return values


def split(arguments: list[str]) -> tuple[list[str], list[str]]:
    """The arguments that are names (of tables, runs, commands), and those of the form NAME=value."""
    named = [argument for argument in arguments if "=" not in argument]
    for name in named:
        if name.startswith("-"):
            raise InputError(f"{name!r}: not an option; options are of the form NAME=value, such as SEEDS=3")
    return named, [argument for argument in arguments if "=" in argument]


def print_help() -> None:
    texts = {one.name.upper(): one.metadata["help"] for one in fields(Settings)} | OTHERS
    for name, text in texts.items():
        print(f"  {name:<13} {text}")


def check(arguments: list[str]) -> None:
    """Raises InputError for what is no option of any command, or no value of one of ours."""
    options(arguments, KNOWN | OTHERS)
    Settings.parse([argument for argument in arguments if argument.partition("=")[0] in KNOWN])


def main() -> None:
    if sys.argv[1:] == ["tables"]:
        print(*TABLES)
    elif sys.argv[1:] == ["help"]:
        print_help()
    else:
        check(sys.argv[1:])


if __name__ == "__main__":
    command(main)
