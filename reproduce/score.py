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

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from benchmarks.datasets import DATASETS, OWN, SIDES, Dataset, load, subset
from benchmarks.extractors import EXTRACTORS, Extractor
from benchmarks.field import PROTOCOLS, external_id, faults_of_record
from benchmarks.metrics import METRICS, Comparison, Features, Reference
from benchmarks.runs import MINIMUM, InputError, Option, Protocol, command, one_of, read_options, share, whole, yes
from reproduce import images, record
from reproduce.evaluate import agree, possible_metrics, printed, reference

OPTIONS = {"IMAGES": Option(Path), "DATASET": Option(str), "METHOD": Option(str), "FRACTION": Option(share, 1.0),
           "SEED": Option(whole(0), 0), "TRAIN": Option(Path), "PROTOCOL": Option(one_of(*PROTOCOLS)),
           "SAMPLES": Option(whole(MINIMUM)), "EXTRACTOR": Option(one_of(*EXTRACTORS)),
           "RESOLUTION": Option(whole(*SIDES)), "RESIZE": Option(yes, False), "WEIGHTS": Option(Path),
           "DATA": Option(Path, Path("data")), "RESULTS": Option(Path, Path("results")),
           "DEVICE": Option(str, "auto")}  # fmt: skip


@dataclass(frozen=True)
class Order:
    """What is to be scored, and how.

    images      where the images lie
    name        what they are called
    dataset     the data set they are compared with, at `resolution` pixels
    fraction    share of it that the generator was trained on, the subset of `seed`
    train       where the images lie that it was trained on, instead of that subset; or None
    protocol    extractor, number of images, weights
    against     "train": the full training set; "test": the test part
    resize      whether images of another size are resized
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
    record.reset_peak(device)
    if order.protocol.extractor not in EXTRACTORS:
        raise InputError(f"EXTRACTOR={order.protocol.extractor}: not one of {', '.join(EXTRACTORS)}")
    found = images.open_images(order.images)
    if found.count != order.protocol.samples:
        raise InputError(f"{order.images}: {found.count} images, but {order.protocol.samples} are measured; give "
                         f"SAMPLES={found.count} to measure these under a protocol of their own")
    dataset = load(order.dataset, order.resolution, data)
    trained_on = len(subset(len(dataset.images), order.fraction, order.seed))
    if trained_on < MINIMUM:
        raise InputError(f"FRACTION={order.fraction:g}: {trained_on} of {len(dataset.images)} images, and metrics need "
                         f"at least {MINIMUM}")
    if order.against == "test" and dataset.heldout is None:
        raise InputError(f"dataset {order.dataset!r}: has no test part to compare with; use PROTOCOL=benchmark")
    sha256, size = images.check(found, order.resolution, order.resize)
    trained = _trained(order)
    folder = record.folder(results, order.id)
    known = _known(folder, sha256)
    with record.locked(folder):
        extractor = EXTRACTORS[order.protocol.extractor](device, order.protocol.weights, data / "weights")
        subject = Subject(order, dataset, extractor, data, device, trained)
        asked = _evaluated(order)
        if asked in known.get("evaluated", []) and subject.names <= _names(known, subject):
            return f"{order.id}: already scored with {asked}"
        features = extractor(images.stream(found, order.resolution))
        entries = subject.entries(features)
        done = [other for other in known.get("evaluated", []) if other != asked]
        others = [entry for entry in known.get("metrics", []) if not subject.replaces(entry)]
        resize, train = "none", {"fraction": order.fraction, "seed": order.seed}
        if size[0] != order.resolution:
            resize = "Lanczos"
        if trained:
            train = trained.facts
        record.write_json(folder / "metrics.json", {
            "id": order.id,
            "run": {"name": order.name, "dataset": order.dataset, "resolution": order.resolution,
                    "fraction": order.fraction, "seed": order.seed},
            "status": "external",
            "images_sha256": sha256,
            "images": {"count": found.count, "height": size[0], "width": size[1], "resize": resize},
            "evaluated": [*done, asked],
            "metrics": [*others, *entries],
            "dataset": {"name": dataset.name, "count": len(dataset.images), "digest": dataset.digest},
            "train": train,
            "provenance": record.provenance(device),
            "seconds": {"evaluate": round(time.monotonic() - began, 2)},
            "peak_bytes": {"train": None, "evaluate": record.peak_bytes(device)},
        })  # fmt: skip
    shown = [f"{entry['name']} {entry['value']:.4g}" for entry in entries]
    return f"{order.id}: {', '.join(shown)}"


@dataclass(frozen=True)
class Trained:
    """The images of TRAIN and what is noted of them."""

    images: images.Images
    facts: dict


def _trained(order: Order) -> Trained | None:
    if order.train is None:
        return None
    found = images.open_images(order.train)
    if found.count < MINIMUM:
        raise InputError(f"TRAIN={order.train}: {found.count} images, at least {MINIMUM} are needed")
    sha256, _ = images.check(found, order.resolution, order.resize)
    return Trained(found, {"images_sha256": sha256, "count": found.count})


def _known(folder: Path, sha256: str) -> dict:
    """The record that is there, {} where there is none. Raises InputError where it is of other images."""
    path = folder / "metrics.json"
    if not path.exists():
        return {}
    known = record.read_json(path)
    if faults := faults_of_record(known, folder.name):
        raise InputError(f"{path}: {faults[0]}; remove {folder} to have the images scored anew")
    if known["images_sha256"] != sha256:
        raise InputError(f"{path}: the record of other images; give these another METHOD, or remove {folder}")
    return known


def _evaluated(order: Order) -> str:
    """As in the list "evaluated" of metrics.json."""
    return f"{order.protocol} against {order.against}"


def _names(known: dict, subject: "Subject") -> set[str]:
    return {entry["name"] for entry in known["metrics"] if subject.replaces(entry)}


@dataclass
class Subject:
    """The real images that one set of images is compared with, and the entries of its record."""

    order: Order
    dataset: Dataset
    extractor: Extractor
    data: Path
    device: torch.device
    trained: Trained | None

    def __post_init__(self):
        n = len(self.dataset.images)
        self.subset = np.isin(np.arange(n), subset(n, self.order.fraction, self.order.seed))
        self.facts = {"extractor": self.extractor.name, "extractor_sha256": self.extractor.sha256,
                      "resize": self.extractor.resize}  # fmt: skip

    @property
    def has_heldout(self) -> bool:
        """Whether there are real images that the generator was not trained on."""
        left_out = self.trained is None and (~self.subset).sum() >= MINIMUM
        return self.dataset.heldout is not None or left_out

    @property
    def metrics(self) -> dict:
        """The metrics that the extractor and the images can give."""
        return possible_metrics(self.extractor, self.has_heldout)

    @property
    def names(self) -> set[str]:
        return {printed(name, self.extractor.name) for name in self.metrics}

    def replaces(self, entry: dict) -> bool:
        """Whether an entry of the record is one of those that this measurement makes."""
        same = {"n_generated": self.order.protocol.samples, "reference": self.order.against} | self.facts
        return agree(entry, same)

    def entries(self, features: Features) -> list[dict]:
        """Every metric. What is said of copying is said of the images that the generator was trained on."""
        full = reference(self.dataset, self.extractor, self.data, self.device)
        tested = None
        if self.dataset.heldout is not None:
            tested = reference(self.dataset.heldout, self.extractor, self.data, self.device)
        copying = self._copying(full, tested, features)
        against = copying
        if self.order.against == "test":
            against = Comparison(tested, features, device=self.device)
        elif self.trained:
            against = Comparison(full, features, device=self.device)
        entries = []
        for name, metric in self.metrics.items():
            pair = against
            if metric.of_training:
                pair = copying
            entries.append(self._entry(name, metric.measure(pair), len(pair.real)))
        return entries

    def _copying(self, full: Reference, tested: Reference | None, features: Features) -> Comparison:
        """The images against those that the generator was trained on, and against held-out ones where there are any."""
        heldout = None
        if tested:
            heldout = tested.features
        if self.trained:
            stream = images.stream(self.trained.images, self.order.resolution)
            own = Reference.of(self.extractor(stream).features, self.device)
            return Comparison(own, features, None, heldout, self.device)
        if heldout is None and self.has_heldout:
            heldout = full.features[~self.subset]
        return Comparison(full, features, self.subset, heldout, self.device)

    def _entry(self, name: str, value, n_reference: int) -> dict:
        return {"name": printed(name, self.extractor.name), "value": value.value, "sd": value.sd,
                "better": METRICS[name].better, "n_generated": self.order.protocol.samples,
                "n_reference": n_reference, "reference": self.order.against, **self.facts, "weights": "ema",
                "checkpoint": "last", "iteration": None, "eval_seed": 0}  # fmt: skip


# --- Command line -----------------------------------------------------------------------------------------------------


def parse(arguments: list[str]) -> tuple[Order, Path, Path, torch.device]:
    """What the arguments ask for: the order, the folders of data and results, the device."""
    chosen = read_options(arguments, OPTIONS)
    for name in ("IMAGES", "DATASET"):
        if not chosen[name]:
            raise InputError(f"{name}= is missing: IMAGES=folder|zip|npz|npy|safetensors DATASET=name")
    name = chosen["METHOD"] or chosen["IMAGES"].name.split(".")[0]
    if not all(part.isidentifier() or part.isalnum() for part in name.split(".")):
        raise InputError(f"METHOD={name}: letters, digits, _ and . only, as it becomes part of a record's name")
    if not chosen["FRACTION"]:
        raise InputError("FRACTION=0: must be above 0")
    protocol, against, resolution = _protocol(chosen)
    order = Order(chosen["IMAGES"], name, chosen["DATASET"], resolution, chosen["FRACTION"], chosen["SEED"],
                  chosen["TRAIN"], protocol, against, chosen["RESIZE"])
    return order, chosen["DATA"], chosen["RESULTS"], record.device(chosen["DEVICE"])


def _protocol(chosen: dict[str, object]) -> tuple[Protocol, str, int]:
    """Extractor and number of images, what they are compared with, and the resolution."""
    name = chosen["PROTOCOL"] or "benchmark"
    named = PROTOCOLS[name]
    if named.dataset not in ("", chosen["DATASET"]):
        raise InputError(f"PROTOCOL={name}: is for DATASET={named.dataset}, not {chosen['DATASET']}")
    fixed = {"SAMPLES": named.n_generated, "EXTRACTOR": named.extractor, "RESOLUTION": named.resolution}
    for option, value in fixed.items():
        if chosen["PROTOCOL"] and value and chosen[option] not in (None, value):
            raise InputError(f"{option}={chosen[option]}: PROTOCOL={name} has {value}; leave one of the two out")
    extractor, samples = chosen["EXTRACTOR"] or named.extractor, chosen["SAMPLES"] or named.n_generated
    own = DATASETS.get(chosen["DATASET"], OWN).resolution
    resolution = chosen["RESOLUTION"] or named.resolution or own
    weights, file = chosen["WEIGHTS"], os.environ.get(extractor.split("_")[0].upper())
    if file and not weights:
        weights = Path(file)
    return Protocol(extractor, samples, weights=weights), named.reference, resolution


def main() -> None:
    order, data, results, device = parse(sys.argv[1:])
    record.keep_memory()
    print(score(order, data, results, device))


if __name__ == "__main__":
    command(main)
