"""What a fit of a head to landmarks minimises: robust errors of 68 points, and priors on shape and camera.

A point is seen at ``scale * X / (1 + nearness * Z) + shift``, with ``(X, Y, Z)`` the point in the camera frame counted
from the middle of the mean face: scaled orthographic projection at a nearness of zero, and else the perspective of a
camera at the distance ``1 / nearness`` of which no focal length is known.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from lineament.faces.schemes import scheme
from lineament.geometry.rotation import cross_matrix, matrix_from_axis_angle
from lineament.heads.jaw import visible_places
from lineament.heads.model import HeadModel

LAYOUT = scheme("68")
JAW = list(LAYOUT.contour("jaw"))
INNER = [index for index in range(len(LAYOUT)) if index not in JAW]
# All lengths in shares of the distance between the outer eye corners of the head, seen from the front.
# Error of a landmark, with what no head of the model can follow, where none is predicted; and what is added to it where
# one is.
NOISE, MODEL_NOISE = 0.025, 0.012
# Where along the outline a jaw point lies is known less well than where a corner is: its error is so many times larger.
JAW_NOISE = 2.0
# Errors count by their square up to so many times what is expected, and by their size beyond (Huber 1964).
HUBER = 1.5
# An activation of one is a whole expression: rarer than one standard deviation of identity.
EXPRESSION_PRIOR = 2.0
# Steepness of the walls at activations of 0 and 1 and at a camera that is infinitely far away.
WALL = 20.0
# Expected nearness of the camera and its standard deviation, 1/mm.
NEARNESS, NEARNESS_STD = 8e-4, 6e-4
# No lens sees more than once its focal length to either side of the middle of an image, and a crop sees less.
WIDEST = 1.0
# Directions in which identities move landmarks by less than the others hardly count: so many are fitted.
IDENTITY_DIRECTIONS = 24
# An expression that moves all landmarks together by less than this, in millimetres, cannot be seen in them.
LEAST_EFFECT = 0.5
# Rotation, log scale, shift, nearness.
CAMERA = 7


@dataclass(frozen=True)
class FitBasis:
    """A head reduced to what moves its landmarks.

    Attributes:
        fixed: ``[1 + M, 68, 3]`` float64: landmarks of scheme ``68-3d`` of the mean face, counted from ``anchor``, then
            their change with each coefficient: ``directions`` of identity, then expressions.
        curves: ``[1 + M, 17, S, 3]`` the same of the samples of the jaw's curves; S = 0 where there are none.
        directions: ``[I, D]`` orthonormal columns: identity = directions @ coefficients.
        expressions: Numbers of the expressions that are fitted.
        anchor: ``[3]`` middle of the mean face in the head frame, millimetres.
        unit: Distance of the outer eye corners of the mean face, millimetres.
    """

    fixed: np.ndarray
    curves: np.ndarray
    directions: np.ndarray
    expressions: np.ndarray
    anchor: np.ndarray
    unit: float


def fit_basis(head: HeadModel) -> FitBasis:
    """The reduced head, kept for the heads used last.

    With a normal prior of one on each identity coefficient, the best identity lies in the span of the directions that
    move landmarks, and its coefficients there have the same prior: leaving the weak ones out changes next to nothing.
    """
    return _basis_of(_Same(head))


class _Same:
    """A head as a key: itself and no other."""

    def __init__(self, head: HeadModel) -> None:
        self.head = head

    def __hash__(self) -> int:
        return id(self.head)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.head is self.head


@lru_cache(maxsize=4)
def _basis_of(same: _Same) -> FitBasis:
    head = same.head
    basis, count = head.landmark_basis, len(head.identity)
    left = np.linalg.svd(basis[1 : 1 + count].reshape(count, -1), full_matrices=False)[0]
    directions = left[:, :IDENTITY_DIRECTIONS]
    effects = np.linalg.norm(basis[1 + count :].reshape(len(head.expression), -1), axis=1)
    expressions = np.flatnonzero(effects > LEAST_EFFECT)
    anchor = basis[0].mean(0)

    def reduced(values: np.ndarray) -> np.ndarray:
        identity = np.tensordot(directions.T, values[1 : 1 + count], 1)
        return np.concatenate([values[:1] - anchor, identity, values[1 + count :][expressions]])

    left_eye, right_eye = basis[0, LAYOUT.ocular_points()]
    unit = float(np.linalg.norm(left_eye - right_eye))
    return FitBasis(reduced(basis), reduced(head.jaw_basis), directions, expressions, anchor, unit)


def seen_basis(head: HeadModel, coefficients: Tensor, rotation: Tensor) -> Tensor:
    """The reduced basis of each face with its jaw where the outline is in its pose: ``[B, 1 + M, 68, 3]``.

    The normals are those of the mean face: the outline moves with the pose far more than with the person.

    Args:
        head: The head.
        coefficients: ``[B, M]``.
        rotation: ``[B, 3, 3]``.
    """
    basis = fit_basis(head)
    seen = np.repeat(basis.fixed[None], len(rotation), axis=0)
    if head.jaw is None:
        return torch.from_numpy(seen)
    for face, (values, turn) in enumerate(zip(coefficients.numpy(), rotation.numpy(), strict=True)):
        samples = basis.curves[0] + np.tensordot(values, basis.curves[1:], 1)  # [17, S, 3]
        step, share = visible_places(head.jaw.outward, samples @ turn[:2].T, head.jaw_normals @ turn[2])
        rows, after = np.arange(len(step)), np.minimum(step + 1, samples.shape[1] - 1)
        before, beyond = basis.curves[:, rows, step], basis.curves[:, rows, after]
        seen[face][:, JAW] = (1 - share)[:, None] * before + share[:, None] * beyond
    return torch.from_numpy(seen)


@dataclass(frozen=True)
class Cameras:
    """The cameras of B faces.

    Attributes:
        rotation: ``[B, 3, 3]`` head frame to camera frame.
        scale: ``[B]`` pixels per millimetre at the middle of the face.
        shift: ``[B, 2]`` where that is seen, pixels.
        nearness: ``[B]`` one over the distance of the camera, 1/mm; 0 where it is infinitely far away.
    """

    rotation: Tensor
    scale: Tensor
    shift: Tensor
    nearness: Tensor


class HeadResiduals:
    """Residuals ``[B, R]`` of B faces and their Jacobian, for :func:`lineament.geometry.least_squares`.

    Parameters ``[B, 7 + M]``: a rotation (axis-angle, applied after that of ``start``), the logarithm of a factor of
    the scale, a shift over ``unit``, a change of nearness over ``spread``, and the coefficients.

    Args:
        basis: ``[B, 1 + M, 68, 3]`` from :func:`seen_basis`.
        directions: How many of the coefficients are identity's.
        target: ``[B, 68, 2]`` the landmarks in pixels.
        noise: ``[B, 68]`` their expected error in pixels.
        start: Cameras that the parameters count from.
        nearness: ``[B]`` expected nearness.
        spread: ``[B]`` its standard deviation.
        unit: ``[B]`` pixels between the outer eye corners.
    """

    def __init__(
        self,
        basis: Tensor,
        directions: int,
        target: Tensor,
        noise: Tensor,
        start: Cameras,
        nearness: Tensor,
        spread: Tensor,
        unit: Tensor,
    ) -> None:
        self.basis, self.directions = basis, directions
        self.target, self.noise = target, noise
        self.start, self.nearness, self.spread, self.unit = start, nearness, spread, unit

    def cameras(self, x: Tensor) -> Cameras:
        """The cameras that parameters stand for."""
        return Cameras(
            matrix_from_axis_angle(x[:, :3]) @ self.start.rotation,
            self.start.scale * x[:, 3].exp(),
            self.start.shift + x[:, 4:6] * self.unit[:, None],
            self.start.nearness + x[:, 6] * self.spread,
        )

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Cameras]:
        """Pixels ``[B, 68, 2]``, points in the camera frame, ``1 / (1 + nearness * Z)`` of each, and the cameras."""
        cameras = self.cameras(x)
        shape = self.basis[:, 0] + torch.einsum("bm,bmkc->bkc", x[:, CAMERA:], self.basis[:, 1:])
        points = shape @ cameras.rotation.mT
        shrink = 1 / (1 + cameras.nearness[:, None] * points[..., 2]).clamp(min=0.3)
        pixels = (cameras.scale[:, None] * shrink)[..., None] * points[..., :2] + cameras.shift[:, None]
        return pixels, points, shrink, cameras

    def __call__(self, x: Tensor) -> Tensor:
        """Residuals ``[B, 136 + M + 2]``; half the sum of their squares is what is minimised."""
        off = (self.project(x)[0] - self.target) / self.noise[..., None]
        errors = off * _huber(off)[0][..., None]
        return torch.cat([errors.flatten(1), self._priors(x)], 1)

    def jacobian(self, x: Tensor) -> Tensor:
        """``[B, R, P]``; the gradient is exact but for terms of second order in the rotation."""
        pixels, points, shrink, cameras = self.project(x)
        weight = _huber((pixels - self.target) / self.noise[..., None])[1] / self.noise  # [B, 68]
        across = cameras.scale[:, None] * shrink
        none, inwards = torch.zeros_like(across), -across * shrink * cameras.nearness[:, None]
        rows = [
            torch.stack([across, none, inwards * points[..., 0]], -1),
            torch.stack([none, across, inwards * points[..., 1]], -1),
        ]
        by_point = torch.stack(rows, -2)  # [B, 68, 2, 3]: pixels by the point in the camera frame
        left = torch.eye(3).to(x) + 0.5 * cross_matrix(x[:, :3])
        by_rotation = by_point @ -cross_matrix(points) @ left[:, None]
        flat = across[..., None] * points[..., :2]
        by_shift = torch.eye(2).to(x) * self.unit[:, None, None, None]
        by_nearness = -(shrink * points[..., 2] * self.spread[:, None])[..., None] * flat
        turned = self.basis[:, 1:] @ cameras.rotation.mT[:, None]  # [B, M, 68, 3]
        by_shape = torch.einsum("bkic,bmkc->bkim", by_point, turned)
        columns = [
            by_rotation,
            flat[..., None],
            by_shift.expand(*flat.shape, 2),
            by_nearness[..., None],
            by_shape,
        ]
        errors = (torch.cat(columns, -1) * weight[..., None, None]).flatten(1, 2)
        return torch.cat([errors, self._prior_slopes(x)], 1)

    def _priors(self, x: Tensor) -> Tensor:
        identity = x[:, CAMERA : CAMERA + self.directions]
        activation = x[:, CAMERA + self.directions :]
        expression = EXPRESSION_PRIOR * activation.clamp(0, 1) + WALL * (activation - activation.clamp(0, 1))
        nearness = self.start.nearness + x[:, 6] * self.spread
        expected = (nearness - self.nearness) / self.spread
        wall = WALL * (nearness / self.spread).clamp(max=0)
        return torch.cat([identity, expression, expected[:, None], wall[:, None]], 1)

    def _prior_slopes(self, x: Tensor) -> Tensor:
        batch, count = x.shape
        activation = x[:, CAMERA + self.directions :]
        slopes = x.new_ones(batch, count - CAMERA + 2)
        inside = (activation >= 0) & (activation <= 1)
        slopes[:, self.directions : -2] = torch.where(inside, EXPRESSION_PRIOR, WALL)
        behind = self.start.nearness + x[:, 6] * self.spread < 0
        slopes[:, -1] = torch.where(behind, WALL, 0.0)
        places = torch.tensor([*range(CAMERA, count), 6, 6])
        rows = x.new_zeros(batch, len(places), count)
        rows[:, torch.arange(len(places)), places] = slopes
        return rows


def _huber(off: Tensor) -> tuple[Tensor, Tensor]:
    """Factors of errors ``[B, 68, 2]`` and of their derivatives that make their squares Huber's loss: ``[B, 68]``."""
    size = off.norm(dim=-1).clamp(min=1e-9)
    outside = size > HUBER
    factor = torch.where(outside, (2 * HUBER * size - HUBER**2).clamp(min=0).sqrt() / size, 1.0)
    return factor, torch.where(outside, HUBER / size, 1.0) / factor
