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
from functools import cached_property
from itertools import product
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.datasets import Dataset, load, subset
from benchmarks.extractors import EXTRACTORS, Extractor
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
    if protocol.extractor not in EXTRACTORS:
        raise InputError(f"extractor {protocol.extractor!r}: not one of {', '.join(EXTRACTORS)}")
    folder = record.folder(results, run.id)
    if run.model == record.HELDOUT:
        open_heldout(run, data, folder, device)
    if not (folder / "config.json").exists():
        raise InputError(f"run {run.id}: not trained, no {folder}; first `python -m reproduce.run {run.id}`")
    with record.locked(folder):
        began = time.monotonic()
        record.reset_peak(device)
        config = record.read_config(folder, run)
        known = record.read_metrics(folder)
        if (folder / "diverged.json").exists():
            facts = {"status": "diverged"} | record.read_diverged(folder) | {"metrics": []}
            if agree(known, facts):
                return f"{run.id}: diverged, as noted"
            return _write(folder, config, facts, device, began)
        extractor = EXTRACTORS[protocol.extractor](device, protocol.weights, data / "weights")
        subject = Subject(run, protocol, extractor, data, folder, device, config)
        if run.model == record.HELDOUT:
            images = HeldOut(subject)
        else:
            images = Generators(subject)
        if known.get("generator_sha256") != images.sha256:
            known = {"metrics": []}
        if _wanted(subject, images) <= _measured(known["metrics"], subject, images):
            _note(folder, known, protocol)
            return f"{run.id}: already evaluated with {protocol}"
        others = [entry for entry in known["metrics"] if entry["extractor"] != protocol.extractor]
        done = [other for other in known.get("evaluated", []) if other.split()[0] != protocol.extractor]
        return _write(folder, config, {
            "status": "done", "iteration": run.iterations, "generator_sha256": images.sha256,
            "evaluated": [*done, str(protocol)], "considered": sorted(METRICS),
            "metrics": [*others, *images.entries()],
        }, device, began)  # fmt: skip


def agree(known: dict, facts: dict) -> bool:
    """Whether all the facts stand in a record."""
    for key, value in facts.items():
        if known.get(key) != value:
            return False
    return True


def _note(folder: Path, known: dict, protocol: Protocol) -> None:
    """Note in metrics.json that it has all that the protocol asks for, unless that stands there."""
    evaluated = known.get("evaluated", [])
    if str(protocol) not in evaluated:
        evaluated = [*evaluated, str(protocol)]
    noted = {"evaluated": evaluated, "considered": sorted(METRICS)}
    if not agree(known, noted):
        record.write_json(folder / "metrics.json", known | noted)


def _wanted(subject: "Subject", images: "Generators | HeldOut") -> Entries:
    """The entries that the protocol asks for."""
    extractor = subject.extractor.name
    names = [printed(name, extractor) for name in possible_metrics(subject.extractor, images.has_heldout)]
    checkpoints = ["last"]
    if images.kept:
        checkpoints.append("best")
    wanted = set(product(names, checkpoints, range(subject.protocol.eval_seeds)))
    for iteration in images.kept:
        wanted.add((printed("fd", extractor), str(iteration), 0))
    return wanted


def _measured(known: list[dict], subject: "Subject", images: "Generators | HeldOut") -> Entries:
    """The known entries that were measured from as many images by the same extractor."""
    facts = {"n_generated": images.count, **_facts(subject.extractor)}
    measured = set()
    for entry in known:
        if agree(entry, facts):
            measured.add((entry["name"], entry["checkpoint"], entry["eval_seed"]))
    return measured


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
    shown = []
    for entry in facts["metrics"]:
        if entry["checkpoint"] == "last" and entry["eval_seed"] == 0:
            shown.append(f"{entry['name']} {entry['value']:.4g}")
    return f"{config['id']}: {', '.join(shown) or facts['status']}"


# --- One pass ---------------------------------------------------------------------------------------------------------


