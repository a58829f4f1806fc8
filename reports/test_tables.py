"""The tables: every number to the last digit, one protocol in a column, and cells without a number told apart."""

import csv
import json
from dataclasses import replace

import pandas as pd
import pytest

from benchmarks.tables import TABLES
from reports import tables
from reports.conftest import entry
from reports.results import read
from reports.sections import sections

PAPER = ["table1", "table2", "table3"]
CELL = TABLES["table3"].cells[0]  # WGAN, 10 %: FID 49.61, IS 5.98


def rows(text: str) -> dict[tuple[str, str], list[str]]:
    """The rows of the first table of a Markdown text, by their two labels."""
    found, name = {}, ""
    for line in text.split("\n\n")[1].splitlines()[2:]:
        first, second, *values = (part.strip() for part in line.strip("|").split("|"))
        name = first or name
        found[name, second] = values
    return found


@pytest.mark.parametrize("table", PAPER)
def test_full_grid_to_the_last_digit(writer, table):
    """Ours is written as published - 1, + 0, + 1: the mean is the published value, the deviation is 1."""
    writer.full(table, lines=2)
    found = rows(tables.to_markdown(table, read(writer.folder)))
    published = [value for (_, name), values in found.items() if name == "published" for value in values]
    ours = [value for (_, name), values in found.items() if name == "ours" for value in values]
    assert len(published) == sum(len(cell.published) for cell in TABLES[table].cells)
    assert ours == [f"{float(value):.2f} ± 1.00 (n=3)" for value in published]
    assert {value for (_, name), values in found.items() if name == "difference" for value in values} == {"+0.00"}
    assert [values for (_, name), values in found.items() if name == "change, ours"] == [
        values for (_, name), values in found.items() if name == "change, published"]


def test_rows_computed_by_hand(writer):
    """50.00, 52.00 and 57.00 have the mean 53.00 and the deviation sqrt((9 + 1 + 16) / 2) = 3.6056."""
    for seed, (baseline, regularized) in enumerate([(50.0, 40.0), (52.0, 42.0), (57.0, 46.0)]):
        writer.write(replace(CELL.run, seed=seed), [entry("fid", baseline)])
        writer.write(replace(CELL.run, seed=seed, regularizers={"gradgap": 100.0}), [entry("fid", regularized)])
    found = rows(tables.to_markdown("table3", read(writer.folder)))
    assert found["WGAN", "published"][:2] == ["49.61", "5.98"]
    assert found["WGAN", "ours"][:3] == ["53.00 ± 3.61 (n=3)", "not measured", "-"]
    assert found["WGAN", "difference"][:3] == ["+3.39", "-", "-"]
    assert found["WGAN + gradgap100", "change, published"][:2] == ["-21.17 (-43%)", "+0.53 (+9%)"]
    assert found["WGAN + gradgap100", "change, ours"][:2] == ["-10.33 (-19%)", "-"]


def test_csv_agrees_with_pandas(writer, tmp_path):
    writer.full("table2", lines=2)
    for path in sorted(writer.folder.iterdir())[::3]:  # uneven numbers of seeds
        (path / "metrics.json").unlink()
    tables.write_files("table2", read(writer.folder), tmp_path)
    ours = [json.loads(path.read_text()) for path in writer.folder.glob("*/metrics.json")]
    frame = pd.DataFrame([data["run"] | {"value": data["metrics"][0]["value"]} for data in ours])
    frame["method"] = frame["regularizers"].map(lambda regularizers: "gradgap100" if regularizers else "baseline")
    expected = frame.groupby(["model", "dataset", "method"])["value"].agg(["mean", "std", "count"])
    written = pd.read_csv(tmp_path / "table.csv").set_index(["model", "dataset", "method"])
    assert written["n"].sum() == len(ours) == 60
    pd.testing.assert_frame_equal(written.loc[expected.index, ["mean", "sd", "n"]].astype(float),
                                  expected.set_axis(["mean", "sd", "n"], axis=1).astype(float))


