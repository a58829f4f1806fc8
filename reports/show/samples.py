"""The sample sheet of a table: what the generators draw at fixed latents, side by side and labelled; a small PNG."""

import io

import pandas as pd
from PIL import Image, ImageDraw, ImageFont, UnidentifiedImageError

from reports.data.records import Results
from reports.data.views import View, share
from reports.show.words import title

TILE, GAP, LABEL = 128, 6, 14  # pixels: side of a tile, space between tiles, height of a line of text
SHOWN = 4  # images of a run, in each direction
NAMES = 190  # pixels for the names of the rows


def sheet(view: View, results: Results) -> bytes | None:
    """A row for each model, with and without the claimed method and the control; a column for each fraction.

    None where no run folder has its samples.png. Of several seeds the first that has the picture is shown.
    """
    cells = view.trained[(view.trained["kind"] == "baseline") | view.trained["claimed"] | view.trained["control"]]
    tiles = {}
    for cell in cells.index:
        tile = _tile(cell, results)
        if tile:
            tiles[cell] = tile
    return _sheet(cells.loc[list(tiles)], tiles) if tiles else None


def _sheet(cells: pd.DataFrame, tiles: dict[str, Image.Image]) -> bytes:
    """The tiles below the names of the columns and beside those of the rows, as a PNG of few colours."""
    rows = cells["model"].map(title) + "\n" + cells["method"]
    columns = cells["dataset"] + " " + cells["fraction"].map(share)
    side, top = TILE + GAP, LABEL + GAP
    image = Image.new("RGB", (NAMES + columns.nunique() * side, top + rows.nunique() * side), "white")
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(12)
    for number, name in enumerate(columns.unique()):
        draw.text((NAMES + number * side, 2), name, "black", font)
    for number, name in enumerate(rows.unique()):
        draw.text((4, top + number * side + TILE // 2 - 12), name, "black", font)
    for cell, tile in tiles.items():
        place = list(columns.unique()).index(columns[cell]), list(rows.unique()).index(rows[cell])
        image.paste(tile, (NAMES + place[0] * side, top + place[1] * side))
    buffer = io.BytesIO()
    image.quantize(128).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _tile(cell: str, results: Results) -> Image.Image | None:
    """The first images of a cell's samples.png, which has 8 x 8 of them."""
    for path in sorted(results.folder.glob(f"{cell}-s?/samples.png")):
        try:
            with Image.open(path) as image:
                side = image.width * SHOWN // 8
                tile = image.convert("RGB").crop((0, 0, side, side))
        except (UnidentifiedImageError, OSError) as error:
            results.problems.append(f"{path}: {error}; left out")
            continue
        method = Image.Resampling.LANCZOS if side > TILE else Image.Resampling.NEAREST
        return tile.resize((TILE, TILE), method)
    return None
