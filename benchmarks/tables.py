"""Every run of the benchmark as one row of data, with the paper's value beside it. Standard library only.

`python -m benchmarks.tables TABLE` lists the run ids of a table. A run id says everything about a run and can be read
back, so it is the one argument of the other commands and the name of the run's folder under results/:

    biggan-cifar-100-64-f0.1-gradgap100-s0
    dcgan-digits-32-f1.0-gradgap100+r1_10-diffaugment-i400-width0.25-s0
    MODEL-DATASET-RESOLUTION-fFRACTION-REGULARIZERS[-AUGMENT][-iITERATIONS][-bBATCH][-OVERRIDE...]-sSEED
"""

import argparse
import csv
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from itertools import product
from pathlib import Path

ITERATIONS, BATCH = 100_000, 16  # section 4.2 of the paper
MINIMUM = 10  # images of a set, below which no metric means anything
GRADGAP = {"gradgap": 100.0}  # lambda = 100: the one value the paper states, for Table 3
ID = re.compile(
    r"(?P<model>\w+)-(?P<dataset>[\w-]+)-(?P<resolution>\d+)-f(?P<fraction>\d+\.\d+)"
    r"-(?P<regularizers>[^-]+)(?P<options>(-[^-]+)*)-s(?P<seed>\d+)"
)


class InputError(ValueError):
    """Something the user gave is wrong: one line that names it and says what would be valid."""

    status = 2


class TryLaterError(InputError):
    """Nothing is wrong, but this is not the time: another process is at it, or this one was told to stop."""

    status = 75  # EX_TEMPFAIL of sysexits.h


def command(main: Callable[[], int | None]) -> None:
    """Run a command line; an InputError ends it with one line on stderr and the error's exit status."""
    try:
        sys.exit(main())
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.status)


@dataclass(frozen=True)
class Run:
    """One training run. Everything that is not here is the model's published recipe.

    fraction      share of the training set, in (0, 1]
    regularizers  name -> weight, added to those of the recipe; {} is the baseline
    augment       name of an augmentation, "" for none
    iterations    generator steps
    override      recipe field -> value, for what departs from the published recipe
    """

    model: str
    dataset: str
    resolution: int
    fraction: float = 1.0
    regularizers: Mapping[str, float] = field(default_factory=dict)
    augment: str = ""
    iterations: int = ITERATIONS
    batch: int = BATCH
    seed: int = 0
    override: Mapping[str, float | str] = field(default_factory=dict)

    def __post_init__(self):
        if not 0 < self.fraction <= 1:
            raise InputError(f"fraction {self.fraction:g}: must be above 0 and at most 1")
        for name, least in (("batch", 1), ("iterations", 0), ("seed", 0)):
            value = getattr(self, name)
            if value != int(value) or value < least:
                raise InputError(f"{name} {value}: must be a whole number, at least {least}")

    @property
    def method(self) -> str:
        """What sets the run apart from its baseline: "baseline", "gradgap100", "baseline-diffaugment", ..."""
        names = "+".join(_join(name, weight) for name, weight in self.regularizers.items())
        return "-".join(filter(None, [names or "baseline", self.augment]))

    @property
    def id(self) -> str:
        protocol = {"i": self.iterations} if self.iterations != ITERATIONS else {}
        protocol |= {"b": self.batch} if self.batch != BATCH else {}
        options = [_join(name, value) for name, value in (protocol | dict(self.override)).items()]
        return "-".join([self.model, self.dataset, str(self.resolution), f"f{float(self.fraction)}", self.method,
                         *options, f"s{self.seed}"])

    @classmethod
    def from_id(cls, run_id: str) -> "Run":
        """The run that an id names. Raises InputError where the text is not a run id."""
        match = ID.fullmatch(run_id)
        if not match:
            raise InputError(f"run id {run_id!r}: not of the form MODEL-DATASET-RESOLUTION-fFRACTION-METHOD-sSEED; "
                             "`python -m benchmarks.tables TABLE` lists valid ones")
        names = match["regularizers"]
        regularizers = {} if names == "baseline" else dict(_split(part, run_id) for part in names.split("+"))
        options = match["options"].split("-")[1:]
        augment = options.pop(0) if options and options[0].isalpha() else ""
        override = dict(_split(option, run_id) for option in options)
        run = cls(match["model"], match["dataset"], int(match["resolution"]), float(match["fraction"]), regularizers,
                  augment, override.pop("i", ITERATIONS), override.pop("b", BATCH), int(match["seed"]), override)
        if run.id != run_id:
            raise InputError(f"run id {run_id!r}: the same run is written {run.id!r}")
        return run


