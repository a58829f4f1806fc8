"""Mean and 95 % interval by Student's t: the one interval method of the reports."""

import math
from statistics import fmean, stdev
from typing import NamedTuple

T975 = (12.706205, 4.302653, 3.182446, 2.776445, 2.570582, 2.446912, 2.364624, 2.306004, 2.262157, 2.228139)
Z975 = 1.959963985


class Interval(NamedTuple):
    """A mean with its 95 % interval; low and high are None where one value alone gives none."""

    mean: float
    low: float | None
    high: float | None
    units: str


def t975(df: int) -> float:
    """The 97.5 % quantile of Student's t: a table up to 10 degrees of freedom, then the expansion in 1 / df."""
    if df <= len(T975):
        return T975[df - 1]
    z = Z975
    terms = (z, (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96, (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384)
    return sum(term / df**k for k, term in enumerate(terms))


def student(values: list[float], units: str) -> Interval:
    """Mean and interval of independent values; `units` says what they are."""
    mean, n = fmean(values), len(values)
    if n < 2:
        return Interval(mean, None, None, f"{n} {units}")
    half = t975(n - 1) * stdev(values) / math.sqrt(n)
    return Interval(mean, mean - half, mean + half, f"{n} {units}")


def over_cells(cells: list[dict[int, float]]) -> Interval:
    """Interval of the mean over cells of an effect: training seed -> effect in each cell.

    Over the training seeds that all cells share, where there are at least two: the cells are the benchmark's and stay,
    the seeds are the sample. Over the cells otherwise.
    """
    seeds = sorted(set.intersection(*map(set, cells)))
    if len(seeds) > 1:
        return student([fmean(cell[seed] for cell in cells) for seed in seeds], "training seeds")
    return student([fmean(cell.values()) for cell in cells], "cells")
