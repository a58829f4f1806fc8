"""From images as found to one memory-mapped uint8 array, once: decode, colour, centre crop, Lanczos, store, describe.

    <root>/prepared/<name>-<resolution>/images.npy     uint8 [N, 3, R, R]
                                        labels.npy     int64 [N]
                                        heldout-images.npy, heldout-labels.npy: the same of the test part, if any
                                        manifest.json  names and sha256 of source images, digest, count, how
                                        source.json    where it came from, to see later whether that has changed

All but the last depend on the source's content alone. Images are ordered by their content, the sha256 of the decoded
pixels and then the label, so that a subset is the same images from whatever archive they come. A set is written aside
(.<name>-<resolution>.partial) and renamed when whole; an interrupted preparation goes on where it was; a wrong source
leaves the previous set in place.
"""

import fcntl
import hashlib
import io
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TextIO

import numpy as np
import PIL
from PIL import Image, ImageOps
from tqdm import tqdm

from benchmarks.runs import InputError
from benchmarks.sources import Source
from benchmarks.state import read_json

VERSION = 2  # raise it when the pixels of a prepared set would change: sets of another version are prepared anew
HOW = "RGB (transparency on white, 16-bit to 8-bit, EXIF rotation applied), centre crop to a square, Lanczos"
SIDES = 8, 65_500  # pixels: smallest and largest width and height of a source image
PIXELS = 200_000_000  # largest width * height: above it, decoding takes gigabytes
CHUNK = 32 << 20  # bytes of prepared pixels stored at a time
REMEDY = "remove {} to have the set prepared anew"
HELDOUT = "heldout-"  # begins the names of the files of the test part
Image.MAX_IMAGE_PIXELS = None  # `decode` has a limit of its own, with an error instead of a warning


@dataclass(frozen=True)
class Order:
    """What to prepare: `count` images of `opened()`, found at `path`, square at `resolution` px, under `root`.

    count        images that the set is known to have; None if nobody knows
    heldout      images that its test part is known to have; None if it is not known to have a test part
    content      the published set's content(); "" if nobody knows
    allow_count  take another number of images, other images, or one image twice, as it is; the manifest tells
    """

    name: str
    resolution: int
    root: Path
    path: Path
    opened: Callable[[], Source]
    count: int | None = None
    heldout: int | None = None
    content: str = ""
    allow_count: bool = False

    @property
    def target(self) -> Path:
        return self.root / "prepared" / f"{self.name}-{self.resolution}"

    @property
    def stamp(self) -> dict:
        """The state of the source as far as it can be told without reading it, and the version of this code."""
        return {"version": VERSION, "path": str(self.path), "files": fingerprint(self.path),
                "allow_count": self.allow_count}


class Hashes(NamedTuple):
    """Three sha256 of one image: of its file, of its decoded pixels, of its prepared pixels."""

    file: str
    content: str
    prepared: str


@dataclass(frozen=True)
class Part:
    """The training part or the test part of a set, stored in the order of its content.

    names   of the source images
    labels  int64 [N]
    hashes  of each image
    """

    names: list[str]
    labels: np.ndarray
    hashes: list[Hashes]

    @property
    def content(self) -> str:
        """sha256 over the decoded pixels and the labels: the same at every resolution, from whatever archive."""
        decoded = "".join(hashes.content for hashes in self.hashes)
        return hashlib.sha256(decoded.encode() + self.labels.tobytes()).hexdigest()

    @property
    def digest(self) -> str:
        return digest((hashes.prepared for hashes in self.hashes), self.labels)


def digest(prepared: Iterable[str], labels: np.ndarray) -> str:
    """sha256 over the sha256 of the prepared pixels of each image, and the labels."""
    return hashlib.sha256("".join(prepared).encode() + labels.tobytes()).hexdigest()


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
    if not (target / "manifest.json").exists() or not (target / "source.json").exists():
        return False
    return read_json(target / "source.json", remedy=REMEDY.format(target)) == stamp


def fingerprint(path: Path) -> str:
    """sha256 over names, sizes and times of the files at `path`; "" if there is nothing any more."""
    if not path.exists():
        return ""
    lines = []
    if not path.is_dir():
        lines.append(_line(path, path.name))
    for folder, subfolders, files in os.walk(path):
        inside = os.path.relpath(folder, path)
        for name in subfolders + files:
            if not name.startswith("."):
                lines.append(_line(os.path.join(folder, name), os.path.join(inside, name)))
    return hashlib.sha256("\n".join(sorted(lines)).encode(errors="surrogateescape")).hexdigest()


def _line(path: str | Path, name: str) -> str:
    state = os.lstat(path)
    return f"{name} {state.st_size} {state.st_mtime_ns}"


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
        check_count(order, source)
        sources = {"": source}
        if source.heldout:
            sources[HELDOUT] = source.heldout
        _begin(partial, order, sources)
        parts = {prefix: _store(partial, prefix, order, part) for prefix, part in sources.items()}
        _check_content(order, source, parts)
        _describe(partial, order, source, parts)
        _publish(partial, order.target)
    except (InputError, OSError):
        shutil.rmtree(partial, ignore_errors=True)
        raise


