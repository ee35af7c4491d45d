"""Metric cards of landmark scores: mean error, failures, area under the cumulative curve."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from lineament.capabilities import LandmarkPredictor
from lineament.data.sample import FaceSource
from lineament.evaluation.landmarks import LandmarkScores, TablePredictions, score_landmarks
from lineament.metrics.card import MetricCard
from lineament.metrics.landmark import AreaRule

AREA_DEFINITIONS: dict[AreaRule, str] = {
    "exact": "area under the cumulative distribution of the normalised error up to 10 %, divided by 10 %",
    "paper": "mean of the cumulative distribution of the normalised error at 50 thresholds from 0 to 10 %",
}


def landmark_cards(
    predictor: LandmarkPredictor | TablePredictions,
    source: FaceSource,
    indices: Iterable[int] | None = None,
    *,
    which: str | None = None,
    normalise_by: str | None = None,
    box_jitter: float = 0.0,
    seed: int = 0,
    title: str = "landmark error",
) -> list[MetricCard]:
    """Score landmarks against a labelled source, faces cropped by their box alone.

    Args:
        predictor: Model, baseline, or predictions from a file.
        source: Labelled faces; samples without landmarks are left out.
        indices: Which samples; all when None.
        which: Scheme to compare in; the scheme of the labels when None. Predictions are converted to it.
        normalise_by: Name of the normaliser of the truth; see :func:`score_landmarks`.
        box_jitter: Boxes are moved and scaled by up to this share of their side.
        seed: Seed of the jitter.
        title: Name of the first card.

    Returns:
        The cards of :func:`cards_of`; empty where no sample has landmarks.

    Raises:
        UsageError: If the schemes cannot be converted.
    """
    scores = score_landmarks(
        predictor,
        source,
        indices,
        which=which,
        normalise_by=normalise_by,
        box_jitter=box_jitter,
        seed=seed,
    )
    return [] if scores is None else cards_of(scores, source, seed=seed, title=title)


def cards_of(
    scores: LandmarkScores,
    source: FaceSource,
    *,
    seed: int | None = None,
    title: str = "landmark error",
    area: AreaRule = "exact",
    note: str = "",
) -> list[MetricCard]:
    """Mean error in %, failure rate above 10 % and area under the cumulative curve up to 10 %.

    The first card carries the error of the mean shape of the other faces, placed where the faces were cut.

    Args:
        scores: What was measured.
        source: On which faces.
        seed: Seed of the moves of the boxes.
        title: Name of the first card.
        area: How the area is taken.
        note: What the first line of each card must say.
    """
    layout, errors = scores.layout, 100 * scores.per_face
    protocol = f"{scores.cut}; scheme {layout.name}, mean over points, then over faces"
    if scores.missing:
        protocol += f"; {scores.missing} of {scores.errors.numel()} points have no label and count nowhere"
    if scores.left_out:
        protocol += f"; {scores.left_out} faces left out, whose {scores.normalise_by} points have no label"
    distance = f"{scores.normalise_by} distance"
    common: dict[str, Any] = {
        "protocol": protocol,
        "count": len(errors),
        "seed": seed,
        "data": source.name,
        "fingerprint": source.fingerprint,
        "normaliser": scores.measured_by or f"{distance} of the truth in scheme {layout.name}",
        "note": note,
    }
    per_point = (100 * scores.errors.nanmean(0)).tolist()
    baseline = scores.mean_shape_error
    return [
        MetricCard(
            name=title,
            value=float(errors.mean()),
            unit=f"% of {distance}",
            definition="mean Euclidean distance of predicted and true points, divided by the normaliser",
            std=float(errors.std(correction=0)),
            std_over="samples",
            baseline=None if baseline is None else 100 * baseline,
            baseline_name="mean shape of the other faces, placed by the same crop",
            details={
                "per_point": dict(zip(layout.names, per_point, strict=True)),
                "missing_points": scores.missing,
                "left_out_faces": scores.left_out,
            },
            **common,
        ),
        MetricCard(
            name=f"{title}: failures",
            value=100 * scores.failures(),
            unit="% of faces",
            definition="share of faces whose normalised error is above 10 %",
            **common,
        ),
        MetricCard(
            name=f"{title}: area under the curve",
            value=scores.area(rule=area),
            unit="of 1",
            definition=AREA_DEFINITIONS[area],
            **common,
        ),
    ]
