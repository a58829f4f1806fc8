"""Preparation: colours, geometry, the same bytes every time, interruptions, and each kind of bad input."""

import errno
import hashlib
import io
import json
import os
import shutil
import stat
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision.transforms.v2 import functional as theirs

from benchmarks import prepare
from benchmarks.datasets import load
from benchmarks.runs import InputError


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def noise(seed: int, size: tuple[int, int] = (20, 20)) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), np.uint8))


def folder(path: Path, count: int = 5) -> Path:
    path.mkdir(parents=True)
    for i in range(count):
        (path / f"{i}.png").write_bytes(encoded(noise(i)))
    return path


# Pixels

PALETTE = Image.new("P", (8, 8), 1)
PALETTE.putpalette([0, 0, 0, 10, 200, 30])
ONE_COLOUR = {
    "gray": (encoded(Image.new("L", (8, 8), 77)), (77, 77, 77)),
    "black and white": (encoded(Image.new("1", (8, 8), 1)), (255, 255, 255)),
    "palette": (encoded(PALETTE), (10, 200, 30)),
    "palette with a transparent colour": (encoded(PALETTE, transparency=1), (255, 255, 255)),
    "RGBA, opaque": (encoded(Image.new("RGBA", (8, 8), (1, 2, 3, 255))), (1, 2, 3)),
    "RGBA, clear": (encoded(Image.new("RGBA", (8, 8), (1, 2, 3, 0))), (255, 255, 255)),
    "RGBA, 40 % of black on white": (encoded(Image.new("RGBA", (8, 8), (0, 0, 0, 102))), (153, 153, 153)),
    "gray with alpha": (encoded(Image.new("LA", (8, 8), (0, 51))), (204, 204, 204)),
    "16-bit gray": (encoded(Image.fromarray(np.full((8, 8), 32896, np.uint16))), (128, 128, 128)),
    "CMYK": (encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "TIFF"), (255, 0, 0)),
}


@pytest.mark.parametrize("name", ONE_COLOUR)
def test_every_kind_of_colour_becomes_rgb(name):
    content, colour = ONE_COLOUR[name]
    image = prepare.decode(content, name)
    assert (image.mode, image.size, set(image.get_flattened_data())) == ("RGB", (8, 8), {colour})


def test_exif_rotation_is_applied():
    image = noise(0, (8, 16))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it rotated by 90 degrees clockwise
    upright = prepare.decode(encoded(image, exif=exif), "turned.png")
    np.testing.assert_array_equal(upright, np.rot90(np.asarray(image), -1))


@pytest.mark.parametrize("size", [(40, 40), (60, 40), (40, 64), (16, 16), (8, 8)])
def test_geometry_is_torchvisions_centre_crop_and_resize(size):
    image = noise(1, size)
    crop = theirs.center_crop(image, [min(size)] * 2)
    expected = theirs.resize(crop, [16, 16], theirs.InterpolationMode.LANCZOS)
    np.testing.assert_array_equal(prepare.square(image, 16), expected)


# The same bytes, whatever happens


def stored(root: Path) -> dict[str, bytes]:
    names = ("images.npy", "labels.npy", "manifest.json")
    return {name: (root / "prepared" / "mine-16" / name).read_bytes() for name in names}


def test_prepared_again_from_a_copy_it_is_the_same_to_the_byte(tmp_path, monkeypatch):
    folder(tmp_path / "a" / "mine", 9)
    shutil.copytree(tmp_path / "a" / "mine", tmp_path / "b" / "mine", copy_function=shutil.copyfile)
    load("mine", 16, tmp_path / "a")
    monkeypatch.setattr(prepare, "CHUNK", 1)  # an image at a time, several at once
    load("mine", 16, tmp_path / "b")
    assert stored(tmp_path / "a") == stored(tmp_path / "b")


def test_interrupted_preparation_goes_on(tmp_path, monkeypatch):
    folder(tmp_path / "a" / "mine", 9)
    shutil.copytree(tmp_path / "a" / "mine", tmp_path / "b" / "mine")
    load("mine", 16, tmp_path / "a")
    monkeypatch.setattr(prepare, "CHUNK", 1)
    monkeypatch.setattr(prepare, "cores", lambda: 1)
    work, done = prepare._image, []

    def interrupted(order, source, i):
        done.append(i)
        if len(done) == 6:
            raise KeyboardInterrupt
        return work(order, source, i)

    monkeypatch.setattr(prepare, "_image", interrupted)
    with pytest.raises(KeyboardInterrupt):
        load("mine", 16, tmp_path / "b")
    array = tmp_path / "b" / "prepared" / ".mine-16.partial" / "images.npy"
    with array.open("r+b") as file:  # as if a power cut had lost the first image
        file.seek(-9 * 3 * 16 * 16, os.SEEK_END)
        file.write(b"\0" * 100)
    with (array.parent / "done.jsonl").open("ab") as log:
        log.write(b'\xff\n[]\n{\n[0, [[1]]]\n["x", []]\n')
    first = len(done)
    load("mine", 16, tmp_path / "b")
    assert {0, 5} <= set(done[first:]) <= {0, 5, 6, 7, 8}
    assert stored(tmp_path / "a") == stored(tmp_path / "b")


