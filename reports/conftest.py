"""Synthetic results for the tests of the reports: records with known numbers, always under a temporary folder."""

import json
import random
from dataclasses import asdict, replace

import pytest
from PIL import Image

from benchmarks.runs import Run
from benchmarks.tables import TABLES

PROVENANCE = {"commit": "0123456789abcdef", "dirty": False, "versions": {"python": "3.11", "torch": "2.9"},
              "device": "test device"}


def entry(name: str, value: float, **changes) -> dict:
    """One metric of a record, as evaluation writes it."""
    extractor = name.partition("_")[2] or "inception"
    better = "higher" if name.startswith(("is", "precision", "recall", "density", "coverage")) else "lower"
    return {"name": name, "value": value, "sd": None, "better": better, "n_generated": 5000, "n_reference": 50,
            "extractor": extractor, "extractor_sha256": f"{extractor}-sha", "resize": "clean", "weights": "ema",
            "checkpoint": "last", "seed": 0} | changes


def record(run: Run, metrics: list[dict], status: str = "done") -> dict:
    config = {"run": asdict(run), "id": run.id, "recipe": {}, "provenance": PROVENANCE,
              "dataset": {"name": run.dataset, "digest": f"digest-of-{run.dataset}", "count": 50, "classes": 0,
                          "resolution": run.resolution}, "subset": {"count": 50, "sha256": "0"}}
    return {"id": run.id, "run": asdict(run), "status": status, "iteration": run.iterations, "metrics": metrics,
            "config": config, "provenance": PROVENANCE, "seconds": {"train": 100.0, "evaluate": 1.0}}


class Writer:
    """Writes synthetic run folders under one temporary results folder."""

    def __init__(self, folder):
        self.folder = folder

    def write(self, run: Run, metrics: list[dict], **changes) -> None:
        folder = self.folder / run.id
        folder.mkdir(parents=True, exist_ok=True)
        data = record(run, metrics) | changes
        (folder / "config.json").write_text(json.dumps(data["config"]))
        (folder / "metrics.json").write_text(json.dumps(data))

    def log(self, run: Run, lines: int = 100) -> None:
        """Curves with a known shape: n_F = 1, the gap is 1 / fraction for a baseline and 0.1 for a regularized run."""
        gap = 0.1 if run.regularizers else 1 / run.fraction
        path = self.folder / run.id / "log.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps({
            "iteration": run.iterations * k // lines, "kimg": 1.0, "loss_d": 1 / k, "loss_g": 1.0, "n_R": 1 + gap,
            "n_F": 1.0, "gap": gap, "penalty": {}, "seconds": float(k)}) + "\n" for k in range(1, lines + 1)))

    def samples(self, run: Run, side: int = 128) -> None:
        path = self.folder / run.id / "samples.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.effect_noise((side, side), 90).convert("RGB").save(path)

    def full(self, table: str, seeds: int = 3, lines: int = 100) -> None:
        """Every cell of a table: the published value + seed - 1, so that ours equals the published one in the mean."""
        for cell in TABLES[table].cells:
            for seed in range(seeds):
                run = replace(cell.run, seed=seed)
                published = cell.published or stand_ins(run)
                self.write(run, [entry(name, value + seed - 1) for name, value in published.items()])
                self.log(run, lines)
                self.samples(run)


def stand_ins(run: Run) -> dict[str, float]:
    """Scores of a table without published ones."""
    distance = 200.0 if run.iterations == 0 else 40 + 10 / run.fraction - 5 * len(run.regularizers)
    return {"fd_effnet": distance, "is_effnet": 3 + random.Random(run.id).random()}


@pytest.fixture
def writer(tmp_path) -> Writer:
    return Writer(tmp_path / "results")
