"""The status grid, from made-up run folders."""

import fcntl
from dataclasses import replace

import pytest

from benchmarks.runs import InputError
from benchmarks.tables import TABLES
from reports import status
from reports.conftest import entry


def run_status(writer, monkeypatch, capsys, *args) -> tuple[int, str]:
    monkeypatch.setattr("sys.argv", ["", *args, "--results", str(writer.folder)])
    return status.main(), capsys.readouterr().out


def test_states_of_a_table(writer, monkeypatch, capsys):
    runs = [cell.run for cell in TABLES["table3"].cells]
    writer.write(runs[0], [entry("fid", 1.0)])
    writer.write(replace(runs[0], seed=1), [], status="diverged")
    writer.log(runs[1], lines=4)
    log = writer.folder / runs[1].id / "log.jsonl"
    log.write_text('{"iteration": 10000, "seconds": 3600.0}\n')
    with (log.parent / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        code, text = run_status(writer, monkeypatch, capsys, "table3", "--require-all")
    lines = [line.split("  ") for line in text.splitlines()]
    assert [[part.strip() for part in line if part] for line in lines[:2]] == [
        ["table3", "cifar-100 10%", "cifar-100 20%", "cifar-100 100%"],
        ["wgan baseline", "1 done, 1 diverged", "running 10 % 9h00m left", "missing"]]
    assert code == 1


def test_a_full_table_is_complete(writer, monkeypatch, capsys):
    writer.full("smoke", seeds=1, lines=2)
    code, text = run_status(writer, monkeypatch, capsys, "smoke", "--require-all")
    assert code == 0 and text.count("done") == len(TABLES["smoke"].cells) and "missing" not in text


def test_runs_of_no_table_are_shown(writer, monkeypatch, capsys):
    run = replace(TABLES["table3"].cells[0].run, iterations=50)
    writer.write(run, [])
    assert run.id in run_status(writer, monkeypatch, capsys)[1].split("other runs:")[1]


def test_a_method_with_a_weight_for_each_fraction_is_one_row(writer, monkeypatch, capsys):
    small, full = (cell.run for cell in TABLES["open"].cells if cell.run.method in ("diggan10000", "diggan1000")
                   and cell.run.model == "wgan")
    writer.write(small, [])
    writer.write(full, [], status="diverged")
    [line] = [line for line in run_status(writer, monkeypatch, capsys, "open")[1].splitlines() if "wgan diggan" in line]
    assert line.split()[2:] == ["done", "missing", "diverged"]


def test_unknown_table(writer, monkeypatch, capsys):
    with pytest.raises(InputError, match="table9.*not one of table1"):
        run_status(writer, monkeypatch, capsys, "table9")
