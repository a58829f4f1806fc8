"""Images of other code: read from every format, refused in one line, scored as the suite scores its own."""

import io
import json
import struct
import subprocess
import sys
import zipfile
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image
from safetensors.numpy import save_file

from benchmarks import field
from benchmarks.datasets import load, subset
from benchmarks.extractors import EXTRACTORS
from benchmarks.field import Named, record_faults
from benchmarks.metrics import METRICS, Comparison
from benchmarks.runs import InputError, Protocol, Run
from reproduce import images
from reproduce.evaluate import evaluate
from reproduce.features import printed, reference
from reproduce.release import main as release
from reproduce.score import Order, main, parse, score
from reproduce.settings import Settings
from reproduce.train import train

ROOT = Path(__file__).parents[1]
CPU = torch.device("cpu")
NAME, COUNT = "few-digits", 40


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """A folder with one data set: the first digits. All would take half a minute to embed."""
    folder = tmp_path_factory.mktemp("data")
    digits = load("digits", 32, folder).images[:200]
    pngs(folder / NAME, digits.transpose(0, 2, 3, 1))
    return folder


@pytest.fixture(scope="module")
def pixels(data) -> np.ndarray:
    """Digits that a fraction of 0.1 leaves out, uint8 [COUNT, 32, 32, 3]: real images that were not trained on."""
    dataset = load(NAME, 32, data)
    left_out = np.setdiff1d(np.arange(len(dataset.images)), subset(len(dataset.images), 0.1, 0))
    chosen = np.random.default_rng(0).choice(left_out, COUNT, replace=False)
    return np.ascontiguousarray(dataset.images[np.sort(chosen)].transpose(0, 2, 3, 1))


def pngs(folder: Path, pixels: np.ndarray) -> Path:
    """A folder of PNGs as another program would write it."""
    folder.mkdir()
    for i, image in enumerate(pixels):
        Image.fromarray(image).save(folder / f"{i:05}.png")
    return folder


def packed(folder: Path, path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.iterdir()):
            archive.write(file, f"deep/{file.name}")
    return path


def asked(path: Path, **changes) -> Order:
    order = Order(path, "theirs", NAME, 32, 0.1, protocol=Protocol("effnet", COUNT))
    return replace(order, **changes)


def read(results: Path, order: Order) -> dict:
    return json.loads((results / order.id / "metrics.json").read_text())


# --- Formats ----------------------------------------------------------------------------------------------------------


def test_every_format_gives_the_same_images(pixels, tmp_path):
    """Of either order of channels, in C's order or Fortran's; the digest is of the pixels, wherever they lie."""
    found = [pngs(tmp_path / "png", pixels), packed(tmp_path / "png", tmp_path / "png.zip")]
    np.save(tmp_path / "fortran.npy", np.asfortranarray(pixels))
    found.append(tmp_path / "fortran.npy")
    for name, array in (("last", pixels), ("first", np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)))):
        np.save(tmp_path / f"{name}.npy", array)
        np.savez(tmp_path / f"{name}.npz", array)
        np.savez_compressed(tmp_path / f"{name}-named.npz", images=array, labels=np.zeros(COUNT))
        save_file({"images": array}, tmp_path / f"{name}.safetensors")
        found += [tmp_path / f"{name}{suffix}" for suffix in (".npy", ".npz", "-named.npz", ".safetensors")]
    digests = set()
    for path in found:
        opened = images.open_images(path)
        digests.add(images.check(opened, 32, False))
        assert opened.count == COUNT
        batches = list(images.stream(opened, 32))
        assert max(map(len, batches)) <= images.BATCH
        assert np.array_equal(torch.cat(batches).numpy(), pixels.transpose(0, 3, 1, 2))
    assert len(digests) == 1


def test_images_of_another_size_are_resized_where_asked(pixels, tmp_path):
    large = [np.asarray(Image.fromarray(image).resize((48, 48))) for image in pixels]
    opened = images.open_images(pngs(tmp_path / "large", np.stack(large)))
    assert images.check(opened, 32, True)[1] == (48, 48)
    expected = np.asarray(Image.fromarray(large[0]).resize((32, 32), Image.Resampling.LANCZOS))
    assert np.array_equal(next(images.stream(opened, 32))[0].permute(1, 2, 0).numpy(), expected)


