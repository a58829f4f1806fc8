"""`make bench-data`: images/s of preparing and of feeding, and those of the code one would write without this project.

Preparing is measured against a plain Pillow loop, and feeding against torchvision's ImageFolder + DataLoader, which is
given the prepared pixels as PNG files, so that it has nothing to resize. All in one run, on images made here, each
figure the median of three rounds in turn. Writes <results>/bench/data.json.
"""

import itertools
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from benchmarks.datasets import Dataset, load
from benchmarks.prepare import cores
from benchmarks.runs import command, options
from reproduce import machine, record
from reproduce.feed import Feed
from reproduce.preflight import require_writable

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


def rate(images: int, work: Callable[[], object]) -> float:
    """Images per second of work()."""
    start = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return images / (time.perf_counter() - start)


def medians(images: dict[str, int], works: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Images per second of each work, the median of some rounds; they take turns, so that a busy machine is fair."""
    rates: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(ROUNDS):
        for name, work in works.items():
            rates[name].append(rate(images[name], work))
    return {name: round(statistics.median(rounds), 1) for name, rounds in rates.items()}


def preparing(root: Path, count: int) -> dict[str, float]:
    """Preparing by this project, in a folder of its own each round, and by the Pillow loop."""
    photos(root / "photos", count)
    numbers = itertools.count()

    def prepare_again() -> None:
        folder = root / f"round{next(numbers)}"
        folder.mkdir()
        (folder / "photos").symlink_to(root / "photos")
        load("photos", RESOLUTION, folder)

    works = {"prepare": prepare_again, "pillow_loop": lambda: pillow_loop(root / "photos", root / "loop.npy")}
    return medians(dict.fromkeys(works, count), works)


def feeding(root: Path, device: torch.device) -> dict[str, float]:
    """Feeding from the device and from the memory map, against torchvision on the same pixels."""
    dataset = load("photos", RESOLUTION, root / "round0")
    everything = np.arange(len(dataset.images))
    theirs = image_folder(png_files(dataset, root / "png"), device)
    ours = map(Feed(dataset, everything, BATCH, 0, device, True), itertools.count())
    streamed = map(Feed(dataset, everything, BATCH, 0, device, True, budget=0), itertools.count())
    batches = max(10, len(everything) // BATCH)
    works = {"feed": lambda: take(10 * batches, ours), "streamed": lambda: take(10 * batches, streamed),
             "image_folder": lambda: take(batches, theirs)}
    next(theirs)  # starts its workers
    return medians({"feed": 10 * batches * BATCH, "streamed": 10 * batches * BATCH,
                    "image_folder": batches * BATCH}, works)


def png_files(dataset: Dataset, folder: Path) -> Path:
    """The pixels of a data set as PNG files in one folder below `folder`, as torchvision's ImageFolder reads them."""
    inside = folder / "all"
    inside.mkdir(parents=True)
    for i, image in enumerate(dataset.images):
        Image.fromarray(image.transpose(1, 2, 0)).save(inside / f"{i:05d}.png")
    return folder


def take(count: int, batches: Iterator) -> list:
    return list(itertools.islice(batches, count))


def main() -> None:
    given = options(sys.argv[1:], {"RESULTS": "results", "DEVICE": "auto"})
    device = machine.device(given["DEVICE"])
    require_writable(Path(given["RESULTS"]))
    with tempfile.TemporaryDirectory() as folder:
        rates = preparing(Path(folder), COUNT)
        rates |= feeding(Path(folder), device)
    ratios = {"prepare / pillow_loop": rates["prepare"] / rates["pillow_loop"],
              "feed / image_folder": rates["feed"] / rates["image_folder"],
              "streamed / image_folder": rates["streamed"] / rates["image_folder"]}
    print(f"images/s at {RESOLUTION} px, batches of {BATCH}, {COUNT} images, {cores()} cores, {device}")
    for name, value in (rates | ratios).items():
        print(f"{name:>24} {value:12,.1f}")
    record.write_json(Path(given["RESULTS"]) / "bench" / "data.json",
                      {"images_per_second": rates, "ratios": ratios, "count": COUNT, "source": SIDE,
                       "resolution": RESOLUTION, "batch": BATCH, "cores": cores(),
                       "provenance": machine.provenance(device)})


if __name__ == "__main__":
    command(main)
