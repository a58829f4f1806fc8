"""What one table shows, computed once: its cells, the values of their seeds, the means and the effects.

A view keeps numbers of two protocols apart. `values` has those of the table's own protocol; `others` has, by the way in
which they depart from it, all that was measured differently.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import pandas as pd

from benchmarks.runs import Protocol, Run
from benchmarks.tables import TABLES, Cell, Table
from reports.data.records import Results, cell_id
from reports.data.stats import Estimate, contrast, estimate

TUNING = 100  # training seeds from here on chose weights; they are never shown as results
MEANINGLESS = [("is_effnet", "digits")]  # real held-out digits score below untrained generators
DECIMALS = {"fid": 2, "fd": 2, "is": 2, "kid": 4, "precision": 3, "recall": 3, "density": 3, "coverage": 3,
            "memorised": 3}  # fmt: skip
ORDER = [*DECIMALS, "norm"]
REAL, UNTRAINED, ELSEWHERE = "held-out real images", "untrained generator", "trained elsewhere"
PLACE = ["dataset", "resolution", "fraction"]


@dataclass
class View:
    """One table's numbers.

    folder     where under the reports folder it is written
    cells      a row for each cell, by its id: model, dataset, resolution, fraction, method, kind ("baseline", "method",
               "untrained", "heldout" or "external"), baseline (the id of its baseline, "" without one), and whether it
               is the claimed method or the positive control
    published  what the paper printed: cell, metric, value
    rows       the rows of the frame that belong to the cells, and the protocol's departure of each ("" for none)
    values     at the table's protocol, the mean over the draws: cell, metric, seed, value, draws, draw_sd, run, record
    effects    (cell, metric) -> log ratio to its baseline, over the seeds that both have
    """

    name: str
    folder: str
    table: Table
    iterations: int | None
    cells: pd.DataFrame
    published: pd.DataFrame
    rows: pd.DataFrame
    values: pd.DataFrame
    effects: dict[tuple[str, str], Estimate] = field(default_factory=dict)
    published_effects: dict[tuple[str, str], Estimate] = field(default_factory=dict)

    @property
    def headline(self) -> list[str]:
        """The metrics that the table is about: the published ones, or those of its extractor."""
        if len(self.published):
            return list(self.published["metric"].unique())
        return score_names(self.table.protocol.extractor)

    @property
    def trained(self) -> pd.DataFrame:
        return self.cells[self.cells["kind"].isin(["baseline", "method"])]

    def metrics(self) -> list[str]:
        """Every metric of `values`, the headline first."""
        found = set(self.values["metric"]) - set(self.headline)
        return self.headline + sorted(found, key=_metric_order)

    def scores(self, metric: str) -> pd.DataFrame:
        """Cell id -> mean, std and count over the training seeds."""
        chosen = self.values[self.values["metric"] == metric]
        return chosen.groupby("cell")["value"].agg(["mean", "std", "count"])

    def logs(self, metric: str) -> pd.DataFrame:
        """Logarithms of a metric: a row for each seed, a column for each cell. Values near zero are left out."""
        chosen = self.values[(self.values["metric"] == metric) & (self.values["value"] >= near_zero(metric))]
        wide = chosen.pivot(index="seed", columns="cell", values="value").astype(float)
        return wide.map(math.log, na_action="ignore")

    def done(self) -> pd.Series:
        """Cell id -> how many of its seeds were measured."""
        measured = self.values[self.values["metric"].isin(self.headline)]
        counts = measured.groupby("cell")["seed"].nunique()
        return counts.reindex(self.cells.index, fill_value=0)

    def diverged(self) -> pd.Series:
        """Cell id -> how many of its seeds diverged."""
        lost = self.rows[self.rows["status"] == "diverged"].groupby("cell")["seed"].nunique()
        return lost.reindex(self.cells.index, fill_value=0)


def score_names(extractor: str) -> list[str]:
    """The Frechet distance and the Inception Score as an extractor's scores are called."""
    return ["fid", "is"] if extractor == "inception" else [f"fd_{extractor}", f"is_{extractor}"]


def family(metric: str) -> str:
    return metric.split("_")[0]


def decimals(metric: str) -> int:
    """How many digits after the point a report prints."""
    return DECIMALS.get(family(metric), 4)


