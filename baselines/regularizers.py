"""Regularizers, one class each: `REGULARIZERS[name]()(D, real, fake)` is a term of the discriminator's loss.

The weight is not the regularizer's business: a run gives it, as `{"gradgap": 100}`. What a regularizer remembers lives
in buffers, so that one state_dict saves it, and is changed in place, as CUDA graphs need it (reproduce/graphs.py). To
add one, write its class here and name it in REGULARIZERS.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from baselines.layers import noise_like
from baselines.scoring import Drawer, Scored, Scorer


class Training(NamedTuple):
    """What a regularizer may have to know of the training that it is a part of.

    batch       images of each kind in an update
    d_steps     discriminator updates of an iteration
    iterations  generator updates of the whole training
    """

    batch: int
    d_steps: int
    iterations: int


class Regularizer(nn.Module):
    """Base of all. A lazy one runs every `interval` updates of its network, weighted by `interval`.

    forward(D, real, fake) -> scalar, a term of the discriminator's loss; D is a Scorer, real and fake are Scored. Where
    `of` is "G", forward(G, z, y) -> scalar, a term of the generator's; G is a Drawer, z [N, latent] and y [N].
    """

    of = "D"
    interval = 1
    first_step_only = False  # whether it runs only in the first discriminator update of an iteration, as DigGAN's code
    starts_after = 0  # iterations at the beginning in which its value is 0
    uses_gradients = True  # whether it reads dD/dx of `real` and `fake`, which takes a backward pass
    default_weight = 1.0  # the published one, which `make compare` takes where it is given none
    sha256 = ""  # of the file, for one that is not of this project

    def begin(self, training: Training) -> None:
        """Make what depends on the training; called once, before a checkpoint is loaded."""


class GradGap(Regularizer):
    """R_t^3, the paper's regularizer: the squared gap of the mean gradient norms, averaged over three updates.

        n_R(t) = mean_i || dD/dx_R,i ||     n_F(t) = mean_i || dD/dx_F,i ||
        R_t^3  = ( 1/3 sum_{k=0..2} [ n_R(t-k) - n_F(t-k) ] )^2

    A reconstruction from the words of section 3.3 (doi 10.12677/aam.2023.123139), whose equations 2 and 3 are lost. The
    square is outside the mean because the terms of t-1 and t-2 are constants: inside, they would only rescale lambda.
    Before the first update the gap is taken to have been the first one, so that the gradient of every update, the first
    ones included, has the same factor 1/window.

    The other arguments are what the lost equations might have said instead, and the cheap form:

    window    updates in the average, this one included
    interval  updates between two that are penalised, at `interval` times the weight; t then counts these
    measure   what is taken of the averaged gap: torch.square or torch.abs
    pairs     whether the gap is taken of each pair of a batch, slot by slot, and the measure averaged over the pairs
    """

    default_weight = 100.0  # the one value that the paper states, for its Table 3

    def __init__(self, window: int = 3, interval: int = 1, measure: Callable[[Tensor], Tensor] = torch.square,
                 pairs: bool = False):
        super().__init__()
        self.window, self.interval, self.measure, self.pairs = window, interval, measure, pairs
        self.register_buffer("past", torch.zeros(window - 1))
        self.register_buffer("begun", torch.zeros((), dtype=torch.bool))

    def begin(self, training: Training) -> None:
        if self.pairs:
            self.past = self.past.new_zeros(self.window - 1, training.batch)

    def forward(self, D: Scorer, real: Scored, fake: Scored) -> Tensor:
        if self.pairs:
            return self.measure(self.averaged(real.norms() - fake.norms())).mean()
        return self.measure(self.averaged(real.norms().mean() - fake.norms().mean()))

    def averaged(self, gap: Tensor) -> Tensor:
        """The mean of this update's gap ([] or [N]) and of those in the window before it, which are constants."""
        now = gap.detach()
        past = torch.where(self.begun, self.past, now)  # a row for each update, the last one first
        self.past.copy_(torch.cat([now[None], past])[: self.window - 1])
        self.begun.fill_(True)
        return (gap + past.sum(dim=0)) / self.window


class GradientPenalty(Regularizer):
    """Gradient norms of 1 between real and generated images: Gulrajani et al., NeurIPS 2017, equation 3.

    mean_i ( || dD/dx_i || - 1 )^2 at x_i drawn uniformly from the line between a real and a generated image.
    """

    default_weight = 10.0
    uses_gradients = False

    def forward(self, D: Scorer, real: Scored, fake: Scored) -> Tensor:
        t = torch.rand(len(real.x), 1, 1, 1, device=real.x.device, dtype=real.x.dtype)
        between = D(torch.lerp(fake.x, real.x, t), real.y)
        return ((between.norms() - 1) ** 2).mean()


