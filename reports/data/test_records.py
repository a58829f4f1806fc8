"""What is believed of a record and what is left out, on synthetic results."""

import json

import pytest

from benchmarks.field import scored_rows
from benchmarks.runs import InputError, Run
from reports.conftest import entry
from reports.data import frame
from reports.data.folders import claim_reports, reports_folder, write
from reports.data.records import COLUMNS, GAP, read

RUN = Run("dcgan", "digits", 32, 0.1, {"gradgap": 0.1}, iterations=100, override={"width": 0.25})


def test_one_row_for_each_checkpoint_draw_and_metric(writer):
    writer.write(RUN, [entry("fid", 1.0), entry("fid", 2.0, eval_seed=1), entry("fid", 3.0, checkpoint="50"),
                       entry("fd_effnet", 4.0)])  # fmt: skip
    made = frame(writer.folder)
    assert list(made.columns) == COLUMNS and len(made) == 4
    assert made["value"].tolist() == [1, 2, 3, 4] and made["draw"].tolist() == [0, 1, 0, 0]
    assert set(made["cell"]) == {"dcgan-digits-32-f0.1-gradgap0.1-i100-width0.25"}
    assert made["record"].iloc[0] == f"{RUN.id}/metrics.json" and made["commit"].iloc[0] == "0123456789ab"


def test_an_empty_folder_gives_an_empty_frame(writer):
    assert len(frame(writer.folder)) == 0


def test_the_gap_is_the_mean_over_the_second_half(writer):
    writer.write(RUN, [entry("fid", 1.0)])
    lines = [{"iteration": i, "n_R": 1.0, "n_F": 1.0, "gap": gap} for i, gap in ((50, 9.0), (75, -1.0), (100, 3.0))]
    path = writer.folder / RUN.id / "log.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"iteration": 1')
    made = read(writer.folder)
    assert made.frame.loc[made.frame["metric"] == GAP, "value"].tolist() == [2.0] and not made.problems


def test_a_run_that_diverged_has_one_row_without_a_metric(writer):
    writer.write(RUN, [], status="diverged", iteration=40)
    made = frame(writer.folder)
    assert len(made) == 1 and made["status"].tolist() == ["diverged"] and made["metric"].isna().all()


@pytest.mark.parametrize("changes, reason", [
    ({"value": float("nan")}, "not a finite number"), ({"value": "1"}, "TypeError"),
    ({"better": "yes"}, "better 'yes'"), ({"name": "fid", "extractor": "effnet"}, "METRIC_EXTRACTOR"),
    ({"name": "fd"}, "METRIC_EXTRACTOR"),
])  # fmt: skip
def test_a_score_that_cannot_be_believed_is_left_out(writer, changes, reason):
    writer.write(RUN, [entry("fid", 1.0) | changes, entry("kid", 0.5)])
    made = read(writer.folder)
    assert made.frame["metric"].tolist() == ["kid"] and reason in made.problems[0]


def test_a_metric_of_several_words_is_believed(writer):
    writer.write(RUN, [entry("fid", 1.0), entry("mean_gap_effnet", 0.5, extractor="effnet", better="lower")])
    assert frame(writer.folder)["metric"].tolist() == ["fid", "mean_gap_effnet"]


def test_one_protocol_and_seed_twice_is_left_out(writer):
    writer.write(RUN, [entry("fid", 1.0), entry("fid", 2.0)])
    made = read(writer.folder)
    assert made.frame["value"].tolist() == [1.0] and "twice" in made.problems[0]


def test_a_metric_does_not_say_whose_it_is(writer):
    writer.write(RUN, [entry("fid", 1.0, seed=7, cell="other")])
    made = frame(writer.folder)
    assert made["seed"].tolist() == [0] and set(made["cell"]) == {"dcgan-digits-32-f0.1-gradgap0.1-i100-width0.25"}


@pytest.mark.parametrize("change", [
    {"id": "other"}, {"status": "finished"}, {"iteration": 7}, {"config": {}}, {"provenance": {}}, {"metrics": 3},
    {"run": []}, {"seconds": None},
])  # fmt: skip
def test_a_record_that_cannot_be_believed_is_one_problem(writer, change):
    writer.write(RUN, [entry("fid", 1.0)], **change)
    made = read(writer.folder)
    assert made.frame.empty and len(made.problems) == 1 and RUN.id in made.problems[0]


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"id": 1}', "[" * 100_000,
                                  '{"id": ' + "9" * 400 + "}", '{"id": "\\ud800"}'])
def test_a_damaged_record_is_one_problem(writer, text):
    writer.write(RUN, [])
    (writer.folder / RUN.id / "metrics.json").write_text(text)
    made = read(writer.folder)
    assert made.frame.empty and len(made.problems) == 1


def test_images_of_other_code(writer):
    writer.external("theirs", "cifar-100", 64, 0.1, 0, [entry("fid", 5.0)])
    made = frame(writer.folder)
    assert made[["kind", "method", "seed", "value"]].values.tolist() == [["external", "theirs", 0, 5.0]]


@pytest.mark.parametrize("change", [{"seed": "0"}, {"dataset": None}, {"fraction": [0.1]}, {"resolution": "64"}])
def test_a_foreign_record_of_another_form_is_one_problem(writer, change):
    writer.external("theirs", "cifar-100", 64, 0.1, 0, [entry("fid", 5.0)])
    (file,) = writer.folder.glob("*/metrics.json")
    data = json.loads(file.read_text())
    data["run"] |= change
    file.write_text(json.dumps(data))
    made = read(writer.folder)
    assert made.frame.empty and len(made.problems) == 1
    assert "seed" in change or scored_rows(writer.folder) == []  # the field does not ask for the seed


def test_a_log_with_a_number_beyond_all_bounds_is_one_problem(writer):
    writer.write(RUN, [entry("fid", 1.0)])
    (writer.folder / RUN.id / "log.jsonl").write_text('{"iteration": 1, "gap": ' + "9" * 400 + "}\n")
    made = read(writer.folder)
    assert list(made.frame["value"]) == [1.0] and len(made.problems) == 1


def test_reports_of_another_results_folder_are_not_overwritten(writer, tmp_path):
    mine = tmp_path / "mine"
    mine.mkdir()
    reports = tmp_path / "reports"
    claim_reports(writer.folder, reports)
    claim_reports(writer.folder, reports)
    assert (reports / "results.txt").read_text() == "../results\n"
    with pytest.raises(InputError, match="was made from the results folder .*give another REPORTS"):
        claim_reports(mine, reports)
    assert reports_folder(mine, "") == mine / "reports"  # so that nobody needs to think of it


def test_a_report_that_cannot_be_written_leaves_what_was_there(tmp_path):
    (tmp_path / "taken").write_text("old")
    with pytest.raises(InputError, match="cannot write"):
        write(tmp_path / "taken" / "table.md", "new")
    assert (tmp_path / "taken").read_text() == "old"
