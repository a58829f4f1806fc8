"""Measure one run: `python -m reproduce.run RUN_ID`. Reads generator.safetensors, writes metrics.json.

One pass of images through a frozen network gives the features that all metrics are worked out from. The same command
again does nothing, or measures the metrics that are new.

Generators that training kept on the way (EVAL_EVERY) get their Frechet distance, and the best of them all metrics. A
run whose model is "heldout" has no generator: real images that it would not be trained on are scored in that place.
"""

import hashlib
import time
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import torch

from benchmarks.datasets import Dataset, load
from benchmarks.extractors import load_extractor
from benchmarks.metrics import METRICS, Comparison, Features, Score
from benchmarks.runs import MINIMUM, InputError, Protocol, Run
from reproduce import generators, machine, names, record
from reproduce.checkpoint import trained_peak
from reproduce.features import RealImages, batches, data_of, labels_of, printed, rows_of, stored, trained_on
from reproduce.generators import Trained
from reproduce.log import trained_seconds

Entries = set[tuple[str, str, int]]  # name, checkpoint and draw of entries of metrics.json


def evaluate(run: Run, protocol: Protocol, data: Path, results: Path, device: torch.device) -> str:
    """Bring a run's metrics.json up to date. Returns what happened, one line.

    Raises InputError for a run that is not trained, a data set that has changed since, missing or wrong weights.
    """
    folder = results / run.id
    if run.model == names.HELDOUT:
        open_heldout(run, data, folder, device)
    if not (folder / "config.json").exists():
        raise InputError(f"run {run.id}: not trained, no {folder}; first `python -m reproduce.run {run.id}`")
    with record.locked(folder):
        began = time.monotonic()
        machine.reset_peak(device)
        config, known = record.read_config(folder, run), record.read_metrics(folder)
        if (folder / "diverged.json").exists():
            facts = {"status": "diverged"} | record.read_diverged(folder) | {"metrics": []}
            if agree(known, facts):
                return f"{run.id}: diverged, as noted"
        else:
            images = opened(run, protocol, data, folder, device, config["dataset"]["digest"])
            if known.get("generator_sha256") != images.sha256:
                known = {"metrics": []}
            if images.wanted() <= images.measured(known["metrics"]):
                _note(folder, known, protocol)
                return f"{run.id}: already evaluated with {protocol}"
            facts = _updated(known, images)
        return _write(folder, config, facts, device, began)


def _updated(known: dict, images: "Measured") -> dict:
    """metrics.json with all that the protocol asks for, and what other extractors have measured before."""
    protocol = images.protocol
    others = [entry for entry in known["metrics"] if entry["extractor"] != protocol.extractor]
    done = [other for other in known.get("evaluated", []) if other.split()[0] != protocol.extractor]
    return {"status": "done", "iteration": images.run.iterations, "generator_sha256": images.sha256,
            "evaluated": [*done, str(protocol)], "considered": sorted(METRICS),
            "metrics": [*others, *images.entries()]}  # fmt: skip


def agree(known: dict, facts: dict) -> bool:
    """Whether all the facts stand in a record."""
    return known.items() >= facts.items()


def _note(folder: Path, known: dict, protocol: Protocol) -> None:
    """Note in metrics.json that it has all that the protocol asks for, unless that stands there."""
    evaluated = dict.fromkeys([*known.get("evaluated", []), str(protocol)])
    noted = {"evaluated": [*evaluated], "considered": sorted(METRICS)}
    if not agree(known, noted):
        record.write_json(folder / "metrics.json", known | noted)


def _write(folder: Path, config: dict, facts: dict, device: torch.device, began: float) -> str:
    """Write metrics.json. Returns the scores of the last generator, or the run's status where it has none."""
    record.write_json(folder / "metrics.json", {
        "id": config["id"], "run": config["run"], **facts, "config": config, "provenance": machine.provenance(device),
        "seconds": {"train": trained_seconds(folder), "evaluate": round(time.monotonic() - began, 2)},
        "peak_bytes": {"train": trained_peak(folder), "evaluate": machine.peak_bytes(device)}})  # fmt: skip
    return f"{config['id']}: {shown(facts['metrics']) or facts['status']}"


def shown(entries: list[dict]) -> str:
    """The scores of the first draw of the last generator, in one line; "" for none."""
    last = [entry for entry in entries if entry["checkpoint"] == "last" and entry["eval_seed"] == 0]
    return ", ".join(f"{entry['name']} {entry['value']:.4g}" for entry in last)


