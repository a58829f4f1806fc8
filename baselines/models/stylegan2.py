"""StyleGAN2 (Karras et al. 2020, arXiv 1912.04958) with the class conditioning and recipes of its ADA release
(Karras et al. 2020, arXiv 2006.06676).

A latent z becomes a style w by the mapping network. The synthesis network draws from a learned 4x4 constant: the style
scales the input channels of every convolution, whose output is scaled back to unit variance, and images of all
resolutions add up ("skip"). The discriminator is residual. Equations are those of arXiv 1912.04958.

Everything is made of differentiable PyTorch operations, so gradients of gradients exist. Per-sample weights are never
built: scaling the input and the output of one shared convolution is equal to them and takes less time and memory.
"""

from contextlib import nullcontext
from itertools import pairwise
from math import log2, sqrt

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional as F

from baselines.layers import noise_like
from baselines.recipe import Recipe

FIR = (1.0, 3.0, 3.0, 1.0)  # low-pass filter of every resampling, along each axis
GAIN = sqrt(2)  # leaky ReLU of slope 0.2 halves the variance, about; layers that feed one make up for it


# Layers ---------------------------------------------------------------------------------------------------------------


def leaky_relu(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.2, inplace=True)


def unit(x: Tensor) -> Tensor:
    """Vectors [N, C] scaled to mean square 1."""
    return x * (x.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()


class Linear(nn.Module):
    """Linear layer with equalized learning rate (Karras et al. 2018, arXiv 1710.10196, section 4.1).

    The weights are N(0, 1) and scaled where they are used, so that Adam moves all layers at the same relative speed,
    times `lr_multiplier`.
    """

    def __init__(self, inputs: int, outputs: int, bias: float = 0.0, gain: float = 1.0, lr_multiplier: float = 1.0):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / lr_multiplier)
        self.bias = nn.Parameter(torch.full((outputs,), bias))
        self.scale, self.bias_scale = gain * lr_multiplier / sqrt(inputs), gain * lr_multiplier

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x * self.scale, self.weight, self.bias * self.bias_scale)


class Conv(nn.Module):
    """Convolution with equalized learning rate: [N, inputs, H, W] -> [N, outputs, H, W], or half of H and W.

    Halving applies the low-pass filter first and then convolves with stride 2.
    """

    def __init__(self, inputs: int, outputs: int, size: int, bias: bool = True, gain: float = GAIN, down: bool = False):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, size, size))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None
        self.gain, self.scale, self.padding = gain, gain / sqrt(inputs * size**2), size // 2
        self.lowpass = LowPass() if down else None

    def forward(self, x: Tensor) -> Tensor:
        weight = (self.weight * self.scale).to(x.dtype)
        bias = None if self.bias is None else (self.bias * self.gain).to(x.dtype)
        if self.lowpass is None:
            return F.conv2d(x, weight, bias, padding=self.padding)
        if self.padding == 0:
            return F.conv2d(self.lowpass(x, padding=1, stride=2), weight, bias)
        return F.conv2d(self.lowpass(x, padding=2), weight, bias, stride=2)


class Filter(Function):
    """Images [N, C, H, W] through one constant filter, by `stride`; or its adjoint, to images of `size`.

    The derivative is the adjoint, and of that the filter. PyTorch's second derivative of a convolution also works out
    the gradient of the filter, which nobody wants: channel by channel, as thousands of small convolutions.
    """

    @staticmethod
    def forward(ctx, x: Tensor, kernel: Tensor, stride: int, padding: int, size: torch.Size | None) -> Tensor:
        ctx.save_for_backward(kernel)
        ctx.how = stride, padding, x.shape[2:] if size is None else None
        weight = kernel.to(x.dtype).expand(x.shape[1], 1, -1, -1)
        how = {"stride": stride, "padding": padding, "groups": x.shape[1]}
        with nullcontext() if x.is_meta else torch.autocast(x.device.type, enabled=False):  # an image stays float32
            if size is None:
                return F.conv2d(x, weight, **how)
            rest = [n - (m - 1) * stride + 2 * padding - k
                    for n, m, k in zip(size, x.shape[2:], kernel.shape, strict=True)]
            return F.conv_transpose2d(x, weight, output_padding=rest, **how)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return Filter.apply(gradient, *ctx.saved_tensors, *ctx.how), None, None, None, None


