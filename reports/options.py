"""The command line that the reports have in common."""

import argparse
import sys
from pathlib import Path

from benchmarks.runs import InputError
from benchmarks.tables import TABLES
from reports.results import Results


def parse(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """The parser's arguments, and the two folders. Raises InputError for a table that there is not."""
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder of the runs")
    parser.add_argument("--out", type=Path, default=Path("reports"), help="folder of what is written")
    args = parser.parse_args()
    if "table" in args and args.table not in TABLES:
        raise InputError(f"table {args.table!r}: not one of {', '.join(TABLES)}")
    return args


def say_left_out(results: Results) -> None:
    """What a report could not believe, one line each on stderr."""
    for problem in results.problems:
        print(f"left out: {problem}", file=sys.stderr)
