"""The training step: everything of a run that has state, and how one iteration changes it."""

import copy
from collections.abc import Callable
from types import ModuleType

import numpy as np
import torch
from torch import Tensor, nn

from baselines.augment import AUGMENTATIONS
from baselines.layers import use_bf16
from baselines.losses import LOSSES
from baselines.recipe import Recipe
from baselines.regularizers import REGULARIZERS, Regularizer, Training
from baselines.scoring import Drawer, Scorer, whole
from benchmarks.runs import Run
from reproduce import names
from reproduce.graphs import CudaRecorder, Graphed
from reproduce.pieces import Pieces, add_up


class Trainer:
    """Networks, optimizers, regularizers, augmentation and average of a run, drawn from its seed.

    run      what is trained
    classes  of the data set, 0 for none
    labels   those of the training images [n], long, on the device: classes are drawn from them
    device   where everything is; on "meta" nothing is computed, and only shapes are counted
    pieces   how a batch is cut into slices; by default it is not
    """

    def __init__(self, run: Run, classes: int, labels: Tensor, device: torch.device,
                 pieces: Pieces | None = None):
        model, recipe = names.resolve(run)
        self.run, self.recipe, self.labels, self.device = run, recipe, labels, device
        torch.manual_seed(key(run.seed))
        self.G, self.D = networks(run, model, recipe, classes, device)
        self.average = copy.deepcopy(self.G).requires_grad_(False)
        if recipe.bf16 and device.type != "meta":  # autocast does not know it; the shapes are the same without
            use_bf16(self.G)
            use_bf16(self.D)

        self.rate_g, self.optimizer_g = adam(self.G, recipe.lr_g, recipe, device)
        self.rate_d, self.optimizer_d = adam(self.D, recipe.lr_d, recipe, device)
        self.loss = LOSSES[recipe.loss]
        self.weights = {**recipe.regularizers, **run.regularizers}
        self.regularizers = nn.ModuleDict({name: REGULARIZERS[name]() for name in self.weights}).to(device)
        for regularizer in self.regularizers.values():
            regularizer.begin(Training(run.batch, recipe.d_steps, run.iterations))
        self.augment = AUGMENTATIONS[run.augment]().to(device)

        evaluate = pieces or whole
        self.generator, self.discriminator = Drawer(self.G, evaluate), Scorer(self.D, evaluate)
        self.step_d, self.step_g = self.discriminator_step, self.generator_step

    @property
    def parts(self) -> dict[str, nn.Module | torch.optim.Optimizer]:
        """All that has state, by the name under which a checkpoint holds it."""
        return {"G": self.G, "D": self.D, "ema": self.average, "opt_g": self.optimizer_g, "opt_d": self.optimizer_d,
                "regularizers": self.regularizers, "augment": self.augment}

    def draw_labels(self) -> Tensor:
        """A batch of labels [N], each class as often as among the training images."""
        return self.labels[torch.randint(len(self.labels), (self.run.batch,), device=self.device)]

    def draw(self, y: Tensor) -> Tensor:
        """New images [N, 3, R, R] of classes y [N]."""
        return self.generator(torch.randn(len(y), self.G.latent, device=self.device), y)

    # One iteration: all discriminator steps, a generator step, the average of the generator --------------------------

    def iteration(self, step: int, feed: Callable[[int], tuple[Tensor, Tensor]], logging: bool) -> dict[str, Tensor]:
        """Iteration number `step`, on the batches feed(update). Returns its losses and, if logging, n_R and n_F."""
        recipe = self.recipe
        torch.manual_seed(key(self.run.seed, step))
        decay = 1 - step / self.run.iterations if recipe.lr_decay else 1.0
        self.rate_g.fill_(recipe.lr_g * decay)
        self.rate_d.fill_(recipe.lr_d * decay)
        for update in range(step * recipe.d_steps, (step + 1) * recipe.d_steps):
            x, y = feed(update)
            values = self.step_d(x, y, due=self.due("D", update), logging=logging)
        values |= self.step_g(due=self.due("G", step))
        move_average(self.average, self.G, recipe.decay(step + 1))
        return values

    def due(self, network: str, update: int) -> tuple[str, ...]:
        """The regularizers of a network that run at its update."""
        members = self.regularizers.items()
        return tuple(name for name, one in members if one.of == network and self.runs_at(one, update))

    def runs_at(self, regularizer: Regularizer, update: int) -> bool:
        skipped = regularizer.first_step_only and update % self.recipe.d_steps
        return (update + 1) % regularizer.interval == 0 and not skipped

    def discriminator_step(self, x: Tensor, y: Tensor, due: tuple[str, ...], logging: bool) -> dict[str, Tensor]:
        """Update D on real images x and as many generated ones, with the regularizers that are due."""
        self.D.requires_grad_(True)
        penalised = any(self.regularizers[name].uses_gradients for name in due)
        with torch.no_grad():
            x = self.augment(self.augment.mix(x, lambda: self.draw(y)))
            y_fake = self.draw_labels()
            generated = self.augment(self.draw(y_fake))
        real, fake = self.discriminator.pair(x, y, generated, y_fake, gradient=penalised or logging,
                                             create_graph=penalised)

        losses = {"loss_d": self.loss.discriminator(real.logits, fake.logits)}
        for name in due:
            losses[name] = self.weight(name) * self.regularizers[name](self.discriminator, real, fake)
        self.optimizer_d.zero_grad()
        sum(losses.values()).backward(inputs=[*self.D.parameters()])
        add_up([*self.D.parameters()])
        self.optimizer_d.step()

        self.augment.observe(real.logits.detach())
        if logging:
            losses |= {"n_R": real.norms().mean(), "n_F": fake.norms().mean()}
        return {name: value.detach() for name, value in losses.items()}

    def generator_step(self, due: tuple[str, ...]) -> dict[str, Tensor]:
        """Update G by the scores of its images, with the regularizers that are due."""
        self.D.requires_grad_(False)
        y = self.draw_labels()
        logits = self.discriminator.logits(self.augment(self.draw(y)), y)
        losses = {"loss_g": self.loss.generator(logits)}
        for name in due:
            z = torch.randn(self.run.batch, self.G.latent, device=self.device)
            losses[name] = self.weight(name) * self.regularizers[name](self.generator, z, y)
        self.optimizer_g.zero_grad()
        sum(losses.values()).backward()
        add_up([*self.G.parameters()])
        self.optimizer_g.step()
        return {name: value.detach() for name, value in losses.items()}

    def weight(self, name: str) -> float:
        """Lazy regularizers run every `interval` updates, weighted by `interval`."""
        return self.weights[name] * self.regularizers[name].interval

    def record_graphs(self, recorder: CudaRecorder) -> None:
        """From now on launch each kind of step as one CUDA graph (reproduce.graphs)."""
        state = nn.ModuleList([self.G, self.D, self.regularizers, self.augment])
        self.step_d = Graphed(self.discriminator_step, state, recorder)
        self.step_g = Graphed(self.generator_step, state, recorder)
        self.bind_optimizers()

    # Checkpoints -----------------------------------------------------------------------------------------------------

    def bind_optimizers(self) -> None:
        """Give the optimizers what a checkpoint of another kind of training may have changed."""
        capturable = self.device.type == "cuda" and isinstance(self.step_d, Graphed)
        for optimizer, rate in ((self.optimizer_g, self.rate_g), (self.optimizer_d, self.rate_d)):
            optimizer.param_groups[0] |= {"lr": rate, "capturable": capturable}