class LowPass(nn.Module):
    """Channel-wise convolution with FIR x FIR of sum `gain`, zeros around the image."""

    def __init__(self, gain: float = 1.0):
        super().__init__()
        taps = torch.tensor(FIR) / sum(FIR)
        self.register_buffer("kernel", gain * torch.outer(taps, taps), persistent=False)  # [4, 4]

    def forward(self, x: Tensor, padding: int, stride: int = 1) -> Tensor:
        return Filter.apply(x, self.kernel, stride, padding, None)

    def upsample(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C, 2H, 2W]: zeros between the pixels, then the filter (gain 4 keeps the mean)."""
        return Filter.apply(x, self.kernel, 2, 1, torch.Size(2 * n for n in x.shape[2:]))


class StyledConv(nn.Module):
    """One layer of the synthesis network: convolution with modulated and demodulated weights, noise, bias, leaky ReLU.

    Equation 1: w'_ijk = s_i w_ijk. Equation 3: w''_ijk = w'_ijk / sqrt(sum_ik w'_ijk^2 + 1e-8).
    As s_i scales input channels and the root output channels, conv(x, w'') = d * conv(s * x, w), d = 1 / root.
    """

    def __init__(self, inputs: int, outputs: int, style: int, up: bool = False):
        super().__init__()
        self.affine = Linear(style, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 3, 3))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.noise_strength = nn.Parameter(torch.zeros(()))
        self.lowpass = LowPass(gain=4) if up else None

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """x [N, inputs, H, W], w [N, style] -> [N, outputs, H, W], or twice H and W."""
        s = self.affine(w)
        d = (s.square() @ self.weight.square().sum(dim=(2, 3)).T + 1e-8).rsqrt() * GAIN
        x = self._convolve(x * _channels(s, x), self.weight.to(x.dtype))
        noise = noise_like(x[:, :1].to(self.weight.dtype)) * (self.noise_strength * GAIN)  # in any precision the same
        return leaky_relu(torch.addcmul(_channels(self.bias * GAIN, x), x, _channels(d, x)).add_(noise.to(x.dtype)))

    def _convolve(self, x: Tensor, weight: Tensor) -> Tensor:
        if self.lowpass is None:
            return F.conv2d(x, weight, padding=1)
        return self.lowpass(F.conv_transpose2d(x, weight.transpose(0, 1), stride=2), padding=1)


class ToRGB(nn.Module):
    """1x1 convolution to an image, modulated but not demodulated."""

    def __init__(self, inputs: int, style: int):
        super().__init__()
        self.affine = Linear(style, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(3, inputs))
        self.bias = nn.Parameter(torch.zeros(3))

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """x [N, inputs, H, W], w [N, style] -> [N, 3, H, W]."""
        weight = self.weight * self.affine(w)[:, None] / sqrt(self.weight.shape[1])  # [N, 3, inputs]
        return torch.einsum("noi,nihw->nohw", weight.to(x.dtype), x).to(weight.dtype) + self.bias[:, None, None]


def _channels(values: Tensor, x: Tensor) -> Tensor:
    """One value per channel, [C] or [N, C], so shaped and typed that it meets x [N, C, H, W]."""
    return values[..., None, None].to(x.dtype)


def minibatch_stddev(x: Tensor, group: int) -> Tensor:
    """Append to x [N, C, H, W] a channel with the mean standard deviation within each group of samples.

    Groups are `group` consecutive samples (Karras et al. 2018, arXiv 1710.10196, section 3). `group` must divide the
    batch of either kind of image: then no group of the joint batch mixes real and generated ones.
    """
    n, _, h, w = x.shape
    variance = x.unflatten(0, (-1, group)).var(dim=1, correction=0)  # [N / group, C, H, W]
    stddev = (variance + 1e-8).sqrt().mean(dim=(1, 2, 3)).repeat_interleave(group)  # [N]
    return torch.cat([x, stddev[:, None, None, None].expand(n, 1, h, w)], dim=1)


# Generator ------------------------------------------------------------------------------------------------------------


class Mapping(nn.Module):
    """Latents and classes to styles; learning rate 0.01 of the other layers'. `latent` = 0 maps classes alone."""

    def __init__(self, latent: int, classes: int, style: int, layers: int):
        super().__init__()
        self.classes = classes
        self.embed = Linear(classes, style) if classes else None
        widths = [latent + (style if classes else 0)] + [style] * layers
        self.layers = nn.ModuleList(
            Linear(i, o, gain=GAIN, lr_multiplier=0.01) for i, o in pairwise(widths))

    def forward(self, z: Tensor | None, y: Tensor) -> Tensor:
        """z [N, latent] or None, y [N] -> [N, style]."""
        inputs = [] if z is None else [unit(z)]
        if self.embed is not None:
            inputs.append(unit(self.embed(F.one_hot(y, self.classes).to(self.embed.weight.dtype))))
        x = torch.cat(inputs, dim=1)
        for layer in self.layers:
            x = leaky_relu(layer(x))
        return x


class SynthesisBlock(nn.Module):
    """Doubles the resolution and adds what it draws there to the image."""

    def __init__(self, inputs: int, outputs: int, style: int):
        super().__init__()
        self.up = StyledConv(inputs, outputs, style, up=True)
        self.conv = StyledConv(outputs, outputs, style)
        self.to_rgb = ToRGB(outputs, style)
        self.lowpass = LowPass(gain=4)

    def forward(self, x: Tensor, image: Tensor, ws: Tensor) -> tuple[Tensor, Tensor]:
        """x [N, inputs, H, W], image [N, 3, H, W], ws [N, 3, style] -> the same at 2H, 2W."""
        x = self.up(x, ws[:, 0])
        x = self.conv(x, ws[:, 1])
        return x, self.lowpass.upsample(image) + self.to_rgb(x, ws[:, 2])


class Synthesis(nn.Module):
    """Styles ws [N, layers, style] to images; to_rgb of a block and the first layer of the next share a style."""

    def __init__(self, channels: list[int], style: int):
        super().__init__()
        self.const = nn.Parameter(torch.randn(channels[0], 4, 4))
        self.conv = StyledConv(channels[0], channels[0], style)
        self.to_rgb = ToRGB(channels[0], style)
        self.blocks = nn.ModuleList(SynthesisBlock(i, o, style) for i, o in pairwise(channels))

    def forward(self, ws: Tensor) -> Tensor:
        x = self.conv(self.const.repeat(len(ws), 1, 1, 1), ws[:, 0])
        image = self.to_rgb(x, ws[:, 1])
        for i, block in enumerate(self.blocks):
            x, image = block(x, image, ws[:, 2 * i + 1:2 * i + 4])
        return image


class Generator(nn.Module):
    """z [N, 512], y [N] -> images [N, 3, R, R]; not bounded, trained towards [-1, 1].

    `truncation` below 1 moves styles towards their mean: less variety, better images (section 2 of StyleGAN).

    width           multiplies the channels, min(channel_base / resolution, 512)
    mapping_layers  of the mapping network
    style_mixing    probability that a training batch takes a second latent from a random layer on
    """

    latent = style = 512
    truncation = 1.0

    def __init__(self, resolution: int, classes: int, width: float = 1.0, channel_base: int = 32768,
                 mapping_layers: int = 8, style_mixing: float = 0.9):
        super().__init__()
        self.style_mixing, self.layers = style_mixing, 2 * int(log2(resolution)) - 2
        channels = _widths(resolution, channel_base, width)
        self.mapping_network = Mapping(self.latent, classes, self.style, mapping_layers)
        self.synthesis = Synthesis(channels, self.style)
        self.register_buffer("mean_style", torch.zeros(self.style))

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        ws = self.mapping(z, y)
        return self.synthesis(ws if self.truncation == 1 else self.mean_style.lerp(ws, self.truncation))

    def mapping(self, z: Tensor, y: Tensor) -> Tensor:
        """Styles of all layers [N, layers, 512]; in training mixed, and their moving average updated."""
        w = self.mapping_network(z, y)
        ws = w[:, None].expand(-1, self.layers, -1)
        if not self.training:
            return ws
        self.mean_style.lerp_(w.detach().mean(dim=0), 0.005)
        return self._mix(ws, self.mapping_network(torch.randn_like(z), y))

    def _mix(self, ws: Tensor, other: Tensor) -> Tensor:
        """Style mixing: with its probability, the style `other` [N, 512] from a random layer on, 1 <= cut < layers."""
        cut = torch.randint(1, self.layers, (), device=ws.device)
        mixed = torch.rand((), device=ws.device) < self.style_mixing
        late = torch.arange(self.layers, device=ws.device) >= cut
        return torch.where((late & mixed)[:, None], other[:, None], ws)


def _widths(resolution: int, channel_base: int, width: float) -> list[int]:
    """Channels at 4, 8, ..., resolution."""
    return [max(1, int(min(channel_base // 2**i, 512) * width)) for i in range(2, int(log2(resolution)) + 1)]


# Discriminator --------------------------------------------------------------------------------------------------------


class DiscriminatorBlock(nn.Module):
    """Residual block that halves the resolution; both branches are scaled by sqrt(1/2) before they are added."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.conv = Conv(inputs, inputs, 3)
        self.down = Conv(inputs, outputs, 3, gain=GAIN * sqrt(0.5), down=True)
        self.skip = Conv(inputs, outputs, 1, bias=False, gain=sqrt(0.5), down=True)

    def forward(self, x: Tensor) -> Tensor:
        """[N, inputs, H, W] -> [N, outputs, H/2, W/2]."""
        return self.skip(x).add_(leaky_relu(self.down(leaky_relu(self.conv(x)))))


class Discriminator(nn.Module):
    """Images [N, 3, R, R], y [N] -> logits [N]; with classes, the projection onto a mapped class embedding.

    mbstd_group must divide every batch (minibatch_stddev); the other arguments are the generator's.
    """

    def __init__(self, resolution: int, classes: int, width: float = 1.0, channel_base: int = 32768,
                 mapping_layers: int = 8, mbstd_group: int = 4):
        super().__init__()
        channels = _widths(resolution, channel_base, width)[::-1]
        last, self.mbstd_group = channels[-1], mbstd_group
        self.from_rgb = Conv(3, channels[0], 1)
        self.blocks = nn.ModuleList(DiscriminatorBlock(i, o) for i, o in pairwise(channels))
        self.conv = Conv(last + 1, last, 3)
        self.linear = Linear(last * 4 * 4, last, gain=GAIN)
        self.mapping = Mapping(0, classes, last, mapping_layers) if classes else None
        self.out = Linear(last, last if classes else 1)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        x = leaky_relu(self.from_rgb(x))
        for block in self.blocks:
            x = block(x)
        x = minibatch_stddev(x.to(self.out.weight.dtype), self.mbstd_group)  # [N, last + 1, 4, 4]
        x = leaky_relu(self.conv(x))
        x = self.out(leaky_relu(self.linear(x.flatten(1))))
        if self.mapping is None:
            return x.squeeze(1)
        return (x * self.mapping(None, y)).sum(dim=1) / sqrt(x.shape[1])


# Recipes --------------------------------------------------------------------------------------------------------------

_NETWORK = {"width": 1.0, "channel_base": 32768, "mapping_layers": 8}

RECIPES = {
    "low_shot": Recipe(
        source="Zhao et al. 2020 (DiffAugment), arXiv 2006.10738, low-shot generation in TensorFlow",
        departures=(
            "R1 is applied at every 16th update at 16 times its weight, as in StyleGAN2; in the source, at each.",
            "R1 is of the gradient at the augmented images; in the source, of that at the images before DiffAugment.",
            "Style mixing is drawn once for a batch, as in StyleGAN2's ADA release; in the source for each image.",
        ),
        loss="logistic",
        lr_g=0.002,
        lr_d=0.002,
        betas=(0.0, 0.99),
        regularizers={"r1": 10.0},
        ema_decay=0.5 ** (16 / 10_000),  # half-life 10,000 images at the protocol's batch of 16, the source's too
        ema_start=626,  # the first iteration that 10,000 images came before
        flip=True,
        generator=_NETWORK | {"style_mixing": 0.9},
        discriminator=_NETWORK | {"mbstd_group": 4},
    ),
    "paper256": Recipe(
        source="Karras et al. 2020 (ADA), arXiv 2006.06676, configuration paper256 of the PyTorch release",
        departures=(
            "The protocol's batch is 16, the source's is 64; the average's half-life is the same number of images.",
            "R1 and path length are added to the loss of the update at which they fall due; in the source they are "
            "updates of their own, with Adam's rate and betas corrected for their interval.",
            "The networks compute in float32, in the source their four largest resolutions in float16.",
        ),
        resolutions=(),
        loss="logistic",
        lr_g=0.0025,
        lr_d=0.0025,
        betas=(0.0, 0.99),
        regularizers={"r1": 1.0, "path_length": 2.0},
        ema_decay=0.5 ** (16 / 20_000),
        generator=_NETWORK | {"channel_base": 16384, "style_mixing": 0.9},
        discriminator=_NETWORK | {"channel_base": 16384, "mbstd_group": 8},
    ),
}
