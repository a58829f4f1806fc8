"""The reports, from the records under results/: `python -m reports COMMAND [NAME=value ...]`.

render TABLE...                      reports/TABLE/: the table, its CSVs and figures; "bench" is a table here
all                                  every table, claims.md, the benches, the field, index.html and records.html
field DATASET=NAME                   the published numbers of a data set, ranked within one protocol only
compare METHOD=NAME TABLE=NAME       a method beside a table's baselines; status 1 unless every cell is measured
status [TABLE...] [REQUIRE=all]      done, running, failed and missing runs; 1 with REQUIRE=all unless all are done

RESULTS=folder of the runs (results), REPORTS=folder of what is written; EXTRACTOR, SAMPLES, ITERATIONS (but for `all`)
and SEEDS (of `status`) as they were given to the sweep.
"""

import sys
from dataclasses import replace

from benchmarks.runs import MINIMUM, InputError, Option, command, existing_folder, one_of, read_options, whole
from benchmarks.tables import TABLES, shortened
from reports.data.folders import RESULTS, claim_reports, reports_folder

SHARED = {"RESULTS": Option(str, RESULTS), "REPORTS": Option(str, ""), "EXTRACTOR": Option(str, ""),
          "SAMPLES": Option(whole(MINIMUM))}  # fmt: skip
SHORTER = {"ITERATIONS": Option(whole(0))}
COMMANDS = {"render": SHORTER, "all": {}, "field": {"DATASET": Option(str, "")},
            "compare": SHORTER | {"METHOD": Option(str, ""), "TABLE": Option(str, "small")},
            "status": SHORTER | {"REQUIRE": Option(one_of("all"), ""), "SEEDS": Option(whole(1, 100))}}  # fmt: skip


def main() -> int:
    name, *arguments = sys.argv[1:] or ["help"]
    if name in ("help", "-h", "--help"):
        print(__doc__)
        return 0
    if name not in COMMANDS:
        raise InputError(f"{name!r}: not a command of reports; valid are {', '.join(COMMANDS)}")
    words = [argument for argument in arguments if "=" not in argument]
    given = read_options([argument for argument in arguments if "=" in argument], SHARED | COMMANDS[name])
    results = existing_folder("RESULTS", given["RESULTS"])
    if words and name not in ("render", "status"):
        raise InputError(f"{words[0]!r}: `{name}` takes options of the form NAME=value only")
    unnamed = {"all": list(TABLES), "status": list(TABLES), "compare": [given.get("TABLE")]}
    tables = _tables(words or unnamed.get(name, []), name, given)
    if name == "status":
        from reports.show.status import status  # the others need pandas, and this one must not

        return status(results, tables, given["REQUIRE"], given["SEEDS"])
    from reports.data.records import read
    from reports.show import field, render

    if name == "field":
        field.show(results, given["DATASET"])
        return 0
    reports = reports_folder(results, given["REPORTS"])
    claim_reports(results, reports)
    found, code = read(results), 0
    if name == "render":
        render.tables(found, reports, tables)
    elif name == "all":
        render.everything(found, reports)
    else:
        code = render.comparison_of(found, reports, given["METHOD"], *tables)
    for problem in dict.fromkeys(found.problems):
        print(f"left out: {problem}", file=sys.stderr)
    return code


def _tables(names: list[str], command: str, given: dict) -> list[str]:
    """The tables that were asked for. Other ITERATIONS make tables of shorter runs of them, such as smoke-i4."""
    chosen, iterations = [], given.get("ITERATIONS")
    measured = {key: given[key.upper()] for key in ("extractor", "samples") if given[key.upper()]}
    for name in names:
        if name not in TABLES and (name, command) != ("bench", "render"):
            raise InputError(f"table {name!r}: not one of {', '.join(TABLES)}")
        if name in TABLES:
            table = replace(TABLES[name], protocol=replace(TABLES[name].protocol, **measured))
            TABLES[name] = table
            if iterations is not None:
                name = f"{name}-i{iterations}"
                TABLES[name] = shortened(table, iterations)
        chosen.append(name)
    return chosen


if __name__ == "__main__":
    command(main)
