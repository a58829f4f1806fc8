"""Judge images that other code made, by every metric and the protocol of this benchmark: `make score`.

    python -m reproduce.score IMAGES=folder|zip|npz|npy|safetensors DATASET=name [NAME=value ...]

    METHOD       what the images are called; else the name of the folder or file
    FRACTION     share of the training set that the generator was trained on (1), and SEED of that subset (0), of
                 benchmarks.datasets.subset: memorisation is measured against these images
    TRAIN        the images it was trained on, where they are no such subset: anything that IMAGES may be
    PROTOCOL     a protocol of the literature by name, see benchmarks/field.py; it sets the next two
    SAMPLES      how many images there must be (5000)
    EXTRACTOR    the feature network (inception), and WEIGHTS, its file where it is not to be fetched
    RESOLUTION   in pixels; else that of the data set
    RESIZE       1: resize images of another size, and note it

The record is results/external-METHOD-DATASET-RESOLUTION-fFRACTION-sSEED/metrics.json, as for a run that was trained
here. Images are read a batch at a time, twice: once to check them all, once to measure them.
"""

import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from benchmarks.datasets import DATASETS, OWN, SIDES, Dataset, load
from benchmarks.extractors import EXTRACTORS, load_extractor
from benchmarks.field import PROTOCOLS, Named, external_id, read_record
from benchmarks.metrics import Comparison, Features, Reference
from benchmarks.runs import MINIMUM, InputError, Option, Protocol, command, fraction, one_of, read_options, whole, yes
from reproduce import images, machine, record
from reproduce.evaluate import agree, shown
from reproduce.features import RealImages, rows_of, trained_on
from reproduce.settings import weights_in_environment

OPTIONS = {"IMAGES": Option(Path), "DATASET": Option(str), "METHOD": Option(str), "FRACTION": Option(fraction, 1.0),
           "SEED": Option(whole(0), 0), "TRAIN": Option(Path), "PROTOCOL": Option(str),
           "SAMPLES": Option(whole(MINIMUM)), "EXTRACTOR": Option(one_of(*EXTRACTORS)),
           "RESOLUTION": Option(whole(*SIDES)), "RESIZE": Option(yes, False), "WEIGHTS": Option(Path),
           "DATA": Option(Path, Path("data")), "RESULTS": Option(Path, Path("results")),
           "DEVICE": Option(str, "auto")}  # fmt: skip


@dataclass(frozen=True)
class Order:
    """What is to be scored, and how: the options that the head of this file explains.

    name      METHOD
    protocol  EXTRACTOR, SAMPLES and WEIGHTS
    against   "train": the full training set; "test": the test part
    """

    images: Path
    name: str
    dataset: str
    resolution: int
    fraction: float = 1.0
    seed: int = 0
    train: Path | None = None
    protocol: Protocol = Protocol()
    against: str = "train"
    resize: bool = False

    @property
    def id(self) -> str:
        return external_id(self.name, self.dataset, self.resolution, self.fraction, self.seed)


def score(order: Order, data: Path, results: Path, device: torch.device) -> str:
    """Measure the images and bring their record up to date. Returns what happened, one line.

    Raises InputError for images that cannot be measured, a data set that is missing, images that are not those of the
    record that is there. Nothing is written before all metrics are known.
    """
    began = time.monotonic()
    machine.reset_peak(device)
    opened, dataset = _opened(order), _dataset(order, data)
    sha256, size = images.check(opened, order.resolution, order.resize)
    trained, train = _trained(order)
    subject = {"images_sha256": sha256, "train": train, "dataset": {
        "name": dataset.name, "count": len(dataset.images), "digest": dataset.digest}}  # fmt: skip
    folder = results / order.id
    _known(folder, subject)  # before the network is loaded, which may take a download
    extractor = load_extractor(order.protocol.extractor, device, order.protocol.weights, data / "weights")
    real = RealImages(dataset, _mask(order, dataset), extractor, data, device)
    with record.locked(folder):
        known = _known(folder, subject)  # again: another process may have written it
        asked = f"{order.protocol} against {order.against}"
        same = {"n_generated": opened.count, "reference": order.against, **extractor.facts}
        others = [entry for entry in known["metrics"] if not agree(entry, same)]
        measured = {entry["name"] for entry in known["metrics"] if entry not in others}
        if asked in known["evaluated"] and real.names(real.has_heldout) <= measured:
            return f"{order.id}: already scored with {asked}"
        entries = _entries(order, real, trained, extractor(images.stream(opened, order.resolution)))
        evaluated = [other for other in known["evaluated"] if other != asked]
        record.write_json(folder / "metrics.json", {
            **_about(order, opened, size), **subject, "evaluated": [*evaluated, asked],
            "metrics": [*others, *entries], "provenance": machine.provenance(device),
            "seconds": {"evaluate": round(time.monotonic() - began, 2)},
            "peak_bytes": {"train": None, "evaluate": machine.peak_bytes(device)}})  # fmt: skip
    return f"{order.id}: {shown(entries)}"


def _opened(order: Order) -> images.Images:
    """The images to score, as many as the protocol measures."""
    opened = images.open_images(order.images)
    if opened.count != order.protocol.samples:
        raise InputError(f"{order.images}: {opened.count} images, but {order.protocol.samples} are measured; give "
                         f"SAMPLES={opened.count} to measure these under a protocol of their own")
    return opened


def _dataset(order: Order, data: Path) -> Dataset:
    """What the images are compared with. Raises InputError where their share of it is too small or it lacks a part."""
    dataset = load(order.dataset, order.resolution, data)
    rows_of(dataset, order.fraction, order.seed)
    if order.against == "test" and dataset.heldout is None:
        raise InputError(f"dataset {order.dataset!r}: has no test part to compare with; use PROTOCOL=benchmark")
    return dataset


