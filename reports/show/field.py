"""The field of each data set: published numbers, ours and external scores, ranked within one protocol only.

They are written to field/<data set>.md and .csv.
"""

from dataclasses import asdict
from pathlib import Path

import pandas as pd

import benchmarks.field as field
from benchmarks.field import Row
from reports.data.folders import write

LEGEND = (
    "Numbers of two protocols do not rank against each other, so only the numbers of a named protocol are ranked. "
    "A dash in the place of the rank: a number quoted from another row, or one of another extractor.",
    "**Bold**: the cells of the paper that is reproduced here. It names 5,000 generated images and the whole training "
    "set, but no extractor; they are ranked as if it were the usual one. *Italic*: scores of this benchmark's runs, "
    "and of images of other code.",
    "± is the standard deviation of the value, or the tolerance that its source gives.",
)  # fmt: skip
SHOWN = ("rank", "value", "±", "method", "augmentation", "extractor", "grade", "source", "note")
MARKS = {"paper": "**{}**", "ours": "*{}*", "external": "*{}*"}


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
    text = [f"# The field: {dataset}", f"{published} published numbers, from `benchmarks/related_work.csv`."]
    if sentence := field.plain_or_augmented(dataset, rows):
        text.append(sentence)
    text += LEGEND
    text.append("Grades: " + "; ".join(f"{letter}, {words}" for letter, words in field.GRADES.items()) + ".")
    for title, part in frame.groupby("section", sort=False):
        name = part["protocol"].iloc[0]
        about = f"Protocol `{name}`: {field.PROTOCOLS[name].about}." if name else "Not ranked."
        text += [f"## {title}", about, _table(part)]
    return "\n\n".join(text) + "\n"


def _table(part: pd.DataFrame) -> str:
    """Some lines of the frame as Markdown; what is not known is blank."""
    lines = [list(SHOWN), ["---:", "---:", "---:", *["---"] * (len(SHOWN) - 3)]]
    for row in part.to_dict("records"):
        spread = row["tolerance"] if pd.isna(row["sd"]) else row["sd"]
        row["±"] = "" if pd.isna(spread) else f"{spread:g}"
        row["rank"] = "-" if pd.isna(row["rank"]) else row["rank"]
        row["value"] = f"{row['value']:g}"
        row["method"] = MARKS.get(row["kind"], "{}").format(row["method"])
        lines.append([str(row[column]).replace("|", "\\|").replace("<", "&lt;") for column in SHOWN])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def render(results: Path, reports: Path) -> list[Path]:
    """Write the field of every data set that others measured. Returns the files."""
    rows = [*field.read(), *field.paper_rows(), *field.scored_rows(results)]
    written = []
    for dataset in field.DATASETS:
        for suffix, text in ((".md", field_markdown(dataset, rows)),
                             (".csv", field_frame(dataset, rows).to_csv(index=False))):  # fmt: skip
            path = reports / "field" / f"{dataset}{suffix}"
            write(path, text)
            written.append(path)
    return written
