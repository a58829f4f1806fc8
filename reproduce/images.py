"""Images that other code made, read a batch at a time from whatever they lie in, and checked before they are measured.

A folder, a zip or a tar of image files; a .npz, .npy or .safetensors with one array uint8 [N, R, R, 3] or [N, 3, R, R].
"""

import hashlib
import io
import math
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from PIL import ExifTags, Image
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.utils.data import BatchSampler
from tqdm import tqdm

from benchmarks import sources
from benchmarks.prepare import cores
from benchmarks.runs import InputError

BATCH = 32  # images in memory at a time


@dataclass(frozen=True)
class Images:
    """Images as found.

    path     where they lie
    count    how many there are
    batches  batches() -> uint8 [<= BATCH, H, W, 3] in a fixed order; raises InputError that names the image at fault
    """

    path: Path
    count: int
    batches: Callable[[], Iterator[np.ndarray]]


def open_images(path: Path) -> Images:
    """The images at a path. Raises InputError where there are none, or in no format that is read here."""
    if not path.exists():
        raise InputError(f"{path}: there is no such file or folder")
    if path.is_dir() or path.name.endswith(sources.ARCHIVES):
        return _files(path)
    if path.suffix not in ARRAYS:
        raise InputError(f"{path}: must be a folder or one of {', '.join((*sources.ARCHIVES, *ARRAYS))}")
    return ARRAYS[path.suffix](path)


def check(images: Images, resolution: int, resize: bool) -> tuple[str, tuple[int, int]]:
    """Read every image once. Returns sha256 of all pixels and the images' height and width.

    Raises InputError for a broken image, two sizes, a shape that is not square, another resolution unless `resize`.
    """
    digest = hashlib.sha256()
    for batch in _with_progress(images, "checking"):
        _require_size(images.path, batch.shape[1:3], resolution, resize)
        digest.update(np.ascontiguousarray(batch))
    return digest.hexdigest(), batch.shape[1:3]


def _require_size(path: Path, size: tuple[int, int], resolution: int, resize: bool) -> None:
    """Raises InputError for images that are not square, or not of the resolution where they are not to be resized."""
    if size[0] != size[1]:
        raise InputError(f"{path}: images {_size(size)}, must be square")
    if size[0] != resolution and not resize:
        raise InputError(f"{path}: images {_size(size)}, must be {_size((resolution, resolution))}; "
                         f"give RESOLUTION={size[0]}, or RESIZE=1 to have them resized")


def _with_progress(images: Images, doing: str) -> Iterator[np.ndarray]:
    count = math.ceil(images.count / BATCH)
    return tqdm(images.batches(), f"{doing} {images.path.name}", count, unit="batch", disable=None)


def stream(images: Images, resolution: int) -> Iterator[Tensor]:
    """Batches uint8 [<= BATCH, 3, R, R] of square images; those of another size are resized by Lanczos."""
    for batch in _with_progress(images, "measuring"):
        if batch.shape[1] != resolution:
            batch = np.stack([_resized(image, resolution) for image in batch])
        yield torch.from_numpy(np.array(batch.transpose(0, 3, 1, 2), order="C"))


def _resized(image: np.ndarray, side: int) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.LANCZOS))


def _size(size: tuple[int, ...]) -> str:
    return f"{size[1]} x {size[0]}"


# --- Image files ------------------------------------------------------------------------------------------------------


def _files(path: Path) -> Images:
    source = sources.image_files(path)
    if source.heldout is not None:
        raise InputError(f"{path}: has folders train and test in it; give one of them")

    def decode(number: int) -> np.ndarray:
        return _decoded(source.read(number), f"{path}: {source.names[number]}")

    def batches() -> Iterator[np.ndarray]:
        first = decode(0)
        with ThreadPoolExecutor(cores()) as pool:
            for numbers in BatchSampler(range(len(source.names)), BATCH, drop_last=False):
                decoded = list(pool.map(decode, numbers))
                for number, image in zip(numbers, decoded, strict=True):
                    _require_same_size(f"{path}: {source.names[number]}", image, first)
                yield np.stack(decoded)

    return Images(path, len(source.names), batches)


def _require_same_size(name: str, image: np.ndarray, first: np.ndarray) -> None:
    if image.shape != first.shape:
        raise InputError(f"{name}: is {_size(image.shape)}, but the first one is {_size(first.shape)}; all images must "
                         "be of one size")


