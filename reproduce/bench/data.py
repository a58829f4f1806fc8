"""`make bench-data`: images/s of preparing and of feeding, and those of the code one would write without this project.

Preparing is measured against a plain Pillow loop, and feeding against torchvision's ImageFolder + DataLoader, which is
given the prepared pixels as PNG files, so that it has nothing to resize. All in one run, on images made here, each
figure the median of three rounds in turn. Writes <results>/bench/data.json.
"""

import itertools
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from benchmarks.datasets import Dataset, load
from benchmarks.prepare import cores
from benchmarks.runs import Option, command
from reproduce import machine
from reproduce.bench.harness import Work, begun, in_turn, wall_seconds, write
from reproduce.feed import Feed

COUNT = 512  # images
SIDE, RESOLUTION, BATCH, ROUNDS = 512, 256, 16, 3  # pixels of the source and of the prepared images


def photos(folder: Path, count: int) -> None:
    """JPEG files with the statistics of photographs: noise with a 1/f spectrum, in colour."""
    folder.mkdir(parents=True)
    frequency = np.hypot(np.fft.fftfreq(SIDE)[:, None], np.fft.rfftfreq(SIDE)[None]) + 1 / SIDE
    for i in range(count):
        noise = np.random.default_rng(i).standard_normal((3, SIDE, SIDE))
        image = np.fft.irfft2(np.fft.rfft2(noise) / frequency, (SIDE, SIDE))
        pixels = (128 + 50 * image / image.std()).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels.transpose(1, 2, 0)).save(folder / f"{i:05d}.jpg", quality=90)


def pillow_loop(folder: Path, target: Path) -> None:
    """The loop one would write: it opens, cuts and resizes each file, and saves the array."""
    size = (RESOLUTION, RESOLUTION)
    images = []
    for path in sorted(folder.iterdir()):
        image = Image.open(path).convert("RGB")
        images.append(np.asarray(ImageOps.fit(image, size, Image.Resampling.LANCZOS)))
    np.save(target, np.stack(images).transpose(0, 3, 1, 2))


def image_folder(folder: Path, device: torch.device) -> Iterator:
    """Batches of torchvision's, endlessly, with a worker for each core."""
    transform = v2.Compose([v2.PILToTensor(), v2.RandomHorizontalFlip(), v2.ToDtype(torch.float32, scale=True),
                            v2.Normalize([0.5] * 3, [0.5] * 3)])  # fmt: skip
    loader = DataLoader(ImageFolder(folder, transform), BATCH, shuffle=True, drop_last=True, persistent_workers=True,
                        num_workers=cores(), pin_memory=device.type == "cuda")  # fmt: skip
    while True:
        for x, y in loader:
            yield x.to(device, non_blocking=True), y.to(device, non_blocking=True)


def rates(works: dict[str, tuple[int, Work]]) -> dict[str, float]:
    """Images per second of works on so many images, each the median of some rounds."""
    seconds = in_turn({name: work for name, (_, work) in works.items()}, ROUNDS, wall_seconds)
    return {name: round(count / statistics.median(seconds[name]), 1) for name, (count, _) in works.items()}


def preparing(root: Path, count: int) -> dict[str, float]:
    """Preparing by this project, in a folder of its own each round, and by the Pillow loop."""
    photos(root / "photos", count)
    numbers = itertools.count()

    def prepare_again() -> None:
        folder = root / f"round{next(numbers)}"
        folder.mkdir()
        (folder / "photos").symlink_to(root / "photos")
        load("photos", RESOLUTION, folder)

    return rates({"prepare": (count, prepare_again),
                  "pillow_loop": (count, lambda: pillow_loop(root / "photos", root / "loop.npy"))})


def feeding(root: Path, device: torch.device) -> dict[str, float]:
    """Feeding from the device and from the memory map, against torchvision on the same pixels."""
    dataset = load("photos", RESOLUTION, root / "round0")
    everything = np.arange(len(dataset.images))
    png_files(dataset, root / "png" / "all")  # ImageFolder reads a folder of folders, one for each class
    theirs = image_folder(root / "png", device)
    ours = map(Feed(dataset, everything, BATCH, 0, device, True), itertools.count())
    streamed = map(Feed(dataset, everything, BATCH, 0, device, True, budget=0), itertools.count())
    few = max(10, len(everything) // BATCH)
    next(theirs)  # starts its workers
    return rates({"feed": (10 * few * BATCH, lambda: take(10 * few, ours)),
                  "streamed": (10 * few * BATCH, lambda: take(10 * few, streamed)),
                  "image_folder": (few * BATCH, lambda: take(few, theirs))})


def png_files(dataset: Dataset, folder: Path) -> None:
    """The pixels of a data set as PNG files in a folder."""
    folder.mkdir(parents=True)
    for i, image in enumerate(dataset.images):
        Image.fromarray(image.transpose(1, 2, 0)).save(folder / f"{i:05d}.png")


def take(count: int, batches: Iterator) -> None:
    """Draw so many batches and keep none: together they would be 4 GB."""
    for _ in itertools.islice(batches, count):
        pass


def main() -> None:
    given = begun({"DEVICE": Option(str, "auto")})
    device = machine.device(given["DEVICE"])
    with tempfile.TemporaryDirectory() as folder:
        measured = preparing(Path(folder), COUNT) | feeding(Path(folder), device)
    ratios = {}
    for ours, theirs in (("prepare", "pillow_loop"), ("feed", "image_folder"), ("streamed", "image_folder")):
        ratios[f"{ours} / {theirs}"] = measured[ours] / measured[theirs]
    print(f"images/s at {RESOLUTION} px, batches of {BATCH}, {COUNT} images, {cores()} cores, {device}")
    for name, value in (measured | ratios).items():
        print(f"{name:>24} {value:12,.1f}")
    write("data", given, {"images_per_second": measured, "ratios": ratios, "count": COUNT, "source": SIDE,
                          "resolution": RESOLUTION, "batch": BATCH, "cores": cores()}, device)


if __name__ == "__main__":
    command(main)
