"""A method beside a table's baselines, the paper's regularizer and everything else trained on the same data."""

from dataclasses import replace

from benchmarks.runs import InputError, Run
from benchmarks.tables import Cell, is_gradgap
from reports.data.records import Results, cell_id
from reports.data.views import View, kind, off_table, share, view
from reports.show.contest import duel_grid, duels
from reports.show.document import Grid, Section, simple
from reports.show.tables import coverage, score_grid
from reports.show.words import interval, linked, protocol, score, title

LEGEND = [
    "Ours: mean ± standard deviation over the training seeds. Changes are log ratios as percent, within each training "
    "seed, with 95 % intervals from 3 seeds on. Rank: of the mean, among everything that was trained on the same data.",
    "Other people's published numbers on these data sets, ranked within one protocol: `make field DATASET=name`.",
]


def compared(results: Results, table: str, name: str) -> tuple[View, dict[str, str]]:
    """The table's view with the method and all else that was trained on its baselines, and the method's pairs."""
    try:
        asked = Run.from_id(f"model-dataset-1-f1.0-{name}-s0")
    except InputError as error:
        raise InputError(f"METHOD={name}: not a method's name as run ids have it, such as gradgap100 or "
                         "baseline-diffaugment") from error  # fmt: skip
    if kind(asked) == "baseline":
        raise InputError(f"METHOD={name}: that is the baseline itself")
    return _with(results, view(results, table), asked)


def _with(results: Results, made: View, method: Run) -> tuple[View, dict[str, str]]:
    """A table with a method and all else that was trained on its baselines; baseline -> the method's cell beside it."""
    extra, pairs = {cell_id(run): run for run in off_table(results, made)}, {}
    for baseline, run in made.cells.loc[made.cells["kind"] == "baseline", "run"].items():
        run = replace(run, regularizers=method.regularizers, augment=method.augment)
        pairs[baseline] = cell_id(run)
        if cell_id(run) not in made.cells.index:
            extra[cell_id(run)] = run
    return view(results, made.name, list(map(Cell, extra.values()))), pairs


def beside(results: Results, made: View) -> list[Section]:
    """What was trained on a table's baselines and is none of its cells: other methods, and gradgap at other weights."""
    extra, found = off_table(results, made), []
    if extra:
        scores = score_grid(_with(results, made, extra[0])[0], made.headline[:1])
        found.append(Section("Beside what is not in this table", scores, folded=True))
    for name, method in {run.method: run for run in extra if not is_gradgap(run)}.items():
        found.append(Section(f"{name} against the others", _against(*_with(results, made, method), name), folded=True))
    return [section for section in found if section.parts]


def comparison(made: View, pairs: dict[str, str], name: str) -> list[Section]:
    """The method against each other one and in each cell, then everything that was trained."""
    lines = [f"{measured(made, pairs)} of {len(pairs)} cells have the method. {coverage(made)}",
             protocol(made.table), *made.table.notes, *LEGEND]  # fmt: skip
    return [Section("", _against(made, pairs, name) + lines),
            Section("Everything that was trained", score_grid(made, made.headline[:1]))]  # fmt: skip


def _against(made: View, pairs: dict[str, str], name: str) -> list[Grid]:
    """The method against each other one, mean over the cells, and in each cell; [] where it was not measured."""
    metric, rows = made.headline[0], []
    scores, gradgap = made.of(metric), made.cells[made.cells["claimed"]].reset_index().set_index("baseline")["index"]
    for baseline, cell in pairs.items():
        if cell in scores.index:
            row = scores.loc[cell]
            same = scores.loc[(scores["baseline"] == baseline) | (scores.index == baseline), "mean"]
            rows.append({"model": title(row["model"]), "data set": f"{row['dataset']} {share(row['fraction'])}",
                         title(metric): linked(score(row["mean"], row["sd"], metric), cell),
                         "against the baseline": interval(row["effect"]),
                         "against gradgap": interval(made.change(cell, gradgap.get(baseline), metric)),
                         "rank": f"{same.rank(method='min')[cell]:.0f} of {len(same)}"})  # fmt: skip
    each = simple(rows, f"{name} in each cell: {title(metric)} (lower is better), and its change against the baseline "
                        "and the paper's regularizer.", labels=2)  # fmt: skip
    return [*duel_grid(made, duels(made, pairs), name), *each]


def measured(made: View, pairs: dict[str, str]) -> int:
    """In how many cells the method was measured."""
    return int(made.of(made.headline[0]).index.isin(list(pairs.values())).sum())
