"""Random moves of training images: the published levels of augmentation, and the matrix behind them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lineament.errors import UsageError
from lineament.faces.photometric import BLUR, NOISE, PhotometricRanges, apply_photometric, sample_photometric
from lineament.faces.schemes import LandmarkScheme


@dataclass(frozen=True)
class AffineRanges:
    """Ranges of a random move; each value is drawn uniformly.

    Attributes:
        rotation: Largest angle in degrees, either way.
        translation: Largest shift as a share of the image's side, rounded to whole pixels.
        scale: Least and greatest factor, drawn for each axis.
        shear: Largest shear in degrees, either way.
    """

    rotation: float = 0.0
    translation: float = 0.0
    scale: tuple[float, float] = (1.0, 1.0)
    shear: float = 0.0


# The published levels (--daug); 4 was used for the autoencoder, 6 for the paper's landmarks. The last one is ours:
# boxes of different detectors differ by more than the published shifts and scales.
LEVELS = (
    AffineRanges(),
    AffineRanges(3, 0.025, (0.975, 1.025), 0),
    AffineRanges(3, 0.035, (0.970, 1.030), 2),
    AffineRanges(20, 0.035, (0.970, 1.030), 0),
    AffineRanges(45, 0.035, (0.940, 1.030), 5),
    AffineRanges(60, 0.035, (0.940, 1.030), 5),
    AffineRanges(30, 0.040, (0.940, 1.050), 5),
    AffineRanges(0, 0.040, (0.940, 1.050), 5),
    AffineRanges(20, 0.060, (0.850, 1.150), 3),
)


# Changes of appearance (ours), wide enough to make drawn faces and photos overlap.
LOOKS = PhotometricRanges(
    brightness=0.3,
    contrast=0.3,
    saturation=0.3,
    colour=0.1,
    grey=0.5,
    gamma=0.4,
    light=0.2,
    blur=0.3,
    noise=0.04,
)


@dataclass(frozen=True)
class AffineParams:
    """One drawn move.

    Attributes:
        mirror: Whether the image is flipped first.
        angle: Radians, clockwise in the image.
        shift: Pixels right and down.
        scale: Factors of x and y.
        shear: Radians.
    """

    mirror: bool = False
    angle: float = 0.0
    shift: tuple[float, float] = (0.0, 0.0)
    scale: tuple[float, float] = (1.0, 1.0)
    shear: float = 0.0


def level(number: int) -> AffineRanges:
    """The level ``number``: 0 to 7 are published, 8 is ours.

    Raises:
        UsageError: If there is none.
    """
    if not 0 <= number < len(LEVELS):
        raise UsageError(f"augmentation has the levels 0 to {len(LEVELS) - 1}, not {number}.")
    return LEVELS[number]


def sample_affine(
    spread: AffineRanges, side: int, generator: torch.Generator, mirror: float = 0.5
) -> AffineParams:
    """Draw a move for an image of ``side`` pixels, in the published order of draws.

    Args:
        spread: Ranges.
        side: Side of the image that is moved.
        generator: Source of all draws.
        mirror: Probability that the image is flipped.
    """
    flip, angle, right, down, sx, sy, shear = torch.rand(7, generator=generator, dtype=torch.float64).tolist()
    low, high = spread.scale
    reach = spread.translation * side
    return AffineParams(
        flip < mirror,
        math.radians(spread.rotation * (2 * angle - 1)),
        (-float(round(reach * (2 * right - 1))), -float(round(reach * (2 * down - 1)))),
        (low + (high - low) * sx, low + (high - low) * sy),
        math.radians(spread.shear * (2 * shear - 1)),
    )


def sample_photometric_and_noise(side: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw a change of appearance for an image of ``side`` pixels: ``[12]`` and noise ``[1, side, side]``."""
    return sample_photometric(LOOKS, generator), torch.randn(1, side, side, generator=generator)


def corrupted_and_clean(images: Tensor, looks: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Images of another appearance as an encoder is shown them, and the same without blur and noise.

    Args:
        images: ``[B, 3, S, S]`` in 0..1.
        looks: ``[B, 12]`` from :func:`sample_photometric_and_noise`.
        noise: ``[B, 1, S, S]`` from the same.

    Returns:
        Two batches of images ``[B, 3, S, S]`` in 0..1.
    """
    clear = looks.clone()
    clear[:, [BLUR, NOISE]] = 0
    return apply_photometric(images, looks, noise).clamp(0, 1), apply_photometric(images, clear).clamp(0, 1)


def affine_matrix(move: AffineParams, side: int, released: bool = False) -> Tensor:
    """Matrix ``[3, 3]`` float64 from old to new pixels, about the point (side / 2, side / 2).

    Args:
        move: What was drawn; mirroring is not part of the matrix.
        side: Side of the image.
        released: Shear as scikit-image had it when the code was released: there the y axis got no longer, while now it
            is stretched by 1 / cos(shear), 0.4 % at 5 degrees.
    """
    (sx, sy), (tx, ty) = move.scale, move.shift
    stretch = 1.0 if released else 1.0 / math.cos(move.shear)
    turned = move.angle + move.shear
    inner = torch.tensor(
        [
            [sx * math.cos(move.angle), -sy * math.sin(turned) * stretch, tx],
            [sx * math.sin(move.angle), sy * math.cos(turned) * stretch, ty],
            [0.0, 0.0, 1.0],
        ],
        dtype=torch.float64,
    )
    centre = torch.eye(3, dtype=torch.float64)
    centre[:2, 2] = side / 2
    back = torch.eye(3, dtype=torch.float64)
    back[:2, 2] = -side / 2
    return centre @ inner @ back


def apply_affine(image: Tensor, matrix: Tensor, size: int | None = None, offset: int = 0) -> Tensor:
    """Resample an image under a matrix, bicubically, black outside.

    Args:
        image: ``[C, H, W]``.
        matrix: ``[3, 3]`` from pixels of ``image`` to pixels of the result.
        size: Side of the result; that of the image when None.
        offset: Pixels by which a window of the result is moved right and down; with ``size`` this cuts the centre out.

    Returns:
        ``[C, size, size]``, not clipped: bicubic weights overshoot at edges.
    """
    height, width = image.shape[-2:]
    side = height if size is None else size
    inverse = torch.linalg.inv(matrix)
    places = torch.arange(side, dtype=torch.float64) + offset
    y, x = torch.meshgrid(places, places, indexing="ij")
    source = torch.stack([x, y], -1) @ inverse[:2, :2].T + inverse[:2, 2]  # [side, side, 2]
    grid = (2 * source + 1) / source.new_tensor([width, height]) - 1
    return F.grid_sample(
        image[None], grid[None].to(image), mode="bicubic", padding_mode="zeros", align_corners=False
    )[0]


def transform_points(points: Tensor, matrix: Tensor) -> Tensor:
    """Points ``[..., 2]`` under the matrix."""
    return points @ matrix[:2, :2].to(points).T + matrix[:2, 2].to(points)


def published_mirror(points: Tensor, layout: LandmarkScheme, width: int) -> Tensor:
    """Landmarks of the flipped image as published: x becomes W - x where x > 0, without the half pixel.

    Args:
        points: ``[..., K, 2]`` pixels.
        layout: Scheme that says which points change sides.
        width: Width of the image.
    """
    layout.check(points)
    swapped = points[..., list(layout.mirror), :]
    x = torch.where(swapped[..., :1] > 0, width - swapped[..., :1], swapped[..., :1])
    return torch.cat([x, swapped[..., 1:]], -1)
