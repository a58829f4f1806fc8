"""The drills' harness: a real drill passes, and a comparison that should fail does."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.runs import InputError, Run
from reproduce import drills, record
from reproduce.drills import CannotRun, DrillError, Outcome, Place, differences, flip_a_bit, hold, leftovers, passed


@pytest.fixture(scope="module")
def expected(tmp_path_factory) -> Place:
    """An undisturbed sweep of one short run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drills, "RUNS", [replace(Run.from_id(drills.RUNS[0]), iterations=40).id])
        yield drills.undisturbed(tmp_path_factory.mktemp("drills") / "undisturbed")


@pytest.fixture
def copy(expected, tmp_path) -> Place:
    """What a drill that went well has left."""
    place = Place(tmp_path / "copy")
    shutil.copytree(expected.folder, place.folder, dirs_exist_ok=True)
    return place


def test_a_training_that_is_told_to_stop_ends_as_an_undisturbed_one(expected, tmp_path, monkeypatch):
    def stop_and_go_on(place: Place) -> Outcome:
        """Stop it."""
        drills.begin(place)
        assert drills.lines(place.run()) < 40 and not (place.run() / "metrics.json").exists()
        return Outcome(1, {})

    monkeypatch.setitem(drills.DRILLS, "stop", stop_and_go_on)
    row = hold("stop", expected, tmp_path / "stop")
    assert (row["what"], row.get("failed"), row["differences"], row["leftovers"]) == ("Stop it.", None, [], [])
    assert passed(row)


def test_a_copy_is_equal_whatever_its_seconds(expected, copy):
    log = copy.run() / "log.jsonl"
    log.write_text("".join(json.dumps(json.loads(line) | {"seconds": 9.0}) + "\n" for line in
                           log.read_text().splitlines()))  # fmt: skip
    assert differences(expected, copy) == leftovers(expected, copy) == []


@pytest.mark.parametrize("name", ["checkpoint.pt", "generator.safetensors", "samples.png"])
def test_a_flipped_bit_is_a_difference(name, expected, copy):
    flip_a_bit(copy.run() / name)
    assert differences(expected, copy) == [f"results/{drills.RUNS[0]}/{name}"]


def test_another_value_and_a_missing_file_are_differences(expected, copy):
    metrics = copy.run() / "metrics.json"
    content = json.loads(metrics.read_text())
    content["metrics"][0]["value"] *= 1 + 1e-12
    metrics.write_text(json.dumps(content))
    (copy.run() / "log.jsonl").unlink()
    assert differences(expected, copy) == [f"results/{drills.RUNS[0]}/{name}" for name in ("log.jsonl", "metrics.json")]


def test_what_should_not_be_there_is_left_over(expected, copy):
    (copy.run() / "checkpoint.new.pt.1.tmp").touch()
    (copy.run() / "log.jsonl").write_text('{"iteration": 1')
    assert leftovers(expected, copy) == [f"results/{drills.RUNS[0]}/{name}"
                                         for name in ("checkpoint.new.pt.1.tmp", "log.jsonl")]


@pytest.mark.parametrize("error, key", [(CannotRun("no root"), "not_run"), (DrillError("status 1"), "failed")])
def test_a_drill_that_did_not_take_place_or_failed_says_so(error, key, tmp_path, monkeypatch):
    def drill(place: Place) -> Outcome:
        """Nothing."""
        raise error

    monkeypatch.setitem(drills.DRILLS, "none", drill)
    row = hold("none", Place(tmp_path / "expected"), tmp_path / "found")
    assert row == {"drill": "none", "what": "Nothing.", key: str(error)} and passed(row) == (key == "not_run")


def test_only_rows_of_the_same_code_are_kept(tmp_path):
    file, origin = tmp_path / "drills.json", {"commit": "c", "dirty": False}
    assert drills.earlier(file, origin) == {}
    file.write_text(json.dumps({"provenance": origin, "rows": [{"drill": "hang"}]}))
    assert drills.earlier(file, origin) == {"hang": {"drill": "hang"}}
    assert drills.earlier(file, origin | {"commit": "d"}) == {}
    file.write_text(json.dumps({"provenance": origin | {"dirty": True}, "rows": [{"drill": "hang"}]}))
    assert drills.earlier(file, origin | {"dirty": True}) == {}


def test_an_unknown_drill_is_named(monkeypatch):
    monkeypatch.setattr("sys.argv", ["drills", "flood"])
    with pytest.raises(InputError, match="drill 'flood': not one of SIGKILL, SIGTERM"):
        drills.main()


# --- What drills have found, and holds now ----------------------------------------------------------------------------


def test_what_a_killed_process_was_writing_is_removed(tmp_path):
    (tmp_path / "generators").mkdir()
    asides = [tmp_path / "checkpoint.new.pt.1.tmp", tmp_path / "generators" / "10.safetensors.1.tmp"]
    for path in (*asides, tmp_path / "checkpoint.new.pt"):
        path.touch()
    with record.locked(tmp_path):
        assert not any(path.exists() for path in asides) and (tmp_path / "checkpoint.new.pt").exists()


def test_a_log_on_a_full_disk_is_one_line():
    log = record.Log.__new__(record.Log)
    log.file = Path("/dev/full")
    with pytest.raises(InputError, match="cannot write /dev/full: No space left on device"):
        log.write(iteration=1)


def test_a_folder_that_cannot_be_written_to_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    for write in (lambda: record.locked(tmp_path / "file" / "run").__enter__(),
                  lambda: record.write_bytes(tmp_path / "file" / "x", b"")):
        with pytest.raises(InputError, match=f"cannot write .*{tmp_path}/file/"):
            write()


def test_an_error_is_not_hidden_by_that_of_noting_it(tmp_path):
    with pytest.raises(ZeroDivisionError), record.failures_noted(tmp_path):
        (tmp_path / "failed.json").mkdir()
        raise ZeroDivisionError


def test_where_no_checkpoint_is_whole_the_training_begins_anew_and_says_so(tmp_path, capsys):
    assert record.load_checkpoint(tmp_path, {}) == (0, 0.0) and not capsys.readouterr().err
    for name in ("checkpoint.pt", "checkpoint.prev.pt"):
        record.write_torch(tmp_path / name, {"step": 5, "seconds": 1.0})
    assert record.load_checkpoint(tmp_path, {}) == (5, 1.0)
    for name in ("checkpoint.pt", "checkpoint.prev.pt"):
        flip_a_bit(tmp_path / name)
    assert record.load_checkpoint(tmp_path, {}) == (0, 0.0)
    said = capsys.readouterr().err.splitlines()
    assert "checkpoint.pt is damaged" in said[0] and "prev.pt is damaged" in said[1] and "begins anew" in said[2]
