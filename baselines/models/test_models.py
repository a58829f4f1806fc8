"""What every model must do, for every file here: the contract of Generator and Discriminator, at every size."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from baselines.layers import use_bf16
from baselines.losses import LOSSES
from baselines.models import MODELS
from baselines.recipe import SIZES, Recipe
from baselines.regularizers import GradGap
from baselines.scoring import Scorer

PUBLISHED = {  # model, resolution -> parameters of G and D, unconditional, counted from the peers' own modules
    ("dcgan", 64): (3_576_704, 2_765_568),  # PyTorch's DCGAN example
    ("wgan", 64): (12_220_675, 10_141_441),  # mimicry
}


def recipe_of(model, resolution) -> Recipe:
    """The default recipe of a model for a size."""
    for recipe in model.RECIPES.values():
        if resolution in recipe.resolutions:
            return recipe
    pytest.skip(f"{model.__name__} has no recipe for {resolution} px")


def build(name, resolution, classes, **options):
    model = MODELS[name]
    recipe = recipe_of(model, resolution)
    return (model.Generator(resolution, classes, **{**recipe.generator, **options}),
            model.Discriminator(resolution, classes, **{**recipe.discriminator, **options}))


def count(module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("name, resolution", PUBLISHED)
def test_parameter_counts_are_the_published_ones(name, resolution):
    with torch.device("meta"):
        assert tuple(map(count, build(name, resolution, 0))) == PUBLISHED[name, resolution]


def test_wgan_operations_are_the_published_ones():
    """mimicry's D step and G step take 27.2 GFLOP an image at 64 px, without the gradient penalty.

    Ours leaves out what nobody uses, the gradients of D's weights in the G step: as many as D's forward pass.
    """
    n = 2
    with torch.device("meta"):
        G, D = build("wgan", 64, 0)
        y, x = torch.zeros(n, dtype=torch.long), torch.randn(n, 3, 64, 64)
        with FlopCounterMode(display=False) as one_pass:
            D(x, y)
        with FlopCounterMode(display=False) as iteration:
            with torch.no_grad():
                fake = G(torch.randn(n, G.latent), y)
            real, fake = Scorer(D).pair(x, y, fake, y, gradient=False)
            (real.logits.mean() + fake.logits.mean()).backward()
            D.requires_grad_(False)
            D(G(torch.randn(n, G.latent), y), y).mean().backward()
    operations = (iteration.get_total_flops() + one_pass.get_total_flops()) / n
    assert operations == pytest.approx(27.2e9, rel=0.01)


@pytest.mark.parametrize("resolution, classes", [*((size, 5) for size in SIZES), (32, 0), (64, 0), (128, 0)])
@pytest.mark.parametrize("name", MODELS)
def test_one_iteration_with_and_without_the_regularizer(name, resolution, classes):
    """At every size, on a thin twin: shapes, and a finite gradient for every parameter from loss and penalty.

    Above 256 px on the meta device, which has shapes and gradients, but no numbers.
    """
    torch.manual_seed(0)
    n, device = 2, "cpu"
    if "mbstd_group" in recipe_of(MODELS[name], resolution).discriminator:
        n = 4
    if resolution > 256:
        device = "meta"
    with torch.device(device):
        G, D = build(name, resolution, classes, width=1 / 32)
        y = torch.arange(n) % max(classes, 1)
        images = G(torch.randn(n, G.latent), y)
        assert images.shape == (n, 3, resolution, resolution) and is_finite(images)
        loss = LOSSES[recipe_of(MODELS[name], resolution).loss]
        loss.generator(D(images, y)).backward()
        assert all(p.grad is not None for p in G.parameters() if p.requires_grad)
        for penalty in (None, GradGap()):
            D.zero_grad()
            real, fake = Scorer(D).pair(torch.randn_like(images), y, images.detach(), y)
            assert real.logits.shape == (n,)
            total = loss.discriminator(real.logits, fake.logits)
            if penalty:
                total = total + penalty(D, real, fake)
            total.backward()
            assert all(p.grad is not None and is_finite(p.grad) for p in D.parameters())


def is_finite(numbers: torch.Tensor) -> bool:
    return numbers.is_meta or bool(numbers.isfinite().all())


@pytest.mark.parametrize("name", MODELS)
def test_bf16_points_where_float32_does(name):
    """The gradients of both losses and of gradgap, which is a gradient of a gradient, over all parameters."""
    torch.manual_seed(0)
    G, D = build(name, 32, 5, width=1 / 4)
    loss, n = LOSSES[recipe_of(MODELS[name], 32).loss], 8
    x, y, z = torch.rand(n, 3, 32, 32) * 2 - 1, torch.arange(n) % 5, torch.randn(n, G.latent)
    state = {key: value.clone() for key, value in D.state_dict().items()}  # power iteration moves it

    def gradients(images):
        for penalty in (None, GradGap()):
            D.load_state_dict(state)
            D.zero_grad()
            real, fake = Scorer(D).pair(x, y, images, y)
            (penalty(D, real, fake) if penalty else loss.discriminator(real.logits, fake.logits)).backward()
            yield torch.cat([p.grad.flatten() for p in D.parameters() if p.grad is not None])
        D.load_state_dict(state)
        G.zero_grad()
        torch.manual_seed(1)
        loss.generator(D(G(z, y), y)).backward()
        yield torch.cat([p.grad.flatten() for p in G.parameters()])

    images = G(z, y).detach()
    expected = list(gradients(images))
    for network in (G, D):
        use_bf16(network)
    assert G(z, y).dtype == D(images, y).dtype == torch.float32
    for want, got in zip(expected, gradients(images), strict=True):
        assert got.dtype == torch.float32 and not torch.equal(got, want)
        assert torch.cosine_similarity(got, want, dim=0) > 0.97


@pytest.mark.parametrize("classes", [0, 5])
@pytest.mark.parametrize("name", MODELS)
def test_the_same_seed_and_state_give_the_same_images(name, classes):
    def images(seed, state=None):
        torch.manual_seed(seed)
        G, _ = build(name, 32, classes, width=1 / 16)
        if state:
            G.load_state_dict(state)
        torch.manual_seed(7)
        with torch.no_grad():
            return G.eval()(torch.randn(3, G.latent), torch.arange(3)), G.state_dict()

    first, state = images(0)
    assert torch.equal(first, images(0)[0]) and torch.equal(first, images(1, state)[0])
    assert not torch.equal(first, images(1)[0])


@pytest.mark.parametrize("name", MODELS)
def test_a_conditional_model_uses_its_label(name):
    torch.manual_seed(0)
    G, D = build(name, 32, 5, width=1 / 16)
    with torch.no_grad():
        for parameter in [*G.parameters(), *D.parameters()]:  # some label tables begin at constants
            parameter.add_(0.05 * torch.randn_like(parameter))
    G, D, z = G.eval(), D.eval(), torch.randn(1, G.latent).expand(4, -1)
    torch.manual_seed(1)
    x, y = torch.randn(1, 3, 32, 32).expand(4, -1, -1, -1), torch.tensor([0, 1, 2, 3])
    scores, images = D(x, y), G(z, y)
    assert scores[0] != scores[1] and (images[0] - images[1]).abs().max() > 1e-4
