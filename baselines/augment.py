"""Augmentations of the discriminator's inputs: `AUGMENTATIONS[name]()`, applied to real and generated images alike.

The discriminator scores the augmented images, and penalties differentiate by them, as in DigGAN's code. In the
discriminator's step they are leaves of the graph, so a penalty never passes through an augmentation; in the generator's
step the gradient does. Every member is twice differentiable all the same.

Randomness comes from torch's global generator of the images' device. The state of an adaptive member is in buffers, so
that one state_dict saves it, and nothing waits for the device. To add an augmentation, write its class here and name it
in AUGMENTATIONS.
"""

import math
from collections.abc import Callable
from functools import cache, partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Augmentation(nn.Module):
    """The identity, and the base class of all augmentations."""

    def forward(self, x: Tensor) -> Tensor:
        """The augmented images, of the shape of x [N, 3, R, R] in [-1, 1]."""
        return x

    def mix(self, real: Tensor, draw: Callable[[], Tensor]) -> Tensor:
        """The batch of real images [N, 3, R, R], some of them replaced by the generated one at the same place.

        `draw()` generates images of the same classes; they are not those that this update scores as generated.
        """
        return real

    def observe(self, logits: Tensor) -> None:
        """Take note of the discriminator's logits [N] on the augmented real images, after each of its updates."""


class DiffAugment(Augmentation):
    """Color, translation and cutout, each on every image: Zhao et al., NeurIPS 2020, section 3; strengths of its code.

    color        brightness + U(-0.5, 0.5), saturation x U(0, 2), contrast x U(0.5, 1.5)
    translation  a shift by up to R/8 pixels per axis, with zeros behind it
    cutout       a square of R/2 pixels set to zero around a place anywhere in the image

    The policy, which of the three are applied, is a part of the published method. In its code (data-efficient-gans)
    few-shot sets and StyleGAN2 on a part of CIFAR have all three, BigGAN on CIFAR has translation and cutout, and
    StyleGAN2 on the whole of CIFAR has color and cutout.
    """

    def __init__(self, policy: tuple[str, ...] = ("color", "translation", "cutout")):
        super().__init__()
        self.policy = policy

    def forward(self, x: Tensor) -> Tensor:
        for name in self.policy:
            x = getattr(self, name)(x)
        return x

    def color(self, x: Tensor) -> Tensor:
        def uniform(low: float, high: float) -> Tensor:
            return x.new_empty(len(x), 1, 1, 1).uniform_(low, high)

        x = x + uniform(-0.5, 0.5)
        x = torch.lerp(x.mean(1, keepdim=True), x, uniform(0, 2))
        return torch.lerp(x.mean((1, 2, 3), keepdim=True), x, uniform(0.5, 1.5))

    def translation(self, x: Tensor) -> Tensor:
        most = x.shape[-1] // 8
        return translate(x, integers(x, -most, most), integers(x, -most, most))

    def cutout(self, x: Tensor) -> Tensor:
        r = x.shape[-1]
        last = r - r // 2 % 2  # an even square may be centered between any two pixels, or at either edge
        return x * cutout(r, r // 2, integers(x, 0, last), integers(x, 0, last))


def integers(x: Tensor, low: int, high: int) -> Tensor:
    """A random whole number from low to high, for each of the images x: [N]."""
    return torch.randint(low, high + 1, (len(x),), device=x.device)


def translate(x: Tensor, right: Tensor, down: Tensor) -> Tensor:
    """Images moved by whole pixels [N], with zeros where they leave pixels empty."""
    for pixels, dim in ((right, 3), (down, 2)):
        index = torch.arange(x.shape[dim], device=x.device) - pixels[:, None]
        shape = [len(x), 1, 1, 1]
        shape[dim] = x.shape[dim]
        index = index.view(shape)
        inside = (index >= 0) & (index < x.shape[dim])
        x = x.gather(dim, index.clamp(0, x.shape[dim] - 1).expand_as(x)) * inside
    return x


def cutout(r: int, size: int, x: Tensor, y: Tensor) -> Tensor:
    """A mask [N, 1, r, r]: false in the square of `size` pixels around x and y [N], where it is in the image."""
    pixels = torch.arange(r, device=x.device)
    left, top = x[:, None] - size // 2, y[:, None] - size // 2
    across = (pixels >= left) & (pixels < left + size)
    down = (pixels >= top) & (pixels < top + size)
    return ~(down[:, None, :, None] & across[:, None, None, :])


class Adaptive(Augmentation):
    """A strength p that holds the mean sign of D's real logits at a target: Karras et al., NeurIPS 2020, section 3.

    Every 4 updates p moves by (images seen since) / 500,000: up if E[sign D(x)] of these images is above 0.6, else
    down, and never below 0.
    """

    target, interval, ramp = 0.6, 4, 500_000

    def __init__(self):
        super().__init__()
        self.register_buffer("p", torch.zeros(()))
        self.register_buffer("signs", torch.zeros(()))
        self.register_buffer("images", torch.zeros(()))
        self.register_buffer("updates", torch.zeros(()))

    @torch.no_grad()
    def observe(self, logits: Tensor) -> None:
        self.signs += logits.sign().sum()
        self.images += len(logits)
        self.updates += 1
        due = self.updates == self.interval
        self.p += due * (self.signs / self.images - self.target).sign() * self.images / self.ramp
        self.p.clamp_(min=0)
        for total in (self.signs, self.images, self.updates):
            total.masked_fill_(due, 0)


class APA(Adaptive):
    """Adaptive pseudo augmentation: Jiang et al., NeurIPS 2021, section 3. Real images are generated ones at rate p.

    Its code takes these from the last generator step. D sees the mixture as real, and lambda_r = E[sign D(x)] of
    the mixture adapts p.
    """

    def mix(self, real: Tensor, draw: Callable[[], Tensor]) -> Tensor:
        return torch.where(torch.rand(len(real), 1, 1, 1, device=real.device) < self.p, draw().detach(), real)


class ADA(Adaptive):
    """Adaptive discriminator augmentation: Karras et al., NeurIPS 2020, appendix B, the pipeline `bgc`.

    Pixel blitting, general geometry, color; each transformation of each image is on with probability p. The pipeline's
    own mirroring and quarter turns are part of it, whether or not a mirrored image is still one of the data set.
    """

    def forward(self, x: Tensor) -> Tensor:
        n, r = len(x), x.shape[-1]

        def uniform(*shape: int) -> Tensor:  # in [-1, 1)
            return torch.rand(*shape, n, device=x.device) * 2 - 1

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, n, device=x.device)

        def maybe(value: Tensor, otherwise: float, p: Tensor = self.p) -> Tensor:
            return torch.where(torch.rand(n, device=x.device) < p, value, otherwise)

        # Mirroring and quarter turns move whole pixels
        x = mirror(x, maybe(uniform() < 0, False))
        x = turn(x, maybe((uniform() * 2 + 2).floor(), 0))

        # The rest of the geometry in one resampling. P(either rotation) = p
        p_rotate = 1 - (1 - self.p).clamp(min=0).sqrt()
        x = warp(x, whole=maybe((uniform(2) * r / 8).round(), 0),
                 zoom=maybe(2 ** (0.2 * normal()), 1),
                 before=maybe(math.pi * uniform(), 0, p_rotate),
                 stretch=maybe(2 ** (0.2 * normal()), 1),
                 after=maybe(math.pi * uniform(), 0, p_rotate),
                 fraction=maybe(r / 8 * normal(2), 0))

        return recolor(x, brightness=maybe(0.2 * normal(), 0),
                       contrast=maybe(2 ** (0.5 * normal()), 1),
                       invert=maybe(uniform() < 0, False),
                       hue=maybe(math.pi * uniform(), 0),
                       saturation=maybe(2 ** normal(), 1))


