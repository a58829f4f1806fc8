"""Each penalty against its formula written out in float64, value and parameter gradient."""

import pytest
import torch
from torch import nn

from baselines.contract import Broken, check
from baselines.regularizers import REGULARIZERS, GradGap, GradientPenalty, Regularizer, Training
from baselines.scoring import Scorer

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
    return Scorer(D).pair(real, y, fake, y)


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
        torch.testing.assert_close(part.gradient, D.gradient(x), rtol=1e-12, atol=1e-12)


def test_one_pass_forward_and_one_back():
    D = Quadratic()
    calls = []
    D.register_forward_hook(lambda *_: calls.append(1))
    real, fake = scored(D, 0)
    assert real.gradient.data_ptr() != fake.gradient.data_ptr() and len(calls) == 1
    assert real.gradient._base is fake.gradient._base  # slices of one gradient


def begun(make, updates=4):
    regularizer = make().double()
    regularizer.begin(Training(N, d_steps=2, iterations=updates))
    return regularizer


def closed_norms(D, seed):
    return [D.gradient(x).norm(dim=1) for x in images(seed)]


@pytest.mark.parametrize("name, window, measure", [
    ("gradgap", 3, torch.square), ("gradgap_lazy", 3, torch.square), ("gradgap_abs", 3, torch.abs),
    ("gradgap_single", 1, torch.square)])
def test_gradgap_over_four_updates(D, name, window, measure):
    """Before the first update the gap was the first one; the past is constant, so every gradient has the factor 1/3."""
    regularizer = begun(REGULARIZERS[name])
    past = [closed_gap(D, 0).detach()] * window
    for update in range(4):
        gap = closed_gap(D, update)
        past = [gap, *past][:window]
        assert_same(D, regularizer(Scorer(D), *scored(D, update)), measure(sum(past) / window))
        past[0] = gap.detach()


@pytest.mark.parametrize("window", [1, 2, 5])
def test_gradgap_windows(D, window):
    regularizer = begun(lambda: GradGap(window))
    past = [closed_gap(D, 0).detach()] * window
    for update in range(window + 2):
        past = [closed_gap(D, update).detach(), *past][:window]
        torch.testing.assert_close(regularizer(Scorer(D), *scored(D, update)).detach(), (sum(past) / window) ** 2)


def test_gradgap_of_pairs(D):
    """Slot i of a batch with slot i of the two before it; the square of each pair's average, then their mean."""
    regularizer = begun(REGULARIZERS["gradgap_pairs"])
    real, fake = closed_norms(D, 0)
    past = [(real - fake).detach()] * 3
    for update in range(4):
        real, fake = closed_norms(D, update)
        past = [real - fake, *past][:3]
        assert_same(D, regularizer(Scorer(D), *scored(D, update)), (sum(past) / 3).square().mean())
        past[0] = past[0].detach()


def test_diggan_mixes_each_slot_with_the_last_penalised_batch(D):
    """m(t) = (n(t) + m(t-1)) / 2 of each side, m(0) = n(0): DigGAN's code for BigGAN."""
    regularizer, last = begun(REGULARIZERS["diggan"]), None
    assert regularizer.first_step_only
    for update in range(4):
        sides = closed_norms(D, update)
        if last:
            sides = [0.5 * now + 0.5 * before for now, before in zip(sides, last, strict=True)]
        assert_same(D, regularizer(Scorer(D), *scored(D, update)), (sides[0] - sides[1]).square().mean())
        last = [side.detach() for side in sides]


def test_gp(D):
    torch.manual_seed(1)
    value = GradientPenalty()(Scorer(D), *scored(D, 0))
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


@pytest.mark.parametrize("name, closed_form", [
    ("r1", lambda D: squares(D)[0].mean() / 2),
    ("roth", roth),
    ("roth_annealed", roth),
])
def test_penalties_at_the_first_update(D, name, closed_form):
    assert_same(D, REGULARIZERS[name]()(Scorer(D), *scored(D, 0)), closed_form(D))


def test_roth_is_annealed_to_a_hundredth(D):
    """By the same factor at every update: after half of the updates to a tenth."""
    regularizer = begun(REGULARIZERS["roth_annealed"], updates=4)  # 4 iterations of 2 updates
    values = [regularizer(Scorer(D), *scored(D, 0)).item() for _ in range(8)]
    torch.testing.assert_close(values[4], values[0] / 10)
    torch.testing.assert_close(values[7] * 0.01 ** (1 / 8), values[0] / 100)


def scores(D, update):
    real, fake = (D(x, None) for x in images(update))
    return real, fake, torch.stack([real.mean(), fake.mean()]).detach()


