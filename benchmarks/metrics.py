"""The metrics of generators: pure functions of stored features of real and generated images.

All metrics come from one pass through a feature network. A new metric is a function here and its line in METRICS.
Those of distributions are summed in float64, so that values hold to 1e-6 whatever the batch size, the device and the
version of SciPy. Those of neighbourhoods count images by float32 distances: one more or less is 1 / N.

Metrics of held-out images tell a generator that copies its training images from one that has learned them. They need
real images that it was not trained on, and are left out where there are none.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.runs import MINIMUM, InputError

SPLITS = 10  # of the Inception Score, as in Salimans et al. 2016
SUBSETS, SUBSET = 100, 1000  # of KID: how many, and how many images in each at most
POOL = 5000  # images of each set that KID draws its subsets from
NEAREST = 5  # neighbours kept of every real image
DIRECTIONS = 1000  # that MIND projects features on


class Features(NamedTuple):
    """The outputs of a feature network for N images: features [N, D] and logits [N, K], float32."""

    features: np.ndarray
    logits: np.ndarray


class Score(NamedTuple):
    """A value, and its standard deviation where the metric has one of its own (over splits or subsets)."""

    value: float
    sd: float | None = None


class Reference(NamedTuple):
    """N real images, with what is worked out once for all that is compared with them.

    features  [N, D] float32
    nearest   neighbours(features) [N, NEAREST]
    mean      of the features [D] float64
    factor    of their unbiased covariance C = factor' factor [min(N, D), D] float64
    """

    features: np.ndarray
    nearest: np.ndarray
    mean: np.ndarray
    factor: np.ndarray

    @classmethod
    def of(cls, features: np.ndarray, device: str | torch.device = "cpu") -> "Reference":
        """Real images by their features [N, D]. Raises InputError where nothing can be compared with them."""
        real = _valid(features, "real").to(device)
        mean, factor = _gaussian(real)
        return cls(features, neighbours(real).cpu().numpy(), mean.cpu().numpy(), factor.cpu().numpy())


class Comparison:
    """Generated images against real ones, with what several metrics share worked out once.

    real     the N real images
    train    [N] bool, which of them the generator was trained on; all by default
    heldout  features [H, D] of real images that it was not trained on, or None; they may be among the N
    device   where to compute
    """

    def __init__(self, real: Reference, generated: Features, train: np.ndarray | None = None,
                 heldout: np.ndarray | None = None, device: str | torch.device = "cpu"):
        self.device = device
        self.real = self._features(real.features, "real")
        self.nearest = torch.from_numpy(real.nearest).to(device)
        self.mean = torch.from_numpy(real.mean).to(device)
        self.factor = torch.from_numpy(real.factor).to(device)
        self.generated = self._features(generated.features, "generated")
        self.logits = self._features(generated.logits, "generated")
        _require_as_many(self.real, self.generated, "generated")
        self.heldout = None
        if heldout is not None:
            self.heldout = self._features(heldout, "held-out")
            _require_as_many(self.real, self.heldout, "held-out")
        if train is None:
            train = np.ones(len(self.real), bool)
        self.train = torch.from_numpy(train).to(device)

    def _features(self, array: np.ndarray, name: str) -> Tensor:
        return _valid(array, name).to(self.device)

    @cached_property
    def trained(self) -> Tensor:
        """Features of the training images [T, D]."""
        if self.train.all():
            return self.real
        return self.real[self.train]

    @cached_property
    def spacing(self) -> Tensor:
        """Distance of each training image to the nearest other training image [T]."""
        nearest = self.nearest
        if not self.train.all():
            nearest = neighbours(self.trained)
        return nearest[:, 0]

    @cached_property
    def overlap(self) -> "Overlap":
        return overlap(self.real, self.generated, self.train, self.nearest)

    @cached_property
    def standardized(self) -> tuple[Tensor, Tensor, Tensor]:
        """Training, held-out and generated features, scaled to mean 0 and variance 1 over the held-out images."""
        mean, sd = self.heldout.mean(0), self.heldout.std(0)
        sd = torch.where(sd > 0, sd, 1)
        return (self.trained - mean) / sd, (self.heldout - mean) / sd, (self.generated - mean) / sd

    @cached_property
    def widths(self) -> Tensor:
        """widths() of Gaussians at the generated images for the training images."""
        trained, _, generated = self.standardized
        return widths(generated, trained)


def _valid(array: np.ndarray, name: str) -> Tensor:
    """The array, where it can be measured. Raises InputError for too few images, a wrong shape or type, NaN."""
    if array.ndim != 2 or array.dtype.kind != "f":
        raise InputError(f"{name} features: {array.dtype} {list(array.shape)}, must be float [images, features]")
    if len(array) < MINIMUM:
        raise InputError(f"{name} features: of {len(array)} images, at least {MINIMUM} are needed")
    if not np.isfinite(array).all():
        raise InputError(f"{name} features: NaN or infinity among them")
    return torch.from_numpy(array).float()


def _require_as_many(real: Tensor, other: Tensor, name: str) -> None:
    if real.shape[1] != other.shape[1]:
        raise InputError(f"{real.shape[1]} features of real, {other.shape[1]} of {name} images")


# --- Distances between distributions ----------------------------------------------------------------------------------


def frechet_distance(pair: Comparison) -> Score:
    """||m_r - m_g||^2 + Tr(C_r + C_g - 2 (C_r C_g)^(1/2)): Heusel et al. 2017, section 3.

    With factors C_r = A'A and C_g = B'B the last trace is the nuclear norm of A B'. The centred features are such
    factors; where images outnumber features, their triangular part (A = QR) is a smaller one. Unlike the square root
    of a product of covariances this keeps its digits when there are fewer images than features.
    """
    m_r, A = pair.mean, pair.factor
    m_g, B = _gaussian(pair.generated)
    trace = torch.linalg.svdvals(A @ B.T).sum()
    value = (m_r - m_g).square().sum() + A.square().sum() + B.square().sum() - 2 * trace
    return Score(max(value.item(), 0.0))


def _gaussian(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean [D] and a factor A [min(N, D), D] of the unbiased covariance, A'A = C; float64."""
    mean = features.double().mean(0)
    A = (features.double() - mean) / (len(features) - 1) ** 0.5
    if len(A) > A.shape[1]:
        A = torch.linalg.qr(A, mode="r").R
    return mean, A


