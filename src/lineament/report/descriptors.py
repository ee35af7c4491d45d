"""Images of dense descriptors: as colours, and one face in the geometry of another."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from lineament.data.images import write_image
from lineament.faces.frame import Frame, PreparedFace
from lineament.files import write_text
from lineament.metrics.correspondence import dense_match_grid

# Distance of neighbouring matches, in half images, beyond which a dense warp is torn.
TEAR = 0.1


def descriptor_colours(features: Tensor) -> Tensor:
    """Descriptors as colours: their first three principal components over all given maps.

    Args:
        features: ``[B, C, h, w]``.

    Returns:
        ``[B, 3, h, w]`` in 0..1; equal colours mean alike descriptors, within and across the images.
    """
    batch, channels, height, width = features.shape
    vectors = F.normalize(features, dim=1).permute(0, 2, 3, 1).reshape(-1, channels).double()
    centred = vectors - vectors.mean(0)
    _, axes = torch.linalg.eigh(centred.t() @ centred)
    axes = axes[:, -3:].flip(1)
    # An eigenvector's sign is arbitrary; fixing it keeps colours alike between runs.
    axes = axes * axes.sum(0).sign().where(axes.sum(0) != 0, 1.0)
    values = centred @ axes
    if values.shape[1] < 3:
        values = F.pad(values, (0, 3 - values.shape[1]))
    low, high = torch.quantile(
        values[:: max(1, len(values) // 100000)], torch.tensor([0.02, 0.98]).double(), dim=0
    )
    values = ((values - low) / (high - low).clamp(min=1e-9)).clamp(0, 1)
    return values.float().view(batch, height, width, 3).permute(0, 3, 1, 2)


def warp_onto(image: Tensor, source: Tensor, target: Tensor, side: int = 0) -> Tensor:
    """Render one face in the geometry of another through their descriptors.

    Args:
        image: ``[3, H, W]`` image of the source face, of any resolution.
        source: ``[C, h, w]`` its descriptors.
        target: ``[C, h, w]`` descriptors of the face whose geometry is wanted.
        side: Side of the answer in pixels, to which the matches are interpolated; 0 draws one pixel per match.

    Returns:
        ``[3, 2 h, 2 w]``, or ``[3, side, side]``, in 0..1.
    """
    grid = dense_match_grid(source, target)
    if side:
        planes = grid.permute(0, 3, 1, 2)
        smooth = F.interpolate(planes, (side, side), mode="bilinear", align_corners=True)
        nearest = F.interpolate(planes, (side, side), mode="nearest-exact")
        # Between neighbours that match places far apart there is nothing to interpolate.
        torn = (smooth - nearest).abs().amax(1, keepdim=True) > TEAR
        grid = torch.where(torn, nearest, smooth).permute(0, 2, 3, 1)
    return F.grid_sample(image[None], grid.to(image.dtype), align_corners=True)[0].clamp(0, 1)


def image_grid(rows: Sequence[Sequence[Tensor]], side: int, gap: int = 2) -> Tensor:
    """Tile images ``[3, h, w]`` of any size into one ``[3, H, W]``, each resized to a square, white between."""
    resized = [
        [F.interpolate(image[None], (side, side), mode="bilinear", align_corners=False)[0] for image in row]
        for row in rows
    ]
    columns = max(len(row) for row in resized)
    sheet = torch.ones(3, len(rows) * (side + gap) - gap, columns * (side + gap) - gap)
    for i, row in enumerate(resized):
        for j, image in enumerate(row):
            top, left = i * (side + gap), j * (side + gap)
            sheet[:, top : top + side, left : left + side] = image
    return sheet


@torch.no_grad()
def descriptor_sheet(
    describe: Callable[[Tensor], Tensor], faces: Sequence[PreparedFace], frame: Frame
) -> Tensor:
    """A row of faces, their descriptors as colours, and the first face in the geometry of each: ``[3, H, W]``."""
    images = torch.stack([face.image for face in faces])
    if frame.crop:
        images = images[..., frame.crop : -frame.crop, frame.crop : -frame.crop]
    features = describe(images)
    colours = descriptor_colours(features)
    side = max(96, frame.seen)
    directions = F.normalize(features, dim=1)
    warped = [warp_onto(images[0], directions[0], target, side) for target in directions]
    return image_grid([list(images), list(colours), warped], side)


def descriptor_figure(
    describe: Callable[[Tensor], Tensor], faces: Sequence[PreparedFace], frame: Frame, path: Path
) -> Path:
    """Write :func:`descriptor_sheet` as a PNG with the names of its faces beside it as JSON."""
    write_image(path, descriptor_sheet(describe, faces, frame))
    rows = [
        "image",
        "descriptors as colours (three principal components)",
        "first face in the geometry of each",
    ]
    write_text(
        path.with_suffix(".json"), json.dumps({"columns": [f.id for f in faces], "rows": rows}, indent=1)
    )
    return path