def test_killed_between_the_two_renames_the_old_set_is_found(tmp_path):
    source = folder(tmp_path / "mine")
    digest = load("mine", 16, tmp_path).digest
    target = tmp_path / "prepared" / "mine-16"
    target.rename(target.with_name(".mine-16.old"))
    assert load("mine", 16, tmp_path).digest == digest
    assert source.exists() and not target.with_name(".mine-16.old").exists()


def test_two_at_once_prepare_once(tmp_path, monkeypatch):
    folder(tmp_path / "mine")
    work, calls = prepare._prepare, []
    monkeypatch.setattr(prepare, "_prepare", lambda order: (calls.append(1), work(order)))
    with ThreadPoolExecutor(4) as pool:
        digests = {dataset.digest for dataset in pool.map(lambda _: load("mine", 16, tmp_path), range(4))}
    assert (len(digests), len(calls)) == (1, 1)


# Bad input

GIF = encoded(noise(0), "GIF", save_all=True, append_images=[noise(1), noise(2)])
BAD_FILES = {
    "truncated.png": (encoded(noise(7, (64, 64)))[:-500], "damaged"),
    "truncated.jpg": (encoded(noise(7, (64, 64)), "JPEG")[:-500], "damaged"),
    "empty.png": (b"", "empty"),
    "text.jpg": (b"hello, I am no image", "not an image"),
    "program.exe": (b"MZ", "not an image"),
    "bomb.png": (encoded(Image.new("1", (30_000, 30_000))), "30000 x 30000"),
    "moving.gif": (GIF, "animated"),
    "dot.png": (encoded(Image.new("RGB", (1, 1))), "1 x 1"),
    "ribbon.png": (encoded(Image.new("L", (70_000, 8))), "70000 x 8"),
    "float.tiff": (encoded(Image.new("F", (8, 8)), "TIFF"), "floating-point"),
    "twin.png": (encoded(noise(0)), "same file as 0.png"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_file_is_named_and_the_previous_set_stays(tmp_path, name):
    content, message = BAD_FILES[name]
    source = folder(tmp_path / "mine")
    load("mine", 16, tmp_path)
    before = stored(tmp_path)
    (source / name).write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        load("mine", 16, tmp_path)
    assert name in str(caught.value) and "\n" not in str(caught.value)
    assert stored(tmp_path) == before
    assert {path.name for path in (tmp_path / "prepared").iterdir()} == {"mine-16", ".mine-16.lock"}


def test_link_inside_a_folder_is_refused_but_the_folder_may_be_one(tmp_path):
    source = folder(tmp_path / "elsewhere" / "mine")
    (tmp_path / "mine").symlink_to(source)
    assert len(load("mine", 16, tmp_path).images) == 5
    (source / "5.png").symlink_to("0.png")
    with pytest.raises(InputError, match="5.png: is a link"):
        load("mine", 16, tmp_path)


def test_a_pipe_and_a_name_that_is_not_utf_8_are_refused(tmp_path):
    source = folder(tmp_path / "mine")
    os.mkfifo(source / "pipe.png")
    with pytest.raises(InputError, match="pipe.png: is a pipe"):
        load("mine", 16, tmp_path)
    (source / "pipe.png").unlink()
    (tmp_path / os.fsdecode(b"mine/\xff.png")).write_bytes(encoded(noise(9)))
    with pytest.raises(InputError, match=r"the file name '\\udcff.png' is not UTF-8") as caught:
        load("mine", 16, tmp_path)
    str(caught.value).encode()
    os.mkfifo(tmp_path / "other.zip")
    os.mkfifo(tmp_path / "third")
    for name in ("other", "third"):
        with pytest.raises(InputError, match="neither a folder nor a plain file"):
            load(name, 16, tmp_path)


def test_empty_folder(tmp_path):
    (tmp_path / "mine").mkdir()
    with pytest.raises(InputError, match="'mine': not found under"):
        load("mine", 16, tmp_path)
    (tmp_path / "mine" / "inner").mkdir()
    with pytest.raises(InputError, match="no image in it"):
        load("mine", 16, tmp_path)


def zipped(path: Path, *infos: zipfile.ZipInfo | str) -> bytearray:
    with zipfile.ZipFile(path, "w") as archive:
        for i, info in enumerate(infos):
            archive.writestr(info, encoded(noise(i)))
    return bytearray(path.read_bytes())


def link() -> zipfile.ZipInfo:
    info = zipfile.ZipInfo("link.png")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


@pytest.mark.parametrize("member, message", [
    ("../../climbs.png", "../../climbs.png climbs out"), ("/etc/absolute.png", "absolute.png climbs out"),
    ("C:\\drive.png", "climbs out"), ("a\\..\\..\\back.png", "climbs out"), (link(), "link.png is a link"),
])  # fmt: skip
def test_unsafe_member_of_a_zip(tmp_path, member, message):
    zipped(tmp_path / "mine.zip", "fine.png", member)
    with pytest.raises(InputError, match=message):
        load("mine", 16, tmp_path)


def damage(content: bytearray, kind: str) -> bytearray:
    if kind == "password":
        for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
            content[content.index(signature) + offset] |= 1
    elif kind == "Deflate64":
        for signature, offset in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
            content[content.index(signature) + offset] = 9
    elif kind == "flipped byte":
        content[200] ^= 255
    else:
        del content[len(content) // 2 :]
    return content


@pytest.mark.parametrize("kind, message", [("password", "0.png is protected by a password"),
                                           ("Deflate64", "0.png cannot be read .*; unpack it and give the folder"),
                                           ("flipped byte", "corrupt archive, 0.png"),
                                           ("cut", "corrupt archive")])  # fmt: skip
def test_damaged_zip(tmp_path, kind, message):
    path = tmp_path / "mine.zip"
    path.write_bytes(damage(zipped(path, "0.png", "1.png"), kind))
    with pytest.raises(InputError, match=f"mine.zip: .*{message}|mine.zip: {message}"):
        load("mine", 16, tmp_path)


@pytest.mark.parametrize("name, kind, message", [
    ("../climbs.png", tarfile.REGTYPE, "climbs out"), ("link.png", tarfile.SYMTYPE, "is a link"),
    ("device.png", tarfile.CHRTYPE, "a device"),
])  # fmt: skip
def test_unsafe_member_of_a_tar(tmp_path, name, kind, message):
    with tarfile.open(tmp_path / "mine.tar.gz", "w:gz") as archive:
        info = tarfile.TarInfo(name)
        info.type = kind
        archive.addfile(info)
    with pytest.raises(InputError, match=f"{name} {message}|{name} is a link or {message}"):
        load("mine", 16, tmp_path)


def test_cut_tar(tmp_path):
    folder(tmp_path / "source")
    with tarfile.open(tmp_path / "mine.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "source", "source")
    content = (tmp_path / "mine.tar.gz").read_bytes()
    (tmp_path / "mine.tar.gz").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match="mine.tar.gz: corrupt archive"):
        load("mine", 16, tmp_path)


def test_disk_that_is_too_small_or_fills_up(tmp_path, monkeypatch):
    folder(tmp_path / "mine")
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 9, 1))
        with pytest.raises(InputError, match="no space left"):
            load("mine", 16, tmp_path)

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(InputError, match="prepared/mine-16: No space left on device"):
        load("mine", 16, tmp_path)
    assert [path.name for path in (tmp_path / "prepared").iterdir()] == [".mine-16.lock"]


@contextmanager
def unprivileged():
    """As a user who is not root, for whom permissions count."""
    before = os.geteuid()
    os.seteuid(65534 if before == 0 else before)
    try:
        yield
    finally:
        os.seteuid(before)


def test_no_permission():
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        source = folder(root / "mine")
        root.chmod(0o755)
        with unprivileged(), pytest.raises(InputError, match="prepared: Permission denied"):
            load("mine", 16, root)
        (root / "prepared").mkdir()
        (root / "prepared").chmod(0o777)
        (source / "3.png").chmod(0)
        with unprivileged(), pytest.raises(InputError, match="3.png: Permission denied"):
            load("mine", 16, root)


def test_command_prints_one_line_and_exits_with_2(tmp_path):
    source = folder(tmp_path / "mine")
    (source / "9.png").write_bytes(b"")
    args = ["prepare", "DATASET=mine", f"SOURCE={source}", "RESOLUTION=16", f"DATA={tmp_path / 'data'}"]
    run = subprocess.run([sys.executable, "-m", "benchmarks.datasets", *args], capture_output=True, text=True,
                         cwd=Path(__file__).parent.parent)  # fmt: skip
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr == f"error: {source}: 9.png is empty\n"


def test_manifest_tells_what_was_done(tmp_path):
    source = folder(tmp_path / "mine", 2)
    (source / "LICENSE").write_text("free")
    load("mine", 16, tmp_path)
    manifest = json.loads((tmp_path / "prepared" / "mine-16" / "manifest.json").read_text())
    sha256 = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in source.glob("*.png")}
    assert (manifest["images"], manifest["aside"], manifest["count"]) == (sha256, ["LICENSE"], 2)
    assert "Lanczos" in manifest["how"] and not manifest["allow_count"]
