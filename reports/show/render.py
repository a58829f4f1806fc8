"""What the commands write: a table's folder, a comparison, the benches, or everything with the page in front."""

import sys
from pathlib import Path

from benchmarks.tables import TABLES
from reports.data.folders import claim_reports, write
from reports.data.records import Results, read
from reports.data.views import view
from reports.show import claims, field
from reports.show.bench import benches
from reports.show.compare import beside, compared, comparison, measured
from reports.show.document import Figure, Section, report
from reports.show.evidence import evidence
from reports.show.figures import figures
from reports.show.page import Part, page
from reports.show.tables import sections, seeds_csv, summary_csv, to_latex
from reports.show.words import relative


def tables(results: Path, reports: Path, names: list[str], iterations: int | None = None) -> int:
    """The folder of each table; "bench" stands for all measurements of the suite itself."""
    claim_reports(results, reports)
    found = read(results)
    for name in names:
        if name == "bench":
            _write_benches(results, reports, found.problems)
        else:
            _say(_table(found, name, reports, iterations), reports)
    _say_left_out(found)
    return 0


def everything(results: Path, reports: Path) -> int:
    """Every table, the claims, the benches, the comparisons that there are records for, and the page."""
    claim_reports(results, reports)
    found = read(results)
    parts = [_table(found, name, reports) for name in TABLES]
    findings = claims.judge_all([part.view for part in parts], results)
    write(reports / "claims.md", report("Claims of the paper", claims.sections(findings), found.problems))
    suite = _write_benches(results, reports, found.problems)
    fields = field.render(results, reports)
    write(reports / "records.html", evidence(found, relative(results, reports)))
    write(reports / "index.html", page(found, reports, parts, findings, suite, fields))
    _say_left_out(found)
    print(f"wrote {reports / 'index.html'}, claims.md and a folder for each table")
    return 0


def comparison_of(results: Path, reports: Path, method: str, table: str, iterations: int | None = None) -> int:
    """A method beside a table; 1 unless every cell has it."""
    claim_reports(results, reports)
    found = read(results)
    made, pairs = compared(found, table, method, iterations)
    part = Part(made, comparison(made, pairs, method))
    _write_folder(found, part, reports)
    _say(part, reports)
    _say_left_out(found)
    return int(measured(made, pairs) < len(pairs))


def _table(found: Results, name: str, reports: Path, iterations: int | None = None) -> Part:
    """A table's folder. Its figures stand after what answers its question."""
    made = view(found, name, iterations)
    drawn = figures(made, found, reports / made.folder)
    shown = sections(made, found) + beside(found, made)
    if drawn:
        shown.append(Section("Figures", drawn, folded=not len(made.values)))
    part = Part(made, sorted(shown, key=lambda section: section.folded))
    for path in (reports / made.folder).glob("*.svg"):
        if path.name not in [figure.file for figure in drawn]:
            path.unlink()
    _write_folder(found, part, reports)
    return part


def _write_folder(found: Results, part: Part, reports: Path) -> None:
    """The table, its CSVs, and its pictures."""
    made, folder = part.view, reports / part.view.folder
    write(folder / "table.md", report(made.table.title, part.sections, found.problems))
    write(folder / "table.tex", to_latex(made, part.sections))
    write(folder / "table.csv", summary_csv(made))
    if part.measured:
        write(folder / "seeds.csv", seeds_csv(made))
    else:  # nothing may stay that an earlier rendering had more to say about
        (folder / "seeds.csv").unlink(missing_ok=True)
    for section in part.sections:
        for figure in section.parts:
            if isinstance(figure, Figure) and figure.data:
                write(folder / figure.file, figure.data)


def _write_benches(results: Path, reports: Path, problems: list[str]) -> dict[str, Section]:
    suite = benches(results, problems)
    for name, section in suite.items():
        write(reports / "bench" / f"{name}.md", report(section.heading, [Section("", section.parts)]))
    return suite


def _say(part: Part, reports: Path) -> None:
    shown = [section for section in part.sections if not section.folded]
    print(f"{report(part.view.table.title, shown)}\nwrote {reports / part.view.folder}")


def _say_left_out(found: Results) -> None:
    for problem in dict.fromkeys(found.problems):
        print(f"left out: {problem}", file=sys.stderr)
