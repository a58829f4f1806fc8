"""A table as a user reads it: the scores, what changes against the baseline, how to read them, and the long CSVs."""

from collections.abc import Callable
from itertools import product

import pandas as pd

from benchmarks.runs import Run
from benchmarks.tables import tunings
from reports.data.records import GAP, cell_id
from reports.data.stats import MIN_SEEDS
from reports.data.views import REAL, TRAINED, UNTRAINED, View, share
from reports.show.contest import contest, duel_grid, preconditions
from reports.show.document import Grid, Section, latex, simple
from reports.show.words import NOTHING, change, detectable, interval, linked, protocol, score, span, title

STAND_IN = ("fd_effnet is the Frechet distance between features of EfficientNet-Lite0, a stand-in that needs no "
            "download; it is no FID and must not be compared with one.")  # fmt: skip
ROW = ["model", "method", "source"]
CHANGES = ("Changes are log ratios in percent, within each training seed, of a method to the same model's baseline and "
           "of a baseline to itself on the most data, with 95 % intervals (Student's t). Detectable: the smallest "
           "change that would have been found 4 times in 5 at the 5 % level.")  # fmt: skip
DOUBTFUL = "is_effnet is not shown for digits: real held-out digits score below untrained generators there."


def sections(made: View) -> list[Section]:
    """Everything that is shown of a table. What answers its question comes first."""
    shown = [Section("", [coverage(made), protocol(made.table)]),
             Section("gradgap against its competitors", duel_grid(made, contest(made), "gradgap")),
             Section("Can this table see it?", preconditions(made))]  # fmt: skip
    metrics = list(made.summary["metric"].unique())
    together = len(made.headline) if len(made.published) else 1  # those that the paper has together share a table
    for number, group in enumerate([metrics[:together], *[[metric] for metric in metrics[together:]]]):
        means, parts = made.of(group[0])["mean"], score_grid(made, group) + change_grid(made, group)
        if number and len(means) and not means.any():
            parts = ["0 in every run."]
        shown.append(Section(", ".join(map(title, group)), parts, folded=number > 0))
    shown += [Section("Weights that were tried", _weights(made), folded=True),
              Section("Notes", notes(made), folded=True)]  # fmt: skip
    return [section for section in shown if section.parts]


def coverage(made: View) -> str:
    """How much of the table was measured, in one line."""
    done = made.summary[made.summary["kind"].isin(TRAINED) & made.summary["metric"].isin(made.headline)]
    done, lost = done.groupby("cell")["n"].max(), made.summary.drop_duplicates("cell")["diverged"].sum()
    if not len(made.values) and not lost:
        return f"Not run yet: none of its {len(done)} cells is measured."
    seeds = done[done > 0]
    text = f"{len(seeds)} of {len(done)} cells are measured"
    if len(seeds):
        text += f", by {span([seeds.min(), seeds.max()])} training seeds each"
    if lost:
        text += f"; {lost} runs diverged"
    return f"{text}."


def score_grid(made: View, metrics: list[str]) -> list[Grid]:
    """Mean ± standard deviation over the training seeds; [] where there is nothing to show."""
    usual = made.summary.loc[made.summary["kind"].isin(TRAINED), "n"].max()
    better = made.summary.drop_duplicates("metric").set_index("metric")["better"]
    caption = ", ".join(f"{title(metric)} ({better[metric]} is better)" for metric in metrics)
    if usual > 1:
        caption += f": mean ± standard deviation over {usual} training seeds"
    if usual:
        caption += "; bold: the best of a model"

    def texts(row) -> dict[str, str]:
        printed = "" if pd.isna(row.published) else f"{row.published:g}"
        return {"published": printed, "ours": _score_text(row, usual)}

    return _pivot(made, metrics, texts, f"{caption}.")


def _score_text(row, usual: int) -> str:
    parts = []
    if row.n:
        parts.append(score(row.mean, row.sd, row.metric))
        if row.n != usual and row.kind in TRAINED:
            parts[0] += f" (n={row.n})"
    if row.diverged:
        parts.append(f"{row.diverged} diverged")
    text = ", ".join(parts)
    if text:
        text = linked(text, row.cell)
    return f"**{text}**" if row.wins else text


def change_grid(made: View, metrics: list[str]) -> list[Grid]:
    """The log ratio of method to baseline, and of baseline to that on the most data, as percent; and the smallest
    detectable one."""

    def texts(row) -> dict[str, str]:
        found = {}
        if not pd.isna(row.printed):
            found["published"] = change(row.printed)
        if row.effect:
            found["ours"] = linked(interval(row.effect), row.cell)
            if row.effect.n >= MIN_SEEDS:
                found["detectable"] = detectable(row.effect)
        return found

    names = ", ".join(map(title, metrics))
    return _pivot(made, metrics, texts, f"{names}: change against the same model's baseline, in percent.")


