"""What can be known to fail is looked for before anything is trained, all of it at once, with what mends it.

The sweep has this done once, in a process of its own, since it loads torch:
`python -m reproduce.preflight FILE RUN_ID ... NAME=value ...` writes to FILE what was found.
"""

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path

from benchmarks.runs import InputError, Run
from reproduce.cell import answered, finished, is_record_alone
from reproduce.settings import Settings, split

LARGE = 6e9  # bytes: no run of the tables leaves more, generators that are kept on the way apart
FEATURES = 4 * (2048 + 1008)  # bytes that are stored of a generated image: Inception's features and logits, float32


@dataclass(frozen=True)
class Findings:
    """What a preflight has found.

    faults    what keeps the sweep from starting, one line each
    left_out  run id -> why it cannot be made here, where the others can: its data set or its generator is not there
    run_ids   the other runs, in the order in which they are to be made
    """

    faults: list[str]
    left_out: dict[str, str]
    run_ids: list[str]

    def say(self) -> bool:
        """Print what keeps runs from being made, each line once. Returns whether there is any."""
        lines = dict.fromkeys([*self.faults, *self.left_out.values()])
        for line in lines:
            print(f"error: {line}", file=sys.stderr, flush=True)
        return bool(lines)


def look_apart(run_ids: list[str], settings: Settings) -> Findings:
    """The findings of a process of its own."""
    answer, status = answered("reproduce.preflight", [*run_ids, *settings.arguments()])
    if not answer:
        raise InputError(f"the check before the sweep ended with status {status}, as said above")
    return Findings(**answer)


def look(runs: list[Run], settings: Settings) -> Findings:
    """Look for everything that can be known to fail."""
    left_out = missing_data(runs, settings.data) | missing_weights(runs, settings)
    able = [run for run in runs if run.id not in left_out]
    faults = list(dict.fromkeys(_faults(able, settings)))
    if settings.order == "cost" and not faults:
        able = cheapest_first(able)
    return Findings(faults, left_out, [run.id for run in able])


def cheapest_first(runs: list[Run]) -> list[Run]:
    """By the operations of a whole training, counted and not measured. Those of the model stand for every method."""

    def cost(run: Run) -> float:
        if not run.iterations:
            return 0.0
        return run.iterations * _operations(_shape(run))

    return sorted(runs, key=cost)


@cache
def _operations(shape: str) -> float:
    from reproduce.counting import operations

    return operations(Run.from_id(shape))


def _faults(runs: list[Run], settings: Settings) -> Iterator[str]:
    """The faults, one line each; the same one may come several times."""
    yield from _said(require_method, settings)
    for run in runs:
        yield from _said(require_run, run, settings)
    yield from _said(require_engine, settings)
    if settings.engine == "serial":  # the nodes of the others answer for theirs
        yield from _said(require_device, runs, settings)
        yield from _said(require_processes, settings)
    for folder in (settings.results, settings.data / "features"):
        yield from _said(require_writable, folder)
    yield from _said(require_space, runs, settings)
    yield from _said(require_extractor, settings)


def _said(check: Callable[..., None], *arguments) -> Iterator[str]:
    """The line of the InputError that a check raises, if it does."""
    try:
        check(*arguments)
    except InputError as error:
        yield str(error)


# --- The checks. torch takes seconds to load, so what needs it is imported where it is used ---------------------------


def missing_data(runs: list[Run], data: Path) -> dict[str, str]:
    """Run id -> what to do, for the runs whose data set is neither prepared nor there to be prepared."""
    from benchmarks import datasets

    runs_of: dict[tuple[str, int], list[str]] = {}
    for run in runs:
        runs_of.setdefault((run.dataset, run.resolution), []).append(run.id)
    missing = {}
    for (name, resolution), run_ids in runs_of.items():
        try:
            datasets.require(name, resolution, data)
        except InputError as error:
            missing |= dict.fromkeys(run_ids, f"{error} (runs that need it: {len(run_ids)})")
    return missing


def missing_weights(runs: list[Run], settings: Settings) -> dict[str, str]:
    """Run id -> what to do, for the runs that would be trained anew over the record that they have here."""
    alone = [run.id for run in runs if is_record_alone(run.id, settings.results) and not finished(run.id, settings)]
    reason = (f"RESULTS={settings.results}: {len(alone)} records are here without their generators, which cannot be "
              f"measured with {settings.protocol}; to train anew, give another RESULTS or remove their folders")
    return dict.fromkeys(alone, reason)


def require_method(settings: Settings) -> None:
    from reproduce import methods

    if settings.method:
        methods.read(settings.method)


def require_run(run: Run, settings: Settings) -> None:
    """Its model, regularizers, augmentation and overrides exist, and what there is of it was made in the same way."""
    from reproduce import methods, names
    from reproduce.pieces import require_groups

    if run.model == names.HELDOUT:
        return  # nothing is trained
    names.require_method(run)
    _, recipe = names.resolve(run)
    require_groups(run.batch, recipe.group, settings.gpus_per_run)
    methods.require_same_file(run, settings.results)
    require_kept(run, settings)


def require_kept(run: Run, settings: Settings) -> None:
    """Raises InputError for a run begun without the EVAL_EVERY that is now asked for: its generators are gone."""
    folder = settings.results / run.id
    every = settings.eval_every
    if not every or not (folder / "config.json").exists():
        return
    for iteration in range(every, min(run.iterations, iterations_done(folder, run) + 1), every):
        if not (folder / "generators" / f"{iteration}.safetensors").exists():
            raise InputError(f"EVAL_EVERY={every}: run {run.id} was begun without it, and its generator of iteration "
                             f"{iteration} was not kept; leave EVAL_EVERY out, or remove {folder} to train it anew")