@dataclass
class Subject:
    """Data set, extractor and features of real images of one evaluation.

    Raises InputError where the data set is not the one that the run was trained on.
    """

    run: Run
    protocol: Protocol
    extractor: Extractor
    data: Path
    folder: Path
    device: torch.device
    config: dict

    def __post_init__(self):
        run = self.run
        self.dataset = load(run.dataset, run.resolution, self.data)
        if self.dataset.digest != self.config["dataset"]["digest"]:
            raise InputError(f"dataset {run.dataset!r} under {self.data}: not the one that run {run.id} was trained on")
        self.indices = subset(len(self.dataset.images), run.fraction, run.seed)
        self.train = np.isin(np.arange(len(self.dataset.images)), self.indices)

    @cached_property
    def real(self) -> Reference:
        return reference(self.dataset, self.extractor, self.data, self.device)

    @property
    def has_heldout(self) -> bool:
        """Whether there are images that the run was not trained on: a test part, or what its fraction leaves out."""
        return self.dataset.heldout is not None or (~self.train).sum() >= MINIMUM

    @cached_property
    def heldout(self) -> np.ndarray | None:
        """The features of these images [H, D]."""
        if self.dataset.heldout is not None:
            return reference(self.dataset.heldout, self.extractor, self.data, self.device).features
        if self.has_heldout:
            return self.real.features[~self.train]
        return None

    def facts(self, sha256: str, draw: int) -> dict:
        return {"generator": sha256, "samples": self.protocol.samples, "draw": draw, **_facts(self.extractor)}

    def full(self, features: Features, heldout: np.ndarray | None, **which) -> list[dict]:
        """The entries of metrics.json of every metric."""
        pair = Comparison(self.real, features, self.train, heldout, self.device)
        entries = []
        for name, metric in possible_metrics(self.extractor, heldout is not None).items():
            facts = dict(which)
            if metric.of_heldout:
                facts = {"n_heldout": len(heldout), **which}
            entries.append(self.entry(name, metric.measure(pair), len(features.features), **facts))
        return entries

    def entry(self, name: str, score: Score, generated: int, **which) -> dict:
        return {"name": printed(name, self.extractor.name), "value": score.value, "sd": score.sd,
                "better": METRICS[name].better, "n_generated": generated, "n_reference": len(self.train),
                **_facts(self.extractor), **which}  # fmt: skip


def possible_metrics(extractor: Extractor, has_heldout: bool) -> dict[str, Metric]:
    """The metrics that an extractor can give, with held-out images or without."""
    possible = {}
    for name, metric in METRICS.items():
        if (extractor.classes or not metric.of_classes) and (has_heldout or not metric.of_heldout):
            possible[name] = metric
    return possible


def _facts(extractor: Extractor) -> dict:
    return {"extractor": extractor.name, "extractor_sha256": extractor.sha256, "resize": extractor.resize}


