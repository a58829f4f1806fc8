"""What a table's folder says, on records of known numbers."""

import json
from dataclasses import replace
from io import StringIO

import pandas as pd
import pytest

from benchmarks.runs import Run
from benchmarks.tables import TABLES, shortened
from reports.conftest import entry
from reports.data.records import cell_id, read
from reports.data.views import view
from reports.show import render
from reports.show.document import markdown, report
from reports.show.page import records_page
from reports.show.tables import coverage, score_grid, sections, seeds_csv, summary_csv

TABLE3 = TABLES["table3"].cells
BASELINE = TABLE3[0].run
REGULARIZED = replace(BASELINE, regularizers={"gradgap": 100.0})


def made(writer, name):
    results = read(writer.folder)
    found = view(results, name)
    shown = sections(found)
    return found, shown, report(found.table.title, shown, results.problems)


def three_seeds(writer):
    for seed, (base, ours) in enumerate([(50.0, 45.0), (52.0, 46.0), (54.0, 50.0)]):
        writer.write(replace(BASELINE, seed=seed), [entry("fid", base, n_reference=50)])
        writer.write(replace(REGULARIZED, seed=seed), [entry("fid", ours, n_reference=50)])


def test_means_published_and_change(writer):
    three_seeds(writer)
    found, _, text = made(writer, "table3")
    assert "| WGAN | baseline | ours | 52.00 ± 2.00 |" in text and "| WGAN | baseline | published | 49.61 |" in text
    assert "**47.00 ± 2.65**" in text  # the better of the two
    assert "-9.7 % [-15, -4.3]" in text and "-43 %" in text  # ours, and 28.44 against 49.61
    assert coverage(found) == "2 of 12 cells are measured, by 3 training seeds each."


def test_a_table_without_records_is_its_published_part_and_one_line(writer):
    _, shown, text = made(writer, "table3")
    assert "Not run yet: none of its 12 cells is measured." in text and "49.61" in text
    assert [section.heading for section in shown] == ["", "FID, IS", "Notes"] and "missing" not in text


def test_numbers_of_two_protocols_do_not_share_a_column(writer):
    three_seeds(writer)
    scores = [entry("fid", 50.0), entry("fid", 1.0, n_generated=300), entry("fid", 2.0, checkpoint="best"),
              entry("fid", 3.0, n_reference=49)]  # fmt: skip
    writer.write(BASELINE, scores)
    found, shown, text = made(writer, "table3")
    assert "52.00 ± 2.00" in text
    others = [section for section in shown if section.heading.startswith("FID, ") and section.heading != "FID, IS"]
    other = {section.heading: markdown(section.parts[0]).splitlines()[2] for section in others}
    assert other == {"FID, 300 images against the training set": "| WGAN | baseline | 1.00 (n=1) |",
                     "FID, checkpoint best": "| WGAN | baseline | 2.00 (n=1) |",
                     "FID, 5000 images against 49 others": "| WGAN | baseline | 3.00 (n=1) |"}


def test_another_network_file_gets_no_column_of_the_table(writer):
    three_seeds(writer)
    writer.write(replace(BASELINE, seed=1), [entry("fid", 1.0, extractor_sha256="f" * 64)])
    assert "52.00 ± 2.83 (n=2)" in made(writer, "table3")[2]


def test_draws_are_averaged_and_their_spread_is_said(writer):
    writer.write(BASELINE, [entry("fid", 50.0), entry("fid", 54.0, eval_seed=1)])
    _, _, text = made(writer, "table3")
    assert "| 52.00 |" in text and "mean of 2 draws" in text and "FID 2.83" in text


def test_yardsticks_stand_in_every_fraction(writer):
    writer.table("smoke", seeds=1)
    found, _, text = made(writer, "smoke")
    line = next(line for line in text.splitlines() if "DCGAN | untrained generator" in line)
    assert line.count("200.00") == 2 and "Yardsticks" in text


def test_held_out_images_and_other_code_have_rows(writer):
    heldout = Run("heldout", "digits", 32, fraction=0.1, iterations=0)
    original = TABLES["smoke"]
    cell = replace(original.cells[0], run=heldout)
    TABLES["smoke"] = replace(original, cells=(*original.cells, cell))
    try:
        writer.write(heldout, [entry("fd_effnet", 7.0, n_generated=120)])  # as many as there are
        score = entry("fd_effnet", 9.0, n_generated=original.protocol.samples)
        writer.external("theirs", "digits", 32, 0.1, 0, [score])
        text = made(writer, "smoke")[2]
    finally:
        TABLES["smoke"] = original
    assert "|  | held-out real images | 7.00 |" in text and "| other code | theirs (trained elsewhere) | 9.00 |" in text


def test_no_inception_score_of_digits(writer):
    writer.table("smoke", seeds=1)
    text = made(writer, "smoke")[2]
    assert "is_effnet (" not in text and "is_effnet is not shown for digits" in text


