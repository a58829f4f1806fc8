"""reports/index.html: the question and its answer, a picture, then the claims, the tables and all the rest."""

import re
from dataclasses import dataclass
from pathlib import Path

from reports.data.records import GAP, Results
from reports.data.views import TUNING, View, values_of
from reports.show.claims import CLAIMS, OPEN, OURS, PAPER, Finding, Judged
from reports.show.contest import champions, duels, in_words, is_judged
from reports.show.document import bullets, document, folded, link, paragraphs
from reports.show.figures import Figure
from reports.show.grids import Section, html, section_html, simple
from reports.show.tables import coverage, relative
from reports.show.words import score, title

DOI = "10.12677/aam.2023.123139"
QUESTION = "Do GANs trained on few images get better when the discriminator's gradient norms are held equal?"
ROOT = Path(__file__).parents[2]  # of the project, with the Makefile
SAID = {"supported": "supported:", "contradicted": "contradicted:", "consistent": "consistent with",
        "not consistent": "not consistent with"}  # fmt: skip
UNSAID = {"not enough evidence": "not enough evidence for", "not testable here": "not testable here:",
          "nothing published": "nothing is published for"}  # fmt: skip
WORDS = {"supported": "good", "better": "good", "contradicted": "bad", "worse": "bad", "not consistent": "bad"}
FILES = {"table.csv": "table.csv", "seeds.csv": "seeds.csv (every seed)", "table.tex": "LaTeX", "table.md": "Markdown",
         "records.html": "records"}  # fmt: skip


@dataclass
class Part:
    """What was rendered of a table, or of the comparison of a method on one."""

    view: View
    sections: list[Section]
    figures: list[Figure]
    method: str = ""
    samples: bool = False  # whether there is a sheet of them

    @property
    def measured(self) -> bool:
        return len(self.view.values) > 0

    @property
    def anchor(self) -> str:
        return self.view.folder.replace("/", "-")


def page(results: Results, reports: Path, parts: list[Part], judged: Judged, compares: list[Part],
         benches: dict[str, Section], fields: list[Path]) -> str:  # fmt: skip
    """The whole page. `fields` are the files with the published numbers of each data set."""
    root, records = relative(ROOT, reports), relative(results.folder, reports)
    ordered = sorted(parts, key=lambda part: (part.view.name == "smoke", not part.measured))
    picture = _picture(ordered)
    top = [f"<h1>{QUESTION}</h1>\n", _introduction(root), _answer(ordered, judged)]
    if picture:
        top.append(_figure(*picture))
    body = [_headed("claims", "The claims", *map(_coloured, judged.sections()), link("claims.md", "claims.md"))]
    for part in ordered:
        body.append(_table(part, root, picture))
    body += [_headed("compare", "Comparisons", *[_comparison(part, root) for part in compares]),
             _headed("bench", "The suite, measured", *[_bench(name, benches[name], records) for name in benches]),
             _headed("field", "The field", _fields(fields, reports)),
             _headed("others", "Other runs", _other_runs(results, records, parts + compares)),
             _headed("left-out", "Left out", bullets(list(dict.fromkeys(results.problems))))]  # fmt: skip
    top.append(_navigation("".join(body)))
    return document("Gradient-norm-gap benchmark: results", "".join(top + body))


def _headed(anchor: str, heading: str, *parts: str) -> str:
    """Parts below a heading; nothing without any."""
    text = "".join(parts)
    return f'<h2 id="{anchor}">{heading}</h2>\n{text}' if text else ""


def _comparison(part: Part, root: str) -> str:
    command = f"make compare METHOD={part.method} TABLE={part.view.name}"
    heading = f'<h3 id="{part.anchor}">{part.method} on {part.view.name}</h3>\n'
    return "".join([heading, *map(_coloured, part.sections), _files(part, root, command)])


def _bench(name: str, section: Section, records: str) -> str:
    files = f"<p>{link(f'{records}/bench/{name}.json', 'record')}, {link(f'bench/{name}.md', 'Markdown')}</p>\n"
    return folded(section.heading, section_html(Section("", section.grids, section.lines)) + files)


def _fields(fields: list[Path], reports: Path) -> str:
    links = [link(str(path.relative_to(reports)), path.stem) for path in fields]
    return ("<p>What others published for each data set, ranked within one protocol only, with the paper's numbers and "
            f"ours in place: {', '.join(links)}.</p>\n")  # fmt: skip


def _introduction(root: str) -> str:
    paper = link(f"https://doi.org/{DOI}", f"Adv. Appl. Math. 12(3), 2023, doi {DOI}")
    return (f"<p>The paper ({paper}) adds to any discriminator's loss the squared difference between the norms of its "
            "gradients at real and at generated images, and reports better images in every cell of its tables. This "
            f"page puts its claims to the test. {link(f'{root}/README.md', 'How to run it')}.</p>\n")  # fmt: skip


