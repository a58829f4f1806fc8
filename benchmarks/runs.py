"""A run of the benchmark and how it is measured, as data. Standard library only.

A run id says everything about a run and can be read back, so it is the one argument of the other commands and the name
of the run's folder under results/:

    biggan-cifar-100-64-f0.1-gradgap100-s0
    dcgan-digits-32-f1.0-gradgap100+r1_10-diffaugment-i400-width0.25-s0
    MODEL-DATASET-RESOLUTION-fFRACTION-REGULARIZERS[-AUGMENT][-iITERATIONS][-bBATCH][-OVERRIDE...]-sSEED
"""

import errno
import os
import re
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

ITERATIONS, BATCH = 100_000, 16  # section 4.2 of the paper
MINIMUM = 10  # images of a set, below which no metric means anything
MENDABLE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ENAMETOOLONG, errno.ENOTDIR,
            errno.EISDIR}  # of OSErrors: what the user can mend
SEEDS = 2**32 - 1  # the largest: NumPy's RandomState, which draws the subset, takes no more
LONGEST = 200  # characters of a run id: it names a folder, whose name may have 255
ID = re.compile(
    r"(?P<model>\w+)-(?P<dataset>[\w-]+)-(?P<resolution>\d+)-f(?P<fraction>\d+\.\d+)"
    r"-(?P<regularizers>[^-]+)(?P<options>(-[^-]+)*)-s(?P<seed>\d+)"
)


class InputError(ValueError):
    """Something the user gave is wrong: one line that names it and says what would be valid."""

    status = 2


class TryLaterError(InputError):
    """The command cannot go on now but can later: another process does the work, or this one was told to stop."""

    status = 75  # EX_TEMPFAIL of sysexits.h


def command(main: Callable[[], int | None]) -> None:
    """Run a command line. What the user can mend ends it with one line on stderr and the error's exit status."""
    sys.stdout.reconfigure(errors="backslashreplace")  # a terminal may lack a character, a file name may be no text
    try:
        status = main()
        sys.stdout.flush()
    except InputError as error:
        status = _say(str(error), error.status)
    except BrokenPipeError:  # who reads the output has seen enough, as in `make help | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 0
    except OSError as error:
        if error.filename is None or error.errno not in MENDABLE:
            raise
        status = _say(f"{error.filename}: {error.strerror}", InputError.status)
    except KeyboardInterrupt:
        status = _say("stopped by Ctrl-C", 128 + signal.SIGINT)
    sys.exit(status)


def _say(text: str, status: int) -> int:
    """Print an error as one line. Returns the exit status."""
    print(f"error: {' '.join(text.splitlines())}", file=sys.stderr)
    return status


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
        _require_whole("batch", self.batch, 1, 4096)
        _require_whole("iterations", self.iterations, 0, 10**9)
        _require_whole("seed", self.seed, 0, SEEDS)
        for name, weight in self.regularizers.items():
            if not 0 < weight <= 1e38:
                raise InputError(f"{name} {weight:g}: a weight must be above 0 and at most 1e38; none is the baseline")

    @property
    def method(self) -> str:
        """The regularizers and the augmentation as text: "baseline", "gradgap100", "baseline-diffaugment", ..."""
        names = _joined(self.regularizers) or ["baseline"]
        method = "+".join(names)
        if self.augment:
            method += f"-{self.augment}"
        return method

    @property
    def is_baseline(self) -> bool:
        """Whether it is trained, with its recipe alone."""
        return self.iterations > 0 and not self.regularizers and not self.augment

    @property
    def id(self) -> str:
        """The run as text, as the head of this file shows it."""
        options: dict[str, float | str] = {}
        if self.iterations != ITERATIONS:
            options["i"] = self.iterations
        if self.batch != BATCH:
            options["b"] = self.batch
        options |= self.override
        start = f"{self.model}-{self.dataset}-{self.resolution}-f{float(self.fraction)}-{self.method}"
        return "-".join([start, *_joined(options), f"s{self.seed}"])

    @classmethod
    def from_id(cls, run_id: str) -> "Run":
        """The run that an id names. Raises InputError where the text is not a run id."""
        if len(run_id) > LONGEST:
            raise InputError(f"run id {run_id[:40]}...: has {len(run_id)} characters, at most {LONGEST} are valid")
        match = ID.fullmatch(run_id)
        if not match:
            raise InputError(f"run id {run_id!r}: not of the form MODEL-DATASET-RESOLUTION-fFRACTION-METHOD-sSEED; "
                             "`python -m benchmarks.tables TABLE` lists valid ones")
        regularizers = {}
        if match["regularizers"] != "baseline":
            regularizers = _parsed(match["regularizers"].split("+"), run_id)
        augment, options = _without_augmentation(match["options"].split("-")[1:])
        override = _parsed(options, run_id)
        run = cls(match["model"], match["dataset"], int(match["resolution"]), float(match["fraction"]), regularizers,
                  augment, override.pop("i", ITERATIONS), override.pop("b", BATCH), int(match["seed"]), override)
        if run.id != run_id:
            raise InputError(f"run id {run_id!r}: the same run is written {run.id!r}")
        return run


