"""Fits a head model to 68 landmarks of one picture: pose, size, identity and expression, seen from far away.

The given jaw points follow the visible outline (scheme ``68``): in each round the model's lie where the outline of the
head is in the pose found so far (heads/jaw.py).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import lsq_linear
from torch import Tensor

from lineament.errors import DataError
from lineament.faces.schemes import scheme
from lineament.geometry.affine_fit import fit_affine
from lineament.geometry.rotation import pose_from_matrix
from lineament.heads.jaw import visible_places
from lineament.heads.model import HeadModel

ROUNDS = 8
# Landmark error in shares of the inter-ocular distance at which a coefficient of one standard deviation is worth it.
NOISE = 0.02
# An activation of one is a whole expression: rarer than one standard deviation of identity.
EXPRESSION_PRIOR = 2.0
# Where along the outline a jaw point lies is known less well than where a corner is.
OUTLINE_WEIGHT = 0.4
# Millimetres between a jaw point's fixed place and its place on the outline beyond which it counts less.
SLID, SLID_WEIGHT = 8.0, 0.1


@dataclass(frozen=True)
class HeadFit:
    """A head placed over a picture under scaled orthographic projection.

    Attributes:
        head: The model.
        vertices: ``[V, 3]`` float64: x and y in pixels of the picture, z in pixels too, growing away from the camera.
        landmarks: ``[68, 3]`` the model's landmarks of scheme ``68`` in the same frame, the jaw on the visible outline.
        fixed: ``[68, 3]`` those of scheme ``68-3d``.
        rotation: ``[3, 3]`` head frame to camera frame.
        scale: Pixels per millimetre of the model.
        error: Mean distance between the model's landmarks and the given ones, in shares of the inter-ocular distance.
    """

    head: HeadModel
    vertices: Tensor
    landmarks: Tensor
    fixed: Tensor
    rotation: Tensor
    scale: float
    error: float

    @property
    def eye_depth(self) -> Tensor:
        """Depth midway between the outer eye corners, pixels: what depths of keypoints are counted from."""
        return self.landmarks[scheme("68").ocular_points(), 2].mean()

    @property
    def pose(self) -> Tensor:
        """``[3]`` yaw, pitch, roll in radians."""
        return pose_from_matrix(self.rotation)

    def to_fixed(self, points: Tensor) -> Tensor:
        """Points ``[68, 2]`` of scheme ``68`` in the picture, the jaw carried from the outline to its fixed places."""
        return points.to(self.fixed) - (self.landmarks - self.fixed)[:, :2]


def fit_head(head: HeadModel, points: Tensor) -> HeadFit:
    """Fit a head to landmarks.

    Alternates between the camera (affine fit, made a scaled rotation) and a ridge fit of the coefficients, with
    activations of expressions kept in 0..1.

    Args:
        head: The model.
        points: ``[68, 2]`` xy in pixels, of scheme ``68``.

    Raises:
        DataError: If the points coincide or lie on a line, or no pose explains them.
    """
    target = points.detach().double().numpy()
    layout = scheme("68")
    left, right = layout.ocular_points()
    distance = float(np.linalg.norm(target[left] - target[right]))
    if not (np.isfinite(target).all() and distance > 1):
        raise DataError("the outer eye corners lie within one pixel of each other: no head can be fitted.")
    fixed, curves = head.landmark_basis, head.jaw_basis  # [1 + M, 68, 3], [1 + M, 17, S, 3]
    basis = fixed
    weights = np.ones(len(layout))
    weights[layout.part("outline")] = OUTLINE_WEIGHT
    coefficients = np.zeros(len(basis) - 1)
    outline = layout.part("outline")
    # Until a pose is known nothing tells where the outline is.
    known = np.delete(np.arange(len(layout)), outline)
    for _ in range(ROUNDS):
        shape = basis[0] + np.tensordot(coefficients, basis[1:], 1)
        scale, rotation, shift = _camera(shape[known], target[known], weights[known])
        basis = _seen_basis(head, fixed, curves, coefficients, rotation)
        # Points that slid far along the skin tell the shape but hold back the pose, which moves them.
        slid = np.linalg.norm(basis[0] - fixed[0], axis=1) > SLID
        known = np.flatnonzero(~slid)
        counted = np.where(slid, SLID_WEIGHT, weights)
        coefficients = _coefficients(basis, head, target, counted, scale, rotation, shift, distance)
    count = len(head.identity)
    vertices = head.vertices(
        coefficients[None, :count].astype(np.float32), coefficients[None, count:].astype(np.float32)
    )
    shape = head.seen_landmarks(
        (vertices[0] @ rotation.T.astype(np.float32)).astype(np.float32), perspective=False
    )
    shape = shape.astype(np.float64) @ rotation
    scale, rotation, shift = _camera(shape[known], target[known], weights[known])
    placed = scale * vertices[0].astype(np.float64) @ rotation.T + np.append(shift, 0.0)
    found = head.landmarks(placed[None].astype(np.float32), "68")[0]
    error = float(np.linalg.norm(found[:, :2] - target, axis=1).mean()) / distance
    return HeadFit(
        head,
        torch.from_numpy(placed),
        torch.from_numpy(found.astype(np.float64)),
        torch.from_numpy(head.landmarks(placed[None])[0].astype(np.float64)),
        torch.from_numpy(rotation),
        float(scale),
        error,
    )


def _seen_basis(
    head: HeadModel, fixed: np.ndarray, curves: np.ndarray, coefficients: np.ndarray, rotation: np.ndarray
) -> np.ndarray:
    """The basis of the landmarks with the jaw where the outline is in this pose: ``[1 + M, 68, 3]``.

    The normals are those of the neutral head: the outline moves with the pose far more than with the person.
    """
    if head.jaw is None:
        return fixed
    samples = curves[0] + np.tensordot(coefficients, curves[1:], 1)  # [17, S, 3]
    step, share = visible_places(head.jaw.outward, samples @ rotation[:2].T, head.jaw_normals @ rotation[2])
    rows, after = np.arange(len(step)), np.minimum(step + 1, curves.shape[2] - 1)
    seen = fixed.copy()
    seen[:, scheme("68").contour("jaw")] = (1 - share)[:, None] * curves[:, rows, step] + share[
        :, None
    ] * curves[:, rows, after]
    return seen


def _camera(
    shape: np.ndarray, target: np.ndarray, weights: np.ndarray
) -> tuple[float, np.ndarray, np.ndarray]:
    """Scale, rotation and shift of the scaled orthographic camera that sees ``shape`` at ``target``."""
    # Points of the outline count less; a fit without weights knows only how often a point comes.
    repeated = np.repeat(np.arange(len(shape)), np.round(weights / OUTLINE_WEIGHT * 2).astype(int))
    matrix = fit_affine(
        torch.from_numpy(shape[None, repeated, :2]),
        torch.from_numpy(shape[None, repeated, 2]),
        torch.from_numpy(target[None, repeated]),
    )[0].numpy()
    left, values, right = np.linalg.svd(matrix[:, :3], full_matrices=False)
    if not values.min() > 1e-6:
        raise DataError("the keypoints lie on one line: no head can be fitted to them.")
    two = left @ right  # nearest pair of orthonormal rows
    rotation = np.vstack([two, np.cross(two[0], two[1])])
    scale = float(values.mean())
    seen = scale * shape @ rotation[:2].T
    shift = np.average(target - seen, axis=0, weights=weights)
    return scale, rotation, shift


def _coefficients(
    basis: np.ndarray,
    head: HeadModel,
    target: np.ndarray,
    weights: np.ndarray,
    scale: float,
    rotation: np.ndarray,
    shift: np.ndarray,
    distance: float,
) -> np.ndarray:
    """Ridge fit of identity and expression under a given camera, activations in 0..1."""
    seen = scale * basis @ rotation[:2].T  # [1 + M, 68, 2]
    root = np.sqrt(weights)[:, None] / (NOISE * distance)
    wanted = ((target - shift - seen[0]) * root).ravel()
    effects = (seen[1:] * root).reshape(len(basis) - 1, -1).T
    count, expressions = len(head.identity), len(head.expression)
    prior = np.concatenate([np.ones(count), np.full(expressions, EXPRESSION_PRIOR)])
    system = np.vstack([effects, np.diag(prior)])
    right = np.concatenate([wanted, np.zeros(len(prior))])
    low = np.concatenate([np.full(count, -3.0), np.zeros(expressions)])
    high = np.concatenate([np.full(count, 3.0), np.ones(expressions)])
    solution: np.ndarray = lsq_linear(system, right, (low, high + 1e-9), method="bvls").x
    return solution
