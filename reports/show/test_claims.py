"""What a verdict needs, which one known effects get, and how often the rule is wrong when there is nothing to find."""

import json
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from benchmarks.tables import TABLES
from reports.conftest import entry
from reports.data.records import GAP, cell_id, read
from reports.data.views import View, view
from reports.show import claims
from reports.show.claims import CLAIMS, CONTRADICTED, OPEN, PAPER, SUPPORTED, UNTESTABLE

PAPER_TABLES = ("table1", "table2", "table3")
BY_NAME = {claim.name: claim for claim in CLAIMS}


def judged(writer, *tables):
    results = read(writer.folder)
    findings = claims.judge_all([view(results, name) for name in tables or PAPER_TABLES], writer.folder)
    return {source: {finding.claim.name: finding for finding in found} for source, found in findings.items()}


def test_known_effects(writer):
    writer.table("open", effect=0.8, spread=0.005)
    found = judged(writer, "open")["open"]
    verdicts = {name: finding.verdict for name, finding in found.items()}
    assert verdicts == {"C0": SUPPORTED, "Control": SUPPORTED, "C1": SUPPORTED, "C2": OPEN, "C3": SUPPORTED,
                        "C5": SUPPORTED, "C6": SUPPORTED, "C7": SUPPORTED}  # fmt: skip
    assert found["C1"].effect.startswith("-20 % on average") and found["C1"].covered == "18 of 18"
    assert found["C7"].effect.startswith("-50 % [-5")


def test_a_method_that_hurts_is_contradicted(writer):
    writer.table("open", effect=1.3, spread=0.005)
    found = judged(writer, "open")["open"]
    assert [found[name].verdict for name in ("C1", "C5", "C6", "Control")] == [CONTRADICTED] * 4


@pytest.mark.parametrize("seeds", [1, 2])
def test_two_seeds_are_not_enough(writer, seeds):
    writer.table("open", seeds=seeds, effect=0.5)
    assert {finding.verdict for finding in judged(writer, "open")["open"].values()} == {OPEN}


def test_one_missing_run_leaves_every_claim_about_its_cell_open(writer):
    writer.table("open", effect=0.5)
    gone = next(cell.run for cell in TABLES["open"].cells if cell.run.regularizers == {"gradgap": 100.0})
    (writer.folder / replace(gone, seed=2).id / "metrics.json").unlink()
    found = judged(writer, "open")["open"]
    assert found["C0"].verdict == SUPPORTED  # which speaks of baselines alone
    assert [found[name].verdict for name in ("C1", "C5", "C6", "C7")] == [OPEN] * 4
    assert found["C1"].covered == "17 of 18"


def test_one_cell_of_the_paper_is_no_verdict(writer):
    baseline = TABLES["table3"].cells[0].run
    for regularizers in ({}, {"gradgap": 100.0}):
        for seed in range(3):
            run = replace(baseline, regularizers=regularizers, seed=seed)
            writer.write(run, [entry("fid", (20.0 if run.regularizers else 50.0) + seed / 10, n_reference=50)])
    found = judged(writer)["Tables 1-3"]
    assert (found["C1"].verdict, found["C1"].covered) == (OPEN, "2 of 96")


def test_without_c0_c2_and_c3_are_not_testable(writer):
    writer.table("open", effect=0.5)
    for path in writer.folder.glob("*/metrics.json"):  # a baseline that does not care how much data there are
        data = json.loads(path.read_text())
        noise = 1 + data["run"]["seed"] / 100 + data["run"]["fraction"] * (data["run"]["seed"] - 1) / 50
        for score in data["metrics"]:
            score["value"] = 50.0 * noise if not data["run"]["regularizers"] else 20.0
        path.write_text(json.dumps(data))
    found = judged(writer, "open")["open"]
    assert [found[name].verdict for name in ("C0", "C2", "C3")] == [OPEN, UNTESTABLE, UNTESTABLE]


def test_smoke_has_no_verdicts(writer):
    writer.table("smoke", seeds=3)
    assert list(judged(writer, "table3", "smoke")) == [PAPER, claims.BENCH]


def test_the_papers_numbers_are_consistent_at_most(writer):
    made = judged(writer)
    verdicts = {finding.verdict for finding in made[PAPER].values()}
    assert verdicts <= {claims.CONSISTENT, claims.INCONSISTENT, claims.UNPUBLISHED}
    assert "[-42, +27]" in made[PAPER]["C2"].effect  # by data set, of which there are 4


