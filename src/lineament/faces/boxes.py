"""Face boxes: ``x0, y0, x1, y1`` in pixels, edges (a W x H image spans -0.5..W-0.5; docs/conventions.md)."""

from __future__ import annotations

import torch
from torch import Tensor

from lineament.errors import DataError
from lineament.faces.schemes import convert_points
from lineament.geometry.umeyama import fit_similarity

# Mean five points of CelebA's aligned 178x218 images, to the pixel.
FIVE_POINTS = ((69.0, 111.0), (108.0, 111.0), (88.0, 135.0), (72.0, 152.0), (105.0, 152.0))

# What YuNet's boxes vary about ``box_like_yunet``: standard deviation of the centre in x and y as a share of the box's
# side (the root of its area), and of the logarithm of the size. Facing the camera 0.02, 0.03 and 0.05, in profile 0.06,
# 0.04 and 0.10.
YUNET_CENTRE_STD = (0.038, 0.030)
YUNET_SIZE_STD = 0.07


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


def box_like_yunet(points: Tensor) -> Tensor:
    """Return the boxes that the YuNet detector would give for faces whose 68 points are known.

    Fitted by least absolute deviations to its boxes of 778 faces drawn from both heads (yaw to 80, pitch to 30 degrees,
    all expressions, 192 px).

    Args:
        points: ``[..., 68, 2]`` xy in pixels, scheme "68".

    Returns:
        ``[..., 4]``; ``YUNET_CENTRE_STD`` and ``YUNET_SIZE_STD`` say what the detector's boxes vary about them.

    Raises:
        DataError: If the points are of another scheme.
    """
    left_eye, right_eye, nose, *mouth = convert_points(points, "68", "5").unbind(-2)
    low, high = points.amin(-2), points.amax(-2)
    middle = 0.5 * (low + high)
    width, height = (high - low).unbind(-1)
    eyes = 0.5 * (left_eye + right_eye)
    to_nose, to_eyes = nose - middle, eyes - middle
    down = (0.5 * (mouth[0] + mouth[1]) - eyes).norm(dim=-1)
    x = middle[..., 0] - 0.107 * to_nose[..., 0] + 0.427 * to_eyes[..., 0]
    y = middle[..., 1] - 0.165 * to_nose[..., 1] + 0.767 * to_eyes[..., 1] + 0.064 * height
    sides = [
        0.645 * width + 0.241 * height + 0.153 * down,
        0.219 * width + 0.820 * height + 0.602 * down,
    ]
    return from_centre(torch.stack([x, y], -1), torch.stack(sides, -1))


def clip(boxes: Tensor, width: int, height: int) -> Tensor:
    """Clip boxes ``[..., 4]`` to the image ``-0.5..width-0.5``, ``-0.5..height-0.5``."""
    low = boxes.new_tensor([-0.5, -0.5, -0.5, -0.5])
    high = boxes.new_tensor([width - 0.5, height - 0.5, width - 0.5, height - 0.5])
    return torch.minimum(torch.maximum(boxes, low), high)
