"""The sample sheet of a table: what the generator of each run draws at fixed latents, side by side and labelled."""

import io

from PIL import Image, ImageDraw, ImageFont, UnidentifiedImageError

from benchmarks.tables import TABLES
from reports.results import Results
from reports.sections import members, method, title

SMALL, LARGE = 256, 512  # side of a tile in pixels: for a wide table and for one of up to three columns
GAP, LABEL = 8, 38  # pixels between tiles, height of a label of two lines


def sheet(table: str, results: Results) -> bytes | None:
    """The samples.png of the run folders as one PNG; None where no run has one.

    A row for each model and method, a column for each data set and fraction. Of several training
    seeds the first that has the picture is shown.
    """
    cells = [cell for cell in TABLES[table].cells if cell.run.iterations]
    runs = [cell.run for cell in cells]
    datasets = list(dict.fromkeys(run.dataset for run in runs))
    columns = sorted({(datasets.index(run.dataset), run.fraction) for run in runs})
    rows = list(dict.fromkeys((cell.run.model, method(cell)) for cell in cells))
    side = LARGE if len(columns) <= 3 else SMALL
    tiles = _tiles(table, results, side)
    if not tiles:
        return None
    image = Image.new("RGB", (len(columns) * (side + GAP) + GAP, len(rows) * (side + LABEL + GAP) + GAP), "white")
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(13)
    for cell, run in zip(cells, runs, strict=True):
        x = GAP + columns.index((datasets.index(run.dataset), run.fraction)) * (side + GAP)
        y = GAP + rows.index((run.model, method(cell))) * (side + LABEL + GAP)
        tile, note = tiles.get(run.id, (Image.new("RGB", (side, side), "#eeeeee"), "none"))
        name = f"{title(run.model)}{method(cell)}\n{run.dataset} {run.fraction:.0%}"
        draw.text((x, y), f"{name} ({note})" if note else name, "black", font)
        image.paste(tile, (x, y + LABEL))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def _tiles(table: str, results: Results, side: int) -> dict[str, tuple[Image.Image, str]]:
    """Cell id -> the picture of the run closest to the table's protocol, and how its training departs."""
    tiles = {}
    for cell, run, training in members(TABLES[table].cells, results):
        path = results.folder / run.id / "samples.png"
        if cell.run.id in tiles or not path.exists():
            continue
        try:
            with Image.open(path) as image:
                tiles[cell.run.id] = _fit(image.convert("RGB"), side), training
        except (UnidentifiedImageError, OSError) as error:
            results.problems.append(f"{path}: {error}; left out")
    return tiles


def _fit(image: Image.Image, tile: int) -> Image.Image:
    """Into a square tile: whole-number enlargement keeps the pixels of small images, large ones are averaged down."""
    side = max(image.size)
    if side > tile:
        return image.resize((image.width * tile // side, image.height * tile // side), Image.Resampling.LANCZOS)
    return image.resize((image.width * (tile // side), image.height * (tile // side)), Image.Resampling.NEAREST)
