"""BigGAN: Brock, Donahue, Simonyan, "Large scale GAN training for high fidelity natural image synthesis", ICLR 2019.

Residual networks with spectral norm in both; the class steers the generator through its batch norms and the
discriminator through a projection (Miyato & Koyama 2018). Two published forms are recipes: a small one for CIFAR, as
DiffAugment trains it, and the one for ImageNet with a shared class embedding, a piece of z at every block
("hierarchical") and self-attention. Without classes the norms are conditioned on z alone, or plain where z is not
hierarchical either, and the projection falls away.
"""

from collections.abc import Callable
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from baselines.layers import ConditionalNorm, PlainNorm
from baselines.recipe import Recipe

# Channels in units of `channels`, by resolution: between the generator's blocks, from 4x4 on, and after each of the
# discriminator's blocks. 32 to 256 px as in the authors' PyTorch code; 512 px as in appendix B; 1024 px continues them.
G_CHANNELS = {
    32: (4, 4, 4, 4),
    64: (16, 16, 8, 4, 2),
    128: (16, 16, 8, 4, 2, 1),
    256: (16, 16, 8, 8, 4, 2, 1),
    512: (16, 16, 8, 8, 4, 2, 1, 1),
    1024: (16, 16, 8, 8, 4, 2, 1, 1, 1),
}
D_CHANNELS = {
    32: (4, 4, 4, 4),
    64: (1, 2, 4, 8, 16),
    128: (1, 2, 4, 8, 16, 16),
    256: (1, 2, 4, 8, 8, 16, 16),
    512: (1, 1, 2, 4, 8, 8, 16, 16),
    1024: (1, 1, 1, 2, 4, 8, 8, 16, 16),
}
# Latent size by resolution of the hierarchical form, a piece of equal size for the input and for every block:
# 120, 140 and 128 as published; 1024 px keeps the pieces of 512 px, and 32 and 64 px the size of 128 px.
HIERARCHICAL_LATENT = {32: 120, 64: 120, 128: 120, 256: 140, 512: 128, 1024: 144}
EMBEDDING = 128  # size of the shared class embedding

INITIALISATIONS = {"normal": partial(nn.init.normal_, std=0.02), "orthogonal": nn.init.orthogonal_}


# Layers ---------------------------------------------------------------------------------------------------------------


def initialise(network: nn.Module, init: str, normalised: tuple[type[nn.Module], ...], eps: float) -> None:
    """Draw all weights, and put those of the layers of the types `normalised` under spectral norm.

    Spectral norm (Miyato et al. 2018) divides a weight by its largest singular value, by one step of power iteration
    in every forward pass in training mode.
    """
    for layer in list(network.modules()):
        if isinstance(layer, (nn.Conv2d, nn.Linear, nn.Embedding)):
            INITIALISATIONS[init](layer.weight)
        if isinstance(layer, normalised):
            spectral_norm(layer, eps=eps)


