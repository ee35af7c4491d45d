"""Landmarks from few labels in closed form: linear detectors for virtual points, then one ridge map to the whole shape.

The published regressor gives every landmark its own virtual points and learns all by gradient descent. With a handful
of labels two closed-form steps do the same job in seconds: each landmark's detector is the linear discriminant between
the descriptors found at that landmark and everywhere else, and one ridge regression over the positions of all virtual
points predicts the whole shape, so that a lost point is held in place by the others.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lineament.methods.dve.regressor import soft_argmax


class ShapeRegressor(nn.Module):
    """K landmarks from a descriptor map, fitted by two running least-squares problems.

    Feed labelled maps to :meth:`observe` and call :meth:`solve_detectors`; feed them (again, or others) to
    :meth:`accumulate` and call :meth:`solve_shape`. All sums are buffers, so a checkpoint in mid-fit continues exactly.

    Args:
        channels: Descriptor dimensions C.
        landmarks: Number of landmarks K; there is one virtual point per landmark.
        sharpness: Factor on the detector's score before the soft-argmax.
        ridge: Regularisation of the shape map, relative to the mean variance of its inputs.
    """

    def __init__(self, channels: int, landmarks: int, sharpness: float = 1.0, ridge: float = 1e-3) -> None:
        super().__init__()
        self.landmarks = landmarks
        self.sharpness = sharpness
        self.ridge = ridge
        inputs = 2 * landmarks + 1
        double = torch.float64
        # Sums over labelled maps: of descriptors at the landmarks, and first and second moments everywhere.
        self.register_buffer("point_sum", torch.zeros(landmarks, channels, dtype=double))
        self.register_buffer("point_count", torch.zeros(landmarks, dtype=double))
        self.register_buffer("map_sum", torch.zeros(channels, dtype=double))
        self.register_buffer("map_square", torch.zeros(channels, channels, dtype=double))
        self.register_buffer("map_count", torch.zeros((), dtype=double))
        self.register_buffer("detectors", torch.zeros(landmarks, channels))
        # Normal equations of the shape map.
        self.register_buffer("gram", torch.zeros(inputs, inputs, dtype=double))
        self.register_buffer("cross", torch.zeros(inputs, 2 * landmarks, dtype=double))
        self.register_buffer("shape_map", torch.zeros(inputs, 2 * landmarks))
        self.register_buffer("batches", torch.zeros((), dtype=torch.int64))

    point_sum: Tensor
    point_count: Tensor
    map_sum: Tensor
    map_square: Tensor
    map_count: Tensor
    detectors: Tensor
    gram: Tensor
    cross: Tensor
    shape_map: Tensor
    batches: Tensor

    def fit_batch(self, descriptors: Tensor, landmarks: Tensor, known: Tensor, detector_steps: int) -> Tensor:
        """Go one batch further in the fit: the first ``detector_steps`` batches fix the detectors, the others the map.

        Args:
            descriptors: ``[B, C, h, w]``.
            landmarks: ``[B, K, 2]`` in -1..1.
            known: ``[B, K]`` bool.
            detector_steps: Batches for the detectors.

        Returns:
            ``[B, K, 2]`` the current prediction for the batch.
        """
        if int(self.batches) < max(1, detector_steps):
            self.observe(descriptors, landmarks, known)
            self.solve_detectors()
            points = self.virtual_points(descriptors)
            if int(self.batches) == max(1, detector_steps) - 1:
                # With a single batch in all, the map must come from it too.
                points = self.accumulate(descriptors, landmarks)
                self.solve_shape()
            self.batches += 1
            return points
        self.accumulate(descriptors, landmarks)
        self.solve_shape()
        self.batches += 1
        return self(descriptors)[0]

    def observe(self, descriptors: Tensor, landmarks: Tensor, visible: Tensor) -> None:
        """Add labelled maps to the statistics of the detectors.

        Args:
            descriptors: ``[B, C, h, w]``.
            landmarks: ``[B, K, 2]`` in -1..1.
            visible: ``[B, K]`` bool; hidden points do not count. Points outside the map never do.
        """
        unit = F.normalize(descriptors, dim=1)
        sampled = F.grid_sample(unit, landmarks[:, None].to(unit.dtype), align_corners=True)[
            :, :, 0
        ]  # [B, C, K]
        used = (visible & (landmarks.abs() <= 1).all(-1)).double()
        self.point_sum += torch.einsum("bck,bk->kc", sampled.double(), used)
        self.point_count += used.sum(0)
        vectors = unit.double().permute(0, 2, 3, 1).reshape(-1, unit.shape[1])
        self.map_sum += vectors.sum(0)
        self.map_square += vectors.t() @ vectors
        self.map_count += len(vectors)

    def solve_detectors(self) -> None:
        """Compute the linear discriminants ``S^-1 (m_k - m)``, S the covariance of all descriptors.

        In these units the score at a landmark's mean descriptor exceeds the mean score by their squared Mahalanobis
        distance, so one sharpness suits any descriptors.
        """
        mean = self.map_sum / self.map_count
        covariance = self.map_square / self.map_count - mean[:, None] * mean
        loading = 0.01 * covariance.diagonal().mean() + 1e-12
        covariance = covariance + loading * torch.eye(len(mean), dtype=mean.dtype, device=mean.device)
        # A landmark never seen (always hidden) gets a flat detector: its soft-argmax is the centre of the map.
        seen = self.point_count > 0
        centred = self.point_sum / self.point_count.clamp(min=1)[:, None] - mean
        found = torch.linalg.solve(covariance, centred.t()).t() * seen[:, None]
        self.detectors.copy_(found)

    def virtual_points(self, descriptors: Tensor) -> Tensor:
        """Positions ``[B, K, 2]`` in -1..1 where the detectors answer."""
        scores = torch.einsum("bchw,kc->bkhw", F.normalize(descriptors.detach(), dim=1), self.detectors)
        return soft_argmax(self.sharpness * scores)

    def _inputs(self, points: Tensor) -> Tensor:
        return torch.cat([points.flatten(1), points.new_ones(len(points), 1)], dim=1)

    def accumulate(self, descriptors: Tensor, landmarks: Tensor) -> Tensor:
        """Add labelled maps to the normal equations of the shape map; returns the virtual points ``[B, K, 2]``."""
        points = self.virtual_points(descriptors)
        inputs = self._inputs(points).double()
        self.gram += inputs.t() @ inputs
        self.cross += inputs.t() @ landmarks.flatten(1).double()
        return points

    def solve_shape(self) -> None:
        """Solve the ridge regression; the constant is not regularised."""
        penalty = self.ridge * self.gram.diagonal()[:-1].mean().clamp(min=1e-12)
        weights = torch.full(
            (len(self.gram),), float(penalty), dtype=self.gram.dtype, device=self.gram.device
        )
        weights[-1] = 1e-9
        self.shape_map.copy_(torch.linalg.solve(self.gram + weights.diag(), self.cross))

    def forward(self, descriptors: Tensor) -> tuple[Tensor, Tensor]:
        """Landmarks and virtual points, both ``[B, K, 2]`` in -1..1, of maps ``[B, C, h, w]``."""
        points = self.virtual_points(descriptors)
        return (self._inputs(points) @ self.shape_map).view(-1, self.landmarks, 2), points
