"""The data sets, one row each, and their images as arrays: `load("cifar-100", 64, root)`.

A set is taken from what the user has under the data folder (DATA/<name>/, DATA/<name>.zip, ...), never fetched behind
their back, and prepared once (benchmarks/prepare.py). Any other folder or archive there is a data set by its own name.

`python -m benchmarks.datasets prepare DATASET=name [SOURCE=folder|archive|parquet|url] [RESOLUTION=px] [ALLOW_COUNT=1]`
prepares one; `python -m benchmarks.datasets status` shows what there is and how to get the rest. Both take DATA, the
data folder. To add one, write a row.
"""

import hashlib
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

import numpy as np

from benchmarks import sources
from benchmarks.fetch import fetch
from benchmarks.prepare import HELDOUT, REMEDY, VERSION, Order, check_count, digest, fingerprint, one_line, prepare
from benchmarks.runs import InputError, Option, command, read_options, whole, yes
from benchmarks.sources import Source
from benchmarks.state import Schema, read_json, typed
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
    heldout     the test part, whose images are never trained on, or None where the set has none
    """

    name: str
    images: np.ndarray
    labels: np.ndarray
    classes: int
    flip: bool
    digest: str
    provenance: Mapping[str, object] = field(default_factory=dict)
    heldout: "Dataset | None" = None


@dataclass(frozen=True)
class Row:
    """What is known of a data set.

    count       its number of images; None if nobody has said
    heldout     number of images of its test part; None if it has none, or if its test images are trained on
    content     sha256 of the published pixels and labels (prepare.content), where somebody has had them to compute it
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
    heldout: int | None = None
    content: str = ""


FEW_SHOT = ("few-shot-images", "few-shot-images.zip", "few-shot-image-datasets.zip")


def _few_shot(count: int, native: str, resolution: int, folder: str, hub: str, licence: str, files: int = 1,
              content: str = "") -> Row:
    """A set of FastGAN's few-shot archive (Liu et al. 2021), which the hub's user "huggan" keeps as parquet files."""
    address = f"huggingface.co/datasets/huggan/{hub}"
    get = f"{address} (fetched by `prepare`; needs pyarrow), or folder {folder} of few-shot-images.zip"
    urls = []
    for i in range(files):
        urls.append(f"https://{address}/resolve/main/data/train-{i:05d}-of-{files:05d}.parquet")
    return Row(count, native, resolution, get, licence, places=FEW_SHOT, folder=folder, urls=tuple(urls),
               content=content)


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
    "100-shot-panda": _few_shot(100, "256", 256, "100-shot-panda", "few-shot-panda", SHOT100,
                                content="c0f3b3d4674f79fd9e048eb1099ea7b70b74b32f3729ca532db356d3c4874ecd"),
    "100-shot-grumpy-cat": _few_shot(100, "256", 256, "100-shot-grumpy_cat", "few-shot-grumpy-cat", SHOT100),
    "cifar-100": Row(
        50_000, "32", 64, "fetched by `prepare` (169 MB), or the hub's parquet, or class folders",
        "none stated; cite Krizhevsky 2009", classes=100, places=("cifar-100-python", "cifar-100-python.tar.gz"),
        reader=sources.cifar100, urls=("https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",),
        md5=sources.CIFAR100_MD5["archive"], heldout=10_000,
        content="cc4c45039bbf094ecb1f2928ab213e0a3230012356319ca75b7cd790c9b65972"),
    "oxford-flowers": Row(  # the paper trains on all images, so the official test part is not held out
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
        places=(str(sources.DIGITS),), reader=sources.digits,
        content="5b9c1fd624a7b867f0d33eaac7cefb0d2f4ccada996901c84d008416c6850ec3"),
    "fashion-mnist": Row(
        60_000, "28, framed to 32", 32, "Debian's dataset-fashion-mnist, or DATA/FashionMNIST as torchvision leaves it",
        "MIT", classes=10, places=("FashionMNIST", "/usr/share/datasets/fashion-mnist"),
        reader=sources.fashion_mnist, heldout=10_000,
        content="268adb83a894e5ac98460f774f4ab49fdb92f8bddc73c318b7d19da5c76670cc"),
    "emoji-faces": Row(
        102, "128", 128, f"Debian's fonts-noto-color-emoji, or DATA/emoji-faces/{sources.FONT}", "SIL OFL 1.1",
        places=(f"/usr/share/fonts/truetype/noto/{sources.FONT}",), reader=sources.emoji_faces),
}  # fmt: skip


