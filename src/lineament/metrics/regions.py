"""How well two maps of region labels agree: accuracies and intersection over union."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class RegionScores:
    """Shares in 0..1.

    Attributes:
        accuracy: Pixels with the right label.
        class_accuracy: The same per true class, averaged over the classes that occur.
        mean_iou: Intersection over union, averaged over the classes that occur in either map.
        weighted_iou: Intersection over union weighted by how often a class is true.
        class_iou: ``[classes]`` intersection over union; NaN for a class that occurs in neither map.
    """

    accuracy: float
    class_accuracy: float
    mean_iou: float
    weighted_iou: float
    class_iou: Tensor


def region_scores(predicted: Tensor, truth: Tensor, classes: int) -> RegionScores:
    """Compare label maps.

    Args:
        predicted: ``[...]`` whole numbers in 0..classes-1.
        truth: The same shape; pixels with any other number are left out.
        classes: Number of classes.

    Raises:
        ValueError: If the shapes differ or no pixel is labelled.
    """
    if predicted.shape != truth.shape:
        raise ValueError(
            f"predicted {tuple(predicted.shape)} and true {tuple(truth.shape)} labels differ in shape"
        )
    known = (truth >= 0) & (truth < classes)
    if not bool(known.any()):
        raise ValueError("no pixel is labelled")
    pairs = truth[known].long() * classes + predicted[known].long()
    counts = torch.bincount(pairs, minlength=classes**2).view(classes, classes).double()  # [true, predicted]
    right, true, answered = counts.diag(), counts.sum(1), counts.sum(0)
    iou = right / (true + answered - right)
    share = true / true.sum()
    return RegionScores(
        accuracy=float(right.sum() / counts.sum()),
        class_accuracy=float((right / true).nanmean()),
        mean_iou=float(iou.nanmean()),
        weighted_iou=float((share * iou)[true > 0].sum()),
        class_iou=iou,
    )


def enlarge_logits(logits: Tensor, height: int, width: int) -> Tensor:
    """Scores of classes ``[B, K, h, w]`` at the resolution of the labels (bilinear, ``align_corners=True``)."""
    return F.interpolate(logits, (height, width), mode="bilinear", align_corners=True)
