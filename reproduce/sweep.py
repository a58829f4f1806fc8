"""Bring the runs of a table to their end: `python -m reproduce.sweep TABLE NAME=value ...`, or RUN_ID ... for TABLE.

With METHOD, of the table only the baselines and gradgap are trained, and the method beside each baseline: `compare
METHOD=...` is that for TABLE=small or another. And `lambda` is the baselines of TABLE with gradgap at every weight from
1 to 10,000. reproduce.settings lists the options.

Runs that are done are left alone, interrupted ones go on, so the same command may be given again at any time, also
twice at once. Exit status: 0 when all are done; 1 when some are not; 2 when none could be begun for what the user must
mend; 75 when some are to be done later.
"""

import os
import sys

from benchmarks import tables
from benchmarks.runs import InputError, Run, TryLaterError, command
from benchmarks.tables import TABLES
from reproduce.cell import STOP, Attempt, finished, stop_on_signals
from reproduce.engines import ENGINES
from reproduce.methods import Method, compared, note, read_apart
from reproduce.preflight import Findings, look_apart
from reproduce.settings import Settings, split

COMPARED = "small"  # the table of `make compare`, if none is given: on the smoke table a comparison means nothing
SMALL = {"OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}  # environment of small runs, which have a core each


def chosen(arguments: list[str]) -> tuple[str, list[str], Settings]:
    """The table that arguments name, or ""; the ids of the runs that they name, for none; and the settings."""
    named, given = split(arguments)
    known = Settings.parse(given)
    if named == ["compare"]:
        return _compared(given, known)
    if named in ([], ["lambda"]):
        return known.table, [], Settings.parse(given, known.table)
    if len(named) == 1 and (named[0] in TABLES or "-" not in named[0]):
        if named[0] not in TABLES:
            raise InputError(f"table {named[0]!r}: not one of {', '.join(TABLES)}")
        return named[0], [], Settings.parse(given, named[0])
    run_ids = [Run.from_id(name).id for name in named]
    return "", list(dict.fromkeys(run_ids)), known


def _compared(given: list[str], known: Settings) -> tuple[str, list[str], Settings]:
    if not known.method:
        raise InputError("METHOD: none given; a file of your own, a regularizer or an augmentation: make compare "
                         "METHOD=path/to/mine.py")
    table = COMPARED
    if any(argument.startswith("TABLE=") for argument in given):
        table = known.table
    return table, [], Settings.parse(given, table)


def listed(table: str, settings: Settings, method: Method | None = None, weights: bool = False) -> list[str]:
    """The ids of a table's runs; with a method, its own beside them; or those of the baselines at every weight."""
    rows = tables.runs(table, settings.seeds, settings.iterations)
    if weights:
        rows = tables.sweep(rows)
    if method:
        rows = compared(rows, method)
    return [run.id for run in rows]


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    table, run_ids, settings = chosen(sys.argv[1:])
    stop_on_signals()
    method = None
    if table:
        if TABLES[table].small:
            for name, value in SMALL.items():
                os.environ.setdefault(name, value)
        if settings.method:
            method = read_apart(settings.method)
        run_ids = listed(table, settings, method, weights="lambda" in sys.argv[1:])
    left = [run_id for run_id in run_ids if not finished(run_id, settings)]
    if settings.method:  # its file may have changed since runs were finished
        left = run_ids
    findings = looked_for(left, settings)
    if findings.faults or (run_ids and len(findings.left_out) == len(run_ids)):
        return InputError.status
    if method:
        note(method, settings)
    outcome = {run_id: Attempt(run_id, "left out", reason) for run_id, reason in findings.left_out.items()}
    left = [run_id for run_id in findings.run_ids if not finished(run_id, settings)]
    if left:
        outcome |= ENGINES[settings.engine](left, settings)
    return conclude(run_ids, outcome)


def looked_for(run_ids: list[str], settings: Settings) -> Findings:
    """What the preflight has found, printed as well. Where there are no runs, it need not look: torch takes seconds."""
    if not run_ids:
        return Findings([], {}, [])
    findings = look_apart(run_ids, settings)
    findings.say()
    return findings


def conclude(run_ids: list[str], outcome: dict[str, Attempt]) -> int:
    """Say how many runs are done and why the others are not. Returns the exit status."""
    unfinished = [tried for tried in outcome.values() if tried.state != "done"]
    if STOP.is_set():
        say("stopped; the same command goes on")
    else:
        for reason in dict.fromkeys(tried.reason for tried in unfinished if tried.state != "later"):
            say(reason)
    print(f"{len(run_ids) - len(unfinished)} of {len(run_ids)} cells done")
    states = {tried.state for tried in unfinished}
    if "later" in states:
        return TryLaterError.status
    if states == {"refused"} and len(unfinished) == len(run_ids):
        return InputError.status
    return int(bool(unfinished))


if __name__ == "__main__":
    command(main)
