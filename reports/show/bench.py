"""The measurements of the suite itself: results/bench/NAME.json as a table in reports/bench/NAME.md and on the page.

A new measurement is a function here, from what its file holds to a report, and its line in RENDERERS.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd

from benchmarks.runs import Run
from benchmarks.state import parsed
from reports.show.grids import Section, simple
from reports.show.words import NOTHING, commit, title


def evaluation(data: dict) -> Section:
    """CPU seconds of an evaluation by each tool, split by stage."""
    rows = []
    for side, tools in data["cpu_seconds"].items():
        for tool, row in tools.items():
            fid = f"fails: {row['error']}" if row["fid"] is None else f"{row['fid']:.4f}"
            stages = {name: row[name] for name in row if name not in ("total", "fid", "all", "error")}
            rows.append({"px": side, "tool": tool, "FID": fid, "total": row["total"],
                         "of clean-fid": row["total"] / tools["clean-fid"]["total"]} | stages)  # fmt: skip
    return Section("Evaluation: CPU seconds of each tool", [
        simple(rows, "A stage that a tool does not tell apart is -.", labels=2, missing=NOTHING)], [
        f"{data['images']} generated images against {data['references']} references, PNG files of smooth noise, one "
        "thread, one network for all: Inception-v3 with random weights, so FID compares the tools only.",
        "clean-fid gives FID; torch-fidelity, which resizes in its own way, FID, IS, KID, precision and recall; ours "
        "every metric."])  # fmt: skip


def models(data: dict) -> Section:
    """Parameters, operations and memory of every model at every size, and the speed of some."""
    grids = []
    for part, caption in (("sizes", "Parameters, operations an image and an iteration, and memory."),
                          ("speed", "Operations a CPU second, beside those of a plain 3x3 convolution.")):  # fmt: skip
        frame = pd.DataFrame(data[part])
        frame["model"] = frame["model"].map(title)
        grids.append(simple(frame.rename(columns=lambda name: name.replace("_", " ")), caption, labels=2))
    return Section("The models", grids)


def regularizers(data: dict) -> Section:
    """The price of each form of the regularizer."""
    rows = []
    for row in data["rows"]:
        line = {"model": title(Run.from_id(row["run"]).model)}
        for name, form in row["forms"].items():
            if name != "none":
                line[name] = f"{form['ratio']:.2f} [{form['ratio_low']:.2f}, {form['ratio_high']:.2f}]"
                line[f"operations, {name}"] = form["operations_ratio"]
            line[f"MB, {name}"] = form["peak_bytes"] / 1e6
        line["gradgap / naive"] = row["gradgap_extra_over_naive_extra"]
        line["gradient error"] = f"{row['finite_differences_gradient_error']:.1e}"
        rows.append(line)
    return Section("The price of gradgap", [simple(rows, "Time of a training iteration over that without gradgap.")], [
        "Ratios: CPU time on one thread of a whole training iteration (every step of both networks, with what the "
        f"model's recipe regularizes) over that without gradgap; median [lowest, highest] of {data['rounds']} rounds.",
        "naive: forward passes of its own at every update. gradgap: by the loss's own pass, at every update. "
        "gradgap_lazy: the same at every 8th update. finite differences: by two more forward passes, without second "
        "derivatives.",
        "gradgap / naive: the extra time of gradgap over the extra time of naive.",
        "operations: the same ratio of multiply-adds for the model as published, at 64 px and batch 16.",
        "MB: the most bytes of tensors at once, in an iteration in which every regularizer is due.",
        "gradient error: of finite differences against gradgap, relative, over the parameters of a new network. It "
        "is large because (leaky) ReLU has kinks: on a smooth network it is below 0.001 (a test holds it to that)."])


def feeding(data: dict) -> Section:
    """Images a second of preparing and feeding a data set beside what others do with the same files."""
    rates = [{"what": name, "images / s": value} for name, value in data["images_per_second"].items()]
    ratios = [{"what": name, "ratio": value} for name, value in data["ratios"].items()]
    return Section("Preparing and feeding images", [simple(rates, "Images a second."), simple(ratios, "Ratios.")], [
        f"{data['count']} images of {data['resolution']} px, batches of {data['batch']}, {data['cores']} cores. "
        "pillow_loop: one process, a file at a time. image_folder: torchvision's ImageFolder and DataLoader. feed: "
        "ours, for sets within the budget; streamed: ours, for larger ones."])  # fmt: skip


def training(data: dict) -> Section:
    """Speed and memory of training, eager and in graphs, with and without gradgap."""
    rows, ms = [], {(row["run"], row["mode"]): row.get("ms") for row in data["rows"]}
    for row in data["rows"]:
        run, mode = Run.from_id(row["run"]), row["mode"]
        line = {"run": run.id, "mode": mode}
        if "error" in row:
            rows.append(line | {"ms / iteration": f"fails: {row['error']}"})
            continue
        precise = {name: value for name, value in run.override.items() if name != "bf16"}
        eager = ms.get((replace(run, override=precise).id, "eager"))
        without = ms.get((replace(run, regularizers={}).id, mode))
        line |= {"ms / iteration": row["ms"], "over iterations": row["iterations"],
                 "images / s": row["images_per_second"]}  # fmt: skip
        if row["peak_bytes"]:
            line["GB at the peak"] = row["peak_bytes"] / 1e9
        if data["matrix_peak"]:
            line["of the bf16 matrix peak"] = row["flop_per_second"] / data["matrix_peak"]
        if eager and mode == "graphs":
            line["eager / this"] = eager / row["ms"]
        if without and run.regularizers:
            line["with gradgap / without"] = row["ms"] / without
        rows.append(line)
    return Section("Training", [simple(rows, "Time of an iteration and memory.", labels=2, missing=NOTHING)], [
        f"Each trained for {data['seconds']:g} s on noise, in turn, after as long a warming up. An iteration is all "
        "steps of both networks; its time is the mean.",
        "Of the peak: operations of the networks' own steps, without penalties, over those of a bf16 product. Without "
        "bf16 a GPU's convolutions are in TF32, as PyTorch has it."])  # fmt: skip


def drills(data: dict) -> Section:
    """What went wrong on purpose, and what became of it."""
    rows = []
    for row in data["rows"]:
        line = {"drill": row["drill"], "what is done": row["what"]}
        if "not_run" in row:
            line["measured"] = f"not run: {row['not_run']}"
        elif "failed" in row:
            line["measured"] = f"FAILED: {row['failed']}"
        else:
            figures = [f"{name}: {value:.3g}" for name, value in row["figures"].items()]
            equal = f"NO: {', '.join(row['differences'])}" if row["differences"] else "yes"
            line |= {"measured": ", ".join(figures), "how often": row["times"], "message shown": row["message"],
                     "equal": equal, "leftovers": ", ".join(row["leftovers"]) or "none"}  # fmt: skip
        rows.append(line)
    return Section("Drills", [simple(rows, "Fault injection: kill, corrupt, starve.", missing=NOTHING)], [
        f"Subject: {len(data['runs'])} runs ({', '.join(data['runs'])}) on 24 images of noise, by the same commands as "
        "any other run. After every drill the same sweep is given again.",
        "equal to a sweep that nobody disturbed: tensors of the checkpoints and of the generator bit by bit, every "
        "line of the log but for its seconds, all values of metrics.json, the rendered table.",
        "leftovers: files that an undisturbed sweep does not leave, and JSON files that are not whole.",
        f"Seconds are of a busy machine; a hang takes TIMEOUT to notice. Seed of all that is random: {data['seed']}."])


RENDERERS: dict[str, Callable[[dict], Section]] = {
    "data": feeding, "eval": evaluation, "models": models, "regularizers": regularizers, "train": training,
    "drills": drills,
}  # fmt: skip
COMMANDS = {name: f"make bench-{name}" for name in RENDERERS} | {"drills": "make drills"}


def benches(results: Path, problems: list[str]) -> dict[str, Section]:
    """The report of each measurement that there is; a damaged file is a line in `problems`."""
    made = {}
    for name, renderer in RENDERERS.items():
        path = results / "bench" / f"{name}.json"
        if not path.exists():
            continue
        try:
            data = parsed(path.read_bytes())
            section, origin = renderer(data), data["provenance"]
            versions = ", ".join(f"{package} {version}" for package, version in origin["versions"].items())
            section.lines.append(f"Made by `{data.get('command', COMMANDS[name])}`: commit "
                                 f"{commit(origin['commit'], origin['dirty'])}, {origin['device']}, {versions}.")
            made[name] = section
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            problems.append(f"{path}: damaged or of an older version ({error!r}); `{COMMANDS[name]}` makes it anew")
    return made
