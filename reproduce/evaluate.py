"""Measure one run: `python -m reproduce.run RUN_ID`. Reads generator.safetensors, writes metrics.json.

One pass of images through a frozen network gives the features that all metrics are worked out from. Features are
stored with a note of what they were made from: those of real images under DATA/features, once for all runs, those of
generated ones in the run's folder. The same command again does nothing, or measures the metrics that are new.

Generators that training kept on the way (EVAL_EVERY) get their Frechet distance, and the best of them all metrics. A
run whose model is "heldout" has no generator: real images that it would not be trained on are scored in that place.
"""

import fcntl
import hashlib
import io
import json
import math
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import product
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.datasets import Dataset, load, subset
from benchmarks.extractors import Extractor, load_extractor
from benchmarks.metrics import METRICS, Comparison, Features, Metric, Reference, Score
from benchmarks.runs import MINIMUM, InputError, Protocol, Run
from reproduce import record

BATCH = 32  # images generated at a time
LITERATURE = {("fd", "inception"): "fid", ("kid", "inception"): "kid", ("mind", "inception"): "mind",
              ("is", "inception"): "is"}  # fmt: skip
Entries = set[tuple[str, str, int]]  # name, checkpoint and draw of entries of metrics.json


def evaluate(run: Run, protocol: Protocol, data: Path, results: Path, device: torch.device) -> str:
    """Bring a run's metrics.json up to date. Returns what happened, one line.

    Raises InputError for a run that is not trained, a data set that has changed since, missing or wrong weights.
    """
    folder = record.folder(results, run.id)
    if run.model == record.HELDOUT:
        open_heldout(run, data, folder, device)
    if not (folder / "config.json").exists():
        raise InputError(f"run {run.id}: not trained, no {folder}; first `python -m reproduce.run {run.id}`")
    with record.locked(folder):
        began = time.monotonic()
        record.reset_peak(device)
        config, known = record.read_config(folder, run), record.read_metrics(folder)
        if (folder / "diverged.json").exists():
            facts = {"status": "diverged"} | record.read_diverged(folder) | {"metrics": []}
            if agree(known, facts):
                return f"{run.id}: diverged, as noted"
        else:
            extractor = load_extractor(protocol.extractor, device, protocol.weights, data / "weights")
            images = opened(run, protocol, extractor, data, folder, device, config)
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
    evaluated = known.get("evaluated", [])
    if str(protocol) not in evaluated:
        evaluated = [*evaluated, str(protocol)]
    noted = {"evaluated": evaluated, "considered": sorted(METRICS)}
    if not agree(known, noted):
        record.write_json(folder / "metrics.json", known | noted)


def printed(metric: str, extractor: str) -> str:
    """The name under which a score is shown: that of the literature, or one that carries the extractor's."""
    return LITERATURE.get((metric, extractor), f"{metric}_{extractor}")


def _write(folder: Path, config: dict, facts: dict, device: torch.device, began: float) -> str:
    """Write metrics.json. Returns the scores of the last generator, or the run's status where it has none."""
    seconds = {"train": record.trained_seconds(folder), "evaluate": round(time.monotonic() - began, 2)}
    peak = {"train": record.trained_peak(folder), "evaluate": record.peak_bytes(device)}
    record.write_json(folder / "metrics.json", {
        "id": config["id"], "run": config["run"], **facts, "config": config, "provenance": record.provenance(device),
        "seconds": seconds, "peak_bytes": peak})  # fmt: skip
    return shown(config["id"], facts["metrics"]) or f"{config['id']}: {facts['status']}"


def shown(name: str, entries: list[dict]) -> str:
    """The scores of the first draw of the last generator, in one line; "" for none."""
    scores = []
    for entry in entries:
        if entry["checkpoint"] == "last" and entry["eval_seed"] == 0:
            scores.append(f"{entry['name']} {entry['value']:.4g}")
    if not scores:
        return ""
    return f"{name}: {', '.join(scores)}"


