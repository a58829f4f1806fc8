"""The statistics of the reports. The unit is the training seed; the effect is the log ratio of method to baseline.

Every number that is compared is a contrast of logarithms, computed within each seed, so that whatever the runs of one
seed share (their subset of the data, their initial weights) cancels or is counted once. The mean over seeds then has
Student's t interval.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import stdtr, stdtrit  # Student's t: its distribution and its quantiles

MIN_SEEDS = 3  # below, no interval is shown and no verdict is given
LEVEL = 0.05
POWER = 0.8  # with which an effect that is called detectable would have been found
Weights = dict[str, float]  # cell -> its coefficient in a contrast of logarithms
Contrasts = dict[str, Weights]  # what a contrast is about -> the contrast


@dataclass(frozen=True)
class Estimate:
    """Mean of a log ratio over n training seeds, its 95 % interval, and the two-sided p-value of "no effect".

    Without MIN_SEEDS seeds, the interval is infinite and p is 1.
    """

    mean: float
    low: float = -math.inf
    high: float = math.inf
    p: float = 1.0
    n: int = 1
    error: float = math.inf  # standard error of the mean

    def detectable(self, tests: int = 1) -> float:
        """The smallest detectable log ratio: found with probability POWER, at LEVEL shared by `tests`."""
        if self.n < MIN_SEEDS:
            return math.inf
        return float(stdtrit(self.n - 1, [1 - LEVEL / 2 / tests, POWER]).sum()) * self.error


def estimate(values: Sequence[float]) -> Estimate:
    """From one log ratio for each training seed."""
    n, mean = len(values), float(np.mean(values))
    if n < MIN_SEEDS:
        return Estimate(mean, n=n)
    error = float(np.std(values, ddof=1)) / math.sqrt(n)
    error = max(error, 1e-12)  # equal values: an interval of no width, not a division by zero
    half = float(stdtrit(n - 1, 1 - LEVEL / 2)) * error
    p = 2 * float(stdtr(n - 1, -abs(mean) / error))
    return Estimate(mean, mean - half, mean + half, p, n, error)


def contrast(logs: pd.DataFrame, weights: Mapping[str, float]) -> pd.Series:
    """The weighted sum of cells (columns) within each seed (row), for the seeds that all of these cells have."""
    if not weights or not set(weights) <= set(logs.columns):
        return pd.Series(dtype=float)
    return (logs[list(weights)] @ pd.Series(weights)).dropna()


def average(contrasts: Contrasts) -> Weights:
    """The mean of several contrasts, as one."""
    return pd.DataFrame(contrasts).fillna(0.0).mean(axis=1).to_dict()


def holm(p: Sequence[float]) -> np.ndarray:
    """Holm's adjusted p-values (Scand. J. Statist. 6, 1979): the chance of any false rejection stays below LEVEL."""
    ordered = pd.Series(p, dtype=float).sort_values()
    adjusted = (ordered * np.arange(len(ordered), 0, -1)).cummax()
    return adjusted.clip(upper=1).sort_index().to_numpy()
