"""The claims: published numbers give the verdicts one computes from tables.csv; made-up records force the others."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats as oracle

from benchmarks.tables import TABLES
from reports import claims
from reports.conftest import entry
from reports.results import read

PUBLISHED = pd.read_csv(Path(__file__).parents[1] / "benchmarks" / "tables.csv").pivot_table(
    index=["table", "model", "dataset", "fraction", "metric"], columns="variant", values="value").reset_index()
BASELINES = [cell.run for cell in TABLES["table3"].cells if not cell.run.regularizers]
OURS = "ours, Tables 1-3"


def findings(folder, source=OURS) -> dict[str, claims.Finding]:
    return {claim.name: found[source] for claim, found in claims.findings(read(folder)).items()}


def interval(values) -> str:
    low, high = oracle.t.interval(0.95, len(values) - 1, np.mean(values), oracle.sem(values))
    return f"{low:+.1f} % to {high:+.1f} % ({len(values)} cells)"


def test_published_numbers(tmp_path):
    found = findings(tmp_path, "published, Tables 1-3")
    fid, score = (PUBLISHED[PUBLISHED.metric == metric] for metric in ("fid", "is"))
    gain = 100 * (1 - fid.r3 / fid.baseline)
    assert found["C1"] == ("supported", f"{gain.mean():+.1f} %; better in 48 of 48 cells", interval(gain), "48")
    points = fid.assign(gain=fid.baseline - fid.r3).pivot_table(
        index=["model", "dataset"], columns="fraction", values="gain").dropna()
    assert found["C2"].verdict == "supported"
    assert found["C2"].effect == f"{(points[0.1] - points[1.0]).mean():+.2f}" and found["C2"].cells == "11"
    assert found["C2r"].verdict == claims.OPEN
    assert found["C3"] == found["C4"] == (claims.OPEN, "nothing published", "-", "0")
    least = gain.groupby(fid.model).mean()
    assert least.idxmin() == "stylegan2" and found["C5"].effect.startswith(f"{least.min():+.1f} % for StyleGAN2")
    rise = 100 * (score.r3 / score.baseline - 1)
    assert found["C6"] == (claims.OPEN, f"{rise.mean():+.1f} %", interval(rise), "6")


def write_pairs(writer, factor: float, seeds: int = 3, seconds: float = 100.0) -> None:
    """Table 3: a baseline of 50 + seed in each cell, with R `factor` times that in `seconds`."""
    for run in (replace(run, seed=seed) for run in BASELINES for seed in range(seeds)):
        regularized = replace(run, regularizers={"gradgap": 100.0})
        writer.write(run, [entry("fid", 50.0 + run.seed)])
        writer.write(regularized, [entry("fid", factor * (50.0 + run.seed))],
                     seconds={"train": seconds + run.seed, "evaluate": 1.0})


@pytest.mark.parametrize(("factor", "verdict"), [(0.5, "supported"), (2.0, "contradicted")])
def test_the_same_effect_in_every_cell_decides(writer, factor, verdict):
    write_pairs(writer, factor)
    found = findings(writer.folder)["C1"]
    assert found.verdict == verdict and found.effect.startswith(f"{100 * (1 - factor):+.1f} %") and found.cells == "6"


def test_one_cell_against_it_contradicts_every_cell(writer):
    write_pairs(writer, 0.5)
    for seed in range(3):
        worse = replace(BASELINES[0], seed=seed, regularizers={"gradgap": 100.0})
        writer.write(worse, [entry("fid", 60.0 + seed)])
    found = findings(writer.folder)["C1"]
    assert found.verdict == "contradicted" and found.effect.endswith("better in 5 of 6 cells")
    assert findings(writer.folder)["C5"].verdict == claims.OPEN  # stylegan2 has no cell in Table 3


def test_one_seed_against_it_leaves_it_open(writer):
    write_pairs(writer, 0.5, seeds=1)
    writer.write(replace(BASELINES[0], regularizers={"gradgap": 100.0}), [entry("fid", 60.0)])
    assert findings(writer.folder)["C1"].verdict == claims.OPEN


def test_a_single_pair_is_not_enough(writer):
    writer.write(BASELINES[0], [entry("fid", 50.0)])
    writer.write(replace(BASELINES[0], regularizers={"gradgap": 100.0}), [entry("fid", 40.0)])
    assert findings(writer.folder)["C1"][::3] == (claims.OPEN, "1")
    assert findings(writer.folder)["C1"].interval == "none: 1 cells"


@pytest.mark.parametrize(("seconds", "verdict"), [(101.0, "supported"), (140.0, "contradicted"), (109.5, claims.OPEN)])
def test_cost(writer, seconds, verdict):
    """Training takes 100 s without R and `seconds` + 0, 1, 2 with it; the limit is 10 %."""
    write_pairs(writer, 0.5, seconds=seconds)
    found = findings(writer.folder)["C4"]
    assert found.verdict == verdict and found.effect == f"{seconds - 99:+.1f} %"


def test_cost_only_on_one_device(writer):
    write_pairs(writer, 0.5, seeds=1)
    run = replace(BASELINES[0], regularizers={"gradgap": 100.0})
    other = {"commit": "0", "dirty": False, "versions": {}, "device": "another"}
    writer.write(run, [entry("fid", 25.0)], provenance=other)
    assert findings(writer.folder)["C4"].cells == "5"


def test_gap_grows_by_the_factor_that_was_written(writer):
    """The synthetic gap of a baseline is 1 / fraction: ten times larger at 10 % than at 100 %."""
    writer.full("table3", lines=10)
    assert findings(writer.folder)["C3"][:2] == ("supported", "x 10.00")


def test_smoke_is_a_source_of_its_own(writer):
    writer.full("smoke", lines=4)
    text = claims.to_markdown(read(writer.folder))
    assert "ours, smoke (stand-in scores)" in text
    assert findings(writer.folder)["C1"].cells == "0"


def test_comparators_of_the_open_table_enter_no_claim(writer):
    """gradgap halves every score in half the time again; comparators, ten times worse and slower, say nothing."""
    factors = {"baseline": (1.0, 100.0), "gradgap100": (0.5, 105.0)}
    for cell in TABLES["open"].cells:
        factor, seconds = factors.get(cell.run.method, (10.0, 1000.0))
        for seed in range(3):
            run = replace(cell.run, seed=seed)
            writer.write(run, [entry("fd_effnet", factor * (50 + seed)), entry("is_effnet", 5 / factor)],
                         seconds={"train": seconds, "evaluate": 1.0})
            writer.log(run, lines=4)
    found = findings(writer.folder, "ours, open (stand-in scores)")
    assert found["C1"][:2] == ("supported", "+50.0 %; better in 9 of 9 cells") and found["C1"].cells == "9"
    assert found["C3"].effect == "x 10.00" and found["C3"].cells == "2"
    assert found["C4"].effect == "+5.0 %" and found["C4"].cells == "9"
    assert found["C5"].effect.endswith("the least of 3 of 3 models") and found["C6"].effect == "+100.0 %"


def test_a_table_nobody_published_is_a_source_only_where_records_exist(writer):
    comparator = next(cell.run for cell in TABLES["open"].cells if cell.run.augment)
    writer.write(comparator, [entry("fd_effnet", 50.0)])
    assert "ours, open" not in claims.to_markdown(read(writer.folder))
    writer.write(TABLES["open"].cells[0].run, [entry("fd_effnet", 50.0)])
    assert "ours, open (stand-in scores)" in claims.to_markdown(read(writer.folder))
