"""The tables: every run of the benchmark as one row of data, with the paper's value beside it. Standard library only.

`python -m benchmarks.tables TABLE [SEEDS=3] [ITERATIONS=1000]` lists the run ids of a table.
"""

import csv
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks.runs import InputError, Option, Protocol, Run, command, read_options, whole

GRADGAP = {"gradgap": 100.0}  # lambda = 100: the one value the paper states, for Table 3


def is_gradgap(run: Run) -> bool:
    """Whether a run has the paper's regularizer, at any weight, and nothing else."""
    return list(run.regularizers) == ["gradgap"] and not run.augment


@dataclass(frozen=True)
class Cell:
    """One cell of a table: the run (of seed 0) and what the paper published for it, metric -> value.

    label  what its row is called, where that is not the run's method: a method that has a weight for each column
    """

    run: Run
    published: Mapping[str, float] = field(default_factory=dict)
    label: str = ""


@dataclass(frozen=True)
class Table:
    """Cells that are trained, measured and shown together.

    title     what the table is called where it is shown
    notes     footnotes that belong to it
    cells     its cells, in the order in which they are run
    protocol  how its runs are measured, unless the user says otherwise
    seeds     how many training seeds it has, from 0, unless the user says otherwise
    small     whether its runs are so small that each takes one core of the CPU, as many at a time as there are
    """

    title: str
    notes: tuple[str, ...]
    cells: tuple[Cell, ...]
    protocol: Protocol = Protocol()
    seeds: int = 1
    small: bool = False


