"""What the regularizer costs; written by reports.bench."""

from benchmarks.runs import Run
from reports.formats import Grid, Text, markdown
from reports.sections import title

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
