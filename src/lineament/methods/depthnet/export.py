"""From the network's depth and affine map to what the published warper reads; rotations of a face.

The network counts x and y in shares of the image's width and height. ``faithful`` keeps three quirks of the published
exporter: the terms that mix x and y are not rescaled, which skews images that are not square; a rotated source turns
about the image's corner, with halved depths; keypoints are cut to integers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from lineament.errors import DataError, UsageError
from lineament.faces.schemes import convert_points

# (source [B, 66, 2], target [B, 66, 2]) in shares of the image, float64 -> (depth [B, 66], affine [B, 2, 4])
Predict = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
AXES = ("x", "y", "z")


@dataclass(frozen=True)
class WarpInput:
    """What the warper needs besides the image, for B faces or frames.

    Attributes:
        keypoints: ``[B, 68, 2]`` float64, pixels counted from corners.
        depth: ``[B, 68]`` float64.
        affine: ``[B, 2, 4]`` float64, pixels counted from corners.
    """

    keypoints: Tensor
    depth: Tensor
    affine: Tensor


def to_68(keypoints: Tensor, depth: Tensor) -> tuple[Tensor, Tensor]:
    """Keypoints ``[B, 66, 2]`` and depths ``[B, 66]`` of 3DFAW as the 68 points of 300-W."""
    points = convert_points(torch.cat([keypoints, depth[..., None]], dim=-1), "66", "68")
    return points[..., :2], points[..., 2]


def affine_in_pixels(affine: Tensor, width: int, height: int, *, faithful: bool = False) -> Tensor:
    """Turn an affine map between shares of an image into one between its pixels.

    With ``D = diag(width, height)`` the xy block becomes ``D A D^-1`` and the depth and offset columns ``D m``.

    Args:
        affine: ``[B, 2, 4]``.
        width: Pixels.
        height: Pixels.
        faithful: Leave the xy block as it is, as published: right for square images only.

    Returns:
        ``[B, 2, 4]`` float64.
    """
    size = torch.tensor([width, height], dtype=torch.float64, device=affine.device)
    scaled = affine.double() * size[:, None]
    linear = affine[..., :2].double() if faithful else scaled[..., :2] / size
    return torch.cat([linear, scaled[..., 2:]], dim=-1)


def keypoints_in_pixels(keypoints: Tensor, width: int, height: int, *, faithful: bool = False) -> Tensor:
    """Shares of an image ``[..., 2]`` as pixels counted from corners; ``faithful`` cuts the fraction off."""
    size = torch.tensor([width, height], dtype=torch.float64, device=keypoints.device)
    pixels = keypoints.double() * size
    return pixels.trunc() if faithful else pixels


def export_warp(
    predict: Predict, source: Tensor, target: Tensor, width: int, height: int, *, faithful: bool = False
) -> WarpInput:
    """Depth and map of source faces on to target faces, in the warper's terms.

    Args:
        predict: The network with its solve.
        source: ``[B, 66, 2]`` keypoints in shares of their image, float64: whether a published keypoint is cut to the
            pixel it came from hangs on the last digit.
        target: ``[B, 66, 2]`` in shares of theirs.
        width: Columns of the image that will be warped.
        height: Its rows.
        faithful: See the head of this file.
    """
    depth, affine = predict(source, target)
    points, depth68 = to_68(source.double(), depth.double())
    return WarpInput(
        keypoints_in_pixels(points, width, height, faithful=faithful),
        depth68,
        affine_in_pixels(affine, width, height, faithful=faithful),
    )


def rotation_angles(first: float, last: float, frames: float = 100.0) -> Tensor:
    """Angles of the published animation: from 0 to ``first``, then to ``last``; ``frames`` is frames per radian."""
    steps = int(abs(first) * frames), int(abs(last - first) * frames)
    out = torch.linspace(0.0, first, steps[0], dtype=torch.float64)
    return torch.cat([out, torch.linspace(first, last, steps[1], dtype=torch.float64)])


def rotation_about(axis: str, angles: Tensor) -> Tensor:
    """Right-handed rotation matrices ``[B, 3, 3]`` about one axis, as the published animation uses them.

    Raises:
        UsageError: If the axis is none of x, y, z.
    """
    if axis not in AXES:
        raise UsageError(f"the axis of a rotation is x, y or z, not {axis!r}.")
    turning = AXES.index(axis)
    j, k = (turning + 1) % 3, (turning + 2) % 3
    rotation = torch.eye(3, dtype=torch.float64).repeat(len(angles), 1, 1)
    cosine, sine = torch.cos(angles), torch.sin(angles)
    rotation[:, j, j], rotation[:, k, k] = cosine, cosine
    rotation[:, j, k], rotation[:, k, j] = -sine, sine
    return rotation


def scale_depth(depth: Tensor, scale: float) -> Tensor:
    """Bring target depths ``[K]`` into the range of x and y: divided by ``scale``, or to 0..1 where it is 0.

    Raises:
        UsageError: If ``scale`` is negative.
        DataError: If all depths are equal and ``scale`` is 0.
    """
    if scale < 0:
        raise UsageError(f"the scale of the depth must not be negative, it is {scale:g}.")
    if scale > 0:
        return depth / scale
    low, high = depth.min(), depth.max()
    if not float(high) > float(low):
        raise DataError(f"all depths are {float(low):g}: they cannot be brought to 0..1.")
    return (depth - low) / (high - low)


def rotated_targets(
    keypoints: Tensor, depth: Tensor, rotation: Tensor, *, mean: float = 0.5, std: float = 0.5
) -> Tensor:
    """Turn target keypoints with depth in space and look at them again.

    Args:
        keypoints: ``[66, 2]`` in shares of the image.
        depth: ``[66]`` from :func:`scale_depth`.
        rotation: ``[B, 3, 3]``.
        mean: Centre that is turned about, in x and y.
        std: Divisor of x and y, so that they compare with the depth.

    Returns:
        ``[B, 66, 2]``.
    """
    points = torch.cat([(keypoints.double() - mean) / std, depth.double()[:, None]], dim=1)  # [66, 3]
    turned = points @ rotation.transpose(1, 2)
    return turned[..., :2] * std + mean


def rotation_affine(
    rotation: Tensor, width: int, height: int, centre: Tensor | None = None, *, std: float = 0.5
) -> Tensor:
    """Affine maps that show the source itself turned.

    Args:
        rotation: ``[B, 3, 3]``.
        width: Pixels.
        height: Pixels.
        centre: ``[3]`` what is turned about: x and y in shares of the image, and the depth, which is in shares of the
            mean of width and height, as 3DFAW has it. None: as published, about the image's corner at depth 0.
        std: Divisor of x and y in the published form.

    Returns:
        ``[B, 2, 4]`` in pixels counted from corners.
    """
    if centre is None:
        published = torch.cat([rotation[:, :2, :2], rotation[:, :2, 2:] / std], dim=-1)
        return affine_in_pixels(F.pad(published, (0, 1)), width, height, faithful=True)
    mean_side = (width + height) / 2
    here = centre.double() * torch.tensor([width, height, mean_side], dtype=torch.float64)
    shift = here[:2] - rotation[:, :2] @ here  # [B, 2]
    unit = torch.tensor([1.0, 1.0, mean_side], dtype=torch.float64)
    return torch.cat([rotation[:, :2] * unit, shift[..., None]], dim=-1)


def export_turned_target(
    predict: Predict,
    source: Tensor,
    target: Tensor,
    target_depth: Tensor,
    rotation: Tensor,
    width: int,
    height: int,
    *,
    mean: float = 0.5,
    std: float = 0.5,
    faithful: bool = False,
) -> WarpInput:
    """Frames of an animation that carries the source ``[66, 2]`` on to a target ``[66, 2]`` that turns."""
    targets = rotated_targets(target, target_depth, rotation, mean=mean, std=std)
    sources = source[None].expand(len(targets), -1, -1)
    return export_warp(predict, sources, targets, width, height, faithful=faithful)


def export_turned_source(
    predict: Predict,
    source: Tensor,
    target: Tensor,
    rotation: Tensor,
    width: int,
    height: int,
    *,
    std: float = 0.5,
    faithful: bool = False,
) -> WarpInput:
    """Frames of an animation that turns the source ``[66, 2]`` itself, with the depth it has given the target.

    The published animation halves the depths and turns about the image's corner; ours turns about the mean of the
    keypoints at their mean depth.
    """
    depth, _ = predict(source[None], target[None])
    points, depth68 = to_68(source[None].double(), depth.double())
    depth68 = depth68 / 2 if faithful else depth68
    centre = torch.cat([points[0].mean(0), depth68[0].mean()[None]])
    frames = len(rotation)
    return WarpInput(
        keypoints_in_pixels(points, width, height, faithful=faithful).expand(frames, -1, -1),
        depth68.expand(frames, -1),
        rotation_affine(rotation, width, height, None if faithful else centre, std=std),
    )
