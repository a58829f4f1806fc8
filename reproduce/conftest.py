"""What tests of command lines share."""

import sys
from collections.abc import Callable

import pytest

from benchmarks.runs import command


@pytest.fixture
def ended(monkeypatch, capsys) -> Callable[..., tuple[int, str, str]]:
    """Runs a command line's main() in this process, which spares it the seconds in which torch loads.

    Returns the exit status and what it printed to stdout and stderr.
    """

    def run(main: Callable[[], int | None], *arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit:
            command(main)
        return exit.value.code or 0, *capsys.readouterr()

    return run
