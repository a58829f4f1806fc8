"""Student's t against SciPy."""

import pytest
from scipy import stats as oracle

from reports.stats import over_cells, student, t975


@pytest.mark.parametrize("df", [1, 2, 3, 9, 10, 11, 15, 30, 47, 1000])
def test_quantile(df):
    assert t975(df) == pytest.approx(oracle.t.ppf(0.975, df), rel=1e-4)


def test_interval():
    values = [3.1, 4.5, 2.2, 5.0, 3.3]
    low, high = oracle.t.interval(0.95, len(values) - 1, sum(values) / 5, oracle.sem(values))
    interval = student(values, "cells")
    assert (interval.low, interval.high) == pytest.approx((low, high), rel=1e-6)
    assert student([1.0], "cells")[:3] == (1.0, None, None)


def test_over_shared_seeds_or_else_over_cells():
    shared = over_cells([{0: 1.0, 1: 2.0, 2: 9.0}, {0: 3.0, 1: 6.0}])  # seeds 0 and 1: means 2 and 4
    assert (shared.mean, shared.units) == (3.0, "2 training seeds")
    apart = over_cells([{0: 1.0, 1: 3.0}, {1: 4.0}])  # one shared seed: cells with means 2 and 4
    assert (apart.mean, apart.units) == (3.0, "2 cells")
