"""What each source says about the claims: the published numbers, and ours; and the effects computed from them."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import fmean

from benchmarks.runs import Run
from benchmarks.tables import TABLES
from reports.results import Results
from reports.sections import claimed, members, sections

PAPER_TABLES = [table for table in TABLES if any(cell.published for cell in TABLES[table].cells)]
STAND_IN = {"fd_effnet": "fid", "is_effnet": "is"}  # what takes whose place in a table without published numbers
Seeds = dict[int, float]  # training seed -> value
Task = tuple[str, str, float]  # model, data set, fraction


@dataclass
class Evidence:
    """What one source says: quantity ("fid", "is", "seconds", "gap") -> baseline or not -> task -> values of seeds."""

    name: str
    seeds: bool  # are the values of training seeds (and not printed numbers)?
    values: dict[str, dict[bool, dict[Task, Seeds]]] = field(default_factory=dict)
    tasks: list[Run] = field(default_factory=list)  # the regularized runs that the source could have

    def add(self, quantity: str, run: Run, seed: int, value: float) -> None:
        tasks = self.values.setdefault(quantity, {True: {}, False: {}})[not run.regularizers]
        tasks.setdefault((run.model, run.dataset, run.fraction), {})[seed] = value

    def effects(self, quantity: str, effect: Callable[[float, float], float]) -> dict[Task, Seeds]:
        """effect(baseline, regularized) in each cell that has both for one seed at least."""
        baselines, regularized = (self.values.get(quantity, {True: {}, False: {}})[key] for key in (True, False))
        found = {task: {seed: effect(baselines[task][seed], value) for seed, value in seeds.items()
                        if seed in baselines.get(task, {})} for task, seeds in regularized.items()}
        return {task: seeds for task, seeds in found.items() if seeds}


def published() -> Evidence:
    """The numbers the paper prints, one for each cell."""
    evidence = Evidence("published, Tables 1-3", seeds=False)
    for cell in (cell for table in PAPER_TABLES for cell in claimed(TABLES[table].cells)):
        evidence.tasks += [cell.run] if cell.run.regularizers else []
        for metric, value in cell.published.items():
            evidence.add(metric, cell.run, 0, value)
    return evidence


def measured(name: str, tables: list[str], results: Results) -> Evidence:
    """Ours: the scores of the tables at their own protocol, the time of training and the gap of the gradient norms."""
    evidence = Evidence(name, seeds=True)
    for table in tables:
        first = sections(TABLES[table].cells, results)[0]
        evidence.tasks += [cell.run for cell in claimed(first.cells) if cell.run.regularizers]
        for cell in claimed(first.cells):
            for metric in first.metrics:
                for seed, value, _ in first.ours(cell, metric):
                    evidence.add(STAND_IN.get(metric, metric), cell.run, seed, value)
        for _, run, training in members(claimed(TABLES[table].cells), results):
            if run.id in results.records and not training:
                _add_run(evidence, run, results)
    return evidence


def _add_run(evidence: Evidence, run: Run, results: Results) -> None:
    record = results.records[run.id]
    if record.status == "done":
        evidence.add(f"seconds on {record.provenance['device']}", run, run.seed, record.seconds["train"])
    if late := late_gap(run, results):
        evidence.add("gap", run, run.seed, late)


def late_gap(run: Run, results: Results) -> float:
    """Mean |n_R - n_F| over the second half of training; 0.0 without a log."""
    log = results.log(run.id)
    gaps = [abs(gap) for iteration, gap in zip(log.get("iteration", ()), log.get("gap", ()), strict=True)
            if iteration > run.iterations / 2 and math.isfinite(gap)]
    return fmean(gaps) if gaps else 0.0


# The effects: task -> values of seeds, one function for each kind of claim


def fid_gain(evidence: Evidence) -> dict[Task, Seeds]:
    """By how many percent R lowers the FID."""
    return evidence.effects("fid", lambda baseline, value: 100 * (baseline - value) / baseline)


def fid_points(evidence: Evidence) -> dict[Task, Seeds]:
    """By how many points R lowers the FID."""
    return evidence.effects("fid", lambda baseline, value: baseline - value)


def is_gain(evidence: Evidence) -> dict[Task, Seeds]:
    """By how many percent R raises the IS."""
    return evidence.effects("is", lambda baseline, value: 100 * (value - baseline) / baseline)


def gap(evidence: Evidence) -> dict[Task, Seeds]:
    """Logarithm of the baseline's mean |n_R - n_F| over the second half of training."""
    found = evidence.values.get("gap", {True: {}})[True]
    return {task: {seed: math.log(value) for seed, value in seeds.items()} for task, seeds in found.items()}


def cost(evidence: Evidence) -> dict[Task, Seeds]:
    """By how many percent R lengthens training, on one and the same device."""
    found: dict[Task, Seeds] = {}
    for quantity in evidence.values:
        if quantity.startswith("seconds on "):
            for task, seeds in evidence.effects(quantity, lambda base, value: 100 * (value - base) / base).items():
                found.setdefault(task, {}).update(seeds)
    return found


def shrinking(effects: dict[Task, Seeds]) -> dict[Task, Seeds]:
    """How much larger an effect is at the smallest fraction than at the largest, for each model and data set."""
    found = {}
    for model, dataset in dict.fromkeys(task[:2] for task in effects):
        fractions = sorted(fraction for *task, fraction in effects if tuple(task) == (model, dataset))
        small, large = (effects[model, dataset, fraction] for fraction in (fractions[0], fractions[-1]))
        shared = {seed: small[seed] - large[seed] for seed in small if seed in large}
        if len(fractions) > 1 and shared:
            found[model, dataset, fractions[0]] = shared
    return found
