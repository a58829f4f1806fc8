"""Tables of text, and the sections of a report that they stand in, as Markdown, LaTeX and HTML.

LaTeX and HTML come from pandas' Styler; Markdown has no Styler.
"""

import html as escaping
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

import pandas as pd

from reports.show.document import folded, paragraphs

LONG = 40  # characters, from which the places of a table are prose and may break


@dataclass
class Grid:
    """A table: what its places say, which of them are best, and where the number of each leads to.

    text   strings; index and columns name the rows and columns, on one or several levels
    best   booleans of the same shape, or None
    links  addresses of the same shape, "" for none, or None
    """

    text: pd.DataFrame
    caption: str
    best: pd.DataFrame | None = None
    links: pd.DataFrame | None = None


@dataclass
class Section:
    """A part of a report: a heading, its grids, and lines of text below them. The page folds what is not for all."""

    heading: str
    grids: list[Grid] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    folded: bool = False


def simple(rows: Iterable[dict] | pd.DataFrame, caption: str, labels: int = 1, missing: str = "") -> Grid:
    """A grid from one dictionary for each row; the first `labels` columns name the row."""
    frame = pd.DataFrame(rows, dtype=object)
    text = frame.where(frame.notna(), missing).map(_text)
    return Grid(text.set_index(list(text.columns[:labels])), caption)


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.2f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def report(title: str, sections: Iterable[Section], problems: Iterable[str] = ()) -> str:
    """A whole Markdown file."""
    text = [f"# {title}"]
    for section in sections:
        if section.heading:
            text.append(f"## {section.heading}")
        for grid in section.grids:
            text += [markdown(grid), grid.caption]
        if section.lines:
            text.append("- " + "\n- ".join(section.lines))
    text += [f"Left out: {problem}" for problem in problems]
    return "\n\n".join(text) + "\n"


def section_html(section: Section) -> str:
    """A section of the page, below a heading of its own or folded."""
    body = "".join(map(html, section.grids)) + paragraphs(section.lines)
    if section.folded:
        return folded(section.heading, body)
    heading = f"<h3>{section.heading}</h3>\n" if section.heading else ""
    return heading + body


def markdown(grid: Grid) -> str:
    """Levels of the header stand side by side, since Markdown knows only one; the best values are bold."""
    frame = grid.text
    if grid.best is not None:
        frame = frame.where(~grid.best, "**" + frame + "**")
    labels = [name or "" for name in frame.index.names]
    header = labels + [" ".join(_levels(column)) for column in frame.columns]
    numbers = frame.apply(lambda column: column.str.match(r"[-+*\d]|$").all())  # which stand to the right
    rule = ["---"] * len(labels) + list(numbers.map({True: "---:", False: "---"}))
    lines = [header, rule]
    for index, row in zip(frame.index, frame.values.tolist(), strict=True):
        lines.append(_levels(index) + row)
    return "\n".join(_markdown_line(line) for line in lines)


def _markdown_line(line: list[str]) -> str:
    escaped = [text.replace("|", "\\|").replace("<", "&lt;") for text in line]
    return f"| {' | '.join(escaped)} |"


def _levels(name) -> list[str]:
    levels = name if isinstance(name, tuple) else (name,)
    return [str(level) for level in levels]


def latex(grid: Grid) -> str:
    """A tabular that needs the package booktabs; the best values are bold."""
    styler = grid.text.style.format(escape="latex")
    for axis in (0, 1):
        styler = styler.format_index(escape="latex", axis=axis)
    if grid.best is not None:
        bold = grid.best.map({True: "font-weight: bold", False: ""}.get)
        styler = styler.apply(lambda _: bold, axis=None)
    styler = styler.set_caption(re.sub(r"([_%&#$])", r"\\\1", grid.caption))
    return styler.to_latex(hrules=True, multicol_align="c", multirow_align="naive", convert_css=True)


def html(grid: Grid) -> str:
    """A table that scrolls sideways in a narrow window, and by keyboard; a number is a link to its evidence."""
    text = grid.text.map(escaping.escape)
    text = text.replace({" ± ": "\u00a0±\u00a0", " %": "\u00a0%", r" \(": "\u00a0("}, regex=True)
    if grid.links is not None:
        linked = '<a href="' + grid.links + '">' + text + "</a>"
        text = text.where(grid.links == "", linked)
    if grid.best is not None:
        text = text.where(~grid.best, "<b>" + text + "</b>")
    styler = text.style.set_caption(f"<span>{escaping.escape(grid.caption)}</span>")
    for axis in (0, 1):
        styler = styler.format_index(escape="html", axis=axis)
    table = styler.to_html(exclude_styles=True, table_uuid="t", sparse_columns=True)
    table = table[table.index("<table"):table.rindex("</table>") + len("</table>")]
    table = re.sub(r"<table[^>]*>", "<table>", table)
    label = escaping.escape(grid.caption, quote=True)
    kind = "scroll"
    if len(grid.text.columns) > 3:
        kind += " wide"
    if grid.text.map(len).max(axis=None) > LONG:
        kind += " prose"
    return f'<div class="{kind}" tabindex="0" role="region" aria-label="{label}">\n{table}\n</div>\n'
