"""Which numbers may stand together: sorts the scores of a table's runs into sections of one protocol each.

The first section of a table is the table at its own protocol. Every other metric or protocol that is found (fewer
iterations, fewer images, another extractor) gets a section of its own, named by what differs.
"""

from collections import Counter
from dataclasses import dataclass, field, replace
from itertools import groupby
from statistics import fmean
from typing import NamedTuple

from benchmarks.runs import Run
from benchmarks.tables import TABLES, Cell
from reports.results import KNOWN, Record, Results, Score, family
from reports.states import State

PROTOCOL = {"reference": "full training set", "weights": "ema", "checkpoint": "last"}
PAPER = {"generated images": "5000"}  # section 4.1 of the paper, for the tables that have published numbers
INCEPTION = {"extractor": "inception", "resize": "clean"}  # clean-fid, for metrics without an extractor in their name
STAND_INS = ["fd_effnet", "is_effnet"]  # what a table without published numbers shows
NAMES = {"wgan": "WGAN", "stylegan2": "StyleGAN2", "biggan": "BigGAN", "dcgan": "DCGAN", "fid": "FID", "is": "IS"}


class Value(NamedTuple):
    """One number of one training seed, and where it comes from in one line."""

    seed: int
    value: float
    source: str


@dataclass
class Section:
    """Numbers of one protocol. `departure` says how it differs from the table's own; "" for the table itself."""

    metrics: list[str]
    cells: list[Cell]
    departure: str = ""
    values: dict[tuple[str, str], list[Value]] = field(default_factory=dict)  # (cell id, metric) ->
    states: dict[str, list[State]] = field(default_factory=dict)  # cell id -> a state for each seed that was run
    scores: dict[tuple[str, str], list[Score]] = field(default_factory=dict)  # (cell id, metric) -> those of the values

    def ours(self, cell: Cell, metric: str) -> list[Value]:
        """Ours, in the order of the training seeds; [] where there is none."""
        return self.values.get((cell.run.id, metric), [])

    def sampling_sd(self, cell: Cell, metric: str) -> float | None:
        """Standard deviation over the draws of the samples: root mean square over the training seeds with several."""
        scores = self.scores.get((cell.run.id, metric), [])
        variances = [score.sampling_sd**2 for score in scores if score.sampling_sd is not None]
        return fmean(variances) ** 0.5 if variances else None


class Member(NamedTuple):
    """A run that belongs to a cell, and how its training departs from the cell's; "" where only the seed differs."""

    cell: Cell
    run: Run
    training: str


class Found(NamedTuple):
    """A score of a run, and how its measurement departs from the protocol of its column; "" for not at all."""

    member: Member
    record: Record
    score: Score
    measurement: str

    @property
    def order(self) -> tuple:
        metric, name = self.score.metric, family(self.score.metric)
        return self.member.training, self.measurement, [*KNOWN, name].index(name), metric, self.member.run.seed


def members(cells: list[Cell], results: Results) -> list[Member]:
    """The runs of a table that have a folder, its own protocol first, in the order of its cells and seeds.

    A run with another protocol belongs to it too, unless it is a cell of another table.
    """
    places = {_task(cell.run): (number, cell) for number, cell in enumerate(cells)}
    elsewhere = {cell.run.id for table in TABLES.values() for cell in table.cells} - {cell.run.id for cell in cells}
    found = []
    for run in results.runs:
        if replace(run, seed=0).id in elsewhere:
            continue
        number, cell = places.get(_task(run), (None, None))
        if cell:
            training = departures(run, cell.run)
            found.append((training, number, run.seed, Member(cell, run, training)))
    return [member for *_, member in sorted(found, key=lambda item: item[:3])]


def sections(cells: list[Cell], results: Results) -> list[Section]:
    """The table at its own protocol first, then a section for each further metric or protocol that was found."""
    metrics = list(dict.fromkeys(metric for cell in cells for metric in cell.published)) or STAND_INS
    runs = members(cells, results)
    first = Section(metrics, cells, states=_states(runs, results, ""))
    made = {("", "", metric): first for metric in metrics}
    for found in sorted(_scores(cells, runs, results), key=lambda found: found.order):
        training, metric = found.member.training, found.score.metric
        key = training, found.measurement, metric
        if key not in made:
            departure = ", ".join(filter(None, key[:2]))
            made[key] = Section([metric], cells, departure, states=_states(runs, results, training))
        value = Value(found.record.run.seed, found.score.value, _source(found.record, found.score))
        made[key].values.setdefault((found.member.cell.run.id, metric), []).append(value)
        made[key].scores.setdefault((found.member.cell.run.id, metric), []).append(found.score)
    return [first, *(section for section in made.values() if section is not first)]