def _answer(parts: list[Part], judged: Judged) -> str:
    """A few sentences made from the contests and the verdicts."""
    lines = [f"Did it reproduce? The paper's {OURS} are not run yet: they need a GPU."]
    if OURS in judged.measured:
        lines = [f"Did it reproduce? The paper's {OURS}: {_sentence(judged.findings[OURS])}"]
    for part in parts:
        view = part.view
        if view.name in judged.measured:
            found = duels(view, champions(view))
            if found:
                lines.append(f"Where data are fewest, on the {view.name} table: {in_words(view, found, 'gradgap')}")
            lines.append(f"Of the claims, on the {view.name} table ({coverage(view).removesuffix('.')}): "
                         f"{_sentence(judged.findings[view.name])}")  # fmt: skip
    if judged.cost.verdict != OPEN:
        lines.append(f"Cost: {judged.cost.effect} (\"almost nothing\" is {judged.cost.verdict}).")
    lines.append(f"The paper's own numbers, single runs, are {_sentence(judged.findings[PAPER])}")
    return f'<div class="answer">\n{paragraphs(lines)}</div>\n'


def _sentence(found: dict[str, Finding]) -> str:
    """Which claims have which verdict: those with evidence in words and with their size, the others by name."""
    parts = []
    for verdict, phrase in (SAID | UNSAID).items():
        names = []
        for claim in CLAIMS:
            finding = found[claim.name]
            size = re.match(r"[-+][\d.]+ %", finding.effect)
            if finding.verdict == verdict and verdict in UNSAID:
                names.append(claim.name)
            elif finding.verdict == verdict:
                names.append(f'{claim.name} "{claim.statement}"' + (f" ({size[0]})" if size else ""))
        if names:
            parts.append(f"{phrase} {', '.join(names)}")
    return "; ".join(parts) + "."


def _picture(parts: list[Part]) -> tuple[Part, Figure] | None:
    """The first figure of a measured table that has verdicts, else of the paper's numbers."""
    measured = [part for part in parts if part.measured and part.figures and is_judged(part.view)]
    printed = [part for part in reversed(parts) if len(part.view.published) and part.figures]
    for part in measured + printed:
        return part, part.figures[0]
    return None


def _figure(part: Part, figure: Figure) -> str:
    address = f"{part.view.folder}/{figure.name}.svg"
    return (f'<figure id="{part.anchor}-{figure.name}"><div class="scroll wide" tabindex="0" role="region" '
            f'aria-label="figure">{_image(address, figure.caption)}</div>'
            f"<figcaption>{figure.caption} {link(address, 'SVG')}</figcaption></figure>\n")  # fmt: skip


def _image(address: str, text: str) -> str:
    return f'<img src="{address}" alt="{text}" loading="lazy">'


def _navigation(body: str) -> str:
    """Links to the headings that have an anchor."""
    links = []
    for anchor, heading in re.findall(r'<h2 id="([^"]+)">(.*?)</h2>', body):
        links.append(link(f"#{anchor}", heading.partition(". ")[0]))
    return f"<nav>{' '.join(links)}</nav>\n"


def _coloured(section: Section) -> str:
    text = section_html(section)
    for word, kind in WORDS.items():
        text = text.replace(f">{word}<", f'><span class="{kind}">{word}</span><')
    return text


def _table(part: Part, root: str, picture: tuple | None) -> str:
    """What answers first, then the figures, then the rest, folded; without records, the published part alone."""
    body, rest = [], []
    for section in part.sections:
        chosen = rest if section.folded else body
        chosen.append(_coloured(section))
    if part.measured:
        for figure in part.figures:
            if (part, figure) != picture:
                body.append(_figure(part, figure))
    if part.samples:
        sheet = _image(f"{part.view.folder}/samples.png", "samples of the generators")
        rest.insert(0, folded("Samples", f'<div class="scroll">{sheet}</div><p>Drawn at fixed latents, of the first '
                              "seed.</p>\n"))  # fmt: skip
    return _headed(part.anchor, part.view.table.title, *body, *rest, _files(part, root, f"make {part.view.name}"))


def _files(part: Part, root: str, command: str) -> str:
    made = f"<code>{link(f'{root}/Makefile', command)}</code>"
    if not part.measured:
        return f"<p>Run it with {made}.</p>\n"
    links = [link(f"{part.view.folder}/{address}", text) for address, text in FILES.items()]
    return f"<p>{', '.join(links)}; made with {made}</p>\n"


def _other_runs(results: Results, records: str, parts: list[Part]) -> str:
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
            links.append(f"{records}/{others.loc[others['cell'] == cell, 'record'].iloc[0]}")
    if not rows:
        return ""
    grid = simple(rows, "Runs of no table, with the record of the first seed.", labels=2)
    grid.links = grid.text.assign(seeds="", value=links)
    return html(grid)
