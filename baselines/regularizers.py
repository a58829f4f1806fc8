"""Regularizers, one class each: `REGULARIZERS[name]()(D, real, fake)` is a term of the discriminator's loss.

The weight is not the regularizer's business: a run gives it, as `{"gradgap": 100}`. What a regularizer remembers lives
in buffers, so that one state_dict saves it, and is changed in place, as CUDA graphs need it (reproduce/graphs.py). To
add one, write its class here and name it in REGULARIZERS.
"""

from functools import partial

import torch
from torch import Tensor, nn

from baselines.layers import noise_like
from baselines.scoring import Drawer, Scored, Scorer


class Regularizer(nn.Module):
    """Base of all. A lazy one runs every `interval` updates of its network, weighted by `interval`.

    forward(D, real, fake) -> scalar, a term of the discriminator's loss; D is a Scorer, real and fake are Scored. Where
    `of` is "G", forward(G, z, y) -> scalar, a term of the generator's; G is a Drawer, z [N, latent] and y [N].
    """

    of = "D"
    interval = 1
    uses_gradients = True  # whether it reads dD/dx of `real` and `fake`, which takes a backward pass
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

    def forward(self, D: Scorer, real: Scored, fake: Scored) -> Tensor:
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
    """

    default_weight = 2.0  # of its code

    def forward(self, D: Scorer, real: Scored, fake: Scored) -> Tensor:
        on_real = (torch.sigmoid(-real.logits) * real.norms()).square().mean()
        return (on_real + (torch.sigmoid(fake.logits) * fake.norms()).square().mean()) / 2


class DigGAN(Regularizer):
    """The gap of the gradient norms, pair by pair: Fang et al., NeurIPS 2022.

    mean_i ( || dD/dx_R,i || - || dD/dx_F,i || )^2
    """

    default_weight = 1000.0  # of its code for CIFAR-100 at 100 %; 5,000 at 20 %, 10,000 at 10 %

    def forward(self, D: Scorer, real: Scored, fake: Scored) -> Tensor:
        return (real.norms() - fake.norms()).square().mean()


class LeCam(Regularizer):
    """Scores near the moving average of the other side's: Tseng et al., CVPR 2021.

    mean_i (D(x_R,i) - a_F)^2 + mean_i (D(x_F,i) - a_R)^2 with a_R, a_F moving averages of the scores, decay 0.99.
    """

    default_weight = 0.3  # of its code for BigGAN; 3e-7 for StyleGAN2
    uses_gradients = False

    def __init__(self, decay: float = 0.99):
        super().__init__()
        self.decay = decay
        self.register_buffer("sums", torch.zeros(2))  # of scores on real and on generated images
        self.register_buffer("weight", torch.zeros(()))  # what the sums' weights add up to: 1 - decay^t

    def forward(self, D: Scorer, real: Scored, fake: Scored) -> Tensor:
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
    uses_gradients = False

    def forward(self, D: Scorer, real: Scored, fake: Scored) -> Tensor:
        x = real.x
        reach = x.shape[-1] // 8
        rows, columns = (self._shifted(x, reach) for _ in range(2))
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
            ws = ws if ws.requires_grad else ws.detach().requires_grad_()
            images = synthesis(ws)
            noise = noise_like(images) / (images.shape[2] * images.shape[3]) ** 0.5
            (gradient,) = torch.autograd.grad((images * noise).sum(), ws, create_graph=create_graph)
            return gradient.square().sum(dim=2).mean(dim=1).sqrt()


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
