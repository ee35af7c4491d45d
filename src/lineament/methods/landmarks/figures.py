"""Images of what a network says: validation faces with their points."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from lineament.data.images import write_image
from lineament.data.sample import FaceSource
from lineament.files import write_text
from lineament.methods.landmarks.calibrate import labelled_faces
from lineament.methods.landmarks.crop import cut, square_of_box

if TYPE_CHECKING:
    from lineament.methods.landmarks.recipe import LandmarksRecipe

FACES, COLUMNS, ENLARGED = 12, 6, 2


def draw_predictions(
    recipe: LandmarksRecipe, networks: dict[str, nn.Module], source: FaceSource, folder: Path
) -> list[Path]:
    """Draw up to twelve faces: every point a dot, the lighter the surer; ``points.json`` holds the numbers."""
    faces = labelled_faces(recipe, source)[:FACES]
    if not faces:
        return []
    size = recipe.config.size
    predictor = recipe.predictor(networks)
    images = torch.stack(
        [
            cut(face.image, square_of_box(face.box, size).matrix, size)
            for face in faces
            if face.box is not None
        ]
    )
    points, std, _ = predictor.read(images)
    large = images.repeat_interleave(ENLARGED, 2).repeat_interleave(ENLARGED, 3)
    side = size * ENLARGED
    for face, places, stds in zip(large, points, std, strict=True):
        for (x, y), own in zip((places * side).tolist(), stds.tolist(), strict=True):
            column, row = min(side - 2, max(1, int(x))), min(side - 2, max(1, int(y)))
            sure = max(0.0, 1.0 - own / 0.05)
            face[:, row - 1 : row + 2, column - 1 : column + 2] = torch.tensor([1.0 - sure, sure, 0.2]).view(
                3, 1, 1
            )
    while len(large) % COLUMNS and len(large) > COLUMNS:
        large = torch.cat([large, torch.zeros_like(large[:1])])
    rows = [torch.cat(list(row), 2) for row in large.split(COLUMNS)]
    path = write_image(folder / "points.png", torch.cat(rows, 1))
    numbers = {
        "faces": [face.id for face in faces],
        "points_share_of_side": points.tolist(),
        "std_share_of_side": std.tolist(),
    }
    write_text(folder / "points.json", json.dumps(numbers) + "\n")
    return [path]