SOURCE = {"version": int, "path": str, "files": str}
PART = {"count": int, "digest": str}
MANIFEST = PART | {"name": str, "resolution": int, "classes": int, "content": str, "allow_count": bool, "how": str,
                   "aside": list}  # fmt: skip
NAME = r"\w[\w-]*"  # of a data set
SIDES = 8, 4096  # pixels: smallest and largest resolution
FOLDERS = ("prepared", "weights", "features")  # of the data folder: what this suite keeps there
SUFFIXES = (*sources.ARCHIVES, ".parquet")  # of files that are data sets
CHECKED = 4 << 30  # bytes: arrays up to this size are compared with their digest whenever they are opened

OWN = Row(None, "its own", 256, f"it is none of {', '.join(DATASETS)}, nor a folder or archive there", "your own")


def load(name: str, resolution: int, root: Path) -> Dataset:
    """The training set at a resolution in pixels: as prepared before, or prepared now if its source is new or changed.

    Raises InputError if there is nothing to prepare it from, or that is not what the set should be.
    """
    row, root = DATASETS.get(name, OWN), Path(root)
    with one_line(root):
        due = _due(name, resolution, root)
        if due:
            prepare(due)
        return _open(name, row, _target(name, resolution, root))


def require(name: str, resolution: int, root: Path) -> None:
    """Raises InputError where load() would find no source to prepare the set from, or one that is not the set."""
    with one_line(root):
        due = _due(name, resolution, root)
        if due:
            check_count(due, due.opened())


def _target(name: str, resolution: int, root: Path) -> Path:
    return root / "prepared" / f"{name}-{resolution}"


def _due(name: str, resolution: int, root: Path) -> Order | None:
    """How the set is to be prepared; None where that is done, and its source has not changed since."""
    row = DATASETS.get(name, OWN)
    made_from = _read(_target(name, resolution, root) / "source.json", SOURCE)
    if made_from and Path(made_from["path"]).exists():
        path = Path(made_from["path"])
    else:
        path = find_source(name, row, root)
    if _is_current(made_from, path):
        return None
    if not path:
        raise InputError(f"dataset {name!r}: not found under {root}; `{_command(name)}`: {row.get}")
    return order(name, row, path, resolution, root)


def _command(name: str) -> str:
    """The command that prepares a data set."""
    if name in DATASETS:
        return f"make data DATASET={name}"
    return f"make data DATASET={name} SOURCE=..."


def _is_current(made_from: dict, path: Path | None) -> bool:
    """Whether a set was prepared by this version of the code, and its source has not changed if it is still there."""
    if not made_from or made_from["version"] != VERSION:
        return False
    return not path or fingerprint(path) == made_from["files"]


def subset(n: int, fraction: float, seed: int) -> np.ndarray:
    """Indices of the images of a run, int64 [max(1, round(fraction * n))]: nested in the fraction, for each seed."""
    if not 0 < fraction <= 1:
        raise InputError(f"fraction {fraction:g}: must be above 0 and at most 1")
    return np.random.RandomState(seed).permutation(n)[: max(1, round(fraction * n))]


def find_source(name: str, row: Row, root: Path) -> Path | None:
    """Where a set lies: under its own name in the data folder first, then at the row's places."""
    own = [name + suffix for suffix in ("", *SUFFIXES)]
    places = [root / place for place in (*own, *row.places)]
    return next(filter(_has_content, places), None)


def _has_content(path: Path) -> bool:
    """Not so a folder with nothing in it but hidden files, such as a download that broke off."""
    if path.is_dir():
        return bool(_visible(path))
    return path.exists()


def _visible(folder: Path) -> set[str]:
    """The names of what is in a folder, hidden files apart."""
    return {path.name for path in folder.iterdir() if not path.name.startswith(".")}