def near_zero(metric: str) -> float:
    """Below this a value has fewer than two digits where it is printed, and a ratio of it says nothing."""
    return 10.0 ** (1 - decimals(metric))


def _metric_order(metric: str) -> tuple[int, str]:
    place = ORDER.index(family(metric)) if family(metric) in ORDER else len(ORDER)
    return place, metric


def method(run: Run, label: str = "") -> str:
    """What a row is called: "baseline", "gradgap100", "gradgap100 + diffaugment"."""
    if label:
        return label
    if run.model == "heldout":
        return REAL
    if run.iterations == 0:
        return UNTRAINED
    return run.method.removeprefix("baseline-").replace("-", " + ")


def view(results: Results, name: str, iterations: int | None = None, extra: Sequence[Cell] = ()) -> View:
    """The view of a table, its cells followed by `extra`; `iterations` replaces those of its longer runs."""
    table = TABLES[name]
    listed = [_shortened(cell, iterations) for cell in [*table.cells, *extra]]
    frame = results.frame
    cells = pd.concat([_cells(listed), _external(listed, frame)])
    rows = frame[frame["cell"].isin(cells.index) & (frame["seed"] < TUNING)].copy()
    for metric, dataset in MEANINGLESS:
        rows = rows[(rows["metric"] != metric) | (rows["dataset"] != dataset)]
    rows["departure"] = _departures(rows, table.protocol)
    published = _published(listed)
    folder = name if iterations is None else f"{name}-i{iterations}"
    values = values_of(rows[rows["departure"] == ""])
    made = View(name, folder, table, iterations, cells, published, rows, values)
    for metric in made.metrics():
        made.effects |= _effects(made, metric)
    for metric in made.headline:
        made.published_effects |= _published_effects(made, metric)
    return made


def _published(listed: Sequence[Cell]) -> pd.DataFrame:
    rows = []
    for cell in listed:
        for metric, value in cell.published.items():
            rows.append((cell_id(cell.run), metric, value))
    return pd.DataFrame(rows, columns=["cell", "metric", "value"])


def _shortened(cell: Cell, iterations: int | None) -> Cell:
    if iterations is None or cell.run.iterations <= iterations:
        return cell
    return replace(cell, run=replace(cell.run, iterations=iterations), published={})


def _cells(listed: Sequence[Cell]) -> pd.DataFrame:
    """The cells as a frame, each with its baseline."""
    baselines: dict[tuple, str] = {}
    for cell in listed:
        if kind(cell.run) == "baseline":
            baselines[_task(cell.run)] = cell_id(cell.run)
    rows = {}
    for cell in listed:
        run = cell.run
        baseline = baselines.get(_task(run), "") if kind(run) == "method" else ""
        rows[cell_id(run)] = {
            "model": run.model, "dataset": run.dataset, "resolution": run.resolution, "fraction": run.fraction,
            "method": method(run, cell.label), "kind": kind(run), "baseline": baseline, "claimed": False,
            "control": run.augment.startswith("diffaugment") and not run.regularizers, "run": run,
        }  # fmt: skip
    for number in _claimed(listed).values():
        rows[cell_id(listed[number].run)]["claimed"] = True
    return pd.DataFrame.from_dict(rows, orient="index")


def _claimed(listed: Sequence[Cell]) -> dict[tuple, int]:
    """Task -> the cell that stands for the paper's regularizer there: of several weights, the one with a label."""
    chosen: dict[tuple, int] = {}
    for number, cell in enumerate(listed):
        if list(cell.run.regularizers) == ["gradgap"] and not cell.run.augment:
            before = chosen.get(_task(cell.run))
            if before is None or (cell.label and not listed[before].label):
                chosen[_task(cell.run)] = number
    return chosen


def kind(run: Run) -> str:
    if run.model == "heldout":
        return "heldout"
    if run.iterations == 0:
        return "untrained"
    return "method" if run.regularizers or run.augment else "baseline"


def _task(run: Run) -> tuple:
    """What a method and its baseline have in common."""
    override = tuple(sorted(run.override.items()))
    return run.model, run.dataset, run.resolution, run.fraction, run.iterations, run.batch, override


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


