"""The published numbers: nothing lost, every fault named by its line, ranked within one protocol only."""

import csv
import hashlib
import json
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import fields, replace
from pathlib import Path

import pytest
from scipy.stats import rankdata

from benchmarks import field
from benchmarks.datasets import DATASETS
from benchmarks.extractors import EXTRACTORS
from benchmarks.field import PROTOCOLS, external_id, match_a_cell, sections
from benchmarks.published import BETTER, COLUMNS, FILE, Row, parse, read
from benchmarks.runs import InputError
from benchmarks.tables import TABLES

ROWS = read()
COLLECTED = 1301  # numbers that were collected together; those that were added since follow them
AS_COLLECTED = "ae9e39f7e2af15f69510ccfd5569ae3b9a8dafa4dbb5f6bd22a592ae430b8f63"  # sha256 of what the sources say
ORIGINAL = ("method", "base_model", "dataset", "resolution", "fraction", "n_images", "metric", "value", "source",
            "where")  # fmt: skip


# --- The file ---------------------------------------------------------------------------------------------------------


def test_the_collected_numbers_are_those_of_their_sources():
    with FILE.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))[:COLLECTED]
    lines = ["|".join(row[column] for column in ORIGINAL) for row in rows]
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest() == AS_COLLECTED


def test_a_row_is_its_line():
    assert [column.name for column in fields(Row)][: len(COLUMNS)] == list(COLUMNS)
    with FILE.open(encoding="utf-8", newline="") as file:
        for row, cells in zip(ROWS, csv.DictReader(file), strict=True):
            for column, cell in cells.items():
                value = getattr(row, column)
                assert value == (float(cell) if isinstance(value, float | int) else cell or value)


def test_the_grade_is_that_of_the_source():
    for row in ROWS:
        if row.source.startswith("GitHub issue"):
            assert row.grade == "E"
        elif "wizwand" in row.source or "paperswithcode" in row.source:
            assert row.grade == "D"
        elif "note" in row.source or "summary" in row.source:
            assert row.grade == "C"
        else:
            assert (row.grade == "A") == ("repo" in row.source and "blog repo" not in row.source)


def test_the_literatures_two_protocols():
    """Counted by hand when the numbers were collected: 105 beside a cell of Table 2, 57 on the test images of CIFAR."""
    matching = match_a_cell(ROWS)
    assert len([row for row in matching if row.line <= COLLECTED + 1]) == 105
    assert {row.slug for row in matching} == {cell.run.dataset for cell in TABLES["table2"].cells}
    cifar = [row for row in ROWS[:COLLECTED] if row.slug == "cifar-100" and row.metric in ("FID", "clean-FID")
             and (row.n_generated, row.split) == (10_000, "test")]  # fmt: skip
    assert len(cifar) == 57


def altered(tmp_path: Path, line: int, column: str, value: str) -> Path:
    """The file with one field changed."""
    with FILE.open(encoding="utf-8", newline="") as file:
        lines = list(csv.reader(file))
    lines[line - 1][list(COLUMNS).index(column)] = value
    path = tmp_path / "changed.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(lines)
    return path


FAULTS = [
    ("method", ""), ("dataset", " FFHQ"), ("conditional", "maybe"), ("resolution", "32x32"), ("resolution", "0"),
    ("fraction", "1.5"), ("fraction", "0"), ("n_images", "5k"), ("metric", "fid"), ("metric", ""), ("value", ""),
    ("value", "12,3"), ("value", "nan"), ("value", "-1"), ("sd", "0.1 (3)"), ("tolerance", "+-1"),
    ("n_generated", "10k"), ("reference", "training"), ("extractor", "inception"), ("extractor", "clean-fid"),
    ("grade", ""), ("grade", "F"), ("source", ""), ("where", ""), ("metric", "clean-FID"),
]  # fmt: skip


@pytest.mark.parametrize("column, value", FAULTS)
def test_a_fault_is_named_with_its_line(column, value, tmp_path):
    path = altered(tmp_path, 40, column, value)
    rows, faults = parse(path)
    assert len(faults) == 1 and faults[0].startswith(f"{path}:40: {column if column != 'extractor' else ''}")
    assert len(rows) == len(ROWS) - 1
    with pytest.raises(InputError, match="changed.csv:40"):
        read(path)


