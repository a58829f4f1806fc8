"""A run of the benchmark and how it is measured, as data. Standard library only.

A run id says everything about a run and can be read back, so it is the one argument of the other commands and the name
of the run's folder under results/:

    biggan-cifar-100-64-f0.1-gradgap100-s0
    dcgan-digits-32-f1.0-gradgap100+r1_10-diffaugment-i400-width0.25-s0
    MODEL-DATASET-RESOLUTION-fFRACTION-REGULARIZERS[-AUGMENT][-iITERATIONS][-bBATCH][-OVERRIDE...]-sSEED
"""

import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

ITERATIONS, BATCH = 100_000, 16  # section 4.2 of the paper
MINIMUM = 10  # images of a set, below which no metric means anything
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
        augment = ""
        if options and re.fullmatch("[a-z_]+", options[0]):  # the options after it have a value
            augment = options.pop(0)
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
    """How a run is measured.

    extractor   the feature network
    samples     how many images are generated
    eval_seeds  how many independent draws of them are measured
    eval_every  iterations between the generators that the run keeps on the way for evaluation; None: it keeps none
    weights     file of the network's weights, where they are not to be fetched
    """

    extractor: str = "inception"
    samples: int = 5000
    eval_seeds: int = 1
    eval_every: int | None = None
    weights: Path | None = None

    def __post_init__(self):
        for name, least in (("samples", MINIMUM), ("eval_seeds", 1), ("eval_every", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise InputError(f"{name} {value}: must be at least {least}")

    def __str__(self) -> str:
        """As in the list "evaluated" of metrics.json."""
        every = f" every {self.eval_every}" if self.eval_every else ""
        return f"{self.extractor} {self.samples} x{self.eval_seeds}{every}"


def options(arguments: list[str], known: Mapping[str, str]) -> dict[str, str]:
    """The values of NAME=value arguments, as `make` hands them through; the others keep what `known` gives them.

    Raises InputError for an argument of another form, a name that is not known, or a name given twice.
    """
    given: dict[str, str] = {}
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if not equals or name not in known:
            raise InputError(f"{argument!r}: not an option; valid are {', '.join(f'{name}=...' for name in known)}")
        if name in given:
            raise InputError(f"{name}: given twice")
        given[name] = value
    return {**known, **given}
