"""The way from the shell to the programs: `make` in a copy of the checkout.

A stand-in for the environment's Python writes down how it was called.
"""

import importlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.runs import InputError
from benchmarks.tables import TABLES

ROOT = Path(__file__).parents[1]
STAND_IN = """#!{python}
import json, os, sys
with open({calls!r}, "a") as file:
    file.write(json.dumps(sys.argv[1:]) + "\\n")
if sys.argv[2:4] == ["reproduce.methods", "name"]:
    print("mine5")
sys.exit(int(os.environ.get("STATUS_" + "_".join(sys.argv[2:4]).replace(".", "_"), 0)))
"""

pytestmark = pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")


@pytest.fixture
def checkout(tmp_path) -> Path:
    folder = tmp_path / "check out"
    folder.mkdir()
    for name in ("Makefile", "requirements.txt"):
        shutil.copy(ROOT / name, folder)
    for name in ("benchmarks", "reproduce"):
        (folder / name).symlink_to(ROOT / name)
    install(folder / ".venv", folder)
    return folder


def install(venv: Path, checkout: Path) -> None:
    (venv / "bin").mkdir(parents=True)
    python = venv / "bin" / "python"
    python.write_text(STAND_IN.format(python=sys.executable, calls=str(checkout / "calls")))
    python.chmod(0o755)
    (venv / "installed").touch()
    (venv / "mine").touch()


