"""A table as a user reads it: the scores, what changes against the baseline, how to read them, and the long CSVs."""

import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd

from benchmarks.runs import Run
from benchmarks.tables import tunings
from reports.data.records import DIRECTIONS, GAP, Results, cell_id
from reports.data.stats import MIN_SEEDS
from reports.data.views import REAL, TUNING, UNTRAINED, View, family, share, values_of
from reports.show.contest import contest, preconditions
from reports.show.grids import Grid, Section, latex, simple
from reports.show.words import NOTHING, change, interval, protocol, score, smallest, span, title

STAND_IN = ("fd_effnet is the Frechet distance between features of EfficientNet-Lite0, a stand-in that needs no "
            "download; it is no FID and must not be compared with one.")  # fmt: skip
DOUBTFUL = "is_effnet is not shown for digits: real held-out digits score below untrained generators there."
BASELINE = "the same model's baseline"
ROW, COLUMN = ["model", "method", "source"], ["data set", "fraction", "metric"]  # of a grid


def sections(view: View, results: Results) -> list[Section]:
    """Everything that is shown of a table. What answers its question comes first."""
    made = [Section("", lines=[coverage(view), protocol(view.table, view.iterations)])]
    if len(view.values):
        made += [Section("gradgap against its competitors", contest(view)),
                 Section("Can this table see it?", preconditions(view))]  # fmt: skip
    scores = headline_grids(score_grid, view)
    made.append(Section("Scores", scores[:1]))
    if len(view.values):
        made += [
            Section("Inception Score", scores[1:], folded=True),
            Section("Change against the baseline", headline_grids(change_grid, view), folded=True),
            Section("The smallest change that could have been seen", headline_grids(power_grid, view), folded=True),
            *_further(view), *_tuning(view), *_other_protocols(view),
        ]  # fmt: skip
    made.append(Section("Notes", lines=notes(view, results), folded=True))
    return [section for section in made if section.grids or section.lines]


def headline_grids(make: Callable[[View, list[str]], Grid | None], view: View) -> list[Grid]:
    """Each headline metric in a grid of its own, but for those that the paper has together; without empty grids."""
    groups = [[metric] for metric in view.headline]
    if len(view.published):
        groups = [view.headline]
    return list(filter(None, [make(view, group) for group in groups]))


def coverage(view: View) -> str:
    """How much of the table was measured, in one line."""
    done = view.done()
    lost = view.summary.drop_duplicates("cell")["diverged"].sum()
    if not len(view.values) and not lost:
        return f"Not run yet: none of its {len(done)} cells is measured."
    seeds = done[done > 0]
    text = f"{len(seeds)} of {len(done)} cells are measured"
    if len(seeds):
        text += f", by {span([seeds.min(), seeds.max()])} training seeds each"
    if lost:
        text += f"; {lost} runs diverged"
    return f"{text}."


def score_grid(view: View, metrics: list[str]) -> Grid | None:
    """Mean ± standard deviation over the training seeds; None where there is nothing to show."""
    usual = view.summary.loc[view.summary["cell"].isin(view.trained.index), "n"].max()

    def texts(row) -> dict[str, str]:
        return {"published": _printed_text(row), "ours": _score_text(row, usual)}

    caption = ", ".join(f"{title(metric)} ({direction(view, metric)} is better)" for metric in metrics)
    if usual > 1:
        caption += f": mean ± standard deviation over {usual} training seeds"
    if usual:
        caption += "; bold: the best of a model"
    return _pivot(view, metrics, texts, f"{caption}.", best=True)


def _printed_text(row) -> str:
    return "" if pd.isna(row.published) else f"{row.published:g}"


def _score_text(row, usual: int) -> str:
    parts = []
    if row.n:
        parts.append(score(row.mean, row.sd, row.metric))
        if row.n != usual and row.kind in ("baseline", "method"):
            parts[0] += f" (n={row.n})"
    if row.diverged:
        parts.append(f"{row.diverged} diverged")
    return ", ".join(parts)


