"""What others published on these data sets: related_work.csv as rows, each with its protocol and source.

Standard library only. One number is one row. A blank field means that the source does not state it. The columns:

    method, base_model   as the source calls them
    augmentation         of the images that the discriminator sees, joined by " + "
    conditional          whether the generator is given a class: yes or no
    dataset              as the literature writes it; `slug` is its name in this benchmark
    resolution           in pixels
    fraction             share of the usual full training set that was trained on; 1.0 for a whole few-shot set
    n_images             how many images were trained on; 140,000 of FFHQ are 70,000 and their mirror images
    metric, value        KIDx1000 is KID times 1000; clean-FID is FID behind clean-fid's resize
    sd                   standard deviation of the value, over what `note` says
    tolerance            the source's own +-, of which it does not say what it is
    n_generated          how many generated images were measured
    reference            the real images they were compared with: train is the full training set, whatever the fraction
    n_reference          how many those are
    extractor            the feature network and its resize
    grade                of the source, a letter of GRADES
    source, where        where the number was read
    note                 what else has to be known before it is compared
"""

import csv
import re
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.runs import InputError, Option, fraction, one_of, whole

FILE = Path(__file__).with_name("related_work.csv")
BETTER = {"FID": "lower", "clean-FID": "lower", "sFID": "lower", "SwAV-FID": "lower", "KID": "lower",
          "KIDx1000": "lower", "clean-KIDx1000": "lower", "IS": "higher", "Precision": "higher", "Recall": "higher",
          "LPIPS": "higher"}  # fmt: skip
REFERENCES = ("train", "test", "val", "trainval")
EXTRACTORS = ("tf-inception", "clean-fid", "pytorch-fid", "mmgeneration", "swav")
GRADES = {
    "A": "the authors' own repository or project page",
    "B": "the full text or original figures of a paper, kept by a third party",
    "C": "a third party's notes on a paper, not checked against it",
    "D": "an aggregator's page: an order of magnitude only",
    "E": "one rerun by a third party, in an issue",
}


@dataclass(frozen=True)
class Row:
    """One published number: the columns as the module's docstring describes them, None for a blank number.

    line  where it stands in the file; 0 if it stands in none
    kind  "published", "paper" for a cell of the paper that is reproduced here, "ours", "external"
    """

    method: str
    base_model: str
    augmentation: str
    conditional: str
    dataset: str
    resolution: int | None
    fraction: float | None
    n_images: int | None
    metric: str
    value: float
    sd: float | None
    tolerance: float | None
    n_generated: int | None
    reference: str
    n_reference: int | None
    extractor: str
    grade: str
    source: str
    where: str
    note: str
    line: int = 0
    kind: str = "published"

    @property
    def slug(self) -> str:
        """The data set's name in this benchmark, where it has it: "100-shot Obama" is 100-shot-obama."""
        return self.dataset.lower().replace(" ", "-")

    @property
    def split(self) -> str:
        """The part of the data set that the reference is. CIFAR has no validation part: its test images are meant."""
        if self.reference == "val" and self.slug.startswith("cifar-"):
            return "test"
        return self.reference

    @property
    def network(self) -> str:
        """What the values of a metric must share. An FID without further words is of the original Inception."""
        if self.extractor == "tf-inception":
            return ""
        return self.extractor


# --- The file ---------------------------------------------------------------------------------------------------------


def _number(text: str) -> float:
    if not re.fullmatch(r"\d+(\.\d+)?", text):
        raise ValueError("must be a number such as 12.3")
    return float(text)


COLUMNS = {  # how a column is read, and what a blank one is; those of REQUIRED may not be blank
    "method": Option(str),
    "base_model": Option(str, ""),
    "augmentation": Option(str, ""),
    "conditional": Option(one_of("yes", "no"), ""),
    "dataset": Option(str),
    "resolution": Option(whole(1)),
    "fraction": Option(fraction),
    "n_images": Option(whole(1)),
    "metric": Option(one_of(*BETTER)),
    "value": Option(_number),
    "sd": Option(_number),
    "tolerance": Option(_number),
    "n_generated": Option(whole(1)),
    "reference": Option(one_of(*REFERENCES), ""),
    "n_reference": Option(whole(1)),
    "extractor": Option(one_of(*EXTRACTORS), ""),
    "grade": Option(one_of(*GRADES)),
    "source": Option(str),
    "where": Option(str),
    "note": Option(str, ""),
}
REQUIRED = {"method", "dataset", "metric", "value", "grade", "source", "where"}


def parse(file: Path = FILE) -> tuple[list[Row], list[str]]:
    """The rows of a file that are right, and one line for each fault, with the file and the line it stands in."""
    rows, faults = [], []
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        return [], [f"{file}: cannot be read ({error})"]
    reader = csv.reader(text.splitlines(keepends=True), strict=True)
    try:
        header = next(reader, [])
        if header != list(COLUMNS):
            return [], [f"{file}:1: the columns are {','.join(header)}; must be {','.join(COLUMNS)}"]
        for cells in reader:
            wrong, row = _row(cells, reader.line_num)
            faults += [f"{file}:{reader.line_num}: {fault}" for fault in wrong]
            if row:
                rows.append(row)
    except csv.Error as error:
        return rows, [*faults, f"{file}:{reader.line_num}: not CSV ({error})"]
    faults += [f"{file}:{fault}" for fault in _contradictions(rows)]
    return rows, faults


def _row(cells: list[str], line: int) -> tuple[list[str], Row | None]:
    """What is wrong with a line of the file; the row, if nothing is."""
    if len(cells) != len(COLUMNS):
        return [f"{len(cells)} fields; must be {len(COLUMNS)}"], None
    values, faults = {}, []
    for name, cell in zip(COLUMNS, cells, strict=True):
        try:
            values[name] = _value(name, cell)
        except ValueError as error:
            faults.append(f"{name}{error}")
    if faults:
        return faults, None
    row = Row(**values, line=line)
    if row.metric.startswith("clean-") != (row.extractor == "clean-fid"):
        return [f"metric {row.metric} with extractor {row.extractor!r}: clean-FID is what clean-fid measures"], None
    return [], row


def _value(name: str, cell: str) -> object:
    """The value of a cell. Raises ValueError where it is none of its column."""
    if cell != cell.strip():
        raise ValueError(f" {cell!r}: must not begin or end with a space")
    if not cell and name in REQUIRED:
        raise ValueError(": must not be blank")
    if not cell:
        return COLUMNS[name].default
    try:
        return COLUMNS[name].read(cell)
    except ValueError as error:
        raise ValueError(f" {cell!r}: {error}") from error


def _contradictions(rows: list[Row]) -> list[str]:
    """Rows that occur twice, or with two values."""
    known: dict[Row, Row] = {}
    faults = []
    for row in rows:
        first = known.setdefault(replace(row, value=0.0, line=0), row)
        if first is not row:
            what = "the same number" if first.value == row.value else f"another value ({first.value:g})"
            faults.append(f"{row.line}: {what} stands in line {first.line} for the same method, protocol and source")
    return faults


def read(file: Path = FILE) -> list[Row]:
    """All rows. Raises InputError that names the first fault."""
    rows, faults = parse(file)
    if faults:
        raise InputError(f"{faults[0]} ({len(faults)} faults; `make check-results` lists them)")
    return rows
