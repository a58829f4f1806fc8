"""The paper's six claims, each put to the same test on the published numbers and on ours: reports/claims.md.

An effect is computed in each cell; its mean over the cells gets a 95 % interval by Student's t (reports/stats.py).
"""

import argparse
import math
from collections.abc import Callable
from typing import NamedTuple

from benchmarks.runs import command
from benchmarks.tables import TABLES
from reports import evidence
from reports.evidence import PAPER_TABLES, Evidence, Seeds, Task, shrinking
from reports.formats import Grid, Text, markdown
from reports.options import parse, say_left_out
from reports.results import Results, read, write
from reports.sections import title
from reports.stats import Interval, over_cells, student

SUPPORTED, CONTRADICTED, OPEN = "supported", "contradicted", "not enough evidence"
CHEAP = 10.0  # percent of training time: what we take "almost no extra cost" to mean
Effects = dict[Task, Seeds]


class Finding(NamedTuple):
    """The outcome of a claim's test: a verdict, the effect behind it with its interval, and the number of cells."""

    verdict: str
    effect: str
    interval: str
    cells: str


class Claim(NamedTuple):
    """A claim of the paper: the effect that is tested, in words and computed; how to print it; where to look."""

    name: str
    statement: str
    effect: str
    test: Callable[["Claim", Evidence, Effects], Finding]
    effects: Callable[[Evidence], Effects]
    show: Callable[[float], str]
    shown: str


def on_average(claim: Claim, source: Evidence, effects: Effects) -> Finding:
    """Supported where the interval of the mean effect lies above zero, contradicted where it lies below."""
    interval = over_cells(list(effects.values()))
    return Finding(_sign(interval), claim.show(interval.mean), _interval(claim, interval), str(len(effects)))


def in_every_cell(claim: Claim, source: Evidence, effects: Effects) -> Finding:
    """As on_average, but one cell against the claim contradicts it. A cell of ours counts as against it where its own
    interval over training seeds lies below zero; where only its mean does, it leaves the claim open."""
    finding = on_average(claim, source, effects)
    cells = [student(list(seeds.values()), "training seeds") for seeds in effects.values()]
    below = [cell for cell in cells if cell.mean <= 0]
    sure = [cell for cell in below if not source.seeds or (cell.high is not None and cell.high < 0)]
    verdict = CONTRADICTED if sure else OPEN if below else finding.verdict
    effect = f"{finding.effect}; better in {len(cells) - len(below)} of {len(cells)} cells"
    return finding._replace(verdict=verdict, effect=effect)


def in_every_model(claim: Claim, source: Evidence, effects: Effects) -> Finding:
    """Supported where each model's interval lies above zero, contradicted where that of one lies below."""
    names = dict.fromkeys(run.model for run in source.tasks)
    models = {name: over_cells(cells) for name in names
              if (cells := [seeds for (model, *_), seeds in effects.items() if model == name])}
    signs = {_sign(interval) for interval in models.values()}
    verdict = CONTRADICTED if CONTRADICTED in signs else SUPPORTED
    if verdict == SUPPORTED and (OPEN in signs or len(models) < len(names)):
        verdict = OPEN
    least = min(models, key=lambda name: models[name].mean)
    effect = f"{claim.show(models[least].mean)} for {title(least)}, the least of {len(models)} of {len(names)} models"
    return Finding(verdict, effect, _interval(claim, models[least]), str(len(effects)))


def below_limit(claim: Claim, source: Evidence, effects: Effects) -> Finding:
    """Supported where the interval of the mean lies below CHEAP percent, contradicted where it lies above."""
    interval = over_cells(list(effects.values()))
    shifted = Interval(*(None if x is None else CHEAP - x for x in (interval.mean, interval.high, interval.low)), "")
    return Finding(_sign(shifted), claim.show(interval.mean), _interval(claim, interval), str(len(effects)))


def _sign(interval: Interval) -> str:
    if interval.low is None or interval.low <= 0 <= interval.high:
        return OPEN
    return SUPPORTED if interval.low > 0 else CONTRADICTED


def _interval(claim: Claim, interval: Interval) -> str:
    if interval.low is None:
        return f"none: {interval.units}"
    return f"{claim.show(interval.low)} to {claim.show(interval.high)} ({interval.units})"


def _percent(value: float) -> str:
    return f"{value:+.1f} %"


def _points(value: float) -> str:
    return f"{value:+.2f}"


def _times(value: float) -> str:
    return f"x {math.exp(value):.2f}"