def _decoded(content: bytes, name: str) -> np.ndarray:
    """The pixels [H, W, 3] of an image file in 8-bit RGB; nothing is converted, as that would be a choice of ours."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            mode, more = image.mode, _more_than_pixels(image)
            if mode == "RGB" and not more:
                return np.asarray(image)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{name}: broken or not an image ({error})") from error
    kinds = {"L": "grey", "1": "black and white", "P": "of a palette", "RGBA": "with transparency",
             "LA": "grey with transparency", "RGB": more}  # fmt: skip
    raise InputError(f"{name}: is {kinds.get(mode, f'of mode {mode}')}, must be RGB of 8 bits; convert all images")


def _more_than_pixels(image: Image.Image) -> str:
    """What an RGB image has that an array of 8-bit pixels would lose; "" for nothing."""
    if image.info.get("transparency"):
        return "with a transparent colour"
    if any(depth in str(tile[3]) for tile in image.tile for depth in (";16", "65535")):  # Pillow keeps the high byte
        return "of 16 bits"
    if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":
        return "of several frames"
    if image.getexif().get(ExifTags.Base.Orientation, 1) != 1:
        return "turned by EXIF"
    return ""


# --- Arrays -----------------------------------------------------------------------------------------------------------


def _npy(path: Path) -> Images:
    with _readable(path):
        array = _mapped(path)
    return _array(path, array, array.shape, str(array.dtype))


def _npz(path: Path) -> Images:
    """Of an array that may be larger than memory: it is unpacked to a file that has no name once it is open."""
    with _readable(path), zipfile.ZipFile(path) as archive, TemporaryDirectory() as folder:
        name = _only_one(path, archive.namelist(), ("arr_0.npy", "images.npy"))
        array = _mapped(archive.extract(name, folder))
    return _array(path, array, array.shape, str(array.dtype))


def _mapped(path: str | Path) -> np.ndarray:
    """The array of a .npy file, which stays on the disk. Raises ValueError for anything else that NumPy can load."""
    array = np.load(path, mmap_mode="r")
    if not isinstance(array, np.ndarray):
        raise ValueError("it is an archive, not one array")
    return array


def _safetensors(path: Path) -> Images:
    with _readable(path):
        file = safe_open(path, "np")
        tensor = file.get_slice(_only_one(path, list(file.keys()), ("images",)))
    dtype = tensor.get_dtype()
    if dtype == "U8":
        dtype = "uint8"
    return _array(path, tensor, tuple(tensor.get_shape()), dtype)


def _array(path: Path, array, shape: tuple[int, ...], dtype: str) -> Images:
    """The images of something that gives NumPy arrays when it is sliced."""
    if dtype != "uint8":
        raise InputError(f"{path}: an array of {dtype}, must be uint8 with values 0 to 255")
    if len(shape) != 4 or 3 not in (shape[1], shape[3]) or 0 in shape:
        raise InputError(f"{path}: an array {list(shape)}, must be [N, R, R, 3] or [N, 3, R, R]; grey images and "
                         "transparency are not measured")

    def batches() -> Iterator[np.ndarray]:
        for start in range(0, shape[0], BATCH):
            batch = array[start : min(start + BATCH, shape[0])]
            if shape[3] != 3:
                batch = batch.transpose(0, 2, 3, 1)
            yield batch

    return Images(path, shape[0], batches)


def _only_one(path: Path, names: list[str], usual: tuple[str, ...]) -> str:
    """The one array of a file, or the one that has a usual name."""
    chosen = [name for name in names if name in usual] or names
    if len(chosen) != 1:
        raise InputError(f"{path}: holds {', '.join(names) or 'nothing'}; must hold one array, or one called "
                         f"{' or '.join(usual)}")
    return chosen[0]


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Whatever NumPy, zipfile or safetensors say about a damaged file, as one line."""
    try:
        yield
    except InputError:
        raise
    except OSError as error:  # of the disk: an array of a .npz is unpacked to TMPDIR
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (ValueError, EOFError, RuntimeError, OverflowError, zipfile.BadZipFile, zipfile.zlib.error,
            SafetensorError) as error:
        raise InputError(f"{path}: damaged or not what its name says ({error})".replace("\n", " ")) from error


ARRAYS = {".npz": _npz, ".npy": _npy, ".safetensors": _safetensors}
