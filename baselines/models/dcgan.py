"""DCGAN: Radford, Metz, Chintala, "Unsupervised representation learning with deep convolutional GANs", ICLR 2016.

The paper's motivating experiment (its section 3.2). Widths as in PyTorch's DCGAN example, which halves those of the
publication: 64 channels next to the image, doubled at every halving of the size up to 512. The size sets the depth.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

from baselines.recipe import Recipe


def widths(resolution: int, width: float) -> list[int]:
    """Channels at resolution/2, resolution/4, ..., 4."""
    return [max(1, round(64 * min(8, 2**i) * width)) for i in range(resolution.bit_length() - 3)]


def initialise(module: nn.Module) -> None:
    """All weights from N(0, 0.02), section 4 of the publication; those of batch norm around 1."""
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Embedding)):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)


class Generator(nn.Module):
    """Latents z [N, latent] and, if conditional, labels y [N] -> images [N, 3, resolution, resolution] in [-1, 1].

    The label enters as an embedding beside z (Mirza & Osindero 2014).
    """

    def __init__(self, resolution: int, classes: int = 0, width: float = 1.0, latent: int = 100):
        super().__init__()
        self.latent = latent
        self.embed = nn.Embedding(classes, latent) if classes else None
        channels = widths(resolution, width)[::-1]
        inputs = 2 * latent if classes else latent
        layers = [nn.ConvTranspose2d(inputs, channels[0], 4, 1, 0, bias=False)]
        for before, after in pairwise([*channels, 3]):
            layers += [nn.BatchNorm2d(before), nn.ReLU(inplace=True)]
            layers += [nn.ConvTranspose2d(before, after, 4, 2, 1, bias=False)]
        self.main = nn.Sequential(*layers, nn.Tanh())
        self.apply(initialise)

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        if self.embed is not None:
            z = torch.cat([z, self.embed(y)], dim=1)
        return self.main(z[:, :, None, None])


class Discriminator(nn.Module):
    """Images x [N, 3, resolution, resolution] and, if conditional, labels y [N] -> logits [N].

    The label enters as one more image channel (Mirza & Osindero 2014).
    """

    joint = False  # batch norm: real and generated images go through it apart, as published

    def __init__(self, resolution: int, classes: int = 0, width: float = 1.0):
        super().__init__()
        self.resolution = resolution
        self.embed = nn.Embedding(classes, resolution * resolution) if classes else None
        channels = widths(resolution, width)
        inputs = 4 if classes else 3
        layers = [nn.Conv2d(inputs, channels[0], 4, 2, 1, bias=False), nn.LeakyReLU(0.2, inplace=True)]
        for before, after in pairwise(channels):
            layers += [nn.Conv2d(before, after, 4, 2, 1, bias=False)]
            layers += [nn.BatchNorm2d(after), nn.LeakyReLU(0.2, inplace=True)]
        self.main = nn.Sequential(*layers, nn.Conv2d(channels[-1], 1, 4, 1, 0, bias=False))
        self.apply(initialise)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        if self.embed is not None:
            x = torch.cat([x, self.embed(y).view(-1, 1, self.resolution, self.resolution)], dim=1)
        return self.main(x).flatten()


RECIPES = {
    "published": Recipe(
        source="Radford et al. 2016, section 4",
        departures=(
            "The protocol's batch is 16, the source's is 128.",
            "The networks have the widths of PyTorch's DCGAN example, half of the source's.",
        ),
        loss="logistic", lr_g=2e-4, lr_d=2e-4, betas=(0.5, 0.999),
    ),
}