# --- What generated images are compared with --------------------------------------------------------------------------


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
        """The features of these images [H, D]."""
        if self.tested is not None:
            return self.tested.features
        if self.has_heldout:
            return self.full.features[~self.train]
        return None

    def metrics(self, has_heldout: bool) -> dict[str, Metric]:
        """The metrics that the extractor can give, with held-out images or without."""
        possible = {}
        for name, metric in METRICS.items():
            if (self.extractor.classes or not metric.of_classes) and (has_heldout or not metric.of_heldout):
                possible[name] = metric
        return possible

    def entry(self, name: str, score: Score, n_generated: int, n_reference: int, **which) -> dict:
        """An entry of metrics.json."""
        return {"name": printed(name, self.extractor.name), "value": score.value, "sd": score.sd,
                "better": METRICS[name].better, "n_generated": n_generated, "n_reference": n_reference,
                **self.extractor.facts, **which}  # fmt: skip


# --- One pass ---------------------------------------------------------------------------------------------------------


def opened(run: Run, protocol: Protocol, extractor: Extractor, data: Path, folder: Path, device: torch.device,
           config: dict) -> "Measured":
    """The images of a run. Raises InputError where the data set is not the one that it was trained on."""
    dataset = load(run.dataset, run.resolution, data)
    if dataset.digest != config["dataset"]["digest"]:
        raise InputError(f"dataset {run.dataset!r} under {data}: not the one that run {run.id} was trained on")
    indices = subset(len(dataset.images), run.fraction, run.seed)
    train = np.isin(np.arange(len(dataset.images)), indices)
    kind = Generators
    if run.model == record.HELDOUT:
        kind = HeldOut
    return kind(run, protocol, folder, RealImages(dataset, train, extractor, data, device))


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
        """The entries that the protocol asks for."""
        extractor = self.real.extractor.name
        names = [printed(name, extractor) for name in self.real.metrics(self.has_heldout)]
        checkpoints = ["last"]
        if self.kept:
            checkpoints.append("best")
        wanted = set(product(names, checkpoints, range(self.protocol.eval_seeds)))
        for iteration in self.kept:
            wanted.add((printed("fd", extractor), str(iteration), 0))
        return wanted

    def measured(self, known: list[dict]) -> Entries:
        """The known entries that were measured from as many images by the same extractor."""
        facts = {"n_generated": self.count, **self.real.extractor.facts}
        measured = set()
        for entry in known:
            if agree(entry, facts):
                measured.add((entry["name"], entry["checkpoint"], entry["eval_seed"]))
        return measured

    def full(self, features: Features, heldout: np.ndarray | None, **which) -> list[dict]:
        """The entries of metrics.json of every metric."""
        real = self.real
        pair = Comparison(real.full, features, real.train, heldout, real.device)
        entries = []
        for name, metric in real.metrics(heldout is not None).items():
            facts = dict(which)
            if metric.of_heldout:
                facts = {"n_heldout": len(heldout), **which}
            entries.append(real.entry(name, metric.measure(pair), self.count, len(real.train), **facts))
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
        self.sha256 = record.read_generator(last, run).sha256
        self.count, self.has_heldout = protocol.samples, real.has_heldout
        self.kept = _kept(folder / "generators", run, protocol)
        self.files = self.kept | {run.iterations: last}
        self.lowest: tuple[float, int, Features | None] = (math.inf, -1, None)  # distance, iteration, features

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
        trained = record.read_generator(path, self.run)
        for draw in range(self.protocol.eval_seeds):
            features = self.features(path.parent, trained.sha256, draw, partial(self._features, trained, draw))
            entries += self.full(features, self.real.heldout, weights=self._weights(trained), checkpoint=checkpoint,
                                 iteration=trained.iteration, eval_seed=draw)
        return entries

    def _distance(self, iteration: int) -> dict:
        """The Frechet distance of the first draw of a generator. The distance alone is stored: features fill disks."""
        real, path = self.real, self.files[iteration]
        trained = record.read_generator(path, self.run)

        def make() -> dict[str, np.ndarray]:
            features = self._features(trained, 0)
            value = METRICS["fd"].measure(Comparison(real.full, features, device=real.device)).value
            self.lowest = min(self.lowest, (value, iteration, features), key=lambda known: known[0])
            return {"fd": np.array(value)}

        file = path.with_name(f"fd-{real.extractor.name}-{iteration}.npz")
        distance = stored(file, self.facts(trained.sha256, 0), make)["fd"].item()
        return real.entry("fd", Score(distance), self.count, len(real.train), weights=self._weights(trained),
                          checkpoint=str(iteration), iteration=iteration, eval_seed=0)

    def _features(self, trained: record.Trained, draw: int) -> Features:
        """The features of one draw of a generator's images. Their labels are as frequent as among training images."""
        _, iteration, features = self.lowest
        if (trained.iteration, draw) == (iteration, 0):
            return features  # the best generator of the curve is not drawn from again
        real, dataset = self.real, self.real.dataset
        indices = subset(len(dataset.images), self.run.fraction, self.run.seed)
        labels = np.random.default_rng(draw).choice(dataset.labels[indices], self.count)
        G = generator(self.run, dataset.classes, trained.state).to(real.device)
        return real.extractor(stream(G, draw, torch.from_numpy(labels).to(real.device)))

    def _weights(self, trained: record.Trained) -> str:
        """What was measured: the average of the generator's weights, "ema", or the generator itself, "raw"."""
        _, recipe = record.resolve(self.run)
        return recipe.weights(trained.iteration)


