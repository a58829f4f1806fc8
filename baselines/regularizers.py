"""Regularizers, one class each: `REGULARIZERS[name]()(D, real, fake)` is a term of the discriminator's loss.

The weight is not the regularizer's business: a run gives it, as `{"gradgap": 100}`. What a regularizer remembers lives
in buffers, so that one state_dict saves it, and is changed in place, as CUDA graphs need it (reproduce/graphs.py). To
add one, write its class here and name it in REGULARIZERS.
"""

from collections.abc import Callable
from functools import cache, partial

import torch
from torch import Tensor, nn


class Scored:
    """Images and what the discriminator says of them.

    x       [N, 3, H, W] in [-1, 1], after augmentation: what the discriminator sees
    y       [N] class labels
    logits  [N]
    """

    def __init__(self, x: Tensor, y: Tensor, logits: Tensor, gradient: Callable[[], Tensor]):
        self.x, self.y, self.logits, self.gradient = x, y, logits, gradient

    def norms(self) -> Tensor:
        """|| dD/dx_i ||_2 of every image, [N]; differentiable by the discriminator's parameters."""
        return input_grad(self).norm(dim=1)


def score(D: nn.Module, real: Tensor, y_real: Tensor, fake: Tensor, y_fake: Tensor, gradient: bool = True
          ) -> tuple[Scored, Scored]:
    """One forward pass of D over real and generated images together, and one backward pass to them if one is asked for.

    A discriminator with `joint = False` (its batch statistics must not mix the two) sees them one after the other.
    """
    n = len(real)
    x, y = torch.cat([real, fake]).requires_grad_(gradient), torch.cat([y_real, y_fake])
    logits = D(x, y) if D.joint else torch.cat([D(x[:n], y[:n]), D(x[n:], y[n:])])

    @cache
    def grad() -> Tensor:
        (gradient,) = torch.autograd.grad(logits, x, torch.ones_like(logits), retain_graph=True,
                                          create_graph=torch.is_grad_enabled())
        return gradient.flatten(1)

    return (Scored(x[:n], y[:n], logits[:n], lambda: grad()[:n]),
            Scored(x[n:], y[n:], logits[n:], lambda: grad()[n:]))


def input_grad(scored: Scored) -> Tensor:
    """dD/dx of every image, [N, 3*H*W]: the one gradient that penalties differentiate and plots measure."""
    return scored.gradient()


class Regularizer(nn.Module):
    """Base of all. Called every `interval` updates of its network, at that multiple of its weight.

    forward(D, real, fake) -> scalar, a term of the discriminator's loss; or, where `of` is "G", forward(G, z, y) ->
    scalar of latents z [N, latent] and labels y [N], a term of the generator's.
    """

    of = "D"
    interval = 1
    default_weight = 1.0  # the published one, which `make compare` takes where it is given none
    sha256 = ""  # of the file, for one that is not of this project


class GradGap(Regularizer):
    """R_t^3, the paper's regularizer: the squared gap of the mean gradient norms, averaged over three updates.

        n_R(t) = mean_i || dD/dx_R,i ||     n_F(t) = mean_i || dD/dx_F,i ||
        R_t^3  = ( 1/3 sum_{k=0..2} [ n_R(t-k) - n_F(t-k) ] )^2

    A reconstruction from the words of section 3.3 (doi 10.12677/aam.2023.123139), whose equations 2 and 3 are lost. The
    square is outside the mean because the terms of t-1 and t-2 are constants: inside, they would only rescale lambda.
    t counts the updates that are penalised, every `interval`-th; the first two average over what there is.
    """

    default_weight = 100.0  # the one value that the paper states, for its Table 3

    def __init__(self, window: int = 3, interval: int = 8):
        super().__init__()
        self.interval = interval
        self.register_buffer("past", torch.zeros(window - 1))
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, D: nn.Module, real: Scored, fake: Scored) -> Tensor:
        return self.averaged(real.norms().mean() - fake.norms().mean()) ** 2

    def averaged(self, gap: Tensor) -> Tensor:
        """The mean of this update's gap and of those in the window before it, which are constants."""
        mean = (gap + self.past.sum()) / (self.seen + 1)
        self.past.copy_(torch.cat([gap.detach()[None], self.past])[: len(self.past)])
        self.seen.add_(1).clamp_(max=len(self.past))
        return mean


class GradientPenalty(Regularizer):
    """Gradient norms of 1 between real and generated images: Gulrajani et al., NeurIPS 2017, equation 3.

    mean_i ( || dD/dx_i || - 1 )^2 at x_i drawn uniformly from the line between a real and a generated image.
    """

    default_weight = 10.0

    def forward(self, D: nn.Module, real: Scored, fake: Scored) -> Tensor:
        t = torch.rand(len(real.x), 1, 1, 1, device=real.x.device, dtype=real.x.dtype)
        x = torch.lerp(fake.x.detach(), real.x.detach(), t).requires_grad_()
        (gradient,) = torch.autograd.grad(D(x, real.y).sum(), x, create_graph=True)
        return ((gradient.flatten(1).norm(dim=1) - 1) ** 2).mean()


