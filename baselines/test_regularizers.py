"""Each penalty against its formula written out in float64, value and parameter gradient."""

import pytest
import torch
from torch import nn

from baselines.contract import Broken, check
from baselines.regularizers import REGULARIZERS, GradGap, GradientPenalty, Regularizer, input_grad, score

N, SHAPE = 5, (3, 4, 4)
SIZE = 3 * 4 * 4


class Quadratic(nn.Module):
    """D(x) = w.x + |a*x|^2 / 2, so that dD/dx = w + a^2 x in closed form."""

    joint = True

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.randn(SIZE, dtype=torch.float64))
        self.a = nn.Parameter(torch.randn(SIZE, dtype=torch.float64))

    def forward(self, x, y):
        x = x.flatten(1)
        return x @ self.w + ((self.a * x) ** 2).sum(1) / 2

    def gradient(self, x):
        return self.w + self.a**2 * x.flatten(1)


class Apart(Quadratic):
    joint = False


@pytest.fixture(params=[Quadratic, Apart])
def D(request):
    torch.manual_seed(0)
    return request.param()


def images(seed):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(N, *SHAPE, dtype=torch.float64, generator=generator) for _ in range(2)]


def scored(D, seed):
    real, fake = images(seed)
    y = torch.zeros(N, dtype=torch.long)
    return score(D, real, y, fake, y)


def closed_gap(D, seed):
    real, fake = images(seed)
    return D.gradient(real).norm(dim=1).mean() - D.gradient(fake).norm(dim=1).mean()


def parameter_gradients(D, value):
    return torch.autograd.grad(value, list(D.parameters()))