def _kept(folder: Path, run: Run, protocol: Protocol) -> dict[int, Path]:
    """Iteration -> file of the generators kept before the last. Raises InputError where the protocol lacks one."""
    kept = {}
    for path in folder.glob("*.safetensors"):
        if path.stem.isdecimal() and int(path.stem) < run.iterations:
            kept[int(path.stem)] = path
    due = []
    if protocol.eval_every:
        due = range(protocol.eval_every, run.iterations, protocol.eval_every)
    for iteration in due:
        if iteration not in kept:
            raise InputError(f"run {run.id}: no {folder / str(iteration)}.safetensors, it was not trained with "
                             f"EVAL_EVERY={protocol.eval_every}; remove {folder.parent} to train it anew")
    return dict(sorted(kept.items()))


# --- Held-out real images in the place of generated ones --------------------------------------------------------------


class HeldOut(Measured):
    """Real images that the run's generator would not have been trained on, scored as if generated.

    They are the test part, or the images that the fraction leaves out; these are among the reference too, so that their
    distance to it is a lower bound. Those that are not drawn stay the held-out images of the metrics that need some.
    """

    def __init__(self, run: Run, protocol: Protocol, folder: Path, real: RealImages):
        super().__init__(run, protocol, folder, real)
        self.images, which = _unseen(run, real.dataset)
        self.sha256 = hashlib.sha256(f"{which}".encode()).hexdigest()
        self.count = min(protocol.samples, len(self.images))
        self.has_heldout = len(self.images) - self.count >= MINIMUM

    def entries(self) -> list[dict]:
        """Every metric of every draw."""
        extractor, entries = self.real.extractor, []
        for draw in range(self.protocol.eval_seeds):
            order = np.random.default_rng(draw).permutation(len(self.images))
            drawn, left = np.sort(order[: self.count]), np.sort(order[self.count :])
            features = self.features(self.folder, self.sha256, draw,
                                     partial(extractor, _batches(self.images, drawn)))
            heldout = None
            if self.has_heldout:
                heldout = self.real.heldout[left]
            entries += self.full(features, heldout, weights="raw", checkpoint="last", iteration=0,
                                 eval_seed=draw)
        return entries


def _unseen(run: Run, dataset: Dataset) -> tuple[np.ndarray, str]:
    """The images that a run is not trained on, uint8 [H, 3, R, R], and words that tell which they are."""
    if dataset.heldout is not None:
        return dataset.heldout.images, f"test part {dataset.heldout.digest}"
    left = np.ones(len(dataset.images), bool)
    left[subset(len(dataset.images), run.fraction, run.seed)] = False
    if left.sum() < MINIMUM:
        raise InputError(f"run {run.id}: {run.dataset} has no test part, and fraction {run.fraction:g} leaves out "
                         f"{left.sum()} images, but at least {MINIMUM} are needed: give a smaller fraction")
    return dataset.images[left], f"{dataset.digest} without fraction {run.fraction} of seed {run.seed}"