def test_every_fault_is_named_not_only_the_first(tmp_path):
    path = altered(tmp_path, 40, "value", "x")
    shutil.copy(path, tmp_path / "again.csv")
    text = (tmp_path / "again.csv").read_text().splitlines()
    text[50] += ",more"
    text.append(text[60].replace("\n", ""))
    (tmp_path / "again.csv").write_text("\n".join(text) + "\n")
    _, faults = parse(tmp_path / "again.csv")
    assert [fault.split(":")[1] for fault in faults] == ["40", "51", str(len(text))]
    assert "line 61" in faults[2]


def test_a_number_with_two_values_is_a_fault(tmp_path):
    lines = FILE.read_text().splitlines()
    first = list(csv.reader([lines[1]]))[0]
    first[list(COLUMNS).index("value")] = "1.5"
    with (tmp_path / "two.csv").open("w", newline="") as file:
        file.write("\n".join(lines) + "\n")
        csv.writer(file).writerow(first)
    _, faults = parse(tmp_path / "two.csv")
    assert len(faults) == 1 and f":{len(lines) + 1}: another value (9.18)" in faults[0] and "line 2" in faults[0]


@pytest.mark.parametrize("content", [b"", b"a,b\n1,2\n", b"\xff\xfe", None])
def test_what_is_no_such_file(content, tmp_path):
    path = tmp_path / "other.csv"
    if content is not None:
        path.write_bytes(content)
    rows, faults = parse(path)
    assert rows == [] and len(faults) == 1 and str(path) in faults[0]


# --- Protocols --------------------------------------------------------------------------------------------------------


def test_protocols_are_of_this_benchmark():
    for named in PROTOCOLS.values():
        assert named.extractor in EXTRACTORS and named.reference in ("train", "test")
        assert named.dataset in ("", *DATASETS)


def test_the_data_sets_that_others_measured():
    assert set(field.DATASETS) == set(DATASETS) & {row.slug for row in ROWS}


@pytest.mark.parametrize("dataset", field.DATASETS)
def test_ranks_are_within_one_protocol(dataset):
    """The ranks of a section are those of scipy, repetitions left out; no row is lost or shown twice."""
    rows = [*ROWS, *field.paper_rows()]
    shown = sections(dataset, rows)
    lines = [row for section in shown for _, row in section.lines]
    assert Counter(lines) == Counter(row for row in rows if row.slug == dataset)
    for section in shown:
        ranked = [(rank, row) for rank, row in section.lines if rank]
        protocols = {(row.metric, row.resolution, row.fraction, row.n_generated, row.network, row.conditional)
                     for _, row in section.lines}  # fmt: skip
        assert len(protocols) == 1 and bool(ranked) == bool(section.named)
        sign = 1 if BETTER[section.lines[0][1].metric] == "lower" else -1
        assert [rank for rank, _ in ranked] == list(rankdata([sign * row.value for _, row in ranked], method="min"))


def test_a_quoted_number_counts_once():
    first = next(row for row in match_a_cell(ROWS) if row.slug == "100-shot-obama")
    quoted = replace(first, source="another", value=first.value)
    best = replace(first, method="best", value=1.0)
    section = sections("100-shot-obama", [first, quoted, best])[0]
    assert [(rank, row) for rank, row in section.lines] == [(1, best), (2, first), (None, quoted)]
    assert field.repeats(ROWS)


def test_our_scores_stand_in_the_list_and_count_where_the_network_agrees():
    first = next(row for row in match_a_cell(ROWS) if row.slug == "100-shot-obama")
    legacy = replace(first, method="ours", kind="ours", value=50.0, extractor="tf-inception")
    clean = replace(first, method="theirs", kind="external", value=51.0, metric="clean-FID", extractor="clean-fid")
    section = sections("100-shot-obama", [*ROWS, legacy, clean])[0]
    ranks = {row.method: rank for rank, row in section.lines if row.kind != "published"}
    assert ranks["ours"] and ranks["theirs"] is None


