"""BigGAN against direct float64 formulas, published sizes, and its own claims."""

from math import log2

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from baselines.layers import ConditionalNorm
from baselines.models import biggan
from baselines.models.biggan import (
    D_CHANNELS,
    G_CHANNELS,
    HIERARCHICAL_LATENT,
    RECIPES,
    Attention,
    Discriminator,
    Generator,
)
from baselines.scoring import Scorer

PUBLISHED = {  # resolution, classes -> parameters of G and D in the authors' and DiffAugment's code
    (32, 100): (4_580_867, 4_230_401),
    (128, 1000): (70_433_988, 87_982_370),
}


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def build(resolution, classes, **options):
    recipe = next(recipe for recipe in RECIPES.values() if resolution in recipe.resolutions)
    return (Generator(resolution, classes, **{**recipe.generator, **options}),
            Discriminator(resolution, classes, **{**recipe.discriminator, **options}))


@pytest.fixture
def bare(monkeypatch):
    """No spectral norm: it adds no parameters and no counted operations, and takes long to set up on many layers."""
    monkeypatch.setattr(biggan, "spectral_norm", lambda layer, eps: layer)


def count(module) -> int:
    return sum(p.numel() for p in module.parameters())


def shake(module):
    """Move parameters that begin at zero, so that nothing is tested at zero."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return module


# Sizes ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("resolution, classes", PUBLISHED)
def test_parameter_counts_are_the_published_ones(bare, resolution, classes):
    with torch.device("meta"):
        assert tuple(map(count, build(resolution, classes))) == PUBLISHED[resolution, classes]


def test_without_classes_the_tables_of_classes_fall_away(bare):
    with torch.device("meta"):
        (G, D), (G0, D0) = build(32, 100), build(32, 0)
    norms = 6 * 256
    assert count(G) - count(G0) == norms * 2 * (100 - 1)  # gains and biases per class and channel, or per channel
    assert count(D) - count(D0) == 100 * 256


@pytest.mark.parametrize("resolution", G_CHANNELS)
def test_channel_tables_fit_together(resolution):
    blocks = int(log2(resolution)) - 2  # from 4x4
    assert len(G_CHANNELS[resolution]) == blocks + 1 and HIERARCHICAL_LATENT[resolution] % (blocks + 1) == 0
    assert resolution == 32 or len(D_CHANNELS[resolution]) == blocks + 1  # a last block stays at 4x4


def test_operations_of_both_steps_are_the_published_ones(bare):
    with torch.device("meta"):
        G, D = build(32, 100)
        z, y = torch.randn(4, G.latent), torch.zeros(4, dtype=torch.long)
        with FlopCounterMode(display=False) as flops:
            x = G(z, y).detach()
            D(torch.cat([x, x]), torch.cat([y, y])).sum().backward()
            D.requires_grad_(False)
            D(G(z, y), y).sum().backward()
    assert flops.get_total_flops() / 4e9 == pytest.approx(30.75, rel=0.01)


# Layers ---------------------------------------------------------------------------------------------------------------


def test_conditional_norm_is_batch_norm_with_gain_and_bias_of_the_class():
    layer = shake(ConditionalNorm(4, lambda channels: torch.nn.Embedding(3, channels))).double()
    x, y = torch.randn(5, 4, 3, 3, dtype=torch.float64), torch.tensor([0, 1, 2, 1, 0])
    planes = x.numpy()
    mean, var = planes.mean(axis=(0, 2, 3), keepdims=True), planes.var(axis=(0, 2, 3), keepdims=True)
    gain, bias = (table.weight[y].detach().numpy()[:, :, None, None] for table in (layer.gain, layer.bias))
    assert np.allclose(layer(x, y).detach(), (planes - mean) / np.sqrt(var + 1e-5) * (1 + gain) + bias)


def test_attention_is_a_weighted_mean_of_values():
    layer = shake(Attention(16)).double()
    x = torch.randn(2, 16, 4, 4, dtype=torch.float64)
    q, k, v, o = (f.weight[:, :, 0, 0] for f in (layer.query, layer.key, layer.value, layer.out))
    for n in range(2):
        key, value = (F.max_pool2d(torch.einsum("oi,ihw->ohw", f, x[n]), 2).flatten(1) for f in (k, v))
        weights = ((q @ x[n].flatten(1)).T @ key).exp()
        seen = value @ (weights / weights.sum(dim=1, keepdim=True)).T
        assert torch.allclose(layer(x)[n], x[n] + layer.gate * (o @ seen).unflatten(1, (4, 4)))


@pytest.mark.parametrize("resolution", [32, 128])
def test_every_layer_but_the_generators_embeddings_has_spectral_norm_one(resolution):
    G, D = build(resolution, 3, width=1 / 16)
    for network in (G, D):
        for _ in range(100):  # power iteration: one step a forward pass
            [layer.weight for layer in network.modules() if hasattr(layer, "parametrizations")]
        for layer in network.modules():
            if isinstance(layer, (torch.nn.Conv2d, torch.nn.Linear, torch.nn.Embedding)):
                free = network is G and isinstance(layer, torch.nn.Embedding)
                largest = torch.linalg.matrix_norm(layer.weight.flatten(1), 2)
                assert free or largest.item() == pytest.approx(1, abs=0.02)


def test_initial_weights():
    G, _ = build(32, 100)
    assert G.blocks[1].conv1.parametrizations.weight.original.std().item() == pytest.approx(0.02, rel=0.01)
    G, _ = build(128, 3, width=1 / 16)
    weight = G.blocks[1].conv1.parametrizations.weight.original.flatten(1)
    assert torch.allclose(weight @ weight.T, torch.eye(len(weight)), atol=1e-5)


# Networks -------------------------------------------------------------------------------------------------------------


def test_the_discriminator_projects_onto_the_class():
    D = shake(build(32, 3, width=1 / 16)[1]).double().eval()
    x, y, seen = torch.randn(4, 3, 32, 32, dtype=torch.float64), torch.tensor([0, 1, 2, 0]), []
    D.linear.register_forward_hook(lambda module, args, out: seen.extend([args[0], out]))
    logits, (h, unconditional) = D(x, y), seen
    expected = [unconditional[n, 0] + h[n] @ D.embed.weight[y[n]] for n in range(4)]
    assert torch.allclose(logits, torch.stack(expected))


@pytest.mark.parametrize("classes", [0, 3])
def test_hierarchical_z_enters_at_every_block(classes):
    G = shake(build(128, classes, width=1 / 16)[0]).eval()
    z, y = torch.randn(1, G.latent), torch.zeros(1, dtype=torch.long)
    seen = []
    for block in G.blocks:
        block.register_forward_hook(lambda module, args, out: seen.append(args[1][0, -G.piece:]))
    G(z, y)
    assert torch.equal(torch.cat(seen), z[0, G.piece:]) and G.latent == 6 * G.piece == 120


@pytest.mark.parametrize("classes", [0, 3])
def test_gradients_of_gradients_are_right(classes):
    """How the gradient norm changes along a random direction of the weights, against a finite difference in float64."""
    D = build(32, classes, width=1 / 32)[1].double().eval()  # no power iteration between the two ends
    x, y = torch.randn(2, 3, 32, 32, dtype=torch.float64), torch.tensor([0, 1])
    weights = list(D.parameters())
    direction = [torch.randn_like(weight) * 1e-10 for weight in weights]

    def norm(step: float):
        with torch.no_grad():
            torch._foreach_add_(weights, direction, alpha=step)
        real, fake = Scorer(D).pair(x, y, -x, y)
        return real.norms().mean() + fake.norms().mean()

    gradient = torch.autograd.grad(norm(0), weights, allow_unused=True, materialize_grads=True)
    slope = sum((g * d).sum() for g, d in zip(gradient, direction, strict=True))
    after, before = norm(1), norm(-2)
    assert slope.item() == pytest.approx((after - before).item() / 2, rel=1e-4) and slope.abs() > 1e-13


def test_a_second_forward_pass_does_not_spoil_the_gradients_of_the_first():
    """In training mode a pass moves the vectors of power iteration; what the first pass saved must not move along."""
    x, y = torch.randn(4, 3, 32, 32), torch.tensor([0, 1, 2, 0])
    D = build(32, 3, width=1 / 16)[1]
    state = {name: value.clone() for name, value in D.state_dict().items()}

    def gradients(second: bool):
        D.load_state_dict(state)
        real, fake = Scorer(D).pair(x, y, -x, y)
        penalty = real.norms().mean()
        if second:
            with torch.no_grad():
                D(x, y)
        return torch.autograd.grad(penalty + real.logits.sum() + fake.logits.sum(), list(D.parameters()))

    for once, twice in zip(gradients(False), gradients(True), strict=True):
        assert torch.equal(once, twice)


@pytest.mark.parametrize("resolution", [32, 128])
@pytest.mark.parametrize("classes", [0, 3])
def test_every_parameter_gets_a_gradient(resolution, classes):
    G, D = map(shake, build(resolution, classes, width=1 / 32))
    y = torch.arange(4) % max(1, classes)
    (-D(G(torch.randn(4, G.latent), y), y)).mean().backward()
    assert all(p.grad is not None and p.grad.any() for p in [*G.parameters(), *D.parameters()])
