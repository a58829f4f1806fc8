"""index.html: the question and its answer, a picture, then the claims, the tables and all the rest.

records.html: behind each of its numbers the seeds, their records, and how they were made and measured.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from benchmarks.field import DATASETS
from benchmarks.tables import TUNING
from reports.data.records import Results, cell_id
from reports.data.views import View, decimals, off_table
from reports.show import claims
from reports.show.claims import BENCH, CONSISTENT, INCONSISTENT, OPEN, OURS, PAPER, UNPUBLISHED, UNTESTABLE, Finding
from reports.show.contest import contest, in_words, is_judged
from reports.show.document import Figure, Grid, Section, chapter, document, part_html, simple
from reports.show.tables import coverage
from reports.show.words import NOTHING, linked, relative, title

DOI = "10.12677/aam.2023.123139"
INTRODUCTION = (
    f"The paper ([Adv. Appl. Math. 12(3), 2023, doi {DOI}](https://doi.org/{DOI})) adds to any discriminator's loss "
    "the squared difference between the norms of its gradients at real and at generated images, and reports better "
    "images in every cell of its tables. This page puts its claims to the test. The regularizer, R, here called "
    "gradgap, is a reconstruction from the paper's words, since its equations are lost; a tuned weight is the best of "
    "a few on a seed of its own. Where FID is out of reach, fd_effnet stands in: the Frechet distance between features "
    "of EfficientNet-Lite0, which must not be compared with an FID. For both, lower is better.")
FIELD = ("What others published for each data set, ranked within one protocol only, with the paper's numbers and ours "
         f"in place: {', '.join(f'[{dataset}](field/{dataset}.md)' for dataset in DATASETS)}.")
QUESTION = "Do GANs trained on few images get better when the discriminator's gradient norms are held equal?"
ROOT = Path(__file__).parents[2]  # of the project, with the Makefile
WORDS = {CONSISTENT: "consistent with", INCONSISTENT: "not consistent with", OPEN: "not enough evidence for",
         UNPUBLISHED: "nothing is published for"}  # fmt: skip
MADE = ["status", "commit", "dirty", "device", "threads", "versions", "data_digest"]
FILES = {"table.csv": "table.csv", "seeds.csv": "seeds.csv (every seed)", "table.tex": "LaTeX", "table.md": "Markdown"}


@dataclass
class Part:
    """What was rendered of a table."""

    view: View
    sections: list[Section]


def page(results: Results, reports: Path, parts: list[Part], findings: dict[str, list[Finding]],
         benches: dict[str, Section]) -> str:  # fmt: skip
    """The whole page."""
    root, records = relative(ROOT, reports), relative(results.folder, reports)
    ordered = sorted(parts, key=lambda part: (part.view.name == "smoke", part.view.values.empty))
    picture = _taken_picture(ordered)
    body = chapter("claims", "The claims", [*claims.sections(findings), "[claims.md](claims.md)"])
    for part in ordered:
        left = [section for section in part.sections if section.parts]  # without what has lost its only figure
        body += chapter(part.view.name, part.view.table.title, [*left, _files(part, root)])
    body += chapter("bench", "The suite, measured", _benches(benches, records))
    body += chapter("field", "The field", [FIELD])
    body += chapter("others", "Other runs", _other_runs(results, parts))
    body += chapter("left-out", "Left out", list(dict.fromkeys(results.problems)))
    introduction = part_html(f"{INTRODUCTION} [How to run it]({root}/README.md).")
    answer = part_html(_answer(ordered, findings))
    top = f'<h1>{QUESTION}</h1>\n{introduction}<div class="answer">\n{answer}</div>\n{part_html(picture)}'
    return document("Gradient-norm-gap benchmark: results", top + _navigation(body) + body)


def _answer(parts: list[Part], findings: dict[str, list[Finding]]) -> Section:
    """A few sentences made from the contests and the verdicts."""
    lines = [f"Did it reproduce? The paper's {OURS} are not run yet: they need a GPU."]
    if OURS in findings:
        lines = [f"Did it reproduce? The paper's {OURS}: {_sentence(findings[OURS])}"]
    for view in [part.view for part in parts]:
        if view.name in findings:
            found = contest(view)
            if found:
                lines.append(f"Where data are fewest, on the {view.name} table: {in_words(view, found, 'gradgap')}")
            lines.append(f"Of the claims, on the {view.name} table ({coverage(view).removesuffix('.')}): "
                         f"{_sentence(findings[view.name])}")  # fmt: skip
    for cost in findings[BENCH]:
        if cost.verdict != OPEN:
            lines.append(f"Cost: {cost.effect} (\"almost nothing\" is {cost.verdict}).")
    return Section("", [*lines, f"The paper's own numbers, single runs, are {_sentence(findings[PAPER])}"])


def _sentence(found: list[Finding]) -> str:
    """Which claims have which verdict: those with evidence in words and with their size, the others by name."""
    names: dict[str, list[str]] = {}
    for finding in found:
        name = finding.claim.name
        if finding.verdict not in (OPEN, UNTESTABLE, UNPUBLISHED):
            size = re.match(r"[-+][\d.]+ %", finding.effect)
            name += f' "{finding.claim.statement}" ({size[0]})'
        names.setdefault(finding.verdict, []).append(name)
    return "; ".join(f"{WORDS.get(verdict, f'{verdict}:')} {', '.join(names[verdict])}" for verdict in names) + "."


def _taken_picture(parts: list[Part]) -> Section:
    """The first figure of a measured table that has verdicts, else of the paper's numbers, taken out of its place."""
    measured = [part for part in parts if len(part.view.values) and is_judged(part.view)]
    printed = [part for part in reversed(parts) if len(part.view.published)]
    for section in [section for part in measured + printed for section in part.sections]:
        if isinstance(section.parts[0], Figure):
            return Section("", [section.parts.pop(0)])
    return Section("", [])