def _without_augmentation(options: list[str]) -> tuple[str, list[str]]:
    """The augmentation of a run id, "" for none, and the options after it, which have a value."""
    if options and re.fullmatch("[a-z_]+", options[0]):
        return options[0], options[1:]
    return "", options


def _require_whole(name: str, value: float | str, least: int, most: int) -> None:
    if isinstance(value, str) or value != int(value) or not least <= value <= most:
        raise InputError(f"{name} {value}: must be a whole number from {least} to {most}")


def _joined(options: Mapping[str, float | str]) -> list[str]:
    return [_join(name, value) for name, value in options.items()]


def _parsed(texts: list[str], run_id: str) -> dict[str, float | str]:
    """The inverse of _joined."""
    return dict(_split(text, run_id) for text in texts)


def _join(name: str, value: float | str) -> str:
    """One option as text: gradgap100, r1_10 (a name that ends in a digit), recipe.paper256 (a value in words)."""
    if isinstance(value, str):
        return f"{name}.{value}"
    number = f"{Decimal(repr(value)):f}".removesuffix(".0")
    if name[-1].isdigit():
        return f"{name}_{number}"
    return name + number


def _split(text: str, run_id: str) -> tuple[str, float | str]:
    """The inverse of _join."""
    number = re.fullmatch(r"(?P<name>[a-z]\w*?)_?(?P<whole>\d+)(?P<decimals>\.\d+)?", text)
    if number and number["decimals"]:
        return number["name"], float(number["whole"] + number["decimals"])
    if number:
        return number["name"], int(number["whole"])
    words = re.fullmatch(r"(?P<name>[a-z_]+)\.(?P<value>\w+)", text)
    if words:
        return words["name"], words["value"]
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
        """The protocol as the list "evaluated" of metrics.json has it."""
        text = f"{self.extractor} {self.samples} x{self.eval_seeds}"
        if self.eval_every:
            text += f" every {self.eval_every}"
        return text


# --- NAME=value arguments ---------------------------------------------------------------------------------------------


def options(arguments: list[str], known: Mapping[str, str]) -> dict[str, str]:
    """The values of NAME=value arguments, as `make` hands them through; the others, and empty ones, keep what `known`
    gives them.

    Raises InputError for an argument of another form, a name that is not known, or a name given twice.
    """
    given: dict[str, str] = {}
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if not equals or name not in known:
            valid = ", ".join(f"{name}=..." for name in known)
            raise InputError(f"{argument!r}: not an option; valid are {valid}")
        if name in given:
            raise InputError(f"{name}: given twice")
        given[name] = value
    return {name: given.get(name) or default for name, default in known.items()}


class Option(NamedTuple):
    """How the value of NAME=value is read, and what it is where none or an empty one is given."""

    read: Callable[[str], object]
    default: object = None


def read_options(arguments: list[str], known: Mapping[str, Option]) -> dict[str, object]:
    """`options` with values of their own types. Raises InputError, too, for a text that an option's reader refuses."""
    texts = options(arguments, dict.fromkeys(known, ""))
    return {name: _value(known[name], name, text) for name, text in texts.items()}


def _value(option: Option, name: str, text: str) -> object:
    if not text:
        return option.default
    try:
        return option.read(text)
    except ValueError as error:
        raise InputError(f"{name}={text}: {error}") from error


# Readers: text -> value, or ValueError that says what would be valid


def whole(least: int, most: int = 999_999_999) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not re.fullmatch("[0-9]{1,9}", text) or not least <= int(text) <= most:
            raise ValueError(f"must be a whole number, at least {least} and at most {most}")
        return int(text)

    return read


def share(text: str) -> float:
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]*)?|\.[0-9]+", text) or float(text) > 1:
        raise ValueError("must be a number from 0 to 1")
    return float(text)


def fraction(text: str) -> float:
    if not share(text):
        raise ValueError("must be above 0 and at most 1")
    return share(text)


def yes(text: str) -> bool:
    if text not in ("0", "1"):
        raise ValueError("must be 0 or 1")
    return text == "1"


def one_of(*names: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in names:
            raise ValueError(f"must be one of {', '.join(names)}")
        return text

    return read


def existing_folder(name: str, text: str) -> Path:
    """The folder that NAME=text gives. Raises InputError where there is none."""
    folder = Path(text)
    if not folder.is_dir():
        raise InputError(f"{name}={text}: not a folder that exists")
    return folder
