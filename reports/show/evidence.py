"""records.html: behind each number of the page its seeds, their records, and how they were made and measured."""

import pandas as pd

from reports.data.records import Results
from reports.data.views import decimals
from reports.show.document import Grid, Section, chapter, document
from reports.show.words import title

WAY = ["metric", "extractor", "resize", "weights", "n_generated", "n_reference"]
MADE = ["seed", "record", "status", "commit", "dirty", "device", "threads", "versions", "extractor_sha256",
        "data_digest"]  # fmt: skip


def evidence(results: Results, address: str) -> str:
    """A chapter for each cell that has records, of any table or of none.

    address  of the results folder, as seen from the page
    """
    body = "<h1>Records</h1>\n<p><a href='index.html'>all results</a></p>\n"
    for cell, rows in results.frame.groupby("cell", sort=False):
        body += chapter(cell, cell, [Section("", [_values(rows), *_made(rows, address)])])
    return document("Records", body)


def _values(rows: pd.DataFrame) -> Grid:
    """A row for each metric and way of measuring it, a column for each seed."""
    last = rows[rows["checkpoint"] == "last"].astype(dict.fromkeys(WAY, object)).fillna(dict.fromkeys(WAY, ""))
    wide = last.pivot_table(index=WAY, columns="seed", values="value", sort=False)
    text = wide.apply(lambda row: row.map(f"{{:.{decimals(row.name[0])}f}}".format), axis=1)
    text.index = text.index.set_levels(text.index.levels[0].map(title), level=0)
    return Grid(text, "The last generator of each seed, mean over the draws; checkpoints are in its record.")


def _made(rows: pd.DataFrame, address: str) -> list[str]:
    lines = []
    for row in rows.drop_duplicates("seed")[MADE].astype(object).itertuples(index=False):
        facts = [f"{name} {value}" for name, value in row._asdict().items() if name not in ("seed", "record")]
        lines.append(f"Seed {row.seed}: [{row.record}]({address}/{row.record}), {', '.join(facts)}.")
    return lines
