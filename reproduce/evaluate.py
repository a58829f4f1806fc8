"""Measure one trained run (`python -m reproduce.run RUN_ID`). Reads generator.safetensors, writes metrics.json.

One pass of generated images through a frozen network gives the features that all metrics are worked out from. Features
are stored with a note of what they were made from: those of the real images under DATA/features, once for all runs,
those of the generated ones in the run's folder. The same command again does nothing.

Generators that training kept on the way (EVAL_EVERY) get their Frechet distance, and the best of them all metrics.
"""

import fcntl
import hashlib
import io
import json
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.datasets import Dataset, load, subset
from benchmarks.extractors import EXTRACTORS, Extractor
from benchmarks.metrics import METRICS, Comparison, Features, Metric, Score, neighbours
from benchmarks.runs import InputError, Protocol, Run
from reproduce import record

BATCH = 32  # images generated at a time
LITERATURE = {("fd", "inception"): "fid", ("kid", "inception"): "kid", ("is", "inception"): "is"}


def evaluate(run: Run, protocol: Protocol, data: Path, results: Path, device: torch.device) -> str:
    """Bring a run's metrics.json up to date. Returns what happened, one line.

    Raises InputError for a run that is not trained, a data set that has changed since, missing or wrong weights.
    """
    if protocol.extractor not in EXTRACTORS:
        raise InputError(f"extractor {protocol.extractor!r}: not one of {', '.join(EXTRACTORS)}")
    folder = record.folder(results, run.id)
    if not (folder / "config.json").exists():
        raise InputError(f"run {run.id}: not trained, no {folder}; first `python -m reproduce.run {run.id}`")
    with record.locked(folder):
        began = time.monotonic()
        known = record.read_json(folder / "metrics.json") if (folder / "metrics.json").exists() else {}
        if (folder / "diverged.json").exists():
            facts = {"status": "diverged"} | record.read_json(folder / "diverged.json") | {"metrics": []}
            same = all(known.get(key) == value for key, value in facts.items())
            return f"{run.id}: diverged, as noted" if same else _write(folder, facts, device, began)
        last = record.read_generator(folder / "generator.safetensors", run)
        kept = _kept(folder / "generators", run, protocol)
        extractor = EXTRACTORS[protocol.extractor](device, protocol.weights, data / "weights")
        known = known if known.get("generator_sha256") == last.sha256 else {"metrics": []}
        done = known.get("evaluated", [])
        if _wanted(protocol, extractor, kept) <= _found(known["metrics"], protocol, extractor):
            if str(protocol) not in done:
                record.write_json(folder / "metrics.json", known | {"evaluated": [*done, str(protocol)]})
            return f"{run.id}: already evaluated with {protocol}"
        others = [metric for metric in known["metrics"] if metric["extractor"] != protocol.extractor]
        new = _measure(Subject(run, protocol, extractor, data, folder, device), kept)
        done = [other for other in done if other.split()[0] != protocol.extractor]
        return _write(folder, {"status": "done", "iteration": last.iteration, "generator_sha256": last.sha256,
                               "evaluated": [*done, str(protocol)], "metrics": others + new}, device, began)


def _kept(folder: Path, run: Run, protocol: Protocol) -> dict[int, Path]:
    """Iteration -> file of the generators kept before the last. Raises InputError where the protocol lacks one."""
    kept = {int(path.stem): path for path in folder.glob("*.safetensors") if int(path.stem) < run.iterations}
    for iteration in range(protocol.eval_every, run.iterations, protocol.eval_every) if protocol.eval_every else ():
        if iteration not in kept:
            raise InputError(f"run {run.id}: no {folder / str(iteration)}.safetensors, it was not trained with "
                             f"EVAL_EVERY={protocol.eval_every}; remove {folder.parent} to train it anew")
    return dict(sorted(kept.items()))


