"""What one table shows, computed once: its cells, the values of their seeds, and a summary of each cell and metric.

A view keeps numbers of two protocols apart: a metric that was measured otherwise than the table says is another one.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import chain

import numpy as np
import pandas as pd

from benchmarks.runs import Protocol, Run
from benchmarks.tables import TABLES, TUNING, Cell, Table, is_gradgap
from reports.data.records import Results, cell_id
from reports.data.stats import Estimate, contrast, estimate

HEADLINES = {"fid": "lower", "fd": "lower", "is": "higher"}  # what tables are about -> which value is better
MEANINGLESS = {"is_effnet": ["digits"]}  # real held-out digits score below untrained generators
DECIMALS = {"fid": 2, "fd": 2, "is": 2, "precision": 3, "recall": 3, "density": 3, "coverage": 3, "memorised": 3}
REAL, UNTRAINED = "held-out real images", "untrained generator"
KINDS = ["baseline", "method", "untrained", "heldout", "external"]
TRAINED = KINDS[:2]
PLACE = ["dataset", "resolution", "fraction"]


@dataclass(eq=False)
class View:
    """One table's numbers.

    headline  the metrics that the table is about, the first of which is a distance
    cells     a row for each cell, by its id: model, dataset, resolution, fraction, method, kind (of KINDS), baseline
              (the id of its baseline, "" without one), run, what the paper `published` by metric, whether it is
              `claimed`, the paper's regularizer, or the positive `control`, and the cell that it is measured `against`:
              its baseline, or for a baseline the one on the most data
    rows      the rows of the frame that belong to the cells, and whether the protocol of each is the table's `own`
    values    the mean over the draws: cell, metric, seed, value, draws, draw_sd; what was measured by another protocol
              than the table's is another metric: its name and that protocol
    summary   a row for each metric and cell, the headline first: the columns of `cells`, mean, sd, n, diverged,
              published, printed and effect (the log ratio to the cell `against`, as published and the Estimate of
              ours), better ("lower" or "higher") and whether the cell `wins`: is the best of its model and place
    """

    name: str
    table: Table
    headline: list[str]
    cells: pd.DataFrame
    rows: pd.DataFrame
    values: pd.DataFrame
    summary: pd.DataFrame = field(default_factory=pd.DataFrame)
    cache: dict[str, pd.DataFrame] = field(default_factory=dict)  # of `logs`

    @property
    def trained(self) -> pd.DataFrame:
        return self.cells[self.cells["kind"].isin(TRAINED)]

    @property
    def published(self) -> pd.DataFrame:
        """The rows of the summary that the paper printed a value for."""
        return self.summary.dropna(subset="published")

    def of(self, metric: str) -> pd.DataFrame:
        """The summary of the cells that the metric was measured in, by their ids."""
        chosen = self.summary[(self.summary["metric"] == metric) & (self.summary["n"] > 0)]
        return chosen.set_index("cell")

    def logs(self, metric: str) -> pd.DataFrame:
        """Logarithms of a metric: a row for each seed, a column for each cell. Values near zero are left out."""
        if metric not in self.cache:
            near_zero = 10.0 ** (1 - decimals(metric))  # below, two digits are not printed, and a ratio says nothing
            chosen = self.values[(self.values["metric"] == metric) & (self.values["value"] >= near_zero)]
            self.cache[metric] = np.log(chosen.pivot(index="seed", columns="cell", values="value").astype(float))
        return self.cache[metric]

    def change(self, cell: str, other: str, metric: str) -> Estimate | None:
        """The log ratio of a cell to another one, over the seeds that both have."""
        found = contrast(self.logs(metric), {cell: 1.0, other: -1.0})
        return None if cell == other or found.empty else estimate(found)


def smallest(cells: pd.DataFrame) -> list[str]:
    """The baselines at the smallest fraction of each model and data set: where data are fewest."""
    baselines = cells[cells["kind"] == "baseline"]
    least = baselines.groupby(["model", "dataset", "resolution"])["fraction"].transform("min")
    return list(baselines.index[baselines["fraction"] == least])


def score_names(extractor: str) -> list[str]:
    """The Frechet distance and the Inception Score as an extractor's scores are called."""
    return ["fid", "is"] if extractor == "inception" else [f"fd_{extractor}", f"is_{extractor}"]


def family(metric: str) -> str:
    """The metric without its extractor and protocol: "fd" of "fd_effnet, checkpoint best"."""
    return re.split("[_,]", metric)[0]


