"""records.html of a table: behind each number, its seeds, their records and the protocol."""

from pathlib import Path

import pandas as pd

from reports.data.views import View, decimals, share
from reports.show.document import document, link, paragraphs
from reports.show.grids import Grid, html
from reports.show.tables import relative
from reports.show.words import NOTHING, protocol, title

SCORED = ["n_generated", "n_reference", "extractor", "extractor_sha256", "resize", "weights", "data_digest"]
MADE = ["commit", "dirty", "device", "threads", "versions"]


def evidence(view: View, results: Path, folder: Path) -> str:
    """A section for each cell that has records; the numbers of the page lead here."""
    address, home = relative(results, folder), "../" * (view.folder.count("/") + 1) + "index.html"
    body = [f"<h1>Records of {view.table.title}</h1>\n", f"<p>{link(home, 'all results')}, "
            f"{link('seeds.csv', 'seeds.csv')}: every draw, seed and protocol</p>\n"]  # fmt: skip
    body.append(paragraphs([protocol(view.table, view.iterations)]))
    for cell, rows in view.rows.groupby("cell", sort=False):
        row = view.cells.loc[cell]
        name = f"{title(row['model'])} {row['method']}, {row['dataset']} {share(row['fraction'])}"
        body += [f'<h2 id="{cell}">{name}</h2>\n', html(_seeds(view, cell, rows, address)), _measured_with(rows)]
    return document(f"Records of {view.table.title}", "".join(body))


def _seeds(view: View, cell: str, rows: pd.DataFrame, address: str) -> Grid:
    """The values of a cell: a row for each metric, a column for each seed, the record of each in the first row."""
    text, links = {}, {}
    values = view.values[view.values["cell"] == cell].set_index(["seed", "metric"])["value"]
    metrics = [metric for metric in view.metrics() if metric in values.index.get_level_values("metric")]
    for row in rows.drop_duplicates("seed").sort_values("seed").itertuples():
        column = {"record": "diverged" if row.status == "diverged" else "metrics.json"}
        for metric in metrics:
            if (row.seed, metric) in values.index:
                column[title(metric)] = f"{values[row.seed, metric]:.{decimals(metric)}f}"
        text[f"seed {row.seed}"] = column
        links[f"seed {row.seed}"] = {"record": f"{address}/{row.record}"}
    index = ["record", *map(title, metrics)]
    return Grid(pd.DataFrame(text, index).fillna(NOTHING), f"Runs {cell}-s{{seed}}; the mean over the draws.",
                links=pd.DataFrame(links, index).fillna(""))  # fmt: skip


def _measured_with(rows: pd.DataFrame) -> str:
    """How the numbers were made: each way once."""
    scores = rows[(rows["departure"] == "") & (rows["extractor"] != "log")].dropna(subset=["metric"])
    lines = []
    for what, ways in (("Measured", scores[SCORED]), ("Made", rows[MADE])):
        for way in ways.drop_duplicates().astype(object).to_dict("records"):
            facts = [f"{name} {value}" for name, value in way.items()]
            lines.append(f"{what}: {', '.join(facts)}.")
    return paragraphs(lines)
