"""Fits a head model to 68 landmarks: pose, camera, identity and expression of many faces at once.

The given jaw points follow the visible outline (scheme ``68``): in each round the model's lie where the outline of the
head is in the pose found so far (heads/jaw.py). What is minimised stands in heads/fit_residuals.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from lineament.errors import DataError, UsageError
from lineament.geometry.affine_fit import fit_affine
from lineament.geometry.least_squares import levenberg_marquardt
from lineament.geometry.rotation import pose_from_matrix
from lineament.heads.fit_residuals import (
    CAMERA,
    INNER,
    JAW,
    JAW_NOISE,
    LAYOUT,
    MODEL_NOISE,
    NEARNESS,
    NEARNESS_STD,
    NOISE,
    WIDEST,
    Cameras,
    FitBasis,
    HeadResiduals,
    fit_basis,
    seen_basis,
)
from lineament.heads.model import HeadModel

# The jaw is laid on the outline so often, and so many steps are taken each time.
ROUNDS, STEPS = 2, 8
TOLERANCE = 1e-4
# Singular values of an affine map below this share of the largest: the points lie on a line.
FLAT = 1e-6


@dataclass(frozen=True)
class HeadCamera:
    """How a fitted head is seen: in perspective, with a focal length that only its distance gives a meaning.

    Attributes:
        rotation: ``[3, 3]`` float64, head frame to camera frame.
        scale: Pixels per millimetre at the anchor.
        shift: ``[2]`` where the anchor is seen, pixels.
        nearness: One over the camera's distance from the anchor, 1/mm; 0 under scaled orthographic projection.
        anchor: ``[3]`` point of the head frame, millimetres.
    """

    rotation: Tensor
    scale: float
    shift: Tensor
    nearness: float
    anchor: Tensor

    def project(self, points: Tensor) -> Tensor:
        """Project points ``[..., 3]`` of the head frame: x and y in pixels, z in pixels behind the anchor."""
        turned = (points - self.anchor) @ self.rotation.mT
        shrink = 1 / (1 + self.nearness * turned[..., 2:])
        return torch.cat(
            [self.scale * shrink * turned[..., :2] + self.shift, self.scale * turned[..., 2:]], dim=-1
        )


@dataclass(frozen=True)
class HeadFit:
    """A head placed over an image.

    Attributes:
        head: The model.
        identity: ``[I]`` float64 coefficients.
        expression: ``[E]`` activations in 0..1; expressions that no landmark shows stay 0.
        camera: How it is seen.
        error: Mean distance between the model's landmarks and the given ones, in shares of the distance between the
            outer eye corners of the fitted head, seen from the front.
    """

    head: HeadModel
    identity: Tensor
    expression: Tensor
    camera: HeadCamera
    error: float

    @cached_property
    def vertices(self) -> Tensor:
        """``[V, 3]`` float64: x and y in pixels of the image, z in pixels too, growing away from the camera."""
        shape = self.head.vertices(self.identity[None].float().numpy(), self.expression[None].float().numpy())
        return self.camera.project(torch.from_numpy(shape[0]).double())

    @cached_property
    def landmarks(self) -> Tensor:
        """``[68, 3]`` landmarks of scheme ``68`` in the frame of the vertices, the jaw on the visible outline."""
        return torch.from_numpy(self.head.landmarks(self.vertices[None].float().numpy(), "68")[0]).double()

    @cached_property
    def fixed(self) -> Tensor:
        """``[68, 3]`` landmarks of scheme ``68-3d`` in the frame of the vertices."""
        return torch.from_numpy(self.head.landmarks(self.vertices[None].float().numpy())[0]).double()

    @property
    def rotation(self) -> Tensor:
        """``[3, 3]`` head frame to camera frame."""
        return self.camera.rotation

    @property
    def scale(self) -> float:
        """Pixels per millimetre of the model."""
        return self.camera.scale

    @property
    def eye_depth(self) -> Tensor:
        """Depth midway between the outer eye corners, pixels: what depths of landmarks are counted from."""
        return self.landmarks[LAYOUT.ocular_points(), 2].mean()

    @property
    def pose(self) -> Tensor:
        """``[3]`` yaw, pitch, roll in radians, ``R = Rz(roll) Rx(pitch) Ry(yaw)``."""
        return pose_from_matrix(self.rotation)

    @property
    def expressions(self) -> dict[str, float]:
        """Activation of each expression by its name."""
        return dict(zip(self.head.expression_names, self.expression.tolist(), strict=True))

    def to_fixed(self, points: Tensor) -> Tensor:
        """Points ``[68, 2]`` of scheme ``68`` in the image, the jaw carried from the outline to its fixed places."""
        return points.to(self.fixed) - (self.landmarks - self.fixed)[:, :2]


def fit_head(
    head: HeadModel, points: Tensor, std: Tensor | None = None, image_size: tuple[int, int] | None = None
) -> HeadFit:
    """Fit a head to the landmarks of one face; see :func:`fit_heads`.

    Args:
        head: The model.
        points: ``[68, 2]``.
        std: ``[68]``, or None.
        image_size: Width and height, or None.

    Raises:
        DataError: If the points coincide or lie on a line.
    """
    return fit_heads(head, points[None], None if std is None else std[None], image_size)[0]


def fit_heads(
    head: HeadModel, points: Tensor, std: Tensor | None = None, image_size: tuple[int, int] | None = None
) -> list[HeadFit]:
    """Fit a head to the landmarks of each face of an image.

    Levenberg-Marquardt over camera and coefficients together: Huber's loss on the points, a normal prior on identity,
    one on expressions with walls at 0 and 1, and one on the camera's distance.

    Args:
        head: The model.
        points: ``[B, 68, 2]`` xy in pixels, of scheme ``68``.
        std: ``[B, 68]`` predicted standard deviation of each point's coordinates in pixels; all points count alike, but
            for the jaw, when None.
        image_size: Width and height of the image, which bound how near the camera can be; unknown when None.

    Returns:
        The fits, in the order of the faces.

    Raises:
        DataError: If the points of a face are not finite, coincide, or lie on a line.
        UsageError: If the shapes do not fit.
    """
    if points.ndim != 3 or tuple(points.shape[1:]) != (len(LAYOUT), 2):
        raise UsageError(f"a head is fitted to points [B, 68, 2], not {list(points.shape)}.")
    if std is not None and std.shape != points.shape[:2]:
        raise UsageError(f"the std of {len(points)} faces is [{len(points)}, 68], not {list(std.shape)}.")
    if not len(points):
        return []
    basis = fit_basis(head)
    target = points.detach().double().cpu()
    cameras = _start(basis, target)
    unit = basis.unit * cameras.scale
    noise = _noise(unit, None if std is None else std.detach().double().cpu())
    nearness, spread = _expected_nearness(cameras.scale, image_size)
    cameras = Cameras(cameras.rotation, cameras.scale, cameras.shift, nearness)
    directions = basis.directions.shape[1]
    x = target.new_zeros(len(target), CAMERA + len(basis.fixed) - 1)
    for _ in range(ROUNDS):
        seen = seen_basis(head, x[:, CAMERA:], cameras.rotation)
        problem = HeadResiduals(seen, directions, target, noise, cameras, nearness, spread, unit)
        x = levenberg_marquardt(
            problem, x, jacobian=problem.jacobian, steps=STEPS, tolerance=TOLERANCE
        ).parameters
        pixels, _, _, cameras = problem.project(x)
        x = torch.cat([torch.zeros_like(x[:, :CAMERA]), x[:, CAMERA:]], 1)
    errors = (pixels - target).norm(dim=-1).mean(1) / (basis.unit * cameras.scale)
    return [
        _result(head, basis, cameras, x[face, CAMERA:], face, float(errors[face]))
        for face in range(len(target))
    ]


def _start(basis: FitBasis, target: Tensor) -> Cameras:
    """Scaled orthographic cameras of the mean face, without its jaw: closed form."""
    if not bool(torch.isfinite(target).all()):
        raise DataError("a landmark is not a finite number: a head is fitted to all 68 points.")
    mean = torch.from_numpy(basis.fixed[0, INNER]).expand(len(target), -1, -1)
    inner = target[:, INNER]
    if float(inner.std(1).norm(dim=-1).min()) < 0.5:
        raise DataError("the landmarks lie within one pixel of each other: no head can be fitted to them.")
    affine = fit_affine(mean[..., :2], mean[..., 2], inner)[:, :, :3]
    left, values, right = torch.linalg.svd(affine, full_matrices=False)
    if bool((values[:, 1] <= FLAT * values[:, 0]).any()):
        raise DataError("the landmarks lie on one line: no head can be fitted to them.")
    two = left @ right  # nearest pair of orthonormal rows
    rotation = torch.cat([two, torch.linalg.cross(two[:, 0], two[:, 1], dim=-1)[:, None]], 1)
    scale = values.mean(1)
    shift = (inner - scale[:, None, None] * mean @ two.mT).mean(1)
    return Cameras(rotation, scale, shift, torch.zeros_like(scale))


def _noise(unit: Tensor, std: Tensor | None) -> Tensor:
    """Expected errors ``[B, 68]`` in pixels."""
    if std is None:
        noise = NOISE * unit[:, None].expand(-1, len(LAYOUT)).clone()
    else:
        # What is not a number says nothing: as uncertain as a whole face is large.
        known = torch.where(torch.isfinite(std) & (std >= 0), std, unit[:, None])
        noise = torch.hypot(known, MODEL_NOISE * unit[:, None])
    noise[:, JAW] *= JAW_NOISE
    return noise


def _expected_nearness(scale: Tensor, image_size: tuple[int, int] | None) -> tuple[Tensor, Tensor]:
    """Expected nearness of each camera and its standard deviation, 1/mm ``[B]``."""
    expected, spread = torch.full_like(scale, NEARNESS), torch.full_like(scale, NEARNESS_STD)
    if image_size is not None:
        # With the focal length in pixels, the distance is that over the scale.
        nearest = scale * 2 * WIDEST / max(image_size)
        expected, spread = torch.minimum(expected, nearest / 2), torch.minimum(spread, nearest / 2)
    return expected, spread


def _result(
    head: HeadModel, basis: FitBasis, cameras: Cameras, coefficients: Tensor, face: int, error: float
) -> HeadFit:
    directions = basis.directions.shape[1]
    identity = torch.from_numpy(basis.directions @ coefficients[:directions].numpy())
    expression = torch.zeros(len(head.expression), dtype=torch.float64)
    expression[torch.from_numpy(basis.expressions)] = coefficients[directions:].clamp(0, 1)
    camera = HeadCamera(
        cameras.rotation[face],
        float(cameras.scale[face]),
        cameras.shift[face],
        float(cameras.nearness[face].clamp(min=0)),
        torch.from_numpy(np.asarray(basis.anchor)),
    )
    return HeadFit(head, identity, expression, camera, error)
