"""Measure one trained run: `python -m reproduce.evaluate RUN_ID`. Reads generator.pt, writes metrics.json beside it.

One pass of generated images through a frozen network gives the features that all metrics are worked out from. Features
are stored with a note of what they were made from: those of the real images under DATA/features, once for all runs,
those of the generated ones in the run's folder. The same command again does nothing.
"""

import argparse
import fcntl
import hashlib
import io
import json
import os
import pickle
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.datasets import Dataset, load, subset
from benchmarks.extractors import EXTRACTORS, Extractor
from benchmarks.metrics import METRICS, MINIMUM, Comparison, Features, neighbours
from benchmarks.tables import InputError, Run, command
from reproduce import record

BATCH = 32  # images generated at a time
LITERATURE = {("fd", "inception"): "fid", ("kid", "inception"): "kid", ("is", "inception"): "is"}


@dataclass(frozen=True)
class Protocol:
    """How a run is measured: through which network, on how many samples, in how many independent draws of them."""

    extractor: str
    samples: int = 5000
    draws: int = 1
    weights: Path | None = None

    def __post_init__(self):
        if self.extractor not in EXTRACTORS:
            raise InputError(f"extractor {self.extractor!r}: not one of {', '.join(EXTRACTORS)}")
        if self.samples < MINIMUM or self.draws < 1:
            raise InputError(f"samples {self.samples}, seeds {self.draws}: must be at least {MINIMUM} and 1")


def evaluate(run: Run, protocol: Protocol, data: Path, results: Path, device: torch.device) -> str:
    """Bring a run's metrics.json up to date. Returns what happened, one line.

    Raises InputError for a run that is not trained, a data set that has changed since, missing or wrong weights.
    """
    folder = record.folder(results, run.id)
    if not (folder / "config.json").exists():
        raise InputError(f"run {run.id}: not trained, no {folder}; first `python -m reproduce.train {run.id}`")
    with record.locked(folder):
        began = time.monotonic()
        if (folder / "diverged.json").exists():
            facts = {"status": "diverged"} | record.read_json(folder / "diverged.json") | {"metrics": []}
            return _write(folder, facts, device, began)
        saved, digest = _read_generator(folder / "generator.pt", run)
        known = _known_metrics(folder, digest)
        if _complete(known, protocol):
            return f"{run.id}: already evaluated with {protocol.extractor}"
        kept = [metric for metric in known if metric["extractor"] != protocol.extractor]
        new = _measure(run, protocol, saved["state"], digest, data, folder, device)
        facts = {"status": "done", "iteration": saved["iteration"], "generator_sha256": digest, "metrics": kept + new}
        return _write(folder, facts, device, began)


def _read_generator(path: Path, run: Run) -> tuple[dict, str]:
    """What training left in generator.pt, and the file's sha256."""
    if not path.exists():
        raise InputError(f"run {run.id}: training has not finished, no {path}; `python -m reproduce.train {run.id}`")
    content = path.read_bytes()
    try:
        saved = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise InputError(f"{path}: damaged; remove it and `python -m reproduce.train {run.id}` again") from error
    return saved, hashlib.sha256(content).hexdigest()


def _known_metrics(folder: Path, digest: str) -> list[dict]:
    """The entries of metrics.json, if they are of this generator."""
    path = folder / "metrics.json"
    known = record.read_json(path) if path.exists() else {}
    return known["metrics"] if known.get("generator_sha256") == digest else []


def _complete(known: list[dict], protocol: Protocol) -> bool:
    wanted = {(printed(name, protocol.extractor), protocol.samples, draw)
              for name in METRICS for draw in range(protocol.draws)}
    return wanted <= {(metric["name"], metric["n_generated"], metric["seed"]) for metric in known}


def printed(metric: str, extractor: str) -> str:
    """The name under which a score is shown: that of the literature, or one that carries the extractor's."""
    return LITERATURE.get((metric, extractor), f"{metric}_{extractor}")


def _write(folder: Path, facts: dict, device: torch.device, began: float) -> str:
    config = record.read_json(folder / "config.json")
    log = (folder / "log.jsonl").read_text(encoding="utf-8").splitlines() if (folder / "log.jsonl").exists() else []
    seconds = {"train": json.loads(log[-1])["seconds"] if log else 0.0, "evaluate": round(time.monotonic() - began, 2)}
    record.write_json(folder / "metrics.json", {"id": config["id"], "run": config["run"], **facts, "config": config,
                                                "provenance": record.provenance(device), "seconds": seconds})
    shown = [f"{metric['name']} {metric['value']:.4g}" for metric in facts["metrics"] if metric["seed"] == 0]
    return f"{config['id']}: {', '.join(shown) or facts['status']}"


# --- One pass ---------------------------------------------------------------------------------------------------------