def key(*numbers: int) -> int:
    """A seed for torch from the run's seed and the step."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])


def networks(run: Run, model: ModuleType, recipe: Recipe, classes: int, device: torch.device) -> list[nn.Module]:
    """A run's generator and discriminator, drawn on the CPU so that they are the same on every device."""
    if not recipe.conditional:
        classes = 0
    origin = device
    if device.type != "meta":
        origin = torch.device("cpu")
    with origin:
        G = model.Generator(run.resolution, classes, **recipe.generator)
        D = model.Discriminator(run.resolution, classes, **recipe.discriminator)
    layout = torch.preserve_format
    if recipe.channels_last:
        layout = torch.channels_last
    return [G.to(device, memory_format=layout), D.to(device, memory_format=layout)]


def adam(network: nn.Module, rate: float, recipe: Recipe, device: torch.device) -> tuple[Tensor, torch.optim.Adam]:
    """The network's optimizer and its learning rate, a tensor on the device so that a CUDA graph sees it change."""
    now = torch.tensor(rate, device=device)
    if device.type == "meta":  # whose tensors have no values, and Adam asks for some
        return now, torch.optim.Adam(network.parameters(), rate, recipe.betas, recipe.eps)
    return now, torch.optim.Adam(network.parameters(), now, recipe.betas, recipe.eps, fused=True)


@torch.no_grad()
def move_average(average: nn.Module, G: nn.Module, decay: float) -> None:
    """Move the average towards G: average = decay * average + (1 - decay) * G, without waiting for the device.

    Integers, as batch norm's counters, are left out; its statistics are taken anew by reproduce.train.snapshot.
    """
    torch._foreach_lerp_(floating(average), floating(G), 1 - decay)


def floating(network: nn.Module) -> list[Tensor]:
    """The parameters and buffers that are real numbers."""
    return [tensor for tensor in (*network.parameters(), *network.buffers()) if tensor.is_floating_point()]