def _departures(rows: pd.DataFrame, protocol: Protocol) -> pd.Series:
    """How each row was measured otherwise than the table says, in words; "" where it was not."""
    usual = _usual(rows, protocol)
    texts = []
    for row in rows.itertuples():
        texts.append(_departure(row, protocol, usual))
    return pd.Series(texts, index=rows.index, dtype=object)


def _departure(row, protocol: Protocol, usual: Mapping[str, tuple]) -> str:
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
    if not parts and _way(row) != usual[row.dataset]:
        parts.append(f"extractor file {row.extractor_sha256[:12]}, resize {row.resize}, {row.weights} weights, "
                     f"data {row.data_digest}")  # fmt: skip
    return ", ".join(parts)


def _way(row) -> tuple:
    weights = "ema" if row.model in ("heldout", "external") else row.weights  # there, nothing is averaged
    return row.extractor_sha256, row.resize, weights, row.data_digest


def _usual(rows: pd.DataFrame, protocol: Protocol) -> dict[str, tuple]:
    """Data set -> the most common network file, resize, weights and data digest: what differs gets no column there."""
    counts: dict[str, dict[tuple, int]] = {}
    chosen = rows[(rows["extractor"] == protocol.extractor) & (rows["checkpoint"] == "last")]
    for row in chosen.itertuples():
        ways = counts.setdefault(row.dataset, {})
        ways[_way(row)] = ways.get(_way(row), 0) + 1
    return {dataset: max(sorted(ways), key=ways.get) for dataset, ways in counts.items()}


def values_of(rows: pd.DataFrame) -> pd.DataFrame:
    """The mean over the draws of each cell, metric and seed."""
    groups = rows.dropna(subset=["metric"]).groupby(["cell", "metric", "seed"], sort=True)
    made = groups.agg(value=("value", "mean"), draws=("value", "size"), draw_sd=("value", "std"), run=("run", "first"),
                      record=("record", "first"))  # fmt: skip
    return made.reset_index()


def _effects(made: View, metric: str) -> dict[tuple[str, str], Estimate]:
    logs, effects = made.logs(metric), {}
    for cell, baseline in made.cells["baseline"].items():
        found = contrast(logs, {cell: 1.0, baseline: -1.0})
        if len(found):
            effects[cell, metric] = estimate(found)
    return effects


def _published_effects(made: View, metric: str) -> dict[tuple[str, str], Estimate]:
    chosen = made.published[made.published["metric"] == metric].set_index("cell")["value"]
    effects = {}
    for cell, baseline in made.cells["baseline"].items():
        if cell in chosen.index and baseline in chosen.index:
            effects[cell, metric] = Estimate(math.log(chosen[cell] / chosen[baseline]))
    return effects


def curves(results: Results, made: View, metric: str) -> pd.DataFrame:
    """The scores of generators kept on the way, and of the last: cell, seed, iteration, value."""
    rows = made.rows[(made.rows["metric"] == metric) & (made.rows["extractor"] != "log")]
    kept = rows[rows["checkpoint"].str.isdigit() | (rows["checkpoint"] == "last")].dropna(subset=["iteration"])
    kept = kept[kept["n_generated"] == made.table.protocol.samples]
    several = kept.groupby("run")["iteration"].nunique()
    kept = kept[kept["run"].isin(several[several > 1].index)]
    return kept.groupby(["cell", "seed", "iteration"])["value"].mean().reset_index()


def norms(results: Results, made: View) -> pd.DataFrame:
    """|n_R - n_F| over training, from the logs: cell, seed, iteration, value (the median of each fiftieth)."""
    parts = []
    for cell, run in made.trained["run"].items():
        for seed in range(TUNING):
            log = results.logs.get(replace(run, seed=seed).id)
            if log is not None:
                parts.append(_binned(log, run).assign(cell=cell, seed=seed))
    return pd.concat(parts) if parts else pd.DataFrame(columns=["cell", "seed", "iteration", "value"])


def _binned(log: pd.DataFrame, run: Run, bins: int = 50) -> pd.DataFrame:
    step = run.iterations / bins
    place = ((log["iteration"] / step).apply(math.ceil) * step).rename("iteration")
    return log["gap"].abs().groupby(place).median().rename("value").reset_index()
