"""One style for all figures: colour-blind-safe, readable in print, the same bytes for the same results."""

import io
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt

from reports.results import write

matplotlib.use("Agg")
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00"]  # Okabe and Ito
BASELINE = {"ls": (0, (4, 2)), "lw": 1.4}
REGULARIZED = {"ls": "-", "lw": 1.4}
KINDS = {"baseline": {"color": "0.3", **BASELINE}, "with gradgap": {"color": "0.3", **REGULARIZED}}
STYLE = {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.alpha": 0.3,
         "svg.hashsalt": "reports", "svg.fonttype": "none"}


def swatches(names: list[str]) -> dict[str, dict]:
    """The lines of a legend that say what the colours stand for."""
    return {name: {"color": COLOURS[number % len(COLOURS)], "lw": 2} for number, name in enumerate(names)}


def key(figure: plt.Figure, lines: dict[str, dict]) -> None:
    """The legend above a figure: name -> how its line looks."""
    handles = [plt.Line2D([], [], label=name, **line) for name, line in lines.items()]
    figure.legend(handles=handles, loc="upper center", ncols=min(len(handles), 5), frameon=False)


def save(figure: plt.Figure, path: Path) -> None:
    """PNG and SVG, without date and version."""
    for suffix, metadata in ((".png", {"Software": None}), (".svg", {"Date": None, "Creator": None})):
        buffer = io.BytesIO()
        figure.savefig(buffer, format=suffix[1:], dpi=130, metadata=metadata)
        write(path.with_suffix(suffix), buffer.getvalue())
    plt.close(figure)
