"""How names and numbers are written in every report."""

import math
import os
from pathlib import Path
from urllib.parse import quote

import pandas as pd

from benchmarks.runs import BATCH, ITERATIONS
from benchmarks.tables import Table
from reports.data.records import GAP
from reports.data.stats import MIN_SEEDS, Estimate
from reports.data.views import decimals

NAMES = {"wgan": "WGAN", "stylegan2": "StyleGAN2", "biggan": "BigGAN", "dcgan": "DCGAN", "heldout": "",
         "external": "other code", "fid": "FID", "is": "IS", GAP: "|n_R - n_F|"}  # fmt: skip
NOTHING = "-"


def title(name: str) -> str:
    """A model's or metric's name as the field writes it."""
    name, comma, protocol = name.partition(",")
    return NAMES.get(name, name) + comma + protocol


def relative(target: Path, folder: Path) -> str:
    """The address of a file or folder as seen from another folder."""
    return quote(Path(os.path.relpath(target.resolve(), folder.resolve())).as_posix())


def linked(text: str, cell: str) -> str:
    """A number that leads, on the page, to the records of its cell."""
    return f"[{text}](records.html#{quote(cell)})"


def score(mean: float, sd: float, metric: str) -> str:
    """A mean over seeds with their standard deviation, where there are several seeds."""
    digits = decimals(metric)
    return f"{mean:.{digits}f}" if pd.isna(sd) else f"{mean:.{digits}f} ± {sd:.{digits}f}"


def change(value: float) -> str:
    """A log ratio as percent of change: "-10 %" is a tenth less."""
    size = 100 * math.expm1(min(value, 700))
    return f"{size:+.1f} %" if abs(size) < 9.95 else f"{size:+.0f} %"


def interval(effect: Estimate | None) -> str:
    """The change with its 95 % interval; where there are too few seeds for one, without."""
    if effect is None:
        return NOTHING
    if effect.n < MIN_SEEDS:
        return change(effect.mean)
    return f"{change(effect.mean)} [{change(effect.low)[:-2]}, {change(effect.high)[:-2]}]"


def detectable(effect: Estimate, tests: int = 1) -> str:
    """The smallest detectable changes, down and up."""
    size = effect.detectable(tests)
    return NOTHING if math.isinf(size) else f"{change(-size)[:-2]} or {change(size)}"


def span(values: list[int]) -> str:
    """A number, or the range of several: "240 to 1,200"."""
    ends = sorted({min(values), max(values)})
    return " to ".join(f"{value:,}" for value in ends)


def protocol(table: Table) -> str:
    """How a table's runs are trained and measured, in one sentence."""
    runs = [cell.run for cell in table.cells if cell.run.iterations]
    trained = f"{span([run.iterations for run in runs])} iterations at batch {span([run.batch for run in runs])}"
    if trained != f"{ITERATIONS:,} iterations at batch {BATCH}":
        trained += f" (the paper's: {ITERATIONS:,} at batch {BATCH})"
    return (f"Protocol: {trained}; {table.protocol.samples:,} generated images against the full training set, features "
            f"of {table.protocol.extractor}, the generator of the last iteration, averaged where the recipe averages.")
