"""The forms of gradgap that are timed compute the same thing: on a smooth network, value and gradient agree."""

import pytest
import torch
from torch import nn

from baselines.regularizers import REGULARIZERS, Training
from baselines.scoring import Scorer
from reproduce.bench.regularizers import CASES, EXTRA, FORMS, gradient, iterations_of_a_round
from reproduce.counting import Operations


@pytest.fixture(autouse=True)
def extra_members(monkeypatch):
    for name, make in EXTRA.items():
        monkeypatch.setitem(REGULARIZERS, name, make)


class Smooth(nn.Module):
    joint = True

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(48, 16), nn.Softplus(), nn.Linear(16, 1))

    def forward(self, x, y):
        return self.net(x).squeeze(1)


@pytest.mark.parametrize("form, bound", [("naive", 1e-12), ("gradgap", 1e-12), ("gradgap_lazy", 1e-12),
                                         ("finite differences", 1e-3)])
def test_forms_agree_with_the_formula(form, bound):
    """At the first update the average is the gap itself, whose gradient has the factor 1/3."""
    torch.manual_seed(0)
    network, y = Smooth().double(), torch.zeros(5, dtype=torch.long)
    real, fake = torch.randn(2, 5, 3, 4, 4, dtype=torch.float64)
    D = Scorer(network)

    def made():
        regularizer = REGULARIZERS[FORMS[form]]().double()
        regularizer.begin(Training(5, d_steps=1, iterations=1))
        return regularizer

    sides = D.pair(real, y, fake, y)
    gap = sides[0].norms().mean() - sides[1].norms().mean()
    assert made()(D, *sides).item() == pytest.approx(gap.item() ** 2, rel=1e-12)
    sides = D.pair(real, y, fake, y)
    gap = sides[0].norms().mean() - sides[1].norms().mean()
    parts = torch.autograd.grad(2 * gap.detach() * gap / 3, [*network.parameters()], allow_unused=True,
                                materialize_grads=True)
    oracle = torch.cat([part.flatten() for part in parts])
    ours = gradient(network, made(), real, fake, y)
    assert (ours - oracle).norm() / oracle.norm() < bound


def test_a_round_holds_every_interval_a_whole_number_of_times():
    assert {run.model: iterations_of_a_round(run) for run in CASES} == {"dcgan": 8, "wgan": 8, "biggan": 2,
                                                                        "stylegan2": 16}


def test_operations_are_counted_through_inner_gradients():
    """x [5, 48] @ W [48, 16] forward, then its gradient by x, which is once the same: 2 * 2 * 5 * 48 * 16."""
    x, weight = torch.randn(5, 48, requires_grad=True), torch.randn(48, 16)
    with Operations() as counter:
        torch.autograd.grad((x @ weight).sum(), x)
    assert counter.total == 2 * 2 * 5 * 48 * 16
