"""A table as a user reads it: the scores, what changes against the baseline, how to read them, and the long CSVs."""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pandas as pd

from reports.data.records import DIRECTIONS, GAP, Results
from reports.data.views import REAL, TUNING, UNTRAINED, View, family, values_of
from reports.show.grids import Grid, latex, markdown
from reports.show.words import NOTHING, change, interval, protocol, score, span, title

STAND_IN = ("fd_effnet is the Frechet distance between features of EfficientNet-Lite0, a stand-in that needs no "
            "download; it is no FID and must not be compared with one.")  # fmt: skip
DOUBTFUL = "is_effnet is not shown for digits: real held-out digits score below untrained generators there."
KINDS = ["baseline", "method", "untrained", "heldout", "external"]


@dataclass
class Section:
    """A part of a table's report: a heading, its grids, and lines of text below them."""

    heading: str
    grids: list[Grid] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)


def sections(view: View, results: Results) -> list[Section]:
    """Everything that is shown of a table, the scores first."""
    together = list(zip(view.headline))  # each metric in a grid of its own, but for those that the paper has together
    if len(view.published):
        together = [tuple(view.headline)]
    lines = [coverage(view), protocol(view.table, view.iterations)]
    made = [Section("Scores", present(score_grid, view, together), lines)]
    if len(view.values):
        made.append(Section("Change against the baseline", present(change_grid, view, together)))
    made += [*_further(view), *_other_protocols(view), Section("Notes", lines=notes(view, results))]
    return [section for section in made if section.grids or section.lines]


def present(make: Callable, view: View, together: Iterable[Sequence[str]]) -> list[Grid]:
    """The grids of several groups of metrics, without those that have nothing to show."""
    made = []
    for metrics in together:
        grid = make(view, list(metrics))
        if grid:
            made.append(grid)
    return made


def coverage(view: View) -> str:
    """How much of the table was measured, in one line."""
    done, diverged = view.done()[view.trained.index], view.diverged()[view.trained.index]
    if not len(view.values):
        return f"Not run yet: none of its {len(done)} cells is measured."
    seeds = done[done > 0]
    text = f"{len(seeds)} of {len(done)} cells are measured"
    if len(seeds):
        text += f", by {span([seeds.min(), seeds.max()])} training seeds each"
    if diverged.sum():
        text += f"; {diverged.sum()} runs diverged"
    return f"{text}."


@dataclass
class Place:
    """One place of a pivot."""

    row: tuple
    column: tuple
    text: str
    cell: str = ""
    value: float | None = None


def score_grid(view: View, metrics: list[str]) -> Grid | None:
    """Mean ± standard deviation over the training seeds; None where there is nothing to show."""
    usual = _most_seeds(view, metrics)
    places = []
    for metric in metrics:
        scores, lost = view.scores(metric), view.diverged()
        printed = view.published[view.published["metric"] == metric].set_index("cell")["value"]
        for cell, row in _placed(view):
            if cell in printed.index:
                places.append(_place(view, row, metric, "published", f"{printed[cell]:g}"))
            if cell in scores.index:
                mean, sd, count = scores.loc[cell]
                text = score(mean, sd, metric)
                if count != usual and row["kind"] in KINDS[:2]:
                    text += f" (n={count:.0f})"
                if lost[cell]:
                    text += f", {lost[cell]} diverged"
                places.append(_place(view, row, metric, "ours", text, cell, mean))
            elif lost[cell]:
                places.append(_place(view, row, metric, "ours", f"{lost[cell]} diverged", cell))
    caption = ", ".join(f"{title(metric)} ({direction(view, metric)} is better)" for metric in metrics)
    if usual > 1:
        caption += f": mean ± standard deviation over {usual} training seeds"
    if usual:
        caption += "; bold: the best of a model"
    return _pivot(view, metrics, places, f"{caption}.")


def change_grid(view: View, metrics: list[str]) -> Grid | None:
    """The log ratio of method to baseline as percent; None where no method has a baseline beside it."""
    places = []
    for metric in metrics:
        for cell, row in _placed(view):
            if (effect := view.published_effects.get((cell, metric))) is not None:
                places.append(_place(view, row, metric, "published", change(effect.mean)))
            if (effect := view.effects.get((cell, metric))) is not None:
                places.append(_place(view, row, metric, "ours", interval(effect), cell))
    names = ", ".join(title(metric) for metric in metrics)
    return _pivot(view, metrics, places, f"{names}: change against the same model's baseline, in percent (the log "
                  "ratio), with its 95 % interval over the training seeds that both have (Student's t).")  # fmt: skip


def direction(view: View, metric: str) -> str:
    """Which way is better: known, or as the records say."""
    if family(metric) in DIRECTIONS:
        return DIRECTIONS[family(metric)]
    return view.rows.loc[view.rows["metric"] == metric, "better"].iloc[0]


def _most_seeds(view: View, metrics: list[str]) -> int:
    counts = view.scores(metrics[0])["count"]
    counts = counts[counts.index.isin(view.trained.index)]
    return int(counts.max()) if len(counts) else 0


