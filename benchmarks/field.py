"""The field: published numbers, ours and external scores of a data set, ranked within one protocol only.

`make field DATASET=100-shot-obama` prints those of a data set (reports/show/field.py); `make check-results` says what
is wrong with related_work.csv and with the records of external scores, with the standard library only.
"""

import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.published import BETTER, FILE, Row, parse
from benchmarks.runs import InputError, command, existing_folder, options
from benchmarks.state import read_json, then, typed
from benchmarks.tables import TABLES

# --- Protocols --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Named:
    """A protocol of the literature by name, which `make score PROTOCOL=name` follows.

    about        what it is, in words
    n_generated  how many generated images are measured
    reference    "train" or "test"
    extractor    the feature network of this benchmark
    dataset      the one data set that it is for, and `resolution` its size in pixels; "" and 0: any
    """

    about: str
    n_generated: int
    reference: str
    extractor: str
    dataset: str = ""
    resolution: int = 0


PROTOCOLS = {
    "benchmark": Named("5,000 generated images against the full training set; measured here with clean-fid's resize",
                       5000, "train", "inception"),
    "cifar-test": Named("10,000 generated images against the 10,000 test images; TensorFlow's original resize",
                        10_000, "test", "inception_tf", "cifar-100", 32),
    "fid50k-train": Named("50,000 generated images against the full training set; TensorFlow's original resize",
                          50_000, "train", "inception_tf"),
}  # fmt: skip

DATASETS = ("ffhq", "animalface-dog", "animalface-cat", "100-shot-obama", "100-shot-panda", "100-shot-grumpy-cat",
            "cifar-100", "oxford-flowers", "pokemon", "anime-face", "skulls", "shells")  # of ours, that others measured


def paper_rows() -> list[Row]:
    """The cells of the paper's tables as rows. The paper names 5,000 images and the whole training set, no network."""
    rows = []
    for name, table in TABLES.items():
        for cell in table.cells:
            run = cell.run
            method = run.model
            if run.regularizers:
                method += " with R"
            for metric, value in cell.published.items():
                rows.append(Row(method, run.model, "", "", run.dataset, run.resolution, run.fraction, None,
                                metric.upper(), value, None, None, 5000, "train", None, "", "",
                                "the paper, doi 10.12677/aam.2023.123139", name, "", kind="paper"))
    return rows


def match_a_cell(rows: Iterable[Row]) -> list[Row]:
    """The published FIDs that may stand beside a cell of the paper.

    Data set, resolution, fraction, number of generated images and reference agree. The paper names no network.
    """
    cells = {(cell.slug, cell.resolution, cell.fraction) for cell in paper_rows()}
    named = PROTOCOLS["benchmark"]
    matching = []
    for row in rows:
        same_protocol = (row.metric, row.n_generated, row.split) == ("FID", named.n_generated, named.reference)
        if same_protocol and row.kind == "published" and (row.slug, row.resolution, row.fraction) in cells:
            matching.append(row)
    return matching


def plain_or_augmented(dataset: str, rows: list[Row]) -> str:
    """Which published StyleGAN2 the paper's "StyleGAN" baseline is nearest to; "" where none is comparable."""
    values: dict[str, list[float]] = {"StyleGAN2": [], "StyleGAN2 + DiffAugment": []}
    for row in match_a_cell(rows):
        if row.slug == dataset and row.method in values:
            values[row.method].append(row.value)
    plain, augmented = values.values()
    baseline = _stylegan_of_the_paper(dataset)
    if not plain or not augmented or baseline is None:
        return ""
    nearest = min(plain + augmented, key=lambda value: abs(value - baseline))
    nearer = "StyleGAN2 + DiffAugment" if nearest in augmented else "StyleGAN2 without augmentation"
    return (f"The paper's StyleGAN baseline has an FID of {baseline:g}. Under the same protocol others "
            f"published StyleGAN2 at {_span(plain)} and StyleGAN2 + DiffAugment at {_span(augmented)}. "
            f"It is nearest to {nearer}.")


def _stylegan_of_the_paper(dataset: str) -> float | None:
    """The FID of the paper's StyleGAN baseline on the whole of a data set, if it has one."""
    for row in paper_rows():
        if (row.slug, row.method, row.metric, row.fraction) == (dataset, "stylegan2", "FID", 1.0):
            return row.value
    return None


def _span(values: list[float]) -> str:
    """The values from the lowest to the highest: "58.2 to 60.1"."""
    if len(values) == 1:
        return f"{values[0]:g}"
    return f"{min(values):g} to {max(values):g}"


