"""Transformations against NumPy and SciPy, draws against their published distributions, adaptation against its law."""

import math

import numpy as np
import pytest
import torch
from scipy import ndimage, signal, stats
from scipy.spatial.transform import Rotation

from baselines import augment
from baselines.augment import ADA, APA, AUGMENTATIONS, SYM6, DiffAugment, mirror, recolor, turn, warp

ADAPTIVE = [ADA, APA]
OFF = {"whole": (0.0, 0.0), "zoom": 1.0, "before": 0.0, "stretch": 1.0, "after": 0.0, "fraction": (0.0, 0.0)}


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def images(n=4, r=16, **kwargs):
    return torch.rand(n, 3, r, r, **kwargs) * 2 - 1


def spy(monkeypatch, *names):
    """Calls of these transformations, which now do nothing: {name: arguments}."""
    calls = {}

    def note(name):
        monkeypatch.setattr(augment, name, lambda x, *args, **kwargs: calls.update({name: kwargs or args}) or x)

    for name in names:
        note(name)
    return calls


# What every member owes


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_twice_differentiable(name):
    member = AUGMENTATIONS[name]().double()
    for p in member.buffers():
        p += 0.8

    def f(x):
        torch.manual_seed(3)
        return member(x.tanh())

    x = images(2, 8, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(f, x, fast_mode=True)
    assert torch.autograd.gradgradcheck(f, x, fast_mode=True)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_every_image_passes_a_gradient(name):
    member, x = AUGMENTATIONS[name](), images(8).requires_grad_()
    for p in member.buffers():
        p += 0.8
    y = member(x)
    assert y.shape == x.shape and y.dtype == x.dtype
    (gradient,) = torch.autograd.grad(y.square().sum(), x)
    assert (gradient.flatten(1).norm(dim=1) > 0).all() and gradient.isfinite().all()


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_waits_for_nothing(name):
    """The meta device has shapes and no values: whatever asks for a value fails."""
    member, x = AUGMENTATIONS[name]().to("meta"), images(device="meta")
    assert member(x).shape == member.mix(x, lambda: x).shape == x.shape
    member.observe(x.mean((1, 2, 3)))


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_state_dict_continues_exactly(name):
    first, second, x = AUGMENTATIONS[name](), AUGMENTATIONS[name](), images()
    for update in range(402):  # in the middle of an interval
        first.observe(x[:, 0, 0, 0].abs() + update)
    second.load_state_dict(first.state_dict())
    outputs = []
    for member in (first, second):
        torch.manual_seed(1)
        for _ in range(2):
            member.observe(-x[:, 0, 0, 0].abs())
        outputs.append([member(x), member.mix(x, lambda: -x), *member.state_dict().values()])
    assert all(torch.equal(a, b) for a, b in zip(*outputs, strict=True))


def test_identity():
    x = images()
    member = AUGMENTATIONS[""]()
    assert member(x) is x and member.mix(x, lambda: -x) is x and not member.state_dict()


# The adaptive strength


@pytest.mark.parametrize("member", ADAPTIVE)
def test_no_strength_changes_nothing(member):
    x = images()
    torch.testing.assert_close(member()(x), x, rtol=0, atol=2e-6)
    assert torch.equal(member().mix(x, lambda: -x), x)


@pytest.mark.parametrize("member", ADAPTIVE)
def test_strength_rises_by_images_over_500000(member):
    member = member()
    for update in range(1, 41):
        member.observe(torch.full((50,), 0.1))
        assert member.p.item() == pytest.approx(update // 4 * 200 / 500_000, rel=1e-5)


@pytest.mark.parametrize("member", ADAPTIVE)
def test_strength_follows_the_recurrence(member):
    """With signs that differ from update to update, batches of different sizes, and a floor at zero."""
    member, random = member(), np.random.RandomState(0)
    p, moves = 0.0, []
    for interval in range(60):
        mean = random.uniform(-0.5, 1.5) - (interval % 20 > 12)
        batches = [random.randn(random.randint(1, 30)) + mean for _ in range(4)]
        for logits in batches:
            member.observe(torch.from_numpy(logits).requires_grad_())
        signs = np.sign(np.concatenate(batches))
        moves.append(np.sign(signs.mean() - 0.6))
        p = max(p + moves[-1] * len(signs) / 500_000, 0)
        assert member.p.item() == pytest.approx(p, rel=1e-4, abs=1e-9)
    assert {-1, 1} <= set(moves)


def test_strength_rests_at_the_target():
    member = ADA()
    member.p.fill_(0.25)
    for _ in range(4):
        member.observe(torch.tensor([1.0, 1.0, 1.0, 1.0, -1.0]))  # mean sign 0.6
    assert member.p.item() == 0.25


# APA


def test_apa_replaces_at_rate_p():
    member, n = APA(), 20_000
    member.p.fill_(0.3)
    real, fake = images(n, 2), images(n, 2).requires_grad_()
    mixed = member.mix(real, lambda: fake)
    replaced = (mixed == fake).flatten(1).all(1)
    assert ((mixed == real).flatten(1).all(1) ^ replaced).all()
    low, high = stats.binom.interval(1 - 1e-6, n, 0.3)
    assert low <= replaced.sum() <= high
    assert not mixed.requires_grad
    assert member(real) is real


# DiffAugment


def test_diffaugment_color(monkeypatch):
    """Output = s k chroma + k (luma - mean) + mean + b for every image, with s, k and b uniform."""
    spy(monkeypatch, "translate")
    monkeypatch.setattr(augment, "cutout", lambda *_: 1)
    images_in = images(1000, 4, dtype=torch.float64)
    found = []
    for x, y in zip(images_in.numpy(), DiffAugment()(images_in).numpy(), strict=True):
        luma = np.broadcast_to(x.mean(0), x.shape)
        parts = np.stack([x - luma, luma - luma.mean(), np.ones_like(x)], -1).reshape(-1, 3)
        solution, residual, *_ = np.linalg.lstsq(parts, y.flatten(), rcond=None)
        assert residual < 1e-20
        found.append(solution - [0, 0, luma.mean()])
    sk, k, b = np.array(found).T
    for values, low, high in ((b, -0.5, 0.5), (sk / k, 0, 2), (k, 0.5, 1.5)):
        assert stats.kstest(values, "uniform", (low, high - low)).pvalue > 1e-3


POLICIES = {  # name -> those of the three transformations that it applies, in this order
    "diffaugment": ["color", "translation", "cutout"],
    "diffaugment_translation_cutout": ["translation", "cutout"],
    "diffaugment_color_cutout": ["color", "cutout"],
}


@pytest.mark.parametrize("name", POLICIES)
def test_a_policy_is_its_transformations_one_after_the_other(name):
    x = images(8, 16)
    torch.manual_seed(5)
    expected = x
    for part in POLICIES[name]:
        expected = DiffAugment((part,))(expected)
    torch.manual_seed(5)
    assert torch.equal(AUGMENTATIONS[name]()(x), expected)


@pytest.mark.parametrize("name", POLICIES)
def test_a_policy_leaves_out_what_its_name_leaves_out(name):
    """On an image of one color: a shift shows at the border as zeros, a square as zeros, color as another value."""
    torch.manual_seed(2)
    y = AUGMENTATIONS[name]()(torch.full((200, 3, 16, 16), 0.5))
    kept = y != 0
    assert (y[kept] != 0.5).any() == ("color" in POLICIES[name])
    assert (~kept).any()
    top_row_gone = (~kept[:, 0, 0, :]).all(dim=1)  # a square of half the width never covers a whole row, a shift does
    assert top_row_gone.any() == ("translation" in POLICIES[name])


def test_translate_is_a_padded_crop():
    x = images(25, 6)
    right, down = (t.flatten() for t in torch.meshgrid(torch.arange(-2, 3), torch.arange(-2, 3), indexing="ij"))
    y = augment.translate(x, right, down)
    for i in range(25):
        padded = np.pad(x[i], ((0, 0), (2, 2), (2, 2)))
        top, left = 2 - down[i], 2 - right[i]
        assert np.array_equal(y[i], padded[:, top:top + 6, left:left + 6])


@pytest.mark.parametrize("size", [4, 5])
def test_cutout_is_a_square(size):
    r = 9
    x, y = (t.flatten() for t in torch.meshgrid(torch.arange(r + 1), torch.arange(r + 1), indexing="ij"))
    mask = augment.cutout(r, size, x, y)
    for i in range(len(mask)):
        expected = np.ones((r, r), bool)
        top, left = y[i] - size // 2, x[i] - size // 2
        expected[max(top, 0):top + size, max(left, 0):left + size] = False
        assert np.array_equal(mask[i, 0], expected)
    assert (~mask).sum((1, 2, 3)).max() == size**2


@pytest.mark.parametrize("r, places", [(64, 65), (66, 66)])  # a square of 32, of 33
def test_diffaugment_places(monkeypatch, r, places):
    moves, cuts = spy(monkeypatch, "translate"), {}
    monkeypatch.setattr(augment, "cutout", lambda r, size, x, y: cuts.update(size=size, x=x, y=y) or 1)
    DiffAugment()(images(1, r).expand(1000, -1, -1, -1))
    assert cuts["size"] == r // 2
    for drawn, low, count in ((moves["translate"][0], -8, 17), (moves["translate"][1], -8, 17),
                              (cuts["x"], 0, places), (cuts["y"], 0, places)):
        counts = np.bincount(drawn.numpy() - low, minlength=count)
        assert len(counts) == count and counts.min() > 0 and stats.chisquare(counts).pvalue > 1e-3


# ADA: what is drawn


@pytest.mark.parametrize("p", [0.36, 1.0, 1.2])
def test_ada_draws_as_published(monkeypatch, p):
    calls, n, member = spy(monkeypatch, "mirror", "turn", "warp", "recolor"), 20_000, ADA()
    member.p.fill_(p)
    member(images(1, 64).expand(n, -1, -1, -1))
    p, rotated, turned = min(p, 1), 1 - math.sqrt(1 - min(p, 1)), calls["turn"][0].numpy()
    geometry, color = ({k: v.numpy() for k, v in calls[name].items()} for name in ("warp", "recolor"))
    log2, uniform, normal = np.log2, stats.uniform, stats.norm

    def rate(on, expected):
        low, high = stats.binom.interval(1 - 1e-6, n, expected)
        assert low <= on.sum() <= high

    rate(calls["mirror"][0].numpy(), p / 2)
    rate(color["invert"], p / 2)
    rate((geometry["before"] != 0) | (geometry["after"] != 0), p)
    for quarter in (1, 2, 3):
        rate(turned == quarter, p / 4)
    for values, off, expected, law in (
            (geometry["before"], 0, rotated, uniform(-np.pi, 2 * np.pi)),
            (geometry["after"], 0, rotated, uniform(-np.pi, 2 * np.pi)),
            (log2(geometry["zoom"]), 0, p, normal(0, 0.2)),
            (log2(geometry["stretch"]), 0, p, normal(0, 0.2)),
            (geometry["fraction"][0], 0, p, normal(0, 8)),
            (geometry["fraction"][1], 0, p, normal(0, 8)),
            (color["brightness"], 0, p, normal(0, 0.2)),
            (log2(color["contrast"]), 0, p, normal(0, 0.5)),
            (color["hue"], 0, p, uniform(-np.pi, 2 * np.pi)),
            (log2(color["saturation"]), 0, p, normal(0, 1))):
        rate(values != off, expected)
        assert stats.kstest(values[values != off], law.cdf).pvalue > 1e-3
    assert (geometry["fraction"][0] != 0).tolist() == (geometry["fraction"][1] != 0).tolist()
    for whole in geometry["whole"]:  # 8 pixels of 64 at most, where only half a bin is left
        counts = np.bincount((whole + 8).astype(int), minlength=17)
        law = np.array([0.5, *[1] * 15, 0.5]) / 16 * p
        law[8] += 1 - p
        assert np.array_equal(whole, whole.round()) and stats.chisquare(counts, law * n).pvalue > 1e-3


# ADA: what is done


def test_mirror_and_turn_move_pixels():
    x = images()
    assert np.array_equal(mirror(x, torch.tensor([True, False, True, False])),
                          [x[0].numpy()[..., ::-1], x[1], x[2].numpy()[..., ::-1], x[3]])
    quarters = torch.arange(4.0)
    assert np.array_equal(turn(x, quarters), [np.rot90(x[k], k, (1, 2)) for k in range(4)])
    assert torch.equal(mirror(mirror(x, torch.ones(4).bool()), torch.ones(4).bool()), x)
    assert torch.equal(turn(turn(x, quarters), (4 - quarters) % 4), x)


def matrix(brightness, contrast, invert, hue, saturation):
    """Color as in the paper's appendix B: 4x4 matrices, applied from right to left."""
    gray = np.diag([1.0, 1, 1, 0])
    luma = np.pad(np.full((3, 3), 1 / 3), (0, 1))
    B, C, H, identity = np.eye(4), np.diag([contrast] * 3 + [1]), np.eye(4), np.eye(4)
    B[:3, 3] = brightness
    H[:3, :3] = Rotation.from_rotvec(np.full(3, hue / np.sqrt(3))).as_matrix()
    S = luma + (gray - luma) * saturation + identity - gray
    return S @ H @ (identity - 2 * luma * invert) @ C @ B


@pytest.mark.parametrize("parameters", [
    (0.3, 1, 0, 0, 1), (0, 1.7, 0, 0, 1), (0, 1, 1, 0, 1), (0, 1, 0, 2.1, 1), (0, 1, 0, 0, 0.4),
    (-0.2, 0.6, 1, -1.3, 2.5)])
def test_recolor(parameters):
    x = images(2, 5, dtype=torch.float64)
    brightness, contrast, invert, hue, saturation = torch.tensor(parameters, dtype=torch.float64)[:, None].expand(5, 2)
    y = recolor(x, brightness, contrast, invert.bool(), hue, saturation)
    M = matrix(*parameters)
    expected = np.einsum("oc,nchw->nohw", M[:3, :3], x) + M[:3, 3][:, None, None]
    np.testing.assert_allclose(y, expected, rtol=0, atol=1e-12)


def test_hue_by_a_third_permutes_the_channels():
    x, one = images(dtype=torch.float64), torch.ones(4, dtype=torch.float64)
    y = recolor(x, 0 * one, one, one < 0, one * 2 * math.pi / 3, one)
    torch.testing.assert_close(y, x.roll(1, 1), rtol=0, atol=1e-12)


def test_sym6():
    """Orthonormal, with six vanishing moments, as no other filter of 12 taps but Daubechies' family."""
    h, n = np.array(SYM6), np.arange(12)
    assert h.sum() == pytest.approx(math.sqrt(2), abs=1e-11)
    even_lags = np.correlate(h, h, "full")[1::2]
    np.testing.assert_allclose(even_lags, np.arange(-10, 11, 2) == 0, atol=1e-11)
    for moment in range(6):
        assert ((-1.0) ** n * (n / 11) ** moment * h).sum() == pytest.approx(0, abs=1e-11)


def resampled(x, **geometry):
    parameters = {}
    for name, value in {**OFF, **geometry}.items():
        value = torch.tensor(value, dtype=x.dtype)
        parameters[name] = value[..., None].expand(*value.shape, len(x))
    return warp(x, **parameters)


def published(image, whole, zoom, before, stretch, after, fraction):
    """One plane [R, R] through the published steps: pad, upsample, transform, downsample and crop.

    The transform is about a point half a pixel of the upsampled plane before its center in both axes, as in the
    authors' code: T(-1/2) G T(1/2). Padded twice as far as there, where zeros follow the first reflection.
    """
    r, h = len(image), np.array(SYM6)
    forward = np.eye(3)
    for move, factors, angle in ((whole, (zoom, zoom), before), ((0, 0), (stretch, 1 / stretch), after)):
        c, s = np.cos(angle), np.sin(angle)
        forward = np.array([[1, 0, move[0]], [0, 1, move[1]], [0, 0, 1]]) @ forward
        forward = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ np.diag([*factors, 1]) @ forward
    forward[:2, 2] += fraction
    back = np.linalg.inv(forward)

    plane = np.pad(image, 2 * (r - 1), mode="reflect")
    size = len(plane)
    for axis in (0, 1):  # pixel k of this plane is where tap 5 of the filter's response to pixel k/2 starts
        plane = np.take(signal.upfirdn(h * np.sqrt(2), plane, up=2, axis=axis), range(5, 5 + 2 * size), axis=axis)
    target = (np.arange(-5, 2 * r + 5) - (r - 0.5) + 0.5) / 2  # 0 in the center of the image, then T(1/2)
    px, py = np.meshgrid(target, target)
    sx, sy, _ = np.tensordot(back, [px, py, np.ones_like(px)], 1)
    center = len(plane) / 2 - 0.5
    plane = ndimage.map_coordinates(plane, [sy * 2 - 0.5 + center, sx * 2 - 0.5 + center], order=1)
    for axis in (0, 1):
        plane = np.take(signal.upfirdn(h[::-1] / np.sqrt(2), plane, axis=axis), range(11, 11 + 2 * r, 2), axis=axis)
    return plane


@pytest.mark.parametrize("geometry", [
    {}, {"whole": (3.0, -2.0)}, {"zoom": 1.3}, {"zoom": 0.7}, {"before": 0.5}, {"stretch": 1.4}, {"after": -2.0},
    {"before": math.pi / 2}, {"after": -math.pi / 2}, {"fraction": (1.3, -0.6)},
    {"whole": (2.0, 1.0), "zoom": 0.8, "before": 0.4, "stretch": 1.2, "after": 2.5, "fraction": (-1.7, 0.3)}])
def test_warp_is_the_published_pipeline(geometry):
    x = images(1, 17, dtype=torch.float64)
    expected = [published(plane, **{**OFF, **geometry}) for plane in x[0].numpy()]
    np.testing.assert_allclose(resampled(x, **geometry)[0], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("right, down", [(0, 0), (2, -1), (-2, 2)])
def test_whole_pixels_are_exact(right, down):
    x = images()
    padded = np.pad(x, ((0, 0), (0, 0), (2, 2), (2, 2)), mode="reflect")
    expected = padded[:, :, 2 - down:18 - down, 2 - right:18 - right]
    np.testing.assert_allclose(resampled(x, whole=(float(right), float(down))), expected, rtol=0, atol=2e-6)


MOVES = [  # geometry, and the linear part of the way back
    ({"before": 0.7}, ((math.cos(0.7), math.sin(0.7)), (-math.sin(0.7), math.cos(0.7)))),
    ({"after": math.pi / 2}, ((0, 1), (-1, 0))),
    ({"zoom": 1.25}, ((0.8, 0), (0, 0.8))),
    ({"stretch": 1.25}, ((0.8, 0), (0, 1.25))),
    ({"fraction": (0.5, -1.25)}, ((1, 0), (0, 1)))]


@pytest.mark.parametrize("f, error", [
    (lambda q: 0.03 * q[0] - 0.02 * q[1] + 0.1, 1e-11),  # the filter and bilinear interpolation keep a linear function
    (lambda q: np.sin(0.2 * q[0] + 0.1 * q[1]) + 0.5 * np.cos(0.15 * q[1] + 1), 0.005)])
@pytest.mark.parametrize("geometry, back", MOVES)
def test_warp_of_a_smooth_function(geometry, back, f, error):
    """f(q) in, f(back q) out, away from the edges, but for the delay of the filter: f(back (q + delay) - delay)."""
    r, inner = 32, slice(10, 22)
    delay = (np.dot(SYM6, np.arange(12)) / math.sqrt(2) - 5) / 2
    q = np.stack(np.meshgrid(*[np.arange(r) - (r - 1) / 2] * 2))
    x = torch.from_numpy(f(q)).expand(1, 3, r, r)
    moved = q - np.array(geometry.get("fraction", (0, 0)))[:, None, None]
    expected = f(np.tensordot(back, moved + delay, 1) - delay)
    difference = resampled(x, **geometry)[0].numpy() - expected
    assert np.abs(difference[:, inner, inner]).max() < error


def test_the_center_stays_where_the_authors_code_leaves_it():
    """The fixed point is 0.05 pixels before the image's center, and a half turn moves a ramp's zero twice as far."""
    r = 32
    ramp = torch.arange(r, dtype=torch.float64) - (r - 1) / 2
    turned = resampled(ramp.expand(1, 3, r, r), before=math.pi)[0, 0]
    column = turned[r // 2].numpy()
    center = np.interp(0, -column[10:22], np.arange(10, 22)) - (r - 1) / 2
    assert center == pytest.approx(-2 * 0.0491, abs=1e-3)