def _pivot(made: View, metrics: list[str], texts: Callable, caption: str) -> list[Grid]:
    """A row for each model, method and source, a column for each data set, fraction and metric; [] without any text.

    texts  gives what a row of the summary says: source -> text, where "" is nothing. An untrained generator stands in
           every fraction, since it knows none.
    """
    datasets = list(made.cells["dataset"].unique())
    order = list(dict.fromkeys(zip(made.cells["model"].map(title), made.cells["method"], strict=True)))
    rows: dict[tuple, dict[tuple, str]] = {}
    columns: dict[tuple, tuple] = {}  # what a column is ordered by -> its name
    for row in made.summary[made.summary["metric"].isin(metrics)].itertuples():
        fractions = {row.fraction}
        if row.kind == "untrained":
            fractions = set(made.cells.loc[made.cells["dataset"] == row.dataset, "fraction"])
        for (source, text), fraction in product(texts(row).items(), fractions):
            place = datasets.index(row.dataset), row.resolution, fraction, metrics.index(row.metric)
            if text:
                columns[place] = f"{row.dataset}, {row.resolution} px", share(fraction), title(row.metric)
                rows.setdefault((title(row.model), row.method, source), {})[place] = text
    if not rows:
        return []
    index = pd.MultiIndex.from_tuples(sorted(rows, key=lambda name: order.index(name[:2])), names=ROW)
    frame = pd.DataFrame(map(rows.get, index), index, sorted(columns)).fillna(NOTHING)
    frame.columns = pd.MultiIndex.from_tuples(map(columns.get, sorted(columns)))
    if len(metrics) == 1:
        frame = frame.droplevel(2, axis=1)
    if index.get_level_values("source").nunique() == 1:
        frame = frame.droplevel("source")
    return [Grid(frame, caption)]


def _weights(made: View) -> list[Grid]:
    """Every weight that was tried before the table was run."""
    rows = []
    for tuning in tunings():
        task = Run.from_id(tuning["baseline"])
        if cell_id(task) in made.cells.index:
            rows.append({"model": title(task.model), "data set": f"{task.dataset} {share(task.fraction)}",
                         "regularizer": tuning["regularizer"], "tuned weight": tuning["weight"],
                         "tries": tuning["tries"].replace(" ", ", ").replace("=", ": ")})  # fmt: skip
    return simple(rows, f"Each weight that was tried and the {title(made.headline[0])} that it ended with, on one "
                  "seed that no other table shows; the lowest is tuned, even at the edge of what was tried.", 3)


def notes(made: View) -> list[str]:
    """How to read the table, its oddities, and what was tried and is not shown."""
    names = set(made.values["metric"])
    lines = [*made.table.notes, *_label_notes(made)]
    if (made.values["draws"] > 1).any():
        spread = made.values.groupby("metric")["draw_sd"].median()
        shown = [f"{title(name)} {spread[name]:.3g}" for name in made.headline if name in spread]
        lines.append(f"Each value is the mean of {made.values['draws'].max()} draws of the samples; their standard "
                     f"deviation is, in the median, {', '.join(shown)}.")  # fmt: skip
    if "fd_effnet" in names:
        lines.append(STAND_IN)
    if "is_effnet" in made.headline and "digits" in set(made.cells["dataset"]):
        lines.append(DOUBTFUL)
    if GAP in names:
        lines.append("|n_R - n_F| is the mean over the second half of training, from each run's log.")
    if {"heldout", "untrained"} & set(made.cells.loc[made.values["cell"].unique(), "kind"]):
        lines.append(f"Yardsticks: {REAL} are scored as if generated (what a perfect generator reaches), the "
                     f"{UNTRAINED} is where training starts.")  # fmt: skip
    if names:
        lines += [CHANGES, "Each number leads to its records on the page; every seed's value is in seeds.csv."]
    return lines


def _label_notes(made: View) -> list[str]:
    """The weights behind a label that merges several."""
    found: dict[str, list[str]] = {}
    for row in made.trained.itertuples():
        if row.run.method != row.method and not row.run.augment:
            place = f"{title(row.model)}, {row.dataset} {share(row.fraction)}"
            found.setdefault(row.method, []).append(f"{row.run.method} ({place})")
    return [f"{label}: {', '.join(methods)}." for label, methods in found.items()]


def summary_csv(made: View) -> str:
    """A line for each cell and metric of the table's protocol, with every digit."""
    frame = made.summary.assign(table=made.name)
    for name, column in {"mean": "log_ratio", "low": "low", "high": "high", "p": "p"}.items():
        frame[column] = [getattr(effect, name, None) for effect in frame["effect"]]
    frame = frame.sort_values("cell", key=lambda cells: cells.map(made.cells.index.get_loc), kind="stable")
    columns = ["table", "model", "dataset", "resolution", "fraction", "method", "cell", "metric", "published", "mean",
               "sd", "n", "diverged", "against", "log_ratio", "low", "high", "p"]  # fmt: skip
    return frame[columns].to_csv(index=False)


def seeds_csv(made: View) -> str:
    """The rows of the frame that belong to the table: every seed, draw and protocol."""
    return made.rows.to_csv(index=False)


def to_latex(made: View, shown: list[Section]) -> str:
    """Every table of the report, for a paper."""
    text = [f"% {made.table.title}; needs \\usepackage{{booktabs}}"]
    for section in shown:
        for part in section.parts:
            if isinstance(part, Grid):
                text += [f"% {section.heading}", latex(part)]
    return "\n".join(text) + "\n"