def decimals(metric: str) -> int:
    """How many digits after the point a report prints."""
    return DECIMALS.get(family(metric), 4)


def share(fraction: float) -> str:
    """A fraction of a data set as it is printed: "10%", "0.4%"."""
    return f"{100 * fraction:.3g}%"


def method(run: Run, label: str = "") -> str:
    """What a row is called: "baseline", "gradgap100", "gradgap100 + diffaugment"."""
    names = {"heldout": REAL, "untrained": UNTRAINED}
    return label or names.get(kind(run)) or run.method.removeprefix("baseline-").replace("-", " + ")


def kind(run: Run) -> str:
    if run.model == "heldout":
        return "heldout"
    if run.iterations == 0:
        return "untrained"
    if run.is_baseline:
        return "baseline"
    return "method"


def baseline_of(run: Run) -> str:
    """The cell of a run's baseline."""
    return cell_id(replace(run, regularizers={}, augment=""))


def view(results: Results, name: str, extra: Sequence[Cell] = ()) -> View:
    """The view of a table, its cells followed by `extra`."""
    table = TABLES[name]
    listed = [*table.cells, *extra]
    cells = _cells(listed, results.frame)
    rows = results.frame[results.frame["cell"].isin(cells.index) & (results.frame["seed"] < TUNING)].copy()
    for metric, datasets in MEANINGLESS.items():
        rows = rows[(rows["metric"] != metric) | ~rows["dataset"].isin(datasets)]
    rows["own"] = _is_own(rows, table.protocol)
    values = _values(rows)
    names, printed = score_names(table.protocol.extractor), set(chain(*cells["published"]))
    headline = [name for name in names if name in printed] or names
    made = View(name, table, headline, cells, rows, values)
    made.summary = _summary(made)
    return made


def _cells(listed: Sequence[Cell], frame: pd.DataFrame) -> pd.DataFrame:
    """The cells as a frame, in the order of a table's rows: each model's methods together, the yardsticks last, then
    the images of other code for its data sets and fractions.

    Of several weights of gradgap, the first that the table lists stands for the paper's regularizer.
    """
    runs = [cell.run for cell in listed]
    cells = pd.DataFrame(runs, map(cell_id, runs))[["model", *PLACE]].assign(run=runs, kind=list(map(kind, runs)))
    cells["method"] = [method(cell.run, cell.label) for cell in listed]
    cells["published"] = [cell.published for cell in listed]
    baselines, baseline = cells[cells["kind"] == "baseline"], cells["run"].map(baseline_of)
    cells["baseline"] = baseline.where((cells["kind"] == "method") & baseline.isin(baselines.index), "")
    gradgap = cells["run"].map(is_gradgap)
    cells["claimed"] = gradgap & (gradgap.groupby(cells["baseline"]).cumsum() == 1)
    cells["control"] = [run.augment.startswith("diffaugment") and not run.regularizers for run in runs]
    others = frame[frame["kind"] == "external"].drop_duplicates("cell").set_index("cell")
    others = others[pd.MultiIndex.from_frame(others[PLACE]).isin(pd.MultiIndex.from_frame(cells[PLACE]))]
    others = others.assign(method=others["method"] + " (trained elsewhere)", run=None, published=[{}] * len(others),
                           baseline="", claimed=False, control=False)  # fmt: skip
    cells = pd.concat([cells, others[cells.columns].astype(cells.dtypes)])
    most = baselines.groupby(["model", "dataset", "resolution"])["fraction"].transform("idxmax")
    cells["against"] = most.where(most != most.index, "").reindex(cells.index).fillna(cells["baseline"])
    kinds = cells["kind"].map(KINDS.index)
    return cells.iloc[np.lexsort([kinds, pd.factorize(cells["model"])[0], kinds > 2])]


def off_table(results: Results, made: View) -> list[Run]:
    """What was trained on a table's baselines and is none of its cells, as runs of seed 0."""
    frame = results.frame[(results.frame["kind"] == "run") & (results.frame["seed"] < TUNING)]
    baselines = made.cells.index[made.cells["kind"] == "baseline"]
    runs = [Run.from_id(f"{cell}-s0") for cell in frame["cell"].unique() if cell not in made.cells.index]
    return [run for run in runs if baseline_of(run) in baselines]


