"""From images as found to one memory-mapped uint8 array, once: decode, colour, centre crop, Lanczos, store, describe.

    <root>/prepared/<name>-<resolution>/images.npy     uint8 [N, 3, R, R]
                                        labels.npy     int64 [N]
                                        manifest.json  names and sha256 of source images, digest, count, how
                                        source.json    where it came from, to see later whether that has changed

The first three depend on the source's content alone. A set is written aside (.<name>-<resolution>.partial) and renamed
when whole; an interrupted preparation goes on where it was; a wrong source leaves the previous set in place.
"""

import fcntl
import hashlib
import io
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np
import PIL
from PIL import Image, ImageOps
from tqdm import tqdm

from benchmarks.runs import InputError
from benchmarks.sources import Source

VERSION = 1  # raise it when the pixels of a prepared set would change: sets of another version are prepared anew
HOW = "RGB (transparency on white, 16-bit to 8-bit, EXIF rotation applied), centre crop to a square, Lanczos"
SIDES = 8, 65_500  # pixels: smallest and largest width and height of a source image
PIXELS = 200_000_000  # largest width * height: above it, decoding takes gigabytes
CHUNK = 32 << 20  # bytes of prepared pixels stored at a time
Image.MAX_IMAGE_PIXELS = None  # `decode` has a limit of its own, with an error instead of a warning


@dataclass(frozen=True)
class Order:
    """What to prepare: `count` images of `opened()`, found at `path`, square at `resolution` px, under `root`.

    count        images that the set is known to have; None if nobody knows
    allow_count  take another number of images, or one image twice, as it is; the manifest tells
    """

    name: str
    resolution: int
    root: Path
    path: Path
    opened: Callable[[], Source]
    count: int | None = None
    allow_count: bool = False

    @property
    def target(self) -> Path:
        return self.root / "prepared" / f"{self.name}-{self.resolution}"

    @property
    def stamp(self) -> dict:
        """The state of the source as far as it can be told without reading it, and the version of this code."""
        return {"version": VERSION, "path": str(self.path), "files": fingerprint(self.path),
                "allow_count": self.allow_count}


def prepare(order: Order) -> Path:
    """Prepare a set, if that is not done yet, and return its folder. Raises InputError and keeps what was there."""
    with one_line(order.target), _locked(order.target):
        if not is_current(order.target, order.stamp):
            _prepare(order)
    return order.target


