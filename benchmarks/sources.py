"""Readers of data sets: a folder, an archive, parquet files, torchvision's files or a font; one reader for each.

A reader lists the images of a source in a fixed order and hands out the bytes of any one of them, from any thread. It
neither decodes nor stores: benchmarks/prepare.py does. Archives are never unpacked by the names they hold.
"""

import gzip
import hashlib
import os
import pickle
import shutil
import stat
import tarfile
import tempfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import numpy as np

from benchmarks.runs import InputError
from benchmarks.state import read_json, typed

IMAGES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"}
ASIDE = {".txt", ".md", ".json", ".jsonl", ".csv", ".html", ".mat", ".pdf", ".ini", ".db", ""}  # come along with images
MEMBER_LIMIT = 1 << 30  # bytes of one unpacked archive member: an image file is far below
ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")
CLASSES = "classes.txt"
FONT = "NotoColorEmoji.ttf"
DIGITS = Path(find_spec("sklearn").origin).parent / "datasets" / "data" / "digits.csv.gz"  # found without importing it


@dataclass
class Source:
    """Images as found.

    names   one for each image, in the order of the prepared set
    labels  int64 [N]; all 0 for a set without classes
    read    read(i) -> bytes of an image file, or pixels uint8 [H, W] or [H, W, 3]; may be called from any thread
    aside   files that came along and are no images (readme, list of labels)
    md5     published checksums of image files, by name, where the source brings them along
    fixed   whether it is known to be the published set, bit for bit; then images that occur twice belong to it
    note    what was done to the images before they are decoded
    classes number of classes; 0 where the images have none
    heldout the test part, where the source has one
    """

    names: list[str]
    labels: np.ndarray
    read: Callable[[int], bytes | np.ndarray]
    aside: list[str] = field(default_factory=list)
    md5: dict[str, str] = field(default_factory=dict)
    fixed: bool = False
    note: str = ""
    classes: int = 0
    heldout: "Source | None" = None


def open_source(
    path: Path, classes: int = 0, folder: str = "", reader: Callable[[Path], Source] | None = None
) -> Source:
    """The source at `path`, read by what it is; a folder with nothing but an archive in it is that archive.

    classes  if not 0, the folder an image lies in (or the parquet label) is its class; if 0, so it is in a source of
             image files that has a classes.txt
    folder   for an archive of several sets: the one to take, where it occurs
    reader   for files in a format of the set's own; parquet files come first, they always look the same
    """
    if not path.is_dir() and not path.is_file():
        raise InputError(f"{path}: neither a folder nor a plain file")
    path = _only_archive(path) or path
    if path.suffix == ".parquet" or any(path.rglob("*.parquet")):
        return _parquet(path, classes)
    if reader:
        return reader(path)
    return image_files(path, classes, folder)


def _only_archive(path: Path) -> Path | None:
    """The archive in a folder that holds nothing else, hidden files aside."""
    if not path.is_dir():
        return None
    inside = [file for file in path.iterdir() if not file.name.startswith(".")]
    if len(inside) == 1 and inside[0].name.endswith(ARCHIVES):
        return inside[0]
    return None


def image_files(path: Path, classes: int = 0, folder: str = "") -> Source:
    """The images of a folder or an archive, sorted by name.

    Where the folders train and test stand side by side, the images under test are the test part. A file classes.txt
    names the folders that are classes, one a line, in the order of their labels.
    """
    kind = "" if path.is_dir() else path.suffix
    if kind not in OPEN or (kind == "" and not path.is_dir()):
        raise InputError(f"{path}: neither a folder nor a {', '.join(ARCHIVES)} or .parquet file")
    names, read = OPEN[kind](path)
    for name in names:
        if not _is_utf8(name):
            raise InputError(f"{path}: the file name {name!r} is not UTF-8; rename it")
    if folder:
        names = [name for name in names if _lies_in(name, folder)] or names
    return _choose(path, names, read, classes)


def _lies_in(name: str, folder: str) -> bool:
    """Whether one of the folders of a file has this name, whatever its case and whether - or _ joins its words."""
    return _alike(folder) in map(_alike, PurePosixPath(name).parts[:-1])


