"""The measurements of the suite itself: results/bench/NAME.json as a table in reports/bench/NAME.md and on the page.

A new measurement is a function here, from what its file holds to a report, and its line in RENDERERS.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from benchmarks.runs import Run
from benchmarks.state import parsed
from reports.show.grids import simple
from reports.show.tables import Section
from reports.show.words import NOTHING, title

APART = ("total", "fid", "all", "error")  # what is no stage of a tool


def evaluation(data: dict) -> Section:
    """CPU seconds of an evaluation by each tool, split by stage."""
    rows = []
    for side, tools in data["cpu_seconds"].items():
        for tool, row in tools.items():
            line = {"px": side, "tool": tool}
            for stage, seconds in row.items():
                if stage not in APART:
                    line[stage] = f"{seconds:.2f}"
            line["total"] = f"{row['total']:.2f}"
            line["of clean-fid"] = f"{row['total'] / tools['clean-fid']['total']:.2f}"
            line["FID"] = f"fails: {row['error']}" if row["fid"] is None else f"{row['fid']:.4f}"
            rows.append(line)
    grid = simple(rows, "A stage that a tool does not tell apart is -.", labels=2, missing=NOTHING)
    ends = ["total", "of clean-fid", "FID"]
    grid.text = grid.text[[*grid.text.columns.drop(ends), *ends]]
    return Section("Evaluation: CPU seconds of each tool", [grid], [
        f"{data['images']} generated images against {data['references']} references, PNG files of smooth noise, one "
        "thread, one network for all: Inception-v3 with random weights, so FID compares the tools only.",
        "clean-fid gives FID; torch-fidelity, which resizes in its own way, FID, IS, KID, precision and recall; ours "
        "every metric."])  # fmt: skip


def models(data: dict) -> Section:
    """Parameters, operations and memory of every model at every size, and the speed of some."""
    sizes, speed = [], []
    for row in data["sizes"]:
        sizes.append({
            "model": title(row["model"]), "size": f"{row['resolution']} px", "classes": row["classes"] or NOTHING,
            "parameters G": f"{row['parameters_g']:,}", "parameters D": f"{row['parameters_d']:,}",
            "GFLOP / image, G": f"{row['gflop_g']:.2f}", "D": f"{row['gflop_d']:.2f}",
            "one D + one G step": f"{row['gflop_iteration']:.2f}", "GB at the peak": f"{row['peak_gb']:.2f}",
        })  # fmt: skip
    for row in data["speed"]:
        speed.append({
            "model": title(row["model"]), "size": f"{row['resolution']} px", "batch": row["batch"],
            "GFLOP / CPU s": f"{row['gflop_per_s']:.1f}", "of the convolution": f"{row['convolution_gflop_per_s']:.1f}",
            "ratio": f"{row['ratio']:.2f}",
        })  # fmt: skip
    return Section("The models", [
        simple(sizes, "Parameters, operations and, at batch 16, memory.", labels=2),
        simple(speed, "CPU time per operation of an iteration, as a multiple of a plain 3x3 convolution's.", labels=2)])


def regularizers(data: dict) -> Section:
    """The price of each form of the regularizer."""
    rows = []
    for row in data["rows"]:
        run = Run.from_id(row["run"])
        line = {"model": title(run.model)}
        for name, form in row["forms"].items():
            if name != "none":
                line[name] = f"{form['ratio']:.2f} [{form['ratio_low']:.2f}, {form['ratio_high']:.2f}]"
                line[f"operations, {name}"] = f"{form['operations_ratio']:.2f}"
        for name, form in row["forms"].items():
            line[f"MB, {name}"] = f"{form['peak_bytes'] / 1e6:.0f}"
        line["gradgap / naive"] = f"{row['gradgap_extra_over_naive_extra']:.2f}"
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
    rows = []
    for name, value in data["images_per_second"].items():
        rows.append({"what": name, "images / s": f"{value:,.1f}"})
    for name, value in data["ratios"].items():
        rows.append({"what": name, "images / s": f"{value:.2f}x"})
    return Section("Preparing and feeding images", [simple(rows, "Images a second, and their ratios.")], [
        f"{data['count']} images of {data['resolution']} px, batches of {data['batch']}, {data['cores']} cores. "
        "pillow_loop: one process, a file at a time. image_folder: torchvision's ImageFolder and DataLoader. feed: "
        "ours, for sets within the budget; streamed: ours, for larger ones."])  # fmt: skip


def training(data: dict) -> Section:
    """Speed and memory of training, eager and in graphs, with and without gradgap."""
    rows, failed, ms = [], [], {}
    for row in data["rows"]:
        if "error" in row:
            failed.append(f"{row['run']}, {row['mode']}: {row['error']}.")
        else:
            ms[row["run"], row["mode"]] = row["ms"]
            rows.append(row)
    lines = [_speed(row, ms, data["matrix_peak"]) for row in rows]
    return Section("Training", [simple(lines, "Time of an iteration and memory.", labels=2, missing=NOTHING)], [
        f"Each trained for {data['seconds']:g} s on noise, in turn, after as long a warming up. An iteration is all "
        "steps of both networks; its time is the mean.",
        "Of the peak: operations of the networks' own steps, without penalties, over those of a bf16 product. Without "
        "bf16 a GPU's convolutions are in TF32, as PyTorch has it.", *failed])  # fmt: skip


def _speed(row: dict, ms: dict[tuple[str, str], float], peak: float | None) -> dict[str, str]:
    run, mode = Run.from_id(row["run"]), row["mode"]
    precise = dict(run.override)
    precise.pop("bf16", None)
    eager = ms.get((replace(run, override=precise).id, "eager"))
    without = ms.get((replace(run, regularizers={}).id, mode))
    line = {"model": title(run.model), "size": f"{run.resolution} px", "batch": str(run.batch), "method": run.method,
            "mode": mode if precise == run.override else f"{mode}, bf16", "ms / iteration": f"{row['ms']:.1f}",
            "over iterations": str(row["iterations"]), "images / s": f"{row['images_per_second']:.1f}"}  # fmt: skip
    if row["peak_bytes"]:
        line["GB at the peak"] = f"{row['peak_bytes'] / 1e9:.2f}"
    if peak:
        line["of the bf16 matrix peak"] = f"{row['flop_per_second'] / peak:.1%}"
    if eager and mode == "graphs":
        line["eager / this"] = f"{eager / row['ms']:.2f}"
    if without and run.regularizers:
        line["with gradgap / without"] = f"{row['ms'] / without:.2f}"
    return line


def drills(data: dict) -> Section:
    """What went wrong on purpose, and what became of it."""
    rows = []
    for row in data["rows"]:
        line = {"drill": row["drill"], "what is done": row["what"]}
        for key, words in (("not_run", "not run"), ("failed", "FAILED")):
            if key in row:
                line["measured"] = f"{words}: {row[key]}"
        if "measured" not in line:
            figures = [f"{name}: {value:.3g}" for name, value in row["figures"].items()]
            line |= {"how often": row["times"], "measured": ", ".join(figures), "message shown": row["message"],
                     "equal": f"NO: {', '.join(row['differences'])}" if row["differences"] else "yes",
                     "leftovers": ", ".join(row["leftovers"]) or "none"}  # fmt: skip
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
            data = parsed(path.read_text("utf-8"))
            section = renderer(data)
            section.lines.append(_provenance(name, data))
            made[name] = section
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            problems.append(f"{path}: damaged or of an older version ({error!r}); `{COMMANDS[name]}` makes it anew")
    return made


def _provenance(name: str, data: dict) -> str:
    origin = data["provenance"]
    versions = ", ".join(f"{package} {version}" for package, version in origin["versions"].items())
    dirty = " (changed)" if origin["dirty"] else ""
    return (f"Made by `{data.get('command', COMMANDS[name])}`: commit {origin['commit'][:10]}{dirty}, "
            f"{origin['device']}, {versions}.")  # fmt: skip