def open_heldout(run: Run, data: Path, folder: Path, device: torch.device) -> None:
    """Begin a run of held-out images: its config.json, as a training would write it, or a check of the one there is."""
    plain = Run(run.model, run.dataset, run.resolution, run.fraction, iterations=0, seed=run.seed)
    if run != plain:
        raise InputError(f"run {run.id}: held-out images are not trained, so it must be {plain.id}")
    dataset = load(run.dataset, run.resolution, data)
    _unseen(run, dataset)
    indices = subset(len(dataset.images), run.fraction, run.seed)
    with record.locked(folder):
        record.open_config(folder, run, None, dataset, indices, device)


def _batches(images: np.ndarray, indices: np.ndarray) -> Iterator[Tensor]:
    """Images of an array, uint8 [<= BATCH, 3, R, R] at a time."""
    for start in range(0, len(indices), BATCH):
        yield torch.from_numpy(images[indices[start : start + BATCH]])


# --- A generator and its images ---------------------------------------------------------------------------------------


def generator(run: Run, classes: int, state: dict[str, Tensor]) -> nn.Module:
    """A run's generator with these weights, in evaluation mode. Raises InputError where they are another network's."""
    G = untrained(run, classes)
    require_fit(run, G, state)
    G.load_state_dict(state)
    return G.eval()


def untrained(run: Run, classes: int) -> nn.Module:
    """A run's generator on a data set of so many classes, 0 for none."""
    model, recipe = record.resolve(run)
    if not recipe.conditional:
        classes = 0
    return model.Generator(run.resolution, classes, **recipe.generator)


def require_fit(run: Run, G: nn.Module, state: dict[str, Tensor]) -> None:
    """Raises InputError where weights are not those of a network, by name, type and shape."""
    there, wanted = _shapes(state), _shapes(G.state_dict())
    wrong = sorted(name for name in {*wanted, *there} if wanted.get(name) != there.get(name))
    if wrong:
        name = wrong[0]
        raise InputError(f"run {run.id}: {len(wrong)} weights do not fit; {name!r} is {there.get(name, 'missing')}, "
                         f"the network's is {wanted.get(name, 'none')}")


def _shapes(state: dict[str, Tensor]) -> dict[str, str]:
    """Type and shape of each tensor in words: "float32 [64, 3, 3, 3]"."""
    shapes = {}
    for name, tensor in state.items():
        kind = str(tensor.dtype).removeprefix("torch.")
        shapes[name] = f"{kind} {list(tensor.shape)}"
    return shapes


@torch.inference_mode()
def stream(G: nn.Module, seed: int, labels: Tensor) -> Iterator[Tensor]:
    """Images of a generator in evaluation mode, one for each label [n]: batches of uint8 [<= BATCH, 3, R, R].

    Latents are N(0, 1), keyed on the seed alone and drawn on the CPU, so that they are the same on every device. What a
    generator draws by itself, as the noise of StyleGAN2, follows from the seed too.
    """
    torch.manual_seed(seed)
    z = torch.randn(len(labels), G.latent)
    for part, y in zip(z.split(BATCH), labels.split(BATCH), strict=True):
        x = G(part.to(labels.device), y)
        yield x.add(1).mul(127.5).round().clamp(0, 255).byte()


def generate(G: nn.Module, n: int, seed: int, labels: Tensor) -> Tensor:
    """n images as uint8 [n, 3, R, R], on the device of the labels [n]. The generator should be in evaluation mode."""
    return torch.cat(list(stream(G, seed, labels[:n])))


# --- Stored features --------------------------------------------------------------------------------------------------


def reference(dataset: Dataset, extractor: Extractor, data: Path, device: torch.device) -> Reference:
    """The images of a whole data set as metrics need them, stored under DATA/features for all runs.

    float32, since float16 was measured to move KID by 1e-3 and density by 6e-4 (digits, effnet).
    """
    facts = {"dataset": dataset.digest, "indices": f"all {len(dataset.images)}", **extractor.facts}
    name = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]

    def make() -> dict[str, np.ndarray]:
        features = extractor(_batches(dataset.images, np.arange(len(dataset.images)))).features
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
            buffer = io.BytesIO()
            np.savez(buffer, facts=json.dumps(facts), **arrays)
            record.write_bytes(path, buffer.getbuffer())
    return arrays


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays in a file; none if it is missing or damaged (each array in it has a checksum)."""
    try:
        with np.load(path) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        return {}