def _scores(cells: list[Cell], runs: list[Member], results: Results) -> list[Found]:
    """Every score of the table's runs, compared with the protocol of its column."""
    fixed = PROTOCOL | (PAPER if any(cell.published for cell in cells) else {})
    triples = [(member, results.records[member.run.id], score) for member in runs if member.run.id in results.records
               for score in results.records[member.run.id].scores]
    scores = []
    for column, group in groupby(sorted(triples, key=_column), key=_column):
        group = list(group)
        usual = _usual([score for *_, score in group]) | fixed | ({} if "_" in column[-1] else INCEPTION)
        scores += [Found(*triple, _differences(triple[2], usual)) for triple in group]
    return scores


def title(name: str) -> str:
    """A model or a metric as the field writes it."""
    return NAMES.get(name, name)


def method(cell: Cell) -> str:
    """What stands behind the model in the name of a row: "" for the baseline, " + gradgap100", ", untrained"."""
    if cell.run.iterations == 0:
        return ", untrained"
    name = cell.label or cell.run.method.removeprefix("baseline-")
    return f" + {name}" if name != "baseline" else ""


def claimed(cells: list[Cell]) -> list[Cell]:
    """The trained cells that the paper's claims are about: baselines, and those with gradgap and nothing else."""
    return [cell for cell in cells
            if cell.run.iterations and not cell.run.augment and set(cell.run.regularizers) <= {"gradgap"}]


def _task(run: Run) -> str:
    """The id of what a run trains, whatever its seed and protocol; an untrained generator is a task of its own."""
    return replace(run, seed=0, iterations=min(run.iterations, 1), batch=1, override={}).id


def _column(triple: tuple[Member, Record, Score]) -> tuple[str, int, str]:
    run = triple[0].run
    return run.dataset, run.resolution, triple[2].metric


def _usual(scores: list[Score]) -> dict[str, str]:
    """The most common protocol; the first in the alphabet among equals."""
    counts = Counter(tuple(score.protocol.items()) for score in scores)
    return dict(min(counts, key=lambda protocol: (-counts[protocol], protocol)))


def departures(run: Run, cell: Run) -> str:
    """How the run's training departs from the cell's; "" where only the seed differs."""
    texts = [f"{run.iterations:,} iterations"] if run.iterations != cell.iterations else []
    texts += [f"batch {run.batch}"] if run.batch != cell.batch else []
    names = sorted({*run.override, *cell.override})
    texts += [f"{name} {run.override.get(name, 'as published')}" for name in names
              if run.override.get(name) != cell.override.get(name)]
    return ", ".join(texts)


def _differences(score: Score, usual: dict[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in score.protocol.items() if value != usual[name])


def _states(runs: list[Member], results: Results, training: str) -> dict[str, list[State]]:
    """The states of the runs that are trained this way, for each cell."""
    states: dict[str, list[State]] = {}
    for member in runs:
        if member.training == training:
            states.setdefault(member.cell.run.id, []).append(results.states[member.run.id])
    return states


def _source(record: Record, score: Score) -> str:
    """Where a number comes from, in one line."""
    origin = record.provenance
    commit = f"commit {str(origin['commit'])[:10]}{' (dirty)' if origin['dirty'] else ''}"
    protocol = ", ".join(f"{name} {value}" for name, value in score.protocol.items())
    versions = ", ".join(f"{name} {version}" for name, version in origin["versions"].items())
    sampling = f" (mean of {score.draws} draws, sampling sd {score.sampling_sd:g})" if score.draws > 1 else ""
    iteration = "" if score.iteration is None else f", iteration {score.iteration}"
    return (f"{record.run.id}: {score.metric} {score.value:g}{sampling}; {protocol}{iteration}; {commit}; "
            f"{origin['device']}; {versions}")
