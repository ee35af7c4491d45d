"""Points of one face carried to many: one table of all of them, and a contact sheet to look at."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch import Tensor

from lineament.eight_bit import to_float, to_pil
from lineament.faces.labels.cells import guard
from lineament.files import replacing, write_text
from lineament.pipeline.predict.face_view import FaceView
from lineament.pipeline.predict.match import FaceMatch, point_colours
from lineament.pipeline.predict.results import settings_meta
from lineament.report.descriptors import descriptor_colours, warp_onto

# Side of a face on the sheet, faces side by side, and faces on one sheet.
TILE = 160
COLUMNS = 8
FACES = 64
GAP = 2
COLUMN_NAMES = ("image", "point", "x", "y", "similarity", "round_trip", "source_x", "source_y")


def matches_json(matches: Sequence[FaceMatch], meta: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Plain values for a file in ``folder``: the points of the first face, and for every other where they are."""
    first = matches[0]
    return {
        "format": "lineament-matches",
        "meta": meta,
        "source": {
            **first.a.to_json(folder),
            "points": dict(zip(first.names, first.points_a.tolist(), strict=True)),
        },
        "units": "pixels of each photo; similarity is a cosine; round_trip in shares of the source's box side",
        "faces": [
            {
                **match.b.to_json(folder),
                "points": dict(zip(match.names, match.points_b.tolist(), strict=True)),
                "similarity": dict(zip(match.names, match.similarity.tolist(), strict=True)),
                "round_trip": dict(zip(match.names, match.round_trip.tolist(), strict=True)),
            }
            for match in matches
        ],
    }


def matches_csv(matches: Sequence[FaceMatch]) -> str:
    """One row per face and point."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMN_NAMES)
    for match in matches:
        columns = (match.points_b, match.similarity[:, None], match.round_trip[:, None], match.points_a)
        numbers = torch.cat(columns, dim=1).tolist()
        for name, row in zip(match.names, numbers, strict=True):
            writer.writerow([guard(match.b.name), guard(name), *(f"{value:.4f}" for value in row)])
    return text.getvalue()


def contact_sheet_of(matches: Sequence[FaceMatch]) -> Image.Image:
    """Draw, for up to 64 faces: the carried points, the descriptors as colours, the first face in each one's geometry.

    The first column of images is the face that holds the points. Colours are principal components over all faces of
    the sheet, so that equal colours mean alike descriptors from face to face.
    """
    source = matches[0].a
    views = [source, *(match.b for match in matches)]
    points = [matches[0].points_a, *(match.points_b for match in matches)]
    colours = descriptor_colours(torch.stack([view.features for view in views]))
    shown = to_float(source.shown)
    warped = [warp_onto(shown, source.directions, view.directions, TILE) for view in views]
    blocks = -(-len(views) // COLUMNS)
    across = min(COLUMNS, len(views))
    step = TILE + GAP
    sheet = Image.new("RGB", (across * step - GAP, blocks * (3 * step + GAP) - 2 * GAP), "white")
    for index, view in enumerate(views):
        left, top = index % COLUMNS * step, index // COLUMNS * (3 * step + GAP)
        tiles = (_with_points(view, points[index]), _tile(colours[index]), to_pil(warped[index]))
        for row, tile in enumerate(tiles):
            sheet.paste(tile, (left, top + row * step))
    return sheet


def _tile(image: Tensor) -> Image.Image:
    return to_pil(F.interpolate(image[None], (TILE, TILE), mode="bilinear", align_corners=False)[0])


def _with_points(view: FaceView, points: Tensor) -> Image.Image:
    tile = to_pil(view.shown).resize((TILE, TILE), Image.Resampling.BOX)
    pen = ImageDraw.Draw(tile)
    scale = TILE / view.side
    places = ((view.to_view.apply(points) + 0.5) * scale - 0.5).tolist()
    for (x, y), colour in zip(places, point_colours(len(places)), strict=True):
        pen.ellipse([x - 2.5, y - 2.5, x + 2.5, y + 2.5], fill=colour, outline=(0, 0, 0))
    return tile


def write_matches(matches: Sequence[FaceMatch], stem: Path, settings: Mapping[str, Any]) -> list[Path]:
    """Write ``<stem>.csv``, ``<stem>.png`` (``-2.png`` and so on beyond 64 faces), and last ``<stem>.json``."""
    written = [stem.with_name(f"{stem.name}.csv")]
    write_text(written[0], matches_csv(matches))
    for start in range(0, len(matches), FACES - 1):
        number = start // (FACES - 1) + 1
        path = stem.with_name(f"{stem.name}{f'-{number}' if number > 1 else ''}.png")
        with replacing(path) as temporary:
            contact_sheet_of(matches[start : start + FACES - 1]).save(temporary, "PNG")
        written.append(path)
    table = stem.with_name(f"{stem.name}.json")
    content = matches_json(matches, settings_meta("match", settings), stem.parent)
    write_text(table, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    return [table, *written]