def _wanted(protocol: Protocol, extractor: Extractor, kept: dict[int, Path]) -> set[tuple[str, str, int]]:
    """Name, checkpoint and draw of every entry that the protocol asks for."""
    names = [printed(name, extractor.name) for name in metrics(extractor)]
    full = product(names, ["last", "best"] if kept else ["last"], range(protocol.eval_seeds))
    return {*full, *((printed("fd", extractor.name), str(iteration), 0) for iteration in kept)}


def _found(known: list[dict], protocol: Protocol, extractor: Extractor) -> set[tuple[str, str, int]]:
    """The same of the entries that were measured in this way."""
    facts = {"n_generated": protocol.samples, **_facts(extractor)}
    return {(metric["name"], metric["checkpoint"], metric["seed"]) for metric in known
            if all(metric[key] == value for key, value in facts.items())}


def metrics(extractor: Extractor) -> dict[str, Metric]:
    """The metrics that an extractor can give."""
    return {name: metric for name, metric in METRICS.items() if extractor.classes or not metric.of_classes}


def printed(metric: str, extractor: str) -> str:
    """The name under which a score is shown: that of the literature, or one that carries the extractor's."""
    return LITERATURE.get((metric, extractor), f"{metric}_{extractor}")


def _write(folder: Path, facts: dict, device: torch.device, began: float) -> str:
    config = record.read_json(folder / "config.json")
    log = (folder / "log.jsonl").read_text(encoding="utf-8").splitlines() if (folder / "log.jsonl").exists() else []
    seconds = {"train": json.loads(log[-1])["seconds"] if log else 0.0, "evaluate": round(time.monotonic() - began, 2)}
    record.write_json(folder / "metrics.json", {"id": config["id"], "run": config["run"], **facts, "config": config,
                                                "provenance": record.provenance(device), "seconds": seconds})
    shown = [f"{metric['name']} {metric['value']:.4g}" for metric in facts["metrics"]
             if (metric["checkpoint"], metric["seed"]) == ("last", 0)]
    return f"{config['id']}: {', '.join(shown) or facts['status']}"


# --- One pass ---------------------------------------------------------------------------------------------------------


@dataclass
class Subject:
    """What the generators of a run share when they are measured. Raises InputError where the data set is another."""

    run: Run
    protocol: Protocol
    extractor: Extractor
    data: Path
    folder: Path
    device: torch.device

    def __post_init__(self):
        run = self.run
        self.dataset = load(run.dataset, run.resolution, self.data)
        if self.dataset.digest != record.read_json(self.folder / "config.json")["dataset"]["digest"]:
            raise InputError(f"dataset {run.dataset!r} under {self.data}: not the one that run {run.id} was trained on")
        self.indices = subset(len(self.dataset.images), run.fraction, run.seed)
        self.train = np.isin(np.arange(len(self.dataset.images)), self.indices)
        self.real = reference(self.dataset, self.extractor, self.data, self.device)

    def facts(self, digest: str, draw: int) -> dict:
        return {"generator": digest, "samples": self.protocol.samples, "draw": draw, **_facts(self.extractor)}

    def features(self, trained: record.Trained, draw: int) -> Features:
        """Of one draw of a generator's images."""
        labels = np.random.default_rng(draw).choice(self.dataset.labels[self.indices], self.protocol.samples)
        G = generator(self.run, self.dataset.classes, trained.state).to(self.device)
        return self.extractor(stream(G, draw, torch.from_numpy(labels).to(self.device)))

    def comparison(self, features: Features) -> Comparison:
        return Comparison(self.real["features"], features, self.train, self.real["nearest"], self.device)

    def entry(self, name: str, score: Score, **which) -> dict:
        return {"name": printed(name, self.extractor.name), "value": score.value, "sd": score.sd,
                "better": METRICS[name].better, "n_generated": self.protocol.samples,
                "n_reference": len(self.train), **_facts(self.extractor), "weights": "ema", **which}  # fmt: skip


