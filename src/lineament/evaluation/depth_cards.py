"""Metric cards of keypoint depths: DepthCorr over pairs or single faces, and keypoint error."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lineament.data.keypoint_depth import KeypointSet
from lineament.data.sample import FaceSource
from lineament.evaluation.depth import PairScores
from lineament.evaluation.depth_single import single_depth_corr
from lineament.metrics.card import MetricCard

PAIRS = "all ordered pairs of different faces, the first as source"
ERROR = "mean over pairs of the mean squared difference of the target's coordinates and the source's transformed ones"
CORRELATION = "sum over keypoints of |Pearson correlation| between predicted and true depth over the rows"


def pair_card(scores: PairScores, source: FaceSource) -> MetricCard:
    """DepthCorr over all pairs, by orientation in the details."""
    correlation = scores.correlation_per_keypoint()
    return MetricCard(
        name="DepthCorr",
        value=scores.depth_corr(),
        unit=f"of at most {len(correlation)}",
        definition=CORRELATION,
        protocol=f"{PAIRS}; a row is the depth of a source given a target",
        count=len(scores.pair_errors()),
        data=source.name,
        fingerprint=source.fingerprint,
        details={
            "grid": _grid(scores, lambda a, b: scores.depth_corr(a, b)),
            "signed_correlation_per_keypoint": correlation.tolist(),
        },
    )


def single_card(depth: Tensor, faces: KeypointSet, source: FaceSource) -> MetricCard:
    """DepthCorr of one depth ``[N, K]`` per face."""
    values = single_depth_corr(depth, faces)
    return MetricCard(
        name="DepthCorr",
        value=values["all"],
        unit=f"of at most {depth.shape[1]}",
        definition=CORRELATION,
        protocol="one row per face",
        count=len(depth),
        data=source.name,
        fingerprint=source.fingerprint,
        details={"orientations": values},
    )


def error_card(scores: PairScores, source: FaceSource, words: str = "") -> MetricCard:
    """Keypoint error over all pairs; ``words`` complete its name."""
    mean, std = scores.keypoint_error()
    return MetricCard(
        name=f"keypoint error{words}",
        value=mean,
        unit="squared image sides",
        definition=ERROR,
        protocol=PAIRS,
        count=len(scores.pair_errors()),
        normaliser="x by the width of the image, y by its height",
        data=source.name,
        fingerprint=source.fingerprint,
        std=std,
        std_over="samples",
        details={
            "root": float(torch.tensor(mean).sqrt()),
            "grid": _grid(scores, lambda a, b: list(scores.keypoint_error(a, b))),
        },
    )


def _grid(scores: PairScores, value: Callable[[str, str], object]) -> dict[str, dict[str, object]]:
    if len(scores.names) < 2:
        return {}
    return {a: {b: value(a, b) for b in scores.names} for a in scores.names}