def _is_utf8(name: str) -> bool:
    """Python gives the bytes of a file name that are not UTF-8 as lone surrogates, which cannot be encoded."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _choose(path: Path, names: list[str], read: Callable[[str], bytes], classes: int) -> Source:
    """The images among the files of a source, sorted by name, and their classes."""
    images, aside = _images_and_others(path, names)
    train, test = _parts(images)
    folders = _declared(path, aside, read)
    if classes and not folders:
        folders = _by_name(path, train, classes)
    source = _images(path, train, read, folders)
    for place in set(range(len(folders))) - set(source.labels):
        raise InputError(f"{path}: no training image in class folder {folders[place]}; take it out of {CLASSES}")
    source.aside = [name for name in aside if PurePosixPath(name).name != CLASSES]
    if test:
        source.heldout = _images(path, test, read, folders)
    return source


def _images_and_others(path: Path, names: list[str]) -> tuple[list[str], list[str]]:
    """The files that are images and those that may come along with images, each sorted by name."""
    kinds: dict[bool | None, list[str]] = {True: [], False: [], None: []}
    for name in sorted(names):
        kinds[_is_image(name)].append(name)
    if kinds[None]:
        raise InputError(f"{path}: {kinds[None][0]} is not an image; valid are {' '.join(sorted(IMAGES))}")
    if not kinds[True]:
        raise InputError(f"{path}: no image in it; valid are {' '.join(sorted(IMAGES))}")
    return kinds[True], kinds[False]


def _images(path: Path, names: list[str], read: Callable[[str], bytes], folders: list[str]) -> Source:
    """The images of these names, with the classes that their folders are; all have label 0 without folders."""
    labels = np.zeros(len(names), np.int64)
    if folders:
        places = {folder: place for place, folder in enumerate(folders)}
        labels[:] = [_label(path, name, places) for name in names]
    return Source(names, labels, lambda i: read(names[i]), classes=len(folders))


def _label(path: Path, name: str, places: dict[str, int]) -> int:
    """The label of an image: the place among the class folders of the one that it lies in."""
    parent = PurePosixPath(name).parent.name
    if parent not in places:
        raise InputError(f"{path}: {name} lies in none of the {len(places)} class folders, {next(iter(places))} ...")
    return places[parent]


def _parts(names: list[str]) -> tuple[list[str], list[str]]:
    """The training images and the test images: all are training images unless folders train and test separate them."""
    shared = os.path.commonpath([PurePosixPath(name).parent for name in names])
    depth = len(PurePosixPath(shared).parts)
    parts: dict[str, list[str]] = {}
    for name in names:
        part = PurePosixPath(name).parts[depth].lower()
        parts.setdefault(part, []).append(name)
    if set(parts) == {"train", "test"}:
        return parts["train"], parts["test"]
    return names, []


def _declared(path: Path, names: list[str], read: Callable[[str], bytes]) -> list[str]:
    """The class folders that the source's classes.txt lists; none without such a file."""
    lists = [name for name in names if PurePosixPath(name).name == CLASSES]
    if not lists:
        return []
    try:
        lines = read(lists[0]).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: {lists[0]} is not UTF-8 text") from error
    folders = [line.strip() for line in lines if line.strip()]
    if len(set(folders)) != len(folders) or len(folders) < 2:
        raise InputError(f"{path}: {lists[0]} must list two class folders or more, each once")
    return folders


def _by_name(path: Path, names: list[str], classes: int) -> list[str]:
    """The folders of images, one for each class, in the order of their names; numbers in the order of their values."""
    folders = sorted({PurePosixPath(name).parent.name for name in names})
    if len(folders) != classes:
        raise InputError(f"{path}: images lie in {len(folders)} folders, expected one for each of {classes} classes")
    if all(map(str.isdecimal, folders)):
        folders.sort(key=int)
    return folders


def _is_image(name: str) -> bool | None:
    """Whether a file is an image, by its name; None if that cannot be said and a person should look."""
    path = PurePosixPath(name)
    for part in path.parts:
        if part.startswith((".", "__MACOSX")):
            return False
    suffix = path.suffix.lower()
    if suffix in IMAGES:
        return True
    if suffix in ASIDE:
        return False
    return None