def check_count(order: Order, source: Source) -> None:
    """Refuse a set that has not as many images as it is known to have."""
    if order.allow_count:
        return
    _require_count(order, len(source.names), order.count, "images")
    heldout = 0
    if source.heldout:
        heldout = len(source.heldout.names)
    _require_count(order, heldout, order.heldout, "test images")


def _require_count(order: Order, count: int, known: int | None, kind: str) -> None:
    if known not in (None, count):
        raise InputError(f"{order.path}: {count} {kind}, but {order.name} has {known}; ALLOW_COUNT=1 takes them as "
                         "they are and notes it in every result")


def _check_content(order: Order, source: Source, parts: dict[str, Part]) -> None:
    """Refuse a set that is not the published one, where that is known, and a training image that occurs twice."""
    if order.allow_count:
        return
    found = content(parts.values())
    if order.content and found != order.content:
        raise InputError(f"{order.path}: not the published {order.name}: sha256 {found[:12]}... of its pixels and "
                         f"labels, expected {order.content[:12]}...; get it again, or ALLOW_COUNT=1 "
                         "takes it as it is and notes it in every result")
    first: dict[str, str] = {}
    for name, hashes in zip(parts[""].names, parts[""].hashes, strict=True):
        if first.setdefault(hashes.file, name) != name and not source.fixed and not order.content:
            raise InputError(f"{order.path}: {name} is the same file as {first[hashes.file]}; remove one, or "
                             "ALLOW_COUNT=1 takes both and notes it in every result")


def content(parts: Iterable[Part]) -> str:
    """One sha256 for the content of all parts of a set."""
    return hashlib.sha256("".join(part.content for part in parts).encode()).hexdigest()


def _begin(partial: Path, order: Order, sources: dict[str, Source]) -> None:
    """Make the folder and the arrays' headers, unless an interrupted preparation of the very same has left them."""
    names = {prefix: source.names for prefix, source in sources.items()}
    plan = json.dumps(order.stamp | {"names": names})
    if _has_plan(partial, plan):
        return
    shutil.rmtree(partial, ignore_errors=True)
    _require_space(partial.parent, 3 * order.resolution**2 * sum(map(len, names.values())))
    partial.mkdir()
    for prefix, part in names.items():
        shape = (len(part), 3, order.resolution, order.resolution)
        np.lib.format.open_memmap(partial / f"{prefix}images.npy", mode="w+", dtype=np.uint8, shape=shape)
    (partial / "plan.json").write_text(plan)


def _has_plan(partial: Path, plan: str) -> bool:
    file = partial / "plan.json"
    return file.exists() and file.read_bytes() == plan.encode()


