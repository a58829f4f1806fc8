"""Whether one way to train is as good as another, over seeds; written by reports.bench."""

import math
from statistics import fmean, stdev

from reports.formats import Grid, Text, markdown
from reports.sections import title
from reports.stats import student

NOTE = """- {metric}: a stand-in for FID with EfficientNet-Lite0 features (lower is better); {samples} samples, mean ±
  standard deviation over {seeds} training seeds. The smoke table's twins with gradgap, on 10 % of each data set, on a
  CPU.
- {ways}
- difference: {first} - {second}, with its 95 % interval (Student's t over the seeds, in pairs). spread: the standard
  deviation over seeds, pooled over both. not worse: is the mean of {first} higher by no more than that?"""

LAZY = "default: gradgap at every 8th update, at 8 times its weight. exact: at every update."
BF16 = "bf16: both networks compute in bfloat16 while they are trained. float32: as the recipes have it."


def lazy(data: dict) -> str:
    """What `make bench-lazy` measured."""
    return compared("gradgap: every 8th update against every update", LAZY, data)


def bf16(data: dict) -> str:
    """What `make bench-bf16` measured."""
    return compared("Training in bfloat16 against float32", BF16, data)


def compared(heading: str, ways: str, data: dict) -> str:
    """The table and how to read it; a run that diverged has no number."""
    first, second = names = list(data["rows"][0][data["metric"]])
    cells: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for row in data["rows"]:
        pair = tuple(row[data["metric"]][name] for name in names)
        if None not in pair:
            cells.setdefault((row["dataset"], title(row["model"])), []).append(pair)
    header = ["data set", "model", first, second, "difference", "spread", "not worse"]
    grid = Grid([(name,) for name in header], [[*map(Text, name), *_row(pairs)] for name, pairs in cells.items()],
                labels=2)
    ratios = student([math.log(a / b) for pairs in cells.values() for a, b in pairs], "pairs")
    mean, low, high = (f"{100 * math.expm1(value):+.1f} %" for value in ratios[:3])
    chance = len(cells) * math.erfc(math.sqrt(data["seeds"]) / 2) / 2  # P(z > sqrt(n / 2)) of each
    return (f"# {heading}\n\n{markdown(grid)}\n\n"
            f"All pairs together: the distance of {first} is {mean} from that of {second}, 95 % interval {low} to "
            f"{high} ({ratios.units}). Were both the same, {chance:.1f} of the {len(cells)} cells would say NO by "
            f"chance.\n\n{NOTE.format(ways=ways, first=first, second=second, **data)}\n")


def _row(pairs: list[tuple[float, float]]) -> list[Text]:
    difference = student([a - b for a, b in pairs], "seeds")
    spread = math.sqrt(fmean(stdev(values) ** 2 for values in zip(*pairs, strict=True)))
    texts = [f"{fmean(values):.1f} ± {stdev(values):.1f}" for values in zip(*pairs, strict=True)]
    return [Text(text) for text in (
        *texts, f"{difference.mean:+.1f} ({difference.low:+.1f} to {difference.high:+.1f})", f"{spread:.1f}",
        "yes" if difference.mean <= spread else "NO")]
