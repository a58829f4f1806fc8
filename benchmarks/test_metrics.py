"""Metrics against closed forms, float64 brute force, clean-fid, and torch-fidelity where that is installed."""

import numpy as np
import pytest
import torch
from cleanfid.fid import fid_from_feats

from benchmarks import metrics
from benchmarks.metrics import METRICS, Comparison, Features, Reference
from benchmarks.runs import InputError

CONSTANT = np.ones((20, 8), np.float32)


def compare(real, generated, logits=None, **known) -> Comparison:
    return Comparison(Reference.of(real), Features(generated, generated if logits is None else logits), **known)


def scores(pair: Comparison) -> dict[str, float]:
    return {name: metric.measure(pair).value for name, metric in METRICS.items()
            if pair.heldout is not None or not metric.of_heldout}


def fd(pair: Comparison) -> float:
    return METRICS["fd"].measure(pair).value


def gaussian(n, d=64, shift=0.0, scale=1.0, seed=0):
    """Features with the long-tailed spectrum of real ones, float32 [n, d]."""
    x = np.random.default_rng(seed).standard_normal((n, d)) * np.geomspace(1, 1e-3, d)
    return np.float32(x * scale + shift)


@pytest.fixture(scope="module")
def digits():
    """Real images as features: 1,797 digits of 64 pixels, pixel by pixel."""
    from sklearn.datasets import load_digits

    return np.float32(load_digits().data)


# --- Frechet distance -------------------------------------------------------------------------------------------------


def frechet_of_diagonals(shift, scale, d):
    """Closed form for equal axes: |shift|^2 d + sum (sigma - scale sigma)^2."""
    return d * shift**2 + ((1 - scale) ** 2 * np.geomspace(1, 1e-3, d) ** 2).sum()


def whitened(n, d, **moments):
    """A sample whose mean and covariance are exactly those of gaussian()."""
    x = np.random.default_rng(1).standard_normal((n, d))
    x -= x.mean(0)
    x = np.linalg.qr(x)[0] * (n - 1) ** 0.5 * np.geomspace(1, 1e-3, d)
    return x * moments.get("scale", 1.0) + moments.get("shift", 0.0)


@pytest.mark.parametrize("n, m", [(100, 100), (100, 5000), (5000, 100), (5000, 5000)])
def test_frechet_distance_equals_the_closed_form(n, m):
    pair = compare(np.float32(whitened(n, 64)), np.float32(whitened(m, 64, shift=0.2, scale=1.5)))
    assert fd(pair) == pytest.approx(frechet_of_diagonals(0.2, 1.5, 64), rel=1e-5)


@pytest.mark.parametrize("n, m, d, tolerance", [
    (100, 389, 32, 1e-6), (389, 5000, 64, 1e-6), (10_000, 389, 64, 1e-6),  # full rank
    (100, 389, 512, 1e-4), (100, 2000, 256, 1e-4),  # fewer images than features: clean-fid's covariances lose digits
])  # fmt: skip
def test_frechet_distance_equals_clean_fid(n, m, d, tolerance):
    real, generated = gaussian(n, d), gaussian(m, d, shift=0.05, scale=1.2, seed=1)
    expected = fid_from_feats(real.astype(np.float64), generated.astype(np.float64))
    assert fd(compare(real, generated)) == pytest.approx(expected, rel=tolerance)


def test_frechet_distance_of_real_images_equals_clean_fid(digits):
    noisy = digits[900:] + np.random.default_rng(0).normal(0, 0.5, digits[900:].shape).astype(np.float32)
    expected = fid_from_feats(digits[:900].astype(np.float64), noisy.astype(np.float64))
    assert fd(compare(digits[:900], noisy)) == pytest.approx(expected, rel=1e-5)


def test_frechet_distance_of_few_images_keeps_its_digits():
    """A rotation of all features moves nothing, where covariances of rank 11 in 512 dimensions would lose digits."""
    real, generated = gaussian(12, 512), gaussian(2000, 512, shift=0.01, seed=1)
    turn = np.linalg.qr(np.random.default_rng(2).standard_normal((512, 512)))[0]
    values = [fd(compare(*map(np.float32, pair))) for pair in ((real, generated), (real @ turn, generated @ turn))]
    assert values[0] == pytest.approx(values[1], rel=1e-5)


