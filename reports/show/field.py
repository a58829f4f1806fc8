"""The field of each data set: published numbers, ours and external scores, ranked within one protocol only.

They are written to field/<data set>.md.
"""

from pathlib import Path

import benchmarks.field as field
from benchmarks.published import GRADES, Row, read
from benchmarks.runs import InputError
from reports.data.folders import write
from reports.show.document import Section, report, simple

LEGEND = (
    "Numbers of two protocols do not rank against each other, so only the numbers of a named protocol are ranked. "
    "A dash in the place of the rank: a number quoted from another row, or one of another extractor.",
    "**Bold**: the cells of the paper that is reproduced here. It names 5,000 generated images and the whole training "
    "set, but no extractor; they are ranked as if it were the usual one. *Italic*: scores of this benchmark's runs, "
    "and of images of other code.",
    "± is the standard deviation of the value, or the tolerance that its source gives.",
    "Grades: " + "; ".join(f"{letter}, {words}" for letter, words in GRADES.items()) + ".",
)  # fmt: skip
MARKS = {"paper": "**", "ours": "*", "external": "*", "published": ""}


def field_markdown(dataset: str, rows: list[Row]) -> str:
    published = [row for row in rows if row.slug == dataset and row.kind == "published"]
    about = [f"{len(published)} published numbers, from `benchmarks/related_work.csv`.",
             field.plain_or_augmented(dataset, rows), *LEGEND]  # fmt: skip
    sections = [Section("", list(filter(None, about)))]
    for section in field.sections(dataset, rows):
        ranked = "Not ranked."
        if section.named:
            ranked = f"Protocol `{section.named}`: {field.PROTOCOLS[section.named].about}."
        lines = [_line(rank, row) for rank, row in section.lines]
        sections.append(Section(section.title, [ranked, *simple(lines, "")]))
    return report(f"The field: {dataset}", sections)


def _line(rank: int | None, row: Row) -> dict:
    """A number as a line of a table."""
    spread, mark = "", MARKS[row.kind]
    for known in (row.tolerance, row.sd):
        if known is not None:
            spread = f"{known:g}"
    return {"rank": rank, "value": f"{row.value:g}", "±": spread,
            "method": f"{mark}{row.method}{mark}", "augmentation": row.augmentation, "extractor": row.extractor,
            "grade": row.grade, "source": row.source, "note": row.note}  # fmt: skip


def rows_of(results: Path) -> list[Row]:
    return [*read(), *field.paper_rows(), *field.scored_rows(results)]


def show(results: Path, dataset: str) -> None:
    """Print the field of any data set with a published number."""
    rows = rows_of(results)
    known = sorted({row.slug for row in rows})
    if dataset not in known:
        raise InputError(f"DATASET={dataset}: no numbers; there are some for {', '.join(known)}")
    print(field_markdown(dataset, rows))


def render(results: Path, reports: Path) -> None:
    """Write the field of every data set that others measured."""
    rows = rows_of(results)
    for dataset in field.DATASETS:
        write(reports / "field" / f"{dataset}.md", field_markdown(dataset, rows))
