"""Synthetic results for the tests of the reports: records with known numbers, always under a temporary folder."""

import json
import random
from dataclasses import asdict, replace

import pytest
from PIL import Image

from benchmarks.runs import Run
from benchmarks.tables import TABLES
from reports.data.views import score_names

PROVENANCE = {"commit": "0123456789abcdef", "dirty": False, "versions": {"python": "3.11", "torch": "2.9"},
              "device": "test device", "threads": 1, "processes": 1}  # fmt: skip
HIGHER = ("is", "precision", "recall", "density", "coverage")


def entry(name: str, value: float, **changes) -> dict:
    """One metric of a record, as evaluation writes it."""
    family, _, extractor = name.partition("_")
    return {"name": name, "value": value, "sd": None, "better": "higher" if family in HIGHER else "lower",
            "n_generated": 5000, "n_reference": 50, "extractor": extractor or "inception",
            "extractor_sha256": "0" * 64, "resize": "clean", "weights": "ema", "checkpoint": "last",
            "iteration": None, "eval_seed": 0} | changes  # fmt: skip


def record(run: Run, metrics: list[dict]) -> dict:
    config = {"run": asdict(run), "id": run.id, "dataset": {"name": run.dataset, "digest": run.dataset, "count": 50}}
    return {"id": run.id, "run": asdict(run), "status": "done", "iteration": run.iterations, "metrics": metrics,
            "config": config, "provenance": PROVENANCE, "seconds": {"train": 100.0, "evaluate": 1.0},
            "peak_bytes": {"train": None, "evaluate": 1}}  # fmt: skip


def averages(run: Run) -> bool:
    """Whether a run's recipe averages the generator's weights: published WGAN and DCGAN do not."""
    return run.iterations > 0 and (run.model in ("biggan", "stylegan2") or "ema_decay" in run.override)


class Writer:
    """Writes synthetic run folders under one temporary results folder."""

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir()

    def write(self, run: Run, metrics: list[dict], /, **changes) -> None:
        folder = self.folder / run.id
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "metrics.json").write_text(json.dumps(record(run, metrics) | changes))

    def log(self, run: Run, gap: float, lines: int = 20) -> None:
        """Curves of a known shape: n_F = 1, and the same gap throughout."""
        path = self.folder / run.id / "log.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        text = ""
        for k in range(1, lines + 1):
            line = {"iteration": run.iterations * k // lines, "kimg": 1.0, "loss_d": 1.0, "loss_g": 1.0,
                    "n_R": 1 + gap, "n_F": 1.0, "gap": gap, "penalty": {}, "seconds": float(k)}  # fmt: skip
            text += json.dumps(line) + "\n"
        path.write_text(text)

    def samples(self, run: Run, side: int = 64) -> None:
        path = self.folder / run.id / "samples.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.effect_noise((side, side), 90).convert("RGB").save(path)

    def external(self, name: str, dataset: str, resolution: int, fraction: float, seed: int, metrics: list) -> None:
        """A record of images that other code made."""
        run_id = f"external-{name}-{dataset}-{resolution}-f{fraction}-s{seed}"
        run = {"name": name, "dataset": dataset, "resolution": resolution, "fraction": fraction, "seed": seed}
        data = {"id": run_id, "run": run, "status": "external", "metrics": metrics, "images_sha256": "0",
                "dataset": {"name": dataset, "count": 50, "digest": dataset}, "provenance": PROVENANCE,
                "seconds": {"evaluate": 1.0}}  # fmt: skip
        (self.folder / run_id).mkdir()
        (self.folder / run_id / "metrics.json").write_text(json.dumps(data))

    def table(self, name: str, seeds: int = 3, effect: float = 0.9, spread: float = 0.02, **changes) -> None:
        """Every cell of a table. Baselines get worse as data shrink; any method multiplies the distance by `effect`."""
        protocol = TABLES[name].protocol
        distance, inception = score_names(protocol.extractor)
        noise = random.Random(0)
        for cell in TABLES[name].cells:
            for seed in range(seeds):
                run = replace(cell.run, seed=seed)
                value = 40 + 10 / run.fraction
                value *= effect if run.regularizers or run.augment else 1
                value = 200.0 if run.iterations == 0 else value * noise.lognormvariate(0, spread)
                half = run.iterations // 2
                curve = [entry(distance, value * 1.5, checkpoint=str(half), iteration=half)]
                scores = [entry(distance, value, iteration=run.iterations), entry(inception, 100 / value)]
                for score in scores + curve:
                    score["n_generated"] = protocol.samples
                    score["weights"] = "ema" if averages(run) else "raw"
                self.write(run, scores + curve if run.iterations else scores, **changes)
                if run.iterations:
                    gap = 0.1 / run.fraction * noise.lognormvariate(0, spread)
                    self.log(run, gap / 2 if "gradgap" in run.regularizers else gap)
                self.samples(run)


@pytest.fixture
def writer(tmp_path) -> Writer:
    return Writer(tmp_path / "results")