CLAIMS = [
    Claim("C1", "R lowers FID in every cell", "fall of FID", in_every_cell, evidence.fid_gain, _percent, "the tables"),
    Claim("C2", "The gain grows as data shrink", "fall of FID in points, at the smallest fraction less at the largest",
          on_average, lambda source: shrinking(evidence.fid_points(source)), _points, "FID against fraction"),
    Claim("C2r", "The gain in percent grows as data shrink", "fall of FID in percent, at the smallest fraction less at "
          "the largest", on_average, lambda source: shrinking(evidence.fid_gain(source)), _points,
          "FID against fraction"),
    Claim("C3", "The norm gap grows as data shrink", "the baseline's mean |n_R - n_F| over the second half of "
          "training, at the smallest fraction over at the largest", on_average,
          lambda source: shrinking(evidence.gap(source)), _times, "gradient norms"),
    Claim("C4", "R costs almost nothing", f"longer training; up to {CHEAP:.0f} % is taken as \"almost nothing\"",
          below_limit, evidence.cost, _percent, "cost of the regularizer"),
    Claim("C5", "R combines with any model and loss", "fall of FID in the model that gains least", in_every_model,
          evidence.fid_gain, _percent, "the tables"),
    Claim("C6", "IS rises", "rise of IS", on_average, evidence.is_gain, _percent, "the tables"),
]
NOTES = [
    "Verdict: supported where the 95 % interval of the mean effect lies on the claim's side, contradicted where it is "
    "on the other, else not enough evidence.",
    'C1 says "every cell": one cell against it contradicts it; for ours, one whose own interval over seeds is below 0.',
    "Interval: Student's t, of the mean over the cells, over the training seeds that all cells share; over the cells "
    "where there is only one seed, and for the published numbers, which are single runs.",
    "C2 is tested in points and in percent (C2r): in points a large FID can fall further than a small one.",
    "The paper prints no number for C3 (its Figure 1 is a plot) and none for C4.",
    "C4 compares training times on the same device; it is as good as the device was idle.",
    "C6: the paper's own Table 3 has one cell against it, BigGAN at 100 % (12.44 to 10.15).",
    "The open, the twins and the smoke table use stand-in scores (fd_effnet for FID, is_effnet for IS).",
    "The open table has open data in the place of the paper's and fewer iterations; only its baselines and its cells "
    "with gradgap enter here, no comparator.",
    "The twins table has networks of 1/8 of the width and short trainings; what it finds holds for these.",
    "The smoke table has one seed of them: it shows that the suite works and says nothing about the paper.",
]


def sources(results: Results) -> list[Evidence]:
    """The published numbers, ours for the same tables, and ours for each other table that has records."""
    others = [table for table in TABLES if table not in PAPER_TABLES]
    found = [evidence.measured(f"ours, {table} (stand-in scores)", [table], results) for table in others]
    return [evidence.published(), evidence.measured("ours, Tables 1-3", PAPER_TABLES, results),
            *(source for source in found if source.values)]


def findings(results: Results) -> dict[Claim, dict[str, Finding]]:
    """Each claim put to the test on each source: claim -> name of the source -> finding."""
    found = {claim: {} for claim in CLAIMS}
    for source in sources(results):
        for claim in CLAIMS:
            effects = claim.effects(source)
            missing = Finding(OPEN, "nothing measured yet" if source.seeds else "nothing published", "-", "0")
            found[claim][source.name] = claim.test(claim, source, effects) if effects else missing
    return found


def summary(found: dict[Claim, dict[str, Finding]]) -> Grid:
    """The verdicts: a row for each claim, a column for each source."""
    names = list(found[CLAIMS[0]])
    rows = [[Text(f"{claim.name}. {claim.statement}"), *(Text(found[claim][name].verdict) for name in names)]
            for claim in CLAIMS]
    return Grid([("claim",), *((name,) for name in names)], rows, labels=1)


def detail(claim: Claim, found: dict[str, Finding]) -> Grid:
    """What stands behind the verdicts of one claim: a row for each source."""
    rows = [[Text(name), *map(Text, finding)] for name, finding in found.items()]
    return Grid([("source",), ("verdict",), ("effect",), ("95 % interval",), ("cells",)], rows, labels=1)


def heading(claim: Claim) -> str:
    return f"{claim.name}. {claim.statement}"


def caption(claim: Claim) -> str:
    return f"Effect: {claim.effect}. Shown in: {claim.shown}."


def to_markdown(results: Results) -> str:
    found = findings(results)
    parts = ["# Claims of the paper", markdown(summary(found))]
    for claim in CLAIMS:
        parts += [f"## {heading(claim)}", caption(claim), markdown(detail(claim, found[claim]))]
    notes = [*NOTES, *(f"Left out: {problem}" for problem in results.problems)]
    return "\n\n".join([*parts, "## Notes", "\n".join(f"- {note}" for note in notes)]) + "\n"


def main() -> None:
    args = parse(argparse.ArgumentParser(description="Test the paper's claims on the published numbers and on ours."))
    results = read(args.results)
    text = to_markdown(results)
    say_left_out(results)
    write(args.out / "claims.md", text.encode())
    print(f"{text}\nwrote {args.out / 'claims.md'}")


if __name__ == "__main__":
    command(main)
