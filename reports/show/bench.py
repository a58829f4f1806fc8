"""The measurements of the suite itself: results/bench/NAME.json as a table in reports/bench/NAME.md and on the page.

A new measurement is a line of BENCHES: its title, a function from what its file holds to its tables, and how to read
them.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from benchmarks.state import parsed
from reports.show.document import Grid, Section, simple


@dataclass(frozen=True)
class Bench:
    """How a measurement is shown. The notes are filled in with the values of its file."""

    title: str
    command: str
    grids: Callable[[dict], list[Grid]]
    notes: tuple[str, ...]


def lines(nested: dict, *labels: str) -> Iterator[dict]:
    """A row for each innermost dictionary; the keys that lead to it are its labels."""
    for key, inner in nested.items():
        rows = lines(inner, *labels[1:]) if labels[1:] else [inner]
        for row in rows:
            yield {labels[0]: key} | row


def evaluation(data: dict) -> list[Grid]:
    frame = pd.DataFrame(lines(data["cpu_seconds"], "px", "tool")).drop(columns="all", errors="ignore")
    return [simple(frame, "CPU seconds. A stage that a tool does not tell apart is -.", 2)]


def models(data: dict) -> list[Grid]:
    return [simple(data["sizes"], "Parameters, operations (gflop) an image and an iteration, and memory.", 2),
            simple(data["speed"], "Operations a CPU second, beside those of a plain 3x3 convolution.", 2)]  # fmt: skip


def regularizers(data: dict) -> list[Grid]:
    forms, rows = [], []
    for row in data["rows"]:
        forms += lines({row["run"]: row["forms"]}, "run", "form")
        rows.append({name: value for name, value in row.items() if name != "forms"})
    return [simple(forms, "Time, operations and memory of a training iteration, and what they are of that without "
                   "gradgap.", 2), simple(rows, "gradgap against the other ways to have its gradient.")]  # fmt: skip


def feeding(data: dict) -> list[Grid]:
    grids = []
    for name in ("images_per_second", "ratios"):
        grids.append(simple([{"what": what, name: value} for what, value in data[name].items()], ""))
    return grids


def rows(labels: int, caption: str) -> Callable[[dict], list[Grid]]:
    """A measurement whose rows are shown as they are."""
    return lambda data: [simple(data["rows"], caption, labels)]


BENCHES = {
    "data": Bench("Preparing and feeding images", "make bench-data", feeding, (
        "{count} images of {resolution} px, batches of {batch}, {cores} cores. pillow_loop: one process, a file at a "
        "time. image_folder: torchvision's ImageFolder and DataLoader. feed: ours, for sets within the budget; "
        "streamed: ours, for larger ones.",)),
    "eval": Bench("Evaluation: CPU seconds of each tool", "make bench-eval", evaluation, (
        "{images} generated images against {references} references, PNG files of smooth noise, one thread, one network "
        "for all: Inception-v3 with random weights, so FID compares the tools only.",
        "clean-fid gives FID; torch-fidelity, which resizes in its own way, FID, IS, KID, precision and recall; ours "
        "every metric.")),
    "models": Bench("The models", "make bench-models", models, ()),
    "regularizers": Bench("The price of gradgap", "make bench-regularizers", regularizers, (
        "ratio: CPU time on one thread of a whole training iteration (every step of both networks, with what the "
        "model's recipe regularizes) over that without gradgap; median, lowest and highest of {rounds} rounds.",
        "naive: forward passes of its own at every update. gradgap: by the loss's own pass, at every update. "
        "gradgap_lazy: the same at every 8th update. finite differences: by two more forward passes, without second "
        "derivatives.",
        "operations ratio: the same ratio of multiply-adds for the model as published, at 64 px and batch 16.",
        "peak bytes: of tensors at once, in an iteration in which every regularizer is due.",
        "gradgap extra over naive extra: the extra time of gradgap over the extra time of naive.",
        "finite differences gradient error: against gradgap, relative, over the parameters of a new network. It is "
        "large because (leaky) ReLU has kinks: on a smooth network it is below 0.001 (a test holds it to that).")),
    "train": Bench("Training", "make bench-train", rows(2, "Time of an iteration, speed and memory."), (
        "Each trained for {seconds:g} s on noise, in turn, after as long a warming up. An iteration is all steps of "
        "both networks; its time is the mean.",
        "flop per second: operations of the networks' own steps, without penalties; those of a bf16 product: "
        "{matrix_peak}. Without bf16 a GPU's convolutions are in TF32, as PyTorch has it.")),
    "drills": Bench("Drills", "make drills", rows(1, "Fault injection: kill, corrupt, starve."), (
        "Subject: {runs} on 24 images of noise, by the same commands as any other run. After every drill the same "
        "sweep is given again.",
        "differences from a sweep that nobody disturbed: tensors of the checkpoints and of the generator bit by bit, "
        "every line of the log but for its seconds, all values of metrics.json, the rendered table. Blank: none.",
        "leftovers: files that an undisturbed sweep does not leave, and JSON files that are not whole. Blank: none.",
        "Seconds are of a busy machine; a hang takes TIMEOUT to notice. Seed of all that is random: {seed}.")),
}  # fmt: skip


def benches(results: Path, problems: list[str]) -> dict[str, Section]:
    """The report of each measurement that there is; a damaged file is a line in `problems`."""
    made = {}
    for name, bench in BENCHES.items():
        path = results / "bench" / f"{name}.json"
        try:
            if path.exists():
                made[name] = _section(bench, parsed(path.read_bytes()))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            problems.append(f"{path}: damaged or of an older version ({error!r}); `{bench.command}` makes it anew")
    return made


def _section(bench: Bench, data: dict) -> Section:
    grids, origin = bench.grids(data), data["provenance"]
    for grid in grids:
        grid.text = grid.text.rename(columns=lambda name: str(name).replace("_", " "))
    versions = ", ".join(f"{package} {version}" for package, version in origin["versions"].items())
    changed = " (changed)" if origin["dirty"] else ""
    made = (f"Made by `{data.get('command', bench.command)}`: commit {origin['commit'][:12]}{changed}, "
            f"{origin['device']}, {versions}.")  # fmt: skip
    return Section(bench.title, [*grids, *[note.format_map(data) for note in bench.notes], made], folded=True)