def assert_same(D, ours, oracle):
    torch.testing.assert_close(ours, oracle, rtol=1e-12, atol=1e-12)
    for a, b in zip(parameter_gradients(D, ours), parameter_gradients(D, oracle), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


def test_input_grad_is_the_gradient_of_each_image(D):
    for part, x in zip(scored(D, 0), images(0), strict=True):
        torch.testing.assert_close(input_grad(part), D.gradient(x), rtol=1e-12, atol=1e-12)


def test_one_pass_forward_and_one_back():
    D = Quadratic()
    calls = []
    D.register_forward_hook(lambda *_: calls.append(1))
    real, fake = scored(D, 0)
    assert input_grad(real).data_ptr() != input_grad(fake).data_ptr() and len(calls) == 1
    assert input_grad(real)._base is input_grad(fake)._base  # slices of one gradient


def test_gradgap_over_four_updates(D):
    """The window of three, its warm-up, and constants for the past: the gradient is that of the last gap alone."""
    regularizer, past = GradGap().double(), []
    for update in range(4):
        gap = closed_gap(D, update)
        window = [g.detach() for g in past[-2:]] + [gap]
        assert_same(D, regularizer(D, *scored(D, update)), (sum(window) / len(window)) ** 2)
        past.append(gap)


@pytest.mark.parametrize("window", [1, 2, 5])
def test_gradgap_windows(D, window):
    regularizer, past = GradGap(window).double(), []
    for update in range(window + 2):
        past.append(closed_gap(D, update).detach())
        terms = past[-window:]
        torch.testing.assert_close(regularizer(D, *scored(D, update)).detach(), (sum(terms) / len(terms)) ** 2)


def test_gp(D):
    torch.manual_seed(1)
    value = GradientPenalty()(D, *scored(D, 0))
    torch.manual_seed(1)
    t = torch.rand(N, 1, 1, 1, dtype=torch.float64)
    real, fake = images(0)
    assert_same(D, value, ((D.gradient(fake + t * (real - fake)).norm(dim=1) - 1) ** 2).mean())


def gradients(D):
    return [D.gradient(x) for x in images(0)]


def squares(D):
    return [g.square().sum(1) for g in gradients(D)]


def roth(D):
    real, fake = (torch.sigmoid(D(x, None)) for x in images(0))
    on_real, on_fake = squares(D)
    return 0.5 * ((1 - real) ** 2 * on_real).mean() + 0.5 * (fake**2 * on_fake).mean()


def diggan(D):
    real, fake = (g.norm(dim=1) for g in gradients(D))
    return ((real - fake) ** 2).mean()


@pytest.mark.parametrize("name, closed_form", [
    ("r1", lambda D: squares(D)[0].mean() / 2),
    ("roth", roth),
    ("diggan", diggan),
])
def test_penalties_without_memory(D, name, closed_form):
    assert_same(D, REGULARIZERS[name]()(D, *scored(D, 0)), closed_form(D))


def test_lecam_over_three_updates(D):
    """With decay d the average after t updates is sum_k d^(t-k) m_k / sum_k d^(t-k)."""
    regularizer, means = REGULARIZERS["lecam"](decay=0.9).double(), []
    for update in range(3):
        real, fake = (D(x, None) for x in images(update))
        means.append(torch.stack([real.mean(), fake.mean()]).detach())
        weights = 0.9 ** torch.arange(update, -1, -1, dtype=torch.float64)
        average_real, average_fake = (weights[:, None] * torch.stack(means)).sum(0) / weights.sum()
        closed = ((real - average_fake) ** 2).mean() + ((fake - average_real) ** 2).mean()
        assert_same(D, regularizer(D, *scored(D, update)), closed)


def test_cr_is_zero_for_what_a_shift_leaves_alone_and_else_not(D):
    y = torch.zeros(N, dtype=torch.long)
    flat = torch.randn(N, 3, 1, 1, dtype=torch.float64).expand(N, *SHAPE)
    torch.manual_seed(0)
    regularizer = REGULARIZERS["cr"]()
    large = torch.randn(N, 3, 16, 16, dtype=torch.float64)
    D = lambda x, y: x[:, 0, 3, 5] if isinstance(x, torch.Tensor) else None  # noqa: E731
    D.joint = True
    assert regularizer(D, *score(D, flat.repeat(1, 1, 4, 4), y, large, y)).item() == 0
    value = regularizer(D, *score(D, large, y, large, y)).item()
    near = large[:, 0, 1:6, 3:8].reshape(N, 25)  # a 16 px image shifts by up to 2
    differences = (near - large[:, 0, 3, 5, None]) ** 2
    assert 0 < value <= differences.max(1).values.mean()


@pytest.mark.parametrize("name", REGULARIZERS)
def test_members_hold_the_contract(name):
    """A finite scalar whose gradient teaches the network, and exact continuation from the state_dict."""
    check(REGULARIZERS[name])


class Forgets(GradGap):
    """What it remembers is in no buffer."""

    def __init__(self):
        super().__init__(interval=1)
        self.sum = 0.0

    def forward(self, D, real, fake):
        self.sum += real.logits.mean().detach()
        return real.logits.mean() * self.sum


@pytest.mark.parametrize("forward, reason", [
    (lambda D, real, fake: real.norms(), r"shape \[5\]"),
    (lambda D, real, fake: 1.0, "returned a float"),
    (lambda D, real, fake: real.norms().mean() * float("nan"), "returned nan"),
    (lambda D, real, fake: real.norms().mean().detach(), "no gradient"),
    (lambda D, real, fake: real.logits.mean() * 0, "no gradient"),
    (lambda D, real, fake: (real.logits.mean() * 0).abs().sqrt(), "not finite"),
    (lambda D, real, fake: real.x @ fake.x.flatten(), r"forward\(D, real, fake\) failed: RuntimeError"),
    (lambda D: 1, "TypeError"),
])
def test_a_broken_one_is_named(forward, reason):
    with pytest.raises(Broken, match=reason):
        check(lambda: Fake(forward))


class Fake(Regularizer):
    def __init__(self, forward):
        super().__init__()
        self.forward = forward


@pytest.mark.parametrize("settings, reason", [({"of": "X"}, "of is 'X'"), ({"interval": 0}, "interval is 0"),
                                              ({"interval": 1.5}, "interval is 1.5"),
                                              ({"default_weight": -1}, "default_weight is -1")])
def test_broken_settings_are_named(settings, reason):
    regularizer = GradGap()
    vars(regularizer).update(settings)
    with pytest.raises(Broken, match=reason):
        check(lambda: regularizer)


def test_state_outside_of_buffers_is_found():
    with pytest.raises(Broken, match="does not continue exactly"):
        check(Forgets)


def test_the_contract_leaves_the_random_state_alone():
    torch.manual_seed(1)
    state = torch.get_rng_state()
    check(REGULARIZERS["cr"])
    assert torch.equal(torch.get_rng_state(), state)
