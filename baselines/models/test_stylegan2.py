"""StyleGAN2 against direct float64 formulas, published sizes, and its own claims."""

from math import sqrt

import numpy as np
import pytest
import torch
from scipy.signal import convolve2d
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from baselines.models.stylegan2 import (
    Conv,
    Discriminator,
    Generator,
    LowPass,
    Mapping,
    StyledConv,
    ToRGB,
    minibatch_stddev,
)
from baselines.regularizers import PathLength
from baselines.scoring import Drawer, Scorer

PUBLISHED = {  # resolution, options -> parameters of G and D, counted from the ADA release's modules
    (64, ()): (27_032_600, 26_488_833),
    (64, (("mapping_layers", 2),)): (25_456_664, 26_488_833),
    (256, ()): (30_034_338, 28_864_129),
    (1024, ()): (30_370_060, 29_012_513),
}
GFLOP = {64: (32.28, 33.07), 256: (90.75, 94.05)}  # forward of G and of D, per image, counted from the same modules
TAPS = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64


@pytest.fixture(autouse=True)
def _float64():
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def count(module) -> int:
    return sum(p.numel() for p in module.parameters())


def shake(module):
    """Move parameters that begin at zero, so that nothing is tested at zero."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return module


def zero_stuffed(x: np.ndarray) -> np.ndarray:
    """A plane with zeros right of and below every pixel."""
    out = np.zeros((2 * x.shape[0], 2 * x.shape[1]))
    out[::2, ::2] = x
    return out


def filtered(x: np.ndarray, before: int, after: int) -> np.ndarray:
    """A plane padded by zeros on either side and convolved with the filter, without a border."""
    return convolve2d(np.pad(x, (before, after)), TAPS, mode="valid")


# Sizes ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("resolution, options", PUBLISHED)
def test_parameter_counts_are_the_published_ones(resolution, options):
    with torch.device("meta"):
        G, D = Generator(resolution, 0, **dict(options)), Discriminator(resolution, 0)
    assert (count(G), count(D)) == PUBLISHED[resolution, options]


def test_classes_add_their_embeddings_and_a_mapping_for_the_projection():
    with torch.device("meta"):
        G, D, G0, D0 = Generator(64, 100), Discriminator(64, 100), Generator(64, 0), Discriminator(64, 0)
    embed = 100 * 512 + 512
    assert count(G) - count(G0) == embed + 512 * 512  # the first mapping layer sees z and the class
    assert count(D) - count(D0) == embed + 8 * (512 * 512 + 512) + (512 - 1) * (512 + 1)  # 512 outputs instead of 1


@pytest.mark.parametrize("resolution", GFLOP)
def test_operations_are_the_published_ones(resolution):
    with torch.device("meta"):
        G, D, y = Generator(resolution, 0).eval(), Discriminator(resolution, 0), torch.zeros(4, dtype=torch.long)
        with FlopCounterMode(display=False) as flops_g:
            images = G(torch.randn(4, 512), y)
        with FlopCounterMode(display=False) as flops_d:
            D(images, y)
    counted = flops_g.get_total_flops() / 4e9, flops_d.get_total_flops() / 4e9
    assert counted == pytest.approx(GFLOP[resolution], rel=0.01)


# Layers ---------------------------------------------------------------------------------------------------------------


def test_low_pass_filter_and_its_doubling_are_direct_convolutions():
    x = torch.randn(2, 3, 5, 6)
    lowpass = LowPass()
    planes = [filtered(plane, 1, 1) for plane in x.flatten(0, 1).numpy()]
    assert np.allclose(lowpass(x, padding=1).flatten(0, 1), planes)
    assert np.allclose(lowpass(x, padding=1, stride=2).flatten(0, 1), [plane[::2, ::2] for plane in planes])
    doubled = [4 * filtered(zero_stuffed(plane), 2, 1) for plane in x.flatten(0, 1).numpy()]
    assert np.allclose(LowPass(gain=4).upsample(x).flatten(0, 1), doubled)


def test_doubling_keeps_a_constant_image():
    inside = LowPass(gain=4).upsample(torch.full((1, 1, 8, 8), 0.7))[..., 2:-2, 2:-2]
    assert torch.allclose(inside, torch.full_like(inside, 0.7))


def modulated(layer: StyledConv, x, w, up: bool):
    """Equations 1 and 3, one sample and one output channel at a time."""
    s = w @ layer.affine.weight.T / sqrt(w.shape[1]) + layer.affine.bias
    outputs = []
    for n in range(len(x)):
        weight = layer.weight * s[n][None, :, None, None]
        weight = weight / (weight.square().sum(dim=(1, 2, 3), keepdim=True) + 1e-8).sqrt()
        if up:  # zeros between pixels, the filter, then a convolution (mirrored kernel); padded by 1 more for that one
            planes = np.stack([4 * filtered(zero_stuffed(plane), 3, 2) for plane in x[n].numpy()])
            outputs.append(F.conv2d(torch.from_numpy(planes)[None], weight.flip(2, 3)))
        else:
            outputs.append(F.conv2d(x[n][None], weight, padding=1))
    return torch.cat(outputs)


@pytest.mark.parametrize("up", [False, True])
def test_styled_conv_is_modulation_demodulation_noise_bias_and_leaky_relu(up):
    layer, x, w = shake(StyledConv(4, 5, 6, up=up)).requires_grad_(False), torch.randn(3, 4, 8, 8), torch.randn(3, 6)
    torch.manual_seed(1)
    out = layer(x, w)
    torch.manual_seed(1)
    noise = torch.randn(3, 1, *out.shape[2:]) * layer.noise_strength
    y = modulated(layer, x, w, up) + noise + layer.bias[:, None, None]
    expected = sqrt(2) * torch.where(y > 0, y, 0.2 * y)
    assert torch.allclose(out, expected)


def test_to_rgb_modulates_and_does_not_demodulate():
    layer, x, w = shake(ToRGB(4, 6)), torch.randn(3, 4, 5, 5), torch.randn(3, 6)
    s = (w @ layer.affine.weight.T / sqrt(6) + layer.affine.bias) / sqrt(4)
    expected = torch.stack([F.conv2d(x[n], (layer.weight * s[n])[..., None, None], layer.bias) for n in range(3)])
    assert torch.allclose(layer(x, w).to(torch.float64), expected, atol=1e-5)


@pytest.mark.parametrize("size", [1, 3])
def test_halving_conv_filters_then_strides(size):
    layer, x = shake(Conv(4, 5, size, gain=1.5, down=True)), torch.randn(2, 4, 8, 8)
    before, after = (2, 2) if size == 3 else (1, 1)
    planes = np.stack([filtered(plane, before, after) for plane in x.flatten(0, 1).numpy()])
    planes = torch.from_numpy(planes).unflatten(0, (2, 4))
    expected = 1.5 * F.conv2d(planes, layer.weight / sqrt(4 * size**2), layer.bias, stride=2)
    assert layer(x).shape == (2, 5, 4, 4) and torch.allclose(layer(x), expected)


@pytest.mark.parametrize("n, size", [(8, 4), (4, 4), (6, 3), (6, 2), (2, 2), (5, 1)])
def test_minibatch_stddev_of_consecutive_groups(n, size):
    x = torch.randn(n, 3, 2, 2)
    out = minibatch_stddev(x, size)
    for i in range(n):
        group = x[i // size * size:i // size * size + size].numpy()
        assert np.allclose(out[i, 3], np.sqrt(group.var(axis=0) + 1e-8).mean())
    assert torch.equal(out[:, :3], x)


@pytest.mark.parametrize("n, group", [(8, 4), (4, 4), (6, 3), (2, 1)])
def test_a_joint_batch_is_judged_as_its_halves(n, group):
    D, y = Discriminator(32, 0, width=1 / 64, mbstd_group=group), None
    real, fake = torch.randn(2, n, 3, 32, 32)
    joint = D(torch.cat([real, fake]), y)
    assert torch.allclose(joint, torch.cat([D(real, y), D(fake, y)]))


# Networks -------------------------------------------------------------------------------------------------------------


def test_mapping_normalises_z_and_the_class_embedding():
    mapping, z, y = shake(Mapping(6, 3, 4, layers=2)), torch.randn(5, 6), torch.tensor([0, 1, 2, 0, 1])
    embedded = mapping.embed.weight.T[y] / sqrt(3) + mapping.embed.bias
    x = torch.cat([v / (v.square().mean(dim=1, keepdim=True) + 1e-8).sqrt() for v in (z, embedded)], dim=1)
    for layer in mapping.layers:
        x = sqrt(2) * F.leaky_relu(0.01 * (x @ layer.weight.T / sqrt(x.shape[1]) + layer.bias), 0.2)
    assert torch.allclose(mapping(z, y), x)


def test_the_discriminator_projects_onto_the_mapped_class():
    D, x, y = shake(Discriminator(32, 3, width=1 / 64)), torch.randn(4, 3, 32, 32), torch.tensor([0, 1, 2, 0])
    seen = []
    D.out.register_forward_hook(lambda module, args, out: seen.append(out))
    logits = D(x, y)
    c = D.mapping(None, y)
    assert torch.allclose(logits, torch.stack([seen[0][n] @ c[n] for n in range(4)]) / sqrt(c.shape[1]))


def test_style_mixing_takes_a_second_style_from_some_layer_on():
    torch.set_default_dtype(torch.float32)
    G, z, y = Generator(32, 0, width=1 / 64, style_mixing=1.0), torch.randn(2, 512), torch.zeros(2, dtype=torch.long)
    own, cuts = G.eval().mapping(z, y)[:, 0], set()
    for _ in range(60):
        same = (G.train().mapping(z, y) == own[:, None]).all(dim=2)  # [N, layers]
        cut = int(same[0].sum())
        assert torch.equal(same, (torch.arange(G.layers) < cut).expand(2, -1))
        cuts.add(cut)
    assert cuts == set(range(1, G.layers))
    G.style_mixing = 0.0
    assert torch.equal(G.train().mapping(z, y), own[:, None].expand(-1, G.layers, -1))


def test_truncation_moves_styles_towards_their_moving_average():
    torch.set_default_dtype(torch.float32)
    G, z, y = Generator(32, 0, width=1 / 64), torch.randn(64, 512), torch.zeros(64, dtype=torch.long)
    with torch.no_grad():
        for _ in range(3):
            G.train().mapping(z, y)
        w = G.eval().mapping(z, y)[:, 0].mean(dim=0)
        assert torch.allclose(G.mean_style, w * (1 - 0.995**3), atol=1e-5)
        torch.manual_seed(5)
        mean = G.synthesis(G.mean_style.expand(2, G.layers, -1))
        torch.manual_seed(5)
        G.truncation = 0.0
        assert torch.allclose(G(z[:2], y[:2]), mean, atol=1e-5)


def test_path_length_is_that_of_a_linear_image():
    """An image A w has the Jacobian A: the length is || A^T noise ||, the penalty its squared distance to the mean."""
    A = torch.randn(12, 4)

    class G:
        mapping = staticmethod(lambda z, y: z[:, None].expand(-1, 2, -1).requires_grad_())
        synthesis = staticmethod(lambda ws: (ws.sum(dim=1) @ A.T).unflatten(1, (3, 2, 2)))

    penalty, z = PathLength(), torch.randn(6, 4)
    torch.manual_seed(3)
    value = penalty(Drawer(G), z, torch.zeros(6))
    torch.manual_seed(3)
    noise = torch.randn(3, 3, 2, 2).flatten(1) / sqrt(4)  # half of the batch
    lengths = (noise @ A).norm(dim=1)  # the same gradient at both layers, root of their mean square
    assert torch.allclose(penalty.mean, 0.01 * lengths.mean())
    assert torch.allclose(value, (lengths - 0.01 * lengths.mean()).square().mean())


def test_path_length_gives_gradients_to_mapping_and_synthesis():
    torch.set_default_dtype(torch.float32)
    G, penalty = Generator(32, 0, width=1 / 64), PathLength()
    penalty(Drawer(G), torch.randn(4, 512), torch.zeros(4, dtype=torch.long)).backward()
    without = {"synthesis.to_rgb.bias", *(f"synthesis.blocks.{i}.to_rgb.bias" for i in range(3))}  # an added constant
    assert {name for name, p in G.named_parameters() if p.grad is None or not p.grad.any()} <= without


@pytest.mark.parametrize("classes", [0, 3])
def test_gradients_of_gradients_are_right(classes):
    """The gradient norm's derivative by the parameters, against finite differences in float64."""
    D, x, y = shake(Discriminator(32, classes, width=1 / 256)), torch.randn(4, 3, 32, 32), torch.tensor([0, 1, 2, 0])
    parameters = [p.detach().clone().requires_grad_() for p in D.parameters()]
    names = [name for name, _ in D.named_parameters()]

    def norms(*values):
        images = x.clone().requires_grad_()
        logits = torch.func.functional_call(D, dict(zip(names, values, strict=True)), (images, y))
        return torch.autograd.grad(logits.sum(), images, create_graph=True)[0].flatten(1).norm(dim=1)

    assert torch.autograd.gradcheck(norms, parameters, fast_mode=True)


class Calls(TorchDispatchMode):
    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += 1
        return func(*args, **(kwargs or {}))


def test_second_derivatives_take_no_more_calls_in_a_wider_network():
    """PyTorch's own, of a filter for each channel, do."""
    found = []
    for width in (1 / 64, 1 / 32):
        D, x, y = Discriminator(32, 0, width=width), torch.randn(4, 3, 32, 32), torch.zeros(4, dtype=torch.long)
        real, _ = Scorer(D).pair(x, y, x, y)
        norms = real.norms().sum()
        with Calls() as calls:
            norms.backward()
        found.append(calls.count)
    assert found[0] == found[1]


def test_every_parameter_gets_a_gradient():
    torch.set_default_dtype(torch.float32)
    G, D = Generator(32, 3, width=1 / 32), Discriminator(32, 3, width=1 / 32)
    y = torch.tensor([0, 1, 2, 0])
    F.softplus(-D(G(torch.randn(4, 512), y), y)).mean().backward()
    assert all(p.grad is not None and p.grad.any() for p in [*G.parameters(), *D.parameters()])