# --- KID --------------------------------------------------------------------------------------------------------------


def mmd2(x, y):
    """Unbiased MMD^2, term by term: Binkowski et al. 2018, equation 4."""
    def kernel(a, b):
        return (np.dot(a, b) / len(a) + 1) ** 3

    n, m = len(x), len(y)
    within = [sum(kernel(a, b) for i, a in enumerate(s) for j, b in enumerate(s) if i != j) / (len(s) * (len(s) - 1))
              for s in (x, y)]
    return sum(within) - 2 * sum(kernel(a, b) for a in x for b in y) / (n * m)


def test_kernel_distance_of_whole_sets_equals_the_double_sum():
    x, y = (s.astype(np.float64) for s in (gaussian(30, 8), gaussian(30, 8, shift=0.3, seed=1)))
    score = METRICS["kid"].measure(compare(np.float32(x), np.float32(y)))
    assert score.value == pytest.approx(mmd2(np.float32(x).astype(float), np.float32(y).astype(float)), rel=1e-9)
    assert score.sd == pytest.approx(0, abs=1e-12)  # every subset is the whole set


def test_kernel_distance_is_unbiased_and_its_deviation_covers_the_error():
    """Subsets of 60 of 900 estimate what the whole sets give; of one distribution, that is about zero."""
    x, y = gaussian(60, 8), gaussian(900, 8, shift=0.3, seed=1)
    score = METRICS["kid"].measure(compare(x, y))
    whole = METRICS["kid"].measure(compare(gaussian(900, 8), y)).value
    assert score.sd > 0 and abs(score.value - whole) < 5 * score.sd
    same = METRICS["kid"].measure(compare(x, gaussian(900, 8, seed=2)))
    assert abs(same.value) < 5 * same.sd


# --- Inception Score --------------------------------------------------------------------------------------------------


def test_inception_score_of_known_predictions():
    certain = np.float32(np.tile(np.eye(10) * 1000, (10, 1)))  # each tenth holds all 10 classes once
    x = gaussian(100, 4)
    assert METRICS["is"].measure(compare(x, x, certain)).value == pytest.approx(10, rel=1e-9)
    assert METRICS["is"].measure(compare(x, x, np.zeros_like(certain))).value == pytest.approx(1, rel=1e-9)
    one_class = np.float32(np.repeat(np.eye(10) * 1000, 10, axis=0))  # each tenth holds one class
    assert METRICS["is"].measure(compare(x, x, one_class)).value == pytest.approx(1, rel=1e-9)


# --- Neighbourhoods ---------------------------------------------------------------------------------------------------


def brute_force(real, generated):
    """Precision, recall, density and coverage from all distances in float64."""
    def distances(a, b):
        return np.sqrt(((a[:, None].astype(np.float64) - b[None]) ** 2).sum(-1))

    def radius(a, k):
        return np.sort(distances(a, a), axis=1)[:, k]  # column 0 is the image itself

    cross = distances(real, generated)
    balls3, balls5 = (cross <= radius(real, k)[:, None] for k in (3, 5))
    recalled = cross <= radius(generated, 3)
    return {"precision": balls3.any(0).mean(), "recall": recalled.any(1).mean(), "density": balls5.sum(0).mean() / 5,
            "coverage": balls5.any(1).mean()}


@pytest.mark.parametrize("n, m", [(100, 300), (300, 100)])
def test_neighbourhoods_equal_brute_force(n, m, monkeypatch):
    monkeypatch.setattr(metrics.overlap, "__defaults__", (64,))  # several chunks
    monkeypatch.setattr(metrics.neighbours, "__defaults__", (64,))
    real, generated = gaussian(n, 16), gaussian(m, 16, shift=0.02, scale=1.3, seed=1)
    found = scores(compare(real, generated))
    assert {name: found[name] for name in brute_force(real, generated)} == pytest.approx(brute_force(real, generated))


