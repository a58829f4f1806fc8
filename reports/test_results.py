"""Reading results: each kind of damage is named and left out, and nothing else with it; states come from the files."""

import fcntl
import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.runs import InputError, Run
from reports.conftest import entry, record
from reports.results import read, write

RUN = Run("wgan", "cifar-100", 64, 0.1)
GOOD = entry("fid", 50.0)


def without(data: dict, key: str) -> dict:
    return {name: value for name, value in data.items() if name != key}


DAMAGE = {
    "truncated": (json.dumps(record(RUN, [GOOD]))[:-100], "not valid JSON"),
    "empty": ("", "not valid JSON"),
    "a list": ("[]", "not a JSON object"),
    "no provenance": (json.dumps(without(record(RUN, [GOOD]), "provenance")), "without provenance"),
    "no metrics": (json.dumps(without(record(RUN, [GOOD]), "metrics")), "without metrics"),
    "config is null": (json.dumps(record(RUN, [GOOD]) | {"config": None}), "metrics.json"),
    "of another run": (json.dumps(record(Run("wgan", "cifar-100", 64, 0.2), [GOOD])), "not the run of its folder"),
    "too few iterations": (json.dumps(record(RUN, [GOOD]) | {"iteration": 500}), "done at iteration 500 of 100000"),
    "unknown status": (json.dumps(record(RUN, [GOOD], status="fine")), "status 'fine'"),
}
BAD_ENTRIES = {
    "unknown metric": (entry("banana", 1.0), "'banana'"),
    "a stand-in called fid": (entry("fid", 1.0, extractor="effnet"), "'fid' with extractor 'effnet'"),
    "fid_effnet": (entry("fid_effnet", 1.0), "'fid_effnet'"),
    "of another extractor": (entry("kid_effnet", 1.0, extractor="clip"), "'kid_effnet' with extractor 'clip'"),
    "without its extractor": (entry("coverage", 1.0), "'coverage' with extractor 'inception'"),
    "unknown direction": (entry("banana_effnet", 1.0, better="left"), "lower or higher"),
    "no name": (entry("kid", 1.0) | {"name": None}, "'None'"),
    "wrong direction": (entry("kid", 1.0, better="higher"), "better is 'higher'"),
    "not a number": (entry("kid", float("nan")), "nan"),
    "null": (entry("kid", None), "None"),
    "below zero": (entry("is", -1.0), "above 0"),
    "no sampling seed": (without(entry("kid", 1.0), "seed"), "without seed"),
    "no sample count": (without(entry("kid", 1.0), "n_generated"), "without n_generated"),
    "twice": (GOOD | {"value": 51.0}, "twice"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_record_is_named_and_left_out(writer, name):
    text, reason = DAMAGE[name]
    writer.write(RUN, [GOOD])
    good = Run("wgan", "cifar-100", 64, 1.0)
    writer.write(good, [GOOD])
    (writer.folder / RUN.id / "metrics.json").write_text(text)
    results = read(writer.folder)
    assert list(results.records) == [good.id]
    assert len(results.problems) == 1
    assert RUN.id in results.problems[0] and reason in results.problems[0]


@pytest.mark.parametrize("name", BAD_ENTRIES)
def test_damaged_metric_is_named_and_the_others_stay(writer, name):
    bad, reason = BAD_ENTRIES[name]
    writer.write(RUN, [GOOD, bad])
    results = read(writer.folder)
    assert [(score.metric, score.value) for score in results.records[RUN.id].scores] == [("fid", 50.0)]
    assert len(results.problems) == 1
    assert RUN.id in results.problems[0] and reason in results.problems[0]


@pytest.mark.parametrize(("name", "extractor"), [("is", "inception"), ("precision_inception", "inception"),
                                                 ("fd_inception_tf", "inception_tf"), ("vendi_clip", "clip")])
def test_names_as_evaluation_writes_them(writer, name, extractor):
    writer.write(RUN, [entry(name, 1.0, extractor=extractor)])
    results = read(writer.folder)
    assert [score.metric for score in results.records[RUN.id].scores] == [name] and results.problems == []


def test_what_is_no_run_is_passed_over(tmp_path):
    (tmp_path / "bench").mkdir()
    (tmp_path / ".gitkeep").touch()
    assert read(tmp_path).runs == read(tmp_path / "nothing").runs == []


def test_log_without_its_half_written_last_line(writer):
    writer.log(RUN, lines=10)
    path = writer.folder / RUN.id / "log.jsonl"
    path.write_text(path.read_text() + '{"iteration": 11, "los')
    results = read(writer.folder)
    assert list(results.log(RUN.id)["iteration"]) == [10_000 * k for k in range(1, 11)]
    assert results.problems == []


@pytest.mark.parametrize("line", ["{broken", '{"iteration": 1}', "3"])
def test_damaged_log_is_named_and_left_out(writer, line):
    writer.log(RUN, lines=10)
    path = writer.folder / RUN.id / "log.jsonl"
    path.write_text(line + "\n" + path.read_text())
    results = read(writer.folder)
    assert results.log(RUN.id) == results.log(RUN.id) == {}
    assert len(results.problems) == 1 and "log.jsonl" in results.problems[0]


STATES = {  # files of a run -> its state
    "config.json": "stopped 0 %",
    "config.json log.jsonl": "stopped 50 %",
    "config.json log.jsonl failed.json": "failed",
    "config.json log.jsonl diverged.json": "diverged",
    "config.json log.jsonl generator.safetensors": "trained",
    "config.json log.jsonl generator.safetensors metrics.json": "damaged",
}


@pytest.mark.parametrize("files", STATES)
def test_state_from_files(writer, files):
    folder = writer.folder / RUN.id
    folder.mkdir(parents=True)
    for name in files.split():
        (folder / name).write_text('{"iteration": 50000, "seconds": 100.0}\n' if name == "log.jsonl" else "{}")
    assert str(read(writer.folder).states[RUN.id]) == STATES[files]


def test_running_while_the_lock_is_held(writer):
    writer.log(RUN, lines=4)
    path = writer.folder / RUN.id / "log.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:1]))  # 25,000 iterations in 1 s
    with (writer.folder / RUN.id / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        state = read(writer.folder).states[RUN.id]
        assert (str(state), round(state.eta, 6)) == ("running 25 %", 3.0)
    assert read(writer.folder).states[RUN.id].name == "missing"


@pytest.mark.parametrize(("module", "heavy"), [("status", {"numpy", "pandas", "matplotlib", "torch"}),
                                               ("page", {"torch"})])
def test_imports_stay_light(module, heavy):
    code = f"import sys, reports.{module}; print(*sys.modules)"
    root = Path(__file__).parents[1]
    names = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True).stdout
    assert not heavy & set(names.split())


def test_a_report_that_cannot_be_written_is_one_error_and_nothing_half(tmp_path):
    write(tmp_path / "table.md", b"before")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "by").mkdir()
    for path in (tmp_path / "taken", tmp_path / "table.md" / "below"):  # a folder in its place, a file as its folder
        with pytest.raises(InputError, match=f"cannot write {path}"):
            write(path, b"after")
    assert (tmp_path / "table.md").read_bytes() == b"before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["table.md", "taken"]
