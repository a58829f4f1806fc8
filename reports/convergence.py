"""Had training converged? Told by the generators that were kept on the way (EVAL_EVERY)."""

from collections import Counter
from statistics import median

from benchmarks.tables import TABLES
from reports.results import Results, Score
from reports.sections import members, title


def distances(table: str, results: Results) -> tuple[str, dict[str, dict[int, float]]]:
    """The Frechet distance of the generators that runs kept, and of their last: its name, run id -> iteration -> value.

    Only what was measured in the most common way, so that no curve mixes two; the first in the alphabet among equals.
    """
    runs = [run for _, run, _ in members(TABLES[table].cells, results)]
    records = [results.records[run.id] for run in runs if run.id in results.records]
    counts = Counter(_way(score) for record in records for score in record.curve)
    way = min(counts, key=lambda way: (-counts[way], way), default=("",))
    found = {}
    for record in records:
        scores = {score.protocol["checkpoint"]: score.value for score in record.curve + record.scores
                  if _way(score) == way and score.protocol["checkpoint"] != "best"}
        points = {record.run.iterations if name == "last" else int(name): value for name, value in scores.items()}
        found |= {record.run.id: dict(sorted(points.items()))} if len(points) > 1 else {}
    return way[0], found


def _way(score: Score) -> tuple[str, ...]:
    return score.metric, *(text for name, text in score.protocol.items() if name not in ("checkpoint", "data"))


def convergence(table: str, results: Results) -> list[str]:
    """How much the Frechet distance still changed at the end, a line for each model; [] where no generator was kept."""
    metric, kept = distances(table, results)
    changes: dict[tuple[str, int, int], list[float]] = {}
    for _, run, training in members(TABLES[table].cells, results):
        points = kept.get(run.id, {})
        early = max((iteration for iteration in points if iteration <= 0.75 * run.iterations), default=0)
        if early and run.iterations in points and not training:
            change = points[run.iterations] / points[early] - 1
            changes.setdefault((run.model, early, run.iterations), []).append(change)
    return [f"Convergence of {title(model)}: from iteration {early:,} to {last:,} {title(metric)} changed by "
            f"{median(found):+.1%} in the median of {len(found)} runs ({min(found):+.1%} to {max(found):+.1%})."
            for (model, early, last), found in changes.items()]