def test_zero_everywhere_is_one_line_and_near_zero_has_no_percentages(writer):
    for run, value in ((BASELINE, 0.002), (REGULARIZED, 0.3)):
        writer.write(run, [entry("fid", 50.0), entry("memorised_inception", 0.0, extractor="inception"),
                           entry("recall_inception", value, extractor="inception")])  # fmt: skip
    found, _, text = made(writer, "table3")
    assert "## memorised_inception\n\n- 0 in every run." in text
    cells = cell_id(REGULARIZED), cell_id(BASELINE)
    assert found.change(*cells, "fid") and not found.change(*cells, "recall_inception")


def test_diverged_runs_are_counted(writer):
    three_seeds(writer)
    writer.write(replace(BASELINE, seed=3), [], status="diverged", iteration=5)
    assert "52.00 ± 2.00, 1 diverged" in made(writer, "table3")[2]


def test_tuning_seeds_are_never_shown(writer):
    three_seeds(writer)
    writer.write(replace(BASELINE, seed=100), [entry("fid", 1.0)])
    text = made(writer, "table3")[2]
    assert "52.00 ± 2.00" in text
    page = records_page(read(writer.folder), writer.folder)
    assert "Seed 0" in page and "Seed 100" not in page


def test_a_table_by_another_extractor_shows_its_scores(writer, monkeypatch):
    """The published FIDs stand in a table of their own."""
    table = TABLES["table3"]
    monkeypatch.setitem(TABLES, "table3", replace(table, protocol=replace(table.protocol, extractor="effnet")))
    writer.table("table3")
    found, _, text = made(writer, "table3")
    assert found.headline == ["fd_effnet", "is_effnet"] and coverage(found).startswith("12 of 12 cells")
    assert "49.61" in text


def test_every_weight_that_was_tried_is_told(writer, monkeypatch):
    task = next(cell.run for cell in TABLES["small"].cells if cell.run.fraction < 1)
    row = {"baseline": task.id, "regularizer": "r1", "weight": "0.1", "tries": "0.01=52.5 0.1=40.0 1=inf"}
    monkeypatch.setattr("reports.show.tables.tunings", lambda: [row])
    writer.table("small", seeds=1)
    _, _, text = made(writer, "small")
    assert "| DCGAN | digits 10% | r1 | 0.1 | 0.01: 52.5, 0.1: 40.0, 1: inf |" in text
    _, _, other = made(writer, "table3")
    assert "r1" not in other


def test_other_iterations_make_another_table(writer, monkeypatch):
    monkeypatch.setitem(TABLES, "table3-i4", shortened(TABLES["table3"], 4))
    short = replace(BASELINE, iterations=4)
    writer.write(short, [entry("fid", 9.0)])
    _, _, text = made(writer, "table3-i4")
    assert "| 9.00 |" in text and "49.61" not in text and "Not run yet" in made(writer, "table3")[2]


def test_a_label_is_one_row(writer):
    writer.table("open", seeds=1)
    found, _, text = made(writer, "open")
    assert text.count("| BigGAN | diggan |") == 6  # scores, changes, and the gap with its own
    assert "diggan: diggan10000 (WGAN, fashion-mnist 10%)" in text


def test_csvs(writer):
    three_seeds(writer)
    found = made(writer, "table3")[0]
    seeds, summary = (pd.read_csv(StringIO(text)) for text in (seeds_csv(found), summary_csv(found)))
    assert sorted(seeds["value"]) == [45, 46, 50, 50, 52, 54] and set(seeds["seed"]) == {0, 1, 2}
    row = summary[(summary["metric"] == "fid") & (summary["method"] == "baseline")].iloc[0]
    assert (row["mean"], row["sd"], row["n"], row["published"]) == (52, 2, 3, 49.61)


def test_latex_has_what_it_opens(writer, tmp_path):
    three_seeds(writer)
    render.tables(read(writer.folder), tmp_path / "reports", ["table3"])
    text = (tmp_path / "reports" / "table3" / "table.tex").read_text()
    assert text.count("\\begin{tabular}") == text.count("\\end{tabular}") > 0 and "\\textbf{47.00 ± 2.65}" in text
    assert "10\\%" in text


def test_there_is_no_empty_grid(writer):
    assert score_grid(view(read(writer.folder), "smoke"), ["fd_effnet"]) == []


@pytest.mark.parametrize("name", ["smoke", "table1"])
def test_the_same_records_give_the_same_bytes(writer, tmp_path, name):
    if name == "smoke":
        writer.table(name, seeds=1)
    for folder in ("a", "b"):
        render.tables(read(writer.folder), tmp_path / folder, [name])
    files = sorted(path for path in (tmp_path / "a").rglob("*") if path.is_file())
    assert len(files) >= 4
    for path in files:
        if path.name != "results.txt":
            assert path.read_bytes() == (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes()


def test_a_damaged_record_is_named_in_the_table(writer):
    three_seeds(writer)
    (writer.folder / BASELINE.id / "metrics.json").write_text(json.dumps({"id": 3}))
    assert "Left out: " in made(writer, "table3")[2]
