"""The field of each data set: published numbers, ours and external scores, ranked within one protocol only.

They are written to field/<data set>.md and .csv.
"""

from dataclasses import asdict
from pathlib import Path

import pandas as pd

import benchmarks.field as field
from benchmarks.field import Row
from reports.data.folders import write
from reports.show.document import Grid, Section, report, simple

LEGEND = (
    "Numbers of two protocols do not rank against each other, so only the numbers of a named protocol are ranked. "
    "A dash in the place of the rank: a number quoted from another row, or one of another extractor.",
    "**Bold**: the cells of the paper that is reproduced here. It names 5,000 generated images and the whole training "
    "set, but no extractor; they are ranked as if it were the usual one. *Italic*: scores of this benchmark's runs, "
    "and of images of other code.",
    "± is the standard deviation of the value, or the tolerance that its source gives.",
    "Grades: " + "; ".join(f"{letter}, {words}" for letter, words in field.GRADES.items()) + ".",
)  # fmt: skip
SHOWN = ["rank", "value", "±", "method", "augmentation", "extractor", "grade", "source", "note"]
MARKS = {"paper": "**", "ours": "*", "external": "*", "published": ""}


def field_frame(dataset: str, rows: list[Row]) -> pd.DataFrame:
    """A line for each number of a data set, in the order in which they are shown."""
    lines = []
    for section in field.sections(dataset, rows):
        for rank, row in section.lines:
            lines.append({"section": section.title, "protocol": section.named, "rank": rank, **asdict(row)})
    frame = pd.DataFrame(lines)
    whole = ["rank", "resolution", "n_images", "n_generated", "n_reference"]
    return frame.astype(dict.fromkeys(whole, "Int64") | dict.fromkeys(["fraction", "sd", "tolerance"], float))


def field_markdown(dataset: str, rows: list[Row]) -> str:
    frame = field_frame(dataset, rows)
    published = int((frame["kind"] == "published").sum())
    about = [f"{published} published numbers, from `benchmarks/related_work.csv`.",
             field.plain_or_augmented(dataset, rows), *LEGEND]  # fmt: skip
    sections = [Section("", list(filter(None, about)))]
    for title, part in frame.groupby("section", sort=False):
        name, ranked = part["protocol"].iloc[0], "Not ranked."
        if name:
            ranked = f"Protocol `{name}`: {field.PROTOCOLS[name].about}."
        sections.append(Section(title, [ranked, *_grid(part)]))
    return report(f"The field: {dataset}", sections)


def _grid(part: pd.DataFrame) -> list[Grid]:
    """Some lines of the frame as a table; what is not known is blank."""
    spread, marks = part["sd"].fillna(part["tolerance"]), part["kind"].map(MARKS)
    shown = part.assign(value=part["value"].map("{:g}".format), method=marks + part["method"] + marks)
    shown["±"] = spread.map("{:g}".format).where(spread.notna(), "")
    shown["rank"] = part["rank"].astype(object).where(part["rank"].notna(), "-")
    return simple(shown[SHOWN], "")


def render(results: Path, reports: Path) -> None:
    """Write the field of every data set that others measured."""
    rows = [*field.read(), *field.paper_rows(), *field.scored_rows(results)]
    for dataset in field.DATASETS:
        write(reports / "field" / f"{dataset}.md", field_markdown(dataset, rows))
        write(reports / "field" / f"{dataset}.csv", field_frame(dataset, rows).to_csv(index=False))
