"""Layers that more than one model is built of, and what a layer asks about the batch where its rows are not alone."""

from collections.abc import Callable
from contextvars import ContextVar
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import ParametrizationList


class Rows(NamedTuple):
    """The rows [start, stop) of a batch of `whole`."""

    start: int
    stop: int
    whole: int


# Which rows of a batch a network sees now, where the batch is cut into slices (reproduce.pieces). None: all of them
ROWS: ContextVar[Rows | None] = ContextVar("rows", default=None)


def batch_size(x: Tensor) -> int:
    """How many rows the whole batch has, where x may be a slice of it."""
    rows = ROWS.get()
    if rows is None:
        return len(x)
    return len(x) * rows.whole // (rows.stop - rows.start)  # x may hold two halves, each with a slice of its own


def noise_like(x: Tensor) -> Tensor:
    """Standard normal noise shaped and typed as x, the same for a row of a batch however that is cut."""
    if not ROWS.get():
        return torch.randn_like(x)
    start, stop, whole = ROWS.get()
    return torch.randn(whole, *x.shape[1:], dtype=x.dtype, device=x.device)[start:stop]


def group_size(n: int, limit: int) -> int:
    """The largest divisor of n up to a limit: how many consecutive rows make a group of equal size."""
    return max(k for k in range(1, limit + 1) if n % k == 0)


def trunk(network: nn.Module) -> nn.Module:
    """Where nearly all of a network's work is: of a generator with a mapping to styles its `synthesis`, else all."""
    return getattr(network, "synthesis", network)


def use_bf16(network: nn.Module) -> None:
    """Have a network compute in bfloat16, by autocast. What goes in and comes out, and the weights, stay float32.

    bfloat16 has float32's range, so that losses and penalties need no scaling. Only the trunk changes, and in it no
    spectral norm: power iteration needs the digits.
    """
    part = trunk(network)
    whole, kind = part.forward, next(part.parameters()).device.type

    def forward(*inputs: Tensor) -> Tensor:
        with torch.autocast(kind, torch.bfloat16):
            return whole(*inputs).float()

    part.forward = forward
    for module in part.modules():
        if isinstance(module, ParametrizationList):
            module.forward = torch.autocast(kind, enabled=False)(module.forward)


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
        h = self.norm(h)
        return torch.addcmul(bias[:, :, None, None].to(h.dtype), h, gain[:, :, None, None].to(h.dtype))
