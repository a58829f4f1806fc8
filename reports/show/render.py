"""What the commands write: a table's folder, a comparison, the benches, or everything with the page in front."""

import sys
from pathlib import Path

from benchmarks.tables import TABLES
from reports.data.folders import claim_reports, write
from reports.data.records import Results, read
from reports.data.views import View, view
from reports.show import field
from reports.show.bench import benches
from reports.show.claims import NOTES, Judged, judge_all
from reports.show.compare import compared, comparison, extra_methods, measured_everywhere
from reports.show.evidence import evidence
from reports.show.figures import figures
from reports.show.grids import markdown
from reports.show.page import Part, page
from reports.show.samples import sheet
from reports.show.tables import Section, sections, seeds_csv, summary_csv, to_latex, to_markdown


def tables(results: Path, reports: Path, names: list[str], iterations: int | None = None) -> int:
    """The folder of each table; "bench" stands for all measurements of the suite itself."""
    claim_reports(results, reports)
    found = read(results)
    for name in names:
        if name == "bench":
            _write_benches(results, reports, found.problems)
            continue
        part = _table(found, view(found, name, iterations), reports)
        print(f"{to_markdown(part.view, part.sections[:2], [])}\nwrote {reports / part.view.folder}")
    _say_left_out(found)
    return 0


def everything(results: Path, reports: Path) -> int:
    """Every table, the claims, the benches, the comparisons that there are records for, and the page."""
    claim_reports(results, reports)
    found = read(results)
    parts = []
    for name in TABLES:
        parts.append(_table(found, view(found, name), reports))
    judged = judge_all({part.view.name: part.view for part in parts}, results)
    write(reports / "claims.md", _claims_markdown(judged, found.problems))
    compares = []
    for table in TABLES:
        for method in extra_methods(found, table):
            compares.append(_comparison(found, reports, table, method)[0])
    measured = _write_benches(results, reports, found.problems)
    fields = [path for path in field.render(results, reports) if path.suffix == ".md"]
    write(reports / "index.html", page(found, reports, parts, judged, compares, measured, fields))
    _say_left_out(found)
    print(f"wrote {reports / 'index.html'}, claims.md and a folder for each table")
    return 0


def comparison_of(results: Path, reports: Path, method: str, table: str, iterations: int | None = None) -> int:
    """A method beside a table; 1 unless every cell has it."""
    claim_reports(results, reports)
    found = read(results)
    part, complete = _comparison(found, reports, table, method, iterations)
    print(f"{to_markdown(part.view, part.sections[:1], [])}\nwrote {reports / part.view.folder}")
    _say_left_out(found)
    return 0 if complete else 1


def _table(found: Results, made: View, reports: Path) -> Part:
    """A table's folder: the table, its CSVs and records, the figures, and the sample sheet."""
    folder, shown = reports / made.folder, sections(made, found)
    drawn = figures(made, found)
    _write_folder(found, made, shown, folder)
    for path in folder.glob("*.svg"):
        if path.stem not in [figure.name for figure in drawn]:
            path.unlink()
    for figure in drawn:
        write(folder / f"{figure.name}.svg", figure.svg)
    samples = sheet(made, found)
    if samples:
        write(folder / "samples.png", samples)
    return Part(made, shown, drawn, (folder / "samples.png").exists())


def _comparison(found: Results, reports: Path, table: str, method: str, iterations=None) -> tuple[Part, bool]:
    made, pairs = compared(found, table, method, iterations)
    made.folder = f"compare/{method}/{made.folder}"
    shown = comparison(made, pairs, method)
    _write_folder(found, made, shown, reports / made.folder)
    return Part(made, shown, [], False, method), measured_everywhere(made, pairs)


def _write_folder(found: Results, made: View, shown: list[Section], folder: Path) -> None:
    write(folder / "table.md", to_markdown(made, shown, found.problems))
    write(folder / "table.tex", to_latex(made, shown))
    write(folder / "table.csv", summary_csv(made))
    if len(made.values):
        write(folder / "seeds.csv", seeds_csv(made))
        write(folder / "records.html", evidence(made, found.folder, folder))
    else:  # nothing may stay that an earlier rendering had more to say about
        (folder / "seeds.csv").unlink(missing_ok=True)
        (folder / "records.html").unlink(missing_ok=True)


def _write_benches(results: Path, reports: Path, problems: list[str]) -> dict[str, Section]:
    measured = benches(results, problems)
    for name, section in measured.items():
        text = [f"# {section.heading}"]
        for grid in section.grids:
            text += [markdown(grid), grid.caption]
        lines = "\n".join(f"- {line}" for line in section.lines)
        write(reports / "bench" / f"{name}.md", "\n\n".join([*text, lines]) + "\n")
    return measured


def _claims_markdown(judged: Judged, problems: list[str]) -> str:
    text = ["# Claims of the paper", markdown(judged.summary())]
    for name, grid in judged.details().items():
        text += [f"## {name}", grid.caption, markdown(grid)]
    lines = [*NOTES, *(f"Left out: {problem}" for problem in problems)]
    return "\n\n".join([*text, "## Notes", "\n".join(f"- {line}" for line in lines)]) + "\n"


def _say_left_out(found: Results) -> None:
    for problem in dict.fromkeys(found.problems):
        print(f"left out: {problem}", file=sys.stderr)
