"""reports/index.html: the question and its answer, a picture, then the claims, the tables and all the rest."""

import re
from dataclasses import dataclass
from pathlib import Path

from reports.data.records import GAP, Results
from reports.data.views import TUNING, View, values_of
from reports.show.claims import CLAIMS, NOTES, OPEN, PAPER, Finding, Judged
from reports.show.document import bullets, document, folded, link, paragraphs
from reports.show.figures import Figure
from reports.show.grids import html, simple
from reports.show.tables import Section, relative
from reports.show.words import score, title

DOI = "10.12677/aam.2023.123139"
QUESTION = "Do GANs trained on few images get better when the discriminator's gradient norms are held equal?"
ROOT = Path(__file__).parents[2]  # of the project, with the Makefile
SAID = ("supported", "contradicted", "consistent", "not consistent")
PHRASES = {"supported": "supported:", "contradicted": "contradicted:", "consistent": "consistent with",
           "not consistent": "not consistent with", "not enough evidence": "not enough evidence for",
           "not testable here": "not testable here:", "nothing published": "nothing is published for"}  # fmt: skip
WORDS = {"supported": "good", "contradicted": "bad", "not consistent": "bad"}


@dataclass
class Part:
    """What was rendered of a table, or of the comparison of a method on one."""

    view: View
    sections: list[Section]
    figures: list[Figure]
    samples: bool
    method: str = ""

    @property
    def measured(self) -> bool:
        return len(self.view.values) > 0

    @property
    def anchor(self) -> str:
        return self.view.folder.replace("/", "-")


def page(results: Results, reports: Path, parts: list[Part], judged: Judged, compares: list[Part],
         benches: dict[str, Section], fields: list[Path]) -> str:  # fmt: skip
    """The whole page. `fields` are the files with the published numbers of each data set."""
    root = relative(ROOT, reports)
    ordered = sorted(parts, key=lambda part: (part.view.name == "smoke", not part.measured))
    picture = _picture(ordered, judged)
    body = [f"<h1>{QUESTION}</h1>\n", _introduction(root), _answer(judged)]
    if picture:
        body.append(_figure(*picture))
    body += [_navigation(ordered, compares, benches), _claims(judged)]
    for part in ordered:
        body.append(_table(part, root, picture))
    if compares:
        body.append('<h2 id="compare">Comparisons</h2>\n')
    for part in compares:
        body.append(_comparison(part, root))
    body.append(_benches(benches, results, reports, root))
    body.append(_fields(fields, reports))
    body.append(_other_runs(results, reports, parts + compares))
    problems = list(dict.fromkeys(results.problems))
    if problems:
        body.append(f'<h2 id="left-out">Left out</h2>\n{bullets(problems)}')
    return document("Gradient-norm-gap benchmark: results", "".join(body))


def _introduction(root: str) -> str:
    paper = link(f"https://doi.org/{DOI}", f"Adv. Appl. Math. 12(3), 2023, doi {DOI}")
    return (f"<p>The paper ({paper}) adds to any discriminator's loss the squared difference between the norms of its "
            "gradients at real and at generated images, and reports better images in every cell of its tables. This "
            f"page puts its claims to the test. {link(f'{root}/README.md', 'How to run it')}.</p>\n")  # fmt: skip


def _answer(judged: Judged) -> str:
    """A few sentences made from the verdicts."""
    tables = "Tables 1-3"
    if tables in judged.measured:
        lines = [f"Did it reproduce? The paper's {tables}: {_sentence(judged.findings[tables])}"]
    else:
        lines = [f"Did it reproduce? The paper's {tables} are not run yet: they need a GPU."]
    for name in judged.measured:
        if name != tables:
            lines.append(f"On the table {name}: {_sentence(judged.findings[name])}")
    if judged.cost.verdict != OPEN:
        lines.append(f"Cost: {judged.cost.effect} (\"almost nothing\" is {judged.cost.verdict}).")
    lines.append(f"The paper's own numbers, single runs, are {_sentence(judged.findings[PAPER])}")
    return f'<div class="answer">\n{paragraphs(lines)}</div>\n'


def _sentence(found: dict[str, Finding]) -> str:
    """Which claims have which verdict: those with evidence in words and with their size, the others by name."""
    groups: dict[str, list[str]] = {}
    for claim in CLAIMS:
        finding = found[claim.name]
        text = claim.name
        if finding.verdict in SAID:
            size = re.match(r"[-+][\d.]+ %", finding.effect)
            text = f'{claim.name} "{claim.statement}"'
            if size:
                text += f" ({size[0]})"
        groups.setdefault(finding.verdict, []).append(text)
    order = sorted(groups, key=lambda verdict: verdict not in SAID)
    return "; ".join(f"{PHRASES[verdict]} {', '.join(groups[verdict])}" for verdict in order) + "."


def _picture(parts: list[Part], judged: Judged) -> tuple[Part, Figure] | None:
    """The effects of a measured table that has verdicts, else the first figure of the paper's numbers."""
    paper = [part for part in parts if len(part.view.published)]
    with_verdict = [part for part in parts if part.view.name in judged.measured]
    if "Tables 1-3" in judged.measured:
        with_verdict = [*paper, *with_verdict]
    for part in [*with_verdict, *reversed(paper)]:
        if part.figures:
            return part, part.figures[0]
    return None


def _figure(part: Part, figure: Figure) -> str:
    address = f"{part.view.folder}/{figure.name}.svg"
    return (f'<figure id="{part.anchor}-{figure.name}"><div class="scroll wide" tabindex="0" role="region" '
            f'aria-label="figure">{_image(address, figure.caption)}</div>'
            f"<figcaption>{figure.caption} {link(address, 'SVG')}</figcaption></figure>\n")  # fmt: skip