@pytest.mark.parametrize("name", METRICS)
def test_everything_is_computed_on_the_device(name):
    """The meta device, which has no values, meets no tensor of another one until a number is asked of it."""
    features = Features(gaussian(30), gaussian(30))
    pair = Comparison(Reference.of(gaussian(40)), features, np.arange(40) < 20, gaussian(20), "meta")
    with pytest.raises(RuntimeError, match=r"Tensor.item\(\) cannot be called on meta|Cannot copy out of meta tensor"):
        METRICS[name].measure(pair)


def test_memorised_tells_copies_from_new_images(digits):
    order = np.random.default_rng(0).permutation(len(digits))
    real, new = digits[order[:900]], digits[order[900:]]
    train = np.arange(900) < 450
    assert scores(compare(real, real[train], train=train))["memorised"] == 1
    assert scores(compare(real, real[~train], train=train))["memorised"] < 0.12
    half = np.concatenate([new[:200], real[:200]])
    assert scores(compare(real, half, train=train))["memorised"] == pytest.approx(0.53, abs=0.04)


# --- Held-out images --------------------------------------------------------------------------------------------------


def split(digits, seed=0):
    """Digits in three parts: 600 to train on, 600 held out, 597 others."""
    order = np.random.default_rng(seed).permutation(len(digits))
    return digits[order[:600]], digits[order[600:1200]], digits[order[1200:]]


def test_copies_of_training_images_stand_out_and_new_real_images_do_not(digits):
    trained, heldout, new = split(digits)
    of_copies = scores(compare(trained, trained, heldout=heldout))
    of_new = scores(compare(trained, new, heldout=heldout))
    assert of_copies["authpct"] == 0 and 35 < of_new["authpct"] < 65
    assert of_copies["memorised"] == 1 and of_new["memorised"] < 0.12
    assert of_copies["fld_gap"] < -300 and abs(of_new["fld_gap"]) < 30
    assert of_copies["fld"] > 300 and abs(of_new["fld"]) < 30
    assert of_copies["ct"] < -15 and abs(of_new["ct"]) < 3
    half = scores(compare(trained, np.concatenate([trained[:300], new[:300]]), heldout=heldout))
    assert half["fld_gap"] < -30 and half["ct"] < -5, "half of the images are copies"


def test_the_set_of_which_the_held_out_images_are_a_part_may_be_larger(digits):
    """What a fraction leaves out is held out: the same values as when only the fraction is the reference."""
    trained, heldout, new = split(digits)
    whole = compare(np.concatenate([heldout, trained]), new, train=np.arange(1200) >= 600, heldout=heldout)
    of_part, of_whole = scores(compare(trained, new, heldout=heldout)), scores(whole)
    for name in ("memorised", "authpct", "fld", "fld_gap", "ct"):
        assert of_whole[name] == pytest.approx(of_part[name], rel=1e-2, abs=1e-3)


def test_authenticity_equals_brute_force(monkeypatch):
    monkeypatch.setattr(metrics.overlap, "__defaults__", (64,))  # several chunks
    real, generated = gaussian(300, 16), gaussian(200, 16, scale=0.7, seed=1)
    train = np.arange(300) % 3 > 0
    trained = real[train].astype(np.float64)
    own = np.sqrt(((trained[:, None] - trained[None]) ** 2).sum(-1)) + np.diag(np.full(len(trained), np.inf))
    cross = np.sqrt(((trained[:, None] - generated[None]) ** 2).sum(-1))
    expected = 100 * (own.min(1)[cross.argmin(0)] < cross.min(0)).mean()
    found = METRICS["authpct"].measure(compare(real, generated, train=train)).value
    assert found == pytest.approx(expected) and 0 < expected < 100


def mixture(x, centres, w):
    """Nats a feature of x under isotropic Gaussians, float64, by autograd's tensors."""
    squares = torch.cdist(x, centres, compute_mode="donot_use_mm_for_euclid_dist") ** 2
    D = x.shape[1]
    logs = -0.5 * squares / w.exp() - D / 2 * (w + np.log(2 * np.pi)) - np.log(len(centres))
    return logs


