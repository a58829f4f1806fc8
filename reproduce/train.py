"""Train one run (`python -m reproduce.run RUN_ID`). The same again resumes it, or leaves it if it is finished.

All randomness is keyed on (seed, step) and the checkpoint holds the whole state, so that a run that was killed and
resumed ends with the same bits as one that was not.
"""

import copy
import math
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from tqdm import tqdm

from baselines.augment import AUGMENTATIONS
from baselines.layers import use_bf16
from baselines.losses import LOSSES
from baselines.recipe import Recipe
from baselines.regularizers import REGULARIZERS, score
from benchmarks.datasets import load, subset
from benchmarks.runs import MINIMUM, InputError, Run, TryLaterError
from reproduce import parallel, record
from reproduce.cell import STOP
from reproduce.evaluate import generate
from reproduce.feed import Feed
from reproduce.graphs import Graphed
from reproduce.release import grid

LOGGED = ("loss_d", "loss_g", "n_R", "n_F")


def train(run: Run, data: Path, results: Path, device: torch.device, keep_every: int | None = None,
          micro_batch: int = 0, recorder: Callable | None = None) -> str:
    """Train a run to its end; its folder then holds generator.safetensors, or diverged.json. Returns one line on it.

    The averaged generator of every keep_every-th iteration is kept as generators/ITERATION.safetensors, for evaluation.
    micro_batch images go through a network at once, 0: all; the numbers are those of the whole batch. Under torchrun
    every process calls this, and they share the work. A recorder (reproduce.graphs) makes graphs of the steps.
    Raises InputError for a run that cannot be started; nothing is written then.
    """
    # 1. What is asked for, checked before anything is written
    record.require_method(run)
    model, recipe = record.resolve(run)
    parallel.check(run.batch, recipe.discriminator.get("mbstd_group", 1))
    with parallel.first():
        dataset = load(run.dataset, run.resolution, data)
    indices = subset(len(dataset.images), run.fraction, run.seed)
    if len(indices) < MINIMUM:
        raise InputError(f"fraction {run.fraction:g}: {len(indices)} of {len(dataset.images)} images, and metrics need "
                         f"at least {MINIMUM}")
    feed = Feed(dataset, indices, run.batch, run.seed, device, flip=recipe.flip and dataset.flip)
    folder = record.folder(results, run.id)
    with ExitStack() as held:
        with parallel.first():
            held.enter_context(record.locked(folder))
            held.enter_context(record.failures_noted(folder))
            record.open_config(folder, run, recipe, dataset, indices, device)
        for end in ("generator.safetensors", "diverged.json"):
            if (folder / end).exists():
                return f"{run.id}: already finished ({end})"

        # 2. The networks and everything else with state, drawn from the seed or taken from the last checkpoint
        torch.manual_seed(key(run.seed))
        classes = dataset.classes if recipe.conditional else 0
        G = model.Generator(run.resolution, classes, **recipe.generator).to(device)
        D = model.Discriminator(run.resolution, classes, **recipe.discriminator).to(device)
        if recipe.channels_last:
            G, D = (network.to(memory_format=torch.channels_last) for network in (G, D))
        ema = copy.deepcopy(G).requires_grad_(False)  # before what follows binds forward to these weights
        for network in (G, D):
            if recipe.bf16:
                use_bf16(network)
            parallel.shard(network, micro_batch)
        opt_g, opt_d = (torch.optim.Adam(network.parameters(), betas=recipe.betas, eps=recipe.eps, fused=True,
                                         capturable=device.type == "cuda") for network in (G, D))
        rates = [(torch.tensor(rate, device=device), rate) for rate in (recipe.lr_g, recipe.lr_d)]
        loss = LOSSES[recipe.loss]
        weights = {**recipe.regularizers, **run.regularizers}
        regularizers = nn.ModuleDict({name: REGULARIZERS[name]() for name in weights}).to(device)
        of_d, of_g = ({name: r for name, r in regularizers.items() if r.of == network} for network in "DG")
        augment = AUGMENTATIONS[run.augment]().to(device)
        parts = {"G": G, "D": D, "ema": ema, "opt_g": opt_g, "opt_d": opt_d, "regularizers": regularizers,
                 "augment": augment}
        start, seconds = record.load_checkpoint(folder, parts)
        parallel.any_of(False)  # nobody writes before all have read
        for optimizer, (now, _) in zip((opt_g, opt_d), rates, strict=True):  # whatever device it was saved on
            optimizer.param_groups[0] |= {"lr": now, "capturable": device.type == "cuda"}
        log = record.Log(folder / "log.jsonl", start)
        log_every = max(1, min(100, run.iterations // 50))
        save_every, began = 10 * log_every, time.monotonic() - seconds
        saved, cost = 0.0, 0.0  # when, and the seconds it took: a twentieth of the time goes into saving at the most

        def draw(y: Tensor) -> Tensor:
            return G(torch.randn(len(y), G.latent, device=device), y)

        # 3. A discriminator step: its loss, and each regularizer that is due, with the weight of the updates it was not
        def step_d(x: Tensor, y: Tensor, due: tuple[str, ...], logging: bool) -> dict[str, Tensor]:
            D.requires_grad_(True)
            with torch.no_grad():
                x, fake = augment(augment.mix(x, partial(draw, y))), augment(draw(y))
            real, fake = score(D, x, y, fake, y, gradient=logging or bool(due))
            losses = {"loss_d": loss.discriminator(real.logits, fake.logits)}
            losses |= {name: weights[name] * of_d[name].interval * of_d[name](D, real, fake) for name in due}
            with torch.no_grad():
                norms = {"n_R": real.norms().mean(), "n_F": fake.norms().mean()} if logging else {}
            opt_d.zero_grad()
            sum(losses.values()).backward(inputs=[*D.parameters()])  # not the images, which have no use for theirs
            opt_d.step()
            augment.observe(real.logits.detach())
            return {name: value.detach() for name, value in (losses | norms).items()}

        # 4. A generator step
        def step_g(y: Tensor, due: tuple[str, ...]) -> dict[str, Tensor]:
            D.requires_grad_(False)
            losses = {"loss_g": loss.generator(D(augment(draw(y)), y))}
            losses |= {name: weights[name] * of_g[name].interval
                       * of_g[name](G, torch.randn(run.batch, G.latent, device=device), y) for name in due}
            opt_g.zero_grad()
            sum(losses.values()).backward()
            opt_g.step()
            return {name: value.detach() for name, value in losses.items()}

        if recorder:
            state = nn.ModuleList([G, D, regularizers, augment])
            step_d, step_g = Graphed(step_d, state, recorder), Graphed(step_g, state, recorder)

        # 5. Iterations: discriminator steps, one generator step, the average of its weights
        for step in tqdm(range(start, run.iterations), run.id, run.iterations, initial=start, mininterval=1):
            torch.manual_seed(key(run.seed, step))
            done = step + 1
            logging = done % log_every == 0 or done == run.iterations
            for now, rate in rates:
                now.fill_(rate * (1 - step / run.iterations) if recipe.lr_decay else rate)
            for update in range(step * recipe.d_steps, done * recipe.d_steps):
                due = tuple(name for name, r in of_d.items() if (update + 1) % r.interval == 0)
                found = step_d(*feed(update), due=due, logging=logging)
            y = feed.labels[torch.randint(len(feed.labels), (run.batch,), device=device)]
            found |= step_g(y, due=tuple(name for name, r in of_g.items() if done % r.interval == 0))
            average(ema, G, ema_decay(recipe, step))

            # Log, check, save: the only place that waits for the device
            if logging:
                values = {name: value.item() for name, value in found.items()}
                log.write(iteration=done, kimg=done * recipe.d_steps * run.batch / 1000,
                          **{name: values[name] for name in LOGGED}, gap=values["n_R"] - values["n_F"],
                          penalty={name: value for name, value in values.items() if name not in LOGGED},
                          seconds=round(time.monotonic() - began, 3))
                if not all(math.isfinite(values[name]) for name in LOGGED):
                    record.write_json(folder / "diverged.json", {"iteration": done})
                    return f"{run.id}: diverged at iteration {done}"
            if parallel.any_of(STOP.is_set()):
                record.save_checkpoint(folder, parts, done, time.monotonic() - began)
                raise TryLaterError(f"run {run.id}: told to stop; saved at iteration {done}, the same command goes on")
            if done % save_every == 0 and time.monotonic() - saved > 20 * cost:
                saved = time.monotonic()
                record.save_checkpoint(folder, parts, done, time.monotonic() - began)
                save_samples(folder, snapshot(ema, feed.labels, run), feed.labels, run)
                cost = time.monotonic() - saved
            if keep_every and done % keep_every == 0:
                record.write_generator(folder / "generators" / f"{done}.safetensors",
                                       snapshot(ema, feed.labels, run), run, done)

        # 6. The result: the averaged generator, ready for evaluation
        record.save_checkpoint(folder, parts, run.iterations, time.monotonic() - began)
        generator = snapshot(ema, feed.labels, run)
        save_samples(folder, generator, feed.labels, run)
        record.write_generator(folder / "generator.safetensors", generator, run, run.iterations)
        return f"{run.id}: trained {run.iterations} iterations in {time.monotonic() - began:.0f} s"


def key(*numbers: int) -> int:
    """A seed for torch from the run's seed and the step."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])


def ema_decay(recipe: Recipe, step: int) -> float:
    """Decay of the generator's average at a step, rising to the recipe's so that short runs forget their start."""
    return 0.0 if step < max(1, recipe.ema_start) else min(recipe.ema_decay, (1 + step) / (10 + step))


@torch.no_grad()
def average(ema: nn.Module, G: nn.Module, decay: float) -> None:
    """Move the average towards G: ema = decay * ema + (1 - decay) * G, without waiting for the device.

    Of all that is a real number; batch norm's counters are, like its statistics, taken anew by snapshot.
    """
    averages, values = ([tensor for tensor in (*network.parameters(), *network.buffers()) if tensor.is_floating_point()]
                        for network in (ema, G))
    torch._foreach_lerp_(averages, values, 1 - decay)


@torch.no_grad()
def snapshot(ema: nn.Module, labels: Tensor, run: Run, batches: int = 64) -> nn.Module:
    """The averaged generator in evaluation mode, with standing statistics in its batch norms.

    Batch statistics do not average along with weights: they are taken anew over `batches` batches (Brock et al. 2019,
    appendix on standing statistics), so that an image does not depend on the others of its batch.
    """
    G = copy.deepcopy(ema)
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


def save_samples(folder: Path, G: nn.Module, labels: Tensor, run: Run, side: int = 8) -> None:
    """samples.png: a grid of images at latents and labels that stay the same over training."""
    present = labels.unique()
    y = present[torch.arange(side * side, device=labels.device) % len(present)]
    record.write_bytes(folder / "samples.png", grid(generate(G, side * side, run.seed, y).cpu()))
