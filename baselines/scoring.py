"""What a regularizer sees of the networks: scores of images with their gradients, and images of styles.

Everything here is a function of single images, so that a batch may be evaluated in slices (reproduce/pieces.py).
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from baselines.layers import trunk


class Scored(NamedTuple):
    """A batch of images and what the discriminator says of each.

    x         [N, 3, H, W] in [-1, 1], after augmentation: what the discriminator sees
    y         [N] class labels
    logits    [N]
    gradient  dD/dx [N, 3*H*W], the one gradient that penalties differentiate and plots measure; None if not asked for
    """

    x: Tensor
    y: Tensor
    logits: Tensor
    gradient: Tensor | None

    def norms(self) -> Tensor:
        """|| dD/dx_i ||_2 of every image, [N]; differentiable by the discriminator's parameters."""
        if self.gradient is None:
            raise ValueError("gradients are not there: a regularizer that reads them has uses_gradients = True")
        return self.gradient.norm(dim=1)


def whole(network: nn.Module, function: Callable, *inputs: Tensor) -> object:
    """function(*inputs), on the whole batch at once. reproduce.pieces has the form that cuts the batch."""
    return function(*inputs)


class Scorer:
    """The discriminator as a regularizer sees it: `D(x, y)` scores any batch of images x [N, 3, H, W] and labels y [N].

    network   forward(x, y) -> logits [N]
    evaluate  evaluate(network, function, *inputs) gives the outputs of a function of rows, as `whole` does
    """

    def __init__(self, network: nn.Module, evaluate: Callable = whole):
        self.network, self.evaluate = network, evaluate

    def __call__(self, x: Tensor, y: Tensor, gradient: bool = True) -> Scored:
        """Scores of images that are constants. `gradient` asks for dD/dx too."""
        score = partial(_score, self.network, gradient=gradient, create_graph=True)
        return Scored(x, y, *self.evaluate(self.network, score, x, y))

    def pair(self, real: Tensor, y_real: Tensor, fake: Tensor, y_fake: Tensor, gradient: bool = True,
             create_graph: bool = True) -> tuple[Scored, Scored]:
        """Scores of real and of generated images from one forward pass over both, and one backward pass to them.

        A discriminator with `joint = False` (its batch statistics must not mix the two) sees them one after the other.
        `create_graph` says whether the gradients will be differentiated again.
        """
        score = partial(_score_pair, self.network, gradient=gradient, create_graph=create_graph)
        values = self.evaluate(self.network, score, real, y_real, fake, y_fake)
        return Scored(real, y_real, *values[:2]), Scored(fake, y_fake, *values[2:])

    def logits(self, x: Tensor, y: Tensor) -> Tensor:
        """Logits [N] through which a gradient flows back into the images."""
        return self.evaluate(self.network, self.network, x, y)


def _score(network: nn.Module, x: Tensor, y: Tensor, gradient: bool, create_graph: bool
           ) -> tuple[Tensor, Tensor | None]:
    """Logits [N] and dD/dx [N, 3*H*W] of constant images."""
    return _with_gradient(lambda images: network(images, y), x.detach(), gradient, create_graph)


def _score_pair(network: nn.Module, real: Tensor, y_real: Tensor, fake: Tensor, y_fake: Tensor, gradient: bool,
                create_graph: bool) -> tuple[Tensor | None, ...]:
    """Logits and dD/dx of real images, then of generated ones."""
    n = len(real)
    y = torch.cat([y_real, y_fake])

    def logits(x: Tensor) -> Tensor:
        if getattr(network, "joint", True):
            return network(x, y)
        return torch.cat([network(x[:n], y[:n]), network(x[n:], y[n:])])

    scores, slopes = _with_gradient(logits, torch.cat([real, fake]).detach(), gradient, create_graph)
    if slopes is None:
        return scores[:n], None, scores[n:], None
    return scores[:n], slopes[:n], scores[n:], slopes[n:]


def _with_gradient(function: Callable[[Tensor], Tensor], x: Tensor, gradient: bool, create_graph: bool
                   ) -> tuple[Tensor, Tensor | None]:
    """function(x) [N] and, if asked for, its gradient by x [N, ...], flattened."""
    if not gradient:
        return function(x), None
    differentiated = torch.is_grad_enabled()
    with torch.enable_grad():
        x.requires_grad_()
        values = function(x)
        (slopes,) = torch.autograd.grad(values, x, torch.ones_like(values), retain_graph=differentiated,
                                        create_graph=differentiated and create_graph)
        return values, slopes.flatten(1)


class Drawer:
    """The generator, on batches that may be evaluated in slices: `G(z, y)` draws images [N, 3, H, W].

    network   the generator; the part that is sliced is its trunk (baselines.layers)
    evaluate  as of Scorer
    """

    def __init__(self, network: nn.Module, evaluate: Callable = whole):
        self.network, self.evaluate = network, evaluate

    def __call__(self, z: Tensor, y: Tensor) -> Tensor:
        if trunk(self.network) is self.network:
            return self.evaluate(self.network, self.network, z, y)
        return self.per_image(lambda synthesis, ws: synthesis(ws), self.network.mapping(z, y))

    def per_image(self, function: Callable[..., Tensor], ws: Tensor) -> Tensor:
        """function(synthesis, ws) of the styles of each image; its result has a row for each."""
        synthesis = trunk(self.network)
        return self.evaluate(synthesis, partial(function, synthesis), ws)