def make(checkout: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
    plain = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
    for name in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MAKEOVERRIDES", "CONDA_DEFAULT_ENV"):
        plain.pop(name, None)
    return subprocess.run(["make", f"PYTHON={sys.executable}", *arguments], cwd=checkout, capture_output=True,
                          text=True, env=plain | environment, timeout=60)  # fmt: skip


def calls(checkout: Path) -> list[list[str]]:
    """The arguments of every call of the environment's Python, after -m."""
    file = checkout / "calls"
    return [json.loads(line)[1:] for line in file.read_text().splitlines()] if file.exists() else []


def test_every_value_arrives_as_it_was_given(checkout):
    given = {"RESULTS": "keep me", "METHOD": "it's a + \"b\".py5", "SBATCH": "--comment=a$b --x", "DATA": "d ; ls *",
             "SEEDS": "3"}
    raw = [f"{name}={value}" for name, value in given.items()]
    assert make(checkout, "compare", *raw).returncode == 0
    sweep, name, reports = calls(checkout)
    assert sweep[:2] == ["reproduce.sweep", "compare"] and sorted(sweep[2:]) == sorted(raw)
    assert name[:2] == ["reproduce.methods", "name"]
    assert sorted(name[2:]) == [f"METHOD={given['METHOD']}", "RESULTS=keep me"]
    assert reports == ["reports", "compare", "METHOD=mine5", "RESULTS=keep me"]


REFUSED = {
    "smoke": ["DEVICE=abacus", "SEEDS=1", "DATA=d", "RESULTS=r"], "plan": ["TABLE=smoke", "DEVICE=abacus", "SEEDS=1"],
    "compare": ["METHOD=abacus", "TABLE=smoke"], "lambda": ["DEVICE=abacus", "DATA=d", "RESULTS=r"],
    "data": ["DATASET=../abacus", "SOURCE=s", "RESOLUTION=16", "ALLOW_COUNT=1", "DATA=d"],
    "score": ["IMAGES=abacus", "DATASET=digits", "FRACTION=1", "SEED=0", "RESOLUTION=32", "METHOD=m", "RESIZE=1",
              "SAMPLES=10", "EXTRACTOR=effnet", "DEVICE=cpu", "DATA=d", "RESULTS=r"],
    "field": ["DATASET=abacus", "RESULTS=reproduce"], "report": ["RESULTS=abacus", "REPORTS=x", "ITERATIONS=3"],
    "figure1": ["RESULTS=abacus", "ITERATIONS=3"],
    "bench-train": ["DEVICE=abacus", "RESULTS=r"],
}  # fmt: skip


@pytest.mark.parametrize("goal", REFUSED)
def test_programs_understand_what_make_hands_them(goal, checkout, monkeypatch, capsys):
    """They complain of the one value that is wrong, and not of how it was given to them."""
    assert make(checkout, goal, *REFUSED[goal]).returncode == 0
    module, *arguments = calls(checkout)[0]
    if module == "ignore":  # of -W ignore
        _, module, *arguments = arguments
    if module == "reports":
        module = "reports.__main__"
    monkeypatch.chdir(checkout)
    monkeypatch.setattr("sys.argv", [module, *arguments])
    try:
        status = importlib.import_module(module).main()
        said = capsys.readouterr().err
    except InputError as error:
        status, said = error.status, f"{error}\n"
    assert status == 2 and "abacus" in said and said.count("\n") == 1, said
    assert not (checkout / "r").exists() and not (checkout / "d").exists()


@pytest.mark.parametrize("goals", [["table3"], ["status"], ["report"], ["clean"], ["drills"], ["table1", "table2"]])
def test_a_misspelt_name_is_refused_before_anything_is_done(goals, checkout):
    done = make(checkout, *goals, "SEDES=3")
    errors = [line for line in done.stderr.splitlines() if not line.startswith("make: ")]
    assert done.returncode == 2 and len(errors) == 1 and "SEDES=3" in errors[0] and not calls(checkout), done.stderr


def test_a_value_that_is_wrong_is_refused_as_early(checkout):
    done = make(checkout, "table3", "SEEDS=abc")
    assert done.returncode == 2 and "SEEDS=abc: must be a whole number" in done.stderr and not calls(checkout)


def test_every_table_has_its_turn_and_the_status_tells_of_the_first(checkout):
    """Cells of table1 fail, so that its reports come and its status is not good; table2 goes well."""
    done = make(checkout, "table1", "table2", STATUS_reproduce_sweep_table1="1", STATUS_reports_status="0")
    assert done.returncode == 0
    (checkout / "calls").unlink()
    done = make(checkout, "table1", "table2", STATUS_reproduce_sweep_table1="2")
    names = [call[:2] for call in calls(checkout)]
    assert names == [["reproduce.sweep", "table1"], ["reproduce.sweep", "table2"], ["reports", "render"],
                     ["reports", "status"]]
    assert done.returncode == 2


def test_every_table_is_a_target(checkout):
    for table in TABLES:
        assert make(checkout, table).returncode == 0
    assert [call[1] for call in calls(checkout) if call[0] == "reproduce.sweep"] == list(TABLES)


@pytest.mark.parametrize("linked", [False, True])
def test_an_older_environment_is_upgraded_in_place(linked, checkout, tmp_path):
    """What the user has put there stays, also where .venv is a link to another folder."""
    if linked:
        (checkout / ".venv").rename(tmp_path / "elsewhere")
        (checkout / ".venv").symlink_to(tmp_path / "elsewhere")
    later = time.time() + 10
    os.utime(checkout / "requirements.txt", (later, later))
    assert make(checkout, "env").returncode == 0
    assert (checkout / ".venv" / "mine").exists() and (checkout / ".venv").is_symlink() == linked
    (pip,) = calls(checkout)
    assert pip[:2] == ["pip", "install"] and "--requirement" in pip


def test_the_environment_of_conda_is_used_when_it_is_active(checkout, tmp_path):
    install(tmp_path / "conda", checkout)
    path = f"{tmp_path / 'conda' / 'bin'}{os.pathsep}{os.environ['PATH']}"
    shutil.rmtree(checkout / ".venv")
    assert make(checkout, "smoke", CONDA_DEFAULT_ENV="gradient-norm-gap", PATH=path).returncode == 0
    assert [call[0] for call in calls(checkout)] == ["reproduce.sweep", "reports", "reports"]
    assert not (checkout / ".venv").exists()


def test_clean_leaves_alone_what_it_does_not_know(checkout):
    for name in ("keep", "me", "keep me", "data"):
        (checkout / name).mkdir()
    assert make(checkout, "clean", "RESULTS=keep me").returncode == 0
    assert all((checkout / name).exists() for name in ("keep", "me", "keep me", "data", ".venv"))


def test_help_lists_targets_and_variables(checkout):
    shown = make(checkout, "help").stdout
    for name in (*TABLES, "compare", "bench-eval", "data-status", "GPUS_PER_RUN", "ALLOW_COUNT"):
        assert name in shown