def change_grid(view: View, metrics: list[str], pairs: Mapping | None = None, other: str = BASELINE) -> Grid | None:
    """The log ratio of method to baseline as percent, or of each cell of `pairs` to the cell it is paired with."""
    printed = view.published.set_index(["cell", "metric"])["value"]
    pairs = pairs or dict(view.cells["baseline"])

    def texts(row) -> dict[str, str]:
        found, effect = {}, view.change(row.cell, pairs.get(row.cell), row.metric)
        if not pd.isna(row.published) and (pairs.get(row.cell), row.metric) in printed.index:
            found["published"] = change(math.log(row.published / printed[pairs[row.cell], row.metric]))
        if effect:
            found["ours"] = interval(effect)
        return found

    return _pivot(view, metrics, texts, f"{_names(metrics)}: change against {other}, in percent (the log ratio), with "
                  "its 95 % interval over the training seeds that both have (Student's t).")  # fmt: skip


def power_grid(view: View, metrics: list[str]) -> Grid | None:
    """How large a change a cell's seeds and spread would have shown."""

    def texts(row) -> dict[str, str]:
        effect = view.change(row.cell, row.baseline, row.metric)
        return {"ours": smallest(effect)} if effect and effect.n >= MIN_SEEDS else {}

    return _pivot(view, metrics, texts, f"{_names(metrics)}: the smallest change against the baseline that a cell's "
                  "seeds and their spread would have shown 4 times in 5 at the 5 % level, down and up; "
                  f"none below {MIN_SEEDS} seeds.")  # fmt: skip


def rank_grid(view: View, metrics: list[str], pairs: Mapping[str, str]) -> Grid | None:
    """The places of cells, each among everything that was trained on the same baseline."""
    baselines = {cell: baseline for baseline, cell in pairs.items()}

    def texts(row) -> dict[str, str]:
        baseline, means = baselines.get(row.cell, ""), view.scores(row.metric)["mean"]
        beside = view.cells.index[(view.cells["baseline"] == baseline) | (view.cells.index == baseline)]
        means = means[means.index.isin(beside)]
        if row.cell not in means.index:
            return {}
        place = means.rank(ascending=direction(view, row.metric) == "lower", method="min")[row.cell]
        return {"ours": f"{place:.0f} of {len(means)}"}

    return _pivot(view, metrics, texts, f"{title(metrics[0])}: rank of the mean among everything that was trained on "
                  "the same data; 1 is the best.")  # fmt: skip


def _names(metrics: list[str]) -> str:
    return ", ".join(map(title, metrics))


def direction(view: View, metric: str) -> str:
    """Which way is better: known, or as the records say."""
    if family(metric) in DIRECTIONS:
        return DIRECTIONS[family(metric)]
    return view.rows.loc[view.rows["metric"] == metric, "better"].iloc[0]


def _pivot(view: View, metrics: list[str], texts: Callable, caption: str, best: bool = False) -> Grid | None:
    """A row for each model, method and source, a column for each data set, fraction and metric; None without any text.

    texts  gives what the places of a cell and metric say: source -> text, where "" is no place
    """
    places = []
    for row in _placed(view, metrics).itertuples():
        for source, text in texts(row).items():
            link = view.address(row.cell) if source == "ours" else ""
            names = (title(row.model), row.method, source, f"{row.dataset}, {row.resolution} px", row.fraction,
                     row.metric)  # fmt: skip
            if text:
                places.append((*names, text, link, best and source == "ours" and row.wins))
    if not places:
        return None
    frame = pd.DataFrame(places, columns=[*ROW, *COLUMN, "text", "link", "best"])
    datasets = view.cells["dataset"] + ", " + view.cells["resolution"].astype(str) + " px"
    frame["data set"] = pd.Categorical(frame["data set"], datasets.unique())
    frame["metric"] = pd.Categorical(frame["metric"], metrics)
    wide = frame.pivot(index=ROW, columns=COLUMN, values=["text", "link", "best"])
    wide = wide.reindex(pd.MultiIndex.from_frame(frame[ROW].drop_duplicates()))
    text = _named(wide["text"], len(metrics) == 1)
    best_of = wide["best"].eq(True).set_axis(text.index).set_axis(text.columns, axis=1)
    links = wide["link"].set_axis(text.index).set_axis(text.columns, axis=1)
    return Grid(text.fillna(NOTHING), caption, best_of, links.fillna(""))


