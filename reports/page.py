"""`make report`: reports/index.html, one page with everything, self-contained: no network and no script.

Also writes every table, figure and claims.md of which the page is made.
"""

import argparse
import base64
from html import escape
from pathlib import Path

from benchmarks.runs import command
from benchmarks.tables import TABLES
from reports import bench, claims, figures, status, tables
from reports.check import TITLE as CHECK
from reports.check import check
from reports.formats import Grid, Text, to_html
from reports.options import parse, say_left_out
from reports.results import Record, Results, read, write
from reports.sections import members, sections

CSS = """
:root { color: #1a1a1a; background: #ffffff; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 80rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.6rem; line-height: 1.25; }
h2 { font-size: 1.3rem; margin-top: 2.5rem; padding-top: .6rem; border-top: 1px solid #767676; }
h3 { font-size: 1.05rem; margin: 1.2rem 0 .3rem; }
p, li { max-width: 46rem; }
a, summary { color: #0b57a4; }
nav a { margin-right: 1rem; display: inline-block; }
.notes, figcaption { font-size: .875rem; color: #4a4a4a; }
.notes { padding-left: 1.2rem; }
.scroll { overflow-x: auto; margin: .5rem 0; }
table { border-collapse: collapse; font-size: .8125rem; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .45rem; text-align: right; vertical-align: top; }
thead th { text-align: center; border-bottom: 1px solid #767676; background: #f0f3f7; }
tbody th { text-align: left; font-weight: 400; background: #ffffff; }
tbody th:first-child { font-weight: 600; min-width: 5.5rem; }
tbody th + th { min-width: 4.5rem; }
th:first-child, td:first-child { position: sticky; left: 0; }
tr.first > * { border-top: 1px solid #c4c4c4; }
td[title] { text-decoration: underline dotted #767676; text-underline-offset: 3px; }
.text td { text-align: left; min-width: 5rem; }
img { max-width: 100%; height: auto; }
figure { margin: 1rem 0; }
summary { cursor: pointer; margin: .5rem 0; }
"""
INTRODUCTION = """<p>This page puts our runs beside the published numbers of the paper on
<em>gradient-norm-difference regularization for GANs under limited data</em> (Advances in Applied Mathematics 12(3),
2023, doi 10.12677/aam.2023.123139). Its regularizer R penalizes the difference of the norms of the discriminator's
input gradient on real and on generated images. Every number is rendered by code from a record under results/; point at
an underlined number, or open the fold at the end of a table, to see where it comes from.</p>"""
CAPTIONS = {
    "gradient_norms": "Gradient norms (Figure 1 of the paper): mean norm of the discriminator's input gradient on real "
                      "and on generated images, and their gap, over training. Baselines and gradgap; mean over "
                      "training seeds.",
    "learning_curves": "Learning curves of the baselines and of gradgap: the losses and, where generators were kept on "
                       "the way (EVAL_EVERY), their Frechet distance, level at the end where training has converged. "
                       "Mean over training seeds.",
    "fid_by_fraction": "Score against the fraction of the data, published and ours; bars: standard deviation over "
                       "training seeds.",
    "lambda_sweep": "Sweep over lambda, the weight of the regularizer.",
    "cost": "Cost of the regularizer: training time with it over training time without it.",
    "samples": "Samples at fixed latents, of the first training seed.",
}


def render(results: Results, out: Path) -> str:
    """Write all reports under `out`; the page's text."""
    parts = [(table, _table(table, results, out)) for table in TABLES]
    found = claims.findings(results)
    nav = "".join(f'<a href="#{name}">{escape(text)}</a>' for name, text in
                  (("claims", "Claims"), ("status", "Status"), *((t, TABLES[t].title.split(".")[0]) for t in TABLES)))
    problems = [f"Left out: {problem}" for problem in results.problems]
    body = [INTRODUCTION, f"<nav>{nav}</nav>", *([_notes(problems)] if problems else []),
            '<h2 id="claims">The claims of the paper</h2>', _claims(found),
            '<h2 id="status">Status of the runs</h2>', *(_status(table, results) for table in TABLES)]
    body += [text for _, text in parts]
    return _document("\n".join(body))