def _published_tables() -> dict[str, tuple[Cell, ...]]:
    """The paper's Tables 1-3, from tables.csv (doi 10.12677/aam.2023.123139)."""
    tables: dict[str, dict[str, Cell]] = {}
    with (Path(__file__).parent / "tables.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            run = _published_run(row)
            cells = tables.setdefault(row["table"], {})
            cell = cells.setdefault(run.id, Cell(run, {}))
            cell.published[row["metric"]] = float(row["value"])
    return {table: tuple(cells.values()) for table, cells in tables.items()}


def _published_run(row: Mapping[str, str]) -> Run:
    """The run whose value a line of tables.csv gives."""
    regularizers = {}
    if row["variant"] == "r3":
        regularizers = GRADGAP
    return Run(row["model"], row["dataset"], int(row["resolution"]), float(row["fraction"]), regularizers)


# The published averages of the generator's weights reach back further than a short training lasts. These reach back,
# and begin after, a twentieth of it, which is the share of StyleGAN2's in its low-shot runs: 902 of 18,750 iterations.
AVERAGE_150 = {"ema_decay": 0.87, "ema_start": 8}
AVERAGE_20_000 = {"ema_decay": 0.999, "ema_start": 1000}

# Model -> lambda, batch, generator steps, override. Thin networks need higher rates to draw digits within a minute;
# DCGAN's gradients, which nothing bounds, are so large that lambda = 100 keeps its discriminator from learning.
SMOKE = {  # the slowest first: it trains while the first evaluation computes the features of the real images
    "stylegan2": (100.0, 16, 115, {"width": 0.0625, "lr_g": 4e-3, "lr_d": 4e-3, **AVERAGE_150}),
    "biggan": (100.0, 8, 115, {"width": 0.125, "d_steps": 2, **AVERAGE_150}),
    "wgan": (100.0, 8, 140, {"width": 0.125, "lr_g": 1e-3, "lr_d": 1e-3, "d_steps": 2}),
    "dcgan": (0.1, 16, 800, {"width": 0.25, "lr_g": 1e-3, "lr_d": 5e-4, "lr_decay": 1}),
}


def _smoke_table() -> list[Cell]:
    """Small twins of Table 3 on embedded data, minutes on a CPU; iteration 0 is the untrained generator."""
    cells = []
    for model, (weight, batch, iterations, override) in SMOKE.items():
        twin = Run(model, "digits", 32, iterations=iterations, batch=batch, override=override)
        cells.append(Cell(replace(twin, iterations=0)))
        for fraction in (0.1, 1.0):
            baseline = replace(twin, fraction=fraction)
            cells.append(Cell(baseline))
            cells.append(Cell(replace(baseline, regularizers={"gradgap": weight})))
    return cells


DIGGAN = {0.1: 10_000.0, 0.2: 5000.0, 1.0: 1000.0}  # fraction -> its weight in DigGAN's code, for CIFAR-100
LECAM = {"lecam": 0.3}  # of its code, for BigGAN
# DiffAugment's policy on CIFAR with BigGAN (DiffAugment-biggan-cifar/scripts of mit-han-lab/data-efficient-gans). There
# few-shot sets and StyleGAN2 on a part of CIFAR have all three, "diffaugment"; StyleGAN2 on the whole of CIFAR has
# "diffaugment_color_cutout".
DIFFAUGMENT = "diffaugment_translation_cutout"


def _contest(baselines: list[Run]) -> list[Cell]:
    """Each baseline, at the fractions of Table 3, with gradgap and with what competes with it."""
    cells = []
    for baseline in baselines:
        for fraction, weight in DIGGAN.items():
            run = replace(baseline, fraction=fraction)
            cells.append(Cell(run))
            cells.append(Cell(replace(run, regularizers=GRADGAP)))
            cells.append(Cell(replace(run, regularizers={"diggan": weight}), label="diggan"))
            cells.append(Cell(replace(run, regularizers=LECAM)))
            cells.append(Cell(replace(run, augment=DIFFAUGMENT)))
    return cells


def _open_table() -> list[Cell]:
    """The shapes of Tables 3 and 2 on open data, models at full size, and in the former what competes with gradgap."""
    cells = _contest([Run("wgan", "fashion-mnist", 32, iterations=20_000),
                      Run("biggan", "fashion-mnist", 32, iterations=20_000, override=AVERAGE_20_000)])
    for run in (Run("wgan", "emoji-faces", 128, iterations=20_000),
                Run("stylegan2", "emoji-faces", 128, iterations=20_000),
                Run("biggan", "emoji-faces", 128, iterations=20_000, override=AVERAGE_20_000)):
        cells.append(Cell(run))
        cells.append(Cell(replace(run, regularizers=GRADGAP)))
    return cells


# The small table: thin models that a CPU trains until they have converged or overfit, each on fractions of data sets,
# the smallest first. The averages of weights are ours: the published ones reach back further than the training.
THIN_DCGAN = Run("dcgan", "digits", 32, iterations=10_000,
                 override={"width": 0.25, "ema_decay": 0.999, "ema_start": 500})
THIN_WGAN = Run("wgan", "digits", 32, iterations=5000, batch=8,
                override={"width": 0.125, "d_steps": 2, "ema_decay": 0.996, "ema_start": 250})
THIN_BIGGAN = Run("biggan", "digits", 32, iterations=5000, batch=8,
                  override={"width": 0.125, "d_steps": 2, "ema_decay": 0.996, "ema_start": 250})
SMALL = {  # baseline at 100 % -> fractions
    THIN_DCGAN.id: (0.1, 0.2, 1.0),
    replace(THIN_DCGAN, dataset="cifar-100").id: (0.004, 1.0),
    replace(THIN_DCGAN, dataset="100-shot-panda").id: (1.0,),
    THIN_WGAN.id: (0.1, 1.0),
    THIN_BIGGAN.id: (0.1, 1.0),
    replace(THIN_BIGGAN, dataset="cifar-100").id: (0.004, 1.0),
}
TUNING = 100  # training seeds from here on choose weights; they are never shown as results
READINGS = ("gradgap_lazy", "gradgap_pairs", "gradgap_single")  # these have the tuned weight of gradgap
CONTEST = {  # what else competes at the smallest fraction, by model and data set
    ("dcgan", "digits"): (*READINGS, "gradgap_abs", "diggan", "lecam", "r1"),
    ("dcgan", "cifar-100"): READINGS,
    ("dcgan", "100-shot-panda"): READINGS,
}
PUBLISHED_WEIGHTS = {"gradgap": 100.0, "diggan": 10_000.0, "lecam": 0.3, "r1": 10.0}


def small_tasks() -> list[Run]:
    """Every baseline of the small table; of each task the smallest fraction comes first."""
    tasks = []
    for run_id, fractions in SMALL.items():
        for fraction in fractions:
            tasks.append(replace(Run.from_id(run_id), fraction=fraction))
    return tasks


def is_smallest(task: Run) -> bool:
    """Whether a baseline of the small table has the smallest fraction of its data set."""
    return task.fraction == SMALL[replace(task, fraction=1.0).id][0]


def tunings() -> list[dict[str, str]]:
    """What reproduce.tune has found on seeds of its own: baseline (its id), regularizer, best weight and every try."""
    with (Path(__file__).parent / "tuned.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def tuned_weights() -> dict[tuple[str, str], float]:
    """(baseline's id, regularizer) -> its tuned weight."""
    weights = {}
    for row in tunings():
        weights[row["baseline"], row["regularizer"]] = float(row["weight"])
    return weights


def weight_of(regularizer: str) -> str:
    """The regularizer whose tuned weight this one has: its own, but for the readings of gradgap."""
    if regularizer in READINGS:
        return "gradgap"
    return regularizer


def contest(task: Run) -> tuple[str, ...]:
    """The regularizers besides gradgap that a baseline of the small table is trained with at its smallest fraction."""
    if not is_smallest(task):
        return ()
    return CONTEST.get((task.model, task.dataset), ())


def _small_table() -> list[Cell]:
    """Every task with gradgap, and at its smallest fraction with all that competes, and with the yardsticks."""
    tuned, cells = tuned_weights(), []
    for task in small_tasks():
        cells.append(Cell(task))
        cells += _tuned_cell(tuned, task, "gradgap")
        if is_smallest(task):
            cells += _competitors(tuned, task)
            cells += _yardsticks(task)
    return _without_repeats(cells)


def _tuned_cell(tuned: Mapping[tuple[str, str], float], task: Run, regularizer: str, augment: str = "") -> list[Cell]:
    """A task with a regularizer at its tuned weight. The cell is there as soon as the weight is."""
    weight = tuned.get((task.id, weight_of(regularizer)))
    if weight is None:
        return []
    label = f"{regularizer}, tuned"
    if augment:
        label = f"{regularizer} + {augment}, tuned"
    return [Cell(replace(task, regularizers={regularizer: weight}, augment=augment), label=label)]


def _competitors(tuned: Mapping[tuple[str, str], float], task: Run) -> list[Cell]:
    """A task with an augmentation, with the other regularizers, and with these at their published weights."""
    names = contest(task)
    cells = [Cell(replace(task, augment="diffaugment")), *_tuned_cell(tuned, task, "gradgap", "diffaugment")]
    for name in names:
        cells += _tuned_cell(tuned, task, name)
    for name, weight in PUBLISHED_WEIGHTS.items():
        if name == "gradgap" or name in names:
            cells.append(Cell(replace(task, regularizers={name: weight}), label=f"{name}, published weight"))
    return cells


def _yardsticks(task: Run) -> list[Cell]:
    """Real images that a fraction leaves out, scored as if they were generated, and the untrained generator."""
    cells = [Cell(replace(task, iterations=0))]
    if task.fraction < 1:
        cells.insert(0, Cell(Run("heldout", task.dataset, task.resolution, task.fraction, iterations=0)))
    return cells


def _without_repeats(cells: list[Cell]) -> list[Cell]:
    """Each run once, as its first cell has it, in the place of its last cell."""
    kept: dict[str, Cell] = {}
    for cell in cells:
        first = kept.pop(cell.run.id, cell)
        kept[cell.run.id] = first
    return list(kept.values())


R = "gradgap100 is the paper's regularizer R with lambda = 100, a reconstruction from its words."
LAMBDA = "The paper states lambda = 100 for Table 3 only."
WAGN = 'The paper prints WGAN as "WAGN".'
STYLEGAN = 'The paper prints StyleGAN2 as "StyleGAN" in the table.'
COMPARATORS = (
    "diggan has the form of its code for BigGAN on CIFAR-100, and its weights unless tuned: in an iteration's first "
    "update of the discriminator, on norms mixed half and half with those of the last penalised batch.",
    "lecam has the form of its code for BigGAN, and its weight unless tuned: ReLU in both terms, decay 0.9, off for "
    "the first 1,000 iterations.",
    "diffaugment_translation_cutout has the policy of DiffAugment's code for BigGAN on CIFAR; diffaugment alone has "
    "all three transforms, the policy for few-shot sets.",
    "r1 is applied at every 16th update at 16 times its weight, as in StyleGAN2.",
)
NO_SUCH_TABLE = "The paper has no such table"
PUBLISHED = _published_tables()
TABLES = {
    "table1": Table("Table 1. FID at 1024 px (lower is better)", (R, LAMBDA, WAGN, STYLEGAN), PUBLISHED["table1"]),
    "table2": Table("Table 2. FID of small data sets at 256 px (lower is better)", (R, LAMBDA, WAGN, STYLEGAN),
                    PUBLISHED["table2"]),
    "table3": Table(
        "Table 3. FID (lower is better) and IS (higher is better) on CIFAR-100 at 64 px",
        (R, WAGN, "The paper prints the pair FID 23.41, IS 8.12 twice: WGAN at 100 % and WGAN with R at 20 %.",
         "BigGAN at 100 %: the published IS falls from 12.44 to 10.15 with R, against the paper's claim."),
        PUBLISHED["table3"]),
    "open": Table(
        "Open table. The shapes of Table 3, on fashion-mnist at 32 px, and of Table 2, on emoji-faces at 128 px",
        (R, f"{NO_SUCH_TABLE}. Anybody can have these sets; they stand in the place of CIFAR-100 (Table 3) and of the "
            "small sets at 256 px (Table 2). The models have their full size.", *COMPARATORS[:3]),
        tuple(_open_table()), Protocol("effnet", eval_every=5000), seeds=3),
    "small": Table(
        "Small table. The limited-data question with thin models that a CPU trains in minutes each",
        ("The paper's regularizer is gradgap, a reconstruction from its words; gradgap_lazy applies it at every 8th "
         "update, gradgap_abs, _pairs and _single are other readings of the lost equations.",
         f"{NO_SUCH_TABLE}. Models of 1/4 (DCGAN) and 1/8 of the width at 32 px: what it finds holds for these.",
         "Gradient norms differ tenfold between models, so each regularizer is tuned: the best of four powers of ten "
         "(three with WGAN and BigGAN) by fd_effnet on one seed that is not shown (every try: benchmarks/tuned.csv). "
         "Rows with the published weight have that of Table 3 (gradgap), of DigGAN's code for CIFAR-100 at 10 %, of "
         "LeCam's for BigGAN, and of StyleGAN2 (r1).", *COMPARATORS),
        tuple(_small_table()), Protocol("effnet", samples=1000, eval_every=2500), seeds=5, small=True),
    "smoke": Table(
        "Smoke table. Small twins of the benchmark on embedded digits, minutes on a CPU",
        (R, f"{NO_SUCH_TABLE}: it shows that the whole suite works, not that the paper reproduces."),
        tuple(_smoke_table()), Protocol("effnet", samples=100), small=True),
}


def shortened(table: Table, iterations: int) -> Table:
    """A table whose runs have at most so many iterations; the paper's values are not those of a shortened run."""
    cells = []
    for cell in table.cells:
        if cell.run.iterations > iterations:
            cell = replace(cell, run=replace(cell.run, iterations=iterations), published={})
        cells.append(cell)
    return replace(table, cells=tuple(cells))


def runs(table: str, seeds: int = 1, iterations: int | None = None) -> list[Run]:
    """The runs of a table for seeds 0..seeds-1; `iterations` replaces the protocol's, and then shows in the id."""
    if table not in TABLES:
        raise InputError(f"table {table!r}: not one of {', '.join(TABLES)}")
    chosen = TABLES[table]
    if iterations is not None:
        chosen = shortened(chosen, iterations)
    rows = [cell.run for cell in chosen.cells]
    seeded = {}
    for seed in range(seeds):
        for run in rows:
            run = replace(run, seed=seed)
            seeded[run.id] = run  # runs that differ in their length alone may be one when they are shortened
    return list(seeded.values())


SWEPT = (1.0, 10.0, 100.0, 1000.0, 10_000.0)  # beside 0, the baseline


def sweep(rows: list[Run]) -> list[Run]:
    """The trained baselines among the runs, each followed by itself with gradgap at every weight of SWEPT."""
    swept = []
    for run in rows:
        if run.is_baseline:
            swept.append(run)
            for weight in SWEPT:
                swept.append(replace(run, regularizers={"gradgap": weight}))
    return swept


def main() -> None:
    name, *arguments = sys.argv[1:] or [""]
    given = read_options(arguments, {"SEEDS": Option(whole(1, 100), 1), "ITERATIONS": Option(whole(0))})
    for run in runs(name, given["SEEDS"], given["ITERATIONS"]):
        print(run.id)


if __name__ == "__main__":
    command(main)
