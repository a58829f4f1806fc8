"""What `make clean` removes, and above all what it does not."""

import fcntl
import json
from pathlib import Path

import pytest

from benchmarks.tables import TABLES, runs
from reproduce import clean
from reproduce.settings import Settings

SMOKE = [run.id for run in runs("smoke")]


@pytest.fixture
def settings(tmp_path, monkeypatch) -> Settings:
    """A results folder with a space in its name: runs of smoke, and what must stay."""
    results = tmp_path / "keep me"
    for name, said in ((SMOKE[0], SMOKE[0]), (SMOKE[1], SMOKE[1]), (SMOKE[2], "another run"), ("my notes", "my notes"),
                       (TABLES["table3"].cells[0].run.id, TABLES["table3"].cells[0].run.id)):
        (results / name / "generators").mkdir(parents=True)
        (results / name / "config.json").write_text(json.dumps({"id": said}))
    (results / SMOKE[3]).mkdir()
    (tmp_path / "keep").mkdir()
    (tmp_path / "me").mkdir()
    monkeypatch.chdir(tmp_path)
    return Settings.parse(["RESULTS=keep me", "REPORTS=my reports"], "smoke")


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_runs_of_smoke_go_and_nothing_else(settings, tmp_path):
    before = names(settings.results)
    assert clean.remove_runs(settings) == 2
    assert names(settings.results) == before - set(SMOKE[:2]) and {"keep", "me"} <= names(tmp_path)


def test_a_run_that_is_worked_on_and_one_behind_a_link_stay(settings, tmp_path):
    (settings.results / SMOKE[1]).rename(tmp_path / "elsewhere")
    (settings.results / SMOKE[1]).symlink_to(tmp_path / "elsewhere")
    with (settings.results / SMOKE[0] / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert clean.remove_runs(settings) == 0
    assert (tmp_path / "elsewhere" / "config.json").exists()
    assert clean.remove_runs(settings) == 1


def test_what_was_rendered_goes_and_other_files_stay(settings):
    folder = settings.reports / "smoke"
    (folder / "figures").mkdir(parents=True)
    for name in ("table.md", "figures/norms.png", "thesis.docx"):
        (folder / name).touch()
    clean.remove_report(folder)
    assert names(folder) == {"thesis.docx"}
    (folder / "thesis.docx").unlink()
    clean.remove_report(folder)
    assert not folder.exists() and settings.reports.exists()


def test_the_report_of_other_results_stays(settings, tmp_path, monkeypatch):
    for folder in ("reports/smoke", "keep me/reports/smoke"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "table.md").touch()
    monkeypatch.setattr("sys.argv", ["", "RESULTS=keep me"])
    clean.main()
    assert (tmp_path / "reports/smoke/table.md").exists() and not (tmp_path / "keep me/reports/smoke").exists()
