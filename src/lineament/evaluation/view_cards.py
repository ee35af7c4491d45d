"""Cards of what several views of a generated person have in common: who it is, and the scene."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import rankdata

from lineament.evaluation.face_geometry import PersonMeasures
from lineament.evaluation.view_consistency import SAME_DEPTH
from lineament.metrics.card import MetricCard

IDENTITY, CONSISTENCY = "same person from both sides", "two views of one scene"
# What tells synthetic people apart worse than this says nothing of generated ones.
LEAST_AUC = 0.9


def area_under_roc(same: np.ndarray, different: np.ndarray) -> float:
    """Probability that a pair of one person is more alike than one of two people; ties count half."""
    ranks = rankdata(np.concatenate([same, different]))
    count = len(same)
    return float((ranks[:count].sum() - count * (count + 1) / 2) / (count * len(different)))


def likeness(who: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cosines of what tells people apart, each seen twice.

    Args:
        who: ``[N, 2, C]``.

    Returns:
        ``[N]`` of each person's two views, and ``[N (N - 1)]`` of one view of each and another one of each other.
    """
    unit = who / np.linalg.norm(who, axis=-1, keepdims=True).clip(min=1e-12)
    cosines = unit[:, 0] @ unit[:, 1].T
    apart = ~np.eye(len(who), dtype=bool)
    return np.diag(cosines), cosines[apart]


def identity_card(
    found: Sequence[PersonMeasures],
    truth: Sequence[PersonMeasures],
    *,
    by: str,
    seen: str,
    how: str,
    required: bool,
    seed: int | None = None,
) -> tuple[MetricCard | None, str]:
    """Likeness of both views of each generated person.

    Args:
        found: Generated people.
        truth: Synthetic people, of whom each is somebody else.
        by: What tells people apart, in words.
        seen: From where, in words.
        how: How people are drawn, for the card.
        required: Leave the card out where it does not tell the synthetic people apart.
        seed: Of the people.

    Returns:
        The card, or None and why.
    """
    known, ours = ([each.who for each in people if each.who is not None] for people in (truth, found))
    if len(ours) < 2:
        return None, f"a face was found from both sides in {len(ours)} of {len(found)} people"
    if len(known) < 2 and required:
        return (
            None,
            f"faces of {len(known)} synthetic people were found, too few to tell whether it measures anything",
        )
    auc = math.nan if len(known) < 2 else area_under_roc(*likeness(np.stack(known)))
    told = f"{by} tell {len(known)} synthetic people apart with an AUC of {auc:.3f}"
    if required and not auc >= LEAST_AUC:
        return None, f"{told}, less than {LEAST_AUC}; give an ArcFace network (--arcface FILE)"
    same, different = likeness(np.stack(ours))
    own = area_under_roc(same, different)
    card = MetricCard(
        name=IDENTITY,
        value=float(same.mean()),
        unit="cosine (larger is better)",
        definition=f"cosine of {by} of two views of one person",
        protocol=(
            f"{len(found)} people ({how}), {seen}; a face was found in both views of {len(ours)}; views of one "
            f"person are more alike than of two with a probability (AUC) of {own:.3f}; {told}"
        ),
        count=len(ours),
        seed=seed,
        std=float(same.std()),
        std_over="samples",
        baseline=float(different.mean()),
        baseline_name="two different people",
        details={"auc": own, "true_heads_auc": auc, "true_heads_count": len(known), "people": len(found)},
    )
    return card, ""


def consistency_card(
    found: Sequence[PersonMeasures], *, how: str, seen: str, seed: int | None = None
) -> MetricCard | None:
    """Colours of pixels of the front view, carried into the other two; None where no pixel is seen twice."""
    pairs = np.array([each for person in found for each in person.consistency])
    if not len(pairs):
        return None
    colour, unmoved, both = pairs.mean(0)
    details: dict[str, Any] = {"seen": float(both), "median": float(np.median(pairs[:, 0]))}
    return MetricCard(
        name=CONSISTENCY,
        value=float(colour),
        unit="levels of 255",
        definition=(
            "mean absolute difference of the colours of pixels of the front view and of where their depth puts them in "
            "another view"
        ),
        protocol=(
            f"{len(found)} people ({how}), from {seen}; {100 * both:.1f} % of the pixels are "
            f"seen in both views (within the image, depths equal to {100 * SAME_DEPTH:g} % of the scene's)"
        ),
        count=len(pairs),
        seed=seed,
        std=float(pairs[:, 0].std()),
        std_over="samples",
        baseline=float(unmoved),
        baseline_name="the same pixels of both views without carrying them",
        details=details,
    )
