"""DepthCorr: how far predicted depths follow the true ones, per keypoint (Moniz et al., NeurIPS 2018, section 4)."""

from __future__ import annotations

import torch
from torch import Tensor


def depth_correlation(predicted: Tensor, true: Tensor) -> float:
    """Sum over keypoints of the absolute Pearson correlation between predicted and true depth over the rows.

    The absolute value is taken because depth without a critic is known up to its sign only. The largest value is the
    number of keypoints. A keypoint whose depth does not vary counts zero.

    Args:
        predicted: ``[N, K]``.
        true: ``[N, K]``.
    """
    sums = PearsonSums(predicted.shape[1])
    sums.add(predicted, true)
    return float(sums.correlations().abs().sum())


class PearsonSums:
    """Correlations per keypoint from rows that come in parts; parts may be merged. Memory does not grow with the rows.

    Args:
        keypoints: Number K.
    """

    def __init__(self, keypoints: int) -> None:
        self.count = 0
        self.mean = torch.zeros(2, keypoints, dtype=torch.float64)
        # Sums of squares and products about the means: predicted, true, both.
        self.moments = torch.zeros(3, keypoints, dtype=torch.float64)

    def add(self, predicted: Tensor, true: Tensor) -> None:
        """Add rows ``[N, K]`` of predicted and true depth."""
        part = PearsonSums(predicted.shape[1])
        part.count = len(predicted)
        if part.count:
            p, t = predicted.double(), true.double()
            part.mean = torch.stack([p.mean(0), t.mean(0)])
            p, t = p - part.mean[0], t - part.mean[1]
            part.moments = torch.stack([(p * p).sum(0), (t * t).sum(0), (p * t).sum(0)])
        self.merge(part)

    def merge(self, other: PearsonSums) -> None:
        """Take in the rows of another (Chan, Golub and LeVeque's update, stable for many parts)."""
        total = self.count + other.count
        if not other.count:
            return
        shift = other.mean - self.mean
        weight = self.count * other.count / total
        between = torch.stack([shift[0] * shift[0], shift[1] * shift[1], shift[0] * shift[1]])
        self.moments = self.moments + other.moments + weight * between
        self.mean = self.mean + shift * (other.count / total)
        self.count = total

    def correlations(self) -> Tensor:
        """Signed Pearson correlation of each keypoint, ``[K]`` float64; zero where either side does not vary."""
        scale = (self.moments[0] * self.moments[1]).sqrt()
        return torch.where(scale > 0, self.moments[2] / scale.clamp(min=1e-300), 0.0)
