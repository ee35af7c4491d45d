"""Least-squares similarities between point sets: scale, rotation and shift, never a reflection.

Umeyama, "Least-squares estimation of transformation parameters between two point patterns", PAMI 1991, eq. 40-43.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lineament.errors import DataError
from lineament.geometry.affine2d import Affine2D


@dataclass(frozen=True)
class Similarity:
    """A batch of similarities ``q = s R p + t`` of D-dimensional points.

    Attributes:
        scale: ``[...]``, 0 or more.
        rotation: ``[..., D, D]``, determinant 1.
        translation: ``[..., D]``.
    """

    scale: Tensor
    rotation: Tensor
    translation: Tensor

    def apply(self, points: Tensor) -> Tensor:
        """Transform points ``[..., K, D]``."""
        turned = points @ self.rotation.transpose(-1, -2)
        return self.scale[..., None, None] * turned + self.translation[..., None, :]

    def apply_inverse(self, points: Tensor) -> Tensor:
        """Transform points ``[..., K, D]`` back; not finite where the scale is 0."""
        turned = (points - self.translation[..., None, :]) @ self.rotation
        return turned / self.scale[..., None, None]


def umeyama(source: Tensor, target: Tensor, weights: Tensor | None = None) -> Similarity:
    """Minimise ``sum_k w_k |t_k - (s R p_k + t)|^2`` for each point set of a batch.

    Args:
        source: ``[..., K, D]`` points, D = 2 or 3.
        target: ``[..., K, D]`` where they should land.
        weights: ``[..., K]`` non-negative, not all zero; all one where None.

    Returns:
        The similarities, in the type of ``source``. Where all source points coincide the scale is 0; where the fit
        leaves the rotation open it is one of the best.

    Raises:
        DataError: If the shapes do not fit.
    """
    if source.shape != target.shape or source.ndim < 2 or source.shape[-1] not in (2, 3):
        raise DataError(
            "a similarity is fitted to two sets of matching xy or xyz points, "
            f"not to shapes {tuple(source.shape)} and {tuple(target.shape)}."
        )
    if weights is None:
        weights = torch.ones_like(source[..., 0])
    share = (weights / weights.sum(-1, keepdim=True))[..., None]  # [..., K, 1]
    source_mean, target_mean = (share * source).sum(-2), (share * target).sum(-2)
    centred_source, centred_target = source - source_mean[..., None, :], target - target_mean[..., None, :]
    covariance = (share * centred_target).transpose(-1, -2) @ centred_source  # [..., D, D]: target by source
    variance = (share * centred_source.square()).sum((-1, -2))
    along, rotation = (_plane if source.shape[-1] == 2 else _space)(covariance)
    scale = torch.where(variance > 0, along / torch.where(variance > 0, variance, 1), 0)
    turned_mean = (rotation @ source_mean[..., None])[..., 0]
    return Similarity(scale, rotation, target_mean - scale[..., None] * turned_mean)


def _plane(covariance: Tensor) -> tuple[Tensor, Tensor]:
    """Trace of ``R^T covariance`` and the rotation that makes it largest: in the plane without an SVD."""
    cosine = covariance[..., 0, 0] + covariance[..., 1, 1]
    sine = covariance[..., 1, 0] - covariance[..., 0, 1]
    along = torch.hypot(cosine, sine)
    open_ = along == 0
    divisor = torch.where(open_, 1, along)
    c, s = torch.where(open_, 1, cosine / divisor), sine / divisor
    return along, torch.stack([c, -s, s, c], -1).unflatten(-1, (2, 2))


def _space(covariance: Tensor) -> tuple[Tensor, Tensor]:
    left, values, right = torch.linalg.svd(covariance)
    # Without the sign the best orthogonal matrix may be a reflection.
    sign = torch.where(torch.linalg.det(left) * torch.linalg.det(right) < 0, -1.0, 1.0).to(values.dtype)
    signs = torch.stack([torch.ones_like(sign), torch.ones_like(sign), sign], -1)
    return (values * signs).sum(-1), left @ (signs[..., None] * right)


def fit_similarity(source: Tensor, target: Tensor, weights: Tensor | None = None) -> Affine2D:
    """Fit one similarity of the plane, with its input checked.

    Args:
        source: ``[K, 2]`` points, K >= 2.
        target: ``[K, 2]`` where they should land.
        weights: ``[K]`` weights of the squared errors, non-negative; all one where None.

    Raises:
        DataError: On wrong shapes, points that are not finite, or source points that coincide.
    """
    source, target = (points.detach().to("cpu", torch.float64) for points in (source, target))
    if source.shape != target.shape or source.ndim != 2 or source.shape[-1] != 2 or len(source) < 2:
        raise DataError(
            "a fit needs two sets of at least 2 matching xy points, "
            f"not shapes {tuple(source.shape)} and {tuple(target.shape)}."
        )
    if not bool(torch.isfinite(source).all() and torch.isfinite(target).all()):
        raise DataError("a fit needs finite points: leave out those that are NaN or infinite.")
    if weights is None:
        weights = torch.ones(len(source))
    weights = weights.detach().to("cpu", torch.float64)
    if weights.shape != (len(source),) or bool((weights < 0).any()) or not float(weights.sum()) > 0.0:
        raise DataError(f"a fit needs {len(source)} non-negative weights, not {weights.tolist()}.")
    used = source[weights > 0]
    spread = (used - used.mean(0)).square().sum()
    fit = umeyama(source, target, weights)
    if float(spread) <= 1e-20 * float(1.0 + used.abs().max() ** 2) or float(fit.scale) == 0.0:
        raise DataError(
            "cannot fit a similarity to points that coincide: give at least two different points."
        )
    return Affine2D(torch.cat([fit.scale * fit.rotation, fit.translation[:, None]], dim=1))
