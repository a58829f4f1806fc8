"""The document model of the reports: sections of tables, figures and lines, as Markdown, LaTeX and HTML.

Every text in it is Markdown: **bold**, `code` and [links](address). LaTeX and HTML tables come from pandas' Styler.
"""

import html
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

LINK = re.compile(r"\[((?:[^][]|\[[^][]*\])+)\]\(([^()\s]+)\)")
BOLD, CODE = re.compile(r"\*\*(.+?)\*\*"), re.compile(r"`([^`]+)`")
LONG = 40  # characters, from which the places of a table are prose and may break
VERDICTS = {"supported": "good", "better": "good", "contradicted": "bad", "worse": "bad", "not consistent": "bad"}


@dataclass
class Grid:
    """A table of texts. Its index and columns name the rows and columns, on one or several levels."""

    text: pd.DataFrame
    caption: str


@dataclass
class Figure:
    """A picture, the file that it is written to, and what it shows in whole sentences. Without data it is there."""

    file: str
    caption: str
    data: bytes | None = None
    folder: str = ""  # where it lies, as seen from the page


@dataclass
class Section:
    """A part of a report. The page folds what is not for all."""

    heading: str
    parts: list[Grid | Figure | str]
    folded: bool = False


def simple(rows: Iterable[dict] | pd.DataFrame, caption: str, labels: int = 1) -> list[Grid]:
    """A grid from one dictionary for each row, of which the first `labels` columns name the row; [] without rows."""
    frame = pd.DataFrame(rows, dtype=object)
    if frame.empty:
        return []
    text = frame.where(frame.notna(), "-").map(_text)
    return [Grid(text.set_index(list(text.columns[:labels])), caption)]


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.2f}" if abs(value) >= 0.1 else f"{value:.2g}"
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    if isinstance(value, dict):
        return ", ".join(f"{name}: {number:.3g}" for name, number in value.items())
    return f"{value:,}" if isinstance(value, int) else str(value)


def plain(text: str) -> str:
    """A text without its links."""
    return LINK.sub(r"\1", text)


# --- Markdown ---------------------------------------------------------------------------------------------------------


def report(title: str, sections: Iterable[Section], problems: Iterable[str] = ()) -> str:
    """A whole Markdown file."""
    text = [f"# {title}"]
    for section in sections:
        if section.heading:
            text.append(f"## {section.heading}")
        text += map(markdown, section.parts)
    text += [f"Left out: {problem}" for problem in problems]
    return re.sub(r"(?m)^(- .*)\n\n(?=- )", r"\1\n", "\n\n".join(text)) + "\n"


def markdown(part: Grid | Figure | str) -> str:
    """Levels of a table's header stand side by side, since Markdown knows only one."""
    if isinstance(part, str):
        return f"- {part}"
    if isinstance(part, Figure):
        return f"![]({part.file})\n\n{part.caption}"
    flat = part.text.map(plain).reset_index().astype(str)
    numbers = flat.apply(lambda column: column.str.match(r"[-+*\d]|$").all())  # which stand to the right
    header = flat.columns.map(lambda levels: levels if isinstance(levels, str) else " ".join(map(str, levels)).strip())
    lines = []
    for line in (header, numbers.map({True: "---:", False: "---"}), *flat.values.tolist()):
        escaped = [text.replace("|", "\\|").replace("<", "&lt;") for text in line]
        lines.append(f"| {' | '.join(escaped)} |")
    table = "\n".join(lines)
    return f"{table}\n\n{part.caption}".strip()


# --- LaTeX ------------------------------------------------------------------------------------------------------------


def latex(grid: Grid) -> str:
    """A tabular that needs the package booktabs."""
    styler = grid.text.map(plain).style.format(lambda text: BOLD.sub(r"\\textbf{\1}", text), escape="latex")
    styler = styler.format_index(escape="latex", axis=0).format_index(escape="latex", axis=1)
    caption = re.sub(r"([_%&#$])", r"\\\1", grid.caption)
    return styler.to_latex(hrules=True, multicol_align="c", multirow_align="naive", caption=caption)


# --- HTML -------------------------------------------------------------------------------------------------------------


def document(title: str, body: str) -> str:
    """A whole HTML file: one style, nothing fetched from anywhere, no script."""
    style = (Path(__file__).parent / "style.css").read_text("utf-8")
    return (f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<meta name="viewport" '
            f'content="width=device-width, initial-scale=1">\n<title>{html.escape(title)}</title>\n'
            f"<style>\n{style}</style>\n</head>\n<body>\n{body}</body>\n</html>\n")  # fmt: skip


def chapter(anchor: str, heading: str, parts: list[Section | Grid | Figure | str]) -> str:
    """What stands below a heading that can be linked to; nothing without any."""
    if not parts:
        return ""
    return f'<h2 id="{html.escape(anchor)}">{html.escape(heading)}</h2>\n{part_html(Section("", parts))}'


def part_html(part: Section | Grid | Figure | str) -> str:
    if isinstance(part, Section):
        body, heading = "".join(map(part_html, part.parts)), html.escape(part.heading)
        if part.folded:
            return f"<details><summary>{heading}</summary>\n{body}</details>\n"
        return f"<h3>{heading}</h3>\n{body}" if heading else body
    if isinstance(part, str):
        return f"<p>{_inline(html.escape(part))}</p>\n"
    if isinstance(part, Grid):
        return _grid_html(part)
    address, caption = f"{part.folder}/{part.file}", html.escape(part.caption)
    return ('<figure><div class="scroll wide" tabindex="0" role="region" aria-label="figure">'
            f'<img src="{address}" alt="{caption}" loading="lazy"></div>'
            f'<figcaption>{caption} <a href="{address}">{part.file}</a></figcaption></figure>\n')  # fmt: skip


def _inline(escaped: str) -> str:
    text = CODE.sub(r"<code>\1</code>", BOLD.sub(r"<b>\1</b>", escaped))
    return LINK.sub(r'<a href="\2">\1</a>', text)


def _grid_html(grid: Grid) -> str:
    """A table that scrolls sideways in a narrow window, and by keyboard."""
    caption, kind = html.escape(grid.caption), "scroll"
    styler = grid.text.style.format(_place_html, escape="html")
    styler = styler.format_index(escape="html", axis=0).format_index(escape="html", axis=1)
    table = styler.to_html(exclude_styles=True, caption=f"<span>{caption}</span>")
    if len(grid.text.columns) + grid.text.index.nlevels > 3:
        kind += " wide"
    if grid.text.map(plain).map(len).max(axis=None) > LONG:
        kind += " prose"
    return f'<div class="{kind}" tabindex="0" role="region" aria-label="{caption}">\n{table}</div>\n'


def _place_html(escaped: str) -> str:
    """A place of a table: its numbers do not break, and a verdict has a colour."""
    text = re.sub(r" (?=[±%(])|(?<=±) ", "\u00a0", escaped)
    if text in VERDICTS:
        return f'<span class="{VERDICTS[text]}">{text}</span>'
    return _inline(text)
