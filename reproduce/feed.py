"""Batches of real images for training, as a pure function of (seed, step), so that a resumed run sees the same ones.

On an accelerator, a set within the byte budget lives there as uint8, and a batch is one gather. Otherwise it stays in
its memory map, and a few threads read ahead, into pinned memory for CUDA. Both give the same batches, bit for bit.
"""

from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from benchmarks.datasets import Dataset
from benchmarks.runs import InputError

BUDGET = {"cpu": 0}  # bytes of uint8 images kept on a device, by its type
DEFAULT_BUDGET = 4 << 30
AHEAD = 4  # batches read ahead, each by a thread of its own
ORDER, MIRROR = 0, 1  # the two uses of randomness, kept apart


class Feed:
    """feed(step) -> x [batch, 3, R, R] in [-1, 1], y long [batch], both on the device.

    indices  rows of the data set to draw from: without replacement within an epoch, epochs following one another
             without a gap, so that batches are full and a set may be smaller than a batch
    flip     whether to mirror each image with probability 1/2
    budget   bytes of images to keep on the device; BUDGET if not given
    labels   those of the images in `indices`, long [len(indices)] on the device
    """

    def __init__(self, dataset: Dataset, indices: np.ndarray, batch: int, seed: int, device: str | torch.device,
                 flip: bool, budget: int | None = None):
        if not len(indices):
            raise InputError(f"dataset {dataset.name!r}: no image to draw from")
        self.dataset, self.indices, self.batch, self.seed, self.flip = dataset, indices, batch, seed, flip
        self.device = torch.device(device)
        self.labels = torch.from_numpy(dataset.labels[indices]).to(self.device)
        budget = BUDGET.get(self.device.type, DEFAULT_BUDGET) if budget is None else budget
        resident = len(indices) * dataset.images[0].nbytes <= budget
        self.images = torch.from_numpy(dataset.images[indices]).to(self.device) if resident else None
        self.threads = ThreadPoolExecutor(AHEAD, "feed")
        self.ahead: dict[int, Future[Tensor]] = {}
        self.order = lru_cache(maxsize=AHEAD)(self._order)

    def __call__(self, step: int) -> tuple[Tensor, Tensor]:
        rows = self._sent(torch.from_numpy(self.rows(step)))
        images = self._streamed(step) if self.images is None else self._gathered(rows, step)
        return images.to(torch.get_default_dtype()).div_(127.5).sub_(1), self.labels[rows]

    def _sent(self, host: Tensor) -> Tensor:
        """On the device, without waiting for what that is doing; CUDA sets unpinned memory aside before it goes on."""
        return host.to(self.device, non_blocking=True)

    def rows(self, step: int) -> np.ndarray:
        """Positions in `indices` of the images of batch number `step`, int64 [batch]."""
        epoch, place = np.divmod(np.arange(step * self.batch, (step + 1) * self.batch), len(self.indices))
        return np.concatenate([self.order(int(e))[place[epoch == e]] for e in np.unique(epoch)])

    def _order(self, epoch: int) -> np.ndarray:
        return np.random.default_rng((self.seed, ORDER, epoch)).permutation(len(self.indices))

    def _mirrored(self, step: int) -> np.ndarray:
        """Which images of a batch to mirror, bool [batch]."""
        return np.random.default_rng((self.seed, MIRROR, step)).random(self.batch) < (0.5 if self.flip else 0)

    def _gathered(self, rows: Tensor, step: int) -> Tensor:
        images, mirrored = self.images[rows], self._sent(torch.from_numpy(self._mirrored(step)))
        return torch.where(mirrored[:, None, None, None], images.flip(3), images)

    def _streamed(self, step: int) -> Tensor:
        """Batch `step` from the memory map, uint8 on the device; the next ones are read meanwhile."""
        wanted = range(step, step + AHEAD)
        self.ahead = {s: self.ahead.get(s) or self.threads.submit(self._read, s) for s in wanted}
        return self._sent(self.ahead.pop(step).result())

    def _read(self, step: int) -> Tensor:
        shape = (self.batch, *self.dataset.images.shape[1:])
        batch = torch.empty(shape, dtype=torch.uint8, pin_memory=self.device.type == "cuda")
        images, mirrored = batch.numpy(), self._mirrored(step)
        np.take(self.dataset.images, self.indices[self.rows(step)], axis=0, out=images, mode="clip")  # no second copy
        images[mirrored] = images[mirrored][..., ::-1]
        return batch