def _measure(run: Run, protocol: Protocol, state: dict, digest: str, data: Path, folder: Path,
             device: torch.device) -> list[dict]:
    """Every metric of every draw, as entries of metrics.json."""
    dataset = load(run.dataset, run.resolution, data)
    if dataset.digest != record.read_json(folder / "config.json")["dataset"]["digest"]:
        raise InputError(f"dataset {run.dataset!r} under {data}: not the one that run {run.id} was trained on")
    extractor = EXTRACTORS[protocol.extractor](device, protocol.weights, data / "weights")
    indices = subset(len(dataset.images), run.fraction, run.seed)
    G = _generator(run, dataset, state).to(device)
    real = reference(dataset, extractor, data)
    train = np.isin(np.arange(len(dataset.images)), indices)
    entries = []
    for draw in range(protocol.draws):
        labels = np.random.default_rng(draw).choice(dataset.labels[indices], protocol.samples)
        generated = stored(
            folder / f"features-{extractor.name}-{draw}.npz",
            {"generator": digest, "samples": protocol.samples, "draw": draw, **_facts(extractor)},
            lambda labels=labels, draw=draw: extractor(stream(G, draw, torch.from_numpy(labels).to(device)))._asdict())
        pair = Comparison(real["features"], Features(**generated), train, real["nearest"])
        entries += _entries(pair, extractor, draw)
    return entries


def _entries(pair: Comparison, extractor: Extractor, draw: int) -> list[dict]:
    entries = []
    for name, metric in METRICS.items():
        value, sd = metric.measure(pair)
        entries.append({
            "name": printed(name, extractor.name), "value": value, "sd": sd, "better": metric.better,
            "n_generated": len(pair.generated), "n_reference": len(pair.real), **_facts(extractor),
            "weights": "ema", "checkpoint": "last", "seed": draw,
        })  # fmt: skip
    return entries


def _facts(extractor: Extractor) -> dict:
    return {"extractor": extractor.name, "extractor_sha256": extractor.sha256, "resize": extractor.resize}


def _generator(run: Run, dataset: Dataset, state: dict) -> nn.Module:
    model, recipe = record.resolve(run)
    G = model.Generator(run.resolution, dataset.classes if recipe.conditional else 0, **recipe.generator)
    G.load_state_dict(state)
    return G.eval()


@torch.inference_mode()
def stream(G: nn.Module, seed: int, labels: Tensor) -> Iterator[Tensor]:
    """Images of a generator in evaluation mode, one for each label [n]: batches of uint8 [<= BATCH, 3, R, R].

    Latents are N(0, 1), keyed on the seed alone and drawn on the CPU, so that they are the same on every device.
    """
    z = torch.randn(len(labels), G.latent, generator=torch.Generator().manual_seed(seed))
    for part, y in zip(z.split(BATCH), labels.split(BATCH), strict=True):
        x = G(part.to(labels.device), y)
        yield x.add(1).mul(127.5).round().clamp(0, 255).byte()


def generate(G: nn.Module, n: int, seed: int, labels: Tensor) -> Tensor:
    """n images as uint8 [n, 3, R, R], on the device of the labels [n]. The generator should be in evaluation mode."""
    return torch.cat(list(stream(G, seed, labels[:n])))


# --- Stored features --------------------------------------------------------------------------------------------------


def reference(dataset: Dataset, extractor: Extractor, data: Path) -> dict[str, np.ndarray]:
    """Features [N, D] of a whole data set and their neighbours(), stored under DATA/features for all runs.

    float32, since float16 was measured to move KID by 1e-3 and density by 6e-4 (digits, effnet).
    """
    facts = {"dataset": dataset.digest, "indices": f"all {len(dataset.images)}", **_facts(extractor)}
    name = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]

    def make() -> dict[str, np.ndarray]:
        batches = (dataset.images[i : i + BATCH] for i in range(0, len(dataset.images), BATCH))
        features = extractor(torch.from_numpy(np.array(batch)) for batch in batches).features
        return {"features": features, "nearest": neighbours(torch.from_numpy(features)).numpy()}

    return stored(data / "features" / f"{dataset.name}-{extractor.name}-{name}.npz", facts, make)


def stored(path: Path, facts: dict, make: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The arrays in a file, if it was made from these facts and is whole; else made, and stored there.

    Of several processes that ask at once, one makes them and the others wait for it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run_id", help="as listed by `python -m benchmarks.tables TABLE`")
    parser.add_argument("--extractor", default="inception", help=f"one of {', '.join(EXTRACTORS)}")
    parser.add_argument("--samples", type=int, default=5000, help="generated images")
    parser.add_argument("--seeds", type=int, default=1, help="independent draws of them")
    parser.add_argument("--inception", type=Path, default=os.environ.get("INCEPTION") or None,
                        help="weights file of Inception, instead of a download")
    record.add_options(parser)
    args = parser.parse_args()
    record.keep_memory()
    protocol = Protocol(args.extractor, args.samples, args.seeds, args.inception)
    print(evaluate(Run.from_id(args.run_id), protocol, args.data, args.results, record.device(args.device)))


if __name__ == "__main__":
    command(main)
