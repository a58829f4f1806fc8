"""What can be known to fail is said before anything is trained, all of it at once."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.runs import InputError, Run
from benchmarks.tables import TABLES
from reproduce import preflight, record
from reproduce.cell import finished
from reproduce.preflight import look
from reproduce.settings import Settings
from reproduce.train import train

TINY = Run("dcgan", "noise", 32, 0.5, iterations=30, batch=4, override={"width": 0.1})


@pytest.fixture
def settings(tmp_path) -> Settings:
    """Those of a sweep that lacks nothing."""
    folder = tmp_path / "my data"
    (folder / "noise").mkdir(parents=True)
    for i, image in enumerate(np.random.default_rng(0).integers(0, 256, (24, 32, 32, 3), dtype=np.uint8)):
        Image.fromarray(image).save(folder / "noise" / f"{i}.png")
    return Settings(data=folder, results=tmp_path / "my results", device="cpu", extractor="effnet", samples=12)


def test_a_sweep_that_lacks_nothing_goes_on_and_nothing_is_written(settings):
    found = look([TINY, replace(TINY, seed=1)], settings)
    assert (found.faults, found.left_out) == ([], {}) and found.run_ids == [TINY.id, replace(TINY, seed=1).id]
    assert not settings.results.exists() and [path.name for path in settings.data.iterdir()] == ["noise"]


def test_all_that_is_missing_is_said_at_once_and_each_thing_once(settings, tmp_path):
    (tmp_path / "file").touch()
    wrong = replace(settings, results=tmp_path / "file" / "runs", extractor="vgg", gpus_per_run=99, device="abacus")
    runs = [replace(TINY, seed=seed, regularizers={"wisdom": 1.0}) for seed in range(3)]
    faults = look(runs, wrong).faults
    assert all("\n" not in line for line in faults) and len(faults) == len(set(faults))
    for words in ("wisdom", "device 'abacus'", "is not a folder", "EXTRACTOR=vgg"):
        assert sum(words in line for line in faults) == 1, (words, faults)


@pytest.mark.parametrize("options, words", [
    ({"weights": Path("/none.pt")}, "none.pt"), ({"gpus_per_run": 99}, "GPUS_PER_RUN=99"), ({"graphs": True}, "GRAPHS"),
    ({"gpus": 99, "device": "auto"}, "GPUS=99"), ({"method": "nonsense"}, "nonsense"),
    ({"data": Path("/dev/null/data")}, "not a folder")])
def test_each_fault_is_one_line(options, words, settings):
    (line,) = look([], replace(settings, **options)).faults
    assert words in line and "\n" not in line


def test_slurm_without_its_commands_is_said(settings, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    (line,) = look([], replace(settings, engine="slurm")).faults
    assert "no sbatch here" in line


@pytest.mark.parametrize("override, words", [
    ({"width": "wide"}, "width 'wide': must be a number"), ({"init": 5}, "init 5: is a word in the recipe"),
    ({"ema_decay": 2}, "ema_decay 2: must be at least 0"), ({"lr_g": 0}, "lr_g 0: must be above 0")])
def test_a_wrong_override_is_one_line(override, words, settings):
    run = Run("biggan", "noise", 32, override=override)
    lines = look([run], replace(settings, device="auto")).faults
    assert any(words in line for line in lines), lines


def test_a_batch_is_not_cut_for_more_processes_than_it_has_groups(settings, monkeypatch):
    monkeypatch.setattr(preflight.os, "cpu_count", lambda: 64)
    run = Run("stylegan2", "noise", 32, batch=8, override={"width": 0.03})
    assert look([run], replace(settings, gpus_per_run=2)).faults == []
    (line,) = look([run], replace(settings, gpus_per_run=3)).faults
    assert "GPUS_PER_RUN=3" in line and "at most 2" in line


def test_a_batch_whose_groups_would_mix_real_and_generated_images_is_refused(settings):
    faults = look([Run("stylegan2", "noise", 32, batch=6, override={"width": 0.03})], settings).faults
    assert any("batch 6: must be a multiple of mbstd_group = 4" in line for line in faults)


def test_runs_without_their_data_set_are_left_out_with_what_mends_it(settings):
    runs = [TINY, *(replace(TINY, dataset="cifar-100", fraction=fraction) for fraction in (0.1, 1.0))]
    found = look(runs, settings)
    assert found.faults == [] and found.run_ids == [TINY.id] and list(found.left_out) == [run.id for run in runs[1:]]
    (line,) = set(found.left_out.values())
    assert "(runs that need it: 2)" in line and "make data DATASET=cifar-100" in line


def test_a_record_of_a_clone_is_not_trained_over(settings):
    """git tracks no weights. Of two such runs none is trained by itself; the one that lacks nothing is done."""
    train(TINY, settings, torch.device("cpu"))
    folder = settings.results / TINY.id
    record.write_json(folder / "metrics.json", {"status": "done", "evaluated": [str(settings.protocol)],
                                                "considered": []})  # fmt: skip
    assert look([TINY], settings).run_ids == [TINY.id]  # a new metric is worked out from what is there
    for path in (folder / "generator.safetensors", folder / "checkpoint.pt"):
        path.unlink()
    assert finished(TINY.id, settings) and look([TINY], settings).left_out == {}
    other = replace(TINY, seed=1)
    found = look([TINY, other], replace(settings, samples=20))
    assert (found.faults, found.run_ids) == ([], [other.id])
    line = found.left_out[TINY.id]
    assert str(settings.results) in line and "1 records are here without their generators" in line and "\n" not in line


def test_a_source_that_is_not_the_set_leaves_its_runs_out(settings):
    (settings.data / "skulls").mkdir()
    shutil.copy(settings.data / "noise" / "0.png", settings.data / "skulls")
    (settings.data / "mine.zip").touch()
    runs = [TINY, replace(TINY, dataset="skulls"), replace(TINY, dataset="mine")]
    found = look(runs, settings)
    assert (found.faults, found.run_ids) == ([], [TINY.id]) and not (settings.data / "prepared").exists()
    assert "1 images, but skulls has 97" in found.left_out[runs[1].id]
    assert "mine.zip: corrupt archive" in found.left_out[runs[2].id]


def test_a_cpu_trains_networks_of_full_size_only_when_told_to(settings, monkeypatch):
    monkeypatch.setattr(preflight, "missing_data", lambda runs, data: {})
    auto = replace(settings, device="auto")
    own = Run("wgan", "noise", 64)  # of no table
    for run in (TABLES["table3"].cells[0].run, own):
        if not torch.cuda.is_available():
            (line,) = look([run], auto).faults
            assert "DEVICE=cpu" in line and "make plan" in line
        assert look([run], settings).faults == []
    assert look([TINY, replace(own, iterations=100)], auto).faults == []


def test_the_small_tables_are_for_a_cpu_and_the_others_are_not():
    for table in TABLES.values():
        large = {preflight.is_large(cell.run) for cell in table.cells if cell.run.iterations}
        assert large == {not table.small}


def test_a_run_that_kept_no_generators_is_not_measured_on_the_way(settings):
    """Nor is one refused whose first generator is still to be made."""
    train(TINY, settings, torch.device("cpu"))
    (line,) = look([TINY], replace(settings, eval_every=10)).faults
    assert "EVAL_EVERY=10" in line and "iteration 10" in line and str(settings.results / TINY.id) in line
    assert look([TINY], replace(settings, eval_every=30)).faults == []
    (settings.results / TINY.id / "generator.safetensors").unlink()
    assert len(look([TINY], replace(settings, eval_every=10)).faults) == 1
    (settings.results / TINY.id / "checkpoint.pt").write_bytes(b"damaged")
    assert len(look([TINY], replace(settings, eval_every=10)).faults) == 1, "the one before it is read"
    (settings.results / TINY.id / "checkpoint.prev.pt").unlink()
    assert look([TINY], replace(settings, eval_every=10)).faults == []


def test_a_disk_that_is_too_small_is_said_before(settings, monkeypatch):
    monkeypatch.setattr(preflight.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9, 10**5))
    (line,) = look([TINY], settings).faults
    assert "GB there, and 0.0 GB are free" in line


def test_the_bytes_that_a_run_leaves_are_as_estimated(settings):
    """Features apart, which a training alone does not leave."""
    train(TINY, settings, torch.device("cpu"))
    left = sum(path.stat().st_size for path in (settings.results / TINY.id).iterdir())
    features = preflight.FEATURES * settings.samples
    estimate = preflight.bytes_left_by(TINY, settings)
    assert left == pytest.approx(estimate - features, rel=0.5)


def test_no_run_of_a_table_is_larger_than_what_is_taken_for_large():
    """The largest networks are those at 1024 px."""
    for model in ("wgan", "stylegan2", "biggan"):
        run = Run(model, "ffhq", 1024)
        assert preflight.bytes_left_by(run, Settings()) < preflight.LARGE


def test_a_changed_method_file_is_refused(settings, tmp_path):
    (settings.results / TINY.id).mkdir(parents=True)
    record.write_json(settings.results / TINY.id / "config.json", {"method_files": {"mine": "sha256 of another"}})
    (line,) = look([TINY], settings).faults
    assert "another file" in line


def test_a_preflight_that_dies_is_no_clean_bill(settings, monkeypatch):
    monkeypatch.setattr(preflight, "answered", lambda *_: (None, -9))
    with pytest.raises(InputError, match="status -9"):
        preflight.look_apart([TINY.id], settings)


@pytest.mark.parametrize("dear", [{"iterations": 60}, {"batch": 8}, {"resolution": 64}, {"override": {"width": 0.2}}])
def test_the_cheapest_come_first(dear):
    dear, other = replace(TINY, **dear), replace(TINY, regularizers={"gradgap": 1.0})
    real = Run("heldout", "noise", 32, 0.5, iterations=0)
    assert preflight.cheapest_first([dear, TINY, other, real]) == [real, TINY, other, dear]