def repeats(rows: Iterable[Row]) -> dict[Row, Row]:
    """Row -> the earlier row that it repeats: the same number of the same method in another source, quoted or rerun."""
    first: dict[tuple, Row] = {}
    repeated = {}
    for row in rows:
        method = row.method.split(" (")[0]
        key = (method, row.slug, row.fraction, row.n_images, row.metric, row.value)
        earlier = first.setdefault(key, row)
        if earlier.source != row.source:
            repeated[row] = earlier
    return repeated


# --- What is shown of a data set --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Section:
    """The numbers of one protocol, best first.

    title  the protocol in words
    named  its name in PROTOCOLS, "" if it has none; only a named one is ranked
    lines  (rank, row); rank is None where the row is shown but not counted
    """

    title: str
    named: str
    lines: tuple[tuple[int | None, Row], ...]


def sections(dataset: str, rows: list[Row]) -> list[Section]:
    """The rows of a data set by protocol: named protocols first, those of which nothing is stated last.

    Scores of ours stand in the list of their metric; they count in its ranks if the network agrees too.
    """
    own = [row for row in rows if row.slug == dataset]
    groups: dict[tuple, list[Row]] = {}
    for row in own:
        groups.setdefault(_key(row), []).append(row)
    shown = [_section(group) for group in groups.values()]
    return sorted(shown, key=lambda section: _order(section, list(PROTOCOLS)))


def _key(row: Row) -> tuple:
    """What the rows of one section share."""
    size = row.fraction
    if size is None:
        size = row.n_images
    metric, network, split = row.metric, row.network, row.split
    if row.kind in ("ours", "external") and metric == "clean-FID":
        metric, network = "FID", ""  # in the list of the FIDs, not in their ranks
    if metric == "IS":  # it has no reference
        split = ""
    return metric, row.resolution, size, row.fraction is None, row.n_generated, split, network, row.conditional


def _named(row: Row) -> str:
    """The name of a row's protocol, "" if it has none."""
    if row.network not in ("", "clean-fid"):
        return ""
    return next((name for name, named in PROTOCOLS.items() if _follows(row, named)), "")


def _follows(row: Row, named: Named) -> bool:
    """Whether a row's number was measured as a protocol says; one whose network is not known may have been."""
    same_reference = row.metric == "IS" or row.split == named.reference
    right_set = named.dataset in ("", row.slug) and named.resolution in (0, row.resolution)
    same_network = row.network == "" or named.extractor == "inception"  # which clean-fid takes
    return row.n_generated == named.n_generated and same_reference and right_set and same_network


def _section(group: list[Row]) -> Section:
    """The rows of one protocol, best first. A row that repeats another has no rank."""
    first = next((row for row in group if row.kind in ("published", "paper")), group[0])
    sign = 1
    if BETTER[first.metric] == "higher":
        sign = -1
    best_first = sorted(group, key=lambda row: sign * row.value)
    named = _named(first)
    repeated = repeats(best_first)
    lines, counted = [], []
    for row in best_first:
        rank = None
        if named and row.metric == first.metric and row.network == first.network and row not in repeated:
            counted.append(row.value)
            rank = counted.index(row.value) + 1
        lines.append((rank, row))
    return Section(_title(first), named, tuple(lines))


def _title(row: Row) -> str:
    """A row's protocol in words."""
    resolution, generated = "resolution not stated", "number of generated images not stated"
    if row.resolution:
        resolution = f"{row.resolution} px"
    if row.n_generated:
        generated = f"{row.n_generated:,} generated images"
    parts = [f"{row.metric}, {resolution}, {_training_images(row)}: {generated}"]
    if row.metric != "IS":
        against = {"": "reference not stated", "train": "against the training set", "test": "against the test set"}
        parts.append(against.get(row.split, f"against the {row.split} images"))
    if row.network:
        parts.append(f"extractor {row.network}")
    if row.conditional == "yes":
        parts.append("class-conditional")
    elif row.conditional:
        parts.append("unconditional")
    return ", ".join(parts)


def _training_images(row: Row) -> str:
    if row.fraction is not None:
        return f"{100 * row.fraction:.4g} % of the training set"
    if row.n_images is not None:
        return f"{row.n_images:,} training images"
    return "images not stated"


def _order(section: Section, names: list[str]) -> tuple:
    row = section.lines[0][1]
    named = len(names)
    if section.named:
        named = names.index(section.named)
    return named, list(BETTER).index(row.metric), -(row.resolution or 0), -(row.n_generated or 0), section.title


# --- Scores of ours and of other code ---------------------------------------------------------------------------------