def _alike(name: str) -> str:
    """One spelling of a folder's name, so that "100-shot Obama" and "100-shot_obama" compare equal."""
    return name.lower().replace("_", "-").replace(" ", "-")


# Folders and archives. Each function returns the names of the files and a function from a name to its bytes.


def _folder(path: Path) -> tuple[list[str], Callable[[str], bytes]]:
    names = []
    for folder, subfolders, files in os.walk(path, onerror=_raise):
        for name in subfolders + files:
            inside = Path(folder) / name
            if inside.is_symlink():
                raise InputError(f"{_shown(inside)}: is a link; put the file itself there")
        for name in files:
            file = Path(folder) / name
            if not file.is_file():
                raise InputError(f"{_shown(file)}: is a pipe or a device, not a plain file; remove it")
            names.append(file.relative_to(path).as_posix())
    return names, lambda name: (path / name).read_bytes()


def _shown(path: Path) -> str:
    """A path as text that can be printed, whatever bytes its name has."""
    return str(path).encode(errors="backslashreplace").decode()


def _raise(error: OSError) -> None:
    raise error


def _zip(path: Path) -> tuple[list[str], Callable[[str], bytes]]:
    archive, members = _opened_zip(path), {}
    for info in archive.infolist():
        if info.flag_bits & 1:
            raise InputError(f"{path}: {info.filename} is protected by a password; unpack it and give the folder")
        _check_member(path, info.filename, info.file_size, stat.S_ISLNK(info.external_attr >> 16), members)
        if not info.is_dir():
            members[info.filename] = info

    def read(name: str) -> bytes:
        try:
            return archive.read(members[name])
        except NotImplementedError as error:  # Deflate64, which Windows takes for large files
            raise InputError(f"{path}: {name} cannot be read ({error}); unpack it and give the folder") from error
        except (zipfile.BadZipFile, zipfile.zlib.error, EOFError) as error:
            raise InputError(f"{path}: corrupt archive, {name} cannot be read ({error}); get it again") from error

    return list(members), read


