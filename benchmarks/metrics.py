"""What a generator is judged by: pure functions of stored features of real and generated images.

All metrics come from one pass through a feature network. A new metric is a function here and its line in METRICS.
Those of distributions are summed in float64, so that values hold to 1e-6 whatever the batch size, the device and the
version of SciPy. Those of neighbourhoods count images by float32 distances: one more or less is 1 / N.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from benchmarks.runs import MINIMUM, InputError

SPLITS = 10  # of the Inception Score, as in Salimans et al. 2016
SUBSETS, SUBSET = 100, 1000  # of KID: how many, and how many images in each at most
POOL = 5000  # images of each set that KID draws its subsets from
NEAREST = 5  # neighbours kept of every real image


class Features(NamedTuple):
    """What a network said of N images: features [N, D] and logits [N, K], float32."""

    features: np.ndarray
    logits: np.ndarray


class Score(NamedTuple):
    """A value, and its standard deviation where the metric has one of its own (over splits or subsets)."""

    value: float
    sd: float | None = None


class Comparison:
    """Generated images against real ones, with what several metrics share worked out once.

    real     features of N real images [N, D]
    train    [N] bool, which of them the generator was trained on; all by default
    nearest  neighbours(real), where that is known already
    device   where to compute
    """

    def __init__(self, real: np.ndarray, generated: Features, train: np.ndarray | None = None,
                 nearest: np.ndarray | None = None, device: str | torch.device = "cpu"):
        self.real = _valid(real, "real").to(device)
        self.generated = _valid(generated.features, "generated").to(device)
        self.logits = _valid(generated.logits, "generated").to(device)
        if self.real.shape[1] != self.generated.shape[1]:
            raise InputError(f"{self.real.shape[1]} features of real, {self.generated.shape[1]} of generated images")
        self.train = torch.from_numpy(np.ones(len(real), bool) if train is None else train).to(device)
        self.known_nearest = None if nearest is None else torch.from_numpy(nearest).to(device)

    @cached_property
    def nearest(self) -> Tensor:
        return neighbours(self.real) if self.known_nearest is None else self.known_nearest

    @cached_property
    def overlap(self) -> "Overlap":
        return overlap(self.real, self.generated, self.train, self.nearest)


def _valid(array: np.ndarray, name: str) -> Tensor:
    """The array, where it can be measured. Raises InputError for too few images, a wrong shape or type, NaN."""
    if array.ndim != 2 or array.dtype.kind != "f":
        raise InputError(f"{name} features: {array.dtype} {list(array.shape)}, must be float [images, features]")
    if len(array) < MINIMUM:
        raise InputError(f"{name} features: of {len(array)} images, at least {MINIMUM} are needed")
    if not np.isfinite(array).all():
        raise InputError(f"{name} features: NaN or infinity among them")
    return torch.from_numpy(array).float()


# --- Distances between distributions ----------------------------------------------------------------------------------


def frechet_distance(pair: Comparison) -> Score:
    """||m_r - m_g||^2 + Tr(C_r + C_g - 2 (C_r C_g)^(1/2)): Heusel et al. 2017, section 3.

    With factors C_r = A'A and C_g = B'B the last trace is the nuclear norm of A B'. The centred features are such
    factors; when both sets outnumber the features, their triangular parts (A = QR) are smaller ones. Unlike the square
    root of a product of covariances this keeps its digits when there are fewer images than features.
    """
    (m_r, A), (m_g, B) = _gaussian(pair.real), _gaussian(pair.generated)
    if min(len(A), len(B)) > A.shape[1]:
        A, B = (torch.linalg.qr(factor, mode="r").R for factor in (A, B))
    trace = torch.linalg.svdvals(A @ B.T).sum()
    value = (m_r - m_g).square().sum() + A.square().sum() + B.square().sum() - 2 * trace
    return Score(max(value.item(), 0.0))


def _gaussian(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean [D] and a factor A [N, D] of the unbiased covariance, A'A = C; float64."""
    mean = features.double().mean(0)
    return mean, (features.double() - mean) / (len(features) - 1) ** 0.5