@pytest.mark.parametrize(("change", "name"), [
    ({"n_generated": 500}, "generated images 500"),
    ({"n_reference": 49}, "reference 49 images"),
    ({"checkpoint": "best"}, "checkpoint best"),
    ({"weights": "raw"}, "weights raw"),
    ({"resize": "legacy"}, "resize legacy"),
])
def test_another_protocol_gets_a_section_of_its_own(writer, change, name):
    writer.write(CELL.run, [entry("fid", 11.0, **change)])
    first, second = sections(TABLES["table3"].cells, read(writer.folder))
    assert first.ours(CELL, "fid") == []
    assert second.departure == name and [value.value for value in second.ours(CELL, "fid")] == [11.0]


def test_draws_of_the_samples_stay_apart_from_training_seeds(writer):
    """Seed 0: 10, 12, 14, mean 12, sd 2; seed 1: 20, 21, 22, mean 21, sd 1. Over seeds: 16.5, sd 9 / sqrt(2) = 6.36396;
    over draws: sqrt((4 + 1) / 2) = 1.58114."""
    for seed, values in enumerate([(10.0, 12.0, 14.0), (20.0, 21.0, 22.0)]):
        entries = [entry("fid", value, seed=draw) for draw, value in enumerate(values)]
        writer.write(replace(CELL.run, seed=seed), [*entries, entry("is", 5.0)])
    results = read(writer.folder)
    assert results.problems == []
    text = tables.to_markdown("table3", results)
    assert rows(text)["WGAN", "ours"][:2] == ["16.50 ± 6.36 (n=2)", "5.00 ± 0.00 (n=2)"]
    assert rows(text)["WGAN", "sampling sd"][:3] == ["1.58 (draws=3)", "-", "-"]
    assert "root mean square" in text and "(mean of 3 draws, sampling sd 2)" in sections(
        TABLES["table3"].cells, results)[0].ours(CELL, "fid")[0].source
    lines = list(csv.DictReader(tables.to_csv("table3", results).splitlines()))
    assert (float(lines[0]["mean"]), float(lines[0]["sd"])) == pytest.approx((16.5, 9 / 2**0.5), rel=1e-14)
    assert float(lines[0]["sampling_sd"]) == pytest.approx(2.5**0.5, rel=1e-14)
    assert (lines[0]["n"], lines[1]["sampling_sd"]) == ("2", "")


def test_one_draw_needs_no_line_of_its_own(writer):
    writer.write(CELL.run, [entry("fid", 10.0)])
    assert "sampling" not in tables.to_markdown("table3", read(writer.folder))


def test_kept_generators_are_no_sections_and_the_best_is_one(writer):
    kept = [entry("fid", 60.0 - n, checkpoint=str(n), iteration=n) for n in (10_000, 20_000)]
    writer.write(CELL.run, [*kept, entry("fid", 9.0), entry("fid", 8.0, checkpoint="best", iteration=20_000)])
    first, second = sections(TABLES["table3"].cells, read(writer.folder))
    assert [value.value for value in first.ours(CELL, "fid")] == [9.0]
    [best] = second.ours(CELL, "fid")
    assert second.departure == "checkpoint best" and best.value == 8.0
    assert "checkpoint best" in best.source and "iteration 20000" in best.source


def test_extractors_of_one_name_are_not_mixed(writer):
    """Two seeds with one network and one with another of the same name: the odd one does not enter the mean."""
    for seed, sha in enumerate(["a", "b", "b"]):
        writer.write(replace(CELL.run, seed=seed), [entry("fid", 10.0 + seed, extractor_sha256=sha)])
    first, second = sections(TABLES["table3"].cells, read(writer.folder))
    assert [value.value for value in first.ours(CELL, "fid")] == [11.0, 12.0]
    assert [value.value for value in second.ours(CELL, "fid")] == [10.0] and "sha256 a" in second.departure


