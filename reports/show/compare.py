"""A method beside a table's baselines, the paper's regularizer and everything else that the table trains."""

from dataclasses import replace

from benchmarks.runs import InputError, Run
from benchmarks.tables import TABLES, Cell
from reports.data.records import Results, cell_id
from reports.data.views import View, is_gradgap, kind, off_table, view
from reports.show.contest import duel_grid, duels
from reports.show.grids import Section
from reports.show.tables import change_grid, coverage, rank_grid, score_grid
from reports.show.words import protocol

PLUMBING = ("The smoke table checks the plumbing: one seed of tiny networks, trained for a minute, says nothing about "
            "the method.")  # fmt: skip
LEGEND = [
    "Ours: mean ± standard deviation over the training seeds. Changes are log ratios as percent, within each training "
    "seed, with 95 % intervals from 3 seeds on.",
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
    """The method against each other one, then everything that was trained, the method with its ranks."""
    metrics = made.headline[:1]
    lines = [f"{measured(made, pairs)} of {len(pairs)} cells have the method. {coverage(made)}",
             protocol(made.table, made.iterations), *LEGEND]  # fmt: skip
    if made.name == "smoke":
        lines.insert(0, PLUMBING)
    against = duels(made, pairs)
    gradgap = made.cells[made.cells["claimed"]].reset_index(names="cell").set_index("baseline")["cell"]
    baselines = {cell: baseline for baseline, cell in pairs.items()}
    beside_gradgap = {cell: gradgap.get(baseline) for cell, baseline in baselines.items()}
    grids = [score_grid(made, metrics), change_grid(made, metrics, baselines),
             change_grid(made, metrics, beside_gradgap, "gradgap"), rank_grid(made, metrics, pairs)]  # fmt: skip
    return [Section("", [duel_grid(made, against, name)] * bool(against), lines),
            Section("In each cell", list(filter(None, grids)))]  # fmt: skip


def measured(made: View, pairs: dict[str, str]) -> int:
    """In how many cells the method was measured."""
    return int(made.scores(made.headline[0]).index.isin(list(pairs.values())).sum())