def _navigation(body: str) -> str:
    """Links to the headings that have an anchor."""
    links = []
    for anchor, heading in re.findall(r'<h2 id="([^"]+)">(.*?)</h2>', body):
        links.append(f'<a href="#{anchor}">{heading.partition(". ")[0]}</a>')
    return f"<nav>{' '.join(links)}</nav>\n"


def _files(part: Part, root: str) -> str:
    made = f"made with [make {part.view.name}]({root}/Makefile)"
    if part.view.values.empty:
        return f"Not {made} yet."
    links = [f"[{text}]({part.view.name}/{file})" for file, text in FILES.items()]
    return f"{', '.join(links)}; {made}"


def _benches(benches: dict[str, Section], records: str) -> list[Section]:
    shown = []
    for name, section in benches.items():
        links = f"[record]({records}/bench/{name}.json), [Markdown](bench/{name}.md)"
        shown.append(Section(section.heading, [*section.parts, links], folded=True))
    return shown


def _other_runs(results: Results, parts: list[Part]) -> list[Grid]:
    """Runs that belong to no table: a data set of one's own, other lengths of training."""
    others = results.frame[results.frame["seed"] < TUNING]
    for part in parts:
        beside = map(cell_id, off_table(results, part.view))
        others = others[~others["cell"].isin([*part.view.cells.index, *beside])]
    rows = [{"run": f"{cell}-s*", "seeds": linked(str(count), cell)}
            for cell, count in others.groupby("cell")["seed"].nunique().items()]
    return simple(rows, "Runs of no table; each leads to its scores.")


def records_page(results: Results, reports: Path) -> str:
    """A chapter for each cell that has records, of any table or of none."""
    address = relative(results.folder, reports)
    shown = results.frame[results.frame["seed"] < TUNING]
    body = "<h1>Records</h1>\n<p><a href='index.html'>all results</a></p>\n"
    for cell, rows in shown.groupby("cell", sort=False):
        lines = []
        for row in rows.drop_duplicates("seed").to_dict("records"):
            facts = ", ".join(f"{name} {row[name]}" for name in MADE)
            lines.append(f"Seed {row['seed']}: [{row['record']}]({address}/{row['record']}), {facts}.")
        body += chapter(cell, cell, [*_values(rows), *lines])
    return document("Records", body)


def _values(rows: pd.DataFrame) -> list[Grid]:
    """A row for each metric and protocol, a column for each seed; [] where all diverged."""
    shown = rows[rows["checkpoint"].isin(["last", "best"])]
    wide = shown.pivot_table(index=["metric", "protocol"], columns="seed", values="value", sort=False)
    text = {}
    for (metric, protocol), row in wide.iterrows():
        text[title(metric), protocol] = row.map(f"{{:.{decimals(metric)}f}}".format).replace("nan", NOTHING)
    caption = "The mean over the draws. Scores of generators kept on the way are in the records."
    return [Grid(pd.DataFrame(text).T, caption)] if text else []
