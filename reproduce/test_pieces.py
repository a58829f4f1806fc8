"""A batch in slices against the whole batch: the same gradients, buffers and random numbers, in less memory."""

from contextlib import contextmanager
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from baselines.layers import Rows, trunk
from baselines.losses import LOSSES
from baselines.models import MODELS
from baselines.regularizers import REGULARIZERS, Regularizer, Training
from baselines.scoring import Drawer, Scorer
from benchmarks.runs import InputError
from reproduce.counting import PeakMemory
from reproduce.pieces import Pieces

BATCH, CLASSES = 12, 3


@contextmanager
def float64():
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


def networks(model: str) -> tuple[nn.Module, nn.Module]:
    """G and D in which every parameter, also one that begins at zero, has a say."""
    torch.manual_seed(0)
    recipe = next(recipe for recipe in MODELS[model].RECIPES.values() if 32 in recipe.resolutions)
    G = MODELS[model].Generator(32, CLASSES, **{**recipe.generator, "width": 0.03})
    D = MODELS[model].Discriminator(32, CLASSES, **{**recipe.discriminator, "width": 0.03})
    for parameter in (*G.parameters(), *D.parameters()):
        nn.init.normal_(parameter, std=0.3)
    return G, D


def penalties(G: nn.Module, of: str) -> list[Regularizer]:
    """All that the network can have, none of them silent at first."""
    found = []
    for make in REGULARIZERS.values():
        member = make()
        member.starts_after = 0
        member.begin(Training(BATCH, d_steps=1, iterations=1))
        if member.of == of and (of == "D" or trunk(G) is not G):
            found.append(member)
    return found


def step(model: str, pieces: Pieces) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor]:
    """One step of D and one of G with all penalties: gradients, buffers, and the random number that comes next."""
    networks_g, networks_d = networks(model)
    G, D = Drawer(networks_g, pieces), Scorer(networks_d, pieces)
    x, y = torch.randn(BATCH, 3, 32, 32), torch.arange(BATCH) % CLASSES
    z = partial(torch.randn, BATCH, G.network.latent)
    loss = LOSSES["logistic"]
    with torch.no_grad():
        drawn = G(z(), y)
    real, fake = D.pair(x, y, drawn, y)
    total = loss.discriminator(real.logits, fake.logits)
    for penalty in penalties(G.network, "D"):
        total = total + penalty(D, real, fake)
    total.backward()
    D.network.requires_grad_(False)
    total = loss.generator(D.logits(G(z(), y), y))
    for penalty in penalties(G.network, "G"):
        total = total + penalty(G, z(), y)
    total.backward()
    both = nn.ModuleList([G.network, D.network])
    return {name: p.grad for name, p in both.named_parameters()}, dict(both.named_buffers()), torch.rand(3)


@pytest.mark.parametrize("model", MODELS)
def test_slices_give_the_gradients_of_the_whole_batch(model):
    """Slices of 5, 5 and 2, or of a group of 4: every penalty; buffers and random numbers advance once."""
    group = 4 if model == "stylegan2" else 1
    with float64():
        whole, before, number = step(model, Pieces())
        sliced, after, same = step(model, Pieces(micro_batch=5, group=group))
    scale = max(gradient.abs().max() for gradient in whole.values())
    for name, gradient in whole.items():
        assert (gradient - sliced[name]).abs().max() < 1e-12 * scale, name
    for name, buffer in before.items():
        torch.testing.assert_close(after[name], buffer, rtol=1e-12, atol=1e-12)
    assert torch.equal(number, same)


@pytest.mark.parametrize("model", [name for name in MODELS if MODELS[name].Discriminator.joint])
def test_slices_take_less_memory(model):
    """Of a whole step with a penalty on the gradient's norm, counted on the meta device."""

    def peak(pieces: Pieces) -> int:
        with torch.device("meta"):
            recipe = next(recipe for recipe in MODELS[model].RECIPES.values() if 32 in recipe.resolutions)
            D = Scorer(MODELS[model].Discriminator(32, 0, **{**recipe.discriminator, "width": 0.1}), pieces)
            x, y = torch.randn(8, 3, 32, 32), torch.zeros(8, dtype=torch.long)
            with PeakMemory() as memory:
                REGULARIZERS["gradgap"]()(D, *D.pair(x, y, x, y)).backward()
        return memory.peak

    assert peak(Pieces(micro_batch=4, group=4)) < 0.65 * peak(Pieces())  # half of the graph


class OfItsOwn(Regularizer):
    """Differentiates what D says by itself, as the scorer's users need not."""

    def forward(self, D, real, fake):
        x = real.x.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(D.logits(x, real.y).sum(), x, create_graph=True)
        return gradient.square().sum()


def test_what_cannot_be_sliced_says_so():
    _, D = networks("wgan")
    x, y = torch.randn(4, 3, 32, 32), torch.zeros(4, dtype=torch.long)
    for pieces in (Pieces(), Pieces(micro_batch=2)):
        scorer = Scorer(D, pieces)
        real, fake = scorer.pair(x, y, x, y)
        if pieces.micro_batch:
            with pytest.raises(InputError, match="cannot be evaluated in slices.*MICRO_BATCH"):
                OfItsOwn()(scorer, real, fake)
        else:
            OfItsOwn()(scorer, real, fake).backward()


def test_a_batch_that_is_too_small_to_share_is_whole_in_every_process(monkeypatch):
    """Cut into slices its values would be taken for those of some rows, and be added up over the processes."""
    monkeypatch.setattr("reproduce.pieces.processes", lambda: 4)
    assert Pieces(micro_batch=1).slices(nn.Linear(1, 1), 3) == [Rows(0, 3, 3)]
