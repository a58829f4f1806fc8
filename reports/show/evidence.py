"""records.html of a table: behind each number, its seeds, their records and the protocol."""

from pathlib import Path

import pandas as pd

from reports.data.views import View, decimals
from reports.show.document import document, link, paragraphs
from reports.show.grids import Grid, html
from reports.show.tables import relative
from reports.show.words import protocol, title


def evidence(view: View, results: Path, folder: Path) -> str:
    """A section for each cell that has records; the numbers of the page lead here."""
    address, home = relative(results, folder), "../" * (view.folder.count("/") + 1) + "index.html"
    body = [f"<h1>Records of {view.table.title}</h1>\n", f"<p>{link(home, 'all results')}, "
            f"{link('seeds.csv', 'seeds.csv')}: every draw, seed and protocol</p>\n"]  # fmt: skip
    body.append(paragraphs([protocol(view.table, view.iterations)]))
    for cell, rows in view.rows.groupby("cell", sort=False):
        row = view.cells.loc[cell]
        name = f"{title(row['model'])} {row['method']}, {row['dataset']} {row['fraction']:.0%}"
        body += [f'<h2 id="{cell}">{name}</h2>\n', html(_seeds(view, cell, rows, address)), _measured_with(rows)]
    return document(f"Records of {view.table.title}", "".join(body))


def _seeds(view: View, cell: str, rows: pd.DataFrame, address: str) -> Grid:
    """The values of a cell: a row for each metric, a column for each seed, the record of each in the first row."""
    seeds = rows.drop_duplicates("seed").set_index("seed").sort_index()
    values = view.values[view.values["cell"] == cell]
    metrics = [metric for metric in view.metrics() if metric in set(values["metric"])]
    names = [f"seed {seed}" for seed in seeds.index]
    index = pd.Index(["record", *map(title, metrics)], name="metric")
    text = pd.DataFrame("-", index=index, columns=names, dtype=object)
    links = text.map(lambda _: "")
    for number, (_, row) in enumerate(seeds.iterrows()):
        text.iat[0, number] = "metrics.json" if row["status"] != "diverged" else "diverged"
        links.iat[0, number] = f"{address}/{row['record']}"
    for value in values.itertuples():
        place = metrics.index(value.metric) + 1, list(seeds.index).index(value.seed)
        text.iat[place] = f"{value.value:.{decimals(value.metric)}f}"
    return Grid(text, f"Runs {cell}-s{{seed}}; the mean over the draws of the samples.", links=links)


def _measured_with(rows: pd.DataFrame) -> str:
    """How the numbers were made: each way once."""
    lines = []
    scores = rows[(rows["departure"] == "") & (rows["extractor"] != "log")].dropna(subset=["metric"])
    for way in scores[["n_generated", "n_reference", "extractor", "extractor_sha256", "resize", "weights",
                       "data_digest"]].drop_duplicates().itertuples():  # fmt: skip
        lines.append(f"Measured: {way.n_generated:,.0f} images against {way.n_reference:,.0f}, extractor "
                     f"{way.extractor} ({str(way.extractor_sha256)[:12]}), resize {way.resize}, {way.weights} weights, "
                     f"data {way.data_digest}.")  # fmt: skip
    for way in rows[["commit", "dirty", "device", "threads", "versions"]].drop_duplicates().itertuples():
        lines.append(f"Made at commit {way.commit}{' (changed)' if way.dirty else ''} on {way.device}, {way.threads} "
                     f"threads; {way.versions}.")  # fmt: skip
    return paragraphs(lines)
