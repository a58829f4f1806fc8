"""Two ways over seeds: each number where it belongs."""

import math

import pytest

from reports.ways import lazy


def rows(model, default, exact):
    return [{"dataset": "digits", "model": model, "seed": seed, "fd_effnet": {"default": a, "exact": b}}
            for seed, (a, b) in enumerate(zip(default, exact, strict=True))]


def rendered(*models):
    found = sum((rows(*model) for model in models), [])
    return lazy({"metric": "fd_effnet", "samples": 300, "seeds": 3, "rows": found})


def test_lazy_against_exact():
    """Differences of -2, 1, 4: 1 ± 4.302653 * 3 / sqrt(3); and a model that is worse."""
    text = rendered(("wgan", [98.0, 101.0, 104.0], [100.0] * 3), ("dcgan", [50.0, 51.0, 52.0], [40.0, 41.0, 42.0]))
    assert "| digits | WGAN | 101.0 ± 3.0 | 100.0 ± 0.0 | +1.0 (-6.5 to +8.5) | 2.1 | yes |" in text
    assert "| digits | DCGAN | 51.0 ± 1.0 | 41.0 ± 1.0 | +10.0 (+10.0 to +10.0) | 1.0 | NO |" in text
    assert "300 samples" in text and "of 3. " in text


def test_the_mean_over_cells_is_geometric_and_its_interval_over_the_seeds():
    """Ratios of 2 and 1/2 cancel in each seed; then 1.1 in all of both cells."""
    assert "is +0.0 % from" in rendered(("wgan", [200.0] * 3, [100.0] * 3), ("dcgan", [50.0] * 3, [100.0] * 3))
    text = rendered(("wgan", [110.0] * 3, [100.0] * 3), ("dcgan", [11.0] * 3, [10.0] * 3))
    assert "is +10.0 % from that of exact (geometric mean, 95 % interval +10.0 % to +10.0 %, 3 training seeds)" in text
    logs = [math.log(1.1), math.log(1.2), math.log(1.3)]
    mean = sum(logs) / 3
    half = 4.302653 * (sum((log - mean) ** 2 for log in logs) / 2 / 3) ** 0.5
    low, high = (f"{100 * math.expm1(mean + side * half):+.1f} %" for side in (-1, 1))
    assert f"interval {low} to {high}" in rendered(("wgan", [110.0, 120.0, 130.0], [100.0] * 3))


@pytest.mark.parametrize("default, exact, expected", [
    ([None, 100.0, 102.0], [100.0, 100.0, 102.0], "101.0 ± 1.4, 1 of 3 diverged | 101.0 ± 1.4 | +0.0 (+0.0 to +0.0) |"
     " 1.4 | NO |"),
    ([None, None, 1.0], [1.0, 1.0, 1.0], "-, 2 of 3 diverged | - | - | - | NO |"),
    ([1.0, 1.0, 1.0], [None, None, 1.0], "- | -, 2 of 3 diverged | - | - | - |")])
def test_a_run_that_diverged_is_told(default, exact, expected):
    assert f"| digits | BigGAN | {expected}" in rendered(("biggan", default, exact))


def test_all_diverged():
    assert "In every pair a run diverged" in rendered(("biggan", [None] * 3, [1.0] * 3))
