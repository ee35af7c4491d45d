"""Face boxes: ``x0, y0, x1, y1`` in pixels, edges (a W x H image spans -0.5..W-0.5; docs/conventions.md)."""

from __future__ import annotations

import torch
from torch import Tensor

from lineament.errors import DataError
from lineament.geometry.umeyama import fit_similarity

# Mean five points of CelebA's aligned 178x218 pictures, to the pixel.
FIVE_POINTS = ((69.0, 111.0), (108.0, 111.0), (88.0, 135.0), (72.0, 152.0), (105.0, 152.0))


def check_box(box: Tensor) -> Tensor:
    """Return ``box`` ``[4]`` as float64, or raise ``DataError`` where it is not finite or has no area."""
    box = torch.as_tensor(box).detach().to("cpu", torch.float64)
    if box.shape != (4,):
        raise DataError(f"a box holds x0, y0, x1, y1, not an array of shape {tuple(box.shape)}.")
    x0, y0, x1, y1 = box.tolist()
    if not bool(torch.isfinite(box).all()) or x1 <= x0 or y1 <= y0:
        raise DataError(f"a box needs finite edges with x0 < x1 and y0 < y1, not {[x0, y0, x1, y1]}.")
    return box


def size(boxes: Tensor) -> Tensor:
    """Return width and height ``[..., 2]`` of boxes ``[..., 4]``."""
    return boxes[..., 2:] - boxes[..., :2]


def centre(boxes: Tensor) -> Tensor:
    """Return the centres ``[..., 2]`` of boxes ``[..., 4]``."""
    return 0.5 * (boxes[..., 2:] + boxes[..., :2])


def from_centre(middle: Tensor, extent: Tensor) -> Tensor:
    """Build boxes ``[..., 4]`` from centres ``[..., 2]`` and width and height ``[..., 2]``."""
    return torch.cat([middle - 0.5 * extent, middle + 0.5 * extent], dim=-1)


def expand(boxes: Tensor, factor: float) -> Tensor:
    """Scale boxes ``[..., 4]`` about their centres by ``factor``."""
    return from_centre(centre(boxes), size(boxes) * factor)


def square(boxes: Tensor) -> Tensor:
    """Grow the shorter side of boxes ``[..., 4]`` about the centre until they are square."""
    return from_centre(centre(boxes), size(boxes).amax(-1, keepdim=True).expand_as(boxes[..., :2]))


def jitter(box: Tensor, generator: torch.Generator, shift: float = 0.1, scale: float = 0.1) -> Tensor:
    """Move and scale a box at random, as a detector's box varies.

    Args:
        box: ``[4]``.
        generator: Source of the three uniform draws (x, y, scale), so that a seed gives the same box everywhere.
        shift: Largest move of the centre on each axis, as a fraction of the box's width and height.
        scale: Largest change of size: the factor is uniform in ``[1 - scale, 1 + scale]``.

    Returns:
        ``[4]`` with the same aspect.
    """
    draws = 2.0 * torch.rand(3, generator=generator, dtype=torch.float64) - 1.0
    extent = size(box)
    middle = centre(box) + shift * draws[:2].to(box) * extent
    return from_centre(middle, extent * (1.0 + scale * float(draws[2])))


def iou(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over union of every pair: ``[A, 4]`` and ``[B, 4]`` to ``[A, B]``; empty boxes give 0."""
    corner = torch.maximum(first[:, None, :2], second[None, :, :2])
    opposite = torch.minimum(first[:, None, 2:], second[None, :, 2:])
    overlap = (opposite - corner).clamp(min=0).prod(-1)  # [A, B]
    areas = size(first).clamp(min=0).prod(-1)[:, None] + size(second).clamp(min=0).prod(-1)[None]
    union = areas - overlap
    return torch.where(
        union > 0, overlap / union.clamp(min=torch.finfo(union.dtype).tiny), union.new_zeros(())
    )


def box_from_landmarks(landmarks: Tensor, margin: float = 0.0) -> Tensor:
    """Return the tight box of landmarks ``[K, 2]``, NaN points left out, grown by ``margin`` of its size per side.

    Raises:
        DataError: If fewer than two points are finite or they span no area.
    """
    finite = landmarks[torch.isfinite(landmarks).all(-1)]
    if len(finite) < 2:
        raise DataError(f"a box needs at least two landmarks that are not NaN, there are {len(finite)}.")
    box = torch.cat([finite.amin(0), finite.amax(0)])
    check_box(box)
    return expand(box, 1.0 + 2.0 * margin)


def box_from_five_points(points: Tensor) -> Tensor:
    """Return the upright box a detector would give for scheme "5" points ``[5, 2]`` (eyes, nose, mouth corners).

    Measured on MTCNN's boxes of 655 portraits: 2.16 eye distances wide, 2.84 high, the centre 0.30 below the eyes. A
    face seen from the side has its eyes close together, so the distance from eyes to mouth (1.0 there) counts as well.

    Up to three points may be missing (NaN): they are put where they lie on a mean face.

    Raises:
        DataError: If the points are not five, fewer than two are finite, or they coincide.
    """
    known = torch.isfinite(points).all(-1)
    if points.shape != (5, 2) or int(known.sum()) < 2:
        raise DataError(f"five xy points are needed, not {int(known.sum())} of shape {tuple(points.shape)}.")
    if not bool(known.all()):
        mean = torch.tensor(FIVE_POINTS, dtype=torch.float64)
        place = fit_similarity(mean[known], points[known].double())
        points = torch.where(known[:, None], points, place.apply(mean).to(points))
    eyes, mouth = points[:2].mean(0), points[3:].mean(0)
    down = mouth - eyes
    length = torch.maximum((points[1] - points[0]).norm(), down.norm())
    box = from_centre(eyes + 0.30 * down, length * points.new_tensor([2.16, 2.84]))
    check_box(box)
    return box


def clip(boxes: Tensor, width: int, height: int) -> Tensor:
    """Clip boxes ``[..., 4]`` to the image ``-0.5..width-0.5``, ``-0.5..height-0.5``."""
    low = boxes.new_tensor([-0.5, -0.5, -0.5, -0.5])
    high = boxes.new_tensor([width - 0.5, height - 0.5, width - 0.5, height - 0.5])
    return torch.minimum(torch.maximum(boxes, low), high)
