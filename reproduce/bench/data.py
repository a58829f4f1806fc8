"""`make bench-data`: images/s of preparing and of feeding, beside what one would write without this project.

Preparing is measured against a plain Pillow loop, and feeding against torchvision's ImageFolder + DataLoader, which is
given the prepared pixels as PNG files, so that it has nothing to resize. All in one run, on images made here, each
figure the median of three rounds in turn. Writes <results>/bench/data.json.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from benchmarks.datasets import load
from benchmarks.prepare import cores
from benchmarks.runs import command, options
from reproduce import record
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
    """What one would write: each file opened, cut and resized, and the array saved."""
    size = (RESOLUTION, RESOLUTION)
    images = [np.asarray(ImageOps.fit(Image.open(path).convert("RGB"), size, Image.Resampling.LANCZOS))
              for path in sorted(folder.iterdir())]  # fmt: skip
    np.save(target, np.stack(images).transpose(0, 3, 1, 2))


def image_folder(folder: Path, device: torch.device) -> Iterable:
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
    rates = [{name: rate(images[name], work) for name, work in works.items()} for _ in range(ROUNDS)]
    return {name: round(statistics.median(row[name] for row in rates), 1) for name in works}


def preparing(root: Path, count: int) -> dict[str, float]:
    photos(root / "photos", count)
    roots = iter(root / f"round{i}" for i in range(ROUNDS))

    def prepare_again() -> None:
        folder = next(roots)
        folder.mkdir()
        (folder / "photos").symlink_to(root / "photos")
        load("photos", RESOLUTION, folder)

    works = {"prepare": prepare_again, "pillow_loop": lambda: pillow_loop(root / "photos", root / "loop.npy")}
    return medians(dict.fromkeys(works, count), works)


def feeding(root: Path, device: torch.device) -> dict[str, float]:
    """Feeding from the device and from the memory map, against torchvision on the same pixels."""
    dataset = load("photos", RESOLUTION, root / "round0")
    folder = root / "png" / "all"
    folder.mkdir(parents=True)
    for i, image in enumerate(dataset.images):
        Image.fromarray(image.transpose(1, 2, 0)).save(folder / f"{i:05d}.png")
    everything = np.arange(len(dataset.images))
    batches = max(10, len(everything) // BATCH)
    default, streamed = (Feed(dataset, everything, BATCH, 0, device, True, budget) for budget in (None, 0))
    theirs = image_folder(folder.parent, device)
    steps = {"feed": iter(range(1 << 40)), "streamed": iter(range(1 << 40))}
    works = {
        "feed": lambda: [default(next(steps["feed"])) for _ in range(10 * batches)],
        "streamed": lambda: [streamed(next(steps["streamed"])) for _ in range(10 * batches)],
        "image_folder": lambda: [next(theirs) for _ in range(batches)],
    }
    next(theirs)  # starts its workers
    return medians({"feed": 10 * batches * BATCH, "streamed": 10 * batches * BATCH,
                    "image_folder": batches * BATCH}, works)  # fmt: skip


def main() -> None:
    given = options(sys.argv[1:], {"RESULTS": "results", "DEVICE": "auto"})
    device = record.device(given["DEVICE"])
    with tempfile.TemporaryDirectory() as folder:
        prepared, fed = preparing(Path(folder), COUNT), feeding(Path(folder), device)
    ratios = {"prepare / pillow_loop": prepared["prepare"] / prepared["pillow_loop"],
              "feed / image_folder": fed["feed"] / fed["image_folder"],
              "streamed / image_folder": fed["streamed"] / fed["image_folder"]}  # fmt: skip
    print(f"images/s at {RESOLUTION} px, batches of {BATCH}, {COUNT} images, {cores()} cores, {device}")
    for name, value in (prepared | fed | ratios).items():
        print(f"{name:>24} {value:12,.1f}")
    record.write_json(Path(given["RESULTS"]) / "bench" / "data.json",
               {"images_per_second": prepared | fed, "ratios": ratios, "count": COUNT, "source": SIDE,
                "resolution": RESOLUTION, "batch": BATCH, "cores": cores(),
                "provenance": record.provenance(device)})  # fmt: skip


if __name__ == "__main__":
    command(main)
