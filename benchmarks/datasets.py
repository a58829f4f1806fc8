"""The data sets, one row each, and their images as arrays: `load("cifar-100", 64, root)`.

A set is taken from what the user has under the data folder (DATA/<name>/, DATA/<name>.zip, ...), never fetched behind
their back, and prepared once (benchmarks/prepare.py). Any other folder or archive there is a data set by its own name.

`python -m benchmarks.datasets prepare NAME [--source FOLDER|ARCHIVE|PARQUET|URL] [--resolution R]` prepares one;
`python -m benchmarks.datasets status` shows what there is and how to get the rest. To add one, write a row.
"""

import argparse
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks import sources
from benchmarks.fetch import fetch
from benchmarks.prepare import VERSION, Order, fingerprint, one_line, prepare
from benchmarks.runs import InputError, command
from benchmarks.sources import Source
from benchmarks.tables import TABLES


@dataclass(frozen=True)
class Dataset:
    """Images ready for training.

    images      uint8 [N, 3, R, R], a read-only memory map
    labels      int64 [N]; all 0 if classes is 0
    classes     number of classes; 0 for a set without
    flip        whether a mirrored image is still one of the set (not for digits)
    digest      sha256 over images and labels
    provenance  what a record should tell about the set besides: counts, source, how it was prepared, overrides
    """

    name: str
    images: np.ndarray
    labels: np.ndarray
    classes: int
    flip: bool
    digest: str
    provenance: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """What is known of a data set.

    count       its number of images; None if nobody has said
    native      size in pixels, in words
    resolution  in pixels, that it is used at unless a run says otherwise
    get         how to get it today
    licence     a note, not advice
    places      under the data folder, besides <name> and <name>.zip and the like; or an absolute path
    folder      its folder in an archive of several sets
    reader      for files in a format of its own; None for image files and parquet
    urls        stable addresses, fetched by `prepare` where nothing is found; md5 as published
    """

    count: int | None
    native: str
    resolution: int
    get: str
    licence: str
    classes: int = 0
    flip: bool = True
    places: tuple[str, ...] = ()
    folder: str = ""
    reader: Callable[[Path], Source] | None = None
    urls: tuple[str, ...] = ()
    md5: str = ""


FEW_SHOT = ("few-shot-images", "few-shot-images.zip", "few-shot-image-datasets.zip")


def _few_shot(count: int, native: str, resolution: int, folder: str, hub: str, licence: str, files: int = 1) -> Row:
    """A set of FastGAN's few-shot archive (Liu et al. 2021), which the hub's user "huggan" keeps as parquet files."""
    address = f"huggingface.co/datasets/huggan/{hub}"
    return Row(count, native, resolution,
               f"{address} (fetched by `prepare`; needs pyarrow), or folder {folder} of few-shot-images.zip",
               licence, places=FEW_SHOT, folder=folder,
               urls=tuple(f"https://{address}/resolve/main/data/train-{i:05d}-of-{files:05d}.parquet"
                          for i in range(files)))


