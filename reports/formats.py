"""One table of text in the three formats of a report: Markdown, LaTeX and HTML."""

import html
from itertools import groupby
from typing import NamedTuple


class Text(NamedTuple):
    """What stands in one place of a table, and where it comes from (shown to a reader who points at it)."""

    text: str
    source: str = ""


class Grid(NamedTuple):
    """A table: for each column its header, from the top level down, and rows of Text. The first `labels` columns
    name the row; "" in them repeats the row above."""

    header: list[tuple[str, ...]]
    rows: list[list[Text]]
    labels: int


def markdown(grid: Grid) -> str:
    """Levels of the header side by side: Markdown knows only one."""
    header = [" ".join(filter(None, levels)) for levels in grid.header]
    rule = ["---"] * grid.labels + ["---:"] * (len(header) - grid.labels)
    rows = [header, rule, *([_markdown(text.text) for text in row] for row in grid.rows)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _markdown(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def latex(grid: Grid) -> str:
    """A tabular; needs the package booktabs."""
    lines = [f"\\begin{{tabular}}{{{'l' * grid.labels}{'r' * (len(grid.header) - grid.labels)}}}", "\\toprule"]
    for level in _levels(grid.header):
        lines.append(_latex_row(f"\\multicolumn{{{n}}}{{c}}{{{_latex(name)}}}" if n > 1 and name else
                                " & ".join([_latex(name)] * n) for name, n in level))
    for number, row in enumerate(grid.rows):
        lines += ["\\midrule"] if row[0].text or not number else []
        lines.append(_latex_row(_latex(text.text) for text in row))
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}"])


def _latex_row(cells) -> str:
    return " & ".join(cells) + " \\\\"


def _latex(text: str) -> str:
    for sign, macro in (("_", "\\_"), ("%", "\\%"), ("&", "\\&"), ("#", "\\#"), ("±", "$\\pm$")):
        text = text.replace(sign, macro)
    return text


def to_html(grid: Grid, caption: str) -> str:
    """A table that scrolls sideways in a narrow window."""
    head = "".join(f"<tr>{''.join(_heading(name, n) for name, n in level)}</tr>\n"
                   for level in _levels(grid.header) if any(name for name, _ in level))
    body = "".join(_html_row(row, grid.labels) for row in grid.rows)
    return (f'<div class="scroll" tabindex="0" role="region" aria-label="{html.escape(caption)}"><table>\n'
            f"<thead>\n{head}</thead>\n<tbody>\n{body}</tbody></table></div>\n")


def _heading(name: str, columns: int) -> str:
    return f'<th scope="colgroup" colspan="{columns}">{html.escape(name)}</th>' if name else "<td></td>" * columns


def _html_row(row: list[Text], labels: int) -> str:
    cells = [f'<th scope="row">{html.escape(text.text)}</th>' for text in row[:labels]]
    for text, source in row[labels:]:
        title = f' title="{html.escape(source)}"' if source else ""
        together = text.replace("± ", "±\u00a0").replace(" (n", "\u00a0(n")  # where a narrow cell must not break
        cells.append(f"<td{title}>{html.escape(together)}</td>")
    return f"<tr{' class=first' if row[0].text else ''}>{''.join(cells)}</tr>\n"


def _levels(header: list[tuple[str, ...]]) -> list[list[tuple[str, int]]]:
    """The levels of a header: (name, columns). Neighbours are one where they are equal, and so is all above them."""
    return [[(above[-1], len(list(group))) for above, group in groupby(levels[:depth] for levels in header)]
            for depth in range(1, len(header[0]) + 1)]
