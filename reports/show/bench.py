"""The measurements of the suite itself: results/bench/NAME.json as tables in reports/bench/NAME.md and on the page.

benches.toml says how each is shown; a new measurement is an entry there.
"""

import tomllib
from pathlib import Path

import pandas as pd

from benchmarks.state import parsed
from reports.data.records import DAMAGE
from reports.show.document import Section, simple

BENCHES = tomllib.loads((Path(__file__).parent / "benches.toml").read_text("utf-8"))


def benches(results: Path, problems: list[str]) -> dict[str, Section]:
    """The report of each measurement that there is; a damaged file is a line in `problems`."""
    made = {}
    for target, bench in BENCHES.items():
        name = target.removeprefix("bench-")
        path = results / "bench" / f"{name}.json"
        try:
            if path.exists():
                made[name] = _section(target, bench, parsed(path.read_bytes()))
        except DAMAGE as error:
            problems.append(f"{path}: damaged or of an older version ({error!r}); `make {target}` makes it anew")
    return made


def _section(target: str, bench: dict, data: dict) -> Section:
    parts, origin = [], data["provenance"]
    for table in bench["tables"]:
        columns = table["columns"]
        rows = pd.DataFrame(_rows(data[table["part"]], columns), dtype=object)
        rows = rows.rename(columns=lambda name: name.replace("_", " "))
        parts += simple(rows, table["caption"], max(1, len(columns)))
    changed = ""
    if origin["dirty"]:
        changed = " (changed)"
    versions = ", ".join(f"{package} {version}" for package, version in origin["versions"].items())
    parts += [note.strip().format_map(data) for note in bench["notes"]]
    parts.append(f"Made by `{data.get('command', f'make {target}')}`: commit {origin['commit'][:12]}{changed}, "
                 f"{origin['device']}, {versions}.")  # fmt: skip
    return Section(bench["title"], parts, folded=True)


def _rows(part: list | dict, columns: list[str]) -> list[dict]:
    """The rows of a table: the objects of a list, or those within objects, whose keys go into the columns.

    In a list, a column has objects within; each of them becomes a row.
    """
    if not columns:
        if isinstance(part, list):
            return part
        return [part if isinstance(part, dict) else {"value": part}]
    first, *rest = columns
    rows = []
    for row in part if isinstance(part, list) else [{first: part}]:
        for key, inner in row[first].items():
            rows += [row | {first: key} | values for values in _rows(inner, rest)]
    return rows
