"""What one table shows, computed once: its cells, the values of their seeds, and a summary of each cell and metric.

A view keeps numbers of two protocols apart. `values` has those of the table's own protocol; `rows` says of each number
how it departs from that.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from urllib.parse import quote

import numpy as np
import pandas as pd

from benchmarks.runs import Protocol, Run
from benchmarks.tables import TABLES, Cell, Table
from reports.data.records import GAP, Results, cell_id
from reports.data.stats import Estimate, contrast, estimate

TUNING = 100  # training seeds from here on chose weights; they are never shown as results
MEANINGLESS = [("is_effnet", "digits")]  # real held-out digits score below untrained generators
DECIMALS = {"fid": 2, "fd": 2, "is": 2, "kid": 4, "precision": 3, "recall": 3, "density": 3, "coverage": 3,
            "memorised": 3}  # fmt: skip
REAL, UNTRAINED, ELSEWHERE = "held-out real images", "untrained generator", "trained elsewhere"
KINDS = ["baseline", "method", "untrained", "heldout", "external"]


@dataclass
class View:
    """One table's numbers.

    folder     where under the reports folder it is written
    cells      a row for each cell, by its id: model, dataset, resolution, fraction, method, kind (of KINDS), baseline
               (the id of its baseline, "" without one), and whether it is the claimed method or the positive control
    rows       the rows of the frame that belong to the cells, and the protocol's departure of each ("" for none)
    published  what the paper printed: cell, metric, value
    values     at the table's protocol, the mean over the draws: cell, metric, seed, value, draws, draw_sd
    summary    a row for each cell and metric: mean, sd, n, published, diverged
    """

    name: str
    folder: str
    table: Table
    iterations: int | None
    cells: pd.DataFrame
    rows: pd.DataFrame
    published: pd.DataFrame
    values: pd.DataFrame
    summary: pd.DataFrame
    cache: dict[str, pd.DataFrame] = field(default_factory=dict)  # of `logs`

    @property
    def headline(self) -> list[str]:
        """The metrics that the table is about, the first of which is a distance."""
        return headline(self.table, self.published)

    @property
    def trained(self) -> pd.DataFrame:
        return self.cells[self.cells["kind"].isin(["baseline", "method"])]

    @property
    def smallest(self) -> list[str]:
        return smallest(self.cells)

    def address(self, cell: str) -> str:
        """Where the page finds the records of a cell."""
        return f"{self.folder}/records.html#{quote(cell)}"

    def metrics(self) -> list[str]:
        """Every metric of the summary, the headline first."""
        return list(self.summary["metric"].unique())

    def scores(self, metric: str) -> pd.DataFrame:
        """Cell id -> mean, sd and n over the training seeds, of the cells that were measured."""
        chosen = self.summary[(self.summary["metric"] == metric) & (self.summary["n"] > 0)]
        return chosen.set_index("cell")[["mean", "sd", "n"]]

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

    def done(self) -> pd.Series:
        """Trained cell id -> how many of its seeds were measured."""
        measured = self.values[self.values["metric"].isin(self.headline)]
        return measured.groupby("cell")["seed"].nunique().reindex(self.trained.index, fill_value=0)


def smallest(cells: pd.DataFrame) -> list[str]:
    """The baselines at the smallest fraction of each model and data set: where data are fewest."""
    baselines = cells[cells["kind"] == "baseline"]
    first = baselines.sort_values("fraction", kind="stable").groupby(["model", "dataset", "resolution"]).head(1)
    return [cell for cell in baselines.index if cell in first.index]


def headline(table: Table, published: pd.DataFrame) -> list[str]:
    if len(published):
        return list(published["metric"].unique())
    return score_names(table.protocol.extractor)


def score_names(extractor: str) -> list[str]:
    """The Frechet distance and the Inception Score as an extractor's scores are called."""
    return ["fid", "is"] if extractor == "inception" else [f"fd_{extractor}", f"is_{extractor}"]


def family(metric: str) -> str:
    return metric.split("_")[0]


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
    return "method" if run.regularizers or run.augment else "baseline"