def _join(name: str, value: float | str) -> str:
    """One option as text: gradgap100, r1_10 (a name that ends in a digit), recipe.paper256 (a value in words)."""
    if isinstance(value, str):
        return f"{name}.{value}"
    number = f"{Decimal(repr(value)):f}".removesuffix(".0")
    return f"{name}_{number}" if name[-1].isdigit() else name + number


def _split(text: str, run_id: str) -> tuple[str, float | str]:
    """The inverse of _join."""
    if match := re.fullmatch(r"([a-z]\w*?)_?(\d+(\.\d+)?)", text):
        return match[1], float(match[2]) if match[3] else int(match[2])
    if match := re.fullmatch(r"([a-z_]+)\.(\w+)", text):
        return match[1], match[2]
    raise InputError(f"run id {run_id!r}: {text!r} is not NAME followed by a number")


@dataclass(frozen=True)
class Protocol:
    """How a run is measured: through which network, on how many samples, in how many independent draws of them.

    every    the run must have kept its generator every so many iterations; None: it need not
    weights  file of the network's weights, where they are not to be fetched
    """

    extractor: str = "inception"
    samples: int = 5000
    draws: int = 1
    every: int | None = None
    weights: Path | None = None

    def __post_init__(self):
        if self.samples < MINIMUM or self.draws < 1:
            raise InputError(f"samples {self.samples}, draws of them {self.draws}: must be at least {MINIMUM} and 1")
        if self.every is not None and self.every < 1:
            raise InputError(f"every {self.every}: must be at least 1")

    def __str__(self) -> str:
        """As in the list "evaluated" of metrics.json."""
        return f"{self.extractor} {self.samples} x{self.draws}{f' every {self.every}' if self.every else ''}"


@dataclass(frozen=True)
class Cell:
    """One cell of a table: the run (of seed 0) and what the paper published for it, metric -> value.

    label  what its row is called, where that is not the run's method: a method that has a weight for each column
    """

    run: Run
    published: Mapping[str, float] = field(default_factory=dict)
    label: str = ""


def _published_tables() -> dict[str, list[Cell]]:
    """The paper's Tables 1-3, from tables.csv (doi 10.12677/aam.2023.123139)."""
    tables: dict[str, dict[str, Cell]] = {}
    with (Path(__file__).parent / "tables.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            run = Run(row["model"], row["dataset"], int(row["resolution"]), float(row["fraction"]),
                      GRADGAP if row["variant"] == "r3" else {})
            cell = tables.setdefault(row["table"], {}).setdefault(run.id, Cell(run, {}))
            cell.published[row["metric"]] = float(row["value"])
    return {table: list(cells.values()) for table, cells in tables.items()}


# Model -> lambda, batch, generator steps, override. Thin networks need higher rates to draw digits within a minute;
# DCGAN's gradients, which nothing bounds, are so large that lambda = 100 keeps its discriminator from learning.
SMOKE = {
    "dcgan": (0.1, 16, 1200, {"width": 0.25, "lr_g": 1e-3, "lr_d": 5e-4, "lr_decay": 1}),
    "wgan": (100.0, 8, 280, {"width": 0.125, "lr_g": 1e-3, "lr_d": 1e-3, "d_steps": 2}),
    "biggan": (100.0, 8, 240, {"width": 0.125, "d_steps": 2}),
    "stylegan2": (100.0, 16, 260, {"width": 0.0625, "lr_g": 4e-3, "lr_d": 4e-3}),
}


