"""What the commands write: a table's folder, a comparison, the benches, or everything with the page in front."""

from pathlib import Path

from benchmarks.tables import TABLES
from reports.data.folders import write
from reports.data.records import Results
from reports.data.views import view
from reports.show import claims, field
from reports.show.bench import benches
from reports.show.compare import beside, compared, comparison, measured
from reports.show.document import Figure, Section, report
from reports.show.figures import figures
from reports.show.page import Part, page, records_page
from reports.show.tables import sections, seeds_csv, summary_csv, to_latex


def tables(found: Results, reports: Path, names: list[str]) -> None:
    """The folder of each table; "bench" stands for all measurements of the suite itself."""
    for name in names:
        if name == "bench":
            _write_benches(found, reports)
        else:
            _say(_table(found, name, reports), reports / name)


def everything(found: Results, reports: Path) -> None:
    """Every table, the claims, the benches, and the page."""
    parts = [_table(found, name, reports) for name in TABLES]
    findings = claims.judge_all([part.view for part in parts], found.folder)
    write(reports / "claims.md", report("Claims of the paper", claims.sections(findings), found.problems))
    suite = _write_benches(found, reports)
    field.render(found.folder, reports)
    write(reports / "records.html", records_page(found, reports))
    write(reports / "index.html", page(found, reports, parts, findings, suite))
    print(f"wrote {reports / 'index.html'}, claims.md and a folder for each table")


def comparison_of(found: Results, reports: Path, method: str, table: str) -> int:
    """A method beside a table; 1 unless every cell has it."""
    made, pairs = compared(found, table, method)
    part = Part(made, comparison(made, pairs, method))
    folder = reports / "compare" / method / table
    _write_folder(found, part, folder, [])
    _say(part, folder)
    return int(measured(made, pairs) < len(pairs))


def _table(found: Results, name: str, reports: Path) -> Part:
    """A table's folder. Its figures stand after what answers its question."""
    made, folder = view(found, name), reports / name
    drawn = figures(made, found, folder)
    shown = sections(made) + beside(found, made)
    if drawn:
        shown.append(Section("Figures", drawn, folded=not len(made.values)))
    part = Part(made, sorted(shown, key=lambda section: section.folded))
    _write_folder(found, part, folder, drawn)
    return part


def _write_folder(found: Results, part: Part, folder: Path, drawn: list[Figure]) -> None:
    """The table, its CSVs, and its pictures. Nothing stays that an earlier rendering had more to say about."""
    made = part.view
    files = {"table.md": report(made.table.title, part.sections, found.problems),
             "table.tex": to_latex(made, part.sections), "table.csv": summary_csv(made)}  # fmt: skip
    if len(made.values):
        files["seeds.csv"] = seeds_csv(made)
    files |= {figure.file: figure.data for figure in drawn}
    for name, data in files.items():
        if data:
            write(folder / name, data)
    for path in [*folder.glob("*.svg"), folder / "seeds.csv"]:
        if path.name not in files:
            path.unlink(missing_ok=True)


def _write_benches(found: Results, reports: Path) -> dict[str, Section]:
    suite = benches(found.folder, found.problems)
    for name, section in suite.items():
        write(reports / "bench" / f"{name}.md", report(section.heading, [Section("", section.parts)]))
    return suite


def _say(part: Part, folder: Path) -> None:
    shown = [section for section in part.sections if not section.folded]
    print(f"{report(part.view.table.title, shown)}\nwrote {folder}")
