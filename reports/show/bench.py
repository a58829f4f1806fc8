"""The measurements of the suite itself: results/bench/NAME.json as a table in reports/bench/NAME.md and on the page.

A new measurement is a line of BENCHES.
"""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from benchmarks.state import parsed
from reports.data.records import DAMAGE
from reports.show.document import Section, simple


@dataclass(frozen=True)
class Bench:
    """How a measurement is shown.

    tables  which parts of its file are tables, with their captions; after a part's name come the columns for the keys
            of objects within objects
    notes   how to read them, filled in with the values of the file
    """

    title: str
    command: str
    tables: dict[tuple[str, ...], str]
    notes: tuple[str, ...]


BENCHES = {
    "data": Bench("Preparing and feeding images", "make bench-data", {("images_per_second", "what"): "Images a second.",
                                                                ("ratios", "what"): "Ratios."}, (
        "{count} images of {resolution} px, batches of {batch}, {cores} cores. pillow_loop: one process, a file at a "
        "time. image_folder: torchvision's ImageFolder and DataLoader. feed: ours, for sets within the budget; "
        "streamed: ours, for larger ones.",)),
    "eval": Bench("Evaluation: CPU seconds of each tool", "make bench-eval", {
        ("cpu_seconds", "px", "tool"): "CPU seconds. A stage that a tool does not tell apart is -."}, (
        "{images} generated images against {references} references, PNG files of smooth noise, one thread, one network "
        "for all: Inception-v3 with random weights, so FID compares the tools only.",
        "clean-fid gives FID; torch-fidelity, which resizes in its own way, FID, IS, KID, precision and recall; ours "
        "every metric.")),
    "models": Bench("The models", "make bench-models", {
        ("sizes",): "Parameters, operations (gflop) an image and an iteration, and memory.",
        ("speed",): "Operations a CPU second, beside those of a plain 3x3 convolution."}, ()),
    "regularizers": Bench("The price of gradgap", "make bench-regularizers", {
        ("rows", "forms"): "Time, operations and memory of a training iteration, and what they are of that without."}, (
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
    "train": Bench("Training", "make bench-train", {("rows",): "Time of an iteration, speed and memory."}, (
        "Each trained for {seconds:g} s on noise, in turn, after as long a warming up. An iteration is all steps of "
        "both networks; its time is the mean.",
        "flop per second: operations of the networks' own steps, without penalties; those of a bf16 product: "
        "{matrix_peak}. Without bf16 a GPU's convolutions are in TF32, as PyTorch has it.")),
    "drills": Bench("Drills", "make drills", {("rows",): "Fault injection: kill, corrupt, starve."}, (
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
        except DAMAGE as error:
            problems.append(f"{path}: damaged or of an older version ({error!r}); `{bench.command}` makes it anew")
    return made


def _section(bench: Bench, data: dict) -> Section:
    parts, origin = [], data["provenance"]
    for (part, *columns), caption in bench.tables.items():
        rows = pd.DataFrame(_rows(data[part], columns), dtype=object)
        parts += simple(rows.rename(columns=lambda name: name.replace("_", " ")), caption, max(1, len(columns)))
    changed = " (changed)" if origin["dirty"] else ""
    versions = ", ".join(f"{package} {version}" for package, version in origin["versions"].items())
    parts += [note.format_map(data) for note in bench.notes]
    parts.append(f"Made by `{data.get('command', bench.command)}`: commit {origin['commit'][:12]}{changed}, "
                 f"{origin['device']}, {versions}.")  # fmt: skip
    return Section(bench.title, parts, folded=True)


def _rows(part: list | dict, columns: list[str]) -> list[dict]:
    """The rows of a table: the objects of a list, or those within objects, whose keys go into the columns.

    In a list, a column has objects within; each of them becomes a row.
    """
    if not columns:
        if isinstance(part, list):
            return part
        return [part if isinstance(part, dict) else {"value": part}]
    first, *rest = columns
    rows = []
    for row in part if isinstance(part, list) else [{first: part}]:
        for key, inner in row[first].items():
            rows += [row | {first: key} | values for values in _rows(inner, rest)]
    return rows