def _smoke_table() -> list[Cell]:
    """Small twins of Table 3 on embedded data, minutes on a CPU; iteration 0 is the untrained generator."""
    cells = []
    for model, (weight, batch, iterations, override) in SMOKE.items():
        twin = Run(model, "digits", 32, iterations=iterations, batch=batch, override=override)
        cells += [replace(twin, iterations=0)]
        cells += [replace(twin, fraction=f, regularizers=r) for f in (0.1, 1.0) for r in ({}, {"gradgap": weight})]
    return [Cell(run) for run in cells]


DIGGAN = {0.1: 10_000.0, 0.2: 5000.0, 1.0: 1000.0}  # fraction -> its weight in DigGAN's code, for CIFAR-100
LECAM = {"lecam": 0.3}  # of its code, for BigGAN


def _contest(baselines: list[Run]) -> list[Cell]:
    """Each baseline, at the fractions of Table 3, with gradgap and with what competes with it."""
    cells = []
    for run, (fraction, weight) in product(baselines, DIGGAN.items()):
        run = replace(run, fraction=fraction)
        cells += [Cell(run), Cell(replace(run, regularizers=GRADGAP)),
                  Cell(replace(run, regularizers={"diggan": weight}), label="diggan"),
                  Cell(replace(run, regularizers=LECAM)), Cell(replace(run, augment="diffaugment"))]
    return cells


def _open_table() -> list[Cell]:
    """The shapes of Tables 3 and 2 on open data, models at full size, and in the former what competes with gradgap."""
    cells = _contest([Run(model, "fashion-mnist", 32, iterations=20_000) for model in ("wgan", "biggan")])
    for model in ("wgan", "stylegan2", "biggan"):
        run = Run(model, "emoji-faces", 128, iterations=20_000)
        cells += [Cell(run), Cell(replace(run, regularizers=GRADGAP))]
    return cells


def _twins_table() -> list[Cell]:
    """The open table's contest for a CPU: the smoke table's twins and data, trained twice as long."""
    return _contest([Run(model, "digits", 32, iterations=500, batch=SMOKE[model][1], override=SMOKE[model][3])
                     for model in ("wgan", "biggan")])


TABLES = _published_tables() | {"open": _open_table(), "twins": _twins_table(), "smoke": _smoke_table()}


def runs(table: str, seeds: int = 1, iterations: int | None = None) -> list[Run]:
    """The runs of a table for seeds 0..seeds-1; `iterations` replaces the protocol's, and then shows in the id."""
    if table not in TABLES:
        raise InputError(f"table {table!r}: not one of {', '.join(TABLES)}")
    rows = [cell.run for cell in TABLES[table]]
    if iterations is not None:
        rows = [replace(run, iterations=min(run.iterations, iterations)) for run in rows]
    return [replace(run, seed=seed) for seed in range(seeds) for run in rows]


SWEPT = (1.0, 10.0, 100.0, 1000.0, 10_000.0)  # beside 0, the baseline


def sweep(rows: list[Run]) -> list[Run]:
    """The trained baselines among the runs, each followed by itself with gradgap at every weight of SWEPT."""
    baselines = [run for run in rows if run.iterations and not run.regularizers and not run.augment]
    weights: list[Mapping[str, float]] = [{}, *({"gradgap": weight} for weight in SWEPT)]
    return [replace(run, regularizers=regularizers) for run in baselines for regularizers in weights]


def main() -> None:
    parser = argparse.ArgumentParser(description="List the run ids of a table, one a line.")
    parser.add_argument("table", help=f"one of {', '.join(TABLES)}")
    parser.add_argument("--seeds", type=int, default=1, help="how many training seeds, from 0")
    parser.add_argument("--iterations", type=int, help="generator steps instead of the protocol's")
    parser.add_argument("--sweep", action="store_true", help="its baselines, with gradgap at weights 0 to 10,000")
    args = parser.parse_args()
    rows = runs(args.table, args.seeds, args.iterations)
    print("\n".join(run.id for run in (sweep(rows) if args.sweep else rows)))


if __name__ == "__main__":
    command(main)