class R1(Regularizer):
    """Zero gradients on real images: Mescheder et al., ICML 2018, equation 9; its weight is their gamma.

    1/2 mean_i || dD/dx_R,i ||^2, every 16 updates as in StyleGAN2 (Karras et al. 2020, section 3.1).
    """

    default_weight = 10.0  # of the paper and of StyleGAN2's configuration F
    interval = 16

    def forward(self, D: Scorer, real: Scored, fake: Scored) -> Tensor:
        return real.norms().square().mean() / 2


class Roth(Regularizer):
    """Zero gradients on real and generated images: Roth et al., NeurIPS 2017; its weight is their gamma.

    1/2 ( mean_i (1 - p_R,i)^2 || dD/dx_R,i ||^2 + mean_i p_F,i^2 || dD/dx_F,i ||^2 ), p = sigmoid(D(x)).

    final  what is left of the weight at the end of the training, to which it falls exponentially: 0.01 where its code
           anneals, then from gamma = 2; 1 where it is constant, then gamma = 0.1
    """

    default_weight = 0.1

    def __init__(self, final: float = 1.0):
        super().__init__()
        self.final, self.total = final, 1
        self.register_buffer("updates", torch.zeros(()))

    def begin(self, training: Training) -> None:
        self.total = training.iterations * training.d_steps

    def forward(self, D: Scorer, real: Scored, fake: Scored) -> Tensor:
        on_real = (torch.sigmoid(-real.logits) * real.norms()).square().mean()
        on_fake = (torch.sigmoid(fake.logits) * fake.norms()).square().mean()
        left = self.final ** (self.updates / self.total)
        self.updates += 1
        return left * (on_real + on_fake) / 2


class RothAnnealed(Roth):
    """Roth with gamma = 2 at first, annealed to 1 % of it."""

    default_weight = 2.0

    def __init__(self):
        super().__init__(final=0.01)


class DigGAN(Regularizer):
    """The gap of the gradient norms, pair by pair: Fang et al., NeurIPS 2022, in the form of its code for BigGAN.

    mean_i ( m_R,i - m_F,i )^2 with m_i(t) = 1/2 || dD/dx_i || + 1/2 m_i(t-1), slot i of one batch with slot i of the
    last penalised one, whose m is a constant; only the first discriminator update of an iteration is penalised.
    """

    default_weight = 1000.0  # of its code for CIFAR-100 at 100 %; 5,000 at 20 %, 10,000 at 10 %
    first_step_only = True

    def __init__(self):
        super().__init__()
        self.register_buffer("past", torch.zeros(1))
        self.register_buffer("begun", torch.zeros((), dtype=torch.bool))

    def begin(self, training: Training) -> None:
        self.past = self.past.new_zeros(training.batch)

    def forward(self, D: Scorer, real: Scored, fake: Scored) -> Tensor:
        gap = real.norms() - fake.norms()
        share = 1 - 0.5 * self.begun  # of this batch: 1/2 as soon as there is another one
        mixed = share * gap + (1 - share) * self.past
        self.past.copy_(mixed.detach())
        self.begun.fill_(True)
        return mixed.square().mean()


class LeCam(Regularizer):
    """Scores near the moving average of the other side's: Tseng et al., CVPR 2021, in the form of its code for BigGAN.

    mean_i relu(D(x_R,i) - a_F)^2 + mean_i relu(a_R - D(x_F,i))^2 with a_R, a_F moving averages of the scores, this
    update's included. In the first 1,000 iterations they are this update's means, and the term is 0.

    decay  of the moving averages
    """

    default_weight = 0.3  # of its code for BigGAN on CIFAR
    uses_gradients = False
    starts_after = 1000

    def __init__(self, decay: float = 0.9):
        super().__init__()
        self.decay, self.silent = decay, self.starts_after
        self.register_buffer("averages", torch.zeros(2))  # of scores on real and on generated images
        self.register_buffer("updates", torch.zeros(()))

    def begin(self, training: Training) -> None:
        self.silent = self.starts_after * training.d_steps

    def forward(self, D: Scorer, real: Scored, fake: Scored) -> Tensor:
        self.move_averages(torch.stack([real.logits.detach().mean(), fake.logits.detach().mean()]))
        a_real, a_fake = self.averages.clone()
        above = torch.relu(real.logits - a_fake).square().mean()
        below = torch.relu(a_real - fake.logits).square().mean()
        return (self.updates > self.silent) * (above + below)

    def move_averages(self, means: Tensor) -> None:
        self.updates += 1
        warm = self.updates > self.silent
        self.averages.copy_(torch.where(warm, torch.lerp(means, self.averages, self.decay), means))


