"""Train one run (`python -m reproduce.run RUN_ID`). The same again resumes it, or leaves it if it is finished.

All randomness is keyed on (seed, step) and the checkpoint holds the whole state, so that a run that was killed and
resumed ends with the same bits as one that was not.
"""

import copy
import math
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from tqdm import tqdm

from baselines.recipe import Recipe
from benchmarks.datasets import load, subset
from benchmarks.runs import MINIMUM, InputError, Run, TryLaterError
from reproduce import parallel, record
from reproduce.cell import STOP
from reproduce.evaluate import generate
from reproduce.feed import Feed
from reproduce.graphs import CudaRecorder
from reproduce.pieces import Pieces, require_groups
from reproduce.release import grid
from reproduce.settings import Settings
from reproduce.trainer import Trainer, key

LOGGED = ("loss_d", "loss_g", "n_R", "n_F")


def train(run: Run, settings: Settings, device: torch.device, recorder: Callable = CudaRecorder) -> str:
    """Train a run to its end; its folder then holds generator.safetensors, or diverged.json. Returns one line on it.

    Of the settings it takes `data` and `results`; `eval_every`, whose generators it keeps for evaluation as
    generators/ITERATION.safetensors; `micro_batch`; and `graphs`, which `recorder()` records.

    Under torchrun every process calls this, and they share the work. Raises InputError for a run that cannot be
    started; nothing is written then.
    """
    if run.model == record.HELDOUT:
        return f"{run.id}: real images, so there is nothing to train"
    # 1. What is asked for, checked before anything is written
    record.require_method(run)
    _, recipe = record.resolve(run)
    require_groups(run.batch, recipe.group, parallel.processes())
    feed = images_of(run, recipe, settings.data, device)
    folder = record.folder(settings.results, run.id)
    with ExitStack() as held:
        with parallel.first():
            held.enter_context(record.locked(folder))
            held.enter_context(record.failures_noted(folder))
            record.open_config(folder, run, recipe, feed.dataset, feed.indices, device)
        for end in ("generator.safetensors", "diverged.json"):
            if (folder / end).exists():
                return f"{run.id}: already finished ({end})"

        # 2. Everything with state, drawn from the seed or taken from the last checkpoint
        pieces = Pieces(settings.micro_batch, recipe.group)
        trainer = Trainer(run, feed.dataset.classes, feed.labels, device, pieces)
        start, seconds = record.load_checkpoint(folder, trainer.parts)
        trainer.after_loading()
        parallel.any_of(False)  # nobody writes before all have read
        if settings.graphs:
            trainer.record_graphs(recorder())
        log = record.Log(folder / "log.jsonl", start)
        log_every = max(1, min(100, run.iterations // 50))
        save_every = 10 * log_every
        began = time.monotonic() - seconds
        saved, cost = 0.0, 0.0  # when it was saved last, and the seconds that took: at most a twentieth of the time

        # 3. Iterations
        for step in tqdm(range(start, run.iterations), run.id, run.iterations, initial=start, mininterval=1):
            done = step + 1
            logging = done % log_every == 0 or done == run.iterations
            values = trainer.iteration(step, feed, logging)

            # Log, check, save: the only place that waits for the device
            if logging:
                line = log_line(done, recipe, run, values)
                log.write(**line, seconds=round(time.monotonic() - began, 3))
                if not all(math.isfinite(line[name]) for name in LOGGED):
                    record.write_json(folder / "diverged.json", {"iteration": done})
                    return f"{run.id}: diverged at iteration {done}"
            if parallel.any_of(STOP.is_set()):
                record.save_checkpoint(folder, trainer.parts, done, time.monotonic() - began)
                raise TryLaterError(f"run {run.id}: told to stop; saved at iteration {done}, the same command goes on")
            if done % save_every == 0 and time.monotonic() - saved > 20 * cost:
                saved = time.monotonic()
                record.save_checkpoint(folder, trainer.parts, done, time.monotonic() - began)
                save_samples(folder, snapshot(trainer), trainer)
                cost = time.monotonic() - saved
            if settings.eval_every and done % settings.eval_every == 0:
                path = folder / "generators" / f"{done}.safetensors"
                record.write_generator(path, snapshot(trainer), run, done)

        # 4. The result: the averaged generator, ready for evaluation
        record.save_checkpoint(folder, trainer.parts, run.iterations, time.monotonic() - began)
        generator = snapshot(trainer)
        save_samples(folder, generator, trainer)
        record.write_generator(folder / "generator.safetensors", generator, run, run.iterations)
        return f"{run.id}: trained {run.iterations} iterations in {time.monotonic() - began:.0f} s"


def images_of(run: Run, recipe: Recipe, data: Path, device: torch.device) -> Feed:
    """The batches of a run's images. Raises InputError where they are too few to be measured."""
    with parallel.first():
        dataset = load(run.dataset, run.resolution, data)
    indices = subset(len(dataset.images), run.fraction, run.seed)
    if len(indices) < MINIMUM:
        raise InputError(f"fraction {run.fraction:g}: {len(indices)} of {len(dataset.images)} images, and metrics need "
                         f"at least {MINIMUM}")
    return Feed(dataset, indices, run.batch, run.seed, device, flip=recipe.flip and dataset.flip)


def log_line(done: int, recipe: Recipe, run: Run, values: dict[str, Tensor]) -> dict:
    """A line of the log after `done` iterations; the terms of regularizers are in it with their weights."""
    numbers = {name: value.item() for name, value in values.items()}
    line = {"iteration": done, "kimg": done * recipe.d_steps * run.batch / 1000}
    for name in LOGGED:
        line[name] = numbers.pop(name)
    return line | {"gap": line["n_R"] - line["n_F"], "penalty": numbers}


@torch.no_grad()
def snapshot(trainer: Trainer, batches: int = 64) -> nn.Module:
    """The averaged generator in evaluation mode, with standing statistics in its batch norms.

    Batch statistics do not average along with weights: they are taken anew over `batches` batches (Brock et al. 2019,
    appendix on standing statistics), so that an image does not depend on the others of its batch.
    """
    G, run, labels = copy.deepcopy(trainer.average), trainer.run, trainer.labels
    norms = [module for module in G.modules() if isinstance(module, _BatchNorm)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over the batches that follow
    if norms:
        torch.manual_seed(key(run.seed))
        for _ in range(batches):
            y = labels[torch.randint(len(labels), (run.batch,), device=labels.device)]
            G.train()(torch.randn(run.batch, G.latent, device=labels.device), y)
    return G.eval()


def save_samples(folder: Path, G: nn.Module, trainer: Trainer, side: int = 8) -> None:
    """samples.png: a grid of images at latents and labels that stay the same over training."""
    present = trainer.labels.unique()
    y = present[torch.arange(side * side, device=present.device) % len(present)]
    record.write_bytes(folder / "samples.png", grid(generate(G, side * side, trainer.run.seed, y).cpu()))
