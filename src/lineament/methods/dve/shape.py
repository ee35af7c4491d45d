"""Landmarks from few labels in closed form: linear detectors for all points, then a robust fit of a shape model.

The published regressor gives every landmark its own virtual points and learns all by gradient descent. With a handful
of labels two closed-form steps do the same job in seconds. Each landmark's detector is the linear discriminant between
the descriptors found around that landmark (3x3, two feature grid steps apart) and around everywhere else. Where the
detectors answer, a shape model (mean and modes of the labelled shapes, moved by a similarity; Cootes et al. 1995) is
fitted by reweighted least squares, so that points that are lost, or answer in two places, are held by the others - also
on images unlike the labelled ones.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lineament.geometry.umeyama import umeyama
from lineament.nn.soft_argmax import soft_moments

# Rounds of reweighting.
ROUNDS = 10
# Grid steps between the 3x3 descriptors that a detector looks at.
DILATION = 2
# Regularisation of the descriptors' covariance, relative to its mean variance.
LOADING = 0.1
# Error of a detector that answers in one sharp peak, in half views.
PRECISION = 0.03


class ShapeRegressor(nn.Module):
    """K landmarks from a descriptor map.

    Feed labelled maps to :meth:`fit_batch` in any number of batches. All sums are buffers, so a checkpoint in mid-fit
    continues exactly.

    Args:
        channels: Descriptor dimensions C.
        landmarks: Number of landmarks K.
        sharpness: Factor on the detectors' scores before the soft-argmax.
        modes: Principal modes of the shape model.
        outlier: Distance in -1..1 at which a point counts half.
    """

    def __init__(
        self, channels: int, landmarks: int, sharpness: float = 0.7, modes: int = 12, outlier: float = 0.1
    ) -> None:
        super().__init__()
        self.landmarks = landmarks
        self.sharpness = sharpness
        self.outlier = outlier
        double = torch.float64
        modes = min(modes, 2 * landmarks)
        channels = 9 * channels
        # Sums over labelled maps: of descriptors at the landmarks, and first and second moments everywhere.
        self.register_buffer("point_sum", torch.zeros(landmarks, channels, dtype=double))
        self.register_buffer("point_count", torch.zeros(landmarks, dtype=double))
        self.register_buffer("map_sum", torch.zeros(channels, dtype=double))
        self.register_buffer("map_square", torch.zeros(channels, channels, dtype=double))
        self.register_buffer("map_count", torch.zeros((), dtype=double))
        self.register_buffer("detectors", torch.zeros(landmarks, channels))
        # Sums over labelled shapes, aligned to the first one.
        self.register_buffer("reference", torch.zeros(landmarks, 2, dtype=double))
        self.register_buffer("shape_sum", torch.zeros(2 * landmarks, dtype=double))
        self.register_buffer("shape_square", torch.zeros(2 * landmarks, 2 * landmarks, dtype=double))
        # Shapes that have both coordinates of a pair: a label may lack points.
        self.register_buffer("shape_count", torch.zeros(2 * landmarks, 2 * landmarks, dtype=double))
        # Centre xy and spread of the labelled shapes, where they lie in the view; and their number.
        self.register_buffer("place_sum", torch.zeros(4, dtype=double))
        self.register_buffer("mean_shape", torch.zeros(landmarks, 2, dtype=double))
        self.register_buffer("modes", torch.zeros(modes, 2 * landmarks, dtype=double))
        self.register_buffer("variances", torch.zeros(modes, dtype=double))

    point_sum: Tensor
    point_count: Tensor
    map_sum: Tensor
    map_square: Tensor
    map_count: Tensor
    detectors: Tensor
    reference: Tensor
    shape_sum: Tensor
    shape_square: Tensor
    shape_count: Tensor
    place_sum: Tensor
    mean_shape: Tensor
    modes: Tensor
    variances: Tensor

    def fit_batch(
        self, descriptors: Tensor, landmarks: Tensor, known: Tensor, missing: Tensor | None = None
    ) -> Tensor:
        """Add labelled maps and solve anew.

        Args:
            descriptors: ``[B, C, h, w]``.
            landmarks: ``[B, K, 2]`` in -1..1; a shape with a NaN where no label is missing teaches detectors only.
            known: ``[B, K]`` bool; hidden points teach no detector.
            missing: ``[B, K]`` bool: points without a label, whatever number stands there; none when None.

        Returns:
            ``[B, K, 2]`` the prediction for the batch after the fit.
        """
        missing = torch.zeros_like(known) if missing is None else missing
        landmarks = landmarks.masked_fill(missing[..., None], torch.nan)
        finite = torch.isfinite(landmarks).all(-1)
        self._observe_descriptors(descriptors, torch.nan_to_num(landmarks), known & finite)
        for shape in landmarks[(finite | missing).all(1)].double():
            self._observe_shape(shape)
        self._solve_detectors()
        self._solve_modes()
        return self(descriptors)[0]

    def _observe_descriptors(self, descriptors: Tensor, landmarks: Tensor, known: Tensor) -> None:
        unit = neighbourhoods(descriptors)
        sampled = F.grid_sample(unit, landmarks[:, None].to(unit.dtype), align_corners=True)[
            :, :, 0
        ]  # [B, C, K]
        used = (known & (landmarks.abs() <= 1).all(-1)).double()
        self.point_sum += torch.einsum("bck,bk->kc", sampled.double(), used)
        self.point_count += used.sum(0)
        vectors = unit.flatten(2)  # [B, C, N]
        self.map_sum += vectors.sum((0, 2), dtype=torch.float64)
        # In float32 for one map, in float64 over maps: twice as fast, and far finer than the loading.
        self.map_square += torch.bmm(vectors, vectors.mT).sum(0, dtype=torch.float64)
        self.map_count += vectors.shape[0] * vectors.shape[2]

    def _observe_shape(self, shape: Tensor) -> None:
        """Add one shape ``[K, 2]``; what it lacks (NaN) takes no part in the means of those points."""
        has = torch.isfinite(shape).all(-1)
        if int(has.sum()) < 2:
            return
        if not float(self.shape_count.max()):
            first = shape - shape[has].mean(0)
            self.reference.copy_(first / first[has].norm())
        common = has & torch.isfinite(self.reference).all(-1)
        # Too little in common to lay it on the others.
        if int(common.sum()) < 2:
            return
        filled = torch.where(has[:, None], shape, 0)
        reference = torch.nan_to_num(self.reference)
        move = umeyama(filled, reference, common.double())
        aligned = torch.where(has[:, None], move.apply(filled), 0)
        self.reference.copy_(torch.where((has & ~common)[:, None], aligned, self.reference))
        there = has.double().repeat_interleave(2)
        flat = aligned.flatten()
        self.shape_sum += flat
        self.shape_square += flat[:, None] * flat
        self.shape_count += there[:, None] * there
        # Where it lies in the view, as if it were whole.
        placed = torch.isfinite(self.reference).all(-1)
        whole = torch.where(has[:, None], shape, move.apply_inverse(torch.nan_to_num(self.reference)))[placed]
        self.place_sum += torch.cat([whole.mean(0), spread_of(whole)[None], whole.new_ones(1)])

    def _solve_detectors(self) -> None:
        # S^-1 (m_k - m), S the covariance of all descriptors. In these units the score at a landmark's mean descriptor
        # exceeds the mean score by their squared Mahalanobis distance, so one sharpness suits any descriptors.
        mean = self.map_sum / self.map_count
        covariance = self.map_square / self.map_count - mean[:, None] * mean
        loading = LOADING * covariance.diagonal().mean() + 1e-12
        covariance = covariance + loading * torch.eye(len(mean), dtype=mean.dtype, device=mean.device)
        # A landmark that was never seen gets a flat detector, which the shape fit all but ignores.
        seen = self.point_count > 0
        centred = self.point_sum / self.point_count.clamp(min=1)[:, None] - mean
        self.detectors.copy_(torch.linalg.solve(covariance, centred.t()).t() * seen[:, None])

    def usual_place(self) -> tuple[Tensor, float]:
        """Mean centre ``[2]`` and spread, in -1..1, of the labelled shapes in the view."""
        mean = self.place_sum / self.place_sum[3]
        return mean[:2], float(mean[2])

    def _solve_modes(self) -> None:
        if not float(self.shape_count.max()):
            return
        # Each pair of coordinates over the shapes that have both.
        pairs = self.shape_count.clamp(min=1)
        mean = self.shape_sum / pairs.diagonal()
        covariance = self.shape_square / pairs - mean[:, None] * mean
        covariance = covariance * (self.shape_count > 0)
        values, vectors = torch.linalg.eigh(covariance)
        count = len(self.modes)
        self.mean_shape.copy_(mean.view(-1, 2))
        self.modes.copy_(vectors[:, -count:].t().flip(0))
        self.variances.copy_(values[-count:].flip(0).clamp(min=1e-12))

    def virtual_points(self, descriptors: Tensor) -> tuple[Tensor, Tensor]:
        """Where the detectors answer.

        Args:
            descriptors: ``[B, C, h, w]``.

        Returns:
            Mean position ``[B, K, 2]`` in -1..1 and variance ``[B, K]`` of the answer over the map.
        """
        # Their neighbourhoods are never laid out: a detector is a 3x3 convolution.
        kernels = self.detectors.view(self.landmarks, -1, 3, 3)
        scores = F.conv2d(_padded(descriptors.detach()), kernels, dilation=DILATION)
        return soft_moments(self.sharpness * scores)

    def forward(self, descriptors: Tensor) -> tuple[Tensor, Tensor]:
        """Landmarks and virtual points, both ``[B, K, 2]`` in -1..1, of maps ``[B, C, h, w]``."""
        points, variance = self.virtual_points(descriptors)
        target = points.double()
        trust = 1 / (variance.double() + PRECISION**2)
        weights = trust
        shape = self.mean_shape.expand_as(target)
        for _ in range(ROUNDS):
            fit = umeyama(shape, target, weights)
            shape = self.mean_shape + self._shape_offsets(fit.apply_inverse(target), weights, fit.scale)
            fitted = fit.apply(shape)
            distance = (fitted - target).norm(dim=-1)
            weights = trust / (1 + (distance / self.outlier) ** 2)
        return fitted.to(points.dtype), points

    def _shape_offsets(self, observed: Tensor, weights: Tensor, scale: Tensor) -> Tensor:
        """Most probable offsets ``[B, K, 2]`` from the mean shape, given points in its frame and their weights."""
        # A point's noise in the frame of the shape model shrinks with the scale of the face in the map.
        precision = (weights * scale.square()[:, None]).repeat_interleave(2, dim=1)  # [B, 2K]
        weighted = self.modes * precision[:, None]  # [B, M, 2K]
        system = weighted @ self.modes.t() + (1 / self.variances).diag()
        residual = (observed - self.mean_shape).flatten(1)
        coefficients = torch.linalg.solve(system, (weighted @ residual[..., None])[..., 0])
        return (coefficients @ self.modes).view_as(observed)


def neighbourhoods(descriptors: Tensor) -> Tensor:
    """Unit descriptors of each feature grid point and its eight neighbours: ``[B, C, h, w]`` -> ``[B, 9 C, h, w]``."""
    batch, _, height, width = descriptors.shape
    return F.unfold(_padded(descriptors), 3, dilation=DILATION).view(batch, -1, height, width)


def _padded(descriptors: Tensor) -> Tensor:
    """Unit descriptors with a margin as wide as the neighbourhoods need."""
    return F.pad(F.normalize(descriptors, dim=1), (DILATION,) * 4, mode="replicate")


def spread_of(shapes: Tensor) -> Tensor:
    """Root mean square distance ``[...]`` of the points ``[..., K, 2]`` from their centre."""
    return (shapes - shapes.mean(-2, keepdim=True)).square().sum(-1).mean(-1).sqrt()
