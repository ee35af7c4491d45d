"""Affine transforms between the pixels of an image and those of a crop (conventions: docs/conventions.md)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lineament.errors import DataError


@dataclass(frozen=True)
class Affine2D:
    """An invertible 2x3 transform of the plane: ``q = A p + t``, source pixels to crop pixels, float64 inside.

    Most crops scale, rotate and shift; a few published ones squash the image too. :attr:`is_similarity` tells them
    apart. Pixel centres are at integers, x right, y down.

    Attributes:
        matrix: ``[2, 3]`` float64 on the CPU, ``[A | t]``.
    """

    matrix: Tensor  # [2, 3]

    def __post_init__(self) -> None:
        """Check shape, finiteness and invertibility; raises ``DataError`` otherwise."""
        matrix = torch.as_tensor(self.matrix).detach().to(device="cpu", dtype=torch.float64).clone()
        if matrix.shape != (2, 3):
            raise DataError(f"a plane transform is a 2x3 matrix, not one of shape {tuple(matrix.shape)}.")
        # In plain numbers: a loader makes a dozen transforms for every image.
        (a, b, x), (c, d, y) = matrix.tolist()
        if not all(map(math.isfinite, (a, b, c, d, x, y))):
            raise DataError(f"a plane transform must be finite, not {matrix.tolist()}.")
        determinant = a * d - b * c
        if abs(determinant) < 1e-12 * max(map(abs, (a, b, c, d))) ** 2 or determinant == 0.0:
            raise DataError(f"a plane transform must be invertible, its determinant is {determinant:g}.")
        object.__setattr__(self, "matrix", matrix)

    @staticmethod
    def identity() -> Affine2D:
        """Return the transform that moves nothing."""
        return Affine2D(torch.eye(2, 3, dtype=torch.float64))

    @staticmethod
    def from_similarity(
        scale: float = 1.0, rotation: float = 0.0, translation: tuple[float, float] = (0.0, 0.0)
    ) -> Affine2D:
        """Build the similarity ``q = scale * R(rotation) p + translation``.

        Args:
            scale: Crop pixels per source pixel, positive.
            rotation: Radians, positive = clockwise on the screen (x towards y).
            translation: Crop pixels, xy.
        """
        c, s = scale * math.cos(rotation), scale * math.sin(rotation)
        return Affine2D(torch.tensor([[c, -s, translation[0]], [s, c, translation[1]]], dtype=torch.float64))

    @staticmethod
    def resize(source: tuple[float, float], target: tuple[float, float]) -> Affine2D:
        """Resize an image: ``q = (p + 0.5) * s - 0.5`` on each axis, with ``s = target / source``.

        Args:
            source: Width and height before, pixels.
            target: Width and height after, pixels.
        """
        sx, sy = target[0] / source[0], target[1] / source[1]
        shift = [0.5 * sx - 0.5, 0.5 * sy - 0.5]
        return Affine2D(torch.tensor([[sx, 0.0, shift[0]], [0.0, sy, shift[1]]], dtype=torch.float64))

    @staticmethod
    def window(box: tuple[float, float, float, float] | Tensor, size: tuple[float, float]) -> Affine2D:
        """Cut the box ``x0, y0, x1, y1`` (pixel edges, an image spans -0.5..W-0.5) and resize it to ``size`` (w, h).

        The edges of the box land on the edges of the crop, -0.5 and size - 0.5.

        Raises:
            DataError: If the box has no area.
        """
        x0, y0, x1, y1 = (float(edge) for edge in box)
        if not (x1 > x0 and y1 > y0):
            raise DataError(f"a crop needs a box with an area, not {[x0, y0, x1, y1]}.")
        sx, sy = size[0] / (x1 - x0), size[1] / (y1 - y0)
        rows = [[sx, 0.0, -0.5 - x0 * sx], [0.0, sy, -0.5 - y0 * sy]]
        return Affine2D(torch.tensor(rows, dtype=torch.float64))

    @staticmethod
    def quarter_turn(degrees: int, size: tuple[int, int]) -> Affine2D:
        """Follow the pixels of an image that is turned counter-clockwise, as ``torch.rot90`` turns it.

        The pixel ``(x, y)`` of an image of W x H goes to ``(y, W-1-x)`` at 90 degrees, to ``(W-1-x, H-1-y)`` at 180 and
        to ``(H-1-y, x)`` at 270. All numbers are integers, so that there and back is exact.

        Args:
            degrees: 0, 90, 180 or 270.
            size: Width and height of the image before, pixels.

        Raises:
            DataError: On another angle.
        """
        right, bottom = size[0] - 1.0, size[1] - 1.0
        rows = {
            0: [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]],
            90: [[0.0, 1.0, 0.0], [-1.0, 0.0, right]],
            180: [[-1.0, 0.0, right], [0.0, -1.0, bottom]],
            270: [[0.0, -1.0, bottom], [1.0, 0.0, 0.0]],
        }
        if degrees not in rows:
            raise DataError(f"an image is turned by 0, 90, 180 or 270 degrees, not by {degrees}.")
        return Affine2D(torch.tensor(rows[degrees], dtype=torch.float64))

    @property
    def linear(self) -> Tensor:
        """``[2, 2]`` part without the shift."""
        return self.matrix[:, :2]

    @property
    def translation(self) -> Tensor:
        """``[2]`` shift in crop pixels."""
        return self.matrix[:, 2]

    @property
    def scale(self) -> float:
        """Crop pixels per source pixel: the square root of the change of area."""
        return math.sqrt(abs(_determinant(self.matrix)))

    @property
    def axis_scales(self) -> tuple[float, float]:
        """Crop pixels per source pixel along the source's x and y axes."""
        return float(self.linear[:, 0].norm()), float(self.linear[:, 1].norm())

    @property
    def rotation(self) -> float:
        """Radians by which the x axis turns, positive = clockwise on the screen."""
        return math.atan2(float(self.matrix[1, 0]), float(self.matrix[0, 0]))

    @property
    def is_similarity(self) -> bool:
        """Whether angles are kept (no squashing, no mirror), to 1e-9 of the scale."""
        (a, b), (c, d) = self.linear.tolist()
        return max(abs(a - d), abs(b + c)) <= 1e-9 * max(self.scale, 1e-300)

    @property
    def is_axis_aligned(self) -> bool:
        """Whether x stays x and y stays y, with positive scales."""
        (a, b), (c, d) = self.linear.tolist()
        return b == 0.0 and c == 0.0 and a > 0.0 and d > 0.0

    def apply(self, points: Tensor) -> Tensor:
        """Move points.

        Args:
            points: ``[..., 2]`` xy in source pixels; NaN stays NaN.

        Returns:
            ``[..., 2]`` xy in crop pixels, same dtype and device; computed in float64.
        """
        matrix = self.matrix.to(points.device)
        moved = points.to(torch.float64) @ matrix[:, :2].T + matrix[:, 2]
        return moved.to(points.dtype if points.is_floating_point() else torch.float32)

    def apply_box(self, box: Tensor) -> Tensor:
        """Return the box around the four moved corners of ``box`` (``[..., 4]``, x0 y0 x1 y1)."""
        x0, y0, x1, y1 = box.unbind(-1)
        corners = torch.stack([x0, y0, x1, y0, x1, y1, x0, y1], dim=-1).unflatten(-1, (4, 2))  # [..., 4, 2]
        moved = self.apply(corners)
        return torch.cat([moved.amin(-2), moved.amax(-2)], dim=-1)

    def inverse(self) -> Affine2D:
        """Return the exact inverse: crop pixels to source pixels."""
        (a, b, x), (c, d, y) = self.matrix.tolist()
        determinant = a * d - b * c
        a, b, c, d = d / determinant, -b / determinant, -c / determinant, a / determinant
        return Affine2D(
            torch.tensor([[a, b, -(a * x + b * y)], [c, d, -(c * x + d * y)]], dtype=torch.float64)
        )

    def compose(self, first: Affine2D) -> Affine2D:
        """Return "``first``, then this": ``compose(first).apply(p) == self.apply(first.apply(p))``."""
        (a, b, x), (c, d, y) = self.matrix.tolist()
        (e, f, u), (g, h, v) = first.matrix.tolist()
        rows = [
            [a * e + b * g, a * f + b * h, a * u + b * v + x],
            [c * e + d * g, c * f + d * h, c * u + d * v + y],
        ]
        return Affine2D(torch.tensor(rows, dtype=torch.float64))

    def then(self, following: Affine2D) -> Affine2D:
        """Return "this, then ``following``"."""
        return following.compose(self)

    def homogeneous(self) -> Tensor:
        """Return the transform as a ``[3, 3]`` float64 matrix."""
        return torch.cat([self.matrix, self.matrix.new_tensor([[0.0, 0.0, 1.0]])])


def _determinant(matrix: Tensor) -> float:
    (a, b), (c, d) = matrix[:, :2].tolist()
    return a * d - b * c