def test_the_papers_numbers_by_hand(writer):
    """C0 against the printed table: the mean over models, then over data sets, of log(10 % / 100 %)."""
    fids: dict[str, list[float]] = {}
    printed = {cell_id(cell.run): cell.published["fid"] for table in ("table1", "table2", "table3")
               for cell in TABLES[table].cells if not cell.run.regularizers}  # fmt: skip
    for cell, value in printed.items():
        if "-f0.1-" in cell:
            dataset = cell.split("-f0.1-")[0].split("-", 1)[1]
            fids.setdefault(dataset, []).append(math.log(value / printed[cell.replace("-f0.1-", "-f1.0-")]))
    mean = np.mean([np.mean(values) for values in fids.values()])
    assert judged(writer)[PAPER]["C0"].effect.startswith(f"{100 * math.expm1(mean):+.0f} %")


COSTS = [((1.01, 1.09), SUPPORTED), ((1.2, 1.5), CONTRADICTED), ((1.05, 1.5), OPEN)]


@pytest.mark.parametrize("ratios, verdict", COSTS)
def test_the_cost_comes_from_the_bench(writer, ratios, verdict):
    low, high = ratios
    forms = {"gradgap": {"ratio": (low + high) / 2, "ratio_low": low, "ratio_high": high}}
    run = "dcgan-digits-32-f1.0-baseline-s0"
    (writer.folder / "bench").mkdir()
    (writer.folder / "bench" / "regularizers.json").write_text(json.dumps({"rows": [{"run": run, "forms": forms}]}))
    assert claims.cost(writer.folder).verdict == verdict


def test_the_cost_without_a_bench(writer):
    assert claims.cost(writer.folder).verdict == OPEN


def simulated(effect: float, random: np.random.Generator, cells=48, seeds=3, spread=0.15) -> View:
    """A table of as many cells as the paper's: 12 data sets of 2 fractions, 2 models, with known effects."""
    rows, logs = {}, {}
    for number in range(cells):
        model, dataset, fraction = f"m{number % 2}", f"d{number // 4}", (0.1, 1.0)[number // 2 % 2]
        place = {"model": model, "dataset": dataset, "resolution": 32, "fraction": fraction, "control": False}
        rows[f"b{number}"] = place | {"kind": "baseline", "baseline": "", "claimed": False}
        rows[f"g{number}"] = place | {"kind": "method", "baseline": f"b{number}", "claimed": True}
        logs[f"b{number}"] = random.normal(0, spread, seeds)
        logs[f"g{number}"] = random.normal(effect, spread, seeds)
    summary = pd.DataFrame({"published": [], "metric": [], "cell": []})
    frame, nothing = pd.DataFrame.from_dict(rows, orient="index"), pd.DataFrame()
    cache = dict.fromkeys(("fd_effnet", "is_effnet", GAP), pd.DataFrame(logs))
    headline = ["fd_effnet", "is_effnet"]
    return View("simulated", TABLES["open"], headline, frame, nothing, nothing, summary, cache)


def rates(name: str, effect: float, count: int) -> dict[str, float]:
    random = np.random.default_rng(0)
    found = [claims.judge(BY_NAME[name], simulated(math.log1p(effect), random)).verdict for _ in range(count)]
    return {verdict: found.count(verdict) / count for verdict in (SUPPORTED, CONTRADICTED)}


@pytest.mark.parametrize("name", ["C0", "C1", "C2", "C5", "C6", "C7"])
def test_false_verdicts_are_rare_under_the_null(name):
    """48 cells, 3 seeds, 15 % spread, nothing to find: 5 % of the trials, give or take twice its standard error."""
    found = rates(name, 0.0, 60 if name == "C1" else 150)  # C1 looks at each cell, which takes longer
    assert sum(found.values()) <= 0.05 + 2 * 0.02, found


@pytest.mark.parametrize("name, effect, wrong", [("C1", -0.1, CONTRADICTED), ("C5", -0.1, CONTRADICTED),
                                                 ("C6", 0.1, CONTRADICTED)])  # fmt: skip
def test_power(name, effect, wrong, capsys):
    """A true gain of 10 % everywhere is (almost) never contradicted; what the rule can see is printed."""
    found = rates(name, effect, 60)
    with capsys.disabled():
        print(f"\n{name}: of a true {effect:+.0%} in 48 cells with 3 seeds and 15 % spread: {found}")
    assert found[wrong] <= 0.05