def fitted(centres, x):
    """Widths by the procedure of Jiralerspong et al.'s code, with autograd, float64."""
    squares = torch.cdist(x, centres, compute_mode="donot_use_mm_for_euclid_dist") ** 2
    w = ((squares.amin(0) + 1e-3) / x.shape[1]).log().requires_grad_()
    origin_w, losses = torch.zeros((), dtype=torch.float64, requires_grad=True), []
    adam = torch.optim.Adam([w, origin_w], lr=0.5)
    origin = 0.81 * ((x - x.mean(0)) ** 2).sum(1)
    for _ in range(50):
        of_origin = -0.5 * origin / origin_w.exp() - x.shape[1] / 2 * (origin_w + np.log(2 * np.pi))
        logs = torch.cat([mixture(x, centres, w), of_origin[:, None]], 1)
        loss = -logs.logsumexp(1).mean() / x.shape[1]
        adam.zero_grad()
        loss.backward()
        adam.step()
        losses.append(loss.item())
        if len(losses) > 6 and max(abs(losses[-1] - value) for value in losses[-5:]) < 5e-4:
            break
    return w.detach()


def test_feature_likelihood_equals_the_formula_by_autograd_in_float64():
    trained, heldout, generated = gaussian(200, 16), gaussian(150, 16, seed=1), gaussian(90, 16, scale=1.1, seed=2)
    pair = compare(trained, generated, heldout=heldout)
    mean, sd = heldout.mean(0, dtype=np.float64), heldout.std(0, ddof=1, dtype=np.float64)
    x, y, z = (torch.from_numpy((part - mean) / sd) for part in (trained, heldout, generated))
    w = fitted(z, x)
    of_heldout, of_trained = (-mixture(part, z, w).logsumexp(1).mean() / 16 for part in (y, x))
    assert METRICS["fld_gap"].measure(pair).value == pytest.approx(100 * (of_trained - of_heldout).item(), rel=1e-4)
    order = np.random.default_rng(0).permutation(200)
    centres, others = x[order[:90]], x[order[90:]]
    baseline = -mixture(y, centres, fitted(centres, others)).logsumexp(1).mean() / 16
    assert METRICS["fld"].measure(pair).value == pytest.approx(100 * (of_heldout - baseline).item(), rel=1e-4)


def test_data_copying_in_one_cell_is_the_mann_whitney_statistic():
    """Cells of 20 generated images or less are left out, so that 20 images are compared as a whole."""
    trained, heldout, generated = gaussian(100, 8), gaussian(50, 8, seed=1), gaussian(20, 8, scale=0.8, seed=2)

    def nearest(x):
        return np.sqrt(((x[:, None].astype(np.float64) - trained[None]) ** 2).sum(-1)).min(1)

    u = (nearest(generated)[:, None] > nearest(heldout)[None]).sum()
    expected = (u - (20 * 50 / 2 - 0.5)) / np.sqrt(20 * 50 * 71 / 12)
    found = METRICS["ct"].measure(compare(trained, generated, heldout=heldout)).value
    assert found == pytest.approx(expected, rel=1e-6)


def test_the_monge_distance_of_shifted_and_scaled_sets():
    """A shift by s moves every projection by s'u, whose mean square over directions is |s|^2 / D."""
    x = gaussian(500, 32)
    assert METRICS["mind"].measure(compare(x, x)).value == 0
    assert METRICS["mind"].measure(compare(x, x + np.float32(0.5))).value == pytest.approx(3 * 32 * 0.25, rel=0.15)
    scaled = METRICS["mind"].measure(compare(x, 2 * x)).value  # W2^2 of x and 2x is E (u'x)^2, which is |x|^2 / D
    assert scaled == pytest.approx(3 * (x.astype(np.float64) ** 2).sum(1).mean(), rel=0.15)
    wide = METRICS["mind"].measure(compare(np.concatenate([x, gaussian(4000, 32, seed=3)]), x)).value
    assert 0 < wide < 0.05 * scaled, "the larger set gives a subset of the smaller one's size"


# --- Odd input --------------------------------------------------------------------------------------------------------


def test_identical_sets(digits):
    found = scores(compare(digits, digits, gaussian(len(digits), 10)))
    assert found["fd"] == pytest.approx(0, abs=1e-6 * float(digits.var(0).sum()))
    assert found["kid"] < 0
    assert [found[name] for name in ("precision", "recall", "coverage", "memorised")] == [1, 1, 1, 1]


