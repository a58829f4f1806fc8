"""The frame of every HTML file of the reports: one style, nothing fetched from anywhere, no script."""

import html

STYLE = """
:root { color-scheme: light; --line: #d6d9de; --soft: #f5f6f8; --link: #0b57a4; }
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, sans-serif; color: #1c1e21; max-width: 1180px; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: .5rem 0; }
h2 { font-size: 1.25rem; margin: 2.5rem 0 .5rem; border-top: 2px solid var(--line); padding-top: 1rem; }
h3 { font-size: 1.02rem; margin: 1.4rem 0 .3rem; }
p, li { max-width: 46rem; overflow-wrap: break-word; }
a { color: var(--link); }
nav a { margin-right: .9rem; white-space: nowrap; }
.answer { border-left: 4px solid var(--link); background: var(--soft); padding: .6rem 1rem; }
.answer p { margin: .3rem 0; }
.scroll { overflow-x: auto; width: fit-content; max-width: 100%;
  border: 1px solid var(--line); border-radius: 4px; margin: .6rem 0; background:
  linear-gradient(to right, #fff 30%, transparent) 0 0 / 40px 100% no-repeat local,
  linear-gradient(to left, #fff 30%, transparent) 100% 0 / 40px 100% no-repeat local,
  linear-gradient(to right, #0004, transparent) 0 0 / 12px 100% no-repeat scroll,
  linear-gradient(to left, #0004, transparent) 100% 0 / 12px 100% no-repeat scroll; }
.scroll:focus-visible { outline: 2px solid var(--link); }
.scroll.wide::before { content: "scrolls sideways \\2192"; position: sticky; left: .5rem; font-size: .75rem;
  color: #555; display: none; }
table { border-collapse: collapse; font-size: .86rem; font-variant-numeric: tabular-nums; }
caption { caption-side: bottom; text-align: left; color: #444; padding: .4rem .6rem; font-size: .84rem; }
caption span { position: sticky; left: .6rem; display: inline-block; max-width: min(46rem, calc(100vw - 4rem)); }
th, td { padding: .25rem .6rem; text-align: right; border-bottom: 1px solid #eceef1; vertical-align: top; }
td { white-space: nowrap; }
thead th { text-align: center; }
tbody th { text-align: left; font-weight: normal; min-width: 4rem; }
tbody th:only-of-type { min-width: 10rem; }
@media (min-width: 721px) { tbody th { white-space: nowrap; } }
.prose td { text-align: left; white-space: normal; min-width: 8rem; }
.prose tbody th { min-width: 10rem; white-space: normal; }
figure { margin: 1rem 0; }
figure .scroll { width: 100%; border: 0; }
figure img { display: block; max-width: none; width: 100%; min-width: 620px; }
figcaption { color: #444; font-size: .86rem; max-width: 46rem; }
details { margin: .6rem 0; }
summary { cursor: pointer; color: var(--link); padding: .3rem 0; }
code { background: var(--soft); padding: .05rem .25rem; border-radius: 3px; }
.good { color: #0a6b3d; font-weight: 600; } .bad { color: #a3260f; font-weight: 600; }
@media (max-width: 720px) { .scroll.wide::before { display: inline-block; } body { padding: .7rem; } }
"""


def document(title: str, body: str) -> str:
    """A whole HTML file."""
    return (f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<meta name="viewport" '
            f'content="width=device-width, initial-scale=1">\n<title>{html.escape(title)}</title>\n'
            f"<style>{STYLE}</style>\n</head>\n<body>\n{body}</body>\n</html>\n")  # fmt: skip


def paragraphs(lines: list[str]) -> str:
    return "".join(f"<p>{html.escape(line)}</p>\n" for line in lines)


def bullets(lines: list[str]) -> str:
    items = "".join(f"<li>{html.escape(line)}</li>\n" for line in lines)
    return f"<ul>\n{items}</ul>\n" if lines else ""


def link(address: str, text: str) -> str:
    return f'<a href="{html.escape(address, quote=True)}">{html.escape(text)}</a>'


def folded(summary: str, body: str) -> str:
    return f"<details><summary>{html.escape(summary)}</summary>\n{body}</details>\n"