def kernel_distance(pair: Comparison, seed: int = 0) -> Score:
    """Unbiased MMD^2 with the kernel (x'y / D + 1)^3, over subsets: Binkowski et al. 2018, section 4.

    A subset's sums are s'K s with s its 0/1 indicator, so each kernel matrix is worked out once for all subsets.
    """
    rng = np.random.default_rng(seed)
    real = _pool(pair.real, rng)
    generated = _pool(pair.generated, rng)
    m = min(len(real), len(generated), SUBSET)
    r = _indicators(len(real), m, rng).to(real.device)
    g = _indicators(len(generated), m, rng).to(real.device)
    within = _kernel_sums(real, real, r, r) + _kernel_sums(generated, generated, g, g)
    within -= r @ _kernel_of_itself(real) + g @ _kernel_of_itself(generated)
    values = within / (m * (m - 1)) - 2 * _kernel_sums(real, generated, r, g) / m**2
    return Score(values.mean().item(), values.std(correction=0).item())


def _pool(features: Tensor, rng: np.random.Generator) -> Tensor:
    """At most POOL rows in a random order."""
    return features[torch.from_numpy(rng.permutation(len(features))[:POOL])]


def _indicators(n: int, m: int, rng: np.random.Generator) -> Tensor:
    """SUBSETS draws of m out of n without replacement, as rows of zeros and ones [SUBSETS, n]."""
    return torch.from_numpy(np.argsort(rng.random((SUBSETS, n)), axis=1) < m).double()


def _kernel(x: Tensor, y: Tensor) -> Tensor:
    """The kernel of each row of x with each row of y [N, M]."""
    return (x.double() @ y.double().T / x.shape[1] + 1) ** 3


