"""What the commands write: a table's folder, a comparison, the benches, or everything with the page in front."""

import sys
from pathlib import Path

from benchmarks.tables import TABLES
from reports.data.folders import claim_reports, write
from reports.data.records import Results, read
from reports.data.views import View, view
from reports.show import field
from reports.show.bench import benches
from reports.show.claims import judge_all
from reports.show.compare import compared, comparison, extra_methods, measured
from reports.show.evidence import evidence
from reports.show.figures import figures
from reports.show.grids import Section, report
from reports.show.page import Part, page
from reports.show.samples import sheet
from reports.show.tables import sections, seeds_csv, summary_csv, to_latex


def tables(results: Path, reports: Path, names: list[str], iterations: int | None = None) -> int:
    """The folder of each table; "bench" stands for all measurements of the suite itself."""
    claim_reports(results, reports)
    found = read(results)
    for name in names:
        if name == "bench":
            _write_benches(results, reports, found.problems)
        else:
            _say(_table(found, view(found, name, iterations), reports), reports)
    _say_left_out(found)
    return 0


def everything(results: Path, reports: Path) -> int:
    """Every table, the claims, the benches, the comparisons that there are records for, and the page."""
    claim_reports(results, reports)
    found = read(results)
    parts = [_table(found, view(found, name), reports) for name in TABLES]
    judged = judge_all({part.view.name: part.view for part in parts}, results)
    write(reports / "claims.md", report("Claims of the paper", judged.sections(), found.problems))
    compares = []
    for part in parts:
        for method in extra_methods(found, part.view):
            compares.append(_comparison(found, reports, part.view.name, method)[0])
    suite = _write_benches(results, reports, found.problems)
    fields = field.render(results, reports)
    write(reports / "index.html", page(found, reports, parts, judged, compares, suite, fields))
    _say_left_out(found)
    print(f"wrote {reports / 'index.html'}, claims.md and a folder for each table")
    return 0


def comparison_of(results: Path, reports: Path, method: str, table: str, iterations: int | None = None) -> int:
    """A method beside a table; 1 unless every cell has it."""
    claim_reports(results, reports)
    found = read(results)
    part, complete = _comparison(found, reports, table, method, iterations)
    _say(part, reports)
    _say_left_out(found)
    return 0 if complete else 1


def _table(found: Results, made: View, reports: Path) -> Part:
    """A table's folder: the table, its CSVs and records, the figures, and the sample sheet."""
    folder, drawn = reports / made.folder, figures(made, found)
    part = Part(made, sections(made, found), drawn)
    _write_folder(found, part, folder)
    for path in folder.glob("*.svg"):
        if path.stem not in [figure.name for figure in drawn]:
            path.unlink()
    for figure in drawn:
        write(folder / f"{figure.name}.svg", figure.svg)
    samples = sheet(made, found)
    if samples:
        write(folder / "samples.png", samples)
    part.samples = (folder / "samples.png").exists()
    return part


def _comparison(found: Results, reports: Path, table: str, method: str, iterations=None) -> tuple[Part, bool]:
    made, pairs = compared(found, table, method, iterations)
    made.folder = f"compare/{method}/{made.folder}"
    part = Part(made, comparison(made, pairs, method), [], method)
    _write_folder(found, part, reports / made.folder)
    return part, measured(made, pairs) == len(pairs)


def _write_folder(found: Results, part: Part, folder: Path) -> None:
    made = part.view
    write(folder / "table.md", report(made.table.title, part.sections, found.problems))
    write(folder / "table.tex", to_latex(made, part.sections))
    write(folder / "table.csv", summary_csv(made))
    if len(made.values):
        write(folder / "seeds.csv", seeds_csv(made))
        write(folder / "records.html", evidence(made, found.folder, folder))
    else:  # nothing may stay that an earlier rendering had more to say about
        (folder / "seeds.csv").unlink(missing_ok=True)
        (folder / "records.html").unlink(missing_ok=True)


def _write_benches(results: Path, reports: Path, problems: list[str]) -> dict[str, Section]:
    suite = benches(results, problems)
    for name, section in suite.items():
        write(reports / "bench" / f"{name}.md", report(section.heading, [Section("", section.grids, section.lines)]))
    return suite


def _say(part: Part, reports: Path) -> None:
    shown = [section for section in part.sections if not section.folded]
    print(f"{report(part.view.table.title, shown)}\nwrote {reports / part.view.folder}")


def _say_left_out(found: Results) -> None:
    for problem in dict.fromkeys(found.problems):
        print(f"left out: {problem}", file=sys.stderr)
