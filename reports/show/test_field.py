"""The rendered field holds every number once, with the paper's cells and our scores marked."""

import pytest

from benchmarks.field import DATASETS, paper_rows, sections
from benchmarks.published import read
from reports.show.field import field_markdown, render

ROWS = [*read(), *paper_rows()]


@pytest.mark.parametrize("dataset", DATASETS)
def test_every_number_is_shown_once(dataset):
    own = [row for row in ROWS if row.slug == dataset]
    text = field_markdown(dataset, ROWS)
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(lines) == len(own) + 2 * len(sections(dataset, ROWS))
    assert {line.count("|") for line in lines} == {10} and "nan" not in text and "<NA>" not in text
    assert sum("| **" in line for line in lines) == sum(row.kind == "paper" for row in own)


def test_files_are_what_the_functions_say(tmp_path):
    render(tmp_path / "results", tmp_path / "reports")
    files = {path.name for path in (tmp_path / "reports" / "field").iterdir()}
    assert files == {f"{name}.md" for name in DATASETS}
    text = (tmp_path / "reports" / "field" / "animalface-dog.md").read_text()
    assert "It is nearest to StyleGAN2 + DiffAugment." in text and "| 8 | 60.23 |" in text