def _kernel_of_itself(x: Tensor) -> Tensor:
    """The kernel of each row with itself [N]."""
    return ((x.double() * x).sum(1) / x.shape[1] + 1) ** 3


def _kernel_sums(x: Tensor, y: Tensor, in_x: Tensor, in_y: Tensor, rows: int = 1024) -> Tensor:
    """Sum of the kernel over each pair of subsets, [SUBSETS]."""
    sums = 0
    for i in range(0, len(x), rows):
        sums += ((in_x[:, i : i + rows] @ _kernel(x[i : i + rows], y)) * in_y).sum(1)
    return sums


def monge_distance(pair: Comparison, seed: int = 0) -> Score:
    """MIND, 3 D times the mean over directions of the squared 2-Wasserstein distance of the projected features.

    Berthet et al. 2026, "MIND: Monge Inception Distance for Generative Models Evaluation". A set that is larger than
    the other gives a random subset of the other's size; in one dimension, sorting is the optimal transport.
    """
    rng = np.random.default_rng(seed)
    n, D = min(len(pair.real), len(pair.generated)), pair.real.shape[1]
    directions = _directions(D, rng).to(pair.device)
    real = _some(pair.real, n, rng).double() @ directions
    generated = _some(pair.generated, n, rng).double() @ directions
    transport = real.sort(0).values - generated.sort(0).values
    return Score(3 * D * transport.square().mean().item())


def _directions(D: int, rng: np.random.Generator) -> Tensor:
    """Random unit vectors [D, DIRECTIONS]."""
    vectors = torch.from_numpy(rng.standard_normal((D, DIRECTIONS)))
    return vectors / vectors.norm(dim=0)


def _some(features: Tensor, n: int, rng: np.random.Generator) -> Tensor:
    """A random subset of n rows; all of them, in their order, if there are no more."""
    if len(features) == n:
        return features
    return features[torch.from_numpy(rng.permutation(len(features))[:n])]


# --- Class scores -----------------------------------------------------------------------------------------------------


