"""The boards of `python -m reports status`, from made-up run folders, and that it needs no installation."""

import fcntl
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.tables import TABLES, TUNING
from reports import __main__
from reports.conftest import entry
from reports.show.status import status

ROOT = Path(__file__).parents[2]


def test_states_of_a_table(writer, capsys):
    first = TABLES["table3"].cells[0].run
    runs = [first, replace(first, regularizers={"gradgap": 100.0})]
    writer.write(runs[0], [entry("fid", 1.0)])
    writer.write(replace(runs[0], seed=1), [], status="diverged")
    log = writer.folder / runs[1].id / "log.jsonl"
    log.parent.mkdir()
    log.write_text('{"iteration": 10000, "seconds": 3600.0}\n')
    with (log.parent / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        code = status(writer.folder, ["table3"], require="all")
    lines = [line.split("  ") for line in capsys.readouterr().out.splitlines()]
    assert [[part.strip() for part in line if part] for line in lines[:3]] == [
        ["table3", "cifar-100 10%", "cifar-100 20%", "cifar-100 100%"],
        ["wgan baseline", "1 done, 1 diverged", "missing", "missing"],
        ["wgan gradgap100", "running 10 % 9h00m left", "missing", "missing"]]  # fmt: skip
    assert code == 1


def test_a_seed_that_chose_a_weight_does_not_count(writer, capsys):
    run = TABLES["small"].cells[0].run
    writer.write(replace(run, seed=TUNING), [])
    assert status(writer.folder, ["small"], require="all") == 1
    assert "done" not in capsys.readouterr().out


def test_seeds_that_a_table_should_have_are_missed(writer, capsys):
    writer.table("small", seeds=1)
    assert status(writer.folder, ["small"], require="all") == 1 and "1 done, 4 missing" in capsys.readouterr().out
    assert status(writer.folder, ["small"], require="all", seeds=1) == 0 and "missing" not in capsys.readouterr().out


def test_a_log_without_an_end_in_sight_is_no_reason_to_fail(writer, capsys):
    folder = writer.folder / TABLES["table3"].cells[0].run.id
    folder.mkdir()
    (folder / "config.json").touch()
    (folder / "log.jsonl").write_text('{"iteration": 1, "seconds": Infinity}\n')
    assert status(writer.folder, ["table3"]) == 0
    assert "stopped 0 %" in capsys.readouterr().out


def test_a_full_table_is_complete(writer, capsys):
    writer.table("smoke", seeds=1)
    assert status(writer.folder, ["smoke"], require="all") == 0
    assert "missing" not in capsys.readouterr().out


def test_other_iterations(writer):
    for cell in TABLES["smoke"].cells:
        writer.write(replace(cell.run, iterations=min(cell.run.iterations, 4)), [])
    where = ["status", "smoke", "REQUIRE=all", f"RESULTS={writer.folder}"]
    done = reports(*where, "ITERATIONS=4")
    assert done.returncode == 0 and done.stdout.startswith("smoke-i4 ")
    assert reports(*where).returncode == 1


def test_runs_of_no_table_are_shown(writer, capsys):
    run = replace(TABLES["table3"].cells[0].run, iterations=50)
    writer.write(run, [])
    status(writer.folder, list(TABLES))
    assert run.id in capsys.readouterr().out.split("other runs:")[1]


def reports(*arguments):
    """The command with the standard library alone: no installed package can be imported."""
    return subprocess.run([sys.executable, "-S", "-m", "reports", *arguments], cwd=ROOT, capture_output=True, text=True)


def test_status_needs_no_installation(writer):
    done = reports("status", f"RESULTS={writer.folder}")
    assert done.returncode == 0 and "table3" in done.stdout and not done.stderr


@pytest.mark.parametrize("arguments, message", [
    (["status", "RESULTS=resluts"], "RESULTS=resluts: not a folder that exists"),
    (["all", "RESULTS=Makefile"], "RESULTS=Makefile: not a folder that exists"),
    (["status", "table9"], "'table9': not one of table1"), (["table"], "'table': not a command"),
    (["status", "RESULT=x"], "not an option"), (["render", "smoke", "ITERATIONS=x"], "ITERATIONS=x"),
    (["all", "smoke"], "takes options"), (["status", "REQUIRE=some"], "REQUIRE=some: must be one of all"),
])  # fmt: skip
def test_bad_input_is_one_line_and_status_2(arguments, message):
    results = [] if any("RESULT" in argument for argument in arguments) else [f"RESULTS={ROOT / 'benchmarks'}"]
    done = reports(*arguments, *results)
    assert done.returncode == 2 and message in done.stderr and done.stderr.count("\n") == 1 and not done.stdout


@pytest.mark.parametrize("table", ["bench", "smoke"])
def test_rendering_other_iterations(writer, tmp_path, monkeypatch, table):
    monkeypatch.setattr("reports.__main__.TABLES", dict(TABLES))  # which the command adds to
    monkeypatch.setattr("reports.data.views.TABLES", __main__.TABLES)
    arguments = [table, "ITERATIONS=4", f"RESULTS={writer.folder}", f"REPORTS={tmp_path / 'made'}"]
    monkeypatch.setattr(sys, "argv", ["reports", "render", *arguments])
    assert __main__.main() == 0
    assert (tmp_path / "made" / "smoke-i4" / "table.md").exists() == (table == "smoke")


def test_another_number_of_samples_is_shown_when_it_is_asked_for(writer, tmp_path, monkeypatch):
    monkeypatch.setattr("reports.__main__.TABLES", dict(TABLES))
    monkeypatch.setattr("reports.data.views.TABLES", __main__.TABLES)
    cell = TABLES["smoke"].cells[1].run
    writer.write(cell, [entry("fd_effnet", 7.25, n_generated=50)])
    for options, shown in (["SAMPLES=50"], True), ([], False):
        where = [f"RESULTS={writer.folder}", f"REPORTS={tmp_path / str(shown)}"]
        monkeypatch.setattr(sys, "argv", ["reports", "render", "smoke", *options, *where])
        __main__.TABLES.update(TABLES)
        assert __main__.main() == 0
        table = (tmp_path / str(shown) / "smoke" / "table.md").read_text()
        assert ("7.25" in table.partition("## fd_effnet, 50")[0]) == shown


def test_a_terminal_without_plus_minus_signs_is_no_reason_to_fail(tmp_path):
    """Nor is a folder with spaces, quotes and letters that such a terminal lacks."""
    results = tmp_path / "mes 'résultats' "
    results.mkdir()
    command = [sys.executable, "-m", "reports", "render", "table3", f"RESULTS={results}/"]
    ascii_only = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, cwd=ROOT, env=ascii_only, capture_output=True, text=True)
    assert done.returncode == 0 and "Table 3" in done.stdout and not done.stderr
    assert (results / "reports" / "table3" / "table.md").exists() and [path.name for path in tmp_path.iterdir()] == [
        results.name]  # fmt: skip