def mirror(x: Tensor, on: Tensor) -> Tensor:
    """Images mirrored left to right where `on`, bool [N]."""
    return torch.where(on[:, None, None, None], x.flip(3), x)


def turn(x: Tensor, quarters: Tensor) -> Tensor:
    """Images turned counterclockwise by 0, 1, 2 or 3 quarters [N]."""
    quarters = quarters[:, None, None, None]
    x = torch.where(quarters % 2 == 1, x.rot90(1, (2, 3)), x)
    return torch.where(quarters >= 2, x.rot90(2, (2, 3)), x)


def recolor(x: Tensor, brightness: Tensor, contrast: Tensor, invert: Tensor, hue: Tensor, saturation: Tensor) -> Tensor:
    """Color of images [N, 3, H, W] changed by parameters [N], in this order; hue in radians, invert a bool.

    These are the paper's 4x4 matrices. All are symmetric about the gray axis, so they act separately on luma, the mean
    of a pixel's channels, and on chroma, the difference from it.
    """
    b, c, i, h, s = (p[:, None, None, None] for p in (brightness, contrast, invert, hue, saturation))
    luma = x.mean(1, keepdim=True)
    chroma = x - luma
    turned = (chroma.roll(1, 1) - chroma.roll(-1, 1)) / math.sqrt(3)  # by 90 degrees about the gray axis
    return torch.where(i, -c, c) * (luma + b) + c * s * (h.cos() * chroma + h.sin() * turned)