def inception_score(pair: Comparison) -> Score:
    """exp of the mean KL divergence of p(y|x) from p(y), over SPLITS parts: Salimans et al. 2016, section 4."""
    n, values = len(pair.logits), []
    for i in range(SPLITS):
        log_p = pair.logits[i * n // SPLITS : (i + 1) * n // SPLITS].double().log_softmax(1)
        log_marginal = log_p.logsumexp(0) - np.log(len(log_p))
        values.append((log_p.exp() * (log_p - log_marginal)).sum(1).mean().exp())
    values = torch.stack(values)
    return Score(values.mean().item(), values.std(correction=0).item())


# --- Neighbourhoods ---------------------------------------------------------------------------------------------------


class Overlap(NamedTuple):
    """How N real and M generated images lie among each other. Balls reach to an image's k-th nearest of its own kind.

    balls3, balls5  [M] how many real balls of k = 3 and of k = 5 hold a generated image
    recalled        [N] whether a generated ball of k = 3 holds a real image
    covered         [N] whether a real ball of k = 5 holds any generated image
    to_train        [M] distance of a generated image to the nearest training image
    which           [M] place of that image among the training images
    """

    balls3: Tensor
    balls5: Tensor
    recalled: Tensor
    covered: Tensor
    to_train: Tensor
    which: Tensor


def neighbours(x: Tensor, rows: int = 1024) -> Tensor:
    """Distances of each of N images to its NEAREST nearest others, ascending: [N, NEAREST]."""
    x = x - x.mean(0)
    nearest = []
    for i in range(0, len(x), rows):
        distances = _distances(x[i : i + rows], x)
        distances[:, i:].fill_diagonal_(torch.inf)  # not to itself
        nearest.append(distances.topk(NEAREST, largest=False).values)
    return torch.cat(nearest)


def overlap(real: Tensor, generated: Tensor, train: Tensor, nearest: Tensor, rows: int = 1024) -> Overlap:
    """Overlap of real [N, D] and generated [M, D]; train [N] bool, nearest = neighbours(real)."""
    real, generated = real - real.mean(0), generated - real.mean(0)
    radius = neighbours(generated)[:, 2]
    parts = []
    for x, trained, near in zip(real.split(rows), train.split(rows), nearest.split(rows), strict=True):
        parts.append(_overlap_of_rows(x, trained, near, generated, radius))
    balls3, balls5, recalled, covered, to_train, which = zip(*parts, strict=True)
    closest = torch.stack(to_train).min(0)
    place = torch.stack(which).gather(0, closest.indices[None])[0] + closest.indices * rows  # among all real images
    which = (train.cumsum(0) - 1)[place]
    return Overlap(sum(balls3), sum(balls5), torch.cat(recalled), torch.cat(covered), closest.values, which)


def _overlap_of_rows(x: Tensor, trained: Tensor, near: Tensor, generated: Tensor, radius: Tensor) -> Overlap:
    """The same of some real images x alone; `which` counts all of them, and radius [M] is that of generated balls."""
    d = _distances(x, generated)
    in3, in5 = d <= near[:, 2:3], d <= near[:, 4:5]
    closest = d.masked_fill(~trained[:, None], torch.inf).min(0)
    return Overlap(in3.sum(0), in5.sum(0), (d <= radius).any(1), in5.any(1), closest.values, closest.indices)


def _distances(x: Tensor, y: Tensor) -> Tensor:
    """Euclidean distances [N, M]; the features should be centred, which keeps the digits of short distances."""
    return _squares(x, y).sqrt_()


def _squares(x: Tensor, y: Tensor) -> Tensor:
    squares = x.square().sum(1)[:, None] + y.square().sum(1) - 2 * x @ y.T
    return squares.clamp_min_(0)


def precision(pair: Comparison) -> Score:
    """Share of generated images within a real ball, k = 3: Kynkaanniemi et al. 2019, equation 1."""
    return Score((pair.overlap.balls3 > 0).double().mean().item())


def recall(pair: Comparison) -> Score:
    """Share of real images within a generated ball, k = 3: Kynkaanniemi et al. 2019, equation 1."""
    return Score(pair.overlap.recalled.double().mean().item())


def density(pair: Comparison) -> Score:
    """Real balls that hold a generated image, on average, over k = 5: Naeem et al. 2020, equation 4. May exceed 1."""
    return Score(pair.overlap.balls5.double().mean().item() / NEAREST)


def coverage(pair: Comparison) -> Score:
    """Share of real balls, k = 5, that hold a generated image: Naeem et al. 2020, equation 5."""
    return Score(pair.overlap.covered.double().mean().item())


def memorised(pair: Comparison) -> Score:
    """Share of generated images closer to a training image than 95 % of training images are to their nearest other.

    About 0.05 for new images of the same distribution, 1 for copies. FID against few images rewards copies, so read
    the two together.
    """
    return Score((pair.overlap.to_train < pair.spacing.quantile(0.05)).double().mean().item())


def authenticity(pair: Comparison) -> Score:
    """AuthPct: percent of generated images farther from the nearest training image than that is from its nearest other.

    Alaa et al. 2022, "How Faithful is your Synthetic Data?", section 4, as a score for images by Stein et al. 2023.
    About 50 for new images of the same distribution, 0 for copies.
    """
    return Score(100 * (pair.overlap.to_train > pair.spacing[pair.overlap.which]).double().mean().item())


# --- Against held-out images ------------------------------------------------------------------------------------------


def feature_likelihood(pair: Comparison) -> Score:
    """FLD: how much worse held-out images are coded by Gaussians at generated images than by ones at training images.

    Jiralerspong et al. 2023, "Feature Likelihood Divergence" (arXiv 2302.04440). Isotropic Gaussians are centred at the
    generated images and their widths fitted to the training images; the baseline has its centres at one half of the
    training images and is fitted to the other half. 100 times the difference in nats a feature. Generated copies of
    training images get narrow Gaussians, which code all other images badly.
    """
    trained, heldout, generated = pair.standardized
    order = torch.from_numpy(np.random.default_rng(0).permutation(len(trained))).to(pair.device)
    half = min(len(generated), len(trained) // 2)
    centres, others = trained[order[:half]], trained[order[half:]]
    baseline = nats(heldout, centres, widths(centres, others))
    return Score(100 * (nats(heldout, generated, pair.widths) - baseline).item())


def generalisation_gap(pair: Comparison) -> Score:
    """FLD of the training images less FLD of the held-out ones: near 0, or far below where training images are copied.

    Jiralerspong et al. 2023, section 4.2, with the sign of the authors' code.
    """
    trained, heldout, generated = pair.standardized
    return Score(100 * (nats(trained, generated, pair.widths) - nats(heldout, generated, pair.widths)).item())


def widths(centres: Tensor, x: Tensor, steps: int = 50, batch: int = 10_000) -> Tensor:
    """log sigma^2 [M] of isotropic Gaussians at centres [M, D] that give images x [N, D] a high likelihood.

    As in the authors' code: Adam at rate 0.5 from the squared distance to the nearest image, until the loss has moved
    by less than 5e-4 over five steps; one Gaussian more, at a tenth of the way from each image to the mean, keeps
    images that are far from all centres from deciding. The gradient is written out: autograd takes twice the time.
    """
    M, D = centres.shape
    squares = _squares_to_centres_and_mean(_shuffled(x), centres)
    share = F.pad(squares.new_full((M,), -np.log(M)), (0, 1))  # the logarithm of each Gaussian's share
    w = F.pad(((squares[:, :M].amin(0) + 1e-3) / D).log(), (0, 1))
    adam, losses = torch.optim.Adam([w], lr=0.5), []
    for _ in range(steps):
        parts = []
        for d in squares.split(batch):
            loss, w.grad = _fit(d, w, share, D)
            adam.step()
            w[:M].clamp_(-40, 40)
            parts.append(loss.item())
        losses.append(np.mean(parts))
        if _at_rest(losses):
            break
    return w[:M]


def _shuffled(x: Tensor) -> Tensor:
    """The rows in a random order, always the same."""
    return x[torch.from_numpy(np.random.default_rng(0).permutation(len(x))).to(x.device)]


def _squares_to_centres_and_mean(x: Tensor, centres: Tensor) -> Tensor:
    """Squared distances [N, M + 1] of images to the centres and to a point on the way to the images' mean."""
    to_centres = [_squares(part, centres) for part in x.split(1024)]
    to_mean = 0.9**2 * (x - x.mean(0)).square().sum(1, keepdim=True)
    return torch.cat([torch.cat(to_centres), to_mean], 1)


def _at_rest(losses: list[float]) -> bool:
    """Whether the last loss is within 5e-4 of each of the four before it."""
    last = losses[-1]
    return len(losses) > 6 and all(abs(loss - last) < 5e-4 for loss in losses[-5:])


def _fit(d: Tensor, w: Tensor, share: Tensor, D: int) -> tuple[Tensor, Tensor]:
    """Nats a feature of images at squared distances d [n, M], and the gradient with respect to the log widths w [M]."""
    precision = torch.exp(-w)
    logs = d * (-0.5 * precision) + (share - D / 2 * (w + np.log(2 * np.pi)))
    total = logs.logsumexp(1, keepdim=True)
    weight = logs.sub_(total).exp_()  # of each Gaussian in what an image gets
    mass = weight.sum(0)
    gradient = (D / 2 * mass - 0.5 * precision * weight.mul_(d).sum(0)) / (len(d) * D)
    return -total.mean() / D, gradient


def nats(x: Tensor, centres: Tensor, w: Tensor) -> Tensor:
    """Mean negative log-likelihood, per feature, of images x [N, D] under Gaussians of log widths w [M]."""
    (M, D), parts = centres.shape, []
    for part in x.split(1024):
        logs = _squares(part, centres) * (-0.5 * torch.exp(-w)) - D / 2 * (w + np.log(2 * np.pi)) - np.log(M)
        parts.append(-logs.logsumexp(1).double() / D)
    return torch.cat(parts).mean()


CELLS, COMPONENTS = 3, 64  # of C_T, as in Stein et al. 2023


def data_copying(pair: Comparison) -> Score:
    """C_T: whether generated images lie nearer to training images than held-out ones do; far below 0 they are copies.

    Meehan et al. 2020, "A Non-Parametric Test to Detect Data-Copying in Generative Models", section 4, as Stein et al.
    2023 run it: 64 principal components and 3 cells by k-means, both of the training images; in each cell the
    Mann-Whitney statistic of the distances to the nearest training image as a z-score; cells weighted by held-out
    images, and left out below 20 generated ones. With no cell left, all images are one cell.
    """
    from sklearn.cluster import KMeans  # here, as below: it takes a second to load, and no other metric needs it

    mean, axes = _principal(pair.trained)
    trained, heldout, generated = [
        ((x.double() - mean) @ axes).cpu().numpy() for x in (pair.trained, pair.heldout, pair.generated)]  # fmt: skip
    means = KMeans(CELLS, n_init=10, random_state=0).fit(trained)
    own, of_heldout, of_generated = means.labels_, means.predict(heldout), means.predict(generated)
    scores, weights = [], []
    for cell in range(CELLS):
        inside = trained[own == cell], heldout[of_heldout == cell], generated[of_generated == cell]
        if len(inside[1]) and len(inside[2]) > 20:
            scores.append(_nearness(*inside))
            weights.append(len(inside[1]))
    if not scores:
        return Score(_nearness(trained, heldout, generated))
    return Score(float(np.average(scores, weights=weights)))


def _principal(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean [D] and first principal components [D, COMPONENTS] of images."""
    mean, factor = _gaussian(x)
    return mean, torch.linalg.svd(factor, full_matrices=False).Vh[:COMPONENTS].T


def _nearness(trained: np.ndarray, heldout: np.ndarray, generated: np.ndarray) -> float:
    """z-score of the Mann-Whitney statistic of the distances to training images: below 0, generated ones are nearer."""
    from scipy.stats import mannwhitneyu
    from sklearn.neighbors import NearestNeighbors

    tree = NearestNeighbors(n_neighbors=1).fit(trained)
    of_generated = tree.kneighbors(generated)[0][:, 0]
    of_heldout = tree.kneighbors(heldout)[0][:, 0]
    m, n = len(generated), len(heldout)
    u = mannwhitneyu(of_generated, of_heldout).statistic
    return float((u - (n * m / 2 - 0.5)) / np.sqrt(n * m * (n + m + 1) / 12))


@dataclass(frozen=True)
class Metric:
    """How a score reads and is worked out.

    better      "lower" or "higher"
    measure     the score of a comparison
    of_classes  whether it is of class scores, which not every extractor has
    of_heldout  whether it needs held-out images, which not every run has
    of_training whether it tells of the images that were trained on, whatever else the reference is
    """

    better: str
    measure: Callable[[Comparison], Score]
    of_classes: bool = False
    of_heldout: bool = False
    of_training: bool = False


METRICS = {
    "fd": Metric("lower", frechet_distance),
    "kid": Metric("lower", kernel_distance),
    "mind": Metric("lower", monge_distance),
    "is": Metric("higher", inception_score, of_classes=True),
    "precision": Metric("higher", precision),
    "recall": Metric("higher", recall),
    "density": Metric("higher", density),
    "coverage": Metric("higher", coverage),
    "memorised": Metric("lower", memorised, of_training=True),
    "authpct": Metric("higher", authenticity, of_training=True),
    "fld": Metric("lower", feature_likelihood, of_heldout=True, of_training=True),
    "fld_gap": Metric("higher", generalisation_gap, of_heldout=True, of_training=True),
    "ct": Metric("higher", data_copying, of_heldout=True, of_training=True),
}