def saved(**options) -> bytes:
    buffer = io.BytesIO()
    Image.new(options.pop("mode", "RGB"), options.pop("size", (32, 32))).save(buffer, "png", **options)
    return buffer.getvalue()


def of_16_bits() -> bytes:
    """An RGB PNG of 16 bits a channel, which Pillow reads and cannot write."""
    content = b"\x89PNG\r\n\x1a\n"
    for kind, body in ((b"IHDR", struct.pack(">IIBBBBB", 32, 32, 16, 2, 0, 0, 0)),
                       (b"IDAT", zlib.compress(bytes(32 * (1 + 32 * 6)))), (b"IEND", b"")):  # fmt: skip
        content += struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    return content


TURNED = Image.Exif()
TURNED[ExifTags.Base.Orientation] = 6
WHOLE = saved()
FAULTS = {  # what one of the files is instead, and words of the refusal
    "mixed sizes": (saved(size=(16, 16)), ("00007.png", "16 x 16")),
    "not square": (saved(size=(32, 16)), ("00007.png", "32 x 16")),
    "grey": (saved(mode="L"), ("00007.png", "grey", "RGB")),
    "alpha": (saved(mode="RGBA"), ("00007.png", "transparency")),
    "palette": (saved(mode="P"), ("00007.png", "palette")),
    "16 bits": (saved(mode="I;16"), ("00007.png", "I;16")),
    "16 bits a channel": (of_16_bits(), ("00007.png", "of 16 bits")),
    "16 bits a channel, PPM": (b"P6 32 32 65535\n" + bytes(32 * 32 * 6), ("00007.png", "of 16 bits")),
    "turned": (saved(exif=TURNED), ("00007.png", "turned by EXIF")),
    "frames": (saved(save_all=True, append_images=[Image.new("RGB", (32, 32), "red")]), ("00007.png", "frames")),
    "broken": (WHOLE[:60], ("00007.png", "broken")),
    "empty": (b"", ("00007.png", "broken")),
    "a text": (b"not an image at all", ("00007.png", "broken")),
}  # fmt: skip


@pytest.mark.parametrize("content, words", FAULTS.values(), ids=FAULTS)
def test_a_file_at_fault_is_named_and_nothing_is_written(content, words, pixels, data, tmp_path):
    order = asked(pngs(tmp_path / "theirs", pixels))
    (tmp_path / "theirs" / "00007.png").write_bytes(content)
    refused(order, data, tmp_path / "results", *words)


def refused(order: Order, data: Path, results: Path, *words: str) -> None:
    with pytest.raises(InputError) as caught:
        score(order, data, results, CPU)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)
    assert not list(results.rglob("metrics.json"))


ARRAYS = {
    "float": (np.zeros((COUNT, 32, 32, 3), np.float32), "float32"),
    "grey": (np.zeros((COUNT, 32, 32), np.uint8), "[40, 32, 32]"),
    "one channel": (np.zeros((COUNT, 32, 32, 1), np.uint8), "[40, 32, 32, 1]"),
    "alpha": (np.zeros((COUNT, 4, 32, 32), np.uint8), "[40, 4, 32, 32]"),
    "objects": (np.array([{}] * COUNT), "object"),
    "too few": (np.zeros((COUNT - 1, 32, 32, 3), np.uint8), "SAMPLES=39"),
    "too many": (np.zeros((COUNT + 1, 32, 32, 3), np.uint8), "SAMPLES=41"),
    "another size": (np.zeros((COUNT, 64, 64, 3), np.uint8), "RESOLUTION=64"),
    "not square": (np.zeros((COUNT, 64, 32, 3), np.uint8), "square"),
}  # fmt: skip


@pytest.mark.parametrize("array, word", ARRAYS.values(), ids=ARRAYS)
@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_an_array_at_fault(suffix, array, word, data, tmp_path):
    save = np.save if suffix == ".npy" else np.savez
    save(tmp_path / f"theirs{suffix}", array)
    refused(asked(tmp_path / f"theirs{suffix}"), data, tmp_path / "results", f"theirs{suffix}", word)