def kernel_distance(pair: Comparison, seed: int = 0) -> Score:
    """Unbiased MMD^2 with the kernel (x'y / D + 1)^3, over subsets: Binkowski et al. 2018, section 4.

    A subset's sums are s'K s with s its 0/1 indicator, so each kernel matrix is worked out once for all subsets.
    """
    rng = np.random.default_rng(seed)
    real, generated = (f[torch.from_numpy(rng.permutation(len(f))[:POOL])] for f in (pair.real, pair.generated))
    m = min(len(real), len(generated), SUBSET)
    r, g = (_indicators(len(f), m, rng).to(f.device) for f in (real, generated))
    within = _kernel_sums(real, real, r, r) + _kernel_sums(generated, generated, g, g)
    within -= sum(s.double() @ _kernel(f, f, diagonal=True) for s, f in ((r, real), (g, generated)))
    values = within / (m * (m - 1)) - 2 * _kernel_sums(real, generated, r, g) / m**2
    return Score(values.mean().item(), values.std(correction=0).item())


def _indicators(n: int, m: int, rng: np.random.Generator) -> Tensor:
    """SUBSETS draws of m out of n without replacement, as rows of zeros and ones [SUBSETS, n]."""
    return torch.from_numpy(np.argsort(rng.random((SUBSETS, n)), axis=1) < m).double()


def _kernel(x: Tensor, y: Tensor, diagonal: bool = False) -> Tensor:
    product = (x.double() * y).sum(1) if diagonal else x.double() @ y.double().T
    return (product / x.shape[1] + 1) ** 3


def _kernel_sums(x: Tensor, y: Tensor, in_x: Tensor, in_y: Tensor, rows: int = 1024) -> Tensor:
    """Sum of the kernel over each pair of subsets, [SUBSETS]."""
    starts = range(0, len(x), rows)
    return sum(((in_x[:, i : i + rows] @ _kernel(x[i : i + rows], y)) * in_y).sum(1) for i in starts)


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
    """

    balls3: Tensor
    balls5: Tensor
    recalled: Tensor
    covered: Tensor
    to_train: Tensor


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
        d = _distances(x, generated)
        in3, in5 = d <= near[:, 2:3], d <= near[:, 4:5]
        to_train = d.masked_fill(~trained[:, None], torch.inf).amin(0)
        parts.append(Overlap(in3.sum(0), in5.sum(0), (d <= radius).any(1), in5.any(1), to_train))
    balls3, balls5, recalled, covered, to_train = zip(*parts, strict=True)
    return Overlap(sum(balls3), sum(balls5), torch.cat(recalled), torch.cat(covered), torch.stack(to_train).amin(0))


def _distances(x: Tensor, y: Tensor) -> Tensor:
    """Euclidean distances [N, M]; the features should be centred, which keeps the digits of short distances."""
    squares = x.square().sum(1)[:, None] + y.square().sum(1) - 2 * x @ y.T
    return squares.clamp_min_(0).sqrt_()


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
    own = pair.nearest if pair.train.all() else neighbours(pair.real[pair.train])
    return Score((pair.overlap.to_train < own[:, 0].quantile(0.05)).double().mean().item())


@dataclass(frozen=True)
class Metric:
    better: str  # "lower" or "higher"
    measure: Callable[[Comparison], Score]
    of_classes: bool = False  # whether it is of class scores, which not every extractor has


METRICS = {
    "fd": Metric("lower", frechet_distance),
    "kid": Metric("lower", kernel_distance),
    "is": Metric("higher", inception_score, of_classes=True),
    "precision": Metric("higher", precision),
    "recall": Metric("higher", recall),
    "density": Metric("higher", density),
    "coverage": Metric("higher", coverage),
    "memorised": Metric("lower", memorised),
}