def warp(x: Tensor, whole: Tensor, zoom: Tensor, before: Tensor, stretch: Tensor, after: Tensor, fraction: Tensor
         ) -> Tensor:
    """Images [N, 3, R, R] moved, zoomed, rotated, stretched along x and shrunk along y, rotated, moved: in this order.

    whole, fraction [2, N] are in pixels right and down; zoom, stretch [N] are factors, before, after [N] radians
    clockwise. Resampled bilinearly at twice the resolution, between the paper's wavelet filters. What stays in place is
    0.05 pixels off the image's center per axis, as published: the filter's delay is 5.098 taps, and 5 are made up for.
    Outside the image are its reflections without end, of which the authors' code has one on each side.
    """
    r = x.shape[-1]
    # The linear part of the inverse, from the output to its source: the images of the unit vectors, each [N, 2]
    u, v = torch.eye(2, device=x.device)[:, None]
    u, v = rotate(u, v, -after[:, None])
    u, v = u / stretch[:, None], v * stretch[:, None]
    u, v = rotate(u, v, -before[:, None])
    u, v = u / zoom[:, None], v / zoom[:, None]

    # Each output pixel at twice the resolution, with the margin that halve() takes off. 0 is pixel r - 1 of the image
    # at that resolution, half a pixel before its center: as in the authors' code, this makes up for the filter's delay
    pixels = (torch.arange(-5, 2 * r + 5, device=x.device) - (r - 1)) / 2
    px, py = pixels - fraction[0, :, None], pixels - fraction[1, :, None]
    px, py = px[:, None, :], py[:, :, None]
    qx = u[:, 0, None, None] * px + u[:, 1, None, None] * py - whole[0, :, None, None]
    qy = v[:, 0, None, None] * px + v[:, 1, None, None] * py - whole[1, :, None, None]
    return halve(bilinear(double(reflect(x)), 2 * qx + (r - 1), 2 * qy + (r - 1)))


def rotate(x: Tensor, y: Tensor, angle: Tensor) -> tuple[Tensor, Tensor]:
    return angle.cos() * x - angle.sin() * y, angle.sin() * x + angle.cos() * y


# The low-pass filter of the symlet with 6 vanishing moments, which is orthonormal: doubling, then halving, is exact
SYM6 = (0.015404109327027373, 0.0034907120842174702, -0.11799011114819057, -0.048311742585633, 0.4910559419267466,
        0.787641141030194, 0.3379294217276218, -0.07263752278646252, -0.021060292512300564, 0.04472490177066578,
        0.0017677118642428036, -0.007800708325034148)


@cache
def sym6(device: torch.device, dtype: torch.dtype) -> Tensor:
    return torch.tensor(SYM6, device=device, dtype=dtype)  # copied once, because a copy from the host blocks


def reflect(x: Tensor) -> Tensor:
    """One period [N, C, 2R-2, 2R-2] of the plane that images [N, C, R, R] and their reflections tile."""
    for dim in (2, 3):
        x = torch.cat([x, x.narrow(dim, 1, x.shape[dim] - 2).flip(dim)], dim)
    return x


def double(x: Tensor) -> Tensor:
    """A plane of period P [N, C, P, P] at twice the resolution, with its first two pixels repeated, [N, C, 2P+2, 2P+2].

    Pixel k of the result lies at k/2 - 1/4 in x.
    """
    p = F.pad(x, (3, 4, 3, 4), mode="circular").flatten(0, 1)
    taps = (sym6(x.device, x.dtype) * math.sqrt(2)).expand(len(p), 1, 1, -1)
    p = F.conv_transpose2d(p[None], taps, stride=(1, 2), padding=(0, 11), groups=len(p))
    p = F.conv_transpose2d(p, taps.mT, stride=(2, 1), padding=(11, 0), groups=p.shape[1])
    return p[0].unflatten(0, x.shape[:2])


def halve(x: Tensor) -> Tensor:
    """Planes at half the resolution, less the margin of the filter: [N, C, 2R+10, 2R+10] to [N, C, R, R]."""
    p = x.flatten(0, 1)
    taps = (sym6(x.device, x.dtype) / math.sqrt(2)).expand(len(p), 1, 1, -1)
    p = F.conv2d(p[None], taps, stride=(1, 2), groups=len(p))
    p = F.conv2d(p, taps.mT, stride=(2, 1), groups=p.shape[1])
    return p[0].unflatten(0, x.shape[:2])


def bilinear(plane: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Values [N, C, S, S] of a plane of period P, as double() returns it [N, C, P+2, P+2], at pixels x, y [N, S, S].

    It gathers the four corners itself, because F.grid_sample is not twice differentiable.
    """
    channels, width = plane.shape[1], plane.shape[3]
    x, y = x.remainder(width - 2), y.remainder(width - 2)
    index = (y.long() * width + x.long()).flatten(1)[:, None].expand(-1, channels, -1)
    right, down = x.frac()[:, None].to(plane.dtype), y.frac()[:, None].to(plane.dtype)

    def corner(offset: int) -> Tensor:
        return plane.flatten(2).gather(2, index + offset).unflatten(2, x.shape[1:])

    return torch.lerp(torch.lerp(corner(0), corner(1), right),
                      torch.lerp(corner(width), corner(width + 1), right), down)


AUGMENTATIONS = {
    "": Augmentation,
    "diffaugment": DiffAugment,
    "diffaugment_translation_cutout": partial(DiffAugment, ("translation", "cutout")),
    "diffaugment_color_cutout": partial(DiffAugment, ("color", "cutout")),
    "ada": ADA,
    "apa": APA,
}
