"""Batches of real images for training, as a pure function of (seed, step), so that a resumed run sees the same ones.

A set within the byte budget lives on the device as uint8, and a batch is one gather. A larger one stays in its memory
map, and a few threads read ahead into pinned memory. Both give the same batches, bit for bit.
"""

from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from benchmarks.datasets import Dataset
from benchmarks.tables import InputError

BUDGET = 4 << 30  # bytes of uint8 images kept on the device
AHEAD = 4  # batches read ahead, each by a thread of its own
ORDER, MIRROR = 0, 1  # the two uses of randomness, kept apart


class Feed:
    """feed(step) -> x float32 [batch, 3, R, R] in [-1, 1], y long [batch], both on the device.

    indices  rows of the data set to draw from: without replacement within an epoch, epochs following one another
             without a gap, so that batches are full and a set may be smaller than a batch
    flip     whether to mirror each image with probability 1/2
    """

    def __init__(self, dataset: Dataset, indices: np.ndarray, batch: int, seed: int, device: str | torch.device,
                 flip: bool, budget: int = BUDGET):
        if not len(indices):
            raise InputError(f"dataset {dataset.name!r}: no image to draw from")
        self.indices, self.batch, self.seed, self.device, self.flip = indices, batch, seed, torch.device(device), flip
        self.dataset = dataset
        self.labels = torch.from_numpy(dataset.labels[indices]).to(self.device)
        resident = len(indices) * dataset.images[0].nbytes <= budget
        self.images = torch.from_numpy(dataset.images[indices]).to(self.device) if resident else None
        self.threads = None if resident else ThreadPoolExecutor(AHEAD, "feed")
        self.pending: dict[int, Future] = {}
        self.order = lru_cache(maxsize=AHEAD)(self._order)

    def __call__(self, step: int) -> tuple[Tensor, Tensor]:
        rows = self.rows(step)
        on_device = torch.from_numpy(rows).to(self.device)
        images = self._streamed(step) if self.images is None else self.images[on_device]
        return self._mirrored(images, step).float().div_(127.5).sub_(1), self.labels[on_device]

    def rows(self, step: int) -> np.ndarray:
        """Positions in `indices` of batch number `step`, int64 [batch]."""
        epoch, place = np.divmod(np.arange(step * self.batch, (step + 1) * self.batch), len(self.indices))
        return np.concatenate([self.order(int(e))[place[epoch == e]] for e in np.unique(epoch)])

    def _order(self, epoch: int) -> np.ndarray:
        return np.random.default_rng((self.seed, ORDER, epoch)).permutation(len(self.indices))

    def _mirrored(self, images: Tensor, step: int) -> Tensor:
        if not self.flip:
            return images
        mirror = np.random.default_rng((self.seed, MIRROR, step)).random(self.batch) < 0.5
        return torch.where(torch.from_numpy(mirror).to(self.device)[:, None, None, None], images.flip(3), images)

    def _streamed(self, step: int) -> Tensor:
        """Batch `step` from the memory map, uint8 on the device; the next ones are asked for meanwhile."""
        wanted = range(step, step + AHEAD)
        self.pending = {s: self.pending.get(s) or self.threads.submit(self._read, s) for s in wanted}
        return self.pending.pop(step).result().to(self.device, non_blocking=True)

    def _read(self, step: int) -> Tensor:
        rows = self.indices[self.rows(step)]
        images = torch.empty((self.batch, *self.dataset.images.shape[1:]), dtype=torch.uint8,
                             pin_memory=self.device.type == "cuda")
        np.take(self.dataset.images, rows, axis=0, out=images.numpy(), mode="clip")  # "raise" would copy once more
        return images