def _placed(view: View) -> list[tuple[str, dict]]:
    """The cells in the order of the rows. An untrained generator stands in every fraction, which it does not know."""
    models = list(dict.fromkeys(view.cells["model"]))
    listed = []
    for cell, row in view.cells.iterrows():
        kind = KINDS.index(row["kind"])
        listed.append(((kind > 2, models.index(row["model"]), kind, len(listed)), cell, row.to_dict()))
    placed = []
    for _, cell, row in sorted(listed, key=lambda item: item[0]):
        placed.append((cell, row))
        if row["kind"] == "untrained":
            placed += [(cell, row | {"fraction": fraction}) for fraction in _fractions_without(view, row)]
    return placed


def _fractions_without(view: View, untrained: dict) -> list[float]:
    """The other fractions of the data set at which the model has no untrained generator of its own."""
    same = view.cells[view.cells["dataset"] == untrained["dataset"]]
    own = same[(same["kind"] == "untrained") & (same["model"] == untrained["model"])]
    if own["fraction"].min() != untrained["fraction"]:
        return []
    return sorted(set(same["fraction"]) - set(own["fraction"]))


def _place(view: View, row: dict, metric: str, source: str, text: str, cell: str = "", value=None) -> Place:
    column = (f"{row['dataset']}, {row['resolution']} px", row["fraction"], metric)
    model = title(row["model"])
    if row["kind"] not in KINDS[:2]:
        value = None  # it does not compete
    return Place((model, row["method"], source), column, text, cell, value)


def _pivot(view: View, metrics: list[str], places: list[Place], caption: str) -> Grid | None:
    """Places as a grid: rows and columns in the table's order. A level of the names that says nothing is left out."""
    if not places:
        return None
    rows = list(dict.fromkeys(place.row for place in places))
    order = [f"{row.dataset}, {row.resolution} px" for row in view.cells.itertuples()]
    columns = sorted({place.column for place in places},
                     key=lambda column: (order.index(column[0]), column[1], metrics.index(column[2])))  # fmt: skip
    shape = len(rows), len(columns)
    text, links = np.full(shape, NOTHING, dtype=object), np.full(shape, "", dtype=object)
    best = np.zeros(shape, dtype=bool)
    winners = _winners(view, places)
    for place in places:
        at = rows.index(place.row), columns.index(place.column)
        text[at] = place.text
        links[at] = f"{view.folder}/records.html#{quote(place.cell)}" if place.cell else ""
        best[at] = place in winners
    names = _row_names(rows), _column_names(columns, len(metrics) == 1)
    return Grid(pd.DataFrame(text, *names), caption, pd.DataFrame(best, *names), pd.DataFrame(links, *names))


def _row_names(rows: list[tuple]) -> pd.MultiIndex:
    """Without the level of the source where all have the same."""
    index = pd.MultiIndex.from_tuples(rows, names=["model", "method", "source"])
    return index.droplevel("source") if len(index.unique("source")) == 1 else index


def _column_names(columns: list[tuple], one_metric: bool) -> pd.MultiIndex:
    """Without the level of the metric where all have the same."""
    levels = []
    for dataset, fraction, metric in columns:
        level = (dataset, f"{fraction:.0%}")
        levels.append(level if one_metric else (*level, title(metric)))
    return pd.MultiIndex.from_tuples(levels)


def _winners(view: View, places: list[Place]) -> list[Place]:
    """The best of each model in each column, where at least two compete."""
    groups: dict[tuple, list[Place]] = {}
    for place in places:
        if place.value is not None:
            groups.setdefault((place.row[0], place.column), []).append(place)
    winners = []
    for (_, column), group in groups.items():
        choose = min if direction(view, column[2]) == "lower" else max
        if len(group) > 1:
            winners.append(choose(group, key=lambda place: place.value))
    return winners


def _further(view: View) -> list[Section]:
    """Every other metric; those that are zero everywhere share one line."""
    made, zero = [], []
    for metric in view.metrics()[len(view.headline):]:
        scores = view.scores(metric)
        if (scores["mean"].abs() < 1e-12).all():
            zero.append(title(metric))
            continue
        made.append(Section(title(metric), present(score_grid, view, [[metric]])))
        if metric == GAP:
            made[-1].heading = "Gap of the gradient norms, late in training"
            made[-1].grids += present(change_grid, view, [[metric]])
    if zero:
        made.append(Section("Zero everywhere", lines=[f"{', '.join(zero)}: 0 in every run."]))
    return made


def _other_protocols(view: View) -> list[Section]:
    """What was measured otherwise than the table says, a section for each way; curves have a figure instead."""
    made = []
    rows = view.rows[~view.rows["departure"].str.contains(r"checkpoint \d")]
    for departure, group in rows[rows["departure"] != ""].groupby("departure"):
        other = View(view.name, view.folder, view.table, view.iterations, view.cells, view.published.iloc[:0],
                     view.rows, values_of(group))  # fmt: skip
        chosen = [[metric] for metric in other.metrics() if family(metric) in ("fid", "fd", "is")]
        made.append(Section(f"Other protocol: {departure}", present(score_grid, other, chosen)))
    return made