def order(name: str, row: Row, path: Path, resolution: int, root: Path, allow_count: bool = False) -> Order:
    """How `benchmarks.prepare` is told to prepare the set found at `path`."""
    _require_name(name)
    if not SIDES[0] <= resolution <= SIDES[1]:
        raise InputError(f"resolution {resolution}: must be between {SIDES[0]} and {SIDES[1]} pixels")

    def opened() -> Source:
        return sources.open_source(path, row.classes, row.folder, row.reader)

    return Order(name, resolution, Path(root), path.absolute(), opened, row.count, row.heldout, row.content,
                 allow_count)


def _require_name(name: str) -> None:
    if not re.fullmatch(NAME, name):
        raise InputError(f"dataset name {name!r}: letters, digits, _ and - only")
    if name in FOLDERS:
        raise InputError(f"dataset name {name!r}: that folder of the data folder is this suite's own")


def _open(name: str, row: Row, target: Path) -> Dataset:
    manifest = _read(target / "manifest.json", MANIFEST)
    own = ("images", "digest", "name", "heldout")
    provenance = {key: value for key, value in manifest.items() if key not in own}
    train = _part(name, row, target, "", manifest, manifest, provenance)
    if "heldout" not in manifest:
        return train
    known = typed(f"{target / 'manifest.json'}: heldout", manifest["heldout"], PART, REMEDY.format(target))
    return replace(train, heldout=_part(f"{name}-test", row, target, HELDOUT, known, manifest, {}))


def _part(name: str, row: Row, target: Path, prefix: str, known: dict, manifest: dict, provenance: dict) -> Dataset:
    """The arrays of one part. Raises InputError where they are not the ones whose digest was noted down."""
    remedy = REMEDY.format(target)
    images, labels = _arrays(target, prefix)
    shape = (known["count"], 3, manifest["resolution"], manifest["resolution"])
    if images.shape != shape or images.dtype != np.uint8 or labels.shape != shape[:1] or labels.dtype != np.int64:
        raise InputError(f"{target}: damaged, {prefix}images.npy is {images.dtype} {images.shape}, labels are "
                         f"{labels.dtype} {labels.shape}, but manifest.json tells of {shape}; {remedy}")
    hashes = (hashlib.sha256(image).hexdigest() for image in images)
    if images.nbytes <= CHECKED and digest(hashes, labels) != known["digest"]:
        raise InputError(f"{target}: damaged, the digest of {prefix}images.npy and its labels is not that of "
                         f"manifest.json; {remedy}")
    return Dataset(name, images, labels, manifest["classes"], row.flip, known["digest"], provenance)


def _arrays(target: Path, prefix: str) -> tuple[np.ndarray, np.ndarray]:
    """Images, in a memory map, and labels."""
    try:
        return np.load(target / f"{prefix}images.npy", mmap_mode="r"), np.load(target / f"{prefix}labels.npy")
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{target}: damaged ({error}); {REMEDY.format(target)}") from error


def _read(path: Path, schema: Schema) -> dict:
    """The JSON object in a file that a preparation has left; {} where there is none."""
    if not path.exists():
        return {}
    return read_json(path, schema, REMEDY.format(path.parent))


# Command line

ROOT = Option(Path, Path("data"))
PREPARE = {"DATASET": Option(str), "SOURCE": Option(str, ""), "RESOLUTION": Option(whole(*SIDES)),
           "ALLOW_COUNT": Option(yes, False), "DATA": ROOT}  # fmt: skip


def main() -> None:
    what, *arguments = sys.argv[1:] or [""]
    if what == "prepare":
        given = read_options(arguments, PREPARE)
        if not given["DATASET"]:
            raise InputError(f"DATASET: none given; one of {', '.join(DATASETS)}, or a name of your own")
        prepare_one(given["DATASET"], given["SOURCE"], given["RESOLUTION"], given["ALLOW_COUNT"], given["DATA"])
    elif what == "status":
        print_status(read_options(arguments, {"DATA": ROOT})["DATA"])
    else:
        raise InputError(f"{what!r}: not a command; valid are prepare, status")


def prepare_one(name: str, source: str, resolution: int | None, allow_count: bool, root: Path) -> None:
    """Prepare a set from a source, or from where it lies, at a resolution or that of the paper, and say what it is."""
    row = DATASETS.get(name, OWN)
    _require_name(name)
    path = _given_source(name, row, root, source)
    if not path or not path.exists():
        raise InputError(f"dataset {name!r}: nothing at {path or root}; {row.get}")
    target = prepare(order(name, row, path, resolution or row.resolution, root, allow_count))
    manifest = _read(target / "manifest.json", MANIFEST)
    print(f"{target}: {_counts(manifest)}; {manifest['how']}; content {manifest['content'][:12]}")
    for file in manifest["aside"]:
        print(f"  not an image, left aside: {file}")


