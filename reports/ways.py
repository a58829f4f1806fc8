"""Whether one way to train is as good as another, over seeds; written by reports.bench."""

import math
from statistics import fmean, stdev

from reports.formats import Grid, Text, markdown
from reports.sections import title
from reports.stats import over_cells, student

NOTE = """- {metric}: a stand-in for FID with EfficientNet-Lite0 features (lower is better); {samples} samples, mean ±
  standard deviation over the training seeds of which neither run diverged, of {seeds}. The smoke table's twins with
  gradgap, on 10 % of each data set, on a CPU.
- {ways}
- difference: {first} - {second}, with its 95 % interval (Student's t over the seeds, in pairs). spread: the standard
  deviation over seeds, pooled over both. not worse: is the mean of {first} higher by no more than that, and did it not
  diverge more often?"""

LAZY = "default: gradgap at every 8th update, at 8 times its weight. exact: at every update."
BF16 = "bf16: both networks compute in bfloat16 while they are trained. float32: as the recipes have it."

Pair = tuple[float | None, float | None]  # the distances of both ways; None for a run that diverged


def lazy(data: dict) -> str:
    """What `make bench-lazy` measured."""
    return compared("gradgap: every 8th update against every update", LAZY, data)


def bf16(data: dict) -> str:
    """What `make bench-bf16` measured."""
    return compared("Training in bfloat16 against float32", BF16, data)


def compared(heading: str, ways: str, data: dict) -> str:
    """The table, the mean over all cells, and how to read them."""
    first, second = names = list(data["rows"][0][data["metric"]])
    cells: dict[tuple[str, str], dict[int, Pair]] = {}  # data set, model -> seed -> distances
    for row in data["rows"]:
        pair = tuple(row[data["metric"]][name] for name in names)
        cells.setdefault((row["dataset"], title(row["model"])), {})[row["seed"]] = pair
    header = ["data set", "model", first, second, "difference", "spread", "not worse"]
    grid = Grid([(name,) for name in header],
                [[*map(Text, name), *map(Text, _row(list(cell.values())))] for name, cell in cells.items()], labels=2)
    return (f"# {heading}\n\n{markdown(grid)}\n\n{_overall(first, second, list(cells.values()))}\n\n"
            f"{NOTE.format(ways=ways, first=first, second=second, **data)}\n")


def _overall(first: str, second: str, cells: list[dict[int, Pair]]) -> str:
    ratios = [{seed: math.log(a / b) for seed, (a, b) in cell.items() if None not in (a, b)} for cell in cells]
    ratios = [cell for cell in ratios if cell]
    if not ratios:
        return "In every pair a run diverged."
    found = over_cells(ratios)
    mean, *ends = (f"{100 * math.expm1(value):+.1f} %" for value in found[:3] if value is not None)
    interval = f", 95 % interval {' to '.join(ends)}" if ends else ""
    return (f"Over all cells the distance of {first} is {mean} from that of {second} (geometric mean{interval}, "
            f"{found.units}).")


def _row(pairs: list[Pair]) -> list[str]:
    sides = list(zip(*pairs, strict=True))
    lost = [sum(value is None for value in side) for side in sides]
    both = [pair for pair in pairs if None not in pair]
    notes = [f", {n} of {len(pairs)} diverged" if n else "" for n in lost]
    if len(both) < 2:
        return [*(f"-{note}" for note in notes), "-", "-", "NO" if lost[0] > lost[1] else "-"]
    values = list(zip(*both, strict=True))
    difference = student([a - b for a, b in both], "seeds")
    spread = math.sqrt(fmean(stdev(side) ** 2 for side in values))
    texts = [f"{fmean(side):.1f} ± {stdev(side):.1f}{note}" for side, note in zip(values, notes, strict=True)]
    return [*texts, f"{difference.mean:+.1f} ({difference.low:+.1f} to {difference.high:+.1f})", f"{spread:.1f}",
            "yes" if difference.mean <= spread and lost[0] <= lost[1] else "NO"]
