"""Draw images from a trained generator that somebody handed on: `python -m reproduce.release FOLDER`.

The folder of a run is the release: its config.json and generator.safetensors are all that is read, no data set. They
are not trusted: every key of the config has to be known and to agree with the run id, and nothing is executed.
"""

import argparse
import io
import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor, nn

from benchmarks.runs import InputError, Run, command
from reproduce import record
from reproduce.evaluate import generate, generator, require_fit, untrained

CONFIG = {"id": str, "run": dict, "recipe": dict, "dataset": dict, "subset": dict, "method_files": dict,
          "provenance": dict}  # fmt: skip
DATASET = {"name": str, "digest": str, "classes": int, "flip": bool, "count": int}
SUBSET = {"count": int, "sha256": str}


class Released(NamedTuple):
    """A generator in evaluation mode, forward(z [N, G.latent], y [N]) -> [N, 3, R, R] in [-1, 1], and what it is."""

    G: nn.Module
    run: Run
    classes: int  # y is below; 0: it ignores y
    iteration: int


def load(folder: Path) -> Released:
    """The generator in a run's folder. Raises InputError where a file is missing, damaged or at odds with the other."""
    run, classes = _read_config(Path(folder) / "config.json")
    trained = record.read_generator(Path(folder) / "generator.safetensors", run)
    require_fit(run, _imagined(run, classes), trained.state)
    return Released(generator(run, classes, trained.state), run, classes, trained.iteration)


def _imagined(run: Run, classes: int) -> nn.Module:
    """The run's generator without memory, however large it would be. Raises InputError for nonsense."""
    try:
        with torch.device("meta"):
            return untrained(run, classes)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"run {run.id}: the options in its id make no network") from error


def _read_config(path: Path) -> tuple[Run, int]:
    """The run of a config.json and its generator's classes, when all of it is as this code would write it."""
    config = _typed(f"{path}", record.read_json(path), CONFIG)
    dataset = _typed(f"{path}: dataset", config["dataset"], DATASET)
    _typed(f"{path}: subset", config["subset"], SUBSET)
    try:
        run = Run.from_id(config["id"])
        _, recipe = record.resolve(run)
    except ValueError as error:
        raise InputError(f"{path}: {error}") from error
    _same(f"{path}: run", config["run"], asdict(run))
    _same(f"{path}: recipe", config["recipe"], asdict(recipe))
    if dataset["name"] != run.dataset or dataset["classes"] < 0:
        raise InputError(f"{path}: dataset {dataset['name']!r} of {dataset['classes']} classes is not that of {run.id}")
    return run, dataset["classes"] if recipe.conditional else 0


def _typed(where: str, found: object, wanted: dict[str, type]) -> dict:
    """What was found, when it is a dict of these keys with values of these types."""
    if type(found) is not dict:
        raise InputError(f"{where}: not a JSON object")
    _keys(where, found, wanted)
    for key, kind in wanted.items():
        if type(found[key]) is not kind:
            raise InputError(f"{where}: {key} is {found[key]!r}, must be of type {kind.__name__}")
    return found


def _keys(where: str, found: dict, wanted: dict) -> None:
    if odd := sorted(set(found) ^ set(wanted)):
        raise InputError(f"{where}: {odd[0]!r} is unknown or missing; the keys are {', '.join(wanted)}")


def _same(where: str, there: dict, here: dict) -> None:
    """Raises InputError that names the first key in which a config departs from what this code makes of the run id."""
    here = json.loads(json.dumps(here))  # tuples become lists, as in a file
    _keys(where, there, here)
    for key in here:
        if there[key] != here[key]:
            raise InputError(f"{where}: {key!r} is {there[key]!r}, but the run id and this version of the code make "
                             f"it {here[key]!r}")


def truncate(released: Released, truncation: float) -> None:
    """Have StyleGAN2 draw with styles nearer to their mean. Raises InputError for a model that has no styles."""
    if not hasattr(released.G, "truncation"):
        raise InputError(f"--truncation {truncation}: {released.run.model} has no styles to truncate, must be 1")
    released.G.truncation = truncation


def draw(released: Released, count: int, seed: int) -> Tensor:
    """Images, uint8 [count, 3, R, R], each of the next class in turn."""
    return generate(released.G, count, seed, torch.arange(count) % max(1, released.classes))


def grid(images: Tensor) -> bytes:
    """Images [n, 3, R, R] as a PNG, in rows of about as many as there are rows; empty places are black."""
    n, c, h, w = images.shape
    columns = math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    padded = torch.cat([images, images.new_zeros(rows * columns - n, c, h, w)])
    pixels = padded.reshape(rows, columns, c, h, w).permute(0, 3, 1, 4, 2).reshape(rows * h, columns * w, c)
    buffer = io.BytesIO()
    Image.fromarray(pixels.numpy()).save(buffer, "png")
    return buffer.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="with config.json and generator.safetensors")
    parser.add_argument("--count", type=int, default=64, help="images")
    parser.add_argument("--seed", type=int, default=0, help="of the latents")
    parser.add_argument("--truncation", type=float, default=1.0, help="of StyleGAN2's styles, 0 to 1: 0 is their mean")
    parser.add_argument("--out", type=Path, default=Path("grid.png"), help="a PNG")
    args = parser.parse_args()
    if args.count < 1 or args.seed < 0:
        raise InputError(f"--count {args.count} --seed {args.seed}: must be at least 1 and 0")
    if not 0 <= args.truncation <= 1:
        raise InputError(f"--truncation {args.truncation}: must be from 0 to 1")
    released = load(args.folder)
    if args.truncation != 1:
        truncate(released, args.truncation)
    record.write_bytes(args.out, grid(draw(released, args.count, args.seed)))
    print(f"{released.run.id}: {args.count} images of iteration {released.iteration} in {args.out}")


if __name__ == "__main__":
    command(main)