def view(results: Results, name: str, iterations: int | None = None, extra: Sequence[Cell] = ()) -> View:
    """The view of a table, its cells followed by `extra`; `iterations` replaces those of its longer runs."""
    table, folder = TABLES[name], name
    if iterations is not None:
        folder = f"{name}-i{iterations}"
    listed = [_shortened(cell, iterations) for cell in [*table.cells, *extra]]
    published = _published(listed)
    cells = pd.concat([_cells(listed), _external(listed, results.frame)])
    rows = results.frame[results.frame["cell"].isin(cells.index) & (results.frame["seed"] < TUNING)].copy()
    for metric, dataset in MEANINGLESS:
        rows = rows[(rows["metric"] != metric) | (rows["dataset"] != dataset)]
    rows["departure"] = _departures(rows, table.protocol)
    values = values_of(rows[rows["departure"] == ""])
    first = headline(table, published)
    metrics = first + sorted(set(values["metric"]) - set(first), key=_metric_order)
    summary = _summary(cells, rows, values, published, metrics)
    return View(name, folder, table, iterations, cells, rows, published, values, summary)


def _shortened(cell: Cell, iterations: int | None) -> Cell:
    if iterations is None or cell.run.iterations <= iterations:
        return cell
    return replace(cell, run=replace(cell.run, iterations=iterations), published={})


def _published(listed: Sequence[Cell]) -> pd.DataFrame:
    rows = []
    for cell in listed:
        for metric, value in cell.published.items():
            rows.append((cell_id(cell.run), metric, value))
    return pd.DataFrame(rows, columns=["cell", "metric", "value"])


def baseline_of(run: Run) -> str:
    """The cell of a run's baseline."""
    return cell_id(replace(run, regularizers={}, augment=""))


def _cells(listed: Sequence[Cell]) -> pd.DataFrame:
    """The cells as a frame, in the order of a table's rows: each model's methods together, the yardsticks last.

    Of several weights of gradgap, the first that the table lists stands for the paper's regularizer.
    """
    rows: dict[str, dict] = {}
    trained = {cell_id(cell.run) for cell in listed if kind(cell.run) == "baseline"}
    claimed: set[str] = set()  # baselines that have it
    for cell in listed:
        run, baseline = cell.run, ""
        if kind(run) == "method" and baseline_of(run) in trained:
            baseline = baseline_of(run)
        first = is_gradgap(run) and baseline not in claimed
        if first:
            claimed.add(baseline)
        rows[cell_id(run)] = {
            "model": run.model, "dataset": run.dataset, "resolution": run.resolution, "fraction": run.fraction,
            "method": method(run, cell.label), "kind": kind(run), "baseline": baseline, "claimed": first,
            "control": run.augment.startswith("diffaugment") and not run.regularizers, "run": run,
        }  # fmt: skip
    frame = pd.DataFrame.from_dict(rows, orient="index")
    kinds = frame["kind"].map(KINDS.index)
    return frame.iloc[np.lexsort([kinds, pd.factorize(frame["model"])[0], kinds > 2])]


def off_table(results: Results, made: View) -> list[Run]:
    """What was trained on a table's baselines and is none of its cells, as runs of seed 0."""
    frame = results.frame[(results.frame["kind"] == "run") & (results.frame["seed"] < TUNING)]
    baselines = made.cells.index[made.cells["kind"] == "baseline"]
    found = []
    for cell in frame["cell"].unique():
        run = Run.from_id(f"{cell}-s0")
        if cell not in made.cells.index and baseline_of(run) in baselines:
            found.append(run)
    return found


def is_gradgap(run: Run) -> bool:
    """Whether a run has the paper's regularizer, at any weight, and nothing else."""
    return list(run.regularizers) == ["gradgap"] and not run.augment


def _external(listed: Sequence[Cell], frame: pd.DataFrame) -> pd.DataFrame:
    """Cells of images that other code made, for the data sets and fractions of the table."""
    places = {(cell.run.dataset, cell.run.resolution, cell.run.fraction) for cell in listed}
    rows = {}
    for row in frame[frame["kind"] == "external"].drop_duplicates("cell").itertuples():
        if (row.dataset, row.resolution, row.fraction) in places:
            rows[row.cell] = {"model": "external", "dataset": row.dataset, "resolution": row.resolution,
                              "fraction": row.fraction, "method": f"{row.method} ({ELSEWHERE})", "kind": "external",
                              "baseline": "", "claimed": False, "control": False, "run": None}  # fmt: skip
    return pd.DataFrame.from_dict(rows, orient="index")


