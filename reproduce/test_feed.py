"""Feeding: epochs without replacement, a function of seed and step only, the same from device and memory map."""

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.datasets import Dataset
from reproduce.feed import Feed

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))]
BUDGETS = {"streamed": 0, "resident": 1 << 30}


@pytest.fixture
def dataset(tmp_path) -> Dataset:
    """Image i has i at its left and 255 at its right, so that it can be told apart and its mirror image too."""
    images = np.zeros((40, 3, 8, 8), np.uint8)
    images[..., 0], images[..., -1] = np.arange(40)[:, None, None], 255
    np.save(tmp_path / "images.npy", images)
    return Dataset("forty", np.load(tmp_path / "images.npy", mmap_mode="r"), np.arange(40), 40, True, "")


def seen(x: torch.Tensor) -> list[int]:
    """Which image each one is, whether mirrored or not."""
    return (x[:, 0, 0, [0, -1]].min(1).values * 127.5 + 127.5).round().int().tolist()


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("batch", [1, 7, 10, 25])
def test_every_epoch_shows_every_image_once(dataset, batch, budget):
    indices = np.arange(5, 15)
    feed = Feed(dataset, indices, batch, seed=0, device="cpu", flip=True, budget=BUDGETS[budget])
    stream = sum((seen(feed(step)[0]) for step in range(10)), [])
    epochs = [stream[i : i + 10] for i in range(0, len(stream) - 9, 10)]
    assert all(sorted(epoch) == indices.tolist() for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == len(epochs), "each epoch in another order"


@pytest.mark.parametrize("device", DEVICES)
def test_values_labels_and_types(dataset, device):
    x, y = Feed(dataset, np.arange(40), 16, 0, device, flip=False)(3)
    assert (x.shape, x.dtype, y.dtype, x.device.type) == ((16, 3, 8, 8), torch.float32, torch.int64, device)
    expected = dataset.images[y.cpu().numpy()].astype(np.float64) / 127.5 - 1
    np.testing.assert_allclose(x.cpu(), expected, atol=1e-6)


@pytest.mark.parametrize("device", DEVICES)
def test_device_and_memory_map_give_the_same_batches_in_any_order(dataset, device):
    resident, streamed = (Feed(dataset, np.arange(3, 33), 16, 5, device, True, budget) for budget in (1 << 30, 0))
    expected = [resident(step) for step in range(12)]
    for step in [0, 1, 2, 3, 4, 9, 10, 11, 2, 7]:  # as after a resume, too
        assert all(torch.equal(a, b) for a, b in zip(streamed(step), expected[step], strict=True))


class Copies(TorchDispatchMode):
    """Collects, of each copy between devices, whether the host waits for it."""

    def __init__(self):
        super().__init__()
        self.wait = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is torch.ops.aten._to_copy.default and kwargs.get("device") not in (None, args[0].device):
            self.wait.append(not kwargs.get("non_blocking"))
        return func(*args, **kwargs)


@pytest.mark.parametrize("budget", BUDGETS)
def test_the_host_does_not_wait_for_the_device(dataset, budget):
    """The meta device is one that is not the CPU."""
    feed = Feed(dataset, np.arange(40), 16, 0, "meta", True, BUDGETS[budget])
    with Copies() as copies:
        feed(0)
    assert copies.wait == [False, False]  # which images, and these or which to mirror


def test_half_of_the_images_are_mirrored_unless_told_not_to(dataset):
    feed, plain = (Feed(dataset, np.arange(40), 16, 0, "cpu", flip) for flip in (True, False))
    mirrored = np.concatenate([feed(step)[0][:, 0, 0, 0] == 1 for step in range(100)])
    assert abs(mirrored.mean() - 0.5) < 4 * 0.5 / np.sqrt(mirrored.size)
    assert not any((plain(step)[0][:, 0, 0, 0] == 1).any() for step in range(5))
    assert seen(feed(7)[0]) == seen(plain(7)[0]), "the order does not depend on flip"


def test_seeds_differ(dataset):
    a, b = (Feed(dataset, np.arange(40), 40, seed, "cpu", False) for seed in (0, 1))
    assert seen(a(0)[0]) != seen(b(0)[0])


def test_error_while_reading_ahead_is_raised(dataset, monkeypatch):
    feed = Feed(dataset, np.arange(40), 16, 0, "cpu", True)
    monkeypatch.setattr(feed, "_mirrored", lambda step: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        feed(0)