def _document(body: str) -> str:
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    return (f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
            f"<title>Did it reproduce? Gradient-norm-difference regularization</title>\n<style>{CSS}</style>\n</head>\n"
            f"<body>\n<h1>Did it reproduce? Gradient-norm-difference regularization for GANs under limited data</h1>\n"
            f"{body}\n</body>\n</html>\n")


def _notes(notes: list[str]) -> str:
    return f'<ul class="notes">{"".join(f"<li>{escape(note)}</li>" for note in notes)}</ul>'


def _status(table: str, results: Results) -> str:
    header, *rows = status.grid(table, results.folder, results.runs)
    grid = Grid([(name,) for name in header], [[Text(text) for text in row] for row in rows], labels=1)
    return to_html(grid, f"Status of {table}")


def _claims(found: dict[claims.Claim, dict[str, claims.Finding]]) -> str:
    parts = [_prose(to_html(claims.summary(found), "Verdicts"))]
    for claim in claims.CLAIMS:
        parts += [f"<h3>{escape(claims.heading(claim))}</h3><p>{escape(claims.caption(claim))}</p>",
                  _prose(to_html(claims.detail(claim, found[claim]), claim.name))]
    return "".join(parts) + _notes(claims.NOTES)


def _prose(table: str) -> str:
    return f'<div class="text">{table}</div>'


def _table(table: str, results: Results, out: Path) -> str:
    """The part of the page on one table: numbers, notes, figures, provenance. Writes their files."""
    drawn = figures.render(table, results, out / table)
    tables.write_files(table, results, out / table)
    found = sections(TABLES[table].cells, results)
    parts = [f'<h2 id="{table}">{escape(TABLES[table].title)}</h2>', to_html(tables.grid(found[0]), table)]
    if trained := check(found):
        parts += [f"<h3>{escape(CHECK)}</h3>", to_html(trained, CHECK)]
    for section in found[1:]:
        parts += [f"<h3>{escape(tables.heading(section))}</h3>", to_html(tables.grid(section), tables.heading(section))]
    parts += [_notes(tables.notes(table, found, results))]
    parts += [_figure(out / table / f"{name}.png", CAPTIONS[name]) for name in drawn]
    missing = [CAPTIONS[name].split(":")[0].split(".")[0] for name in CAPTIONS if name not in drawn]
    parts += [f"<p>Not drawn, for want of runs: {escape('; '.join(missing))}.</p>"] if missing else []
    return "\n".join([*parts, _provenance(table, results)])


def _figure(path: Path, caption: str) -> str:
    data = base64.b64encode(path.read_bytes()).decode()
    return (f'<figure><img alt="{escape(caption)}" src="data:image/png;base64,{data}">'
            f"<figcaption>{escape(caption)}</figcaption></figure>")


def _provenance(table: str, results: Results) -> str:
    """A fold with a row for each record of the table."""
    runs = [run for _, run, _ in members(TABLES[table].cells, results)]
    records = [results.records[run.id] for run in runs if run.id in results.records]
    if not records:
        return ""
    header = [(name,) for name in ("run", "status", "commit", "device", "versions", "training, s", "protocol")]
    grid = Grid(header, [_row(record) for record in records], labels=7)
    title = f"Where these numbers come from ({len(records)} runs)"
    return f"<details><summary>{title}</summary>{to_html(grid, f'Runs of {table}')}</details>"


def _row(record: Record) -> list[Text]:
    origin = record.provenance
    protocols = dict.fromkeys(", ".join(f"{name} {value}" for name, value in score.protocol.items())
                              for score in record.scores)
    return [Text(str(text)) for text in (
        record.run.id, record.status, str(origin["commit"])[:10] + (" (dirty)" if origin["dirty"] else ""),
        origin["device"], ", ".join(f"{name} {version}" for name, version in origin["versions"].items()),
        f"{record.seconds['train']:.0f}", "; ".join(protocols))]


def main() -> None:
    args = parse(argparse.ArgumentParser(description="Write all tables and figures, claims.md and index.html."))
    results = read(args.results)
    page = render(results, args.out)
    write(args.out / "claims.md", claims.to_markdown(results).encode())
    write(args.out / "index.html", page.encode())
    bench.render(args.results, args.out)
    say_left_out(results)
    print(f"wrote {args.out / 'index.html'}, with the tables and figures in the folders beside it")


if __name__ == "__main__":
    command(main)