def _departures(rows: pd.DataFrame, protocol: Protocol) -> list[str]:
    """How each row was measured otherwise than the table says, in words; "" where it was not.

    Of network file, resize and data, what most rows of a data set have is the table's own. Whether generators' weights
    are averaged is no matter of the protocol: it follows from the recipe, and WGAN's and DCGAN's have no average.
    """
    way = rows["extractor_sha256"].astype(str) + rows["resize"].astype(str) + rows["data_digest"]
    own = (rows["extractor"] == protocol.extractor) & (rows["checkpoint"] == "last")
    usual = {}
    for dataset, ways in way[own].groupby(rows["dataset"]):
        usual[dataset] = ways.mode()[0]
    texts = []
    for row, its_way in zip(rows.itertuples(), way, strict=True):
        texts.append(_departure(row, protocol, its_way == usual.get(row.dataset)))
    return texts


def _departure(row, protocol: Protocol, is_usual: bool) -> str:
    if row.extractor == "log" or pd.isna(row.metric):
        return ""
    parts = []
    if row.extractor != protocol.extractor:
        parts.append(f"extractor {row.extractor}")
    if row.n_generated != protocol.samples and row.model != "heldout":
        parts.append(f"{row.n_generated:,.0f} images")
    if row.n_reference != row.n_training:
        parts.append(f"against {row.n_reference:,.0f} images")
    if row.checkpoint != "last":
        parts.append(f"checkpoint {row.checkpoint}")
    if not parts and not is_usual:
        parts.append(f"extractor file {row.extractor_sha256[:12]}, resize {row.resize}, data {row.data_digest}")
    return ", ".join(parts)


def values_of(rows: pd.DataFrame) -> pd.DataFrame:
    """The mean over the draws of each cell, metric and seed."""
    groups = rows.dropna(subset=["metric"]).groupby(["cell", "metric", "seed"], sort=True)
    made = groups.agg(value=("value", "mean"), draws=("value", "size"), draw_sd=("value", "std"))
    return made.reset_index()


def _metric_order(metric: str) -> tuple[int, str]:
    order = [*DECIMALS, family(GAP), family(metric)]
    return order.index(family(metric)), metric


def _summary(cells: pd.DataFrame, rows: pd.DataFrame, values: pd.DataFrame, published: pd.DataFrame,
             metrics: list[str]) -> pd.DataFrame:  # fmt: skip
    places = pd.MultiIndex.from_product([metrics, cells.index], names=["metric", "cell"])
    groups = values.groupby(["metric", "cell"])["value"]
    made = groups.agg(mean="mean", sd="std", n="count").reindex(places)
    made["n"] = made["n"].fillna(0).astype(int)
    made["published"] = published.set_index(["metric", "cell"])["value"].reindex(places)
    lost = rows[rows["status"] == "diverged"].groupby("cell")["seed"].nunique()
    made = made.reset_index()
    made["diverged"] = made["cell"].map(lost).fillna(0).astype(int)
    return made


def curves(made: View, metric: str) -> pd.DataFrame:
    """The scores of generators kept on the way, and of the last: cell, seed, iteration, value."""
    rows = made.rows[(made.rows["metric"] == metric) & (made.rows["n_generated"] == made.table.protocol.samples)]
    kept = rows[rows["checkpoint"].str.isdigit() | (rows["checkpoint"] == "last")].dropna(subset=["iteration"])
    kept = kept[kept.groupby("run")["iteration"].transform("nunique") > 1]
    return kept.groupby(["cell", "seed", "iteration"])["value"].mean().reset_index()


def norms(results: Results, made: View) -> pd.DataFrame:
    """|n_R - n_F| over training, from the logs: cell, seed, iteration, value (the median of each fiftieth)."""
    parts = [pd.DataFrame(columns=["cell", "seed", "iteration", "value"])]
    for run_id, log in results.logs.items():
        run = Run.from_id(run_id)
        if cell_id(run) in made.trained.index and run.seed < TUNING:
            step = run.iterations / 50
            end = np.ceil(log["iteration"] / step) * step
            gaps = log["gap"].abs().groupby(end).median()
            parts.append(gaps.rename("value").reset_index().assign(cell=cell_id(run), seed=run.seed))
    return pd.concat(parts[1:] or parts)
