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

BUDGET = {"cpu": 0}  # bytes of uint8 images kept on a device, by its type
DEFAULT_BUDGET = 4 << 30
AHEAD = 4  # batches read ahead, each by a thread of its own
ORDER, MIRROR = 0, 1  # the two uses of randomness, kept apart


class Feed:
    """feed(step) -> x [batch, 3, R, R] in [-1, 1], y long [batch], both on the device.

    indices  rows of the data set to draw from. An epoch draws each once, and epochs follow one another without a gap,
             so that batches are full and a set may be smaller than a batch
    flip     whether to mirror each image with probability 1/2
    budget   bytes of images to keep on the device; BUDGET if not given
    labels   the labels of the images in `indices`, long [len(indices)] on the device
    """

    def __init__(self, dataset: Dataset, indices: np.ndarray, batch: int, seed: int, device: str | torch.device,
                 flip: bool, budget: int | None = None):
        self.dataset, self.indices, self.batch, self.seed, self.flip = dataset, indices, batch, seed, flip
        self.device = torch.device(device)
        self.labels = torch.from_numpy(dataset.labels[indices]).to(self.device)
        if budget is None:
            budget = BUDGET.get(self.device.type, DEFAULT_BUDGET)
        self.images = None  # those in `indices`, where they are kept on the device
        if len(indices) * dataset.images[0].nbytes <= budget:
            self.images = torch.from_numpy(dataset.images[indices]).to(self.device)
        self.threads = ThreadPoolExecutor(AHEAD, "feed")
        self.ahead: dict[int, Future[Tensor]] = {}
        self.order = lru_cache(maxsize=AHEAD)(self._order)

    def __call__(self, step: int) -> tuple[Tensor, Tensor]:
        rows = self._sent(torch.from_numpy(self.rows(step)))
        if self.images is None:
            images = self._streamed(step)
        else:
            images = self._gathered(rows, step)
        return to_floats(images), self.labels[rows]

    def _sent(self, host: Tensor) -> Tensor:
        """Copy to the device without waiting for its work. CUDA copies unpinned memory aside before the call ends."""
        return host.to(self.device, non_blocking=True)

    def rows(self, step: int) -> np.ndarray:
        """Positions in `indices` of the images of batch number `step`, int64 [batch]."""
        drawn = np.arange(step * self.batch, (step + 1) * self.batch)
        epochs, places = np.divmod(drawn, len(self.indices))
        rows = []
        for epoch in np.unique(epochs):
            order = self.order(int(epoch))
            rows.append(order[places[epochs == epoch]])
        return np.concatenate(rows)

    def _order(self, epoch: int) -> np.ndarray:
        return np.random.default_rng((self.seed, ORDER, epoch)).permutation(len(self.indices))

    def _mirrored(self, step: int) -> np.ndarray:
        """Which images of a batch to mirror, bool [batch]."""
        if not self.flip:
            return np.zeros(self.batch, bool)
        return np.random.default_rng((self.seed, MIRROR, step)).random(self.batch) < 0.5

    def _gathered(self, rows: Tensor, step: int) -> Tensor:
        """Batch `step` from the images on the device, uint8."""
        images = self.images[rows]
        mirrored = self._sent(torch.from_numpy(self._mirrored(step)))
        return torch.where(mirrored[:, None, None, None], images.flip(3), images)

    def _streamed(self, step: int) -> Tensor:
        """Batch `step` from the memory map, uint8 on the device; the next ones are read meanwhile."""
        wanted = range(step, step + AHEAD)
        self.ahead = {number: self.ahead.get(number) or self.threads.submit(self._read, number) for number in wanted}
        return self._sent(self.ahead.pop(step).result())

    def _read(self, step: int) -> Tensor:
        """Batch `step` from the memory map, uint8 on the CPU."""
        shape = (self.batch, *self.dataset.images.shape[1:])
        batch = torch.empty(shape, dtype=torch.uint8, pin_memory=self.device.type == "cuda")
        images = batch.numpy()
        rows = self.indices[self.rows(step)]
        np.take(self.dataset.images, rows, axis=0, out=images, mode="clip")  # with this mode there is no second copy
        mirrored = self._mirrored(step)
        images[mirrored] = images[mirrored][..., ::-1]
        return batch


def to_floats(images: Tensor) -> Tensor:
    """Images uint8 as numbers in [-1, 1]."""
    return images.to(torch.get_default_dtype()).div_(127.5).sub_(1)
