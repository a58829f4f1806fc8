"""The hyperparameters that a model's authors trained it with."""

from collections.abc import Mapping
from dataclasses import dataclass, field

# What a run may put in the place of a published value: the number must be above the first and at most the second
LIMITS = {"lr_g": (0, 1), "lr_d": (0, 1), "eps": (0, 1), "width": (0, 16), "d_steps": (0, 100), "mbstd_group": (0, 64),
          "ema_decay": (-1e-9, 0.999999), "ema_start": (-1, 10**9), "channels": (0, 1024), "latent": (0, 65_536),
          "mapping_layers": (0, 64), "channel_base": (0, 2**20), "style_mixing": (-1e-9, 1), "sn_eps": (0, 1)}
SIZES = (32, 64, 128, 256, 512, 1024)  # image sizes of the benchmark, in pixels


@dataclass(frozen=True)
class Recipe:
    """Published hyperparameters of a model.

    source         where they were published
    departures     what differs from the source, a sentence each; a run's override comes on top
    resolutions    image sizes in pixels for which this recipe is the model's default
    loss           a key of baselines.losses.LOSSES
    lr_g, lr_d     Adam's learning rates
    betas, eps     Adam's betas and epsilon
    d_steps        discriminator steps per generator step
    regularizers   those that are part of the published model, name -> weight
    ema_decay      of the generator's moving average, per generator step; 0: the generator itself is released
    ema_start      generator step, counted from 1, from which on the average is taken; before it is the generator itself
    lr_decay       whether the learning rates fall linearly to 0 at the last iteration
    conditional    whether the networks see the class, where the data set has classes
    flip           whether real images are mirrored at random, where the data set allows it
    channels_last  memory layout of the networks: the faster one, which depends on the architecture
    bf16           whether both networks compute in bfloat16 while they are trained
    generator      further arguments of Generator
    discriminator  further arguments of Discriminator
    """

    source: str
    departures: tuple[str, ...] = ()
    resolutions: tuple[int, ...] = SIZES
    loss: str = "hinge"
    lr_g: float = 2e-4
    lr_d: float = 2e-4
    betas: tuple[float, float] = (0.0, 0.999)
    eps: float = 1e-8
    d_steps: int = 1
    regularizers: Mapping[str, float] = field(default_factory=dict)
    ema_decay: float = 0.0
    ema_start: int = 0
    lr_decay: bool = False
    conditional: bool = False
    flip: bool = False
    channels_last: bool = False
    bf16: bool = False
    generator: Mapping[str, float] = field(default_factory=lambda: {"width": 1.0})
    discriminator: Mapping[str, float] = field(default_factory=lambda: {"width": 1.0})

    @property
    def group(self) -> int:
        """How many consecutive images the discriminator must see together: those of minibatch standard deviation."""
        return self.discriminator.get("mbstd_group", 1)

    def decay(self, iteration: int) -> float:
        """Decay of the generator's average after generator step `iteration`, counted from 1: as in BigGAN's code.

        Where it is 0, the average becomes the generator itself.
        """
        if iteration < self.ema_start:
            return 0.0
        return self.ema_decay

    def weights(self, iteration: int) -> str:
        """What is released and measured after generator step `iteration`: the average "ema", or the generator "raw"."""
        return "ema" if iteration > 0 and self.decay(iteration) > 0 else "raw"