def test_stand_in_never_enters_the_column_of_fid(writer):
    writer.write(CELL.run, [entry("fd_effnet", 77.0), entry("is_effnet", 7.0)])
    text = tables.to_markdown("table3", read(writer.folder))
    assert rows(text)["WGAN", "ours"] == ["not measured"] * 2 + ["-"] * 4
    assert "## fd_effnet (lower is better)\n" in text and "77.00 (n=1)" in text
    assert "compares with no published number" in text


def test_fewer_iterations_stand_apart(writer):
    writer.write(replace(CELL.run, iterations=1000), [entry("fid", 90.0)])
    text = tables.to_markdown("table3", read(writer.folder))
    assert rows(text)["WGAN", "ours"] == ["-"] * 6
    assert "## FID (lower is better), other protocol: 1,000 iterations\n" in text and "90.00 (n=1)" in text


def test_cells_without_a_number_are_told_apart(writer):
    runs = [cell.run for cell in TABLES["table3"].cells if not cell.run.regularizers]
    writer.write(runs[0], [], status="diverged", iteration=500)
    writer.log(runs[1], lines=4)
    (writer.folder / runs[1].id / "config.json").touch()
    (writer.folder / runs[2].id).mkdir()
    (writer.folder / runs[2].id / "failed.json").touch()
    found = rows(tables.to_markdown("table3", read(writer.folder)))
    assert found["WGAN", "ours"][::2] == ["diverged", "stopped 100 %", "failed"]
    assert found["BigGAN", "ours"][::2] == ["-", "-", "-"]


def test_left_out_records_are_in_the_footnotes(writer, tmp_path):
    writer.write(CELL.run, [entry("banana", 1.0)])
    tables.write_files("table3", read(writer.folder), tmp_path)
    for name in ("table.md", "table.tex"):
        assert f"Left out: {CELL.run.id}: metric" in (tmp_path / name).read_text()


def test_smoke_says_pass_and_fail(writer):
    """Synthetic stand-ins: untrained 200; at 10 % of the data 140 (ratio 0.7), at 100 % 50 (ratio 0.25)."""
    writer.full("smoke", seeds=1, lines=2)
    lines = tables.to_markdown("smoke", read(writer.folder)).splitlines()
    cells = TABLES["smoke"].cells
    small, full = (next(cell.run.id for cell in cells if (cell.run.model, cell.run.fraction) == ("wgan", f)
                        and cell.run.iterations and not cell.run.regularizers) for f in (0.1, 1.0))
    assert f"| {small} | fd_effnet | 139.00 | 199.00 | 0.698 | FAIL |" in lines
    assert f"| {full} | fd_effnet | 49.00 | 199.00 | 0.246 | pass |" in lines


def write_open(writer, values: dict[str, float], **changes) -> None:
    """Three seeds of WGAN on 10 % of fashion-mnist, at value - 1, + 0, + 1 for each method."""
    for cell in TABLES["open"].cells:
        run = cell.run
        if (run.model, run.dataset, run.fraction) == ("wgan", "fashion-mnist", 0.1) and run.method in values:
            for seed in range(3):
                writer.write(replace(run, seed=seed), [entry("fd_effnet", values[run.method] + seed - 1)], **changes)


def test_each_comparator_stands_beside_the_baseline(writer):
    write_open(writer, {"baseline": 50.0, "gradgap100": 45.0, "diggan10000": 48.0, "lecam0.3": 55.0,
                        "baseline-diffaugment_translation_cutout": 40.0})
    found = rows(tables.to_markdown("open", read(writer.folder)))
    changes = {name: values[0] for (name, line), values in found.items()
               if line == "change, ours" and values[0] not in "-"}
    assert changes == {"WGAN + gradgap100": "-5.00 (-10%)", "WGAN + diggan": "-2.00 (-4%)",
                       "WGAN + lecam0.3": "+5.00 (+10%)", "WGAN + diffaugment_translation_cutout": "-10.00 (-20%)"}
    assert found["WGAN", "ours"][0] == "50.00 ± 1.00 (n=3)" and ("WGAN", "change, ours") not in found
    assert found["WGAN + diggan", "ours"] == ["48.00 ± 1.00 (n=3)", "not measured", "-", "-", "-", "-", "", ""]


