"""The sample sheet of a table: what the generators draw at fixed latents, side by side and labelled; a small PNG."""

import io
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from PIL import Image, UnidentifiedImageError

from reports.data.records import Results
from reports.data.views import View, share
from reports.show.document import Figure
from reports.show.words import title

SHOWN = 4  # images of a run, in each direction, of 8
FILE = "samples.png"


def samples(view: View, results: Results, folder: Path) -> Figure | None:
    """A row for each model, with and without the claimed method and the control; a column for each fraction.

    Of several seeds the first that has the picture is shown. Where no run folder has one (they are not tracked), the
    sheet that is in the reports stays.
    """
    cells = view.trained[(view.trained["kind"] == "baseline") | view.trained["claimed"] | view.trained["control"]]
    tiles = cells.index.map(lambda cell: _tile(cell, results))
    cells = cells.assign(tile=tiles, name=cells["model"].map(title) + "\n" + cells["method"],
                         place=cells["dataset"] + " " + cells["fraction"].map(share)).dropna(subset="tile")  # fmt: skip
    figure = Figure(FILE, "Samples of the generators, drawn at fixed latents, of the first seed.", None, view.folder)
    if len(cells):
        figure.data = _sheet(cells)
    elif not (folder / FILE).exists():
        return None
    return figure


def _sheet(cells: pd.DataFrame) -> bytes:
    """The tiles below the names of the columns and beside those of the rows, as a PNG of few colours."""
    names, places = list(cells["name"].unique()), list(cells["place"].unique())
    figure, axes = plt.subplots(len(names), len(places), squeeze=False, layout="constrained",
                                figsize=(1.9 + 1.3 * len(places), 0.3 + 1.3 * len(names)))  # fmt: skip
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
        axis.set_frame_on(False)
    for axis, name in zip(axes[:, 0], names, strict=True):
        axis.set_ylabel(name, rotation=0, ha="right", va="center")
    for axis, place in zip(axes[0], places, strict=True):
        axis.set_title(place)
    for row in cells.itertuples():
        axes[names.index(row.name), places.index(row.place)].imshow(row.tile)
    buffer, small = io.BytesIO(), io.BytesIO()
    figure.savefig(buffer, format="png")
    plt.close(figure)
    Image.open(buffer).convert("RGB").quantize(128).save(small, "PNG", optimize=True)
    return small.getvalue()


def _tile(cell: str, results: Results) -> Image.Image | None:
    """The first images of a cell's samples.png, which has 8 x 8 of them."""
    for path in sorted(results.folder.glob(f"{cell}-s?/samples.png")):
        try:
            with Image.open(path) as image:
                side = image.width * SHOWN // 8
                return image.convert("RGB").crop((0, 0, side, side))
        except (UnidentifiedImageError, OSError) as error:
            results.problems.append(f"{path}: {error}; left out")
    return None