ANIMALFACE = "not stated (AnimalFace, Si and Zhu 2012)"
SHOT100 = "not stated (web images, collected by Zhao et al. 2020)"
DATASETS = {
    "art-painting": _few_shot(
        1000, "varies", 1024, "art-painting", "few-shot-art-painting", "not stated (WikiArt)", files=2),
    "ffhq": Row(
        70_000, "1024", 1024, "images1024x1024 by download_ffhq.py of github.com/NVlabs/ffhq-dataset (89 GB)",
        "CC BY-NC-SA 4.0; each photo its own (BY, BY-NC, public domain)",
        places=("images1024x1024", "ffhq-dataset"), reader=sources.ffhq),
    "nature-photograph": Row(
        None, "varies", 1024, "never released: your own folder of Unsplash landscapes; others under their own name",
        "Unsplash licence"),
    "animalface-dog": _few_shot(389, "256", 256, "AnimalFace-dog", "few-shot-dog", ANIMALFACE),
    "animalface-cat": _few_shot(160, "256", 256, "AnimalFace-cat", "few-shot-cat", ANIMALFACE),
    "100-shot-obama": _few_shot(100, "256", 256, "100-shot-obama", "few-shot-obama", SHOT100),
    "100-shot-panda": _few_shot(100, "256", 256, "100-shot-panda", "few-shot-panda", SHOT100),
    "100-shot-grumpy-cat": _few_shot(100, "256", 256, "100-shot-grumpy_cat", "few-shot-grumpy-cat", SHOT100),
    "cifar-100": Row(
        50_000, "32", 64, "the training part, as torchvision has it: fetched by `prepare` (169 MB)",
        "none stated; cite Krizhevsky 2009", classes=100, places=("cifar-100-python", "cifar-100-python.tar.gz"),
        reader=sources.cifar100, urls=("https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",),
        md5=sources.CIFAR100_MD5["archive"]),
    "oxford-flowers": Row(
        8189, "500 and more", 1024, "all of Flowers-102: fetched by `prepare` (345 MB)",
        "none stated; cite Nilsback and Zisserman 2008", places=("flowers-102", "102flowers.tgz"),
        urls=("https://www.robots.ox.ac.uk/~vgg/data/flowers/102/102flowers.tgz",),
        md5="52808999861908f626f3c1f4e79d11fa"),
    "pokemon": _few_shot(833, "varies", 1024, "pokemon", "few-shot-pokemon", "not stated (The Pokemon Company's)"),
    "anime-face": _few_shot(120, "varies", 1024, "anime-face", "few-shot-anime-face", "not stated (web images)"),
    "skulls": _few_shot(97, "varies", 1024, "skulls", "few-shot-skulls", "not stated (web images)"),
    "shells": _few_shot(64, "194 to 4500", 1024, "shells", "few-shot-shells", "not stated (web images)"),
    "digits": Row(
        1797, "8", 32, "comes with scikit-learn", "CC BY 4.0 (UCI, Alpaydin and Kaynak 1998)", classes=10, flip=False,
        places=(str(sources.DIGITS),), reader=sources.digits),
    "fashion-mnist": Row(
        60_000, "28, framed to 32", 32, "Debian's dataset-fashion-mnist, or DATA/FashionMNIST as torchvision leaves it",
        "MIT", classes=10, places=("FashionMNIST", "/usr/share/datasets/fashion-mnist"),
        reader=sources.fashion_mnist),
    "emoji-faces": Row(
        102, "128", 128, f"Debian's fonts-noto-color-emoji, or DATA/emoji-faces/{sources.FONT}", "SIL OFL 1.1",
        places=(f"/usr/share/fonts/truetype/noto/{sources.FONT}",), reader=sources.emoji_faces),
}  # fmt: skip


OWN = Row(None, "its own", 256, f"it is none of {', '.join(DATASETS)}, nor a folder or archive there", "your own")


def load(name: str, resolution: int, root: Path) -> Dataset:
    """The training set at a resolution in pixels: as prepared before, or prepared now if its source is new or changed.

    Raises InputError if there is nothing to prepare it from, or that is not what the set should be.
    """
    row, root = DATASETS.get(name, OWN), Path(root)
    target = root / "prepared" / f"{name}-{resolution}"
    with one_line(root):
        made_from = _read(target / "source.json")
        path = Path(made_from["path"]) if made_from else None
        path = path if path and path.exists() else find_source(name, row, root)
        if not made_from or made_from["version"] != VERSION or (path and fingerprint(path) != made_from["files"]):
            if not path:
                raise InputError(f"dataset {name!r}: not found under {root}; {row.get}")
            prepare(order(name, row, path, resolution, root))
        return _open(name, row, target)


def subset(n: int, fraction: float, seed: int) -> np.ndarray:
    """Indices of the images of a run, int64 [max(1, round(fraction * n))]: nested in the fraction, for each seed."""
    if not 0 < fraction <= 1:
        raise InputError(f"fraction {fraction:g}: must be above 0 and at most 1")
    return np.random.RandomState(seed).permutation(n)[: max(1, round(fraction * n))]


def find_source(name: str, row: Row, root: Path) -> Path | None:
    """Where a set lies: under its own name in the data folder first, then at the row's places."""
    own = [name, *(name + suffix for suffix in (*sources.ARCHIVES, ".parquet"))]
    return next(filter(Path.exists, (root / place for place in (*own, *row.places))), None)