def _placed(view: View, metrics: list[str]) -> pd.DataFrame:
    """The summary of the metrics beside the cells, in the order of a grid, with whether a cell `wins` its model's row.

    An untrained generator stands in every fraction, since it knows none.
    """
    cells = [view.cells.assign(cell=view.cells.index)]
    for _, row in cells[0][cells[0]["kind"] == "untrained"].iterrows():
        same = view.cells[view.cells["dataset"] == row["dataset"]]
        for fraction in same["fraction"].unique():
            cells.append(row.to_frame().T.assign(fraction=fraction))
    order = dict(zip(view.cells.index, range(len(view.cells)), strict=True))
    frame = pd.concat(cells).drop_duplicates(["cell", "fraction"]).merge(view.summary, on="cell")
    frame = frame[frame["metric"].isin(metrics)]
    frame = frame.iloc[frame["cell"].map(order).argsort(kind="stable")]
    competes = frame["kind"].isin(["baseline", "method"])
    lower = frame["metric"].map(lambda metric: direction(view, metric) == "lower")
    loss = frame["mean"].where(lower, -frame["mean"]).where(competes).astype(float)
    groups = loss.groupby([frame[name] for name in ("model", "dataset", "resolution", "fraction", "metric")])
    return frame.assign(wins=(loss == groups.transform("min")) & (groups.transform("count") > 1))


def _named(text: pd.DataFrame, one_metric: bool) -> pd.DataFrame:
    """The names of rows and columns as they are printed: a level in which all are the same is left out."""
    columns = []
    for dataset, fraction, metric in text.columns:
        column = (dataset, share(fraction), title(metric))
        columns.append(column[:2] if one_metric else column)
    if text.index.get_level_values("source").nunique() == 1:
        text = text.droplevel("source")
    return text.set_axis(pd.MultiIndex.from_tuples(columns), axis=1)


def _further(view: View) -> list[Section]:
    """Every other metric; those that are zero everywhere share one line."""
    made, zero = [], []
    for metric in view.metrics()[len(view.headline):]:
        if (view.scores(metric)["mean"].abs() < 1e-12).all():
            zero.append(title(metric))
        elif metric == GAP:
            grids = [score_grid(view, [metric]), change_grid(view, [metric])]
            made.append(Section("Gap of the gradient norms, late in training", list(filter(None, grids)), folded=True))
        else:
            made.append(Section(title(metric), [score_grid(view, [metric])], folded=True))
    if zero:
        made.append(Section("Zero everywhere", lines=[f"{', '.join(zero)}: 0 in every run."], folded=True))
    return made


def _tuning(view: View) -> list[Section]:
    """Every weight that was tried before the table was run, and what came of it."""
    rows = []
    for tuning in tunings():
        task = Run.from_id(tuning["baseline"])
        if cell_id(task) in view.cells.index:
            rows.append({"model": title(task.model), "data set": f"{task.dataset} {share(task.fraction)}",
                         "regularizer": tuning["regularizer"], "tuned weight": tuning["weight"],
                         "tries": tuning["tries"].replace(" ", ", ").replace("=", ": ")})  # fmt: skip
    if not rows:
        return []
    grid = simple(rows, f"Each weight that was tried and the {title(view.headline[0])} that it ended with, on one seed "
                        "that no other table shows; the lowest is tuned, even at the edge of what was tried.", labels=3)
    return [Section("Weights that were tried", [grid], folded=True)]


def _other_protocols(view: View) -> list[Section]:
    """What was measured otherwise than the table says, a line for each cell; curves have a figure instead."""
    others = view.rows[(view.rows["departure"] != "") & ~view.rows["departure"].str.contains(r"checkpoint \d")]
    rows = []
    for departure, group in others.groupby("departure"):
        values = values_of(group).groupby(["metric", "cell"])["value"].agg(["mean", "std"])
        for (metric, cell), (mean, sd) in values.iterrows():
            row = view.cells.loc[cell]
            if family(metric) in ("fid", "fd", "is"):
                rows.append({"measured with": departure, "metric": title(metric), "model": title(row["model"]),
                             "data set": f"{row['dataset']} {share(row['fraction'])}", "method": row["method"],
                             "ours": score(mean, sd, metric)})  # fmt: skip
    if not rows:
        return []
    grid = simple(rows, "Numbers of another protocol than the table's, which do not compare with it.", labels=5)
    return [Section("Measured otherwise", [grid], folded=True)]


