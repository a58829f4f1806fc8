"""Command lines: what goes wrong around them is one line, and what is given as NAME=value is read or refused."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import runs
from benchmarks.runs import InputError, Option, Run, existing_folder, options, read_options, share, whole

ROOT = Path(__file__).parents[1]


def raising(error: BaseException):
    def main():
        raise error

    return main


@pytest.mark.parametrize("error, status, said", [
    (InputError("a: must be\n1"), 2, "error: a: must be 1"),
    (runs.TryLaterError("busy"), 75, "error: busy"),
    (PermissionError(errno.EACCES, "Permission denied", "results/x"), 2, "error: results/x: Permission denied"),
    (OSError(errno.ENOSPC, "No space left on device", "x"), 2, "error: x: No space left on device"),
    (OSError(errno.ENAMETOOLONG, "File name too long", "x"), 2, "error: x: File name too long"),
    (KeyboardInterrupt(), 130, "error: stopped by Ctrl-C"),
])  # fmt: skip
def test_what_the_user_can_mend_is_one_line(error, status, said, monkeypatch, capsys):
    monkeypatch.setattr(sys.stdout, "reconfigure", lambda **_: None, raising=False)
    with pytest.raises(SystemExit) as caught:
        runs.command(raising(error))
    assert caught.value.code == status and capsys.readouterr().err.splitlines() == [said]


@pytest.mark.parametrize("error", [ZeroDivisionError(), FileNotFoundError(errno.ENOENT, "No such file", "x"),
                                   OSError()])
def test_a_fault_of_this_code_is_not_hidden(error, monkeypatch):
    monkeypatch.setattr(sys.stdout, "reconfigure", lambda **_: None, raising=False)
    with pytest.raises(type(error)):
        runs.command(raising(error))


def after(program: str, **options) -> subprocess.CompletedProcess:
    """A process that imports the command and runs a program."""
    return subprocess.run([sys.executable, "-S", "-c", f"from benchmarks.runs import command\n{program}"], cwd=ROOT,
                          stderr=subprocess.PIPE, timeout=60, check=False, **options)  # fmt: skip


def test_output_that_nobody_reads_is_no_error():
    reader, writer = os.pipe()
    os.close(reader)
    done = after("command(lambda: print('x' * 10**6))", stdout=writer)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_terminal_that_lacks_a_character_shows_its_number():
    ascii_only = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = after("command(lambda: print('\\xb1 \\udcff'))", stdout=subprocess.PIPE, env=ascii_only)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"\\xb1 \\udcff\n", b"")


@pytest.mark.parametrize("module", ["reproduce.release", "reproduce.score", "benchmarks.datasets", "reports"])
def test_outside_of_the_environment_a_line_says_so(module, tmp_path):
    """-S leaves out all installed packages; reports needs them for more than `status`."""
    arguments = ["all", f"RESULTS={tmp_path}"] if module == "reports" else []
    done = subprocess.run([sys.executable, "-S", "-m", module, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode and done.stderr.count("\n") == 1, done.stderr
    assert "is not installed for this Python" in done.stderr and ".venv/bin/python -m" in done.stderr


@pytest.mark.parametrize("run_id", [
    f"dcgan-digits-32-f1.0-baseline-s{'9' * 5000}", f"dcgan-digits-{'9' * 5000}-f1.0-baseline-s0",
    f"dcgan-digits-32-f1.0-gradgap{'9' * 400}-s0", f"dcgan-digits-32-f1.0-baseline-i{'9' * 5000}-s0",
    f"dcgan-{'x' * 300}-32-f1.0-baseline-s0", "dcgan-digits-32-f1.0-baseline-i.five-s0",
    "dcgan-digits-32-f1.0-baseline-b.five-s0", "dcgan-digits-32-f1.0-gradgap1+gradgap2-s0", "../../etc/passwd", "-s0",
    "dcgan-digits-32-f1.0-baseline-width1-width2-s0", "dcgan-digits-32-f1.0-baseline-diffaugment-ada-s0",
    "dcgan-digits-32-f1.0-gradgap1-s0\n", "dcgan-digits-٣٢-f1.0-baseline-s0",
])  # fmt: skip
def test_an_id_that_is_none_is_refused_in_short_words(run_id):
    with pytest.raises(InputError) as caught:
        Run.from_id(run_id)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


def test_an_empty_value_is_as_if_not_given():
    assert options(["A=", "B=x"], {"A": "1", "B": ""}) == {"A": "1", "B": "x"}
    assert read_options(["A="], {"A": Option(whole(1), 7)}) == {"A": 7}


@pytest.mark.parametrize("argument", ["A=0", "A=11", "A=1.0", "A=٣", f"A={'9' * 5000}", "A= 1", "A=-1", "A=\n1",
                                      "B=1.5", "B=nan", "B=-0.1", "B=1e-3", "C=1", "A", "=1"])
def test_a_value_that_is_wrong_is_refused(argument):
    known = {"A": Option(whole(1, 10)), "B": Option(share)}
    with pytest.raises(InputError):
        read_options([argument], known)


def test_a_folder_that_is_not_there_is_named(tmp_path):
    assert existing_folder("RESULTS", str(tmp_path)) == tmp_path
    with pytest.raises(InputError, match="RESULTS=.*resluts"):
        existing_folder("RESULTS", str(tmp_path / "resluts"))
