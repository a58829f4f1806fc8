"""Layers that more than one model is built of, and helpers for layers that need whole-batch facts when it is split."""

from collections.abc import Callable
from contextvars import ContextVar
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import ParametrizationList


class Rows(NamedTuple):
    """A slice of a batch: the rows [start, stop) of `whole` rows."""

    start: int
    stop: int
    whole: int


# Which rows of a batch a network sees now, where the batch is cut into slices (reproduce.pieces). None: all of them
ROWS: ContextVar[Rows | None] = ContextVar("rows", default=None)


def noise_like(x: Tensor) -> Tensor:
    """Standard normal noise of the shape and type of x. A row gets the same noise however its batch is split."""
    rows = ROWS.get()
    if rows is None:
        return torch.randn_like(x)
    start, stop, whole = rows
    return torch.randn(whole, *x.shape[1:], dtype=x.dtype, device=x.device)[start:stop]


def trunk(network: nn.Module) -> nn.Module:
    """The part with nearly all of a network's work: `synthesis` of a generator with a mapping, else the network."""
    return getattr(network, "synthesis", network)


def use_bf16(network: nn.Module) -> None:
    """Let a network compute in bfloat16 by autocast. Its inputs, outputs and weights stay float32.

    bfloat16 has float32's range, so losses and penalties need no scaling. Only the trunk computes in it, and its
    spectral norms do not, because power iteration needs float32's precision.
    """
    part = trunk(network)
    compute, kind = part.forward, next(part.parameters()).device.type

    def forward(*inputs: Tensor) -> Tensor:
        with torch.autocast(kind, torch.bfloat16):
            return compute(*inputs).float()

    part.forward = forward
    for module in part.modules():
        if isinstance(module, ParametrizationList):
            module.forward = torch.autocast(kind, enabled=False)(module.forward)


class PlainNorm(nn.BatchNorm2d):
    """Batch norm with the signature of ConditionalNorm, which ignores the condition."""

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
        h = self.norm(h)
        return torch.addcmul(bias[:, :, None, None].to(h.dtype), h, gain[:, :, None, None].to(h.dtype))