class Generators:
    """The last generator of a run and those that it kept: all metrics of the last, the curve, all of the best.

    sha256  of the last generator's file
    count   how many images are generated
    kept    iteration -> file of the generators before the last
    has_heldout  whether there are held-out images to compare with
    """

    def __init__(self, subject: Subject):
        self.subject, self.count, self.has_heldout = subject, subject.protocol.samples, subject.has_heldout
        run, folder = subject.run, subject.folder
        last = record.read_generator(folder / "generator.safetensors", run)
        self.sha256 = last.sha256
        self.kept = _kept(folder / "generators", run, subject.protocol)
        self.files = self.kept | {run.iterations: folder / "generator.safetensors"}
        self.lowest: tuple[float, int, Features | None] = (math.inf, -1, None)  # distance, iteration, features

    def entries(self) -> list[dict]:
        """The last generator in every metric, the distances of those before it, and the best in every metric."""
        last = self._every_draw(self.subject.run.iterations, "last")
        curve = [self._distance(iteration) for iteration in self.kept]
        if not curve:
            return last
        first = next(entry for entry in last if entry["name"] == curve[0]["name"])
        lowest = min([first, *curve], key=lambda entry: entry["value"])
        return [*last, *curve, *self._every_draw(lowest["iteration"], "best")]

    def _every_draw(self, iteration: int, checkpoint: str) -> list[dict]:
        entries = []
        for draw in range(self.subject.protocol.eval_seeds):
            entries += self._full(iteration, draw, checkpoint)
        return entries

    def _full(self, iteration: int, draw: int, checkpoint: str) -> list[dict]:
        """Every metric of one draw of a generator. The features stay beside the generator."""
        subject, path = self.subject, self.files[iteration]
        trained = record.read_generator(path, subject.run)
        file = path.with_name(f"features-{subject.extractor.name}-{draw}.npz")
        facts = subject.facts(trained.sha256, draw)
        features = Features(**stored(file, facts, lambda: self._features(trained, draw)._asdict()))
        return subject.full(features, subject.heldout, weights=self._weights(trained), checkpoint=checkpoint,
                            iteration=trained.iteration, eval_seed=draw)

    def _distance(self, iteration: int) -> dict:
        """The Frechet distance of the first draw of a generator. The distance alone is stored: features fill disks."""
        subject, path = self.subject, self.files[iteration]
        trained = record.read_generator(path, subject.run)

        def make() -> dict[str, np.ndarray]:
            features = self._features(trained, 0)
            value = METRICS["fd"].measure(Comparison(subject.real, features, device=subject.device)).value
            self.lowest = min(self.lowest, (value, iteration, features), key=lambda known: known[0])
            return {"fd": np.array(value)}

        file = path.with_name(f"fd-{subject.extractor.name}-{iteration}.npz")
        found = stored(file, subject.facts(trained.sha256, 0), make)
        return subject.entry("fd", Score(found["fd"].item()), self.count, weights=self._weights(trained),
                             checkpoint=str(iteration), iteration=iteration, eval_seed=0)

    def _features(self, trained: record.Trained, draw: int) -> Features:
        """The features of one draw of a generator's images. Their labels are as frequent as among training images."""
        _, iteration, features = self.lowest
        if (trained.iteration, draw) == (iteration, 0):
            return features  # the best generator of the curve is not drawn from again
        subject, dataset = self.subject, self.subject.dataset
        labels = np.random.default_rng(draw).choice(dataset.labels[subject.indices], self.count)
        G = generator(subject.run, dataset.classes, trained.state).to(subject.device)
        return subject.extractor(stream(G, draw, torch.from_numpy(labels).to(subject.device)))

    def _weights(self, trained: record.Trained) -> str:
        """What was measured: the average of the generator's weights, "ema", or the generator itself, "raw"."""
        _, recipe = record.resolve(self.subject.run)
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


class HeldOut:
    """Real images that the run's generator would not have been trained on, scored as if generated.

    They are the test part, or the images that the fraction leaves out; these are among the reference too, so that their
    distance to it is a lower bound. Those that are not drawn stay the held-out images of the metrics that need some.

    sha256  of the images that are drawn from
    count   how many images are drawn
    kept    no generators
    has_heldout  whether enough of them are left to compare with
    """

    def __init__(self, subject: Subject):
        self.subject, self.kept = subject, {}
        self.images, which = _unseen(subject.run, subject.dataset)
        self.sha256 = hashlib.sha256(f"{which}".encode()).hexdigest()
        self.count = min(subject.protocol.samples, len(self.images))
        self.has_heldout = len(self.images) - self.count >= MINIMUM

    def entries(self) -> list[dict]:
        entries = []
        for draw in range(self.subject.protocol.eval_seeds):
            entries += self._full(draw)
        return entries

    def _full(self, draw: int) -> list[dict]:
        subject = self.subject
        order = np.random.default_rng(draw).permutation(len(self.images))
        drawn, left = np.sort(order[: self.count]), np.sort(order[self.count :])
        file = subject.folder / f"features-{subject.extractor.name}-{draw}.npz"
        facts = subject.facts(self.sha256, draw)
        features = Features(**stored(file, facts, lambda: subject.extractor(_batches(self.images, drawn))._asdict()))
        heldout = None
        if self.has_heldout:
            heldout = subject.heldout[left]
        return subject.full(features, heldout, weights="raw", checkpoint="last", iteration=0, eval_seed=draw)


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
    facts = {"dataset": dataset.digest, "indices": f"all {len(dataset.images)}", **_facts(extractor)}
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