IN_THE_LITERATURE = {  # metric and extractor of a record -> metric and extractor as related_work.csv has them
    ("fid", "inception"): ("clean-FID", "clean-fid"), ("fd_inception_tf", "inception_tf"): ("FID", "tf-inception"),
    ("is", "inception"): ("IS", "clean-fid"), ("is_inception_tf", "inception_tf"): ("IS", "tf-inception"),
}  # fmt: skip


def scored_rows(results: Path) -> list[Row]:
    """The scores under a folder of results that have a counterpart in the literature; of a trained run, the last's.

    Records that cannot be read are passed over here: `check` and the reports name them.
    """
    rows = []
    for file in sorted(results.glob("*/metrics.json")):
        try:
            record = read_json(file)
            rows += _scored(record)
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
    return rows


def _scored(record: dict) -> list[Row]:
    kinds = {"external": "external", "done": "ours"}
    if record["status"] not in kinds:
        return []
    kind, rows = kinds[record["status"]], []
    for entry in record["metrics"]:
        name = IN_THE_LITERATURE.get((entry["name"], entry["extractor"]))
        if name is None or entry["checkpoint"] != "last":
            continue
        run = typed("run", record["run"], PLACE)
        rows.append(Row(run.get("name") or record["id"], run.get("model", ""), run.get("augment", ""), "",
                        run["dataset"], run["resolution"], run["fraction"], None, name[0], float(entry["value"]),
                        entry["sd"], None, entry["n_generated"], entry.get("reference", "train"),
                        entry["n_reference"], name[1], "", record["id"], entry["name"], "", kind=kind))
    return rows


RECORD = {"id": str, "run": dict, "status": str, "images_sha256": str, "dataset": dict, "evaluated": list,
          "metrics": list, "provenance": dict, "seconds": dict}  # fmt: skip
PLACE = {"dataset": str, "resolution": int, "fraction": float | int}
SUBJECT = PLACE | {"name": str, "seed": int}
ENTRY = {"name": str, "value": float | int, "better": str, "n_generated": int, "n_reference": int, "extractor": str,
         "extractor_sha256": str, "resize": str}  # fmt: skip


def external_id(name: str, dataset: str, resolution: int, fraction: float, seed: int) -> str:
    """The name of the record of images that other code made."""
    return f"external-{name}-{dataset}-{resolution}-f{float(fraction)}-s{seed}"


def record_faults(results: Path) -> list[str]:
    """The first fault of each record of external scores under a folder of results that has one."""
    faults = []
    for file in sorted(results.glob("external-*/metrics.json")):
        try:
            read_record(file)
        except InputError as error:
            faults.append(str(error))
    return faults


def read_record(file: Path, remedy: str = "") -> dict:
    """A record of external scores. Raises InputError that names what is wrong with it."""
    record = read_json(file, RECORD, remedy)
    run = typed(f"{file}: run", record["run"], SUBJECT, remedy)
    wanted = {"id": external_id(run["name"], run["dataset"], run["resolution"], run["fraction"], run["seed"]),
              "status": "external"}  # fmt: skip
    _require_same(f"{file}", record, wanted, remedy)
    _require_same(f"{file}", record, {"id": file.parent.name}, remedy)
    if not re.fullmatch("[0-9a-f]{64}", record["images_sha256"]):
        raise InputError(f"{file}: images_sha256 must be 64 hexadecimal digits{then(remedy)}")
    if not record["metrics"]:
        raise InputError(f"{file}: no metrics{then(remedy)}")
    for i, entry in enumerate(record["metrics"]):
        where = f"{file}: metrics[{i}]"
        if typed(where, entry, ENTRY, remedy)["better"] not in ("lower", "higher"):
            raise InputError(f"{where}: better must be lower or higher{then(remedy)}")
    return record


def _require_same(where: str, record: dict, wanted: dict[str, str], remedy: str) -> None:
    for key, value in wanted.items():
        if record[key] != value:
            raise InputError(f"{where}: {key!r} is {record[key]!r}, must be {value!r}{then(remedy)}")


def check(results: Path) -> int:
    """Print every fault to stderr. Returns the exit status."""
    rows, faults = parse()
    faults += record_faults(results)
    for fault in faults:
        print(f"error: {fault}", file=sys.stderr)
    if faults:
        return InputError.status
    records = len(list(results.glob("external-*/metrics.json")))
    print(f"{FILE.name}: {len(rows)} numbers, {len(repeats(rows))} of them quoted from another row; "
          f"{len(match_a_cell(rows))} FIDs match a cell of the paper. {results}: {records} external scores")
    return 0


def main() -> int:
    return check(existing_folder("RESULTS", options(sys.argv[1:], {"RESULTS": "results"})["RESULTS"]))


if __name__ == "__main__":
    command(main)