def _image(address: str, text: str) -> str:
    return f'<img src="{address}" alt="{text}" loading="lazy">'


def _navigation(parts: list[Part], compares: list[Part], benches: dict[str, Section]) -> str:
    links = [link("#claims", "Claims")]
    for part in parts:
        links.append(link(f"#{part.anchor}", part.view.name))
    if compares:
        links.append(link("#compare", "Comparisons"))
    if benches:
        links.append(link("#bench", "Benches"))
    links.append(link("#field", "The field"))
    return f"<nav>{' '.join(links)}</nav>\n"


def _claims(judged: Judged) -> str:
    summary = html(judged.summary())
    for word, kind in WORDS.items():
        summary = re.sub(f">{word}<", f'><span class="{kind}">{word}</span><', summary)
    named = ""
    for name, grid in judged.details().items():
        named += f"<h3>{name}</h3>\n{html(grid)}"
    return (f'<h2 id="claims">The claims</h2>\n{summary}{folded("The effect behind each verdict", named)}'
            f"{folded('How a verdict is reached', bullets(NOTES))}<p>{link('claims.md', 'claims.md')}</p>\n")


def _table(part: Part, root: str, picture: tuple | None) -> str:
    """The scores and the change in the open, the rest folded; a table without records is its published part."""
    view = part.view
    body = [f'<h2 id="{part.anchor}">{view.table.title}</h2>\n']
    command = link(f"{root}/Makefile", f"make {view.name}")
    if not part.measured:
        body += map(html, part.sections[0].grids)
        body.append(f"<p>{part.sections[0].lines[0]} Run it with <code>{command}</code>.</p>\n")
        return "".join(body) + folded("Notes", bullets(part.sections[-1].lines))
    for section in part.sections:
        content = "".join(map(html, section.grids))
        lines = paragraphs(section.lines)
        if section.heading == "Scores":
            body.append(content + lines)
        elif section.heading.startswith("Change"):
            body.append(f"<h3>{section.heading}</h3>\n{content}{lines}")
        elif section.heading != "Notes":
            body.append(folded(section.heading, content + lines))
    for figure in part.figures:
        if (part, figure) != picture:
            body.append(_figure(part, figure))
    if part.samples:
        address = f"{view.folder}/samples.png"
        body.append(folded("Samples", f'<div class="scroll">{_image(address, "samples of the generators")}</div>'
                           "<p>Drawn at fixed latents, of the first seed.</p>\n"))  # fmt: skip
    body.append(folded("Notes", bullets(part.sections[-1].lines)))
    return "".join(body) + f"<p>{_files(view)}; made with <code>{command}</code></p>\n"


def _files(view: View) -> str:
    names = {"table.csv": "table.csv", "seeds.csv": "seeds.csv (every seed)", "table.tex": "LaTeX", "table.md":
             "Markdown", "records.html": "records"}  # fmt: skip
    return ", ".join(link(f"{view.folder}/{address}", text) for address, text in names.items())


def _comparison(part: Part, root: str) -> str:
    body = [f'<h3 id="{part.anchor}">{part.method} on {part.view.name}</h3>\n']
    first, every = part.sections
    body += [*map(html, first.grids), bullets(first.lines)]
    body.append(folded(every.heading, "".join(map(html, every.grids))))
    command = link(f"{root}/Makefile", f"make compare METHOD={part.method} TABLE={part.view.name}")
    return "".join(body) + f"<p>{_files(part.view)}; made with <code>{command}</code></p>\n"


def _benches(benches: dict[str, Section], results: Results, reports: Path, root: str) -> str:
    if not benches:
        return ""
    body = ['<h2 id="bench">The suite, measured</h2>\n']
    for name, section in benches.items():
        content = "".join(map(html, section.grids))
        record = link(f"{relative(results.folder, reports)}/bench/{name}.json", "record")
        table = link(f"bench/{name}.md", "Markdown")
        body.append(folded(section.heading, f"{content}{bullets(section.lines)}<p>{record}, {table}</p>\n"))
    return "".join(body)


def _fields(fields: list[Path], reports: Path) -> str:
    """Links to the published numbers of other methods, a file for each data set."""
    links = [link(str(path.relative_to(reports)), path.stem) for path in fields]
    text = "What others published for each data set, ranked within one protocol only, with the paper's numbers and ours"
    return f'<h2 id="field">The field</h2>\n<p>{text} in place: {", ".join(links)}.</p>\n'


def _other_runs(results: Results, reports: Path, parts: list[Part]) -> str:
    """Runs that belong to no table and no comparison: a data set of one's own, other lengths of training."""
    known: set[str] = set()
    for part in parts:
        known |= set(part.view.cells.index)
    frame = results.frame
    others = frame[~frame["cell"].isin(known) & (frame["seed"] < TUNING) & (frame["checkpoint"] == "last")]
    rows, links = [], []
    for (cell, metric), values in values_of(others[others["metric"] != GAP]).groupby(["cell", "metric"]):
        if metric.startswith(("fid", "fd")):
            rows.append({"run": f"{cell}-s*", "metric": title(metric), "seeds": len(values),
                         "value": score(values["value"].mean(), values["value"].std(), metric)})  # fmt: skip
            links.append(f"{relative(results.folder, reports)}/{values['record'].iloc[0]}")
    if not rows:
        return ""
    grid = simple(rows, "Runs of no table, with the record of the first seed.", labels=2)
    grid.links = grid.text.map(lambda _: "")
    grid.links["value"] = links
    return f'<h2 id="others">Other runs</h2>\n{html(grid)}'
