"""Draw images from a trained generator that somebody handed on.

    python -m reproduce.release FOLDER [OUT=grid.png] [COUNT=64]         a grid to look at
    python -m reproduce.release FOLDER OUT=samples/ [COUNT=5000]         a folder of PNGs for other tools
    python -m reproduce.release FOLDER OUT=samples.npz [COUNT=5000]      one array arr_0, uint8 [COUNT, R, R, 3]

    [SEED=0]          of the latents
    [TRUNCATION=1]    of StyleGAN2's styles, 0 to 1: 0 is their mean
    [LABELS=turn]     samples of each class in turn; without it, the labels that evaluation draws, for which a
                      class-conditional generator needs the data set under [DATA=data]

The folder of a run is the release: its config.json and generator.safetensors are all that is read, and for a grid no
data set. They are not trusted: every key of the config has to be known and to agree with the run id, and nothing is
executed. Samples have the latents and labels of evaluation, so SEED=0 and as many as it measured are what it measured.
"""

import sys
import zipfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from tqdm import tqdm

from benchmarks.runs import InputError, Option, Run, command, one_of, read_options, share, whole
from benchmarks.state import aside, read_json, typed
from reproduce import generators, names, record
from reproduce.features import data_of, labels_of
from reproduce.generators import generate, grid, in_turn, stream
from reproduce.settings import split

CONFIG = record.CONFIG | {"recipe": dict, "method_files": dict}
DATASET = {"name": str, "digest": str, "classes": int, "flip": bool, "count": int}
SUBSET = {"count": int, "sha256": str}
OPTIONS = {"OUT": Option(str, "grid.png"), "COUNT": Option(whole(1, 10**6)), "SEED": Option(whole(0), 0),
           "TRUNCATION": Option(share, 1.0), "LABELS": Option(one_of("turn")),
           "DATA": Option(Path, Path("data"))}  # fmt: skip
KINDS = {".png": "grid", ".npz": "npz"}
GRID = 10_000  # images of a grid, at most: it is held in memory


class Released(NamedTuple):
    """A generator in evaluation mode, forward(z [N, G.latent], y [N]) -> [N, 3, R, R] in [-1, 1], and its origin."""

    G: nn.Module
    run: Run
    classes: int  # y is below; 0: it ignores y
    iteration: int
    digest: str  # of the data set it was trained on


def load(folder: Path) -> Released:
    """The generator in a run's folder. Raises InputError where a file is missing, damaged or at odds with the other."""
    run, classes, digest = _read_config(folder / "config.json")
    trained = generators.read(folder / "generator.safetensors", run)
    return Released(generators.built(run, classes, trained.state), run, classes, trained.iteration, digest)


def _read_config(path: Path) -> tuple[Run, int, str]:
    """The run of a config.json, its generator's classes and the digest of its data set, when all of it is as this code
    would write it."""
    config = read_json(path, CONFIG)
    dataset = typed(f"{path}: dataset", config["dataset"], DATASET)
    subset = typed(f"{path}: subset", config["subset"], SUBSET)
    try:
        run = Run.from_id(config["id"])
        _, recipe = names.resolve(run)
    except ValueError as error:
        raise InputError(f"{path}: {error}") from error
    ours = record.config_of(run, asdict(recipe), {key: dataset[key] for key in DATASET} | {"name": run.dataset},
                            {key: subset[key] for key in SUBSET}, config["method_files"])  # fmt: skip
    for key, there, here in record.config_differences(config, ours):
        raise InputError(f"{path}: {key} is {there!r}, but the run id and this version of the code make it {here!r}")
    classes = 0
    if recipe.conditional:
        classes = dataset["classes"]
    return run, classes, dataset["digest"]


def truncate(released: Released, truncation: float) -> None:
    """Have StyleGAN2 draw with styles nearer to their mean. Raises InputError for a model that has no styles."""
    if not hasattr(released.G, "truncation"):
        raise InputError(f"TRUNCATION={truncation:g}: {released.run.model} has no styles to truncate, must be 1")
    released.G.truncation = truncation


