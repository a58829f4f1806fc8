"""Layers that more than one model is built of."""

from collections.abc import Callable

import torch
from torch import Tensor, nn


class PlainNorm(nn.BatchNorm2d):
    """Batch norm that takes no condition."""

    def forward(self, h: Tensor, condition: Tensor) -> Tensor:
        return super().forward(h)


class ConditionalNorm(nn.Module):
    """Batch norm whose gain and bias are functions of a condition: BN(h) (1 + gain(c)) + bias(c).

    `table(channels)` makes such a function: of a label [N] (an embedding) or of a vector [N, C] (a linear layer).
    """

    def __init__(self, channels: int, table: Callable[[int], nn.Module]):
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.gain, self.bias = table(channels), table(channels)

    def forward(self, h: Tensor, condition: Tensor) -> Tensor:
        gain, bias = 1 + self.gain(condition), self.bias(condition)  # [N, channels]
        return torch.addcmul(bias[:, :, None, None], self.norm(h), gain[:, :, None, None])