def notes(view: View, results: Results) -> list[str]:
    """How to read the table, its oddities, and what was tried and is not shown."""
    names = set(view.values["metric"])
    lines = [*view.table.notes, *_label_notes(view)]
    if (view.values["draws"] > 1).any():
        spread = view.values.groupby("metric")["draw_sd"].median()
        shown = [f"{title(name)} {spread[name]:.3g}" for name in view.headline if name in spread]
        lines.append(f"Each value is the mean of {view.values['draws'].max()} draws of the samples; their standard "
                     f"deviation is, in the median, {', '.join(shown)}.")  # fmt: skip
    if "fd_effnet" in names:
        lines.append(STAND_IN)
    if "is_effnet" in view.headline and "digits" in set(view.cells["dataset"]):
        lines.append(DOUBTFUL)
    if GAP in names:
        lines.append("|n_R - n_F| is the mean over the second half of training, from each run's log.")
    if {"heldout", "untrained"} & set(view.cells.loc[view.values["cell"].unique(), "kind"]):
        lines.append(f"Yardsticks: {REAL} are scored as if generated (what a perfect generator reaches), the "
                     f"{UNTRAINED} is where training starts.")  # fmt: skip
    places = view.trained["model"] + view.trained["dataset"]
    tuning = results.frame[results.frame["seed"] >= TUNING]
    tuned = tuning.loc[(tuning["model"] + tuning["dataset"]).isin(places), "run"].nunique()
    if tuned:
        lines.append(f"{tuned} runs with seeds from {TUNING} on chose weights; they are under results/ and not shown.")
    if names:
        lines.append("Each number leads to its records on the page; every seed's value is in seeds.csv.")
    return lines


def _label_notes(view: View) -> list[str]:
    """The weights behind a label that merges several."""
    found: dict[str, list[str]] = {}
    for row in view.trained.itertuples():
        if row.run.method != row.method and not row.run.augment:
            place = f"{title(row.model)}, {row.dataset} {share(row.fraction)}"
            found.setdefault(row.method, []).append(f"{row.run.method} ({place})")
    return [f"{label}: {', '.join(methods)}." for label, methods in found.items()]


def summary_csv(view: View) -> str:
    """A line for each cell and metric of the table's protocol, with every digit."""
    names = ["model", "dataset", "resolution", "fraction", "method"]
    frame = view.cells[names].rename_axis("cell").reset_index().merge(view.summary, on="cell").assign(table=view.name)
    baselines = frame["cell"].map(view.cells["baseline"])
    found = list(map(view.change, frame["cell"], baselines, frame["metric"]))
    for name, column in {"mean": "log_ratio", "low": "low", "high": "high", "p": "p"}.items():
        frame[column] = [getattr(effect, name, None) for effect in found]
    numbers = ["published", "mean", "sd", "n", "diverged", "log_ratio", "low", "high", "p"]
    return frame[["table", *names, "cell", "metric", *numbers]].to_csv(index=False, lineterminator="\n")


def seeds_csv(view: View) -> str:
    """The rows of the frame that belong to the table: every seed, draw and protocol."""
    columns = view.rows.columns.drop(["kind", "override", "iterations", "batch"])
    return view.rows[columns].to_csv(index=False, lineterminator="\n")


def to_latex(view: View, made: list[Section]) -> str:
    """The scores and the changes, for a paper."""
    text = [f"% {view.table.title}; needs \\usepackage{{booktabs}}"]
    for section in made:
        for grid in section.grids:
            text += [f"% {section.heading}", latex(grid)]
    return "\n".join(text) + "\n"


def relative(results: Path, folder: Path) -> str:
    """The address of the results folder as seen from a folder of the reports."""
    return Path(os.path.relpath(results.resolve(), folder.resolve())).as_posix()
