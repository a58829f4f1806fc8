"""The reports, from the records under results/: `python -m reports COMMAND [NAME=value ...]`.

render TABLE...                      reports/TABLE/: the table, its CSVs, records and figures; "bench" is a table here
all                                  every table, claims.md, the benches, the comparisons, and index.html
compare METHOD=NAME TABLE=NAME       a method beside a table's baselines; status 1 unless every cell is measured
status [TABLE...] [REQUIRE=all]      done, running, failed and missing cells; 1 with REQUIRE=all unless all are done

RESULTS=folder of the runs (results), REPORTS=folder of what is written, ITERATIONS=as they were given to the sweep.
"""

import sys

from benchmarks.runs import InputError, command, options
from benchmarks.tables import TABLES
from reports.data.folders import reports_folder, require_results

SHARED = {"RESULTS": "", "REPORTS": "", "ITERATIONS": ""}
COMMANDS = {"render": {}, "all": {}, "compare": {"METHOD": "", "TABLE": "small"}, "status": {"REQUIRE": ""}}


def main() -> int:
    name, *arguments = sys.argv[1:] or ["help"]
    if name in ("help", "-h", "--help"):
        print(__doc__)
        return 0
    if name not in COMMANDS:
        raise InputError(f"{name!r}: not a command of reports; valid are {', '.join(COMMANDS)}")
    words = [argument for argument in arguments if "=" not in argument]
    given = options([argument for argument in arguments if "=" in argument], SHARED | COMMANDS[name])
    results = require_results(given["RESULTS"])
    iterations = _number(given["ITERATIONS"])
    if name == "status":
        from reports.show.status import status  # the others need pandas, and this one must not

        return status(results, _tables(words), iterations, given["REQUIRE"])
    if words and name != "render":
        raise InputError(f"{words[0]!r}: `{name}` takes options of the form NAME=value only")
    from reports.show import render

    reports = reports_folder(results, given["REPORTS"])
    if name == "render":
        return render.tables(results, reports, _tables(words, ["bench"]), iterations)
    if name == "all":
        return render.everything(results, reports)
    return render.comparison_of(results, reports, given["METHOD"], _tables([given["TABLE"]])[0], iterations)


def _tables(words: list[str], further: list[str] | None = None) -> list[str]:
    valid = [*TABLES, *(further or [])]
    for word in words:
        if word not in valid:
            raise InputError(f"table {word!r}: not one of {', '.join(valid)}")
    return words


def _number(text: str) -> int | None:
    if not text:
        return None
    if not text.isdecimal() or int(text) < 1:
        raise InputError(f"ITERATIONS={text}: must be a whole number, at least 1")
    return int(text)


if __name__ == "__main__":
    command(main)
