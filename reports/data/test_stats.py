"""The statistics against SciPy's own tests, and against a hand-worked example of Holm."""

import math
from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from reports.data.stats import contrast, estimate, holm


def test_an_estimate_is_the_paired_t_test_of_the_logs():
    baseline, method = np.array([50.0, 60.0, 55.0, 52.0]), np.array([45.0, 58.0, 48.0, 50.0])
    found = estimate(list(np.log(method / baseline)))
    expected = stats.ttest_rel(np.log(method), np.log(baseline))
    interval = expected.confidence_interval(0.95)
    assert found.p == pytest.approx(expected.pvalue)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))


def test_too_few_seeds_have_no_interval():
    found = estimate([-0.1, -0.2])
    assert found.mean == pytest.approx(-0.15) and found.p == 1
    assert math.isinf(found.low) and math.isinf(found.detectable())


def test_equal_seeds_do_not_divide_by_zero():
    found = estimate([-0.1] * 3)
    assert found.p < 1e-6 and found.low == pytest.approx(-0.1)


def test_a_contrast_takes_the_seeds_that_all_cells_have():
    logs = pd.DataFrame({"a": [1.0, 2.0, None], "b": [0.5, 0.25, 0.0]}, index=[0, 1, 2])
    assert dict(contrast(logs, {"a": 1.0, "b": -1.0})) == {0: 0.5, 1: 1.75}
    assert contrast(logs, {"a": 1.0, "c": -1.0}).empty


def test_holm_by_hand():
    assert list(holm([0.01, 0.04, 0.03])) == pytest.approx([0.03, 0.06, 0.06])


def test_holm_rejects_as_its_definition_says():
    """Step down through the sorted p-values, and stop at the first above level / (tests that are left)."""
    random = np.random.default_rng(0)
    for size, _ in product((1, 5, 12), range(20)):
        p = random.uniform(0, 0.1, size)
        rejected = set()
        for rank, index in enumerate(np.argsort(p)):
            if p[index] > 0.05 / (size - rank):
                break
            rejected.add(index)
        assert rejected == set(np.flatnonzero(holm(p) <= 0.05))


def test_the_smallest_effect_is_seen_four_times_in_five():
    """Simulated: the effect that `detectable` names, at a known spread, is found with a power of about 0.8."""
    random, n, spread = np.random.default_rng(1), 5, 0.1
    t = stats.t(n - 1)
    size = (t.ppf(0.975) + t.ppf(0.8)) * spread / math.sqrt(n)
    found = 0
    for _ in range(1000):
        found += estimate(list(random.normal(size, spread, n))).p < 0.05
    assert 0.7 < found / 1000 < 0.9
