"""Evaluation from a trained run to metrics.json, as a user runs it, and what it refuses."""

import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn

from baselines.models import MODELS
from benchmarks.datasets import load, subset
from benchmarks.extractors import EXTRACTORS, Extractor
from benchmarks.metrics import METRICS, Comparison, Metric, Reference, Score
from benchmarks.runs import InputError, Run
from reproduce import cell, generators, names, record
from reproduce.cell import finished
from reproduce.evaluate import Protocol, evaluate
from reproduce.features import printed, reference, stored
from reproduce.generators import built, generate, stream
from reproduce.run import main
from reproduce.settings import Settings

ROOT = Path(__file__).parents[1]
CPU = torch.device("cpu")
RUN = Run("dcgan", "few", 32, 0.5, iterations=0, override={"width": 0.1})
COUNT = 40
EFFNET = Protocol("effnet", samples=24)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """A data folder with a set of 40 images."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "few").mkdir()
    for i, image in enumerate(np.random.default_rng(0).integers(0, 256, (COUNT, 4, 4, 3), np.uint8)):
        Image.fromarray(image).resize((32, 32)).save(folder / "few" / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory, data) -> Path:
    """A results folder with an untrained generator as training leaves it."""
    results = tmp_path_factory.mktemp("results")
    folder, (model, recipe), dataset = results / RUN.id, names.resolve(RUN), load(RUN.dataset, RUN.resolution, data)
    record.open_config(folder, RUN, asdict(recipe), dataset, subset(len(dataset.images), RUN.fraction, RUN.seed), CPU)
    torch.manual_seed(0)
    G = model.Generator(RUN.resolution, dataset.classes if recipe.conditional else 0, **recipe.generator)
    generators.write(folder / "generator.safetensors", G, RUN, 0)
    return results


@pytest.fixture(autouse=True, scope="module")
def cheap():
    """One more extractor, whose features are the means of 8 x 8 pixels."""

    def extractor(device: torch.device, path: Path | None, folder: Path) -> Extractor:
        def embed(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            features = nn.functional.avg_pool2d(images.float() / 255, 8).flatten(1)
            return features, features[:, :4]

        return Extractor("cheap", "a" * 64, "none", embed, batch=64)

    EXTRACTORS["cheap"] = extractor
    yield
    del EXTRACTORS["cheap"]


@pytest.fixture
def results(trained, tmp_path) -> Path:
    return shutil.copytree(trained, tmp_path / "results")


def metrics_of(results: Path, run: Run = RUN) -> dict:
    return json.loads((results / run.id / "metrics.json").read_text())


def scaled(path: Path, scale: float) -> nn.Module:
    """The generator of RUN in a file, with its weights multiplied."""
    G = built(RUN, 0, load_file(path))
    G.load_state_dict({k: v * scale if v.is_floating_point() else v for k, v in G.state_dict().items()})
    return G


def command(*options: object) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "reproduce.run", *map(str, options)], cwd=ROOT, check=False,
                          capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})


# --- The record -------------------------------------------------------------------------------------------------------


def test_metrics_carry_their_evidence_and_the_same_command_does_nothing(results, data):
    line = evaluate(RUN, EFFNET, data, results, CPU)
    found = metrics_of(results)
    assert "fd_effnet" in line and "\n" not in line
    assert (found["id"], found["status"], found["iteration"]) == (RUN.id, "done", 0)
    assert found["config"] == json.loads((results / RUN.id / "config.json").read_text())
    assert {m["name"] for m in found["metrics"]} == {f"{name}_effnet" for name in METRICS}
    assert found["peak_bytes"]["evaluate"] > 1 << 20 and found["peak_bytes"]["train"] is None
    for metric in found["metrics"]:
        assert metric["better"] in ("lower", "higher") and np.isfinite(metric["value"])
        assert (metric["n_generated"], metric["n_reference"], metric["eval_seed"]) == (24, COUNT, 0)
        assert (metric["extractor"], metric["resize"], metric["weights"]) == ("effnet", "bicubic-224", "raw")
    before = (results / RUN.id / "metrics.json").stat().st_mtime_ns
    assert "already" in evaluate(RUN, EFFNET, data, results, CPU)
    assert (results / RUN.id / "metrics.json").stat().st_mtime_ns == before


def test_values_are_those_of_the_metrics_on_the_images(results, data):
    """By hand: the same images through the same network, compared with the real ones."""
    evaluate(RUN, EFFNET, data, results, CPU)
    dataset, (model, recipe) = load(RUN.dataset, RUN.resolution, data), names.resolve(RUN)
    indices = subset(COUNT, 0.5, 0)
    G = model.Generator(32, dataset.classes if recipe.conditional else 0, **recipe.generator)
    G.load_state_dict(load_file(results / RUN.id / "generator.safetensors"))
    labels = torch.from_numpy(np.random.default_rng(0).choice(dataset.labels[indices], 24))
    extractor = EXTRACTORS["effnet"](CPU, None, data)
    real = extractor([torch.from_numpy(np.array(dataset.images))]).features
    train = np.isin(np.arange(COUNT), indices)
    pair = Comparison(Reference.of(real), extractor([generate(G.eval(), 0, labels)]), train, real[~train])
    expected = {f"{name}_effnet": metric.measure(pair).value for name, metric in METRICS.items()}
    assert {m["name"]: m["value"] for m in metrics_of(results)["metrics"]} == pytest.approx(expected, rel=1e-4)


def test_another_draw_or_number_of_samples_is_measured_and_kept_apart(results, data):
    evaluate(RUN, EFFNET, data, results, CPU)
    evaluate(RUN, Protocol("effnet", samples=24, eval_seeds=2), data, results, CPU)
    values = {m["eval_seed"]: m["value"] for m in metrics_of(results)["metrics"] if m["name"] == "fd_effnet"}
    assert set(values) == {0, 1} and values[0] != values[1]
    evaluate(RUN, Protocol("effnet", samples=12), data, results, CPU)
    assert {m["n_generated"] for m in metrics_of(results)["metrics"]} == {12}
    assert metrics_of(results)["evaluated"] == ["effnet 12 x1"]


def test_fewer_draws_than_there_are_need_no_measuring(results, data):
    evaluate(RUN, Protocol("cheap", samples=24, eval_seeds=2), data, results, CPU)
    before = metrics_of(results)
    assert before["evaluated"] == ["cheap 24 x2"]
    assert "already" in evaluate(RUN, Protocol("cheap", samples=24), data, results, CPU)
    assert metrics_of(results) == before | {"evaluated": ["cheap 24 x2", "cheap 24 x1"]}


def test_extractors_stand_side_by_side(results, data):
    evaluate(RUN, EFFNET, data, results, CPU)
    before = metrics_of(results)["metrics"]
    evaluate(RUN, Protocol("cheap", samples=24), data, results, CPU)
    found = metrics_of(results)
    assert found["evaluated"] == ["effnet 24 x1", "cheap 24 x1"] and found["metrics"][:len(METRICS)] == before
    assert "already" in evaluate(RUN, EFFNET, data, results, CPU)


@pytest.mark.parametrize("change", [{"sha256": "0" * 64}, {"resize": "nearest-224"}])
def test_another_network_of_the_same_name_measures_anew(change, results, data, monkeypatch):
    protocol, cheap = Protocol("cheap", samples=24), EXTRACTORS["cheap"]
    evaluate(RUN, protocol, data, results, CPU)
    monkeypatch.setitem(EXTRACTORS, "cheap", lambda *args: replace(cheap(*args), **change))
    assert "already" not in evaluate(RUN, protocol, data, results, CPU)
    found = metrics_of(results)["metrics"]
    [(name, value)] = change.items()
    key = "extractor_sha256" if name == "sha256" else name
    assert {metric[key] for metric in found} == {value} and len(found) == len(METRICS)
    assert "already" in evaluate(RUN, protocol, data, results, CPU)


def test_an_extractor_without_classes_gives_no_inception_score(results, data, monkeypatch):
    protocol, cheap = Protocol("cheap", samples=24), EXTRACTORS["cheap"]
    monkeypatch.setitem(EXTRACTORS, "cheap", lambda *args: replace(cheap(*args), classes=False))
    evaluate(RUN, protocol, data, results, CPU)
    assert {m["name"] for m in metrics_of(results)["metrics"]} == {f"{name}_cheap" for name in METRICS} - {"is_cheap"}
    assert "already" in evaluate(RUN, protocol, data, results, CPU)


def test_a_sweep_asks_again_exactly_when_the_protocol_changed(results, data):
    def asked(protocol: Protocol) -> bool:
        settings = Settings(results=results, extractor=protocol.extractor, samples=protocol.samples,
                            eval_seeds=protocol.eval_seeds, eval_every=protocol.eval_every)
        return not finished(RUN.id, settings)

    cheap = Protocol("cheap", samples=24)
    evaluate(RUN, cheap, data, results, CPU)
    changed = [{"samples": 12}, {"extractor": "inception"}, {"eval_seeds": 2}, {"eval_every": 5}]
    assert not asked(cheap) and all(asked(replace(cheap, **change)) for change in changed)
    evaluate(RUN, replace(cheap, eval_seeds=2, eval_every=5), data, results, CPU)
    assert not asked(replace(cheap, eval_seeds=2, eval_every=5))


def test_a_new_generator_is_measured_anew(results, data):
    evaluate(RUN, EFFNET, data, results, CPU)
    before = metrics_of(results)["metrics"][0]["value"]
    path = results / RUN.id / "generator.safetensors"
    generators.write(path, scaled(path, 3), RUN, 0)
    assert "already" not in evaluate(RUN, EFFNET, data, results, CPU)
    assert metrics_of(results)["metrics"][0]["value"] != before


def test_only_inception_gives_the_names_of_the_literature():
    assert [printed(name, "inception") for name in ("fd", "is", "kid")] == ["fid", "is", "kid"]
    names = [printed(name, extractor) for name in METRICS for extractor in EXTRACTORS]
    assert len(set(names)) == len(names)
    assert not {"fid", "is", "kid"} & {printed(name, e) for name in METRICS for e in EXTRACTORS if e != "inception"}


def test_a_diverged_run_has_no_metrics(results, data):
    record.write_json(results / RUN.id / "diverged.json", {"iteration": 7})
    (results / RUN.id / "generator.safetensors").unlink()
    assert "diverged" in evaluate(RUN, EFFNET, data, results, CPU)
    found = metrics_of(results)
    assert (found["status"], found["iteration"], found["metrics"]) == ("diverged", 7, [])
    before = (results / RUN.id / "metrics.json").stat().st_mtime_ns
    assert "diverged" in evaluate(RUN, EFFNET, data, results, CPU)
    assert (results / RUN.id / "metrics.json").stat().st_mtime_ns == before


# --- Generators kept on the way ---------------------------------------------------------------------------------------

LONG = replace(RUN, iterations=30)


def keep(results: Path, source: Path, scales: dict[int, float], run: Run = LONG) -> None:
    """A folder of a run with generators of RUN, each with its weights multiplied."""
    folder = shutil.copytree(source / RUN.id, results / run.id)
    edited(folder / "config.json", id=run.id)
    for iteration, scale in scales.items():
        name = "generator" if iteration == run.iterations else f"generators/{iteration}"
        G = scaled(source / RUN.id / "generator.safetensors", scale)
        generators.write(folder / f"{name}.safetensors", G, run, iteration)


def entries(results: Path, checkpoint: str) -> dict[tuple[str, int], float]:
    found = json.loads((results / LONG.id / "metrics.json").read_text())["metrics"]
    return {(m["name"], m["eval_seed"]): m["value"] for m in found if m["checkpoint"] == checkpoint}


@pytest.fixture(scope="module")
def measured(trained, data, tmp_path_factory) -> dict[int, dict[tuple[str, int], float]]:
    """What each generator gets when it is the last, and measured by itself."""
    found = {}
    for scale in (1, 2, 4):
        results = tmp_path_factory.mktemp("alone")
        keep(results, trained, {30: scale})
        evaluate(LONG, Protocol("cheap", 12, eval_seeds=2), data, results, CPU)
        found[scale] = entries(results, "last")
    return found


@pytest.mark.parametrize("scales", [{10: 1, 20: 2, 30: 4}, {10: 4, 20: 2, 30: 1}])
def test_kept_generators_get_their_distance_and_the_best_all_metrics(scales, measured, trained, data, tmp_path):
    alone = {iteration: measured[scale] for iteration, scale in scales.items()}
    keep(tmp_path / "all", trained, scales)
    protocol = Protocol("cheap", 12, eval_seeds=2, eval_every=10)
    evaluate(LONG, protocol, data, tmp_path / "all", CPU)
    fd = ("fd_cheap", 0)
    assert [entries(tmp_path / "all", name) for name in ("10", "20", "last")] == [
        {fd: alone[10][fd]}, {fd: alone[20][fd]}, alone[30]]
    best = min(alone, key=lambda iteration: alone[iteration][fd])
    assert entries(tmp_path / "all", "best") == alone[best]
    found = json.loads((tmp_path / "all" / LONG.id / "metrics.json").read_text())
    assert found["evaluated"] == ["cheap 12 x2 every 10"]
    assert {m["iteration"] for m in found["metrics"] if m["checkpoint"] == "best"} == {best}
    assert "already" in evaluate(LONG, protocol, data, tmp_path / "all", CPU)


# --- Averages ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("override, weights", [({"ema_decay": 0.9}, "ema"), ({"ema_decay": 0}, "raw"),
                                               ({"ema_decay": 0.9, "ema_start": 31}, "raw"),
                                               ({"ema_decay": 0.9, "ema_start": 30}, "ema")])
def test_a_record_says_whether_the_weights_are_an_average(override, weights, results, data):
    run = replace(LONG, override=RUN.override | override)
    keep(results, results, {30: 1}, run)
    evaluate(run, Protocol("cheap", 24), data, results, CPU)
    assert {metric["weights"] for metric in metrics_of(results, run)["metrics"]} == {weights}


# --- Held-out images --------------------------------------------------------------------------------------------------

HELDOUT = Run("heldout", "few", 32, 0.5, iterations=0)


def test_held_out_images_are_scored_as_if_generated(data, tmp_path):
    assert HELDOUT.id == "heldout-few-32-f0.5-baseline-i0-s0"
    protocol = Protocol("cheap", samples=10, eval_seeds=2)
    evaluate(HELDOUT, protocol, data, tmp_path, CPU)
    found = metrics_of(tmp_path, HELDOUT)
    assert (found["id"], found["status"], found["iteration"]) == (HELDOUT.id, "done", 0)
    assert {entry["name"] for entry in found["metrics"]} == {f"{name}_cheap" for name in METRICS}
    assert {(entry["n_generated"], entry["eval_seed"]) for entry in found["metrics"]} == {(10, 0), (10, 1)}
    dataset, extractor = load("few", 32, data), EXTRACTORS["cheap"](CPU, None, data)
    train = np.isin(np.arange(COUNT), subset(COUNT, 0.5, 0))
    real, left = Reference.of(extractor([torch.from_numpy(np.array(dataset.images))]).features), np.flatnonzero(~train)
    order = np.random.default_rng(1).permutation(COUNT // 2)
    drawn, others = left[np.sort(order[:10])], left[np.sort(order[10:])]
    features = extractor([torch.from_numpy(np.array(dataset.images[drawn]))])
    pair = Comparison(real, features, train, real.features[others])
    expected = {f"{name}_cheap": metric.measure(pair).value for name, metric in METRICS.items()}
    values = {entry["name"]: entry["value"] for entry in found["metrics"] if entry["eval_seed"] == 1}
    assert values == pytest.approx(expected, rel=1e-4)
    assert "already" in evaluate(HELDOUT, protocol, data, tmp_path, CPU)


def test_with_all_held_out_images_drawn_none_is_left_to_compare_with(data, tmp_path):
    evaluate(HELDOUT, Protocol("cheap", samples=500), data, tmp_path, CPU)
    found = metrics_of(tmp_path, HELDOUT)["metrics"]
    assert {entry["n_generated"] for entry in found} == {COUNT // 2}
    of_heldout = {name for name, metric in METRICS.items() if metric.of_heldout}
    assert {entry["name"] for entry in found} == {f"{name}_cheap" for name in METRICS if name not in of_heldout}
    assert "already" in evaluate(HELDOUT, Protocol("cheap", samples=500), data, tmp_path, CPU)


def test_without_held_out_images_there_is_nothing_to_score(data, tmp_path):
    with pytest.raises(InputError, match="few has no test part, and fraction 1 leaves out 0 images"):
        evaluate(replace(HELDOUT, fraction=1.0), Protocol("cheap"), data, tmp_path, CPU)
    with pytest.raises(InputError, match="fraction 0.01: .* metrics need at least 10"):
        evaluate(replace(HELDOUT, fraction=0.01), Protocol("cheap"), data, tmp_path, CPU)
    with pytest.raises(InputError, match=f"it must be {HELDOUT.id}"):
        evaluate(replace(HELDOUT, iterations=5), Protocol("cheap"), data, tmp_path, CPU)
    assert not list(tmp_path.iterdir())


def test_a_test_part_is_what_is_held_out_at_every_fraction(data, tmp_path):
    rng = np.random.default_rng(5)
    for part, count in (("train", 30), ("test", 20)):
        (tmp_path / "parts" / part).mkdir(parents=True)
        for i in range(count):
            Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8)).save(tmp_path / "parts" / part / f"{i}.png")
    for fraction in (0.5, 1.0):
        run = replace(HELDOUT, dataset="parts", fraction=fraction)
        evaluate(run, Protocol("cheap", samples=10), tmp_path, tmp_path / "results", CPU)
        entries = metrics_of(tmp_path / "results", run)["metrics"]
        assert {entry["n_reference"] for entry in entries} == {30} and len(entries) == len(METRICS)
        assert {entry.get("n_heldout") for entry in entries} == {None, 10}


# --- Metrics that are new ---------------------------------------------------------------------------------------------


def test_a_new_metric_reaches_runs_that_are_evaluated_already(results, data, monkeypatch):
    protocol, settings = Protocol("cheap", samples=24), Settings(results=results, extractor="cheap", samples=24)
    evaluate(RUN, protocol, data, results, CPU)
    before = metrics_of(results)
    assert finished(RUN.id, settings)
    with monkeypatch.context() as patch:
        patch.setattr(cell, "METRIC_NAMES", {*METRICS, "new"})
        assert not finished(RUN.id, settings)
    monkeypatch.setitem(METRICS, "new", Metric("lower", lambda pair: Score(0.5)))
    features = results / RUN.id / "features-cheap-0.npz"
    drawn = features.stat().st_mtime_ns
    assert "already" not in evaluate(RUN, protocol, data, results, CPU)
    found = metrics_of(results)
    assert "new" in found["considered"] and features.stat().st_mtime_ns == drawn, "from the features that are there"
    assert {m["name"]: m["value"] for m in found["metrics"]} == {
        m["name"]: m["value"] for m in before["metrics"]} | {"new_cheap": 0.5}


# --- State files ------------------------------------------------------------------------------------------------------


def edited(path: Path, **changes) -> None:
    content = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


DAMAGES = {
    "config.json of no JSON": lambda f: (f / "config.json").write_text("{"),
    "config.json of a list": lambda f: (f / "config.json").write_text("[]"),
    "config.json without data set": lambda f: edited(f / "config.json", dataset=None),
    "config.json whose data set is a list": lambda f: edited(f / "config.json", dataset=[]),
    "config.json without digest": lambda f: edited(f / "config.json", dataset={"name": "few"}),
    "config.json of another run": lambda f: edited(f / "config.json", id="dcgan-few-32-f1.0-baseline-s0"),
    "config.json not UTF-8": lambda f: (f / "config.json").write_bytes(b"\xff"),
    "metrics.json of no JSON": lambda f: (f / "metrics.json").write_text("nonsense"),
    "metrics.json of a number": lambda f: (f / "metrics.json").write_text("7"),
    "metrics.json without evaluated": lambda f: edited(f / "metrics.json", evaluated=None),
    "metrics.json with a wrong entry": lambda f: edited(f / "metrics.json", metrics=[{"name": "fd"}]),
    "metrics.json with a list as entry": lambda f: edited(f / "metrics.json", metrics=[[]]),
    "metrics.json of another run": lambda f: edited(f / "metrics.json", id="another"),
    "diverged.json of no JSON": lambda f: (f / "diverged.json").write_text(""),
    "diverged.json without iteration": lambda f: (f / "diverged.json").write_text("{}"),
    "diverged.json of words": lambda f: (f / "diverged.json").write_text('{"iteration": "7"}'),
    "generator.safetensors with a flipped bit": lambda f: flip(f / "generator.safetensors"),
}


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-3] ^= 16
    path.write_bytes(content)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_state_file_is_named_in_one_line(damage, results, data):
    evaluate(RUN, Protocol("cheap", samples=24), data, results, CPU)
    folder = results / RUN.id
    DAMAGES[damage](folder)
    before = (folder / "metrics.json").read_bytes()
    with pytest.raises(InputError) as caught:
        evaluate(RUN, Protocol("cheap", samples=12), data, results, CPU)
    assert damage.split()[0] in str(caught.value) and "\n" not in str(caught.value)
    assert (folder / "metrics.json").read_bytes() == before


def test_a_stray_file_among_the_generators_and_a_damaged_log_do_no_harm(results, data, capsys):
    folder = results / RUN.id
    (folder / "generators").mkdir()
    (folder / "generators" / "foo.safetensors").write_bytes(b"what is this")
    (folder / "log.jsonl").write_text('{"iteration": 1, "seconds": 2.5}\nnonsense\n{"iteration": 2')
    evaluate(RUN, Protocol("cheap", samples=24), data, results, CPU)
    assert metrics_of(results)["seconds"]["train"] == 2.5
    assert capsys.readouterr().err.splitlines() == [
        f"warning: {folder / 'log.jsonl'}: line 2 is damaged; it is passed over"]


# --- Images -----------------------------------------------------------------------------------------------------------


class Identity(nn.Module):
    """A generator whose images show its input: latent 0 in every pixel, the label in the last column."""

    latent = 4

    def forward(self, z, y):
        x = z[:, :1, None, None].repeat(1, 3, 8, 8)
        x[..., -1] = y[:, None, None] / 10
        return x


def test_images_are_keyed_on_the_seed_and_rounded():
    labels = torch.arange(70) % 10
    images = generate(Identity(), 3, labels)
    assert images.dtype == torch.uint8 and images.shape == (70, 3, 8, 8)
    z = torch.randn(70, 4, generator=torch.Generator().manual_seed(3))[:, 0]
    expected = ((z.double() + 1) * 127.5).round().clamp(0, 255)
    assert torch.equal(images[:, 0, 0, 0].double(), expected)
    assert torch.equal(images[:, 0, 0, -1].double(), ((labels / 10 + 1) * 127.5).double().round())
    assert torch.equal(torch.cat(list(stream(Identity(), 3, labels))), images)
    assert not torch.equal(generate(Identity(), 4, labels), images)


@pytest.mark.parametrize("name", MODELS)
def test_every_model_generates(name):
    recipe = next(iter(MODELS[name].RECIPES.values()))
    G = MODELS[name].Generator(32, 0, **recipe.generator | {"width": 0.1}).eval()
    images = generate(G, 0, torch.zeros(3, dtype=torch.long))
    assert images.shape == (3, 3, 32, 32) and images.dtype == torch.uint8
    assert torch.equal(generate(G, 0, torch.zeros(3, dtype=torch.long)), images)


# --- Stored features --------------------------------------------------------------------------------------------------


def made(value: float, calls: list) -> dict[str, np.ndarray]:
    calls.append(value)
    return {"features": np.full((3, 2), value, np.float32)}


def test_stored_arrays_are_remade_when_stale_or_damaged(tmp_path):
    path, calls = tmp_path / "features" / "x.npz", []
    for facts, value in (({"a": 1}, 1.0), ({"a": 1}, 2.0), ({"a": 2}, 3.0)):
        arrays = stored(path, facts, lambda value=value: made(value, calls))
    assert calls == [1.0, 3.0] and arrays["features"][0, 0] == 3
    content = path.read_bytes()
    one_value = np.float32(3).tobytes()
    for damaged in (content[:100], b"", bytes(b ^ 255 for b in content), content.replace(one_value, b"abcd")):
        path.write_bytes(damaged)
        assert stored(path, {"a": 2}, lambda: made(4.0, calls))["features"][0, 0] == 4
    assert len(calls) == 6 and sorted(p.name for p in path.parent.iterdir()) == ["x.lock", "x.npz"]


def slowly(path: Path, calls: Path) -> None:
    def make():
        with calls.open("a") as file:
            file.write("made\n")
        time.sleep(0.5)
        return made(1.0, [])

    assert stored(path, {"a": 1}, make)["features"].shape == (3, 2)


def test_two_processes_make_the_features_once(tmp_path):
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=slowly, args=(tmp_path / "x.npz", tmp_path / "calls")) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    assert (tmp_path / "calls").read_text() == "made\n"


def test_reference_features_are_shared_by_runs_and_follow_the_data(data, tmp_path):
    dataset, extractor = load("few", 32, data), EXTRACTORS["effnet"](CPU, None, data)
    few = type(dataset)(**vars(dataset) | {"images": dataset.images[:12], "digest": "one"})
    first = reference(few, extractor, tmp_path, CPU)
    other = type(dataset)(**vars(few) | {"images": dataset.images[12:24], "digest": "two"})
    assert not np.array_equal(reference(other, extractor, tmp_path, CPU).features, first.features)
    assert np.array_equal(reference(few, extractor, tmp_path, CPU).features, first.features)
    assert len(list((tmp_path / "features").glob("*.npz"))) == 2


# --- Refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options, words", [
    (("EXTRACTOR=vgg",), "EXTRACTOR=vgg"),
    (("WEIGHTS=missing.pt",), "missing.pt"),
    (("EXTRACTOR=dinov2",), "dinov2"),
])  # fmt: skip
def test_wrong_options_end_with_one_line_and_status_2(options, words, results, data, ended):
    status, printed, said = ended(main, RUN.id, f"RESULTS={results}", f"DATA={data}", *options)
    assert (status, printed) == (2, "") and words in said and said.count("\n") == 1
    assert not (results / RUN.id / "metrics.json").exists()


@pytest.mark.parametrize("options, words", [({"samples": 9}, "samples 9"), ({"eval_seeds": 0}, "eval_seeds 0"),
                                            ({"eval_every": 0}, "eval_every 0")])
def test_too_few_samples_or_draws_are_refused(options, words):
    with pytest.raises(InputError, match=words):
        Protocol("effnet", **options)


def test_runs_that_cannot_be_measured_are_refused(results, data, tmp_path):
    def refused(words: str, run: Run = RUN, root: Path = data):
        with pytest.raises(InputError, match=words):
            evaluate(run, EFFNET, root, results, CPU)

    refused("not trained", replace(RUN, fraction=0.2))
    assert not (results / replace(RUN, fraction=0.2).id).exists()
    file = results / RUN.id / "generator.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    refused("not a whole safetensors file")
    file.unlink()
    refused("missing.*reproduce.run")
    assert not (results / RUN.id / "metrics.json").exists()


def test_a_data_set_that_changed_since_training_is_refused(results, data):
    config = json.loads((results / RUN.id / "config.json").read_text())
    config["dataset"]["digest"] = "another"
    record.write_json(results / RUN.id / "config.json", config)
    with pytest.raises(InputError, match="not the one"):
        evaluate(RUN, EFFNET, data, results, CPU)


def test_a_run_in_training_is_not_measured(results, data):
    with record.locked(results / RUN.id), pytest.raises(InputError, match="another process"):
        evaluate(RUN, EFFNET, data, results, CPU)
