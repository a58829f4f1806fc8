"""Adversarial losses. Each is a pair: the discriminator's loss and the generator's, both to be minimised."""

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor
from torch.nn.functional import relu, softplus


class Loss(NamedTuple):
    """discriminator(real logits [N], generated logits [N]) and generator(generated logits [N]), both scalars."""

    discriminator: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[[Tensor], Tensor]


LOSSES = {
    # Goodfellow et al. 2014, non-saturating; the paper's equation 1 with l(t) = log(1 + exp(t))
    "logistic": Loss(lambda real, fake: softplus(-real).mean() + softplus(fake).mean(),
                     lambda fake: softplus(-fake).mean()),
    # Lim & Ye 2017, equation 3; the paper's equation 1 with l_D(t) = max(0, 1 + t), l_G(t) = t
    "hinge": Loss(lambda real, fake: relu(1 - real).mean() + relu(1 + fake).mean(),
                  lambda fake: -fake.mean()),
    # Arjovsky et al. 2017, equation 2
    "wasserstein": Loss(lambda real, fake: fake.mean() - real.mean(),
                        lambda fake: -fake.mean()),
}