def iterations_done(folder: Path, run: Run) -> int:
    """How many iterations of a run will not be done again."""
    if (folder / "generator.safetensors").exists():
        return run.iterations
    from reproduce import checkpoint

    found = checkpoint.newest(folder)
    if not found:
        return 0
    _, state = found
    return state["step"]


def require_engine(settings: Settings) -> None:
    from reproduce.engines import places

    if settings.engine == "slurm" and not shutil.which("sbatch"):
        raise InputError("ENGINE=slurm: no sbatch here; submit from a login node of a SLURM cluster")
    if settings.engine == "serial":
        places(settings)


def require_device(runs: list[Run], settings: Settings) -> None:
    """The device is there, and is no CPU by accident."""
    from reproduce import machine

    device = machine.device(settings.device).type
    if settings.graphs and device != "cuda":
        raise InputError("GRAPHS=1: needs a CUDA device")
    if device == "cpu" and settings.device == "auto" and any(map(is_large, runs)):
        raise InputError("no GPU here, and networks of full size take a CPU days for each run (`make plan` measures "
                         "how many): give a run id with fewer iterations (-i200) or of less width (-width0.25), or "
                         "DEVICE=cpu to go on all the same")


def is_large(run: Run) -> bool:
    """Whether networks of the published width are trained long enough to take a CPU hours or more: 1,000 iterations at
    32 px, or as many pixels."""
    width = run.override.get("width", 1)  # a word, where somebody has mistyped it
    narrow = isinstance(width, int | float) and width < 1
    return not narrow and run.iterations * (run.resolution / 32) ** 2 > 1000


def _shape(run: Run) -> str:
    """The id of the same networks and batch, trained for an iteration, without what a method adds."""
    return replace(run, fraction=1.0, regularizers={}, augment="", iterations=1, seed=0).id


def require_processes(settings: Settings) -> None:
    """GPUS_PER_RUN is no more than there are GPUs here or, without any, cores."""
    from reproduce import machine

    there, kind = os.cpu_count() or 1, "cores"
    if machine.device(settings.device).type == "cuda":
        from torch.cuda import device_count

        there, kind = device_count(), "GPUs"
    if settings.gpus_per_run > there:
        raise InputError(f"GPUS_PER_RUN={settings.gpus_per_run}: there are {there} {kind} here")


def require_writable(folder: Path) -> None:
    there = existing(folder)
    if not there.is_dir():
        raise InputError(f"{folder}: {there} is not a folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise InputError(f"{folder}: cannot be written to")


def existing(path: Path) -> Path:
    """The path, or the nearest folder above it that exists."""
    return next(place for place in (path, *path.parents) if place.exists())


def require_space(runs: list[Run], settings: Settings) -> None:
    """What the runs will leave fits on the disk; what a data set takes when it is prepared is not counted."""
    free = shutil.disk_usage(existing(settings.results)).free
    if free > LARGE * len(runs) + LARGE / 10 * sum(generators_kept(run, settings) for run in runs):
        return  # to build the networks takes seconds
    need = 0
    for run in runs:
        there = sum(path.stat().st_size for path in (settings.results / run.id).glob("*") if path.is_file())
        need += max(0, bytes_left_by(run, settings) - there)
    if need > free:
        raise InputError(f"{settings.results}: what is to be made needs about {need / 1e9:.1f} GB there, and "
                         f"{free / 1e9:.1f} GB are free")


def generators_kept(run: Run, settings: Settings) -> int:
    """How many generators a run keeps."""
    if not settings.eval_every:
        return 1
    return 1 + max(0, run.iterations - 1) // settings.eval_every


def bytes_left_by(run: Run, settings: Settings) -> int:
    """Two checkpoints of both networks, the generator's average and Adam's two moments; generators; features."""
    generator, discriminator = network_bytes(_shape(run))
    checkpoint = 4 * generator + 3 * discriminator
    features = FEATURES * settings.samples * settings.eval_seeds
    return 2 * checkpoint + generators_kept(run, settings) * generator + features


@cache
def network_bytes(shape: str) -> tuple[int, int]:
    """Of the parameters, in float32, of the generator and the discriminator of a run of this id."""
    from benchmarks.datasets import DATASETS, OWN
    from reproduce import names
    from reproduce.counting import META
    from reproduce.trainer import networks

    run = Run.from_id(shape)
    if run.model == names.HELDOUT:
        return 0, 0
    model, recipe = names.resolve(run)
    classes = DATASETS.get(run.dataset, OWN).classes
    G, D = networks(run, model, recipe, classes, META)
    return _bytes(G), _bytes(D)


def _bytes(network) -> int:
    return 4 * sum(parameter.numel() for parameter in network.parameters())


def require_extractor(settings: Settings) -> None:
    """The feature network is known, and its weights are there, or are fetched now."""
    import torch

    from benchmarks.extractors import load_extractor

    load_extractor(settings.extractor, torch.device("cpu"), settings.weights, settings.data / "weights")


def main() -> None:
    names, given = split(sys.argv[2:])
    settings = Settings.parse(given)
    findings = look([Run.from_id(name) for name in names], settings)
    Path(sys.argv[1]).write_text(json.dumps(asdict(findings)), encoding="utf-8")


if __name__ == "__main__":
    main()
