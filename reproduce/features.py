"""Features of images, and the real images that generated ones are compared with.

Features are stored with a note of what they were made from: those of real images under DATA/features, once for all
runs, those of generated ones in the run's folder.
"""

import fcntl
import hashlib
import io
import json
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import BatchSampler

from benchmarks.datasets import Dataset, load, subset
from benchmarks.extractors import Extractor
from benchmarks.metrics import METRICS, Metric, Reference, Score
from benchmarks.runs import MINIMUM, InputError, Run
from reproduce import record

BATCH = 32  # real images in memory at a time
LITERATURE = {"fd_inception": "fid", "kid_inception": "kid", "mind_inception": "mind", "is_inception": "is"}


def printed(metric: str, extractor: str) -> str:
    """The name under which a score is shown: that of the literature, or one that carries the extractor's."""
    name = f"{metric}_{extractor}"
    return LITERATURE.get(name, name)


@dataclass
class RealImages:
    """The images of a data set as an extractor sees them, worked out when they are asked for.

    train  [N] bool: which of them the generator was trained on
    data   the data folder, which keeps the features of whole sets
    """

    dataset: Dataset
    train: np.ndarray
    extractor: Extractor
    data: Path
    device: torch.device

    @cached_property
    def full(self) -> Reference:
        """All images, without those of the test part."""
        return reference(self.dataset, self.extractor, self.data, self.device)

    @cached_property
    def tested(self) -> Reference | None:
        """The test part, where the set has one."""
        if self.dataset.heldout is None:
            return None
        return reference(self.dataset.heldout, self.extractor, self.data, self.device)

    @property
    def has_heldout(self) -> bool:
        """Whether there are images that the generator was not trained on: a test part, or what a fraction left out."""
        return self.dataset.heldout is not None or (~self.train).sum() >= MINIMUM

    @cached_property
    def heldout(self) -> np.ndarray | None:
        """Features [H, D] of real images that the generator was not trained on; None where has_heldout is False."""
        if self.tested is not None:
            return self.tested.features
        if self.has_heldout:
            return self.full.features[~self.train]
        return None

    def metrics(self, has_heldout: bool) -> dict[str, Metric]:
        """The metrics that the extractor can give, with held-out images or without."""
        possible = {}
        for name, metric in METRICS.items():
            lacking = (metric.of_classes and not self.extractor.classes) or (metric.of_heldout and not has_heldout)
            if not lacking:
                possible[name] = metric
        return possible

    def names(self, has_heldout: bool) -> set[str]:
        """The names of these metrics in metrics.json."""
        return {printed(name, self.extractor.name) for name in self.metrics(has_heldout)}

    def entry(self, name: str, score: Score, n_generated: int, n_reference: int, **which) -> dict:
        """An entry of metrics.json."""
        return {"name": printed(name, self.extractor.name), "value": score.value, "sd": score.sd,
                "better": METRICS[name].better, "n_generated": n_generated, "n_reference": n_reference,
                **self.extractor.facts, **which}  # fmt: skip


# --- A data set and the part of it that a run is trained on -----------------------------------------------------------


def rows_of(dataset: Dataset, fraction: float, seed: int) -> np.ndarray:
    """The rows of a data set that a run is trained on. Raises InputError where they are too few to be measured."""
    rows = subset(len(dataset.images), fraction, seed)
    if len(rows) < MINIMUM:
        raise InputError(f"fraction {fraction:g}: {len(rows)} of {len(dataset.images)} images, and metrics need at "
                         f"least {MINIMUM}")
    return rows


def trained_on(dataset: Dataset, fraction: float, seed: int) -> np.ndarray:
    """Which images of a data set a run is trained on, bool [N]."""
    count = len(dataset.images)
    return np.isin(np.arange(count), subset(count, fraction, seed))


def data_of(run: Run, digest: str, data: Path) -> Dataset:
    """The data set of a run. Raises InputError where the one there is another than that it was trained on."""
    dataset = load(run.dataset, run.resolution, data)
    if dataset.digest != digest:
        raise InputError(f"dataset {run.dataset!r} under {data}: not the one that run {run.id} was trained on")
    return dataset


def labels_of(run: Run, dataset: Dataset, count: int, draw: int) -> Tensor:
    """The labels [count] of a draw of generated images, as frequent as among the run's training images."""
    labels = dataset.labels[subset(len(dataset.images), run.fraction, run.seed)]
    return torch.from_numpy(np.random.default_rng(draw).choice(labels, count))


# --- Stored features --------------------------------------------------------------------------------------------------


def batches(images: np.ndarray, rows: np.ndarray) -> Iterator[Tensor]:
    """Some rows of an array of images, uint8 [<= BATCH, 3, R, R] at a time."""
    for some in BatchSampler(rows, BATCH, drop_last=False):
        yield torch.from_numpy(images[some])


def reference(dataset: Dataset, extractor: Extractor, data: Path, device: torch.device) -> Reference:
    """The images of a whole data set as metrics need them, stored under DATA/features for all runs.

    float32, since float16 was measured to move KID by 1e-3 and density by 6e-4 (digits, effnet).
    """
    facts = {"dataset": dataset.digest, "indices": f"all {len(dataset.images)}", **extractor.facts}
    name = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]

    def make() -> dict[str, np.ndarray]:
        features = extractor(batches(dataset.images, np.arange(len(dataset.images)))).features
        return Reference.of(features, device)._asdict()

    return Reference(**stored(data / "features" / f"{dataset.name}-{extractor.name}-{name}.npz", facts, make))


def stored(path: Path, facts: dict, make: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The arrays in a file, if it was made from these facts and is whole; else made, and stored there.

    Of several processes that ask at once, one makes them and the others wait for it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        record.remove_asides(path.parent, path.name)
        arrays = _read_arrays(path)
        if str(arrays.pop("facts", "")) != json.dumps(facts):
            arrays = make()
            _write_arrays(path, {"facts": json.dumps(facts), **arrays})
    return arrays


def _write_arrays(path: Path, arrays: dict) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    record.write_bytes(path, buffer.getbuffer())


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays in a file; none if it is missing or damaged (each array in it has a checksum)."""
    try:
        with np.load(path) as file:
            return dict(file)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        return {}