def _require_space(folder: Path, wanted: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < wanted:
        raise InputError(f"{folder}: no space left for {wanted >> 20} MiB; {free >> 20} MiB are free")


def _store(partial: Path, prefix: str, order: Order, source: Source) -> Part:
    """Fill the array of one part, a chunk per thread: decoding and resizing run without the interpreter's lock."""
    path = partial / f"{prefix}images.npy"
    with path.open("r+b", buffering=0) as array, (partial / f"{prefix}done.jsonl").open("a+", errors="replace") as log:
        chunks = Chunks(order, source, array.fileno())
        done = _done(log, chunks)
        _store_rest(chunks, done, log, f"{order.target.name} {prefix.rstrip('-')}".strip())
        os.fsync(array.fileno())
    hashes = []
    for start in chunks.starts:
        hashes += done[start]
    return _sorted(path, Part(source.names, source.labels, hashes))


def _store_rest(chunks: "Chunks", done: dict[int, list[Hashes]], log: TextIO, title: str) -> None:
    """Store the chunks that are not done, and note each in the log."""
    todo = [start for start in chunks.starts if start not in done]
    with ThreadPoolExecutor(cores()) as pool:
        for start, hashes in tqdm(pool.map(chunks.store, todo), title, len(todo), unit="chunk", disable=None):
            print(json.dumps([start, hashes]), file=log, flush=True)
            done[start] = hashes


class Chunks:
    """The images of a part, so many at a time, and their places in the file of its array.

    starts  number of the first image of each chunk
    """

    def __init__(self, order: Order, source: Source, file: int):
        self.order, self.source, self.file = order, source, file
        self.count, self.size = len(source.names), 3 * order.resolution**2
        self.step = max(1, min(256, CHUNK // self.size))
        self.starts = range(0, self.count, self.step)
        self.header = os.fstat(file).st_size - self.count * self.size

    def store(self, start: int) -> tuple[int, list[Hashes]]:
        """Write the prepared pixels of a chunk. Returns its start and the hashes of its images."""
        pixels, hashes = [], []
        for i in self.rows(start):
            prepared, hashed = _image(self.order, self.source, i)
            pixels.append(prepared)
            hashes.append(hashed)
        _write(self.file, b"".join(pixels), self.header + start * self.size)
        return start, hashes

    def has(self, start: int, hashes: list[Hashes]) -> bool:
        """Whether this is a chunk whose pixels are in the file."""
        if start not in self.starts or len(hashes) != len(self.rows(start)):
            return False
        return all(map(self.is_stored, self.rows(start), hashes))

    def rows(self, start: int) -> range:
        """The numbers of the images of a chunk."""
        return range(start, min(start + self.step, self.count))

    def is_stored(self, i: int, hashes: Hashes) -> bool:
        stored = os.pread(self.file, self.size, self.header + i * self.size)
        return hashlib.sha256(stored).hexdigest() == hashes.prepared


def _done(log: TextIO, chunks: Chunks) -> dict[int, list[Hashes]]:
    """The chunks that an interrupted preparation has stored: first image of a chunk -> hashes of its images."""
    log.seek(0)
    lines = [line for line in log if line.endswith("\n")]
    if lines:
        print("going on with an interrupted preparation", file=sys.stderr)
    done = {}
    for line in lines:
        with suppress(ValueError, TypeError):  # a damaged line: its chunk is prepared anew
            start, images = json.loads(line)
            hashes = [Hashes(*image) for image in images]
            if chunks.has(start, hashes):
                done[start] = hashes
    return done


def _sorted(path: Path, part: Part) -> Part:
    """The part in the order of its content, with the images of the array at `path` moved there, one cycle at a time.

    An interruption leaves images in places where their hashes do not fit; the next preparation makes these anew.
    """
    order = sorted(range(len(part.names)), key=lambda i: (part.hashes[i].content, part.labels[i]))
    images = np.lib.format.open_memmap(path, mode="r+")
    moved = np.zeros(len(order), bool)
    for start in range(len(order)):
        if moved[start] or order[start] == start:
            continue
        aside, place = images[start].copy(), start
        while order[place] != start:
            images[place] = images[order[place]]
            moved[place], place = True, order[place]
        images[place], moved[place] = aside, True
    images.flush()
    return Part([part.names[i] for i in order], part.labels[order], [part.hashes[i] for i in order])


def cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def _image(order: Order, source: Source, i: int) -> tuple[bytes, Hashes]:
    """Prepared pixels of one image, [3, R, R], and its hashes."""
    content, name = source.read(i), f"{order.path}: {source.names[i]}"
    published = source.md5.get(source.names[i])
    if published and hashlib.md5(content).hexdigest() != published:
        raise InputError(f"{name} is not the published file (its md5 differs); get it again")
    image = decode(content, name)
    decoded = f"{image.width} {image.height} ".encode() + image.tobytes()
    pixels = square(image, order.resolution).transpose(2, 0, 1).tobytes()
    return pixels, Hashes(*(hashlib.sha256(part).hexdigest() for part in (content, decoded, pixels)))


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


def _describe(partial: Path, order: Order, source: Source, parts: dict[str, Part]) -> None:
    """Write labels, manifest and source beside the arrays, and remove what an interrupted preparation goes on from."""
    for prefix, part in parts.items():
        np.save(partial / f"{prefix}labels.npy", part.labels)
        (partial / f"{prefix}done.jsonl").unlink()
    (partial / "manifest.json").write_text(json.dumps(_manifest(order, source, parts), indent=1))
    (partial / "source.json").write_text(json.dumps(order.stamp))
    (partial / "plan.json").unlink()


def _manifest(order: Order, source: Source, parts: dict[str, Part]) -> dict:
    train = parts[""]
    images = {name: hashes.file for name, hashes in zip(train.names, train.hashes, strict=True)}
    distinct, sha256 = len(set(images.values())), content(parts.values())
    as_known = order.count == distinct == len(train.names)
    if order.content:
        as_known = sha256 == order.content
    manifest = {
        "name": order.name, "resolution": order.resolution, "count": len(train.names), "expected": order.count,
        "distinct": distinct, "allow_count": order.allow_count and not as_known, "classes": source.classes,
        "digest": train.digest, "content": sha256, "how": "; ".join(filter(None, [source.note, HOW])),
        "version": VERSION, "versions": {"pillow": PIL.__version__},
        "source": {"name": order.path.name, "sha256": hashlib.sha256(json.dumps(images).encode()).hexdigest()},
        "aside": source.aside, "images": images,
    }  # fmt: skip
    if HELDOUT in parts:
        manifest["heldout"] = {"count": len(parts[HELDOUT].names), "digest": parts[HELDOUT].digest}
    return manifest


def _publish(partial: Path, target: Path) -> None:
    """Put the new set in the place of the old, which stays until the new one is there."""
    old = target.with_name(f".{target.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.rename(old)
    partial.rename(target)
    shutil.rmtree(old, ignore_errors=True)