def _counts(manifest: dict) -> str:
    counts = f"{manifest['count']} images"
    if "heldout" in manifest:
        counts += f" and {manifest['heldout']['count']} of the test part"
    if manifest["classes"]:
        return f"{counts}, {manifest['classes']} classes"
    return f"{counts}, no classes"


def _given_source(name: str, row: Row, root: Path, source: str) -> Path | None:
    """The folder or file to prepare a set from: where the user says, else where the set lies, else as it is fetched."""
    folder = root / name
    if "://" in source:
        md5 = ""
        if source in row.urls:
            md5 = row.md5
        return fetch(source, folder, md5).parent
    if source:
        return Path(source)
    path = find_source(name, row, root)
    if not path or path == folder and _is_part(folder, row):
        for url in row.urls:
            path = fetch(url, folder, row.md5).parent
    return path


def _is_part(folder: Path, row: Row) -> bool:
    """Whether a folder holds some of the files at the row's addresses, not all of them, and nothing else."""
    return _visible(folder) < {PurePosixPath(url).name for url in row.urls}


def print_status(root: Path) -> None:
    """Every set: how many images of it there are, at which sizes it is prepared, how to get what is missing."""
    lines, notes = [("dataset", "tables", "found/expected", "native", "prepared at", "licence")], []
    for name, manifests in _prepared(root).items():
        row = DATASETS.get(name, OWN)
        count, note = _available(name, row, manifests, root)
        sizes = [f"{manifest['resolution']}{'*' * manifest['allow_count']}" for manifest in manifests]
        lines.append((name, " ".join(_tables_of(name)) or "-", f"{count}/{row.count or '?'}", row.native,
                      " ".join(sizes) or "-", row.licence))
        if note:
            notes.append(f"  {name}: {note}")
    _print_columns(lines)
    print("\nPrepared sets are central squares, resized by Lanczos; * = made with ALLOW_COUNT.")
    print(f"To get one, put {root}/NAME/ or NAME.zip there, or: make data DATASET=NAME [SOURCE=FOLDER|FILE|URL]")
    print("\n".join(notes))


def _prepared(root: Path) -> dict[str, list[dict]]:
    """Name -> manifests of the prepared sets, for all sets of the table and of the data folder."""
    prepared: dict[str, list[dict]] = {name: [] for name in [*DATASETS, *_own(root)]}
    for path in sorted(root.glob("prepared/*-[0-9]*/manifest.json")):
        manifest = _read(path, MANIFEST)
        prepared.setdefault(manifest["name"], []).append(manifest)
    return prepared


def _tables_of(name: str) -> list[str]:
    """The benchmark's tables in which a data set occurs."""
    tables = []
    for table, content in TABLES.items():
        if name in {cell.run.dataset for cell in content.cells}:
            tables.append(table)
    return tables


def _print_columns(lines: list[tuple[str, ...]]) -> None:
    """Print lines of as many cells each, in columns as wide as their widest cell."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print("  ".join(map(str.ljust, line, widths)).rstrip())


def _own(root: Path) -> list[str]:
    """The names of the folders and archives in the data folder that belong to no row: sets of one's own."""
    taken = set(FOLDERS)
    for name, row in DATASETS.items():
        taken |= {name, *row.places}
    if not root.is_dir():
        return []
    names = []
    for path in sorted(root.iterdir()):
        name = _set_name(path)
        if name and {name, path.name}.isdisjoint(taken) and re.fullmatch(NAME, name):
            names.append(name)
    return names


def _set_name(path: Path) -> str:
    """The name of the data set that a folder or archive in the data folder is; "" for other files."""
    for suffix in SUFFIXES:
        if path.name.endswith(suffix):
            return path.name.removesuffix(suffix)
    if path.is_dir():
        return path.name
    return ""


def _available(name: str, row: Row, manifests: list[dict], root: Path) -> tuple[str, str]:
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


if __name__ == "__main__":
    command(main)