def _measure(subject: Subject, kept: dict[int, Path]) -> list[dict]:
    """The entries of metrics.json: all of the last generator, the Frechet distance of those kept, all of the best."""
    generators = kept | {subject.run.iterations: subject.folder / "generator.safetensors"}
    last = [entry for draw in range(subject.protocol.eval_seeds)
            for entry in _full(subject, generators[subject.run.iterations], draw, checkpoint="last")]
    curve = [_distance(subject, path, iteration) for iteration, path in kept.items()]
    if not kept:
        return last
    first = next(entry for entry in last if entry["name"] == curve[0]["name"])
    best = min([first, *curve], key=lambda entry: entry["value"])["iteration"]
    return [*last, *curve, *(entry for draw in range(subject.protocol.eval_seeds)
                             for entry in _full(subject, generators[best], draw, checkpoint="best"))]


def _full(subject: Subject, path: Path, draw: int, checkpoint: str) -> list[dict]:
    """Every metric of one draw of a generator. The features stay beside the generator."""
    trained = record.read_generator(path, subject.run)
    pair = subject.comparison(Features(**stored(
        path.with_name(f"features-{subject.extractor.name}-{draw}.npz"), subject.facts(trained.sha256, draw),
        lambda: subject.features(trained, draw)._asdict())))  # fmt: skip
    return [subject.entry(name, metric.measure(pair), checkpoint=checkpoint, iteration=trained.iteration, seed=draw)
            for name, metric in metrics(subject.extractor).items()]


def _distance(subject: Subject, path: Path, iteration: int) -> dict:
    """The Frechet distance of the first draw of a generator. The distance alone is stored: features fill disks."""
    trained = record.read_generator(path, subject.run)

    def make() -> dict[str, np.ndarray]:
        pair = subject.comparison(subject.features(trained, 0))
        return {"fd": np.array(METRICS["fd"].measure(pair).value)}

    file = path.with_name(f"fd-{subject.extractor.name}-{iteration}.npz")
    found = stored(file, subject.facts(trained.sha256, 0), make)
    return subject.entry("fd", Score(found["fd"].item()), checkpoint=str(iteration), iteration=iteration, seed=0)


def _facts(extractor: Extractor) -> dict:
    return {"extractor": extractor.name, "extractor_sha256": extractor.sha256, "resize": extractor.resize}


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
    return model.Generator(run.resolution, classes if recipe.conditional else 0, **recipe.generator)


def require_fit(run: Run, G: nn.Module, state: dict[str, Tensor]) -> None:
    """Raises InputError where weights are not those of a network, by name, type and shape."""
    there, wanted = ({name: f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
                      for name, tensor in tensors.items()} for tensors in (state, G.state_dict()))
    wrong = sorted(name for name in {*wanted, *there} if wanted.get(name) != there.get(name))
    if wrong:
        name = wrong[0]
        raise InputError(f"run {run.id}: {len(wrong)} weights do not fit; {name!r} is {there.get(name, 'missing')}, "
                         f"the network's is {wanted.get(name, 'none')}")


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


def reference(dataset: Dataset, extractor: Extractor, data: Path, device: torch.device) -> dict[str, np.ndarray]:
    """Features [N, D] of a whole data set and their neighbours(), stored under DATA/features for all runs.

    float32, since float16 was measured to move KID by 1e-3 and density by 6e-4 (digits, effnet).
    """
    facts = {"dataset": dataset.digest, "indices": f"all {len(dataset.images)}", **_facts(extractor)}
    name = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]

    def make() -> dict[str, np.ndarray]:
        batches = (dataset.images[i : i + BATCH] for i in range(0, len(dataset.images), BATCH))
        features = extractor(torch.from_numpy(np.array(batch)) for batch in batches).features
        return {"features": features, "nearest": neighbours(torch.from_numpy(features).to(device)).cpu().numpy()}

    return stored(data / "features" / f"{dataset.name}-{extractor.name}-{name}.npz", facts, make)


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
    """What is in the file; nothing if it is missing or damaged (each array in it has a checksum)."""
    try:
        with np.load(path) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        return {}
