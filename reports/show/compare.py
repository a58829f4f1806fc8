"""A method beside a table's baselines, the paper's regularizer and everything else that the table trains."""

from dataclasses import replace

from benchmarks.runs import InputError, Run
from benchmarks.tables import Cell
from reports.data.folders import shortened
from reports.data.records import Results, cell_id
from reports.data.views import View, is_gradgap, kind, off_table, share, view
from reports.show.contest import duel_grid, duels
from reports.show.document import Grid, Section, simple
from reports.show.tables import coverage, score_grid
from reports.show.words import interval, linked, protocol, score, title

PLUMBING = ("The smoke table checks the plumbing: one seed of tiny networks, trained for a minute, says nothing about "
            "the method.")  # fmt: skip
LEGEND = [
    "Ours: mean ± standard deviation over the training seeds. Changes are log ratios as percent, within each training "
    "seed, with 95 % intervals from 3 seeds on. Rank: of the mean, among everything that was trained on the same data.",
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
    if kind(asked) == "baseline":
        raise InputError(f"METHOD={name}: that is the baseline itself")
    known = [cell.run for cell in shortened(table, iterations).cells]
    pairs, extra = {}, []
    for baseline in known:
        if kind(baseline) == "baseline":
            run = replace(baseline, regularizers=asked.regularizers, augment=asked.augment)
            if run not in known:
                extra.append(Cell(run))
            pairs[cell_id(baseline)] = cell_id(run)
    made = view(results, table, iterations, extra)
    made.folder = f"compare/{name}/{made.folder}"
    return made, pairs


def extra_methods(results: Results, made: View) -> list[str]:
    """The methods that were run on a table's baselines and are not in it, but for gradgap's weights."""
    methods = [run.method for run in off_table(results, made) if not is_gradgap(run)]
    return list(dict.fromkeys(methods))


def comparison(made: View, pairs: dict[str, str], name: str) -> list[Section]:
    """The method against each other one, in each cell, then everything that was trained."""
    lines = [f"{measured(made, pairs)} of {len(pairs)} cells have the method. {coverage(made)}",
             protocol(made.table), *LEGEND]  # fmt: skip
    if made.name == "smoke":
        lines.insert(0, PLUMBING)
    against, scores = duels(made, pairs), score_grid(made, made.headline[:1])
    found = [Section("", [duel_grid(made, against, name)] * bool(against) + lines)]
    if measured(made, pairs):
        found.append(Section("In each cell", [_each_cell(made, pairs, name)]))
    return found + [Section("Everything that was trained", [scores])] * bool(scores)


def _each_cell(made: View, pairs: dict[str, str], name: str) -> Grid:
    metric, rows = made.headline[0], []
    scores, gradgap = made.of(metric), made.cells[made.cells["claimed"]]
    for baseline, cell in pairs.items():
        if cell in scores.index:
            row, claimed = scores.loc[cell], gradgap.index[gradgap["baseline"] == baseline]
            beside = scores[(scores["baseline"] == baseline) | (scores.index == baseline)]
            rank = beside["mean"].rank(method="min")[cell]
            against = [interval(made.change(cell, other, metric)) for other in claimed]
            rows.append({"model": title(row["model"]), "data set": f"{row['dataset']} {share(row['fraction'])}",
                         title(metric): linked(score(row["mean"], row["sd"], metric), cell),
                         "against the baseline": interval(row["effect"]), "against gradgap": "".join(against),
                         "rank": f"{rank:.0f} of {len(beside)}"})  # fmt: skip
    return simple(rows, f"{name} in each cell: {title(metric)} (lower is better), and its change against the baseline "
                        "and the paper's regularizer.", labels=2)  # fmt: skip


def measured(made: View, pairs: dict[str, str]) -> int:
    """In how many cells the method was measured."""
    return int(made.of(made.headline[0]).index.isin(list(pairs.values())).sum())
