"""The comparison: means and intervals worked out by hand, one protocol a table, nothing published lost."""

import csv
import io
from collections import Counter
from dataclasses import replace

import pytest

from benchmarks.runs import InputError
from reports import compare
from reports.compare import difference, found, lines, published, to_csv, to_markdown
from reports.comparisons import lambda_sweep
from reports.conftest import entry
from reports.results import read


def written(writer, scores: dict[str, list[float]]):
    """The first baseline of Table 3, its twins, and the FIDs of their training seeds."""
    compared = lines("table3", "mine5-diffaugment")
    cells = dict(zip(("baseline", "gradgap", "mine"), compared[0].cells, strict=True))
    for name, values in scores.items():
        for seed, value in enumerate(values):
            writer.write(replace(cells[name].run, seed=seed), [entry("fid", value)])
    return compared, read(writer.folder)


def test_difference_over_paired_seeds(writer):
    """Differences -2, -4, -6: mean -4, sd 2, half-width t(2) 2 / sqrt 3 = 4.302653 * 1.154701."""
    compared, results = written(writer, {"baseline": [50, 60, 70, 99], "mine": [48, 56, 64]})
    interval = difference(found(compared, results)[0], compared[0], "fid")
    assert interval[:3] == pytest.approx((-4, -4 - 4.968275, -4 + 4.968275), abs=1e-5)
    text = to_markdown("table3", "mine5-diffaugment", compared, results)
    assert "| 56.00 ± 8.00 (n=3) | -4.00 [-8.97, +0.97] |" in text and "generated images 5000" in text


def test_one_seed_has_no_interval(writer):
    compared, results = written(writer, {"baseline": [50], "gradgap": [45], "mine": [48]})
    text = to_markdown("table3", "mine5-diffaugment", compared, results)
    assert "| 50.00 (n=1) | 45.00 (n=1) | 48.00 (n=1) | -2.00 (n=1: no interval) |" in text


def test_numbers_of_another_protocol_get_a_table_of_their_own(writer):
    compared, results = written(writer, {"baseline": [50, 60], "mine": [48, 56]})
    for line in compared[:1]:
        for cell, value in ((line.baseline, 90.0), (line.method, 80.0)):
            writer.write(replace(cell.run, iterations=500), [entry("fid", value)])
    sections = found(compared, read(writer.folder))
    assert [section.departure for section in sections] == ["", "500 iterations"]
    assert [difference(section, compared[0], "fid").mean for section in sections] == [-3, -10]


def test_every_published_number_of_the_data_set_is_there_once(writer):
    compared, results = written(writer, {})
    rows = list(csv.DictReader(io.StringIO(to_csv(compared, results))))
    with compare.RELATED.open(encoding="utf-8") as file:
        theirs = [row for row in csv.DictReader(file) if row["dataset"] == "CIFAR-100"]
    shown = [row for row in rows if row["kind"] == "published"]
    assert Counter((row["method"], row["value"]) for row in shown) == Counter(
        (row["method"], row["value"]) for row in theirs)
    text = to_markdown("table3", "mine5-diffaugment", compared, results)
    headings = [line for line in text.splitlines() if line.startswith("### ")]
    assert len(headings) == len(set(headings)) == len({(row["resolution"], row["protocol"]) for row in shown})
    assert all(", std" not in row["protocol"] for row in shown) and any(row["sd"] for row in shown)


def test_names_of_data_sets_find_their_published_numbers():
    assert all(published(name) for name in ("cifar-100", "ffhq", "animalface-dog", "animalface-cat", "100-shot-obama",
                                            "100-shot-panda", "100-shot-grumpy-cat", "oxford-flowers", "anime-face"))
    assert published("digits") == []


def test_the_smoke_table_has_no_published_numbers_and_says_so(writer):
    compared = lines("smoke", "mine5")
    assert all(line.gradgap and line.baseline.run.iterations for line in compared)
    assert "None in `benchmarks/related_work.csv`." in to_markdown("smoke", "mine5", compared, read(writer.folder))


def test_what_is_no_method_is_refused():
    with pytest.raises(InputError):
        lines("smoke", "no method")


def test_the_sweep_shows_the_late_gap(writer):
    """The writer's logs hold a gap of 1 / fraction for a baseline and of 0.1 with a regularizer."""
    baseline = lines("table3", "mine5")[0].baseline.run
    for weight in (0, 1, 10):
        run = replace(baseline, regularizers={"gradgap": float(weight)} if weight else {})
        writer.write(run, [entry("fid", 50.0 - weight)])
        writer.log(run)
    scores, gaps = lambda_sweep("table3", read(writer.folder)).axes
    assert list(scores.get_lines()[0].get_ydata()) == [50, 49, 40]
    assert list(gaps.get_lines()[0].get_xdata()) == [0, 1, 10]
    assert list(gaps.get_lines()[0].get_ydata()) == pytest.approx([1 / baseline.fraction, 0.1, 0.1])