class LeCamStyleGAN2(LeCam):
    """LeCam in the form of its code for StyleGAN2: from the first update on, decay 0.99, the averages without bias.

    Moving averages that start at 0 are divided by 1 - decay^t.
    """

    default_weight = 3e-7  # of its code; up to 1e-6 for some sets
    starts_after = 0

    def __init__(self):
        super().__init__(decay=0.99)
        self.register_buffer("sums", torch.zeros(2))

    def move_averages(self, means: Tensor) -> None:
        self.updates += 1
        self.sums.lerp_(means, 1 - self.decay)
        self.averages.copy_(self.sums / (1 - self.decay**self.updates))


class Consistency(Regularizer):
    """CR, the same score for an image and its augmentation T: Zhang et al., ICLR 2020.

    mean_i ( D(x_R,i) - D(T(x_R,i)) )^2 with T a shift by up to an eighth of the image, reflected at the border, and a
    horizontal flip of every second image, at random.
    """

    default_weight = 10.0
    uses_gradients = False

    def forward(self, D: Scorer, real: Scored, fake: Scored) -> Tensor:
        x = real.x
        reach = x.shape[-1] // 8
        rows, columns = (self._shifted(x, reach) for _ in range(2))
        flipped = torch.rand(len(x), 1, device=x.device) < 0.5
        columns = torch.where(flipped, columns.flip(1), columns)
        n = torch.arange(len(x), device=x.device)[:, None, None]
        moved = x.permute(0, 2, 3, 1)[n, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
        return (real.logits - D(moved, real.y, gradient=False).logits).square().mean()

    @staticmethod
    def _shifted(x: Tensor, reach: int) -> Tensor:
        """Coordinates 0..size-1 moved by up to `reach` for each image, folded back at the borders; [N, size]."""
        size = x.shape[-1]
        shift = torch.randint(-reach, reach + 1, (len(x), 1), device=x.device)
        return size - 1 - (size - 1 - (torch.arange(size, device=x.device) + shift).abs()).abs()


class PathLength(Regularizer):
    """Of G, steps in style space that change the image by a constant amount: Karras et al., CVPR 2020, equation 4.

    mean_i ( || J_w^T noise ||_2 - a )^2 with a the moving average of the lengths, on half of the batch.
    """

    of = "G"
    default_weight = 2.0  # of StyleGAN2's code
    interval = 4

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(()))

    def forward(self, G: Drawer, z: Tensor, y: Tensor) -> Tensor:
        half = (len(z) + 1) // 2
        lengths = G.per_image(self._lengths, G.network.mapping(z[:half], y[:half]))
        mean = self.mean.lerp(lengths.mean(), 0.01)
        self.mean.copy_(mean.detach())
        return (lengths - mean).square().mean()

    @staticmethod
    def _lengths(synthesis: nn.Module, ws: Tensor) -> Tensor:
        """|| J_w^T noise ||_2 of each image, [N], from the styles ws [N, layers, style]."""
        create_graph = torch.is_grad_enabled()
        with torch.enable_grad():
            if not create_graph:
                ws = ws.detach().requires_grad_()
            images = synthesis(ws)
            noise = noise_like(images) / (images.shape[2] * images.shape[3]) ** 0.5
            (gradient,) = torch.autograd.grad((images * noise).sum(), ws, create_graph=create_graph)
            return gradient.square().sum(dim=2).mean(dim=1).sqrt()


REGULARIZERS = {
    "gradgap": GradGap,
    "gradgap_lazy": partial(GradGap, interval=8),
    "gradgap_abs": partial(GradGap, measure=torch.abs),
    "gradgap_pairs": partial(GradGap, pairs=True),
    "gradgap_single": partial(GradGap, window=1),
    "diggan": DigGAN,
    "gp": GradientPenalty,
    "r1": R1,
    "roth": Roth,
    "roth_annealed": RothAnnealed,
    "lecam": LeCam,
    "lecam_stylegan2": LeCamStyleGAN2,
    "cr": Consistency,
    "path_length": PathLength,
}