class R1(Regularizer):
    """Zero gradients on real images: Mescheder et al., ICML 2018, equation 9; its weight is their gamma.

    1/2 mean_i || dD/dx_R,i ||^2, every 16 updates as in StyleGAN2 (Karras et al. 2020, section 3.1).
    """

    default_weight = 10.0  # of the paper and of StyleGAN2's configuration F
    interval = 16

    def forward(self, D: nn.Module, real: Scored, fake: Scored) -> Tensor:
        return real.norms().square().mean() / 2


class Roth(Regularizer):
    """Zero gradients on real and generated images: Roth et al., NeurIPS 2017; its weight is their gamma.

    1/2 ( mean_i (1 - p_R,i)^2 || dD/dx_R,i ||^2 + mean_i p_F,i^2 || dD/dx_F,i ||^2 ), p = sigmoid(D(x)).
    """

    default_weight = 2.0  # of its code

    def forward(self, D: nn.Module, real: Scored, fake: Scored) -> Tensor:
        on_real = (torch.sigmoid(-real.logits) * real.norms()).square().mean()
        return (on_real + (torch.sigmoid(fake.logits) * fake.norms()).square().mean()) / 2


class DigGAN(Regularizer):
    """The gap of the gradient norms, pair by pair: Fang et al., NeurIPS 2022.

    mean_i ( || dD/dx_R,i || - || dD/dx_F,i || )^2
    """

    default_weight = 1000.0  # of its code for CIFAR-100 at 100 %; 5,000 at 20 %, 10,000 at 10 %

    def forward(self, D: nn.Module, real: Scored, fake: Scored) -> Tensor:
        return (real.norms() - fake.norms()).square().mean()


class LeCam(Regularizer):
    """Scores near the moving average of the other side's: Tseng et al., CVPR 2021.

    mean_i (D(x_R,i) - a_F)^2 + mean_i (D(x_F,i) - a_R)^2 with a_R, a_F moving averages of the scores, decay 0.99.
    """

    default_weight = 0.3  # of its code for BigGAN; 3e-7 for StyleGAN2

    def __init__(self, decay: float = 0.99):
        super().__init__()
        self.decay = decay
        self.register_buffer("sums", torch.zeros(2))  # of scores on real and on generated images
        self.register_buffer("weight", torch.zeros(()))  # what the sums' weights add up to: 1 - decay^t

    def forward(self, D: nn.Module, real: Scored, fake: Scored) -> Tensor:
        now = torch.stack([real.logits.detach().mean(), fake.logits.detach().mean()])
        self.sums.lerp_(now, 1 - self.decay)
        self.weight.lerp_(torch.ones_like(self.weight), 1 - self.decay)
        average_real, average_fake = self.sums / self.weight
        return (real.logits - average_fake).square().mean() + (fake.logits - average_real).square().mean()


class Consistency(Regularizer):
    """CR, the same score for an image and its augmentation T: Zhang et al., ICLR 2020.

    mean_i ( D(x_R,i) - D(T(x_R,i)) )^2 with T a shift by up to an eighth of the image, mirrored at the border.
    """

    default_weight = 10.0

    def forward(self, D: nn.Module, real: Scored, fake: Scored) -> Tensor:
        x = real.x.detach()
        reach = x.shape[-1] // 8
        rows, columns = (self._shifted(x, reach) for _ in range(2))
        n = torch.arange(len(x), device=x.device)[:, None, None]
        moved = x.permute(0, 2, 3, 1)[n, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
        return (real.logits - D(moved, real.y)).square().mean()

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

    def forward(self, G: nn.Module, z: Tensor, y: Tensor) -> Tensor:
        half = (len(z) + 1) // 2
        ws = G.mapping(z[:half], y[:half])
        images = G.synthesis(ws)
        noise = torch.randn_like(images) / (images.shape[2] * images.shape[3]) ** 0.5
        (gradient,) = torch.autograd.grad((images * noise).sum(), ws, create_graph=True)  # [N, layers, style]
        lengths = gradient.square().sum(dim=2).mean(dim=1).sqrt()
        mean = self.mean.lerp(lengths.mean(), 0.01)
        self.mean.copy_(mean.detach())
        return (lengths - mean).square().mean()


REGULARIZERS = {
    "gradgap": GradGap,
    "gradgap_exact": partial(GradGap, interval=1),
    "diggan": DigGAN,
    "gp": GradientPenalty,
    "r1": R1,
    "roth": Roth,
    "lecam": LeCam,
    "cr": Consistency,
    "path_length": PathLength,
}