def _about(order: Order, opened: images.Images, size: tuple[int, int]) -> dict:
    """What the record says of the images."""
    resize = "none"
    if size[0] != order.resolution:
        resize = "Lanczos"
    return {"id": order.id,
            "run": {"name": order.name, "dataset": order.dataset, "resolution": order.resolution,
                    "fraction": order.fraction, "seed": order.seed},
            "status": "external",
            "images": {"count": opened.count, "height": size[0], "width": size[1], "resize": resize}}  # fmt: skip


def _trained(order: Order) -> tuple[images.Images | None, dict]:
    """The images of TRAIN, if given, and what the record says of those that the generator was trained on."""
    if order.train is None:
        return None, {"fraction": order.fraction, "seed": order.seed}
    opened = images.open_images(order.train)
    if opened.count < MINIMUM:
        raise InputError(f"TRAIN={order.train}: {opened.count} images, at least {MINIMUM} are needed")
    sha256, _ = images.check(opened, order.resolution, order.resize)
    return opened, {"images_sha256": sha256, "count": opened.count}


def _mask(order: Order, dataset: Dataset) -> np.ndarray:
    """Which images of the data set the generator may have been trained on, bool [N]: any, where TRAIN is given."""
    if order.train:
        return np.ones(len(dataset.images), bool)
    return trained_on(dataset, order.fraction, order.seed)


def _known(folder: Path, subject: dict) -> dict:
    """The record that is there, an empty one where there is none. Raises InputError where it is of something else.

    subject  the images, those that the generator was trained on, and the data set, as the record has them
    """
    path, remedy = folder / "metrics.json", f"remove {folder} to have the images scored anew"
    if not path.exists():
        return {"evaluated": [], "metrics": []}
    known = read_record(path, remedy)
    for key, what in (("images_sha256", "other images"), ("train", "other TRAIN images"),
                      ("dataset", "another state of the data set")):  # fmt: skip
        if known.get(key, subject[key]) != subject[key]:
            raise InputError(f"{path}: the record of {what}; give these another METHOD, or {remedy}")
    return known


def _entries(order: Order, real: RealImages, trained: images.Images | None, features: Features) -> list[dict]:
    """Every metric. What is said of copying is said of the images that the generator was trained on."""
    copying = against = Comparison(real.full, features, real.train, real.heldout, real.device)
    if trained:
        stream = images.stream(trained, order.resolution)
        own = Reference.of(real.extractor(stream).features, real.device)
        copying = Comparison(own, features, None, real.heldout, real.device)
    if order.against == "test":
        against = Comparison(real.tested, features, device=real.device)
    entries = []
    for name, metric in real.metrics(real.has_heldout).items():
        pair = against
        if metric.of_training:
            pair = copying
        entries.append(real.entry(name, metric.measure(pair), order.protocol.samples, len(pair.real),
                                  reference=order.against, weights="", checkpoint="last", iteration=None,
                                  eval_seed=0))  # fmt: skip
    return entries


# --- Command line -----------------------------------------------------------------------------------------------------


def parse(arguments: list[str]) -> tuple[Order, Path, Path, torch.device]:
    """What the arguments ask for: the order, the folders of data and results, the device."""
    given = read_options(arguments, OPTIONS)
    for name in ("IMAGES", "DATASET"):
        if not given[name]:
            raise InputError(f"{name}= is missing: IMAGES=folder|zip|npz|npy|safetensors DATASET=name")
    named = _named(given)
    extractor = given["EXTRACTOR"] or named.extractor
    weights = given["WEIGHTS"] or weights_in_environment(extractor)
    resolution = given["RESOLUTION"] or named.resolution or DATASETS.get(given["DATASET"], OWN).resolution
    order = Order(
        given["IMAGES"], _name(given), given["DATASET"], resolution, given["FRACTION"], given["SEED"], given["TRAIN"],
        Protocol(extractor, given["SAMPLES"] or named.n_generated, weights=weights), named.reference,
        given["RESIZE"])  # fmt: skip
    return order, given["DATA"], given["RESULTS"], machine.device(given["DEVICE"])


def _name(given: dict) -> str:
    """What the images are called."""
    name = given["METHOD"] or given["IMAGES"].name.split(".")[0]
    if not re.fullmatch(r"\w+(\.\w+)*", name):
        raise InputError(f"METHOD={name}: letters, digits, _ and . only, as it becomes part of a record's name")
    return name


def _named(given: dict) -> Named:
    """The protocol of the literature. Raises InputError for options that contradict it."""
    name = given["PROTOCOL"] or "benchmark"
    if name not in PROTOCOLS:
        raise InputError(f"PROTOCOL={name}: not one of {', '.join(PROTOCOLS)}")
    named = PROTOCOLS[name]
    if named.dataset not in ("", given["DATASET"]):
        raise InputError(f"PROTOCOL={name}: is for DATASET={named.dataset}, not {given['DATASET']}")
    fixed = {"SAMPLES": named.n_generated, "EXTRACTOR": named.extractor, "RESOLUTION": named.resolution}
    for option, value in fixed.items():
        if given["PROTOCOL"] and value and given[option] not in (None, value):
            raise InputError(f"{option}={given[option]}: PROTOCOL={name} has {value}; leave one of the two out")
    return named


def main() -> None:
    order, data, results, device = parse(sys.argv[1:])
    machine.keep_memory()
    print(score(order, data, results, device))


if __name__ == "__main__":
    command(main)
