"""Every layout of every data set, on small sources made here; the real ones are checked against other readers."""

import gzip
import hashlib
import io
import json
import pickle
import re
import shutil
import struct
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import datasets, sources
from benchmarks.datasets import DATASETS, load, subset
from benchmarks.fetch import DEAD
from benchmarks.runs import InputError
from benchmarks.tables import TABLES


def picture(i: int, size: tuple[int, int] = (16, 16)) -> np.ndarray:
    return np.random.default_rng(i).integers(0, 256, (*size, 3), np.uint8)


def in_order(images: np.ndarray) -> list[np.ndarray]:
    """Images [N, H, W, 3] as a set holds them: [3, H, W] each, by the sha256 of size and pixels."""
    def key(image: np.ndarray) -> str:
        return hashlib.sha256(f"{image.shape[1]} {image.shape[0]} ".encode() + image.tobytes()).hexdigest()

    return [image.transpose(2, 0, 1) for image in sorted(images, key=key)]


def png(i: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture(i)).save(file, "PNG")
    return file.getvalue()


def in_folder(path: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


def in_zip(path: Path, files: dict[str, bytes]) -> Path:
    path = path.with_name(path.name + ".zip")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def in_tar(path: Path, files: dict[str, bytes]) -> Path:
    path = path.with_name(path.name + ".tar.gz")
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def in_parquet(path: Path, files: dict[str, bytes]) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path.mkdir()
    images = [{"bytes": content, "path": name} for name, content in sorted(files.items())]
    for shard in (0, 1):
        half = images[shard * len(images) // 2 : (shard + 1) * len(images) // 2]
        pq.write_table(pa.table({"image": half}), path / f"train-0000{shard}-of-00002.parquet", row_group_size=2)
    return path


LAYOUTS = {
    "flat": {f"{i}.png": png(i) for i in range(5)},
    "nested": {f"images1024x1024/0000{i // 3}/{i}.png": png(i) for i in range(5)},
    "img level and readme": {f"img/{i}.png": png(i) for i in range(5)} | {"README.md": b"hello", ".DS_Store": b"x"},
}


@pytest.mark.parametrize("pack", [in_folder, in_zip, in_tar, in_parquet])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_images_in_the_order_of_their_content(tmp_path, layout, pack):
    files = {name: content for name, content in LAYOUTS[layout].items() if pack is not in_parquet or "png" in name}
    pack(tmp_path / "mine", files)
    dataset = load("mine", 16, tmp_path)
    np.testing.assert_array_equal(dataset.images, in_order([picture(i) for i in range(5)]))
    assert (dataset.images.dtype, dataset.labels.tolist(), dataset.classes) == (np.uint8, [0] * 5, 0)


@pytest.mark.parametrize("pack", [in_folder, in_zip])
@pytest.mark.parametrize("level", ["", "img/"])
def test_few_shot_archive_gives_each_set_its_own_folder(tmp_path, pack, level):
    files = {f"few-shot-images/shells/{level}{i:02d}.jpg": png(i) for i in range(64)}
    files |= {f"few-shot-images/100-shot-grumpy_cat/{level}{i:03d}.png": png(1000 + i) for i in range(100)}
    pack(tmp_path / "few-shot-images", files)
    shells, cats = (load(name, 16, tmp_path).images for name in ("shells", "100-shot-grumpy-cat"))
    assert np.array_equal(shells, in_order([picture(i) for i in range(64)]))
    assert np.array_equal(cats, in_order([picture(1000 + i) for i in range(100)]))
    with pytest.raises(InputError, match="164 images, but skulls has 97"):
        load("skulls", 16, tmp_path)


def test_archive_alone_in_a_folder_is_read(tmp_path):
    (tmp_path / "mine").mkdir()
    in_tar(tmp_path / "mine" / "102flowers", LAYOUTS["nested"])
    assert len(load("mine", 16, tmp_path).images) == 5


def test_ffhq_files_are_checked_against_its_list(tmp_path, monkeypatch):
    monkeypatch.setitem(DATASETS, "ffhq", replace(DATASETS["ffhq"], count=5))
    in_folder(tmp_path / "ffhq", LAYOUTS["nested"])
    md5 = {i: hashlib.md5(png(i)).hexdigest() for i in range(5)}
    index = {str(i): {"image": {"file_path": f"images1024x1024/0000{i // 3}/{i}.png", "file_md5": md5[i]}}
             for i in range(5)}  # fmt: skip
    (tmp_path / "ffhq" / "ffhq-dataset-v2.json").write_text(json.dumps(index))
    assert len(load("ffhq", 16, tmp_path).images) == 5
    (tmp_path / "ffhq" / "images1024x1024" / "00001" / "4.png").write_bytes(png(9))
    with pytest.raises(InputError, match="4.png is not the published file"):
        load("ffhq", 16, tmp_path)


@pytest.mark.parametrize("index, words", [
    ("{", "cannot be read"), ("[]", "not a JSON object"), ('{"a": 1}', "not a JSON object"),
    ('{"a": {"image": {"file_path": "0.png"}}}', "'file_md5' is missing"), ("{}", "is not in"),
])
def test_an_index_of_ffhq_that_is_none_is_named(tmp_path, index, words):
    in_folder(tmp_path / "ffhq", LAYOUTS["flat"])
    (tmp_path / "ffhq" / "ffhq-dataset-v2.json").write_text(index)
    with pytest.raises(InputError, match=words) as caught:
        load("ffhq", 16, tmp_path)
    assert "ffhq-dataset-v2.json" in str(caught.value) and "\n" not in str(caught.value)


def test_what_is_no_font_is_named(tmp_path):
    (tmp_path / "emoji-faces").mkdir()
    (tmp_path / "emoji-faces" / sources.FONT).write_text("no font")
    with pytest.raises(InputError, match=f"{sources.FONT}: not Noto Color Emoji's font"):
        load("emoji-faces", 128, tmp_path)


def test_classes_of_files_are_their_folders(tmp_path):
    files = {f"{name}/{i}.png": png(10 * c + i) for c, name in enumerate(("apple", "bee")) for i in range(2)}
    source = sources.open_source(in_folder(tmp_path / "two", files), classes=2)
    assert source.labels.tolist() == [0, 0, 1, 1]
    with pytest.raises(InputError, match="2 folders, expected one for each of 3"):
        sources.open_source(tmp_path / "two", classes=3)


@pytest.mark.parametrize("pack", [in_folder, in_zip])
def test_a_set_of_ones_own_with_classes_and_a_test_part(tmp_path, pack):
    """classes.txt, here as Windows writes it, names the class folders in the order of their labels; train and test lie
    side by side."""
    files = {f"{part}/{name}/{i}.png": png(100 * (part == "test") + 10 * c + i)
             for part in ("train", "test") for c, name in enumerate(("bee", "apple")) for i in range(2)}  # fmt: skip
    pack(tmp_path / "mine", files | {"classes.txt": b"\xef\xbb\xbfbee\r\napple\r\n"})
    dataset = load("mine", 16, tmp_path)
    assert (dataset.classes, dataset.heldout.classes) == (2, 2)
    for part, first in ((dataset, 0), (dataset.heldout, 100)):
        labelled = dict(zip((image.tobytes() for image in part.images), part.labels, strict=True))
        expected = {picture(first + 10 * c + i).transpose(2, 0, 1).tobytes(): c for c in range(2) for i in range(2)}
        assert labelled == expected


@pytest.mark.parametrize("lines, words", [("bee\n", "two class folders or more"), ("bee\nbee\n", "each once"),
                                          ("apple\nbee\ncat\n", "no training image in class folder cat"),
                                          ("bee\ncat\n", "apple/0.png lies in none of the 2 class folders")])
def test_a_wrong_list_of_classes(tmp_path, lines, words):
    in_folder(tmp_path / "mine", {"apple/0.png": png(0), "bee/1.png": png(1), "classes.txt": lines.encode()})
    with pytest.raises(InputError, match=words):
        load("mine", 16, tmp_path)


def test_numbered_class_folders_are_in_the_order_of_their_numbers(tmp_path):
    files = {f"{c}/{c}.png": png(c) for c in range(12)}
    source = sources.open_source(in_folder(tmp_path / "many", files), classes=12)
    assert {name: label for name, label in zip(source.names, source.labels, strict=True)} == {
        f"{c}/{c}.png": c for c in range(12)}


def test_digits_are_scikit_learns(tmp_path):
    from sklearn.datasets import load_digits

    dataset, theirs = load("digits", 32, tmp_path), load_digits()
    small = load("digits", 8, tmp_path)
    images = np.rint(theirs.images * (255 / 16)).astype(np.uint8)
    label = {image.tobytes(): target for image, target in zip(images, theirs.target, strict=True)}
    assert [label[image[0].tobytes()] for image in small.images] == small.labels.tolist()
    assert sorted(image[0].tobytes() for image in small.images) == sorted(image.tobytes() for image in images)
    assert (dataset.classes, dataset.flip, dataset.heldout) == (10, False, None)
    np.testing.assert_array_equal(dataset.labels, small.labels, "the order does not depend on the resolution")


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


@pytest.mark.parametrize("packed", [True, False])
def test_fashion_mnist_is_read_like_torchvision_does(tmp_path, monkeypatch, packed):
    from torchvision.datasets import FashionMNIST

    raw = tmp_path / "FashionMNIST" / "raw"
    for seed, part in enumerate(("train", "t10k")):
        images = np.random.default_rng(seed).integers(0, 256, (6, 28, 28), np.uint8)
        for name, array in ((f"{part}-images-idx3-ubyte", images), (f"{part}-labels-idx1-ubyte", np.arange(6))):
            in_folder(raw, {name: idx(array)} if not packed else {name + ".gz": gzip.compress(idx(array))})
            monkeypatch.setitem(sources.FASHION_SHA256, name, hashlib.sha256(idx(array)).hexdigest())
            (raw / name).write_bytes(idx(array))  # torchvision reads the unpacked ones
    known = replace(DATASETS["fashion-mnist"], count=6, heldout=6, content="")
    monkeypatch.setitem(DATASETS, "fashion-mnist", known)
    dataset = load("fashion-mnist", 32, tmp_path)
    for part, train in ((dataset, True), (dataset.heldout, False)):
        theirs = FashionMNIST(tmp_path, train=train, download=False)
        assert part.images.sum() == 3 * int(theirs.data.sum()), "the frame is black"
        place = [next(i for i in range(6) if np.array_equal(image[1, 2:-2, 2:-2], theirs.data[i]))
                 for image in part.images]  # fmt: skip
        assert part.labels.tolist() == theirs.targets[place].tolist() and len(set(place)) == 6


NAMES = [f"class{i:02d}" for i in range(100)]


def cifar(part: str) -> tuple[np.ndarray, np.ndarray]:
    """A small set of its shape: 100 images [100, 3, 32, 32], their labels, each class once."""
    rng = np.random.default_rng(len(part))
    return rng.integers(0, 256, (100, 3, 32, 32), np.uint8), rng.permutation(100)


def cifar_archive(root: Path) -> None:
    files = {}
    for part in ("train", "test"):
        pixels, labels = cifar(part)
        content = {"data": pixels.reshape(100, 3072), "fine_labels": labels.tolist()}
        files[f"cifar-100-python/{part}"] = pickle.dumps(content)
    in_tar(root / "cifar-100-python", files)


def cifar_unpacked(root: Path) -> None:
    cifar_archive(root)
    with tarfile.open(root / "cifar-100-python.tar.gz") as archive:
        archive.extractall(root, filter="data")
    (root / "cifar-100-python.tar.gz").unlink()


def encoded(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels.transpose(1, 2, 0)).save(file, "PNG")
    return file.getvalue()


def cifar_folders(root: Path) -> None:
    for part in ("train", "test"):
        pixels, labels = cifar(part)
        in_folder(root / "cifar-100" / part, {f"{NAMES[label]}/{label}_{i}.png": encoded(pixels[i])
                                              for i, label in enumerate(labels)})


def cifar_parquet(root: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    (root / "cifar-100").mkdir()
    for part in ("test", "train"):
        pixels, labels = cifar(part)
        images = [{"bytes": encoded(image), "path": None} for image in pixels]
        table = pa.table({"img": images, "fine_label": labels, "coarse_label": labels // 5})
        pq.write_table(table, root / "cifar-100" / f"{part}-00000-of-00001.parquet", row_group_size=30)


@pytest.fixture
def small_cifar(monkeypatch, tmp_path):
    """The row of a set of 100 images and 100 test images, with the checksums of its archive."""
    cifar_unpacked(tmp_path)
    for part in ("train", "test"):
        content = (tmp_path / "cifar-100-python" / part).read_bytes()
        monkeypatch.setitem(sources.CIFAR100_MD5, part, hashlib.md5(content).hexdigest())
    shutil.rmtree(tmp_path / "cifar-100-python")
    monkeypatch.setitem(DATASETS, "cifar-100", replace(DATASETS["cifar-100"], count=100, heldout=100, content=""))


@pytest.mark.parametrize("lay", [cifar_archive, cifar_unpacked, cifar_folders, cifar_parquet])
def test_cifar_100_is_the_same_set_in_every_layout(tmp_path, small_cifar, lay):
    lay(tmp_path)
    dataset = load("cifar-100", 32, tmp_path)
    for part, (pixels, labels) in ((dataset, cifar("train")), (dataset.heldout, cifar("test"))):
        expected = in_order(pixels.transpose(0, 2, 3, 1))
        np.testing.assert_array_equal(part.images, expected)
        label = {image.tobytes(): label for image, label in zip(pixels, labels, strict=True)}
        assert part.labels.tolist() == [label[image.tobytes()] for image in expected]
    assert (dataset.classes, dataset.heldout.classes) == (100, 100)


def test_cifar_100_of_another_content_or_without_its_test_part_is_named(tmp_path, small_cifar, monkeypatch):
    cifar_folders(tmp_path)
    content = load("cifar-100", 32, tmp_path).provenance["content"]
    monkeypatch.setitem(DATASETS, "cifar-100", replace(DATASETS["cifar-100"], content=content))
    assert load("cifar-100", 64, tmp_path).provenance["content"] == content, "at every resolution"
    one = next((tmp_path / "cifar-100" / "train").glob("*/*.png"))
    one.write_bytes(encoded(np.zeros((3, 32, 32), np.uint8)))
    with pytest.raises(InputError, match="not the published cifar-100: sha256 .* expected"):
        load("cifar-100", 32, tmp_path)
    shutil.rmtree(tmp_path / "cifar-100" / "test")
    with pytest.raises(InputError, match="0 test images, but cifar-100 has 100; ALLOW_COUNT=1"):
        load("cifar-100", 32, tmp_path)
    run_command("prepare", "DATASET=cifar-100", f"DATA={tmp_path}", "RESOLUTION=32", "ALLOW_COUNT=1")
    taken = load("cifar-100", 32, tmp_path)
    assert taken.provenance["allow_count"] is True and taken.heldout is None


def test_cifar_100_whose_archive_is_another_is_refused(tmp_path, small_cifar, monkeypatch):
    from torchvision.datasets import CIFAR100

    cifar_archive(tmp_path)
    monkeypatch.undo()
    md5 = {"archive": CIFAR100.tgz_md5} | dict(CIFAR100.train_list + CIFAR100.test_list)
    assert sources.CIFAR100_MD5 == md5
    with pytest.raises(InputError, match="md5 differs"):
        load("cifar-100", 32, tmp_path)


def test_flowers_checksum_is_torchvisions():
    from torchvision.datasets import Flowers102

    assert DATASETS["oxford-flowers"].md5 == Flowers102._file_dict["image"][1]


@pytest.mark.parametrize("name, package", [("fashion-mnist", "dataset-fashion-mnist"),
                                           ("emoji-faces", "fonts-noto-color-emoji")])  # fmt: skip
def test_sets_of_debians_packages(tmp_path, name, package):
    if not datasets.find_source(name, DATASETS[name], tmp_path):
        pytest.skip(f"Debian's {package} is not installed")
    source = datasets.order(name, DATASETS[name], datasets.find_source(name, DATASETS[name], tmp_path), 32, tmp_path)
    opened = source.opened()
    assert len(opened.names) == DATASETS[name].count
    assert len({opened.read(i).tobytes() for i in range(102)}) == 102, "a missing glyph would occur twice"


def test_prepared_set_is_used_again_until_its_source_changes(tmp_path):
    in_folder(tmp_path / "mine", LAYOUTS["flat"])
    first = load("mine", 16, tmp_path)
    manifest = tmp_path / "prepared" / "mine-16" / "manifest.json"
    time = manifest.stat().st_mtime_ns
    assert load("mine", 16, tmp_path).digest == first.digest and manifest.stat().st_mtime_ns == time
    in_folder(tmp_path / "mine", {"4.png": png(44)})
    second = load("mine", 16, tmp_path)
    assert second.digest != first.digest
    np.testing.assert_array_equal(second.images, in_order([picture(i) for i in (0, 1, 2, 3, 44)]))
    shutil.rmtree(tmp_path / "mine")
    assert load("mine", 16, tmp_path).digest == second.digest, "the source may be deleted"



DAMAGES = {
    "a flipped bit of an image": lambda folder: flip(folder / "images.npy"),
    "a flipped bit of a test image": lambda folder: flip(folder / "heldout-images.npy"),
    "a flipped bit of a label": lambda folder: flip(folder / "labels.npy"),
    "labels of another length": lambda folder: np.save(folder / "labels.npy", np.zeros(3, np.int64)),
    "a cut array": lambda folder: (folder / "images.npy").write_bytes((folder / "images.npy").read_bytes()[:500]),
    "an empty array": lambda folder: (folder / "labels.npy").write_bytes(b""),
    "no array": lambda folder: (folder / "images.npy").unlink(),
    "no JSON": lambda folder: (folder / "manifest.json").write_text("{"),
    "another JSON": lambda folder: (folder / "manifest.json").write_text("[]"),
    "a key less": lambda folder: (folder / "manifest.json").write_text('{"count": 4}'),
    "a source of no version": lambda folder: (folder / "source.json").write_text("{}"),
    "a source that is a list": lambda folder: (folder / "source.json").write_text("[1]"),
}


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-9] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_prepared_set_is_named_in_one_line(tmp_path, damage):
    in_folder(tmp_path / "mine", {f"{part}/{i}.png": png(10 * (part == "test") + i)
                                  for part in ("train", "test") for i in range(4)})
    load("mine", 16, tmp_path)
    folder = tmp_path / "prepared" / "mine-16"
    DAMAGES[damage](folder)
    with pytest.raises(InputError) as caught:
        load("mine", 16, tmp_path)
    assert f"remove {folder}" in str(caught.value) and "\n" not in str(caught.value)


def test_wrong_count_is_refused_unless_allowed_and_then_recorded(tmp_path, capsys):
    in_folder(tmp_path / "shells", LAYOUTS["flat"])
    with pytest.raises(InputError, match="5 images, but shells has 64; ALLOW_COUNT=1"):
        load("shells", 16, tmp_path)
    assert not list(tmp_path.glob("prepared/*-16")) and not list(tmp_path.glob("prepared/.*partial"))
    run_command("prepare", "DATASET=shells", "RESOLUTION=16", f"DATA={tmp_path}", "ALLOW_COUNT=1")
    assert load("shells", 16, tmp_path).provenance["allow_count"] is True
    run_command("status", f"DATA={tmp_path}")
    row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("shells"))
    assert "5/64" in row and "16*" in row


def run_command(*args: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["datasets", *args])
        datasets.main()


def test_status_names_every_set_and_how_to_get_it(tmp_path, capsys):
    in_zip(tmp_path / "skulls", LAYOUTS["flat"])
    (tmp_path / "pokemon.zip").write_bytes(b"not a zip")
    run_command("status", f"DATA={tmp_path}")
    out = capsys.readouterr().out
    in_folder(tmp_path / "mine", LAYOUTS["flat"])
    load("mine", 16, tmp_path)
    in_zip(tmp_path / "yours", LAYOUTS["flat"])
    run_command("status", f"DATA={tmp_path}")
    own = [line.split()[:4] for line in capsys.readouterr().out.splitlines() if line.startswith(("mine", "yours"))]
    assert own == [["mine", "-", "5/?", "its"], ["yours", "-", "5/?", "its"]]
    assert all(out.count(f"\n{name} ") == 1 for name in DATASETS)
    assert "5/97" in out and "pokemon.zip: corrupt archive" in out and "animalface-cat: huggingface.co" in out


def test_table_covers_the_paper_and_links_nothing_dead():
    runs = [cell.run for table in ("table1", "table2", "table3", "open", "smoke") for cell in TABLES[table].cells]
    assert {(run.dataset, run.resolution) for run in runs} <= {(name, row.resolution) for name, row in DATASETS.items()}
    assert not [address for row in DATASETS.values() for address in DEAD if address in row.get + " ".join(row.urls)]


@pytest.mark.parametrize("name, message", [("nothing-here", "not found .* none of art-painting"),
                                           ("ffhq", "not found .* download_ffhq.py")])  # fmt: skip
def test_missing_set_says_how_to_get_it(tmp_path, name, message):
    with pytest.raises(InputError, match=message):
        load(name, 32, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_download_that_broke_off_is_gone_on_with_by_the_same_command(tmp_path, monkeypatch):
    """Of two files the second does not come; the folder with the first alone is not taken for the set."""
    row = replace(DATASETS["pokemon"], count=None, urls=("http://host/a.zip", "http://host/b.zip"))
    monkeypatch.setitem(DATASETS, "pokemon", row)
    asked = []

    def fetch(url: str, folder: Path, checksum: str) -> Path:
        asked.append(url)
        folder.mkdir(parents=True, exist_ok=True)
        if url.endswith("b.zip"):
            raise InputError("the connection broke")
        (folder / "a.zip").touch()
        return folder / "a.zip"

    monkeypatch.setattr(datasets, "fetch", fetch)
    for _ in range(2):
        with pytest.raises(InputError, match="the connection broke"):
            run_command("prepare", "DATASET=pokemon", f"DATA={tmp_path}")
    assert asked == 2 * list(row.urls)


@pytest.mark.parametrize("make, words", [
    (lambda path: None, "not found under .*make data DATASET=shells"), (Path.mkdir, "not found under"),
    (lambda path: in_folder(path, LAYOUTS["flat"]), "5 images, but shells has 64"),
    (lambda path: path.with_suffix(".zip").write_bytes(b"no zip"), "corrupt archive"),
])
def test_a_source_that_will_not_do_is_found_before_it_is_needed(tmp_path, make, words):
    make(tmp_path / "shells")
    with pytest.raises(InputError, match=words):
        datasets.require("shells", 16, tmp_path)
    assert not (tmp_path / "prepared").exists()


@pytest.mark.parametrize("arguments, words", [
    ([], "valid are prepare, status"), (["prepair"], "prepair"), (["prepare"], "DATASET: none given"),
    (["prepare", "DATASET=digits", "RESOLUTION=abc"], "RESOLUTION=abc: must be a whole number"),
    (["prepare", "DATASET=digits", "RESOLUTION=4"], "RESOLUTION=4"),
    (["prepare", "DATASET=digits", "ALLOW_COUNT=yes"], "ALLOW_COUNT=yes: must be 0 or 1"),
    (["prepare", "DATASET=../../up", "SOURCE=http://host/x.zip"], "letters, digits"),
    (["prepare", "DATASET=prepared"], "this suite's own"),
    (["prepare", "DATASET=x", "SOURCE=/none"], "nothing at /none"),
    (["prepare", "DATASET=x", "SOURCE=/dev/null"], "nor a plain file"),
    (["prepare", "DATASET=x", "SOURCE=/etc/passwd"], "/etc/passwd"),
    (["prepare", "digits"], "not an option"), (["status", "DATASET=x"], "not an option"),
])  # fmt: skip
def test_what_the_commands_refuse(tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=re.escape(words)) as caught:
        run_command(*arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name, resolution", [("../up", 32), ("mine", 4), ("mine", 5000)])
def test_bad_name_or_resolution(tmp_path, name, resolution):
    in_folder(tmp_path / "mine", LAYOUTS["flat"])
    with pytest.raises(InputError):
        load(name, resolution, tmp_path)


def test_subset_is_nested_and_numpys_legacy_permutation():
    assert subset(10, 1.0, 0).tolist() == [2, 8, 4, 9, 1, 6, 7, 3, 0, 5]  # RandomState(0).permutation(10), any numpy
    assert subset(10, 0.25, 0).tolist() == [2, 8]  # round(2.5) = 2
    assert subset(3, 0.01, 0).tolist() == [2]
    assert len(subset(50_000, 0.1, 1)) == 5000 and set(subset(389, 0.1, 3)) < set(subset(389, 0.2, 3))
    for fraction in (0, -0.1, 1.5):
        with pytest.raises(InputError, match="fraction"):
            subset(10, fraction, 0)