# --- One pass ---------------------------------------------------------------------------------------------------------


def opened(run: Run, protocol: Protocol, data: Path, folder: Path, device: torch.device, digest: str) -> "Measured":
    """The images of a run. Raises InputError where the data set is not the one that it was trained on."""
    extractor = load_extractor(protocol.extractor, device, protocol.weights, data / "weights")
    dataset = data_of(run, digest, data)
    real = RealImages(dataset, trained_on(dataset, run.fraction, run.seed), extractor, data, device)
    if run.model == names.HELDOUT:
        return HeldOut(run, protocol, folder, real)
    return Generators(run, protocol, folder, real)


class Measured:
    """The images of a run that are measured, in as many draws as the protocol asks for.

    sha256       of the file or the images that they come from
    count        how many images a draw has
    has_heldout  whether there are held-out images to compare with
    kept         iteration -> file of the generators before the last
    """

    sha256: str
    count: int
    has_heldout: bool

    def __init__(self, run: Run, protocol: Protocol, folder: Path, real: RealImages):
        self.run, self.protocol, self.folder, self.real = run, protocol, folder, real
        self.kept: dict[int, Path] = {}

    def wanted(self) -> Entries:
        """The entries that the protocol asks for: every metric of the last generator and of the best, and the curve."""
        checkpoints = ["last"]
        if self.kept:
            checkpoints.append("best")
        every = product(self.real.names(self.has_heldout), checkpoints, range(self.protocol.eval_seeds))
        distance = printed("fd", self.real.extractor.name)
        return {*every, *((distance, str(iteration), 0) for iteration in self.kept)}

    def measured(self, known: list[dict]) -> Entries:
        """The known entries that were measured from as many images by the same extractor."""
        facts = {"n_generated": self.count, **self.real.extractor.facts}
        return {(entry["name"], entry["checkpoint"], entry["eval_seed"]) for entry in known if agree(entry, facts)}

    def full(self, features: Features, heldout: np.ndarray | None, **which) -> list[dict]:
        """The entries of metrics.json of every metric."""
        real = self.real
        pair = Comparison(real.full, features, real.train, heldout, real.device)
        entries = []
        for name, metric in real.metrics(heldout is not None).items():
            entry = real.entry(name, metric.measure(pair), self.count, len(real.train), **which)
            if metric.of_heldout:
                entry["n_heldout"] = len(heldout)
            entries.append(entry)
        return entries

    def facts(self, sha256: str, draw: int) -> dict:
        """What decides the features of a draw of images from something of this sha256."""
        return {"generator": sha256, "samples": self.protocol.samples, "draw": draw, **self.real.extractor.facts}

    def features(self, folder: Path, sha256: str, draw: int, make: Callable[[], Features]) -> Features:
        """The features of a draw, made once and stored in a folder."""
        file = folder / f"features-{self.real.extractor.name}-{draw}.npz"
        return Features(**stored(file, self.facts(sha256, draw), lambda: make()._asdict()))


class Generators(Measured):
    """The last generator of a run and those that it kept: all metrics of the last, the curve, all of the best."""

    def __init__(self, run: Run, protocol: Protocol, folder: Path, real: RealImages):
        super().__init__(run, protocol, folder, real)
        last = folder / "generator.safetensors"
        self.sha256 = generators.read(last, run).sha256
        self.count, self.has_heldout = protocol.samples, real.has_heldout
        self.kept = _kept(folder / "generators", run)
        self.files = self.kept | {run.iterations: last}

    def entries(self) -> list[dict]:
        """The last generator in every metric, the distances of those before it, and the best in every metric."""
        last = self._every_draw(self.run.iterations, "last")
        curve = [self._distance(iteration) for iteration in self.kept]
        if not curve:
            return last
        first = next(entry for entry in last if entry["name"] == curve[0]["name"])
        lowest = min([first, *curve], key=lambda entry: entry["value"])
        return [*last, *curve, *self._every_draw(lowest["iteration"], "best")]

    def _every_draw(self, iteration: int, checkpoint: str) -> list[dict]:
        """Every metric of every draw of a generator. The features stay beside the generator."""
        path, entries = self.files[iteration], []
        trained = generators.read(path, self.run)
        for draw in range(self.protocol.eval_seeds):
            features = self.features(path.parent, trained.sha256, draw, partial(self._features, trained, draw))
            entries += self.full(features, self.real.heldout, **self._which(trained, checkpoint, draw))
        return entries

    def _distance(self, iteration: int) -> dict:
        """The Frechet distance of the first draw of a generator. The distance alone is stored: features fill disks."""
        real, path = self.real, self.files[iteration]
        trained = generators.read(path, self.run)

        def make() -> dict[str, np.ndarray]:
            pair = Comparison(real.full, self._features(trained, 0), device=real.device)
            return {"fd": np.array(METRICS["fd"].measure(pair).value)}

        file = path.with_name(f"fd-{real.extractor.name}-{iteration}.npz")
        distance = stored(file, self.facts(trained.sha256, 0), make)["fd"].item()
        return real.entry("fd", Score(distance), self.count, len(real.train),
                          **self._which(trained, str(iteration), 0))  # fmt: skip

    def _which(self, trained: Trained, checkpoint: str, draw: int) -> dict:
        """What an entry says of the generator. Its weights are the average, "ema", or the trained ones, "raw"."""
        _, recipe = names.resolve(self.run)
        return {"weights": recipe.weights(trained.iteration), "checkpoint": checkpoint, "iteration": trained.iteration,
                "eval_seed": draw}

    def _features(self, trained: Trained, draw: int) -> Features:
        """The features of one draw of a generator's images."""
        real = self.real
        labels = labels_of(self.run, real.dataset, self.count, draw).to(real.device)
        G = generators.built(self.run, real.dataset.classes, trained.state).to(real.device)
        return real.extractor(generators.stream(G, draw, labels))


