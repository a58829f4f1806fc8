"""Every layout of every data set, on small sources made here; the real ones are checked against other readers."""

import gzip
import hashlib
import io
import json
import pickle
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
def test_every_layout_gives_the_images_in_the_order_of_their_names(tmp_path, layout, pack):
    files = {name: content for name, content in LAYOUTS[layout].items() if pack is not in_parquet or "png" in name}
    pack(tmp_path / "mine", files)
    dataset = load("mine", 16, tmp_path)
    np.testing.assert_array_equal(dataset.images, [picture(i).transpose(2, 0, 1) for i in range(5)])
    assert (dataset.images.dtype, dataset.labels.tolist(), dataset.classes) == (np.uint8, [0] * 5, 0)


@pytest.mark.parametrize("pack", [in_folder, in_zip])
@pytest.mark.parametrize("level", ["", "img/"])
def test_few_shot_archive_gives_each_set_its_own_folder(tmp_path, pack, level):
    files = {f"few-shot-images/shells/{level}{i:02d}.jpg": png(i) for i in range(64)}
    files |= {f"few-shot-images/100-shot-grumpy_cat/{level}{i:03d}.png": png(1000 + i) for i in range(100)}
    pack(tmp_path / "few-shot-images", files)
    assert np.array_equal(load("shells", 16, tmp_path).images[63], picture(63).transpose(2, 0, 1))
    assert np.array_equal(load("100-shot-grumpy-cat", 16, tmp_path).images[0], picture(1000).transpose(2, 0, 1))
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


def test_classes_of_files_are_their_folders(tmp_path):
    files = {f"{name}/{i}.png": png(10 * c + i) for c, name in enumerate(("apple", "bee")) for i in range(2)}
    source = sources.open_source(in_folder(tmp_path / "two", files), classes=2)
    assert source.labels.tolist() == [0, 0, 1, 1]
    with pytest.raises(InputError, match="2 folders, expected one for each of 3"):
        sources.open_source(tmp_path / "two", classes=3)


def test_digits_are_scikit_learns(tmp_path):
    from sklearn.datasets import load_digits

    dataset, theirs = load("digits", 8, tmp_path), load_digits()
    np.testing.assert_array_equal(dataset.labels, theirs.target)
    np.testing.assert_allclose(dataset.images, np.repeat(theirs.images[:, None], 3, 1) / 16 * 255, atol=0.5)
    assert (dataset.classes, dataset.flip) == (10, False)


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


@pytest.mark.parametrize("packed", [True, False])
def test_fashion_mnist_is_read_like_torchvision_does(tmp_path, monkeypatch, packed):
    from torchvision.datasets import FashionMNIST

    images, labels = np.random.default_rng(0).integers(0, 256, (6, 28, 28), np.uint8), np.arange(6)
    raw = tmp_path / "FashionMNIST" / "raw"
    for name, array in (("train-images-idx3-ubyte", images), ("train-labels-idx1-ubyte", labels)):
        in_folder(raw, {name: idx(array)} if not packed else {name + ".gz": gzip.compress(idx(array))})
        monkeypatch.setitem(sources.FASHION_SHA256, name, hashlib.sha256(idx(array)).hexdigest())
        (raw / name).write_bytes(idx(array))  # torchvision reads the unpacked ones
    monkeypatch.setitem(DATASETS, "fashion-mnist", replace(DATASETS["fashion-mnist"], count=6))
    for name in ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"):
        (raw / name).touch()
    theirs, dataset = FashionMNIST(tmp_path, download=False), load("fashion-mnist", 32, tmp_path)
    np.testing.assert_array_equal(dataset.images[:, 1, 2:-2, 2:-2], theirs.data)
    np.testing.assert_array_equal(dataset.labels, theirs.targets)
    assert dataset.images.sum() == 3 * int(theirs.data.sum()), "the frame is black"


def test_cifar_100_is_read_as_published(tmp_path, monkeypatch):
    from torchvision.datasets import CIFAR100

    assert sources.CIFAR100_MD5 == {"archive": CIFAR100.tgz_md5, "train": CIFAR100.train_list[0][1]}
    pixels = np.random.default_rng(0).integers(0, 256, (4, 3, 32, 32), np.uint8)
    content = pickle.dumps({"data": pixels.reshape(4, 3072), "fine_labels": [7, 99, 0, 7]})
    in_tar(tmp_path / "cifar-100-python", {"cifar-100-python/train": content, "cifar-100-python/test": b""})
    with pytest.raises(InputError, match="md5 differs"):
        load("cifar-100", 32, tmp_path)
    monkeypatch.setitem(sources.CIFAR100_MD5, "train", hashlib.md5(content).hexdigest())
    monkeypatch.setitem(DATASETS, "cifar-100", replace(DATASETS["cifar-100"], count=4))
    dataset = load("cifar-100", 32, tmp_path)
    np.testing.assert_array_equal(dataset.images, pixels)
    assert (dataset.labels.tolist(), dataset.classes) == ([7, 99, 0, 7], 100)


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
    np.testing.assert_array_equal(second.images[4], picture(44).transpose(2, 0, 1))
    shutil.rmtree(tmp_path / "mine")
    assert load("mine", 16, tmp_path).digest == second.digest, "the source may be deleted"




def test_wrong_count_is_refused_unless_allowed_and_then_recorded(tmp_path, capsys):
    in_folder(tmp_path / "shells", LAYOUTS["flat"])
    with pytest.raises(InputError, match="5 images, but shells has 64; ALLOW_COUNT=1"):
        load("shells", 16, tmp_path)
    assert not list(tmp_path.glob("prepared/*-16")) and not list(tmp_path.glob("prepared/.*partial"))
    run_command("prepare", "shells", "--resolution", "16", "--root", str(tmp_path), "--allow-count")
    assert load("shells", 16, tmp_path).provenance["allow_count"] is True
    run_command("status", "--root", str(tmp_path))
    row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("shells"))
    assert "5/64" in row and "16*" in row


def run_command(*args: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["datasets", *args])
        datasets.main()


def test_status_names_every_set_and_how_to_get_it(tmp_path, capsys):
    in_zip(tmp_path / "skulls", LAYOUTS["flat"])
    (tmp_path / "pokemon.zip").write_bytes(b"not a zip")
    run_command("status", "--root", str(tmp_path))
    out = capsys.readouterr().out
    assert all(out.count(f"\n{name} ") == 1 for name in DATASETS)
    assert "5/97" in out and "pokemon.zip: corrupt archive" in out and "animalface-cat: huggingface.co" in out


def test_table_covers_the_paper_and_links_nothing_dead():
    runs = [cell.run for table in TABLES.values() for cell in table.cells]
    assert {(run.dataset, run.resolution) for run in runs} <= {(name, row.resolution) for name, row in DATASETS.items()}
    assert len(DATASETS) == 14 + 3
    assert not [address for row in DATASETS.values() for address in DEAD if address in row.get + " ".join(row.urls)]


@pytest.mark.parametrize("name, message", [("nothing-here", "not found .* none of art-painting"),
                                           ("ffhq", "not found .* download_ffhq.py")])  # fmt: skip
def test_missing_set_says_how_to_get_it(tmp_path, name, message):
    with pytest.raises(InputError, match=message):
        load(name, 32, tmp_path)
    assert not list(tmp_path.iterdir())


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
