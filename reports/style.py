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
STYLE = {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.alpha": 0.3,
         "svg.hashsalt": "reports", "svg.fonttype": "none"}


def key(figure: plt.Figure, colours: dict[str, str]) -> None:
    """The legend above a figure: what the colours stand for, and the two kinds of lines."""
    lines = [plt.Line2D([], [], color=colour, lw=2, label=name) for name, colour in colours.items()]
    lines += [plt.Line2D([], [], color="0.3", label="baseline", **BASELINE),
              plt.Line2D([], [], color="0.3", label="with gradgap", **REGULARIZED)]
    figure.legend(handles=lines, loc="upper center", ncols=min(len(lines), 5), frameon=False)


def save(figure: plt.Figure, path: Path) -> None:
    """PNG and SVG, without date and version."""
    for suffix, metadata in ((".png", {"Software": None}), (".svg", {"Date": None, "Creator": None})):
        buffer = io.BytesIO()
        figure.savefig(buffer, format=suffix[1:], dpi=130, metadata=metadata)
        write(path.with_suffix(suffix), buffer.getvalue())
    plt.close(figure)
