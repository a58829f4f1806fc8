"""Losses against the formulas of their papers in float64 numpy."""

import numpy as np
import pytest
import torch

from baselines.losses import LOSSES

ORACLES = {  # discriminator(real, fake), generator(fake)
    "logistic": (lambda r, f: np.mean(np.log1p(np.exp(-r))) + np.mean(np.log1p(np.exp(f))),
                 lambda f: np.mean(np.log1p(np.exp(-f)))),
    "hinge": (lambda r, f: np.mean(np.maximum(0, 1 - r)) + np.mean(np.maximum(0, 1 + f)), lambda f: -np.mean(f)),
    "wasserstein": (lambda r, f: np.mean(f) - np.mean(r), lambda f: -np.mean(f)),
}


@pytest.mark.parametrize("name", LOSSES)
def test_loss(name):
    real, fake = np.random.RandomState(0).randn(2, 7) * 2
    discriminator, generator = ORACLES[name]
    r, f = torch.from_numpy(real), torch.from_numpy(fake)
    assert LOSSES[name].discriminator(r, f).item() == pytest.approx(discriminator(real, fake), rel=1e-12)
    assert LOSSES[name].generator(f).item() == pytest.approx(generator(fake), rel=1e-12)
