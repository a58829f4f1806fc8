"""A method beside a table's baselines, the paper's regularizer and everything else that the table trains."""

from dataclasses import replace

import pandas as pd

from benchmarks.runs import InputError, Run
from benchmarks.tables import TABLES, Cell
from reports.data.records import Results, cell_id
from reports.data.stats import contrast, estimate
from reports.data.views import View, kind, view
from reports.show.claims import average
from reports.show.grids import Grid, simple
from reports.show.tables import Section, change_grid, coverage, direction, present, score_grid
from reports.show.words import NOTHING, interval, protocol, score, title

PLUMBING = ("The smoke table checks the plumbing: one seed of tiny networks, trained for a minute, says nothing about "
            "the method.")  # fmt: skip
LEGEND = [
    "Ours: mean ± standard deviation over the training seeds. Changes are log ratios as percent, within each training "
    "seed, with 95 % intervals from 3 seeds on.",
    "Rank: that of the method among everything trained in the same cell, by its mean; 1 is the best.",
    "The last row is the mean over the cells that have the method, its seeds paired.",
    "Other people's published numbers on these data sets, ranked within one protocol: "
    "`python -m benchmarks.field DATASET=name`.",
]


def compared(results: Results, table: str, name: str, iterations: int | None = None) -> tuple[View, dict[str, str]]:
    """The table's view with the method in it, and baseline cell -> the method's cell beside it."""
    try:
        asked = Run.from_id(f"model-dataset-1-f1.0-{name}-s0")
    except InputError as error:
        raise InputError(f"METHOD={name}: not a method's name as run ids have it, such as gradgap100 or "
                         "baseline-diffaugment") from error  # fmt: skip
    known = [cell.run for cell in TABLES[table].cells]
    pairs, extra = {}, []
    for baseline in known:
        if kind(baseline) == "baseline":
            run = replace(baseline, regularizers=asked.regularizers, augment=asked.augment)
            if run not in known:
                extra.append(Cell(run))
            pairs[_id(baseline, iterations)] = _id(run, iterations)
    if not asked.regularizers and not asked.augment:
        raise InputError(f"METHOD={name}: that is the baseline itself")
    return view(results, table, iterations, extra), pairs


def _id(run: Run, iterations: int | None) -> str:
    return cell_id(run if iterations is None else replace(run, iterations=min(run.iterations, iterations)))


def extra_methods(results: Results, table: str) -> list[str]:
    """The methods that were run on a table's baselines and are not in it, but for gradgap's weights."""
    known = {cell_id(cell.run) for cell in TABLES[table].cells}
    found: dict[str, None] = {}
    frame = results.frame[results.frame["kind"] == "run"]
    baselines = [cell.run for cell in TABLES[table].cells if kind(cell.run) == "baseline"]
    for run_id in frame.loc[~frame["cell"].isin(known) & (frame["seed"] < 100), "run"].unique():
        run = replace(Run.from_id(run_id), seed=0)
        swept = list(run.regularizers) == ["gradgap"] and not run.augment
        if kind(run) == "method" and not swept and replace(run, regularizers={}, augment="") in baselines:
            found[run.method] = None
    return list(found)


def comparison(made: View, pairs: dict[str, str], name: str) -> list[Section]:
    """The cells one by one, with the mean over them; then everything that was trained."""
    metric = made.headline[0]
    first = Section("Scores", [_by_cell(made, pairs, name, metric)],
                    [f"{_measured(made, pairs)} of {len(pairs)} cells have the method. {coverage(made)}",
                     protocol(made.table, made.iterations), *LEGEND])  # fmt: skip
    if made.name == "smoke":
        first.lines.insert(0, PLUMBING)
    grids = present(score_grid, made, [[metric]]) + present(change_grid, made, [[metric]])
    return [first, Section("Everything that was trained", grids)]


def measured_everywhere(made: View, pairs: dict[str, str]) -> bool:
    return _measured(made, pairs) == len(pairs)


def _measured(made: View, pairs: dict[str, str]) -> int:
    scores = made.scores(made.headline[0])
    return sum(cell in scores.index for cell in pairs.values())


def _by_cell(made: View, pairs: dict[str, str], name: str, metric: str) -> Grid:
    logs, rows, against = made.logs(metric), [], {"baseline": {}, "gradgap": {}}
    for baseline, cell in pairs.items():
        row, gradgap = made.cells.loc[baseline], _gradgap(made, baseline)
        line = {"model": title(row["model"]), "data set": f"{row['dataset']}, {row['resolution']} px",
                "fraction": f"{row['fraction']:.0%}"}  # fmt: skip
        if len(made.published):
            line |= {"published baseline": _printed(made, baseline, metric),
                     "published R": _printed(made, gradgap, metric)}  # fmt: skip
        line |= {"baseline": _ours(made, baseline, metric), "gradgap": _ours(made, gradgap, metric),
                 name: _ours(made, cell, metric)}  # fmt: skip
        for other, reference in (("baseline", baseline), ("gradgap", gradgap)):
            weights = {cell: 1.0, reference: -1.0}
            line[f"against {other}"] = NOTHING
            if reference not in ("", cell) and len(contrast(logs, weights)):
                line[f"against {other}"] = _change(logs, weights)
                against[other][cell] = weights
        line["rank"] = _rank(made, baseline, cell, metric)
        rows.append(line)
    rows.append(_mean_row(logs, against, rows))
    return simple(rows, f"{title(metric)} ({direction(made, metric)} is better) of {name} on the {made.name} table.",
                  labels=3, missing=NOTHING)  # fmt: skip


def _mean_row(logs: pd.DataFrame, against: dict[str, dict], rows: list[dict]) -> dict[str, str]:
    line = {"model": "mean over cells", "data set": "", "fraction": ""}
    for other, contrasts in against.items():
        line[f"against {other}"] = _change(logs, average(contrasts))
    ranks = [int(row["rank"].split()[0]) for row in rows if row["rank"] != NOTHING]
    if ranks:
        line["rank"] = f"{sum(ranks) / len(ranks):.1f}"
    return line


def _change(logs: pd.DataFrame, weights: dict[str, float]) -> str:
    """A contrast with its interval."""
    found = contrast(logs, weights)
    if not weights or found.empty:
        return NOTHING
    return interval(estimate(list(found)))


def _gradgap(made: View, baseline: str) -> str:
    """The claimed method's cell beside a baseline, "" where the table has none."""
    beside = made.cells[(made.cells["baseline"] == baseline) & made.cells["claimed"]]
    return beside.index[0] if len(beside) else ""


def _ours(made: View, cell: str, metric: str) -> str:
    scores = made.scores(metric)
    return score(*scores.loc[cell, ["mean", "std"]], metric) if cell in scores.index else NOTHING


def _printed(made: View, cell: str, metric: str) -> str:
    chosen = made.published[(made.published["cell"] == cell) & (made.published["metric"] == metric)]
    return f"{chosen['value'].iloc[0]:g}" if len(chosen) else NOTHING


def _rank(made: View, baseline: str, cell: str, metric: str) -> str:
    """The method's place among everything trained on the same baseline, as "2 of 6"."""
    own = made.cells.index[(made.cells["baseline"] == baseline) | (made.cells.index == baseline)]
    means = made.scores(metric)["mean"].reindex(own).dropna()
    if cell not in means.index:
        return NOTHING
    ranks = means.rank(ascending=direction(made, metric) == "lower", method="min")
    return f"{ranks[cell]:.0f} of {len(means)}"
