"""WGAN-GP with residual networks: Gulrajani et al., "Improved training of Wasserstein GANs", NeurIPS 2017.

Sizes and widths as in mimicry (Lee & Town 2020), whose scores are the reference for this model: no normalisation in the
discriminator, bilinear upsampling. Beyond its 128 px the networks grow by one half-width block at the image end.
Two of mimicry's details are not here: its ReLU, being in place, also acts on what the discriminator's shortcuts see,
and its shortcuts keep PyTorch's initialisation. Ours are as in the authors' code: a shortcut sees what the block is
given, and is Xavier-initialised.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.layers import ConditionalNorm, PlainNorm
from baselines.recipe import Recipe


def conv(before: int, after: int, size: int, gain: float = 2**0.5) -> nn.Conv2d:
    """A convolution that keeps the size, Xavier-initialised; gain sqrt(2) inside residual branches, 1 on shortcuts."""
    layer = nn.Conv2d(before, after, size, padding=size // 2)
    nn.init.xavier_uniform_(layer.weight, gain)
    return layer


def linear(before: int, after: int) -> nn.Linear:
    layer = nn.Linear(before, after)
    nn.init.xavier_uniform_(layer.weight)
    return layer


def norm(channels: int, classes: int) -> nn.Module:
    """Batch norm; with classes, gain and bias are looked up by label and begin at 1 and 0 (Dumoulin et al. 2017)."""

    def table(channels: int) -> nn.Embedding:
        return nn.Embedding(classes, channels, _weight=torch.zeros(classes, channels))

    return ConditionalNorm(channels, table) if classes else PlainNorm(channels)


def upsample(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


class GBlock(nn.Module):
    """[N, before, R, R] -> [N, after, 2R, 2R]: norm, ReLU, upsample, conv, norm, ReLU, conv, plus a 1x1 shortcut."""

    def __init__(self, before: int, after: int, classes: int):
        super().__init__()
        self.norm1, self.conv1 = norm(before, classes), conv(before, after, 3)
        self.norm2, self.conv2 = norm(after, classes), conv(after, after, 3)
        self.shortcut = conv(before, after, 1, gain=1.0)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        h = self.conv1(upsample(F.relu(self.norm1(x, y))))
        h = self.conv2(F.relu(self.norm2(h, y)))
        return h + self.shortcut(upsample(x))


class DBlock(nn.Module):
    """[N, before, R, R] -> [N, after, R, R], or R/2 when downsampling: ReLU, conv, ReLU, conv, pool, plus a shortcut.

    The first block sees images: it is as wide inside as at its end and has no ReLU before its first convolution.
    """

    def __init__(self, before: int, after: int, down: bool, first: bool = False):
        super().__init__()
        inside = after if first else before
        self.down, self.first = down, first
        self.conv1, self.conv2 = conv(before, inside, 3), conv(inside, after, 3)
        self.shortcut = conv(before, after, 1, gain=1.0) if down or before != after else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        h = x if self.first else F.relu(x)
        h = self.conv2(F.relu(self.conv1(h)))
        h = h + self.shortcut(x)
        return F.avg_pool2d(h, 2) if self.down else h


def widths(resolution: int) -> tuple[list[int], list[int]]:
    """Published channels of the generator at 4, 8, ... px, and of the discriminator after each block."""
    if resolution == 32:
        return [256] * 4, [128] * 4
    halved = [max(32, 1024 >> i) for i in range(resolution.bit_length() - 2)]
    channels = halved if resolution == 64 else [1024, *halved[:-1]]
    return channels, channels[::-1]


class Generator(nn.Module):
    """Latents z [N, latent] and, if conditional, labels y [N] -> images [N, 3, resolution, resolution] in [-1, 1]."""

    def __init__(self, resolution: int, classes: int = 0, width: float = 1.0, latent: int = 128):
        super().__init__()
        self.latent = latent
        channels = [max(1, round(width * c)) for c in widths(resolution)[0]]
        self.linear = linear(latent, 4 * 4 * channels[0])
        self.blocks = nn.ModuleList(GBlock(a, b, classes) for a, b in pairwise(channels))
        self.norm = nn.BatchNorm2d(channels[-1])
        self.to_rgb = nn.Conv2d(channels[-1], 3, 3, padding=1)

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        h = self.linear(z).view(len(z), -1, 4, 4)
        for block in self.blocks:
            h = block(h, y)
        return torch.tanh(self.to_rgb(F.relu(self.norm(h))))


class Discriminator(nn.Module):
    """Images x [N, 3, resolution, resolution] and, if conditional, labels y [N] -> logits [N].

    The label enters as a projection (Miyato & Koyama 2018): the embedding of y times the pooled features.
    """

    def __init__(self, resolution: int, classes: int = 0, width: float = 1.0):
        super().__init__()
        channels = [3, *(max(1, round(width * c)) for c in widths(resolution)[1])]
        downs = {32: 2, 64: 5}.get(resolution, resolution.bit_length() - 3)  # the last feature map has 8, 2, else 4 px
        self.blocks = nn.Sequential(*(DBlock(before, after, down=i < downs, first=i == 0)
                                      for i, (before, after) in enumerate(pairwise(channels))))
        self.linear = linear(channels[-1], 1)
        self.embed = nn.Embedding(classes, channels[-1]) if classes else None

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        h = F.relu(self.blocks(x)).mean(dim=(2, 3))
        logits = self.linear(h).squeeze(1)
        return logits if self.embed is None else logits + (self.embed(y) * h).sum(dim=1)


RECIPES = {
    "published": Recipe(
        source="Gulrajani et al. 2017, algorithm 1 and the residual networks for CIFAR-10",
        departures=(
            "The protocol's batch is 16, the source's is 64.",
            "The networks have mimicry's sizes and bilinear upsampling, and go on above 128 px, where mimicry ends.",
            "All sizes have the source's 5 discriminator steps and linear decay; mimicry's settings for 128 px, of "
            "which none is for WGAN-GP, have 2 steps on two of three sets and no decay on two of three.",
        ),
        loss="wasserstein", lr_g=2e-4, lr_d=2e-4, betas=(0.0, 0.9), d_steps=5, regularizers={"gp": 10.0}, lr_decay=True,
        channels_last=True,
    ),
}