def test_a_file_of_another_kind_than_its_name_says(pixels, data, tmp_path):
    np.savez(tmp_path / "renamed.npz", pixels)
    (tmp_path / "renamed.npz").rename(tmp_path / "renamed.npy")
    with zipfile.ZipFile(tmp_path / "inner.npz", "w") as archive:
        archive.write(tmp_path / "renamed.npy", "inner.npz")
    for name in ("renamed.npy", "inner.npz"):
        refused(asked(tmp_path / name), data, tmp_path / "results", name, "not what its name says")


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".safetensors", ".zip"])
def test_a_damaged_file(suffix, pixels, data, tmp_path):
    path = tmp_path / f"theirs{suffix}"
    if suffix == ".zip":
        packed(pngs(tmp_path / "png", pixels), path)
    elif suffix == ".safetensors":
        save_file({"images": pixels}, path)
    else:
        (np.save if suffix == ".npy" else np.savez)(path, pixels)
    whole = path.read_bytes()
    for content in (b"", whole[:5], whole[: len(whole) // 2], b"\xff" * 200):
        path.write_bytes(content)
        refused(asked(path), data, tmp_path / "results", path.name)


def test_what_is_no_source_of_images(data, tmp_path):
    refused(asked(tmp_path / "nowhere"), data, tmp_path / "results", "nowhere", "no such")
    (tmp_path / "theirs.pt").write_bytes(b"x")
    refused(asked(tmp_path / "theirs.pt"), data, tmp_path / "results", ".npz", ".safetensors")
    np.savez(tmp_path / "two.npz", a=np.zeros(3), b=np.zeros(3))
    refused(asked(tmp_path / "two.npz"), data, tmp_path / "results", "a.npy, b.npy")
    (tmp_path / "nothing").mkdir()
    refused(asked(tmp_path / "nothing"), data, tmp_path / "results", "no image")


# --- Scores -----------------------------------------------------------------------------------------------------------


def test_a_folder_of_pngs_is_scored_by_one_command(pixels, data, tmp_path, ended):
    """Held-out real images are at the floor: their distance is that of the same features, and noise is far above."""
    pngs(tmp_path / "theirs", pixels)
    arguments = [f"IMAGES={tmp_path}/theirs", f"DATASET={NAME}", "RESOLUTION=32", "FRACTION=0.1", f"SAMPLES={COUNT}",
                 "EXTRACTOR=effnet", f"DATA={data}", f"RESULTS={tmp_path}/results", "DEVICE=cpu"]
    status, said, _ = ended(main, *arguments)
    assert status == 0
    name = f"external-theirs-{NAME}-32-f0.1-s0"
    assert said.startswith(name) and said.count("\n") == 1
    record = json.loads((tmp_path / "results" / name / "metrics.json").read_text())
    assert record_faults(tmp_path / "results") == []
    entries = {entry["name"]: entry for entry in record["metrics"]}

    dataset, extractor = load(NAME, 32, data), EXTRACTORS["effnet"](CPU, None, data)
    real = reference(dataset, extractor, data, CPU)
    mask = np.isin(np.arange(len(dataset.images)), subset(len(dataset.images), 0.1, 0))
    features = extractor(torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy()).split(32))
    pair = Comparison(real, features, mask, real.features[~mask], CPU)
    for metric in METRICS:
        expected = METRICS[metric].measure(pair).value
        assert entries[printed(metric, "effnet")]["value"] == pytest.approx(expected, rel=1e-6)

    noise = np.random.default_rng(1).integers(0, 256, pixels.shape, np.uint8)
    np.save(tmp_path / "noise.npy", noise)
    order = asked(tmp_path / "noise.npy", name="noise")
    score(order, data, tmp_path / "results", CPU)
    above = {entry["name"]: entry["value"] for entry in read(tmp_path / "results", order)["metrics"]}
    assert above["fd_effnet"] > 5 * entries["fd_effnet"]["value"]
    assert entries["memorised_effnet"]["value"] < 0.3
    _, again, _ = ended(main, *arguments)
    assert "already scored" in again and record == json.loads(
        (tmp_path / "results" / name / "metrics.json").read_text())  # fmt: skip


def test_the_score_of_our_own_exported_images_is_the_runs(data, tmp_path, monkeypatch):
    run = Run("biggan", NAME, 32, 0.1, iterations=2, batch=4, override={"width": 0.1})
    results = tmp_path / "results"
    train(run, Settings(data=data, results=results), CPU)
    evaluate(run, Protocol("effnet", COUNT), data, results, CPU)
    monkeypatch.setattr(sys, "argv", ["release", f"{results / run.id}", f"OUT={tmp_path}/samples/", f"COUNT={COUNT}",
                                      f"DATA={data}"])  # fmt: skip
    release()
    order = asked(tmp_path / "samples")
    score(order, data, results, CPU)
    ours = json.loads((results / run.id / "metrics.json").read_text())["metrics"]
    theirs = {entry["name"]: entry for entry in read(results, order)["metrics"]}
    assert set(theirs) == {entry["name"] for entry in ours}
    for entry in ours:
        assert theirs[entry["name"]]["value"] == pytest.approx(entry["value"], rel=1e-9, abs=1e-9)
        for key in ("sd", "better", "n_generated", "n_reference", "extractor", "extractor_sha256", "resize"):
            assert theirs[entry["name"]][key] == entry[key], key


def test_copies_of_train_are_found(pixels, data, tmp_path):
    """Images of TRAIN scored as if generated are all memorised; against the subset they are not."""
    path = pngs(tmp_path / "theirs", pixels)
    memorised = {}
    for name, train_images in (("subset", None), ("copies", path)):
        order = asked(path, name=name, train=train_images)
        score(order, data, tmp_path / "results", CPU)
        entries = {entry["name"]: entry for entry in read(tmp_path / "results", order)["metrics"]}
        memorised[name] = entries["memorised_effnet"]
    assert memorised["copies"]["value"] == 1 and memorised["subset"]["value"] < 0.3
    assert memorised["copies"]["n_reference"] == COUNT
    assert read(tmp_path / "results", order)["train"]["count"] == COUNT


def test_a_protocol_against_the_test_part(pixels, data, tmp_path, monkeypatch):
    """Distances are to the test images, memorisation is of the training images."""
    for part, chosen in (("train", pixels[:20]), ("test", pixels[20:])):
        (data / "tiny").mkdir(exist_ok=True)
        pngs(data / "tiny" / part, chosen)
    named = Named("40 images against the test part", COUNT, "test", "effnet", "tiny", 32)
    monkeypatch.setitem(field.PROTOCOLS, "tiny-test", named)
    pngs(tmp_path / "theirs", np.concatenate([pixels[:20], pixels[:20]]))
    order, *_ = parse([f"IMAGES={tmp_path}/theirs", "DATASET=tiny", "PROTOCOL=tiny-test"])
    assert (order.resolution, order.protocol.samples, order.protocol.extractor) == (32, COUNT, "effnet")
    score(order, data, tmp_path / "results", CPU)
    entries = {entry["name"]: entry for entry in read(tmp_path / "results", order)["metrics"]}
    assert {entry["reference"] for entry in entries.values()} == {"test"}
    extractor, dataset = EXTRACTORS["effnet"](CPU, None, data), load("tiny", 32, data)
    features = extractor(images.stream(images.open_images(tmp_path / "theirs"), 32))
    test = reference(dataset.heldout, extractor, data, CPU)
    assert entries["fd_effnet"]["value"] == METRICS["fd"].measure(Comparison(test, features)).value
    assert entries["memorised_effnet"]["value"] == 1

    score(replace(order, against="train"), data, tmp_path / "results", CPU)
    both = read(tmp_path / "results", order)
    assert [entry["reference"] for entry in both["metrics"] if entry["name"] == "fd_effnet"] == ["test", "train"]
    assert len(both["evaluated"]) == 2
    refused(asked(tmp_path / "theirs", against="test"), data, tmp_path / "other", f"'{NAME}'", "no test part")


def test_a_record_of_other_images_is_kept(pixels, data, tmp_path):
    results = tmp_path / "results"
    np.save(tmp_path / "theirs.npy", pixels)
    score(asked(tmp_path / "theirs.npy"), data, results, CPU)
    before = read(results, asked(tmp_path / "theirs.npy"))
    np.save(tmp_path / "theirs.npy", 255 - pixels)
    with pytest.raises(InputError, match="record of other images"):
        score(asked(tmp_path / "theirs.npy"), data, results, CPU)
    assert read(results, asked(tmp_path / "theirs.npy")) == before
    np.save(tmp_path / "theirs.npy", pixels)
    with pytest.raises(InputError, match="record of other TRAIN images"):
        score(asked(tmp_path / "theirs.npy", train=tmp_path / "theirs.npy"), data, results, CPU)
    file = results / asked(tmp_path).id / "metrics.json"
    file.write_text(json.dumps(before | {"dataset": before["dataset"] | {"digest": "0" * 64}}))
    with pytest.raises(InputError, match="record of another state of the data set"):
        score(asked(tmp_path / "theirs.npy"), data, results, CPU)
    file.write_text("{}")
    with pytest.raises(InputError, match="metrics.json: 'id' is missing; remove"):
        score(asked(tmp_path / "theirs.npy"), data, results, CPU)


def test_a_share_that_is_too_small_is_refused_before_anything_is_measured(pixels, data, tmp_path):
    np.save(tmp_path / "theirs.npy", pixels)
    few = replace(asked(tmp_path / "theirs.npy"), fraction=0.001)
    refused(few, data, tmp_path / "results", "fraction 0.001", "at least 10")


# --- The command ------------------------------------------------------------------------------------------------------


def test_the_protocols_of_the_literature():
    order, data, results, device = parse(["IMAGES=x/mine.npz", "DATASET=cifar-100", "PROTOCOL=cifar-test"])
    assert (order.name, order.resolution, order.against) == ("mine", 32, "test")
    assert order.protocol == Protocol("inception_tf", 10_000)
    order, *_ = parse(["IMAGES=x", "DATASET=ffhq", "PROTOCOL=fid50k-train", "RESOLUTION=256"])
    assert (order.resolution, order.against, order.protocol.samples) == (256, "train", 50_000)
    order, *_ = parse(["IMAGES=x", "DATASET=digits"])
    assert order.protocol == Protocol() and order.resolution == 32


@pytest.mark.parametrize("arguments", [
    "", "IMAGES=x", "DATASET=digits", "IMAGES=x DATASET=digits PROTOCOL=mine", "IMAGES=x DATASET=digits COUNT=3",
    "IMAGES=x DATASET=digits PROTOCOL=cifar-test", "IMAGES=x DATASET=cifar-100 PROTOCOL=cifar-test SAMPLES=5000",
    "IMAGES=x DATASET=cifar-100 PROTOCOL=cifar-test EXTRACTOR=inception", "IMAGES=x DATASET=digits FRACTION=2",
    "IMAGES=x DATASET=cifar-100 PROTOCOL=cifar-test RESOLUTION=64", "IMAGES=x DATASET=digits FRACTION=ten",
    "IMAGES=x DATASET=digits SEED=-1", "IMAGES=x DATASET=digits SAMPLES=many", "IMAGES=x DATASET=digits SAMPLES=3",
    "IMAGES=x DATASET=digits METHOD=a/b", "IMAGES=x DATASET=digits METHOD=a-b", "IMAGES=x DATASET=digits RESIZE=yes",
    "IMAGES=x DATASET=digits DEVICE=tpu", "IMAGES=x DATASET=digits RESOLUTION=32px",
    "IMAGES=x DATASET=digits RESOLUTION=99999", f"IMAGES=x DATASET=digits SEED={'9' * 5000}", "IMAGES=/ DATASET=digits",
    "IMAGES=x DATASET=digits EXTRACTOR=vgg", "IMAGES=x DATASET=digits --help", "IMAGES=x DATASET=digits FRACTION=0",
])  # fmt: skip
def test_arguments_that_ask_for_nothing(arguments):
    with pytest.raises(InputError) as caught:
        parse(arguments.split())
    assert "\n" not in str(caught.value)


def test_the_command_ends_with_one_line_and_status_2(pixels, tmp_path):
    np.save(tmp_path / "theirs.npy", pixels)
    command = [sys.executable, "-m", "reproduce.score", f"IMAGES={tmp_path}/theirs.npy", f"SAMPLES={COUNT}",
               "EXTRACTOR=effnet", "DATASET=no-such-set", f"DATA={tmp_path}/data", f"RESULTS={tmp_path}/results"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (2, "", 1) and "no-such-set" in ended.stderr
    assert not (tmp_path / "results").exists()