def test_constant_images():
    found = scores(compare(CONSTANT, CONSTANT, heldout=CONSTANT))
    known = {"fd": 0, "kid": 0, "mind": 0, "is": 1, "precision": 1, "recall": 1, "density": 4, "coverage": 1,
             "memorised": 0, "authpct": 0, "fld": 0, "fld_gap": 0}  # fmt: skip
    assert {name: found[name] for name in known} == pytest.approx(known, abs=1e-3)
    assert np.isfinite(list(found.values())).all()
    apart = scores(compare(CONSTANT, 3 * CONSTANT))
    assert apart["fd"] == pytest.approx(8 * 4)  # the squared distance of the means
    assert apart["kid"] == pytest.approx(8 + 1000 - 2 * 64)  # (1 + 1)^3 + (9 + 1)^3 - 2 (3 + 1)^3
    assert apart["precision"] == apart["recall"] == apart["coverage"] == 0


@pytest.mark.parametrize("wrong, words", [
    (np.full((20, 8), np.nan, np.float32), "NaN"),
    (CONSTANT[:9], "of 9 images, at least 10"),
    (CONSTANT[:1], "of 1 images"),
    (CONSTANT.astype(np.uint8), "uint8"),
    (CONSTANT[:, 0], "[20]"),
    (CONSTANT[:, :4], "features of real, "),
])  # fmt: skip
def test_what_cannot_be_measured_is_refused_in_one_line(wrong, words):
    for sides in ((wrong, CONSTANT), (CONSTANT, wrong)):
        with pytest.raises(InputError) as caught:
            compare(*sides, logits=CONSTANT)
        assert words in str(caught.value) and "\n" not in str(caught.value)


def test_a_perturbation_of_one_in_a_million_moves_nothing(digits):
    """What another batch size, device or thread count does to features must not show in a metric."""
    real, generated = digits[:900], digits[900:] + 0.3
    noise = 1 + 1e-6 * np.random.default_rng(0).standard_normal(generated.shape).astype(np.float32)
    logits = gaussian(len(generated), 10)
    before = scores(compare(real, generated, logits))
    after = scores(compare(real, generated * noise, logits * noise[:, :10]))
    assert after == pytest.approx(before, rel=1e-4)


# --- torch-fidelity, an oracle for developers (pip install torch-fidelity) --------------------------------------------


@pytest.fixture(scope="module")
def fidelity():
    return pytest.importorskip("torch_fidelity")


@pytest.mark.parametrize("n, d, tolerance", [(100, 256, 1e-4), (389, 64, 1e-6), (5000, 64, 1e-6)])
def test_distances_equal_torch_fidelity(fidelity, n, d, tolerance):
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
    from torch_fidelity.metric_kid import kid_features_to_metric
    from torch_fidelity.metric_prc import prc_features_to_metric

    real, generated = gaussian(n, d), gaussian(389, d, shift=0.05, scale=1.2, seed=1)
    found, tensors = scores(compare(real, generated)), (torch.from_numpy(generated), torch.from_numpy(real))
    fid = fid_statistics_to_metric(*map(fid_features_to_statistics, tensors), False)
    assert found["fd"] == pytest.approx(fid["frechet_inception_distance"], rel=tolerance)
    prc = prc_features_to_metric(*tensors, prc_neighborhood=3, prc_batch_size=1000, verbose=False)
    assert [found["precision"], found["recall"]] == pytest.approx([prc["precision"], prc["recall"]], abs=1e-6)
    whole = [tensor[:100].double() for tensor in tensors]  # it keeps the type it is given
    kid = kid_features_to_metric(*whole, kid_subsets=2, kid_subset_size=100, verbose=False)
    ours = METRICS["kid"].measure(compare(real[:100], generated[:100])).value
    assert ours == pytest.approx(kid["kernel_inception_distance_mean"], rel=1e-9)


def test_inception_score_equals_torch_fidelity(fidelity):
    from torch_fidelity.metric_isc import isc_features_to_metric

    logits = 5 * gaussian(503, 20)
    score = METRICS["is"].measure(compare(logits, logits, logits))
    expected = isc_features_to_metric(torch.from_numpy(logits), 10, shuffle=False)
    assert list(score) == pytest.approx([expected["inception_score_mean"], expected["inception_score_std"]], rel=1e-9)
