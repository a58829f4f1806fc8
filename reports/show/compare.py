"""A method beside a table's baselines, the paper's regularizer and everything else that the table trains."""

from dataclasses import replace

from benchmarks.runs import InputError, Run
from benchmarks.tables import TABLES, Cell
from reports.data.records import Results, cell_id
from reports.data.stats import contrast, estimate
from reports.data.views import View, is_gradgap, kind, off_table, share, view
from reports.show.contest import duel_grid, duels
from reports.show.grids import Grid, Section, simple
from reports.show.tables import change_grid, coverage, direction, score_grid
from reports.show.words import NOTHING, interval, protocol, scores, title

PLUMBING = ("The smoke table checks the plumbing: one seed of tiny networks, trained for a minute, says nothing about "
            "the method.")  # fmt: skip
LEGEND = [
    "Ours: mean ± standard deviation over the training seeds. Changes are log ratios as percent, within each training "
    "seed, with 95 % intervals from 3 seeds on.",
    "Rank: that of the method among everything trained in the same cell, by its mean; 1 is the best.",
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
    known = [cell.run for cell in TABLES[table].cells]
    pairs, extra = {}, []
    for baseline in known:
        if kind(baseline) == "baseline":
            run = replace(baseline, regularizers=asked.regularizers, augment=asked.augment)
            if run not in known:
                extra.append(Cell(run))
            pairs[_id(baseline, iterations)] = _id(run, iterations)
    return view(results, table, iterations, extra), pairs


def _id(run: Run, iterations: int | None) -> str:
    return cell_id(run if iterations is None else replace(run, iterations=min(run.iterations, iterations)))


def extra_methods(results: Results, made: View) -> list[str]:
    """The methods that were run on a table's baselines and are not in it, but for gradgap's weights."""
    methods = [run.method for run in off_table(results, made) if not is_gradgap(run)]
    return list(dict.fromkeys(methods))


def comparison(made: View, pairs: dict[str, str], name: str) -> list[Section]:
    """The method against each other and in each cell; then everything that was trained."""
    metric = made.headline[0]
    cells, ranks = _by_cell(made, pairs, name, metric)
    lines = [f"{measured(made, pairs)} of {len(pairs)} cells have the method. {coverage(made)}",
             protocol(made.table, made.iterations), *LEGEND]  # fmt: skip
    if ranks:
        lines.insert(1, f"Its mean rank is {sum(ranks) / len(ranks):.1f}.")
    if made.name == "smoke":
        lines.insert(0, PLUMBING)
    against = duels(made, pairs)
    grids = [duel_grid(made, against, name)] if against else []
    every = [score_grid(made, [metric]), change_grid(made, [metric])]
    return [Section("", [*grids, cells], lines),
            Section("Everything that was trained", list(filter(None, every)), folded=True)]  # fmt: skip


def measured(made: View, pairs: dict[str, str]) -> int:
    """In how many cells the method was measured."""
    return int(made.scores(made.headline[0]).index.isin(list(pairs.values())).sum())


def _by_cell(made: View, pairs: dict[str, str], name: str, metric: str) -> tuple[Grid, list[float]]:
    """The cells one by one, with what the paper printed for them; and the method's ranks."""
    printed = made.published[made.published["metric"] == metric].set_index("cell")["value"].map("{:g}".format)
    ours, rows, ranks = scores(made, metric), [], []
    for baseline, cell in pairs.items():
        row = made.cells.loc[baseline]
        beside = made.cells[(made.cells["baseline"] == baseline) | (made.cells.index == baseline)]
        gradgap = (*beside.index[beside["claimed"]], "")[0]  # "" where the table has none
        line = {"model": title(row["model"]), "data set": f"{row['dataset']}, {row['resolution']} px",
                "fraction": share(row["fraction"])}  # fmt: skip
        if len(printed):
            line |= {"published baseline": printed.get(baseline), "published R": printed.get(gradgap)}
        line |= {"baseline": ours.get(baseline), "gradgap": ours.get(gradgap), name: ours.get(cell),
                 "against baseline": _against(made, cell, baseline, metric),
                 "against gradgap": _against(made, cell, gradgap, metric)}  # fmt: skip
        means = made.scores(metric)["mean"].reindex(beside.index).dropna()
        place = means.rank(ascending=direction(made, metric) == "lower", method="min").get(cell)
        if place is not None:
            ranks.append(place)
            line["rank"] = f"{place:.0f} of {len(means)}"
        rows.append(line)
    caption = f"{title(metric)} ({direction(made, metric)} is better) of {name} on the {made.name} table."
    return simple(rows, caption, labels=3, missing=NOTHING), ranks


def _against(made: View, cell: str, other: str, metric: str) -> str:
    """The change from another cell, with its interval."""
    found = contrast(made.logs(metric), {cell: 1.0, other: -1.0})
    return NOTHING if cell == other or found.empty else interval(estimate(found))