# --- Samples for other tools ------------------------------------------------------------------------------------------


def evaluation_labels(released: Released, count: int, seed: int, data: Path) -> Tensor:
    """The labels [count] that evaluation gives the generator, drawn from those of its training images.

    Raises InputError where they are needed and the data set is missing or another.
    """
    if not released.classes:
        return torch.zeros(count, dtype=torch.long)
    try:
        dataset = data_of(released.run, released.digest, data)
    except InputError as error:
        raise InputError(f"{error} (evaluation draws its labels there; LABELS=turn needs no data set)") from error
    return labels_of(released.run, dataset, count, seed)


def write_samples(kind: str, out: Path, released: Released, seed: int, labels: Tensor) -> None:
    """An image for each label, as a folder of PNGs or as an array."""
    batches = tqdm(stream(released.G, seed, labels), released.run.id, disable=None, unit="batch")
    if kind == "folder":
        write_folder(out, batches, len(labels))
    else:
        write_npz(out, batches, len(labels), released.run.resolution)


def write_folder(out: Path, batches: Iterator[Tensor], count: int) -> None:
    """Images as OUT/00000.png and so on, in a folder that was not there or is empty."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"OUT={out}: is there already and not an empty folder; give another or remove it")
    digits = max(5, len(str(count - 1)))
    with aside(out) as partial:
        partial.mkdir()
        number = 0
        for batch in batches:
            for image in batch.permute(0, 2, 3, 1).numpy():
                Image.fromarray(image).save(partial / f"{number:0{digits}}.png", compress_level=1)
                number += 1


def write_npz(out: Path, batches: Iterator[Tensor], count: int, resolution: int) -> None:
    """Images as one array arr_0, uint8 [count, R, R, 3], written a batch at a time."""
    header = {"descr": "|u1", "fortran_order": False, "shape": (count, resolution, resolution, 3)}
    with aside(out) as partial:
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            with archive.open("arr_0.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array_header_1_0(member, header)
                for batch in batches:
                    member.write(np.ascontiguousarray(batch.permute(0, 2, 3, 1).numpy()).data)


# --- Command line -----------------------------------------------------------------------------------------------------


def _kind(out: str) -> str:
    """What is written to OUT: "grid", "npz" or "folder"."""
    suffix = Path(out).suffix
    if out.endswith("/") or not suffix or Path(out).is_dir():
        return "folder"
    if suffix not in KINDS:
        raise InputError(f"OUT={out}: must end in .png for a grid, in .npz for an array, or in / for a folder of "
                         "samples")
    return KINDS[suffix]


def main() -> None:
    folders, arguments = split(sys.argv[1:])
    if len(folders) != 1:
        valid = ", ".join(f"{name}=..." for name in OPTIONS)
        raise InputError(f"give one FOLDER, with config.json and generator.safetensors, and {valid} as needed")
    given = read_options(arguments, OPTIONS)
    kind, out, seed = _kind(given["OUT"]), Path(given["OUT"]), given["SEED"]
    usual = {"grid": 64}.get(kind, 5000)
    count = given["COUNT"] or usual
    if kind == "grid" and count > GRID:
        raise InputError(f"COUNT={count}: a grid has at most {GRID} images; give OUT=samples/ for more")
    released = load(Path(folders[0]))
    if given["TRUNCATION"] != 1:
        truncate(released, given["TRUNCATION"])
    labels = in_turn(torch.arange(max(1, released.classes)), count)
    if kind == "grid":
        record.write_bytes(out, grid(generate(released.G, seed, labels)))
    else:
        if not given["LABELS"]:
            labels = evaluation_labels(released, count, seed, given["DATA"])
        write_samples(kind, out, released, seed, labels)
    print(f"{released.run.id}: {count} images of iteration {released.iteration} in {out}")


if __name__ == "__main__":
    command(main)
