"""Train one run (`python -m reproduce.run RUN_ID`). The same again resumes it, or leaves it if it is finished.

All randomness is keyed on (seed, step) and the checkpoint holds the whole state, so that a run that was killed and
resumed ends with the same bits as one that was not.
"""

import copy
import math
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from tqdm import tqdm

from baselines.recipe import Recipe
from benchmarks.datasets import load
from benchmarks.runs import Run, TryLaterError
from reproduce import checkpoint, generators, names, parallel, record
from reproduce.cell import STOP
from reproduce.features import rows_of
from reproduce.feed import Feed
from reproduce.graphs import CudaRecorder
from reproduce.log import Log
from reproduce.pieces import Pieces, require_groups
from reproduce.settings import Settings
from reproduce.trainer import Trainer, key

SAMPLES = 64  # images of a sheet
LOGGED = ("loss_d", "loss_g", "n_R", "n_F")


def train(run: Run, settings: Settings, device: torch.device, recorder: Callable = CudaRecorder) -> str:
    """Train a run to its end; its folder then holds generator.safetensors, or diverged.json. Returns one line on it.

    Of the settings it takes `data` and `results`; `eval_every`, whose generators it keeps for evaluation as
    generators/ITERATION.safetensors; `micro_batch`; and `graphs`, which `recorder()` records.

    Under torchrun every process calls this, and they share the work. Raises InputError for a run that cannot be
    started; nothing is written then.
    """
    if run.model == names.HELDOUT:
        return f"{run.id}: real images, so there is nothing to train"
    names.require_method(run)
    _, recipe = names.resolve(run)
    require_groups(run.batch, recipe.group, parallel.processes())
    feed = images_of(run, recipe, settings.data, device)
    folder = settings.results / run.id
    with opened(folder, run, recipe, feed, device):
        for end in ("generator.safetensors", "diverged.json"):
            if (folder / end).exists():
                return f"{run.id}: already finished ({end})"
        trainer = Trainer(run, feed.dataset.classes, feed.labels, device, Pieces(settings.micro_batch, recipe.group))
        if settings.graphs:
            trainer.record_graphs(recorder())
        return iterate(trainer, feed, folder, settings.eval_every)


def images_of(run: Run, recipe: Recipe, data: Path, device: torch.device) -> Feed:
    """The batches of a run's images. Raises InputError where they are too few to be measured."""
    with parallel.first():
        dataset = load(run.dataset, run.resolution, data)
    rows = rows_of(dataset, run.fraction, run.seed)
    return Feed(dataset, rows, run.batch, run.seed, device, flip=recipe.flip and dataset.flip)


@contextmanager
def opened(folder: Path, run: Run, recipe: Recipe, feed: Feed, device: torch.device) -> Iterator[None]:
    """Hold a run's folder, in which the config is written or checked and a failure will be noted."""
    with ExitStack() as held:
        with parallel.first():
            held.enter_context(record.locked(folder))
            held.enter_context(record.failures_noted(folder))
            record.open_config(folder, run, asdict(recipe), feed.dataset, feed.indices, device)
        yield


def iterate(trainer: Trainer, feed: Feed, folder: Path, eval_every: int | None) -> str:
    """Train from the last checkpoint, or the beginning, to the end. Returns one line on it."""
    # 1. The state
    run = trainer.run
    start, seconds = checkpoint.load(folder, trainer.parts)
    trainer.bind_optimizers()
    parallel.any_of(False)  # nobody writes before all have read
    log = Log(folder / "log.jsonl", start)
    log_every = max(1, min(100, run.iterations // 50))
    began = time.monotonic() - seconds
    saver = Saver(trainer, folder, began)

    # 2. Iterations
    for step in tqdm(range(start, run.iterations), run.id, run.iterations, initial=start, mininterval=1):
        done = step + 1
        logging = done % log_every == 0 or done == run.iterations
        values = trainer.iteration(step, feed, logging)

        # Log, check, save: the only place that waits for the device
        if logging:
            line = log_line(done, trainer, values)
            log.write(**line, seconds=round(time.monotonic() - began, 3))
            if not all(math.isfinite(line[name]) for name in LOGGED):
                record.write_json(folder / "diverged.json", {"iteration": done})
                return f"{run.id}: diverged at iteration {done}"
        if eval_every and done % eval_every == 0:  # before any checkpoint of this iteration, which would pass over it
            generators.write(folder / "generators" / f"{done}.safetensors", snapshot(trainer), run, done)
        if parallel.any_of(STOP.is_set()):
            saver.save(done)
            raise TryLaterError(f"run {run.id}: told to stop; saved at iteration {done}, the same command goes on")
        if done % (10 * log_every) == 0:
            saver.save_if_cheap(done)

    # 3. The result: the averaged generator, ready for evaluation
    saver.save(run.iterations)
    generator = snapshot(trainer)
    save_samples(folder, generator, trainer)
    generators.write(folder / "generator.safetensors", generator, run, run.iterations)
    return f"{run.id}: trained {run.iterations} iterations in {time.monotonic() - began:.0f} s"


class Saver:
    """Saves a training that began at a time of the monotonic clock, and takes at most a twentieth of its time."""

    def __init__(self, trainer: Trainer, folder: Path, began: float):
        self.trainer, self.folder, self.began = trainer, folder, began
        self.saved, self.cost = 0.0, 0.0  # when it was saved last, and the seconds that took

    def save(self, done: int) -> None:
        seconds = time.monotonic() - self.began
        checkpoint.save(self.folder, self.trainer.parts, done, seconds, self.trainer.device)

    def save_if_cheap(self, done: int) -> None:
        """Save, and draw samples, unless what that took last is more than a twentieth of the time since then."""
        now = time.monotonic()
        if now - self.saved > 20 * self.cost:
            self.save(done)
            save_samples(self.folder, snapshot(self.trainer), self.trainer)
            self.saved, self.cost = now, time.monotonic() - now


def log_line(done: int, trainer: Trainer, values: dict[str, Tensor]) -> dict:
    """A line of the log after `done` iterations; the terms of regularizers are in it with their weights."""
    numbers = {name: value.item() for name, value in values.items()}
    line = {"iteration": done, "kimg": done * trainer.recipe.d_steps * trainer.run.batch / 1000}
    for name in LOGGED:
        line[name] = numbers.pop(name)
    return line | {"gap": line["n_R"] - line["n_F"], "penalty": numbers}


@torch.no_grad()
def snapshot(trainer: Trainer) -> nn.Module:
    """The averaged generator in evaluation mode, with standing statistics in its batch norms.

    Batch statistics do not average along with weights: they are taken anew over 64 batches (Brock et al. 2019,
    appendix on standing statistics), so that an image does not depend on the others of its batch.
    """
    G, run, labels = copy.deepcopy(trainer.average), trainer.run, trainer.labels
    norms = [module for module in G.modules() if isinstance(module, _BatchNorm)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over the batches that follow
    if norms:
        torch.manual_seed(key(run.seed))
        for _ in range(64):
            y = labels[torch.randint(len(labels), (run.batch,), device=labels.device)]
            G.train()(torch.randn(run.batch, G.latent, device=labels.device), y)
    return G.eval()


def save_samples(folder: Path, G: nn.Module, trainer: Trainer) -> None:
    """samples.png: a grid of images at latents and labels that stay the same over training."""
    y = generators.in_turn(trainer.labels.unique(), SAMPLES)
    images = generators.generate(G, trainer.run.seed, y)
    record.write_bytes(folder / "samples.png", generators.grid(images))
