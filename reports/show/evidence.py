"""records.html: behind each number of the page its seeds, their records, and how they were made and measured."""

import pandas as pd

from reports.data.records import Results
from reports.data.views import decimals
from reports.show.document import Grid, Section, chapter, document
from reports.show.words import title

MADE = ["status", "commit", "dirty", "device", "threads", "versions", "data_digest"]


def evidence(results: Results, address: str) -> str:
    """A chapter for each cell that has records, of any table or of none.

    address  of the results folder, as seen from the page
    """
    body = "<h1>Records</h1>\n<p><a href='index.html'>all results</a></p>\n"
    for cell, rows in results.frame.groupby("cell", sort=False):
        lines = []
        for row in rows.drop_duplicates("seed").to_dict("records"):
            facts = ", ".join(f"{name} {row[name]}" for name in MADE)
            lines.append(f"Seed {row['seed']}: [{row['record']}]({address}/{row['record']}), {facts}.")
        body += chapter(cell, cell, [Section("", [*_values(rows), *lines])])
    return document("Records", body)


def _values(rows: pd.DataFrame) -> list[Grid]:
    """A row for each metric and protocol, a column for each seed; [] where all diverged."""
    shown = rows[rows["checkpoint"].isin(["last", "best"])]
    wide = shown.pivot_table(index=["metric", "protocol"], columns="seed", values="value", sort=False)
    text = {}
    for (metric, protocol), row in wide.iterrows():
        text[title(metric), protocol] = row.map(f"{{:.{decimals(metric)}f}}".format)
    caption = "The mean over the draws. Scores of generators kept on the way are in the records."
    return [Grid(pd.DataFrame(text).T, caption)] if text else []