def _is_own(rows: pd.DataFrame, protocol: Protocol) -> pd.Series:
    """Whether each row was measured as the table says.

    Of network file, resize and data, what most rows of a data set have is the table's own. Whether generators' weights
    are averaged is no matter of the protocol: it follows from the recipe, and WGAN's and DCGAN's have no average.
    """
    as_many = (rows["n_generated"] == protocol.samples) | (rows["model"] == "heldout")
    whole = (rows["n_reference"] == rows["n_training"]) & (rows["checkpoint"] == "last")
    own = (rows["extractor"] == protocol.extractor) & as_many & whole
    texts = rows.astype(str)
    way = texts["extractor_sha256"] + texts["resize"] + texts["data_digest"]
    usual = way[own].groupby(rows["dataset"]).agg(lambda ways: ways.mode()[0])
    return own & (way == rows["dataset"].map(usual)) | (rows["extractor"] == "log")


def _values(rows: pd.DataFrame) -> pd.DataFrame:
    """The mean over the draws of each cell, metric and seed. Of other protocols, distances and the Inception Score
    are kept; what was measured on the way of a training has a figure instead."""
    rows = rows.dropna(subset="metric")
    kept = rows["metric"].map(family).isin(HEADLINES) & ~rows["checkpoint"].str.isdigit()
    usual = set(", ".join(rows.loc[rows["own"], "protocol"].unique()).split(", "))

    def departure(protocol: str) -> str:
        return ", ".join(part for part in protocol.split(", ") if part not in usual) or protocol

    otherwise = rows["metric"] + ", " + rows["protocol"].map(departure)  # such as "fd_effnet, checkpoint best"
    rows = rows.assign(metric=rows["metric"].where(rows["own"], otherwise))
    groups = rows[rows["own"] | kept].groupby(["cell", "metric", "seed"])
    return groups.agg(value=("value", "mean"), draws=("value", "size"), draw_sd=("value", "std")).reset_index()


def _summary(made: View) -> pd.DataFrame:
    further = set(chain(made.values["metric"], *made.cells["published"])) - set(made.headline)
    metrics = made.headline + sorted(further)
    places = pd.MultiIndex.from_product([metrics, made.cells.index], names=["metric", "cell"])
    groups = made.values.groupby(["metric", "cell"])["value"]
    frame = groups.agg(mean="mean", sd="std", n="count").reindex(places).reset_index().join(made.cells, on="cell")
    frame["n"] = frame["n"].fillna(0).astype(int)
    lost = made.rows[made.rows["status"] == "diverged"].groupby("cell")["seed"].nunique()
    frame["diverged"] = frame["cell"].map(lost).fillna(0).astype(int)
    frame["published"] = pd.Series(map(dict.get, frame["published"], frame["metric"]), dtype=float)
    published = frame.set_index(["metric", "cell"])["published"]
    against = published.reindex(pd.MultiIndex.from_frame(frame[["metric", "against"]]))
    frame["printed"] = np.log(frame["published"] / against.to_numpy())
    frame["effect"] = list(map(made.change, frame["cell"], frame["against"], frame["metric"]))
    recorded = made.rows.drop_duplicates("metric").set_index("metric")["better"]
    frame["better"] = frame["metric"].map(lambda metric: HEADLINES.get(family(metric)) or recorded[metric])
    loss = frame["mean"].where(frame["better"] == "lower", -frame["mean"]).where(frame["kind"].isin(TRAINED))
    groups = loss.groupby([frame[name] for name in ("model", "dataset", "resolution", "fraction", "metric")])
    frame["wins"] = (loss == groups.transform("min")) & (groups.transform("count") > 1)
    return frame


def curves(made: View, metric: str) -> pd.DataFrame:
    """The scores of generators kept on the way, and of the last: cell, seed, iteration, value."""
    rows = made.rows[(made.rows["metric"] == metric) & (made.rows["n_generated"] == made.table.protocol.samples)]
    kept = rows[rows["checkpoint"].str.isdigit() | (rows["checkpoint"] == "last")].dropna(subset=["iteration"])
    kept = kept[kept.groupby("run")["iteration"].transform("nunique") > 1]
    return kept.groupby(["cell", "seed", "iteration"])["value"].mean().reset_index()


def norms(results: Results, made: View) -> pd.DataFrame:
    """|n_R - n_F| over training, from the logs: cell, seed, iteration, value (the median of each fiftieth)."""
    logs = results.logs[results.logs["cell"].isin(made.trained.index) & (results.logs["seed"] < TUNING)]
    step = logs["iterations"] / 50
    logs = logs.assign(iteration=np.ceil(logs["iteration"] / step) * step, value=logs["gap"].abs())
    return logs.groupby(["cell", "seed", "iteration"])["value"].median().reset_index()
