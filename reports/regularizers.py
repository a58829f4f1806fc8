"""What the regularizer costs, and whether its lazy default is as good as the exact form; written by reports.bench."""

import math
from statistics import fmean, stdev

from benchmarks.tables import Run
from reports.formats import Grid, Text, markdown
from reports.sections import title
from reports.stats import student

NOTE = """- Ratios: CPU time on one thread of a whole training iteration (every step of both networks, with what the
  model's published recipe regularizes) over that without gradgap; median [lowest, highest] of {rounds} rounds.
- naive: forward passes of its own at every update. exact: by the loss's own pass, at every update. default: the same at
  every 8th update. finite differences: by two more forward passes, without second derivatives.
- exact / naive: what exact adds over what naive adds.
- operations: the same ratio of multiply-adds for the model as published, at 64 px and batch 16, counted exactly.
- MB: the most bytes of tensors at once, in an iteration in which every regularizer is due.
- gradient error: of finite differences against exact, relative, over all parameters of a new discriminator. It is large
  because (leaky) ReLU has kinks: on a smooth network it is below 0.001 (a test holds it to that)."""


def grid(rows: list[dict]) -> Grid:
    forms = list(rows[0]["forms"])[1:]
    header = ["model", "configuration", *forms, "exact / naive", *(f"operations, {form}" for form in forms),
              *(f"MB, {form}" for form in rows[0]["forms"]), "gradient error"]
    return Grid([(name,) for name in header], [_row(row, forms) for row in rows], labels=2)


def _row(row: dict, forms: list[str]) -> list[Text]:
    run = Run.from_id(row["run"])
    override = ", ".join(f"{name} {value}" for name, value in run.override.items())
    ratios = [f"{form['ratio']:.2f} [{form['ratio_low']:.2f}, {form['ratio_high']:.2f}]"
              for form in map(row["forms"].get, forms)]
    return [Text(text) for text in (
        title(run.model), f"{run.resolution} px, batch {run.batch}, {override}", *ratios,
        f"{row['exact_extra_over_naive_extra']:.2f}",
        *(f"{row['forms'][form]['operations_ratio']:.2f}" for form in forms),
        *(f"{form['peak_bytes'] / 1e6:.0f}" for form in row["forms"].values()),
        f"{row['finite_differences_gradient_error']:.1e}")]


def price(data: dict) -> str:
    """The table and how to read it, of what `make bench-regularizers` measured."""
    return f"# The price of gradgap\n\n{markdown(grid(data['rows']))}\n\n{NOTE.format(**data)}\n\n"


LAZY = """- {metric}: a stand-in for FID with EfficientNet-Lite0 features (lower is better); {samples} samples, mean ±
  standard deviation over {seeds} training seeds. The smoke table's twins at 10 % of each data set, on a CPU.
- default: gradgap at every 8th update, at 8 times its weight. exact: at every update.
- difference: default - exact, with its 95 % interval (Student's t over the seeds, in pairs). spread: the standard
  deviation over seeds, pooled over both. not worse: is the mean of the default higher by no more than that?"""


def lazy(data: dict) -> str:
    """The table and how to read it, of what `make bench-lazy` measured; a run that diverged has no number."""
    cells: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for row in data["rows"]:
        found = row[data["metric"]]
        if None not in found.values():
            cells.setdefault((row["dataset"], title(row["model"])), []).append((found["gradgap"],
                                                                                found["gradgap_exact"]))
    header = ["data set", "model", "default", "exact", "difference", "spread", "not worse"]
    grid = Grid([(name,) for name in header], [[*map(Text, name), *_compared(pairs)] for name, pairs in cells.items()],
                labels=2)
    ratios = student([math.log(default / exact) for pairs in cells.values() for default, exact in pairs], "pairs")
    mean, low, high = (f"{100 * math.expm1(value):+.1f} %" for value in ratios[:3])
    chance = len(cells) * math.erfc(math.sqrt(data["seeds"]) / 2) / 2  # P(z > sqrt(n / 2)) of each
    return (f"# gradgap: every 8th update against every update\n\n{markdown(grid)}\n\n"
            f"All pairs together: the default's distance is {mean} from the exact one's, 95 % interval {low} to "
            f"{high} ({ratios.units}). Were both the same, {chance:.1f} of the {len(cells)} cells would say NO by "
            f"chance.\n\n{LAZY.format(**data)}\n")


def _compared(pairs: list[tuple[float, float]]) -> list[Text]:
    difference = student([default - exact for default, exact in pairs], "seeds")
    spread = math.sqrt(fmean(stdev(values) ** 2 for values in zip(*pairs, strict=True)))
    texts = [f"{fmean(values):.1f} ± {stdev(values):.1f}" for values in zip(*pairs, strict=True)]
    return [Text(text) for text in (
        *texts, f"{difference.mean:+.1f} ({difference.low:+.1f} to {difference.high:+.1f})", f"{spread:.1f}",
        "yes" if difference.mean <= spread else "NO")]
