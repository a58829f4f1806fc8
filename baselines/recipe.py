"""What a published model is besides its two networks: the hyperparameters its authors trained it with."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Recipe:
    """Published hyperparameters of a model.

    source         where they were published
    resolutions    image sizes in pixels for which this recipe is the model's default
    loss           a key of baselines.losses.LOSSES
    lr_g, lr_d     Adam's learning rates
    betas          Adam's betas
    d_steps        discriminator steps per generator step
    regularizers   those that are part of the published model, name -> weight
    ema_decay      of the generator's moving average, per generator step, reached through (1 + t) / (10 + t)
    ema_start      generator step at which averaging begins; before it the average is the generator itself
    lr_decay       whether the learning rates fall linearly to 0 at the last iteration
    conditional    whether the networks see the class, where the data set has classes
    flip           whether real images are mirrored at random, where the data set allows it
    channels_last  memory layout of the networks: the faster one, which depends on the architecture
    bf16           whether both networks compute in bfloat16 while they are trained
    generator      further arguments of Generator
    discriminator  further arguments of Discriminator
    """

    source: str
    resolutions: tuple[int, ...] = (32, 64, 128, 256, 512, 1024)
    loss: str = "hinge"
    lr_g: float = 2e-4
    lr_d: float = 2e-4
    betas: tuple[float, float] = (0.0, 0.999)
    eps: float = 1e-8
    d_steps: int = 1
    regularizers: Mapping[str, float] = field(default_factory=dict)
    ema_decay: float = 0.999
    ema_start: int = 0
    lr_decay: bool = False
    conditional: bool = False
    flip: bool = True
    channels_last: bool = False
    bf16: bool = False
    generator: Mapping[str, float] = field(default_factory=lambda: {"width": 1.0})
    discriminator: Mapping[str, float] = field(default_factory=lambda: {"width": 1.0})