def lecam(real, fake, a_real, a_fake):
    return torch.relu(real - a_fake).square().mean() + torch.relu(a_real - fake).square().mean()


def test_lecam_of_biggan(D):
    """Silent for its first iterations, in which the averages follow the scores; then they have decay 0.9."""
    regularizer = REGULARIZERS["lecam"]().double()
    regularizer.starts_after = 2
    regularizer.begin(Training(N, d_steps=2, iterations=9))
    averages = None
    for update in range(7):
        real, fake, means = scores(D, update)
        averages = means if update < 4 else 0.9 * averages + 0.1 * means
        value = regularizer(Scorer(D), *scored(D, update))
        if update < 4:
            assert value.item() == 0 and not any(g.any() for g in parameter_gradients(D, value))
        else:
            assert_same(D, value, lecam(real, fake, *averages))


def test_lecam_of_stylegan2(D):
    """With decay d the average after t updates is sum_k d^(t-k) m_k / sum_k d^(t-k)."""
    regularizer, all_means = begun(REGULARIZERS["lecam_stylegan2"]), []
    for update in range(3):
        real, fake, means = scores(D, update)
        all_means.append(means)
        weights = 0.99 ** torch.arange(update, -1, -1, dtype=torch.float64)
        averages = (weights[:, None] * torch.stack(all_means)).sum(0) / weights.sum()
        assert_same(D, regularizer(Scorer(D), *scored(D, update)), lecam(real, fake, *averages))


class Pixel(nn.Module):
    """D(x) is one pixel, off the middle."""

    joint = True

    def forward(self, x, y):
        return x[:, 0, 3, 5]


def test_cr_is_zero_for_what_shifts_and_flips_leave_alone():
    flat = torch.randn(N, 3, 1, 1, dtype=torch.float64).expand(N, 3, 16, 16)
    y = torch.zeros(N, dtype=torch.long)
    assert REGULARIZERS["cr"]()(*pixel_scores(flat, y)).item() == 0


def pixel_scores(images, y):
    D = Scorer(Pixel())
    return D, *D.pair(images, y, images, y, gradient=False)


def test_cr_takes_every_shift_and_flip_and_no_other():
    """A 16 px image shifts by up to 2 px and is flipped or not: 50 pixels, each seen in enough draws."""
    torch.manual_seed(0)
    y = torch.zeros(4000, dtype=torch.long)
    image = torch.randperm(16 * 16).double().view(1, 1, 16, 16)
    moved = []

    class Spy(Pixel):
        def forward(self, x, y):
            moved.append(super().forward(x, y))
            return moved[-1]

    D = Scorer(Spy())
    real, fake = D.pair(image.expand(4000, 3, 16, 16), y, image.expand(4000, 3, 16, 16), y, gradient=False)
    value = REGULARIZERS["cr"]()(D, real, fake)
    near = image[0, 0, 1:6]
    assert set(moved[-1].tolist()) == set(near[:, 3:8].flatten().tolist()) | set(near[:, 8:13].flatten().tolist())
    torch.testing.assert_close(value, (moved[-1] - image[0, 0, 3, 5]).square().mean())


@pytest.mark.parametrize("name", REGULARIZERS)
def test_members_hold_the_contract(name):
    """A finite scalar whose gradient teaches the network, and exact continuation from the state_dict."""
    check(REGULARIZERS[name])


class Forgets(GradGap):
    """What it remembers is in no buffer."""

    def __init__(self):
        super().__init__()
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
    (lambda D, real, fake: real.norms().mean() * 1j, "scalar of torch.complex64"),
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
                                              ({"default_weight": -1}, "default_weight must be"),
                                              ({"default_weight": 10**400}, "default_weight must be")])
def test_broken_settings_are_named(settings, reason):
    regularizer = GradGap()
    vars(regularizer).update(settings)
    with pytest.raises(Broken, match=reason):
        check(lambda: regularizer)


def test_a_begin_that_fails_is_named():
    regularizer = GradGap()
    regularizer.begin = lambda training: 1 / 0
    with pytest.raises(Broken, match="begin failed: ZeroDivisionError"):
        check(lambda: regularizer)


def test_state_outside_of_buffers_is_found():
    with pytest.raises(Broken, match="does not continue exactly"):
        check(Forgets)


def test_the_contract_leaves_the_random_state_alone():
    torch.manual_seed(1)
    state = torch.get_rng_state()
    check(REGULARIZERS["cr"])
    assert torch.equal(torch.get_rng_state(), state)