class Attention(nn.Module):
    """Self-attention over all pixels (Zhang et al. 2019), keys and values at half resolution; the identity at first."""

    def __init__(self, channels: int):
        super().__init__()
        inner, value = max(1, channels // 8), max(1, channels // 2)
        self.query, self.key = nn.Conv2d(channels, inner, 1, bias=False), nn.Conv2d(channels, inner, 1, bias=False)
        self.value, self.out = nn.Conv2d(channels, value, 1, bias=False), nn.Conv2d(value, channels, 1, bias=False)
        self.gate = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> the same shape."""
        query = self.query(x).flatten(2)  # [N, C/8, HW]
        key, value = (F.max_pool2d(f(x), 2).flatten(2) for f in (self.key, self.value))  # [N, C/8 or C/2, HW/4]
        weights = torch.softmax(query.transpose(1, 2) @ key, dim=2)  # [N, HW, HW/4]
        seen = (value @ weights.transpose(1, 2)).unflatten(2, x.shape[2:])  # [N, C/2, H, W]
        return torch.addcmul(x, self.gate, self.out(seen))


# Generator ------------------------------------------------------------------------------------------------------------


class GeneratorBlock(nn.Module):
    """Residual block that doubles the resolution (Figure 15b)."""

    def __init__(self, inputs: int, outputs: int, norm: Callable[[int], nn.Module], attention: bool):
        super().__init__()
        self.norm1, self.norm2 = norm(inputs), norm(outputs)
        self.conv1, self.conv2 = nn.Conv2d(inputs, outputs, 3, padding=1), nn.Conv2d(outputs, outputs, 3, padding=1)
        self.skip = nn.Conv2d(inputs, outputs, 1)
        self.attention = Attention(outputs) if attention else nn.Identity()

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """x [N, inputs, H, W] -> [N, outputs, 2H, 2W]."""
        h = upsample(F.relu(self.norm1(x, condition)))
        h = F.relu(self.norm2(self.conv1(h), condition))
        return self.attention(self.conv2(h) + self.skip(upsample(x)))


upsample = partial(F.interpolate, scale_factor=2, mode="nearest")


class Generator(nn.Module):
    """Latents z [N, latent] and labels y [N] -> images [N, 3, resolution, resolution] in [-1, 1].

    width         multiplies the channels, which are multiples of `channels`
    latent        size of z; that of the hierarchical form depends on the resolution
    hierarchical  whether a piece of z enters at every block, beside a class embedding that all norms share
    attention     resolution with self-attention, 0 for none
    init          key of INITIALISATIONS
    sn_eps        guards the norms of power iteration
    """

    def __init__(self, resolution: int, classes: int = 0, width: float = 1.0, channels: int = 64, latent: int = 128,
                 hierarchical: bool = False, attention: int = 0, init: str = "normal", sn_eps: float = 1e-8):
        super().__init__()
        sizes = [max(1, round(channels * width)) * factor for factor in G_CHANNELS[resolution]]
        self.latent = HIERARCHICAL_LATENT[resolution] if hierarchical else latent
        self.piece = self.latent // len(sizes) if hierarchical else self.latent
        self.embed = nn.Embedding(classes, EMBEDDING) if hierarchical and classes else None
        norm = _norm(classes)
        if hierarchical:
            embedding = EMBEDDING if classes else 0
            norm = _norm(classes, self.piece + embedding)
        self.linear = nn.Linear(self.piece, sizes[0] * 4 * 4)
        self.blocks = nn.ModuleList(GeneratorBlock(i, o, norm, attention=attention == 8 * 2**n)
                                    for n, (i, o) in enumerate(pairwise(sizes)))
        self.norm = nn.BatchNorm2d(sizes[-1])
        self.to_rgb = nn.Conv2d(sizes[-1], 3, 3, padding=1)
        initialise(self, init, (nn.Conv2d, nn.Linear), sn_eps)  # not the embeddings, as published

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        z, *pieces = z.split(self.piece, dim=1)
        x = self.linear(z).unflatten(1, (-1, 4, 4))
        for block, condition in zip(self.blocks, self._conditions(pieces, y), strict=True):
            x = block(x, condition)
        return torch.tanh(self.to_rgb(F.relu(self.norm(x))))

    def _conditions(self, pieces: list[Tensor], y: Tensor) -> list[Tensor]:
        """The condition of each block's norms: the label, or a piece of z with the shared class embedding, if any."""
        if not pieces:
            return [y] * len(self.blocks)
        if self.embed is None:
            return pieces
        return [torch.cat([self.embed(y), piece], dim=1) for piece in pieces]


def _norm(classes: int, condition: int = 0) -> Callable[[int], nn.Module]:
    """A function of channels that makes a norm: conditioned on vectors of that size, or classes, or nothing."""
    if condition:
        return partial(ConditionalNorm, table=partial(nn.Linear, condition, bias=False))
    if classes:
        return partial(ConditionalNorm, table=partial(nn.Embedding, classes))
    return PlainNorm


# Discriminator --------------------------------------------------------------------------------------------------------


class DiscriminatorBlock(nn.Module):
    """Residual block (Figure 15c) that halves the resolution if `down`. The `first` block sees an image: no ReLU."""

    def __init__(self, inputs: int, outputs: int, first: bool, down: bool, attention: bool):
        super().__init__()
        self.first = first
        self.conv1, self.conv2 = nn.Conv2d(inputs, outputs, 3, padding=1), nn.Conv2d(outputs, outputs, 3, padding=1)
        self.skip = nn.Conv2d(inputs, outputs, 1) if down or inputs != outputs else nn.Identity()
        self.pool = nn.AvgPool2d(2) if down else nn.Identity()
        self.attention = Attention(outputs) if attention else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """[N, inputs, H, W] -> [N, outputs, H/2, W/2], or H and W as they were."""
        h = x if self.first else F.relu(x)
        h = self.conv2(F.relu(self.conv1(h)))
        # pooling and the 1x1 convolution commute; an image is cheaper to pool first, as published
        x = self.skip(self.pool(x)) if self.first else self.pool(self.skip(x))
        return self.attention(self.pool(h) + x)


class Discriminator(nn.Module):
    """Images x [N, 3, resolution, resolution] and labels y [N] -> logits [N]. Arguments as of the generator."""

    def __init__(self, resolution: int, classes: int = 0, width: float = 1.0, channels: int = 64, attention: int = 0,
                 init: str = "normal", sn_eps: float = 1e-8):
        super().__init__()
        sizes = [3, *(max(1, round(channels * width)) * factor for factor in D_CHANNELS[resolution])]
        halvings = 2 if resolution == 32 else len(sizes) - 2  # down to 8x8 and 4x4
        self.blocks = nn.ModuleList(
            DiscriminatorBlock(i, o, first=n == 0, down=n < halvings, attention=attention == resolution // 2 ** (n + 1))
            for n, (i, o) in enumerate(pairwise(sizes)))
        self.linear = nn.Linear(sizes[-1], 1)
        self.embed = nn.Embedding(classes, sizes[-1]) if classes else None
        initialise(self, init, (nn.Conv2d, nn.Linear, nn.Embedding), sn_eps)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        h = F.relu(x).sum(dim=(2, 3))  # [N, C]
        logits = self.linear(h).squeeze(1)
        if self.embed is None:
            return logits
        return logits + (self.embed(y) * h).sum(dim=1)  # Miyato & Koyama 2018, equation 3


# Recipes --------------------------------------------------------------------------------------------------------------

_CIFAR = {"width": 1.0, "channels": 64, "attention": 0, "init": "normal", "sn_eps": 1e-8}
_IMAGENET = {"width": 1.0, "channels": 96, "attention": 64, "init": "orthogonal", "sn_eps": 1e-6}

RECIPES = {
    "cifar": Recipe(
        source="Zhao et al. 2020 (DiffAugment), arXiv 2006.10738, BigGAN on CIFAR",
        departures=(
            "The protocol's batch is 16, the source's is 50.",
            "The source is for 32 px; the networks for 64 px have the channels of BigGAN's ImageNet form.",
            "Images to be measured are drawn with standing statistics in batch norm, in the source with their batch's.",
        ),
        resolutions=(32, 64), loss="hinge", lr_g=2e-4, lr_d=2e-4, betas=(0.0, 0.999), d_steps=4,
        ema_decay=0.9999, ema_start=1000, conditional=True, flip=True, channels_last=True,
        generator=_CIFAR | {"latent": 128, "hierarchical": False}, discriminator=_CIFAR,
    ),
    "imagenet": Recipe(
        source="Brock et al. 2019 in the authors' PyTorch code, launch_BigGAN_bs256x8.sh",
        departures=(
            "The protocol's batch is 16, the source's is 256, accumulated 8 times.",
            "The source is for 128 px; 512 px follows appendix B of the publication, 1024 px continues it.",
        ),
        resolutions=(128, 256, 512, 1024), loss="hinge", lr_g=1e-4, lr_d=4e-4, betas=(0.0, 0.999), eps=1e-6,
        ema_decay=0.9999, ema_start=20_000, conditional=True, channels_last=True,
        generator=_IMAGENET | {"hierarchical": True}, discriminator=_IMAGENET,
    ),
}