def test_scores_of_results_are_rows(tmp_path):
    run = {"model": "wgan", "augment": "", "dataset": "cifar-100", "resolution": 32, "fraction": 0.1}
    legacy = {**ENTRY, "name": "fd_inception_tf", "extractor": "inception_tf", "n_generated": 10_000,
              "reference": "test", "checkpoint": "last"}  # fmt: skip
    stand_in = {**legacy, "name": "fd_effnet", "extractor": "effnet"}
    early = {**legacy, "checkpoint": "best"}
    for name, record in {"wgan": {"id": "wgan", "run": run, "status": "done", "metrics": [legacy, stand_in, early]},
                         "external": {**RECORD, "metrics": [{**ENTRY, "checkpoint": "last"}]},
                         "broken": {"id": "broken"}}.items():  # fmt: skip
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.json").write_text(json.dumps(record))
    theirs, ours = field.scored_rows(tmp_path)
    assert (theirs.kind, theirs.method) == ("external", "mine")
    assert (theirs.metric, theirs.extractor) == ("clean-FID", "clean-fid")
    assert (ours.kind, ours.metric, ours.extractor, ours.split) == ("ours", "FID", "tf-inception", "test")


def test_the_papers_cells_are_rows():
    published = [value for table in TABLES.values() for cell in table.cells for value in cell.published.values()]
    assert Counter(row.value for row in field.paper_rows()) == Counter(published)


def test_what_the_numbers_reveal():
    """The paper's StyleGAN of dogs is where the literature has StyleGAN2 + DiffAugment; its pandas are not."""
    dog = field.plain_or_augmented("animalface-dog", ROWS)
    assert "60.23" in dog and "58.47 to 58.85" in dog and dog.endswith("nearest to StyleGAN2 + DiffAugment.")
    assert field.plain_or_augmented("100-shot-panda", ROWS).endswith("without augmentation.")
    assert field.plain_or_augmented("ffhq", ROWS) == ""


# --- Records of external scores ---------------------------------------------------------------------------------------

SUBJECT = {"name": "mine", "dataset": "digits", "resolution": 32, "fraction": 0.1, "seed": 0}
ENTRY = {"name": "fid", "value": 12.5, "sd": None, "better": "lower", "n_generated": 5000, "n_reference": 1797,
         "extractor": "inception", "extractor_sha256": "0" * 64, "resize": "clean"}  # fmt: skip
RECORD = {"id": external_id(**SUBJECT), "run": SUBJECT, "status": "external", "images_sha256": "a" * 64,
          "dataset": {"name": "digits"}, "evaluated": ["inception 5000 x1"], "metrics": [ENTRY], "provenance": {},
          "seconds": {"evaluate": 1.0}}  # fmt: skip


def faults_of(tmp_path: Path, record: object, folder: str = RECORD["id"]) -> list[str]:
    (tmp_path / folder).mkdir(exist_ok=True)
    (tmp_path / folder / "metrics.json").write_text(record if isinstance(record, str) else json.dumps(record))
    return field.record_faults(tmp_path)


def test_a_right_record_has_no_fault(tmp_path):
    assert faults_of(tmp_path, RECORD) == []


@pytest.mark.parametrize("change", [
    {"id": "external-other"}, {"status": "done"}, {"run": {**SUBJECT, "seed": "0"}}, {"run": {**SUBJECT, "seed": 1}},
    {"images_sha256": "short"}, {"metrics": []}, {"metrics": [{**ENTRY, "value": float("nan")}]},
    {"metrics": [{**ENTRY, "value": "12.5"}]}, {"metrics": [{**ENTRY, "better": "more"}]}, {"metrics": [3]},
    {"provenance": None},
])  # fmt: skip
def test_a_wrong_record_is_named(change, tmp_path):
    faults = faults_of(tmp_path, RECORD | change)
    assert faults and all(fault.startswith(str(tmp_path)) and "\n" not in fault for fault in faults)


@pytest.mark.parametrize("text", ["", "[]", "{"])
def test_a_record_that_is_none(text, tmp_path):
    assert len(faults_of(tmp_path, text)) == 1


# --- The command ------------------------------------------------------------------------------------------------------


def command(*arguments: str) -> subprocess.CompletedProcess:
    """With the standard library alone."""
    return subprocess.run([sys.executable, "-S", "-m", "benchmarks.field", *arguments], capture_output=True, text=True)


def test_the_commands(tmp_path):
    checked = command(f"RESULTS={tmp_path}")
    assert checked.returncode == 0 and "105 FIDs match" in checked.stdout
    faults_of(tmp_path, "{")
    checked = command(f"RESULTS={tmp_path}")
    assert checked.returncode == 2 and checked.stderr.count("\n") == 1 and RECORD["id"] in checked.stderr


@pytest.mark.parametrize("arguments", [["SET=ffhq"], ["check"], ["TABLE=x"], ["RESULTS=resluts"]])
def test_what_the_command_refuses(arguments):
    ended = command(*arguments)
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (2, "", 1)
