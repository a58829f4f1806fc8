"""Train one run: `python -m reproduce.train RUN_ID`. The same command again resumes it, or leaves it if it is finished.

All randomness is keyed on (seed, step) and the checkpoint holds the whole state, so that a run that was killed and
resumed ends with the same bits as one that was not.
"""

import argparse
import copy
import io
import math
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from baselines.augment import AUGMENTATIONS
from baselines.losses import LOSSES
from baselines.recipe import Recipe
from baselines.regularizers import REGULARIZERS, score
from benchmarks.datasets import load, subset
from benchmarks.tables import InputError, Run, TryLaterError, command
from reproduce import compare, record
from reproduce.cell import STOP, stop_on_signals
from reproduce.evaluate import generate
from reproduce.feed import Feed


def train(run: Run, data: Path, results: Path, device: torch.device, keep_every: int | None = None) -> str:
    """Train a run to its end; its folder then holds generator.pt, or diverged.json. Returns what happened, one line.

    The averaged generator of every keep_every-th iteration is kept as generators/ITERATION.pt, for evaluation.
    Raises InputError for a run that cannot be started; nothing is written then.
    """
    # 1. What is asked for, checked before anything is written
    record.require_method(run)
    model, recipe = record.resolve(run)
    dataset = load(run.dataset, run.resolution, data)
    indices = subset(len(dataset.images), run.fraction, run.seed)
    feed = Feed(dataset, indices, run.batch, run.seed, device, flip=recipe.flip and dataset.flip)
    folder = record.folder(results, run.id)
    with record.locked(folder), record.failures_noted(folder):
        record.open_config(folder, run, recipe, dataset, indices, device)
        for end in ("generator.pt", "diverged.json"):
            if (folder / end).exists():
                return f"{run.id}: already finished ({end})"

        # 2. The networks and everything else with state, drawn from the seed or taken from the last checkpoint
        torch.manual_seed(key(run.seed))
        classes = dataset.classes if recipe.conditional else 0
        G = model.Generator(run.resolution, classes, **recipe.generator).to(device)
        D = model.Discriminator(run.resolution, classes, **recipe.discriminator).to(device)
        if recipe.channels_last:
            G, D = (network.to(memory_format=torch.channels_last) for network in (G, D))
        ema = AveragedModel(G, use_buffers=True)
        opt_g = torch.optim.Adam(G.parameters(), recipe.lr_g, recipe.betas, recipe.eps, fused=True)
        opt_d = torch.optim.Adam(D.parameters(), recipe.lr_d, recipe.betas, recipe.eps, fused=True)
        loss = LOSSES[recipe.loss]
        weights = {**recipe.regularizers, **run.regularizers}
        regularizers = nn.ModuleDict({name: REGULARIZERS[name]() for name in weights}).to(device)
        of_d, of_g = ({name: r for name, r in regularizers.items() if r.of == network} for network in "DG")
        augment = AUGMENTATIONS[run.augment]().to(device)
        parts = {"G": G, "D": D, "ema": ema, "opt_g": opt_g, "opt_d": opt_d, "regularizers": regularizers,
                 "augment": augment}
        start, seconds = record.load_checkpoint(folder, parts)
        log = record.Log(folder / "log.jsonl", start)
        log_every = max(1, min(100, run.iterations // 50))
        save_every, began = 10 * log_every, time.monotonic() - seconds

        def draw(y: Tensor) -> Tensor:
            return G(torch.randn(len(y), G.latent, device=device), y)

        for step in tqdm(range(start, run.iterations), run.id, run.iterations, initial=start, mininterval=1):
            torch.manual_seed(key(run.seed, step))
            done = step + 1
            logging = done % log_every == 0 or done == run.iterations
            for optimizer, rate in ((opt_g, recipe.lr_g), (opt_d, recipe.lr_d)):
                optimizer.param_groups[0]["lr"] = rate * (1 - step / run.iterations) if recipe.lr_decay else rate

            # 3. Discriminator: its loss, and each regularizer every `interval` updates at that multiple of its weight
            D.requires_grad_(True)
            for update in range(step * recipe.d_steps, done * recipe.d_steps):
                x, y = feed(update)
                with torch.no_grad():
                    x, fake = augment(augment.mix(x, partial(draw, y))), augment(draw(y))
                due = {name: r for name, r in of_d.items() if (update + 1) % r.interval == 0}
                real, fake = score(D, x, y, fake, y, gradient=logging or bool(due))
                loss_d = loss.discriminator(real.logits, fake.logits)
                penalty = {name: weights[name] * r.interval * r(D, real, fake) for name, r in due.items()}
                if logging:
                    with torch.no_grad():
                        norms = [scored.norms().mean() for scored in (real, fake)]
                opt_d.zero_grad()
                (loss_d + sum(penalty.values())).backward()
                opt_d.step()
                augment.observe(real.logits.detach())

            # 4. Generator, and the average of its weights
            D.requires_grad_(False)
            y = feed.labels[torch.randint(len(feed.labels), (run.batch,), device=device)]
            loss_g = loss.generator(D(augment(draw(y)), y))
            due = {name: r for name, r in of_g.items() if done % r.interval == 0}
            penalty |= {name: weights[name] * r.interval * r(G, torch.randn(run.batch, G.latent, device=device), y)
                        for name, r in due.items()}
            opt_g.zero_grad()
            (loss_g + sum(penalty[name] for name in due)).backward()
            opt_g.step()
            ema.multi_avg_fn = get_ema_multi_avg_fn(ema_decay(recipe, step))
            ema.update_parameters(G)

            # 5. Log, check, save: the only place that waits for the device
            if logging:
                n_real, n_fake = (norm.item() for norm in norms)
                log.write(iteration=done, kimg=done * recipe.d_steps * run.batch / 1000, loss_d=loss_d.item(),
                          loss_g=loss_g.item(), n_R=n_real, n_F=n_fake, gap=n_real - n_fake,
                          penalty={name: value.item() for name, value in penalty.items()},
                          seconds=round(time.monotonic() - began, 2))
                if not all(map(math.isfinite, (log.last["loss_d"], log.last["loss_g"], n_real, n_fake))):
                    record.write_json(folder / "diverged.json", {"iteration": done})
                    return f"{run.id}: diverged at iteration {done}"
            if STOP.is_set():
                record.save_checkpoint(folder, parts, done, time.monotonic() - began)
                raise TryLaterError(f"run {run.id}: told to stop; saved at iteration {done}, the same command goes on")
            if done % save_every == 0:
                record.save_checkpoint(folder, parts, done, time.monotonic() - began)
                save_samples(folder, snapshot(ema, feed.labels, run), feed.labels, run)
            if keep_every and done % keep_every == 0:
                save_generator(folder / "generators" / f"{done}.pt", snapshot(ema, feed.labels, run), run, done)

        # 6. The result: the averaged generator, ready for evaluation
        record.save_checkpoint(folder, parts, run.iterations, time.monotonic() - began)
        generator = snapshot(ema, feed.labels, run)
        save_samples(folder, generator, feed.labels, run)
        save_generator(folder / "generator.pt", generator, run, run.iterations)
        return f"{run.id}: trained {run.iterations} iterations in {time.monotonic() - began:.0f} s"


def key(*numbers: int) -> int:
    """A seed for torch from the run's seed and the step."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])


def ema_decay(recipe: Recipe, step: int) -> float:
    """Decay of the generator's average at a step, rising to the recipe's so that short runs forget their start."""
    return 0.0 if step < recipe.ema_start else min(recipe.ema_decay, (1 + step) / (10 + step))


@torch.no_grad()
def snapshot(ema: AveragedModel, labels: Tensor, run: Run, batches: int = 64) -> nn.Module:
    """The averaged generator in evaluation mode, with standing statistics in its batch norms.

    Batch statistics do not average along with weights: they are taken anew over `batches` batches (Brock et al. 2019,
    appendix on standing statistics), so that an image does not depend on the others of its batch.
    """
    G = copy.deepcopy(ema.module)
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


def save_generator(file: Path, G: nn.Module, run: Run, iteration: int) -> None:
    record.write_torch(file, {"run": run.id, "iteration": iteration, "state": G.state_dict()})


def save_samples(folder: Path, G: nn.Module, labels: Tensor, run: Run, side: int = 8) -> None:
    """samples.png: a grid of images at latents and labels that stay the same over training."""
    present = labels.unique()
    y = present[torch.arange(side * side, device=labels.device) % len(present)]
    images = generate(G, side * side, run.seed, y).cpu().numpy()
    n, c, h, w = images.shape
    grid = images.reshape(side, side, c, h, w).transpose(0, 3, 1, 4, 2).reshape(side * h, side * w, c)
    buffer = io.BytesIO()
    Image.fromarray(grid).save(buffer, "png")
    record.write_bytes(folder / "samples.png", buffer.getvalue())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run_id", help="as listed by `python -m benchmarks.tables TABLE`")
    parser.add_argument("--method", help="where a regularizer of the run is in a file of your own (reproduce.compare)")
    parser.add_argument("--keep-every", type=int, metavar="N", help="keep the generator of every N-th iteration")
    record.add_options(parser)
    args = parser.parse_args()
    if args.keep_every is not None and args.keep_every < 1:
        raise InputError(f"--keep-every {args.keep_every}: must be at least 1")
    record.keep_memory()
    stop_on_signals()
    if args.method:
        compare.read(args.method)
    print(train(Run.from_id(args.run_id), args.data, args.results, record.device(args.device), args.keep_every))


if __name__ == "__main__":
    command(main)
