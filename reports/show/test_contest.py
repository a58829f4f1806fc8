"""The contest, what a table can see, and the smallest change that it could have seen, on records of known numbers."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from benchmarks.runs import Run
from benchmarks.tables import TABLES, Cell
from reports.conftest import entry
from reports.data.records import cell_id, read
from reports.data.views import share, view
from reports.show.contest import ALIKE, BETTER, FEW, WORSE, contest, duel_grid, in_words, preconditions
from reports.show.document import markdown
from reports.show.tables import change_grid, score_grid

TASK = Run("dcgan", "digits", 32, 0.004, iterations=100)
METHODS = {"gradgap": {"regularizers": {"gradgap": 10.0}}, "r1": {"regularizers": {"r1": 1.0}},
           "lecam": {"regularizers": {"lecam": 1.0}}, "diffaugment": {"augment": "diffaugment"},
           "both": {"regularizers": {"gradgap": 10.0}, "augment": "diffaugment"}}  # fmt: skip
BASE = np.array([20.0, 21.0, 19.0, 22.0])
VALUES = {"gradgap": BASE * [0.90, 0.91, 0.89, 0.90], "r1": BASE * [0.70, 0.71, 0.70, 0.69],
          "lecam": BASE * [1.00, 1.10, 0.70, 0.90], "diffaugment": BASE * [0.60, 0.61, 0.59, 0.60],
          "both": BASE * [0.50, 0.51, 0.49, 0.50]}  # fmt: skip


@pytest.fixture
def small(monkeypatch):
    """The small table with one task at two fractions, its competitors and its yardsticks."""
    cells = [Cell(TASK), Cell(replace(TASK, fraction=1.0)), Cell(replace(TASK, iterations=0)),
             Cell(Run("heldout", "digits", 32, 0.004, iterations=0))]  # fmt: skip
    cells += [Cell(replace(TASK, **changes)) for changes in METHODS.values()]
    monkeypatch.setitem(TABLES, "small", replace(TABLES["small"], cells=tuple(cells)))


def write(writer, run, values, **changes):
    for seed, value in enumerate(values):
        writer.write(replace(run, seed=seed), [entry("fd_effnet", float(value), n_generated=1000, **changes)])


@pytest.fixture
def made(writer, small):
    write(writer, TASK, BASE)
    write(writer, replace(TASK, fraction=1.0), BASE / 2)
    write(writer, replace(TASK, iterations=0), [30.0])
    write(writer, Run("heldout", "digits", 32, 0.004, iterations=0), [1.5])
    for name, changes in METHODS.items():
        write(writer, replace(TASK, **changes), VALUES[name])
    return view(read(writer.folder), "small")


def test_the_contest(made):
    found = {duel.opponent: duel for duel in contest(made)}
    verdicts = {name: duel.verdict for name, duel in found.items()}
    assert verdicts == {"baseline": BETTER, "r1_1": WORSE, "lecam1": ALIKE, "diffaugment": WORSE,
                        "diffaugment, when added to it": BETTER}  # fmt: skip
    expected = stats.ttest_rel(np.log(VALUES["both"]), np.log(VALUES["diffaugment"]))
    assert found["diffaugment, when added to it"].effect.p == pytest.approx(expected.pvalue)
    assert found["baseline"].p == pytest.approx(stats.ttest_rel(np.log(VALUES["gradgap"]), np.log(BASE)).pvalue)
    assert found["lecam1"].p >= found["lecam1"].effect.p and found["lecam1"].tests == 4  # Holm among competitors


def test_the_contest_in_words(made):
    found = contest(made)
    text = in_words(made, found, "gradgap")
    assert text.startswith("by fd_effnet, gradgap is better than baseline (-10 % [-11, -8.7], mean over 1 of 1 cells)")
    assert "; is worse than r1_1 (+29 % [+26, +31], mean over 1 of 1 cells), diffaugment (+50 % [" in text
    assert "; is not told apart from lecam1 (" in text
    assert "| r1_1 | +29 % [+26, +31] | worse | 1 of 1 | 4 |" in markdown(duel_grid(made, found, "gradgap")[0])


@pytest.mark.parametrize("seeds", [1, 2])
def test_two_seeds_are_too_few_for_a_verdict(writer, small, seeds):
    write(writer, TASK, BASE[:seeds])
    write(writer, replace(TASK, **METHODS["gradgap"]), VALUES["gradgap"][:seeds])
    made = view(read(writer.folder), "small")
    assert [(duel.opponent, duel.verdict) for duel in contest(made)] == [("baseline", FEW)]


def test_what_a_table_can_see(made):
    """The yardsticks, whether fewer data hurt the baseline, and whether DiffAugment helps."""
    scores = markdown(score_grid(made, ["fd_effnet"])[0])
    assert "| DCGAN | baseline | 20.50 ± 1.29 | 10.25 ± 0.65 |" in scores
    assert "| DCGAN | untrained generator | 30.00 | 30.00 |" in scores
    assert "|  | held-out real images | 1.50 |" in scores
    changes = markdown(change_grid(made, ["fd_effnet"])[0])
    assert "| DCGAN | baseline | ours | +100 % [+100, +100] |" in changes
    assert "| DCGAN | diffaugment | ours | -40 % [-41, -39] |" in changes


def test_the_smallest_change_is_the_textbook_formula(made):
    """(t(0.975) + t(0.8)) standard errors of the mean log ratio, in percent."""
    logs = np.log(VALUES["r1"] / BASE)
    size = (stats.t.ppf(0.975, 3) + stats.t.ppf(0.8, 3)) * logs.std(ddof=1) / 2
    text = markdown(change_grid(made, ["fd_effnet"])[0])
    size_text = f"{100 * np.expm1(-size):+.1f} or {100 * np.expm1(size):+.1f} %"
    assert f"| DCGAN | r1_1 | detectable | {size_text} |" in text


def test_fractions_below_a_percent_keep_their_digits():
    assert [share(fraction) for fraction in (0.004, 0.1, 0.025, 1.0)] == ["0.4%", "10%", "2.5%", "100%"]


@pytest.mark.parametrize("table", TABLES)
def test_every_cell_has_a_place_of_its_own(writer, table):
    cells = view(read(writer.folder), table).cells
    places = cells[["model", "dataset", "resolution", "fraction", "method"]]
    assert not places.duplicated().any() and set(cells.index) == {cell_id(cell.run) for cell in TABLES[table].cells}


def test_the_preconditions_stand_beside_the_yardsticks(made):
    (grid,) = preconditions(made)
    assert markdown(grid).splitlines()[2] == (
        "| DCGAN | digits | 1.50 | 10.25 ± 0.65 | 20.50 ± 1.29 | 30.00 | +100 % [+100, +100] | -40 % [-41, -39] |")