def order(name: str, row: Row, path: Path, resolution: int, root: Path, allow_count: bool = False) -> Order:
    """How `benchmarks.prepare` is told to prepare the set found at `path`."""
    if not re.fullmatch(r"\w[\w-]*", name):
        raise InputError(f"dataset name {name!r}: letters, digits, _ and - only")
    if not 8 <= resolution <= 4096:
        raise InputError(f"resolution {resolution}: must be between 8 and 4096 pixels")

    def opened() -> Source:
        return sources.open_source(path, row.classes, row.folder, row.reader)

    return Order(name, resolution, Path(root), path.absolute(), opened, row.count, allow_count)


def _open(name: str, row: Row, target: Path) -> Dataset:
    manifest = _read(target / "manifest.json")
    try:
        images, labels = np.load(target / "images.npy", mmap_mode="r"), np.load(target / "labels.npy")
    except (OSError, ValueError) as error:
        raise InputError(f"{target}: damaged ({error}); delete this folder to have it prepared anew") from error
    provenance = {key: value for key, value in manifest.items() if key not in ("images", "digest", "name")}
    return Dataset(name, images, labels, row.classes, row.flip, manifest["digest"], provenance)


def _read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


# Command line


def prepare_command(args: argparse.Namespace) -> None:
    row = DATASETS.get(args.name, OWN)
    path = Path(args.source) if args.source else find_source(args.name, row, args.root)
    resolution = args.resolution or row.resolution
    urls = (args.source,) if "://" in (args.source or "") else () if path else row.urls
    for url in urls:
        path = fetch(url, args.root / args.name, row.md5 if url in row.urls else "").parent
    if not path or not path.exists():
        raise InputError(f"dataset {args.name!r}: nothing at {path or args.root}; {row.get}")
    target = prepare(order(args.name, row, path, resolution, args.root, args.allow_count))
    manifest = _read(target / "manifest.json")
    print(f"{target}: {manifest['count']} images; {manifest['how']}; digest {manifest['digest'][:12]}")
    for name in manifest["aside"]:
        print(f"  not an image, left aside: {name}")


def status_command(args: argparse.Namespace) -> None:
    lines, notes = [("dataset", "tables", "found/expected", "native", "prepared at", "licence")], []
    for name, row in DATASETS.items():
        manifests = [_read(path) for path in sorted(args.root.glob(f"prepared/{name}-[0-9]*/manifest.json"))]
        found, note = _found(name, row, manifests, args.root)
        tables = [table for table in TABLES if any(cell.run.dataset == name for cell in TABLES[table].cells)]
        prepared = [f"{manifest['resolution']}{'*' * manifest['allow_count']}" for manifest in manifests]
        lines.append((name, " ".join(tables) or "-", f"{found}/{row.count or '?'}", row.native,
                      " ".join(prepared) or "-", row.licence))
        notes += [f"  {name}: {note}"] if note else []
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    print("\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines))
    print("\nPrepared sets are central squares, resized by Lanczos; * = made with ALLOW_COUNT.")
    print(f"To get one, put {args.root}/NAME/ or NAME.zip there, or: make data DATASET=NAME [SOURCE=FOLDER|FILE|URL]")
    print("\n".join(notes))


def _found(name: str, row: Row, manifests: list[dict], root: Path) -> tuple[str, str]:
    """How many images of a set there are, and what to do if they are not there or not usable."""
    if manifests:
        return str(manifests[0]["count"]), ""
    path = find_source(name, row, root)
    if not path:
        return "-", row.get
    try:
        return str(len(order(name, row, path, 32, root).opened().names)), ""
    except (InputError, OSError) as error:
        return "-", str(error)


def main() -> None:
    parser = argparse.ArgumentParser(description="Prepare data sets and show what there is.")
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("prepare", help="prepare one data set")
    one.add_argument("name", help="a data set of the table, or a name of your own")
    one.add_argument("--source", help="folder, archive, parquet file or address; else what lies in the data folder")
    one.add_argument("--resolution", type=int, help="width and height in pixels; else that of the paper")
    one.add_argument("--allow-count", action="store_true", help="take another number of images, and note it")
    one.set_defaults(run=prepare_command)
    status = commands.add_parser("status", help="show all data sets")
    status.set_defaults(run=status_command)
    for sub in (one, status):
        sub.add_argument("--root", type=Path, default=Path("data"), help="the data folder (default: data)")
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    command(main)
