"""The measurements of `make bench-*` as tables: results/bench/NAME.json is rendered to reports/bench/NAME.md.

A new measurement is a function here, from what its file holds to Markdown, and its line in RENDERERS.
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from benchmarks.runs import InputError, Run, command
from reports.drills import drills
from reports.formats import Grid, Text, markdown
from reports.options import parse
from reports.regularizers import price
from reports.results import write
from reports.sections import title
from reports.ways import bf16, lazy

APART = ("total", "fid", "all", "error")  # what is no stage of a tool


def evaluation(data: dict) -> str:
    """CPU seconds of an evaluation by each tool, split by stage; a stage that a tool does not tell apart is "-"."""
    rows = [(side, tool, row) for side, tools in data["cpu_seconds"].items() for tool, row in tools.items()]
    stages = list(dict.fromkeys(stage for *_, row in rows for stage in row if stage not in APART))
    header = [(name,) for name in ("px", "tool", *stages, "total", "of clean-fid", "FID")]
    lines = []
    for side, tool, row in rows:
        whole = data["cpu_seconds"][side]["clean-fid"]["total"]
        values = [f"{row[stage]:.2f}" if stage in row else "-" for stage in (*stages, "total")]
        score = f"fails: {row['error']}" if row["fid"] is None else f"{row['fid']:.4f}"
        texts = [side, tool, *values, f"{row['total'] / whole:.2f}", score]
        lines.append([Text(text) for text in texts])
    return (f"# Evaluation: CPU seconds of each tool\n\n{markdown(Grid(header, lines, labels=2))}\n\n"
            f"- {data['images']} generated images against {data['references']} references, PNG files of smooth noise, "
            "one thread, one network for all: Inception-v3 with random weights, so FID compares the tools only.\n"
            "- clean-fid gives FID; torch-fidelity, which resizes in its own way, FID, IS, KID, precision and recall; "
            "ours every metric.\n")


def models(data: dict) -> str:
    """Parameters, operations and memory of every model at every size, and the speed of some."""
    sizes = [[row["model"], f"{row['resolution']} px", str(row["classes"] or "-"), f"{row['parameters_g']:,}",
              f"{row['parameters_d']:,}", f"{row['gflop_g']:.2f}", f"{row['gflop_d']:.2f}",
              f"{row['gflop_iteration']:.2f}", f"{row['peak_gb']:.2f}"] for row in data["sizes"]]
    speed = [[row["model"], f"{row['resolution']} px", str(row["batch"]), f"{row['gflop_per_s']:.1f}",
              f"{row['convolution_gflop_per_s']:.1f}", f"{row['ratio']:.2f}"] for row in data["speed"]]
    header = ("model", "size", "classes", "parameters G", "parameters D", "GFLOP / image, G", "D",
              "one D step + one G step", "GB at the peak, batch 16")
    return (f"# The models\n\n{_table(header, sizes)}\n\n"
            "## CPU time per operation of an iteration, as a multiple of a plain 3x3 convolution's\n\n"
            f"{_table(('model', 'size', 'batch', 'GFLOP / CPU s', 'of the convolution', 'ratio'), speed)}\n\n")


def feeding(data: dict) -> str:
    """Images a second of preparing and feeding a data set beside what others do with the same files."""
    rows = [[name, f"{value:,.1f}"] for name, value in data["images_per_second"].items()]
    rows += [[name, f"{value:.2f}x"] for name, value in data["ratios"].items()]
    return (f"# Preparing and feeding images\n\n{_table(('what', 'images / s'), rows)}\n\n"
            f"- {data['count']} images of {data['resolution']} px, batches of {data['batch']}, {data['cores']} cores. "
            "pillow_loop: one process, a file at a time. image_folder: torchvision's ImageFolder and DataLoader. feed: "
            "ours, for sets within the budget; streamed: ours, for larger ones.\n")


def training(data: dict) -> str:
    """Speed and memory of training, eager and in graphs, with and without gradgap."""
    rows = [row for row in data["rows"] if "error" not in row]
    ms = {(row["run"], row["mode"]): row["ms"] for row in rows}
    header = ("model", "size", "batch", "method", "mode", "ms / iteration", "over iterations", "images / s",
              "GB at the peak", "of the bf16 matrix peak", "eager / this", "with gradgap / without")
    failed = [f"- {row['run']}, {row['mode']}: {row['error']}.\n" for row in data["rows"] if "error" in row]
    return (f"# Training\n\n{_table(header, [_speed(row, ms, data['matrix_peak']) for row in rows])}\n\n"
            f"- Each trained for {data['seconds']:g} s on noise, in turn. An iteration is all steps of both networks; "
            "its time is the\n  median in the second half, or the mean of all where they are few.\n"
            "- Of the peak: operations of the networks' own steps, without penalties, over those of a bf16 product. "
            "Without\n  bf16 a GPU's convolutions are in TF32, as PyTorch has it.\n"
            f"{''.join(failed)}")


def _speed(row: dict, ms: dict[tuple[str, str], float], peak: float | None) -> list[str]:
    run, mode = Run.from_id(row["run"]), row["mode"]
    in_float32 = replace(run, override={name: value for name, value in run.override.items() if name != "bf16"})
    eager, without = ms.get((in_float32.id, "eager")), ms.get((replace(run, regularizers={}).id, mode))
    label = mode if run == in_float32 else f"{mode}, bf16"
    return [title(run.model), f"{run.resolution} px", str(run.batch), run.method, label, f"{row['ms']:.1f}",
            str(row["iterations"]), f"{row['images_per_second']:.1f}",
            f"{row['peak_bytes'] / 1e9:.2f}" if row["peak_bytes"] else "-",
            f"{row['flop_per_second'] / peak:.1%}" if peak else "-",
            f"{eager / row['ms']:.2f}" if eager and mode == "graphs" else "-",
            f"{row['ms'] / without:.2f}" if without and run.regularizers else "-"]


def _table(header: tuple[str, ...], rows: list[list[str]]) -> str:
    return markdown(Grid([(name,) for name in header], [[Text(text) for text in row] for row in rows], labels=1))


RENDERERS: dict[str, Callable[[dict], str]] = {
    "data": feeding, "eval": evaluation, "models": models, "regularizers": price, "lazy": lazy, "bf16": bf16,
    "train": training, "drills": drills,
}
COMMANDS = {name: f"make bench-{name}" for name in RENDERERS} | {"drills": "make drills"}


def render(results: Path, out: Path) -> list[Path]:
    """Write a table for each measurement that there is. Raises InputError for a damaged file."""
    made = []
    for name, renderer in RENDERERS.items():
        path = results / "bench" / f"{name}.json"
        if path.exists():
            try:
                data = json.loads(path.read_text("utf-8"))
                text = renderer(data) + _provenance(name, data)
            except (ValueError, KeyError, TypeError) as error:
                raise InputError(f"{path}: damaged ({error!r}); make it anew with `{COMMANDS[name]}`") from error
            made.append(out / "bench" / f"{name}.md")
            write(made[-1], text.encode())
    return made


def _provenance(name: str, data: dict) -> str:
    origin, command = data["provenance"], data.get("command", COMMANDS[name])
    versions = ", ".join(f"{name} {version}" for name, version in origin["versions"].items())
    return (f"- Made by `{command}`: commit {origin['commit'][:10]}{' (dirty)' if origin['dirty'] else ''}, "
            f"{origin['device']}, {versions}.\n")


def main() -> None:
    args = parse(argparse.ArgumentParser(description="Render the measurements under results/bench."))
    made = render(args.results, args.out)
    print(f"wrote {', '.join(map(str, made))}" if made else f"nothing measured yet in {args.results / 'bench'}")


if __name__ == "__main__":
    command(main)
