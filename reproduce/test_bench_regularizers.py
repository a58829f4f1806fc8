"""The forms of gradgap that are timed compute the same thing: on a smooth network, value and gradient agree."""

import pytest
import torch
from torch import nn

from baselines.regularizers import GradGap, score
from reproduce.bench_regularizers import CASES, FORMS, Operations, _gradient, trainer


class Smooth(nn.Module):
    joint = True

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(48, 16), nn.Softplus(), nn.Linear(16, 1))

    def forward(self, x, y):
        return self.net(x).squeeze(1)


@pytest.mark.parametrize("name, bound", [("naive", 1e-12), ("exact", 1e-12), ("finite differences", 1e-3)])
def test_forms_agree_with_the_formula(name, bound):
    torch.manual_seed(0)
    D, y = Smooth().double(), torch.zeros(5, dtype=torch.long)
    real, fake = torch.randn(2, 5, 3, 4, 4, dtype=torch.float64)
    regularizer = FORMS[name]().double()
    value = regularizer(D, *score(D, real, y, fake, y))
    sides = score(D, real, y, fake, y)
    closed = (sides[0].norms().mean() - sides[1].norms().mean()) ** 2
    assert value.item() == pytest.approx(closed.item(), rel=1e-12)
    oracle = torch.cat([g.flatten() for g in torch.autograd.grad(closed, D.parameters(), allow_unused=True)
                        if g is not None])
    D.zero_grad()
    ours = _gradient(D, FORMS[name]().double(), real, fake, y)[: len(oracle)]  # the last bias has none
    assert (ours - oracle).norm() / oracle.norm() < bound


def test_a_round_holds_every_interval_a_whole_number_of_times():
    counts = {run.model: trainer(run, GradGap)[1] for run in CASES}
    assert counts == {"dcgan": 8, "wgan": 8, "biggan": 2, "stylegan2": 16}


def test_operations_are_counted_through_inner_gradients():
    """x [5, 48] @ W [48, 16] forward, then its gradient by x, which is once the same: 2 * 2 * 5 * 48 * 16."""
    x, weight = torch.randn(5, 48, requires_grad=True), torch.randn(48, 16)
    with Operations() as counter:
        torch.autograd.grad((x @ weight).sum(), x)
    assert counter.total == 2 * 2 * 5 * 48 * 16