def notes(view: View, results: Results) -> list[str]:
    """How to read the table, its oddities, and what was tried and is not shown."""
    names = list(dict.fromkeys(view.values["metric"]))
    lines = [*view.table.notes, *_label_notes(view), *_training_check(view)]
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
    kinds = set(view.cells.loc[view.cells.index.isin(view.values["cell"]), "kind"])
    if kinds & {"heldout", "untrained"}:
        lines.append(f"Yardsticks: {REAL} are scored as if generated (what a perfect generator reaches), the "
                     f"{UNTRAINED} is where training starts.")  # fmt: skip
    tuned = _tuning(view, results)
    if tuned:
        lines.append(f"{tuned} runs with seeds from {TUNING} on chose weights; they are under results/ and not shown.")
    if len(view.values):
        lines.append("Each number leads to its records on the page; every seed's value is in seeds.csv.")
    return lines


def _tuning(view: View, results: Results) -> int:
    places = set(view.trained["model"] + view.trained["dataset"])
    frame = results.frame[results.frame["seed"] >= TUNING]
    return frame.loc[(frame["model"] + frame["dataset"]).isin(places), "run"].nunique()


def _label_notes(view: View) -> list[str]:
    """The weights behind a label that merges several."""
    found: dict[str, list[str]] = {}
    for row in view.cells.itertuples():
        if row.run is not None and row.run.iterations and row.run.method != row.method and row.run.regularizers:
            found.setdefault(row.method, []).append(f"{row.run.method} ({title(row.model)}, {row.dataset} "
                                                    f"{row.fraction:.0%})")  # fmt: skip
    lines = []
    for label, methods in found.items():
        if " + " not in label:
            lines.append(f"{label}: {', '.join(methods)}.")
    return lines


def _training_check(view: View) -> list[str]:
    """Did training work at all? A trained generator should reach half of the untrained one's Frechet distance."""
    metric = view.headline[0]
    scores, starts = view.scores(metric)["mean"], {}
    for cell, row in view.cells[view.cells["kind"] == "untrained"].iterrows():
        if cell in scores.index:
            starts[row["model"], row["dataset"]] = scores[cell]
    failed, count = [], 0
    for cell, row in view.trained.iterrows():
        start = starts.get((row["model"], row["dataset"]))
        if start is not None and cell in scores.index:
            count += 1
            name = f"{title(row['model'])} {row['method']} at {row['fraction']:.0%}"
            if scores[cell] > start / 2:
                failed.append(name)
    if not count:
        return []
    text = (f"Training check: {count - len(failed)} of {count} trained cells have at most half of their untrained "
            f"generator's {title(metric)}")  # fmt: skip
    if failed:
        text += f"; not {', '.join(failed)}"
    return [f"{text}."]


def summary_csv(view: View) -> str:
    """A line for each cell and metric of the table's protocol, with every digit."""
    rows, lost = [], view.diverged()
    for metric in view.metrics():
        scores = view.scores(metric)
        printed = view.published[view.published["metric"] == metric].set_index("cell")["value"]
        for cell, row in view.cells.iterrows():
            effect = view.effects.get((cell, metric))
            rows.append({
                "table": view.name, "model": row["model"], "dataset": row["dataset"], "resolution": row["resolution"],
                "fraction": row["fraction"], "method": row["method"], "cell": cell, "metric": metric,
                "published": printed.get(cell), **dict(zip(["mean", "sd", "n"], _numbers(scores, cell), strict=True)),
                "diverged": lost[cell], "log_ratio": effect and effect.mean, "low": effect and effect.low,
                "high": effect and effect.high, "p": effect and effect.p,
            })  # fmt: skip
    return pd.DataFrame(rows).to_csv(index=False, lineterminator="\n")


def _numbers(scores: pd.DataFrame, cell: str) -> tuple:
    if cell not in scores.index:
        return None, None, 0
    mean, sd, count = scores.loc[cell]
    return mean, sd, int(count)


def seeds_csv(view: View) -> str:
    """The rows of the frame that belong to the table: every seed, draw and protocol."""
    columns = [name for name in view.rows.columns if name not in ("kind", "override", "iterations", "batch")]
    return view.rows[columns].to_csv(index=False, lineterminator="\n")


def to_markdown(view: View, made: list[Section], problems: list[str]) -> str:
    text = [f"# {view.table.title}"]
    for section in made:
        if section.heading != "Scores":
            text.append(f"## {section.heading}")
        for grid in section.grids:
            text += [markdown(grid), grid.caption]
        if section.lines:
            text.append("- " + "\n- ".join(section.lines))
    text += [f"Left out: {problem}" for problem in problems]
    return "\n\n".join(text) + "\n"


def to_latex(view: View, made: list[Section]) -> str:
    text = [f"% {view.table.title}; needs \\usepackage{{booktabs}}"]
    for section in made:
        for grid in section.grids:
            text += [f"% {section.heading}", latex(grid)]
        text += [f"% {line}" for line in section.lines]
    return "\n".join(text) + "\n"


def relative(results: Path, folder: Path) -> str:
    """The address of the results folder as seen from a folder of the reports."""
    return Path(os.path.relpath(results.resolve(), folder.resolve())).as_posix()
