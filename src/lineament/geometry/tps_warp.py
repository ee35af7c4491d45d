"""Random thin-plate-spline warps of the paper (section 4, "learning details"), batched on one device.

A warp is 103 weights per coordinate: 100 *random* kernel weights (no spline system is solved), a translation and a
scaled rotation. The sampling grid is ``basis @ weights`` with a basis that depends on the image size only. Grids are in
-1..1, corner-aligned: pixel = (g + 1) / 2 * (size - 1), order xy; every resampling is bilinear with zero padding and
``align_corners=True``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from lineament.ops.nearest import nearest_values

# Control points per side of the regular grid.
CONTROL = 10


@dataclass(frozen=True)
class WarpStd:
    """Standard deviations of one random warp.

    Attributes:
        kernel_all: Of all kernel weights.
        kernel_subset: Of the (about half of the) kernel weights that are drawn again.
        translation: In units of half the image side.
        scale: Of the factor around 1.
        rotation: In degrees.
    """

    kernel_all: float = 0.001
    kernel_subset: float = 0.01
    translation: float = 0.1
    scale: float = 0.1
    rotation: float = 5.0

    def scaled(self, kernel: float = 1.0, affine: float = 1.0) -> WarpStd:
        """Multiply the kernel and the affine standard deviations."""
        return WarpStd(
            self.kernel_all * kernel,
            self.kernel_subset * kernel,
            self.translation * affine,
            self.scale * affine,
            self.rotation * affine,
        )


TRAINING = WarpStd()
EVALUATION = WarpStd(0.0005, 0.005, 0.05, 0.05, 2.5)
SINGLE = WarpStd(0.0005, 0.0, 0.02, 0.02, 2.0)
# The first warp of a training pair has kernel standard deviations half as large.
FIRST_KERNEL_FACTOR = 0.5


def random_weights(spread: WarpStd, generator: torch.Generator | None = None) -> Tensor:
    """Draw one warp in the published order of draws.

    Args:
        spread: Standard deviations.
        generator: Source of randomness; the global one when None.

    Returns:
        ``[103, 2]`` float32: 100 kernel weights, the translation, and two rows of the scaled rotation.
    """
    count = CONTROL * CONTROL
    kernel = torch.randn(count, 2, generator=generator) * spread.kernel_all
    drawn_again = torch.rand(count, 2, generator=generator) > 0.5
    # The entries are replaced, not added to, and per coordinate rather than per control point.
    kernel[drawn_again] = torch.randn(int(drawn_again.sum()), generator=generator) * spread.kernel_subset
    angle = math.radians(float(torch.randn([], generator=generator) * spread.rotation))
    scale = float(1 + torch.randn([], generator=generator) * spread.scale)
    shift_x = float(torch.randn([], generator=generator) * spread.translation)
    shift_y = float(torch.randn([], generator=generator) * spread.translation)
    cosine, sine = scale * math.cos(angle), scale * math.sin(angle)
    affine = torch.tensor([[shift_x, shift_y], [cosine, -sine], [sine, cosine]])
    return torch.cat([kernel, affine])


def regular_grid(height: int, width: int, device: torch.device | str = "cpu") -> Tensor:
    """Pixel centres in -1..1, ``[H, W, 2]`` xy."""
    ys = torch.linspace(-1, 1, height, device=device)
    xs = torch.linspace(-1, 1, width, device=device)
    return torch.stack(torch.meshgrid(ys, xs, indexing="ij")[::-1], dim=-1)


@lru_cache(maxsize=8)
def tps_basis(height: int, width: int, device: torch.device | str = "cpu") -> Tensor:
    """Basis ``[H * W, 103]``: kernel U(r2) = r2 ln(r2 + 1e-5) to each control point, then 1, x, y."""
    pixels = regular_grid(height, width, device).view(-1, 2)
    control = regular_grid(CONTROL, CONTROL, device).view(-1, 2)
    r2 = (pixels[:, None] - control).square().sum(2)
    kernel = r2 * torch.log(r2 + 1e-5)
    return torch.cat([kernel, torch.ones_like(pixels[:, :1]), pixels], dim=1)


def warp_grid(weights: Tensor, height: int, width: int) -> Tensor:
    """Sampling grids ``[B, H, W, 2]`` of warps ``[B, 103, 2]``: where each output pixel looks in the input."""
    basis = tps_basis(height, width, weights.device)
    batch = len(weights)
    # One plane per coordinate: a product with rows as long as the image is ten times faster than one with two columns.
    planes = weights.transpose(1, 2).reshape(2 * batch, -1) @ basis.t()  # [2B, HW]
    return planes.view(batch, 2, height, width).permute(0, 2, 3, 1)


def resample(images: Tensor, grid: Tensor) -> Tensor:
    """Sample ``[B, C, H, W]`` at grids ``[B, H', W', 2]``; outside is zero."""
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=True)


def pixels_from_grid(grid: Tensor, height: int, width: int) -> Tensor:
    """Grid coordinates in -1..1 -> pixels of an image of the given size."""
    return (grid + 1) * 0.5 * grid.new_tensor([width - 1, height - 1])


def grid_from_pixels(pixels: Tensor, height: int, width: int) -> Tensor:
    """Inverse of :func:`pixels_from_grid`."""
    return pixels * 2 / pixels.new_tensor([width - 1, height - 1]) - 1


def crop_grid(grid: Tensor, crop: int) -> Tensor:
    """Cut ``crop`` pixels off each side of grids ``[B, H, W, 2]`` and express them in the cropped frame.

    Values may leave -1..1: the pixel then comes from outside the cropped image.
    """
    if not crop:
        return grid
    height, width = grid.shape[1:3]
    pixels = pixels_from_grid(grid, height, width)[:, crop:-crop, crop:-crop] - crop
    return grid_from_pixels(pixels, height - 2 * crop, width - 2 * crop)


def crop_images(images: Tensor, crop: int) -> Tensor:
    """Cut ``crop`` pixels off each side of ``[B, C, H, W]``."""
    return images[..., crop:-crop, crop:-crop] if crop else images


def carry_points(points: Tensor, grid: Tensor) -> Tensor:
    """Where points of the input land in the output: the pixel whose grid value is nearest.

    This inverts the warp by an exhaustive search for the nearest of all H x W grid values, so positions are whole
    pixels and stick to the border when the point left the frame. It gives what the published nearest-neighbour tree
    gives, without building a tree per image.

    Args:
        points: ``[B, K, 2]`` xy in pixels of the input image.
        grid: ``[B, H, W, 2]`` sampling grids.

    Returns:
        ``[B, K, 2]`` whole pixels, in the precision of the points.
    """
    height, width = grid.shape[1:3]
    # Distances are compared in float64 normalised coordinates; ties go to the first pixel in row-major order.
    wanted = grid_from_pixels(points.double(), height, width)
    index = nearest_values(wanted, grid.flatten(1, 2))
    return torch.stack([index % width, index // width], dim=2).to(points.dtype)


def published_positions(points: Tensor, height: int, width: int, crop: int = 0) -> Tensor:
    """Whole pixels as the published code held them: read off its float32 grid, whose rounding they carry.

    At 100 pixels cut by 15 the pixel 35 is 34.999996 there. The rounding decides between two grid points of
    descriptors wherever a pixel lies half way between them (17.5 steps of two pixels), so the published matches are
    only met with it.

    Args:
        points: ``[..., 2]`` whole pixels of the cropped image.
        height: Of the image before it was cropped.
        width: Likewise.
        crop: Pixels cut off each side.

    Returns:
        ``[..., 2]`` float32, each within 1e-5 of the point.
    """
    pixels = pixels_from_grid(regular_grid(height, width), height, width) - crop
    places = points.round().long().cpu() + crop
    columns, rows = places[..., 0].clamp(0, width - 1), places[..., 1].clamp(0, height - 1)
    return pixels[rows, columns].to(points.device)


def carry_points_smoothly(points: Tensor, grid: Tensor) -> Tensor:
    """Like :func:`carry_points` to a fraction of a pixel: one Newton step from the nearest pixel.

    Args:
        points: ``[B, K, 2]`` xy in pixels of the input image.
        grid: ``[B, H, W, 2]`` sampling grids.

    Returns:
        ``[B, K, 2]`` pixels of the output; NaN for points that leave the frame by more than a pixel.
    """
    batch, height, width = grid.shape[:3]
    sources = pixels_from_grid(grid, height, width)
    near = carry_points(points, grid).long()
    columns, rows = near[..., 0].clamp(1, width - 2), near[..., 1].clamp(1, height - 2)
    which = torch.arange(batch, device=grid.device)[:, None]
    along_x = (sources[which, rows, columns + 1] - sources[which, rows, columns - 1]) / 2
    along_y = (sources[which, rows + 1, columns] - sources[which, rows - 1, columns]) / 2
    offset = points - sources[which, rows, columns]
    determinant = along_x[..., 0] * along_y[..., 1] - along_x[..., 1] * along_y[..., 0]
    step_x = (offset[..., 0] * along_y[..., 1] - offset[..., 1] * along_y[..., 0]) / determinant
    step_y = (along_x[..., 0] * offset[..., 1] - along_x[..., 1] * offset[..., 0]) / determinant
    moved = torch.stack([columns + step_x, rows + step_y], dim=-1)
    limit = moved.new_tensor([width, height])
    inside = ((moved >= -1) & (moved <= limit)).all(-1, keepdim=True)
    return torch.where(inside, moved, torch.nan)


@dataclass
class WarpedPair:
    """Two views of each image of a batch and the dense map between them, cropped.

    Attributes:
        first: ``[B, C, h, w]`` twice-warped images (sources of the loss).
        second: ``[B, C, h, w]`` once-warped images (targets of the loss).
        grid: ``[B, h, w, 2]``: for each pixel of ``first`` its place in ``second``, in -1..1 of the cropped frame.
        first_points: ``[B, K, 2]`` landmarks in ``first``, or None.
        second_points: ``[B, K, 2]`` landmarks in ``second``, or None.
    """

    first: Tensor
    second: Tensor
    grid: Tensor
    first_points: Tensor | None = None
    second_points: Tensor | None = None

    def flow(self) -> Tensor:
        """``[B, h, w, 2]`` displacement in pixels from each pixel of ``first`` to its place in ``second``."""
        height, width = self.grid.shape[1:3]
        here = pixels_from_grid(regular_grid(height, width, self.grid.device), height, width)
        return pixels_from_grid(self.grid, height, width) - here


def warp_pair(
    images: Tensor, weights1: Tensor, weights2: Tensor, crop: int = 0, points: Tensor | None = None
) -> WarpedPair:
    """Warp each image once, and the result once more.

    The second image is resampled a second time (not through composed grids), as published.

    Args:
        images: ``[B, C, H, W]``.
        weights1: ``[B, 103, 2]`` first warps.
        weights2: ``[B, 103, 2]`` second warps.
        crop: Pixels cut off each side afterwards.
        points: ``[B, K, 2]`` landmarks in pixels of ``images``, carried along when given.
    """
    height, width = images.shape[-2:]
    grid1, grid2 = warp_grid(torch.cat([weights1, weights2]), height, width).chunk(2)
    once = resample(images, grid1)
    twice = resample(once, grid2)
    pair = WarpedPair(crop_images(twice, crop), crop_images(once, crop), crop_grid(grid2, crop))
    if points is not None:
        points_once = carry_points(points, grid1)
        pair.second_points = points_once - crop
        pair.first_points = carry_points(points_once, grid2) - crop
    return pair


def warp_single(
    images: Tensor, weights: Tensor, crop: int = 0, points: Tensor | None = None
) -> tuple[Tensor, Tensor | None]:
    """Warp each image once (the limited-annotation runs): cropped images and carried points."""
    height, width = images.shape[-2:]
    grid = warp_grid(weights, height, width)
    warped = crop_images(resample(images, grid), crop)
    return warped, None if points is None else carry_points(points, grid) - crop