def _opened_zip(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise InputError(f"{path}: corrupt archive ({error}); get it again") from error


def _tar(path: Path) -> tuple[list[str], Callable[[str], bytes]]:
    plain, infos = _opened_tar(path)
    members = {}
    for info in infos:
        _check_member(path, info.name, info.size, not (info.isfile() or info.isdir()), members)
        if info.isfile():
            members[info.name] = info

    def read(name: str) -> bytes:
        content = os.pread(plain.fileno(), members[name].size, members[name].offset_data)
        if len(content) < members[name].size:
            raise InputError(f"{path}: corrupt archive, {name} is cut short; get it again")
        return content

    return list(members), read


def _opened_tar(path: Path) -> tuple[BinaryIO, list[tarfile.TarInfo]]:
    try:
        plain = _unpacked(path)
        return plain, tarfile.open(fileobj=plain, mode="r:").getmembers()
    except (tarfile.TarError, EOFError, gzip.BadGzipFile, zipfile.zlib.error) as error:
        raise InputError(f"{path}: corrupt archive ({error}); get it again") from error


def _unpacked(path: Path) -> BinaryIO:
    """The plain tar of a .tar.gz, in a nameless temporary file: members can then be read in any order."""
    if not _begins(path, b"\x1f\x8b"):
        return path.open("rb")
    plain = tempfile.TemporaryFile()
    with gzip.open(path) as packed:
        shutil.copyfileobj(packed, plain)
    plain.flush()
    plain.seek(0)
    return plain


def _check_member(path: Path, name: str, size: int, special: bool, members: dict) -> None:
    """Refuse a member that leads out of the archive, is no plain file, is too large or stands there twice."""
    if _climbs_out(name):
        raise InputError(f"{path}: {name} climbs out of the archive; refused")
    if special:
        raise InputError(f"{path}: {name} is a link or a device; refused")
    if size > MEMBER_LIMIT:
        raise InputError(f"{path}: {name} unpacks to {size >> 20} MiB; refused above {MEMBER_LIMIT >> 20} MiB")
    if name in members:
        raise InputError(f"{path}: {name} is in it twice; refused")


def _climbs_out(name: str) -> bool:
    """Whether a member's name is absolute, has a part "..", or begins with a drive such as C:."""
    member = PurePosixPath(name.replace("\\", "/"))
    if member.is_absolute() or ".." in member.parts:
        return True
    return bool(member.parts) and ":" in member.parts[0]


def _begins(path: Path, magic: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(magic)) == magic


OPEN = {"": _folder, ".zip": _zip, ".tar": _tar, ".gz": _tar, ".tgz": _tar}  # by suffix; a folder has none


# Parquet, as of the Hugging Face hub


def _parquet(path: Path, classes: int) -> Source:
    """Files with a column `image` (or `img`) of encoded images, and perhaps a label column.

    Where there are files named train* and files named test*, as the hub has them, the latter are the test part.
    """
    with _arrow(path):
        train, test = _parquet_parts(path)
        source = _table(train, classes)
        if test:
            source.heldout = _table(test, classes)
        return source


@contextmanager
def _arrow(path: Path) -> Iterator[None]:
    """What pyarrow says about a corrupt file, or its absence, as one line."""
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise InputError(f"{path}: parquet files need pyarrow: `.venv/bin/pip install pyarrow`") from error
    try:
        yield
    except pyarrow.ArrowInvalid as error:
        raise InputError(f"{path}: corrupt parquet file ({str(error).splitlines()[0]}); get it again") from error


def _parquet_parts(path: Path) -> tuple[list[Path], list[Path]]:
    """The files of the training part and those of the test part, each sorted by name."""
    if not path.is_dir():
        return [path], []
    files = sorted(filter(Path.is_file, path.rglob("*.parquet")))
    train = [file for file in files if file.name.startswith("train")]
    test = [file for file in files if file.name.startswith("test")]
    if train and test:
        return train, test
    return files, []


class ImageColumn:
    """The cells of the image columns of parquet files, one file after the other; read(i) may be called by any thread.

    A file is read by its row groups, of which the last four used are kept.
    """

    def __init__(self, files: list[Path]):
        import pyarrow.parquet

        self.files = files
        self.shards = [pyarrow.parquet.ParquetFile(file) for file in files]
        self.columns = [_column(file, shard, ("image", "img")) for file, shard in zip(files, self.shards, strict=True)]
        self.places = _places(self.shards)
        self.lock = threading.Lock()
        self.group = lru_cache(maxsize=4)(self._group)

    def _group(self, shard: int, group: int) -> list[dict]:
        return self.shards[shard].read_row_group(group, columns=[self.columns[shard]]).column(0).to_pylist()

    def read(self, i: int) -> bytes:
        shard, group, row = self.places[i]
        with self.lock:
            cell = self.group(shard, group)[row]
        if isinstance(cell, dict):
            return cell["bytes"]
        return cell

    def names(self) -> list[str]:
        return [f"{self.files[shard].name}:{group}:{row}" for shard, group, row in self.places]


def _places(shards: list) -> list[tuple[int, int, int]]:
    """Where each image stands: the number of its file, of the row group therein and of the row in the group."""
    places = []
    for shard, file in enumerate(shards):
        for group in range(file.num_row_groups):
            for row in range(file.metadata.row_group(group).num_rows):
                places.append((shard, group, row))
    return places


def _table(files: list[Path], classes: int) -> Source:
    """The rows of parquet files, one file after the other."""
    column = ImageColumn(files)
    names = column.names()
    labels = np.zeros(len(names), np.int64)
    if classes:
        parts = []
        for file, shard in zip(files, column.shards, strict=True):
            parts.append(_labels(file, shard, classes))
        labels = np.concatenate(parts)
    return Source(names, labels, column.read, classes=classes)


def _column(file: Path, shard, names: tuple[str, ...]) -> str:
    """The first of these names that is a column of the file."""
    columns = shard.schema_arrow.names
    for name in names:
        if name in columns:
            return name
    raise InputError(f"{file}: no column {' or '.join(names)}; it has {', '.join(columns)}")


def _labels(file: Path, shard, classes: int) -> np.ndarray:
    """The labels of a parquet file, int64 below `classes`."""
    column = _column(file, shard, ("fine_label", "label"))
    labels = shard.read(columns=[column]).column(0).to_numpy()
    if labels.dtype.kind not in "iu" or not ((0 <= labels) & (labels < classes)).all():
        raise InputError(f"{file}: column {column} must hold whole numbers from 0 to {classes - 1}")
    return labels.astype(np.int64)


# Sets in formats of their own


def ffhq(path: Path) -> Source:
    """images1024x1024/00000/*.png, each checked by its md5 where ffhq-dataset-v2.json lies beside or above them."""
    source = image_files(path)
    indices = [path / "ffhq-dataset-v2.json", path.parent / "ffhq-dataset-v2.json"]
    index = next(filter(Path.is_file, indices), None)
    if index:
        source.md5 = _md5_of(path, source.names, index)
    return source


def _md5_of(path: Path, names: list[str], index: Path) -> dict[str, str]:
    """The published md5 of each of the images."""
    published = _ffhq_md5(index)
    for name in names:
        if PurePosixPath(name).name not in published:
            raise InputError(f"{path}: {name} is not in {index}, which lists the published files; remove it")
    return {name: published[PurePosixPath(name).name] for name in names}


def _ffhq_md5(index: Path) -> dict[str, str]:
    """The published md5 of each image file, by the file's name without its folders."""
    published = {}
    for number, entry in read_json(index, remedy="get it again").items():
        image = typed(f"{index}: {number}", entry, {"image": dict}, "get it again")["image"]
        typed(f"{index}: {number}: image", image, {"file_path": str, "file_md5": str}, "get it again")
        published[PurePosixPath(image["file_path"]).name] = image["file_md5"]
    return published


def digits(path: Path) -> Source:
    """scikit-learn's 8 x 8 gray digits, values 0..16 and the label in a line: the test part of the UCI set."""
    table = np.loadtxt(path, delimiter=",")
    images = np.rint(table[:, :64].reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    return _pixels(images, table[:, 64], 10, "digit", "values 0..16 scaled to 0..255")


FASHION_SHA256 = {  # of the unpacked content, which is the same everywhere; the packed files differ
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}


def fashion_mnist(path: Path) -> Source:
    """Training and test part, from IDX files (gzipped or not), as torchvision and dataset-fashion-mnist have them.

    28 x 28 gray, framed by 2 black pixels to 32 x 32 as the models' sizes are powers of two.
    """
    source, heldout = _fashion_part(path, "train"), _fashion_part(path, "t10k")
    if source is None:
        raise InputError(f"{path}: no train-images-idx3-ubyte or train-images-idx3-ubyte.gz in it")
    source.heldout = heldout
    return source


def _fashion_part(path: Path, part: str) -> Source | None:
    images = _idx(path, f"{part}-images-idx3-ubyte")
    labels = _idx(path, f"{part}-labels-idx1-ubyte")
    if images is None or labels is None:
        return None
    framed = np.pad(images.reshape(-1, 28, 28), ((0, 0), (2, 2), (2, 2)))
    return _pixels(framed, labels, 10, part, "28 x 28 framed by 2 black pixels to 32 x 32")


def _idx(path: Path, name: str) -> np.ndarray | None:
    """The bytes behind the header of an IDX file, whose content must be the published one; None without the file."""
    files = sorted(_named(path, (name, name + ".gz")))
    if not files:
        return None
    content = _unzipped(files[0])
    if hashlib.sha256(content).hexdigest() != FASHION_SHA256[name]:
        raise InputError(f"{files[0]}: not the published file (sha256 of its content differs); get it again")
    return np.frombuffer(content, np.uint8, offset=4 + 4 * content[3])


def _unzipped(file: Path) -> bytes:
    """The content of a file, unpacked where it is a .gz."""
    if file.suffix != ".gz":
        return file.read_bytes()
    try:
        return gzip.decompress(file.read_bytes())
    except (gzip.BadGzipFile, EOFError, zipfile.zlib.error) as error:
        raise InputError(f"{file}: corrupt archive ({error}); get it again") from error


def _named(folder: Path, names: tuple[str, ...]) -> list[Path]:
    """The plain files at any depth of a folder that have one of these names."""
    return [file for file in folder.rglob("*") if file.name in names and file.is_file()]


def _first_named(path: Path, name: str) -> Path | None:
    """`path` itself where it is a file, else a file of this name at any depth of the folder."""
    if path.is_file():
        return path
    return next(filter(Path.is_file, path.rglob(name)), None)


CIFAR100_MD5 = {"archive": "eb9058c3a382ffc7106e4002c42a8d85", "train": "16019d7e3df5f24257cddd939b257f8d",
                "test": "f0ef6b0ae62326f3e7ffdfab6717acfc"}  # fmt: skip


def cifar100(path: Path) -> Source:
    """cifar-100-python, packed or unpacked, as torchvision leaves it; or class folders. 32 x 32, fine labels.

    The published labels are the places of the class names in alphabetical order, as are those of class folders.
    """
    packed = _first_named(path, "cifar-100-python.tar.gz")
    if packed and packed.name.endswith((".tar", ".tar.gz", ".tgz")):
        names, read = _tar(packed)
        files = {PurePosixPath(name).name: name for name in names}
    else:
        files = {file.name: file for file in _named(path, ("train", "test"))}
        read = Path.read_bytes
    if "train" not in files:
        return image_files(path, classes=100)
    source = _cifar_part(packed or path, "train", read(files["train"]))
    if "test" in files:
        source.heldout = _cifar_part(packed or path, "test", read(files["test"]))
    return source


def _cifar_part(path: Path, part: str, content: bytes) -> Source:
    _require_published(path, part, content)
    batch = pickle.loads(content, encoding="latin1")  # safe: the bytes are the published ones
    images = batch["data"].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return _pixels(np.ascontiguousarray(images), batch["fine_labels"], 100, part)


def _require_published(path: Path, part: str, content: bytes) -> None:
    if hashlib.md5(content).hexdigest() != CIFAR100_MD5[part]:
        raise InputError(f"{path}: {part} is not the published file (md5 differs from torchvision's); get it again")


def emoji_faces(path: Path) -> Source:
    """The face emoji listed in emoji_faces.txt, from Noto Color Emoji's bitmaps (136 x 128, cut to 128), on white."""
    from PIL import Image, ImageDraw, ImageFont

    font = _first_named(path, FONT)
    if not font:
        raise InputError(f"{path}: no {FONT} in it")
    points = _listed_points()
    try:
        face = ImageFont.truetype(font, 109)  # the one size of its bitmaps
    except OSError as error:
        raise InputError(f"{font}: not Noto Color Emoji's font of bitmaps ({error}); get it again") from error

    def draw(point: str) -> np.ndarray:
        image = Image.new("RGB", (136, 128), "white")
        ImageDraw.Draw(image).text((0, 0), chr(int(point, 16)), font=face, embedded_color=True)
        return np.array(image.crop((4, 0, 132, 128)))

    images = np.stack([draw(point) for point in points])
    note = "bitmaps of Noto Color Emoji on white, 136 x 128 cut to 128 x 128"
    return Source(points, np.zeros(len(points), np.int64), images.__getitem__, note=note)


def _listed_points() -> list[str]:
    """The code points of emoji_faces.txt, each the first word of its line."""
    lines = (Path(__file__).parent / "emoji_faces.txt").read_text(encoding="utf-8").splitlines()
    return [line.split()[0] for line in lines if line and not line.startswith("#")]


def _pixels(images: np.ndarray, labels: np.ndarray, classes: int, name: str, note: str = "") -> Source:
    """Images that are pixels already, uint8 [N, H, W] or [N, H, W, 3], of the published set."""
    names = [f"{name}/{i:05d}" for i in range(len(images))]
    labels = np.asarray(labels, np.int64)
    return Source(names, labels, images.__getitem__, fixed=True, note=note, classes=classes)