@contextmanager
def one_line(path: Path) -> Iterator[None]:
    """A full disk, a missing permission and their like as InputError; `path` is named where the system names none."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{error.filename or path}: {error.strerror or error}") from error


def is_current(target: Path, stamp: dict) -> bool:
    """Whether a prepared set is there and was made, by this version of the code, from the source as it is now."""
    if not (target / "manifest.json").exists():
        return False
    return json.loads((target / "source.json").read_text()) == stamp


def fingerprint(path: Path) -> str:
    """sha256 over names, sizes and times of the files at `path`; "" if there is nothing any more."""
    if not path.exists():
        return ""
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    files = [file for file in files if not file.name.startswith(".")]
    lines = [f"{file.relative_to(path)} {s.st_size} {s.st_mtime_ns}" for file in files if (s := file.lstat())]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


@contextmanager
def _locked(target: Path) -> Iterator[None]:
    """One process at a time prepares a set; the others wait and then find it done."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.with_name(f".{target.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        old = target.with_name(f".{target.name}.old")
        if old.exists() and not target.exists():  # killed between the two renames of _publish
            old.rename(target)
        yield


def _prepare(order: Order) -> None:
    partial = order.target.with_name(f".{order.target.name}.partial")
    try:
        source = order.opened()
        _check_count(order, len(source.names))
        _begin(partial, order, source)
        hashes = _store(partial, order, source)
        _check_duplicates(order, source, [h[0] for h in hashes])
        _describe(partial, order, source, hashes)
        _publish(partial, order.target)
    except (InputError, OSError):
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _check_count(order: Order, count: int) -> None:
    if order.count not in (None, count) and not order.allow_count:
        raise InputError(f"{order.path}: {count} images, but {order.name} has {order.count}; "
                         "ALLOW_COUNT=1 (--allow-count) takes them as they are and notes it in every result")


def _check_duplicates(order: Order, source: Source, hashes: list[str]) -> None:
    first = {}
    for name, digest in zip(source.names, hashes, strict=True):
        if first.setdefault(digest, name) != name and not order.allow_count and not source.fixed:
            raise InputError(f"{order.path}: {name} is the same file as {first[digest]}; remove one, or "
                             "ALLOW_COUNT=1 (--allow-count) takes both and notes it in every result")


def _begin(partial: Path, order: Order, source: Source) -> None:
    """Make the folder and the array's header, unless an interrupted preparation of the very same has left them."""
    plan = json.dumps(order.stamp | {"names": source.names})
    if (partial / "plan.json").exists() and (partial / "plan.json").read_text() == plan:
        return
    shutil.rmtree(partial, ignore_errors=True)
    shape = (len(source.names), 3, order.resolution, order.resolution)
    free = shutil.disk_usage(partial.parent).free
    if free < np.prod(shape):
        raise InputError(f"{partial.parent}: no space left for {np.prod(shape) >> 20} MiB; {free >> 20} MiB are free")
    partial.mkdir()
    np.lib.format.open_memmap(partial / "images.npy", mode="w+", dtype=np.uint8, shape=shape)
    np.save(partial / "labels.npy", source.labels)
    (partial / "plan.json").write_text(plan)


def _store(partial: Path, order: Order, source: Source) -> list[tuple[str, str]]:
    """Fill the array, a chunk per thread: decoding and resizing run without the interpreter's lock.

    Returns sha256 of the source image and of the prepared pixels, for each image.
    """
    count, size = len(source.names), 3 * order.resolution**2
    step = max(1, min(256, CHUNK // size))
    with (partial / "images.npy").open("r+b", buffering=0) as array, (partial / "done.jsonl").open("a+") as log:
        first = os.fstat(array.fileno()).st_size - count * size  # the array's header comes before
        done = _done(log, array.fileno(), first, size)

        def chunk(start: int) -> tuple[int, list[tuple[str, str]]]:
            pairs = [_image(order, source, i) for i in range(start, min(start + step, count))]
            _write(array.fileno(), b"".join(pixels for pixels, _ in pairs), first + start * size)
            return start, [hashes for _, hashes in pairs]

        todo = [start for start in range(0, count, step) if start not in done]
        with ThreadPoolExecutor(cores()) as pool:
            for start, hashes in tqdm(pool.map(chunk, todo), order.target.name, len(todo), unit="chunk", disable=None):
                print(json.dumps([start, hashes]), file=log, flush=True)
                done[start] = hashes
        os.fsync(array.fileno())
    return [tuple(pair) for start in sorted(done) for pair in done[start]]


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _done(log: TextIO, array: int, first: int, size: int) -> dict[int, list[tuple[str, str]]]:
    """What an interrupted preparation has finished and stored: first image of a chunk -> hashes of its images."""
    log.seek(0)
    rows = [json.loads(line) for line in log if line.endswith("\n")]
    if rows:
        print("going on with an interrupted preparation", file=sys.stderr)
    return {start: hashes for start, hashes in rows
            if all(hashlib.sha256(os.pread(array, size, first + (start + i) * size)).hexdigest() == pixels
                   for i, (_, pixels) in enumerate(hashes))}


def _image(order: Order, source: Source, i: int) -> tuple[bytes, tuple[str, str]]:
    """Prepared pixels of one image, [3, R, R], and the two hashes."""
    content, name = source.read(i), f"{order.path}: {source.names[i]}"
    published = source.md5.get(source.names[i])
    if published and hashlib.md5(content).hexdigest() != published:
        raise InputError(f"{name} is not the published file (its md5 differs); get it again")
    pixels = square(decode(content, name), order.resolution).transpose(2, 0, 1).tobytes()
    return pixels, (hashlib.sha256(content).hexdigest(), hashlib.sha256(pixels).hexdigest())


def _write(file: int, content: bytes, offset: int) -> None:
    view = memoryview(content)
    while view:
        written = os.pwrite(file, view, offset)
        view, offset = view[written:], offset + written


def decode(content: bytes | np.ndarray, name: str) -> Image.Image:
    """One picture in RGB, 8 bits, upright. Raises InputError naming it where it is damaged or no still image."""
    if isinstance(content, np.ndarray):
        return Image.fromarray(content).convert("RGB")
    if not content:
        raise InputError(f"{name} is empty")
    try:
        image = Image.open(io.BytesIO(content))
        _check_size(image, name)
        image.load()
        return to_rgb(ImageOps.exif_transpose(image))
    except InputError:
        raise
    except PIL.UnidentifiedImageError as error:
        raise InputError(f"{name} is not an image, whatever its name says") from error
    except Exception as error:  # what Pillow raises on damaged files is of many types
        raise InputError(f"{name} is damaged ({error}); get it again") from error


def _check_size(image: Image.Image, name: str) -> None:
    low, high = SIDES
    if not low <= min(image.size) <= max(image.size) <= high or image.width * image.height > PIXELS:
        raise InputError(f"{name} is {image.width} x {image.height}; valid are {low} to {high} pixels a side "
                         f"and at most {PIXELS:,} in all")
    if getattr(image, "is_animated", False) and image.format != "MPO":  # MPO: a still with its preview, from cameras
        raise InputError(f"{name} is animated ({image.n_frames} frames); give one still image")
    if image.mode == "F":
        raise InputError(f"{name} has floating-point pixels of unknown range; save it with 8 or 16 bits")


def to_rgb(image: Image.Image) -> Image.Image:
    """Any mode to RGB: 16-bit gray is scaled, transparent pixels come to lie on white, CMYK as Pillow converts it."""
    if image.mode.startswith("I"):
        wide = np.asarray(image).astype(np.int64)
        image = Image.fromarray(((wide * 255 + 32767) // 65535).clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def square(image: Image.Image, resolution: int) -> np.ndarray:
    """uint8 [R, R, 3]: the central square, resized by Lanczos where its side is not R already."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    image = image.crop((left, top, left + side, top + side))
    if side != resolution:
        image = image.resize((resolution, resolution), Image.Resampling.LANCZOS)
    return np.asarray(image)


def _describe(partial: Path, order: Order, source: Source, hashes: list[tuple[str, str]]) -> None:
    labels = source.labels.tobytes()
    digest = hashlib.sha256("".join(pixels for _, pixels in hashes).encode() + labels).hexdigest()
    sources = {name: sha256 for name, (sha256, _) in zip(source.names, hashes, strict=True)}
    distinct = len(set(sources.values()))
    manifest = {
        "name": order.name, "resolution": order.resolution, "count": len(source.names), "expected": order.count,
        "distinct": distinct, "allow_count": order.allow_count and (order.count, distinct) != (len(source.names),) * 2,
        "digest": digest, "how": "; ".join(filter(None, [source.note, HOW])), "version": VERSION,
        "versions": {"pillow": PIL.__version__},
        "source": {"name": order.path.name, "sha256": hashlib.sha256(json.dumps(sources).encode()).hexdigest()},
        "aside": source.aside, "images": sources,
    }  # fmt: skip
    (partial / "manifest.json").write_text(json.dumps(manifest, indent=1))
    (partial / "source.json").write_text(json.dumps(order.stamp))
    for leftover in ("plan.json", "done.jsonl"):
        (partial / leftover).unlink()


def _publish(partial: Path, target: Path) -> None:
    """Put the new set in the place of the old, which stays until the new one is there."""
    old = target.with_name(f".{target.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.rename(old)
    partial.rename(target)
    shutil.rmtree(old, ignore_errors=True)
