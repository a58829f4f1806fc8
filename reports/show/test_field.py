"""The rendered field holds every number once, with the paper's cells and our scores marked."""

import sys

import pytest

from benchmarks.field import DATASETS, paper_rows, sections
from benchmarks.published import read
from benchmarks.runs import InputError
from reports import __main__
from reports.show.field import field_markdown, render

ROWS = [*read(), *paper_rows()]


@pytest.mark.parametrize("dataset", DATASETS)
def test_every_number_is_shown_once(dataset):
    own = [row for row in ROWS if row.slug == dataset]
    text = field_markdown(dataset, ROWS)
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(lines) == len(own) + 2 * len(sections(dataset, ROWS))
    values = [line.split("|")[2].strip() for line in lines]
    assert sorted(set(values) - {"value", "---:"}) == sorted({f"{row.value:g}" for row in own})
    assert {line.count("|") for line in lines} == {10} and "nan" not in text and "<NA>" not in text
    assert sum("| **" in line for line in lines) == sum(row.kind == "paper" for row in own)


def test_files_are_what_the_functions_say(tmp_path):
    render(tmp_path / "results", tmp_path / "reports")
    files = {path.name for path in (tmp_path / "reports" / "field").iterdir()}
    assert files == {f"{name}.md" for name in DATASETS}
    text = (tmp_path / "reports" / "field" / "animalface-dog.md").read_text()
    assert "It is nearest to StyleGAN2 + DiffAugment." in text and "| 8 | 60.23 |" in text


def test_the_command_prints_the_field_of_a_data_set(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["reports", "field", "DATASET=animalface-dog", f"RESULTS={tmp_path}"])
    assert __main__.main() == 0
    said = capsys.readouterr().out
    assert "**stylegan2" in said and "Protocol `benchmark`" in said and not list(tmp_path.iterdir())


@pytest.mark.parametrize("arguments", [["DATASET=nothing"], [], ["DATASET="], ["SET=ffhq"],
                                       ["DATASET=cifar-100", "RESULTS=resluts"]])  # fmt: skip
def test_what_the_command_refuses(arguments, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["reports", "field", *arguments])
    with pytest.raises(InputError) as caught:
        __main__.main()
    assert "\n" not in str(caught.value) and capsys.readouterr().out == ""