def test_a_method_with_a_weight_for_each_fraction_is_one_row_and_a_footnote(writer):
    text = tables.to_markdown("open", read(writer.folder))
    assert [line.count("WGAN + diggan") for line in text.splitlines() if "diggan" in line].count(1) == 1
    assert "- diggan: diggan10000 at 10%, diggan5000 at 20%, diggan1000 at 100% of the data.\n" in text


def test_a_table_says_how_its_training_departs_from_the_papers(writer):
    results = read(writer.folder)
    line = "Protocol of this table: 20,000 iterations at batch 16; the paper's: 100,000 iterations at batch 16."
    assert line in tables.to_markdown("open", results)
    assert "Protocol of this table: 240 to 1,200 iterations at batch 8 to 16;" in tables.to_markdown("smoke", results)
    assert "Protocol" not in tables.to_markdown("table1", results)


def test_convergence_is_told_by_the_generators_that_were_kept(writer):
    """From iteration 15,000 to 20,000: 100 to 90 and 80 to 80; the median of -10 % and 0 is -5 %."""
    first, second = (cell.run for cell in TABLES["open"].cells[:2])
    for run, last in ((first, 90.0), (second, 80.0)):
        kept = [entry("fd_effnet", value, checkpoint=str(n)) for n, value in (
            (5000, 300.0), (15_000, 100.0 if run is first else 80.0), (17_500, 95.0))]
        writer.write(run, [*kept, entry("fd_effnet", last), entry("fd_effnet", 1.0, checkpoint="best")])
    text = tables.to_markdown("open", read(writer.folder))
    assert ("- Convergence of WGAN: from iteration 15,000 to 20,000 fd_effnet changed by -5.0% in the median of 2 runs "
            "(-10.0% to +0.0%).\n") in text
    assert "Convergence of BigGAN" not in text


def test_equal_neighbours_of_a_header_are_one_only_below_the_same_name(writer):
    text = tables.to_latex("open", read(writer.folder))
    assert "\\multicolumn{6}{c}{fashion-mnist} & \\multicolumn{2}{c}{emoji-faces}" in text
    assert text.count("\\multicolumn{2}{c}{100\\%}") == 2


def test_a_metric_that_no_report_knows_is_shown_as_its_record_says(writer):
    writer.write(CELL.run, [entry("vendi_effnet", 12.34567, better="higher")])
    results = read(writer.folder)
    assert results.problems == []
    text = tables.to_markdown("table3", results)
    assert "## vendi_effnet (higher is better)\n" in text and "12.3457 (n=1)" in text


def test_directions_are_not_mixed(writer):
    for seed, better in enumerate(["higher", "higher", "lower"]):
        writer.write(replace(CELL.run, seed=seed), [entry("vendi_effnet", 1.0, better=better)])
    _, first, second = sections(TABLES["table3"].cells, read(writer.folder))
    assert len(first.ours(CELL, "vendi_effnet")) == 2 and first.departure == ""
    assert len(second.ours(CELL, "vendi_effnet")) == 1 and second.departure == "direction lower is better"


def test_latex_has_as_many_columns_as_it_says(writer):
    text = tables.to_latex("table1", read(writer.folder))
    assert text.count("\\begin{tabular}{llrrrrrrrrr}") == 1
    body = [line for line in text.splitlines() if line.startswith("WGAN") or line.startswith(" & ours")]
    assert body and {line.count("&") for line in body} == {10}
    assert "%" not in text.split("\\midrule", 1)[1].split("\\end")[0].replace("\\%", "")


def test_command(writer, tmp_path, capsys, monkeypatch):
    writer.write(CELL.run, [entry("banana", 1.0)])
    monkeypatch.setattr("sys.argv", ["", "table3", "--results", str(writer.folder), "--out", str(tmp_path)])
    tables.main()
    assert "banana" in capsys.readouterr().err
    with (tmp_path / "table3" / "table.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 24