def _kept(folder: Path, run: Run) -> dict[int, Path]:
    """Iteration -> file of the generators kept before the last."""
    files = {int(path.stem): path for path in folder.glob("*.safetensors") if path.stem.isdecimal()}
    return {iteration: files[iteration] for iteration in sorted(files) if iteration < run.iterations}


# --- Held-out real images in the place of generated ones --------------------------------------------------------------


class HeldOut(Measured):
    """Real images that the run's generator would not have been trained on, scored as if generated.

    They are the test part, or the images that the fraction leaves out; these are among the reference too, so that their
    distance to it is a lower bound. Those that are not drawn stay the held-out images of the metrics that need some.
    """

    def __init__(self, run: Run, protocol: Protocol, folder: Path, real: RealImages):
        super().__init__(run, protocol, folder, real)
        self.images, which = _unseen(run, real.dataset)
        self.sha256 = hashlib.sha256(which.encode()).hexdigest()
        self.count = min(protocol.samples, len(self.images))
        self.has_heldout = len(self.images) - self.count >= MINIMUM

    def entries(self) -> list[dict]:
        """Every metric of every draw."""
        real, entries = self.real, []
        for draw in range(self.protocol.eval_seeds):
            order = np.random.default_rng(draw).permutation(len(self.images))
            drawn, left = np.sort(order[: self.count]), np.sort(order[self.count :])
            make = partial(real.extractor, batches(self.images, drawn))
            features = self.features(self.folder, self.sha256, draw, make)
            heldout = None
            if self.has_heldout:
                heldout = real.heldout[left]
            entries += self.full(features, heldout, weights="raw", checkpoint="last", iteration=0, eval_seed=draw)
        return entries


def _unseen(run: Run, dataset: Dataset) -> tuple[np.ndarray, str]:
    """The images that a run is not trained on, uint8 [H, 3, R, R], and words that tell which they are."""
    if dataset.heldout is not None:
        return dataset.heldout.images, f"test part {dataset.heldout.digest}"
    left = dataset.images[~trained_on(dataset, run.fraction, run.seed)]
    if len(left) < MINIMUM:
        raise InputError(f"run {run.id}: {run.dataset} has no test part, and fraction {run.fraction:g} leaves out "
                         f"{len(left)} images, but at least {MINIMUM} are needed: give a smaller fraction")
    return left, f"{dataset.digest} without fraction {run.fraction} of seed {run.seed}"


def open_heldout(run: Run, data: Path, folder: Path, device: torch.device) -> None:
    """Begin a run of held-out images: its config.json, as a training would write it, or a check of the one there is."""
    plain = Run(run.model, run.dataset, run.resolution, run.fraction, iterations=0, seed=run.seed)
    if run != plain:
        raise InputError(f"run {run.id}: held-out images are not trained, so it must be {plain.id}")
    dataset = load(run.dataset, run.resolution, data)
    _unseen(run, dataset)
    rows = rows_of(dataset, run.fraction, run.seed)
    with record.locked(folder):
        record.open_config(folder, run, {}, dataset, rows, device)
