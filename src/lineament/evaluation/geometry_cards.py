"""Cards of the geometry of generated people, with the same numbers of people whose truth is known beside them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from lineament.evaluation.face_geometry import PersonMeasures
from lineament.metrics.card import MetricCard
from lineament.metrics.depth_map import pose_error

# Names of cards that need faces.
DEPTH, POSE = "depth against the fitted head", "pose of the fitted head against the camera"
PUBLISHED_POSE = "pose by Deep3DFaceRecon against the camera"
_FRONT = "seen from the middle of the cameras' range"


def geometry_cards(
    found: Sequence[PersonMeasures],
    truth: Sequence[PersonMeasures],
    *,
    how: str,
    head: str,
    seed: int | None = None,
) -> list[MetricCard]:
    """Order of depths, correlation with the fitted head's depth, and pose of the fitted head.

    Args:
        found: Of generated people.
        truth: Of synthetic people with true depth and pose, looked at alike.
        how: How people are drawn, for the cards.
        head: Name of the model that is fitted.
        seed: Of the people.
    """
    common: dict[str, Any] = {"count": len(found), "seed": seed}
    ordered = [each.nose_nearest and each.ears_farthest for each in found]
    missing = sum(each.nose_nearest is None for each in found)
    true_order = _percent(each.nose_nearest and each.ears_farthest for each in truth)
    look = f"{len(found)} people ({how}), {_FRONT}; no face was found in {missing}"
    cards = [
        MetricCard(
            name="nose nearest and ears farthest",
            value=_percent(ordered),
            unit="% of people",
            definition=(
                "the tip of the nose is nearer than both eyes, the mouth and both ends of the jaw (at the ears), and "
                "these ends are farther than all the others; depth at the landmarks of the colour image (face-68)"
            ),
            protocol=f"{look}, which counts as neither; true heads looked at alike: {true_order:.1f} % of {len(truth)}",
            details={
                "nose_nearest": _percent(each.nose_nearest for each in found),
                "ears_farthest": _percent(each.ears_farthest for each in found),
                "not_found": missing,
                "true_heads": true_order,
                "true_heads_count": len(truth),
            },
            **common,
        )
    ]
    cards += _depth_card(found, truth, look, head, common)
    cards += _pose_card(found, truth, how, head, common)
    return cards


def _depth_card(
    found: Sequence[PersonMeasures],
    truth: Sequence[PersonMeasures],
    look: str,
    head: str,
    common: dict[str, Any],
) -> list[MetricCard]:
    values = [each.depth_correlation for each in found if each.depth_correlation is not None]
    true = [each.depth_correlation for each in truth if each.depth_correlation is not None]
    if not values:
        return []
    errors = [each.depth_error for each in found if each.depth_error is not None]
    errors = [each for each in errors if math.isfinite(each)]
    told = f"true depths of {len(true)} synthetic heads: {np.mean(true):.3f}" if true else "no true depths"
    return [
        MetricCard(
            name=DEPTH,
            value=float(np.mean(values)),
            unit="Pearson's r",
            definition="correlation of the depth with that of a head fitted to the landmarks, over the face's pixels",
            protocol=f"{look}; head {head} fitted to landmarks of face-68; within the hull of its landmarks; {told}",
            std=float(np.std(values)),
            std_over="samples",
            details={
                "median": float(np.median(values)),
                "standardised_error": float(np.mean(errors)) if errors else None,
                "true_heads": float(np.mean(true)) if true else None,
                "true_heads_count": len(true),
            },
            **{**common, "count": len(values)},
        )
    ]


def _pose_card(
    found: Sequence[PersonMeasures],
    truth: Sequence[PersonMeasures],
    how: str,
    head: str,
    common: dict[str, Any],
) -> list[MetricCard]:
    angles = _angles(found)
    if angles is None:
        return []
    errors, facts = _pose_numbers(*angles)
    known = _angles(truth)
    details: dict[str, Any] = dict(facts)
    told = ""
    if known is not None:
        true_errors, true_facts = _pose_numbers(*known)
        details |= {f"true_heads_{name}": value for name, value in true_facts.items()}
        told = (
            f"; of {len(true_errors)} synthetic heads of known pose {true_errors.mean():.2g}, median error of yaw "
            f"{true_facts['median_yaw_degrees']:.2f} and pitch {true_facts['median_pitch_degrees']:.2f} degrees"
        )
    return [
        MetricCard(
            name=POSE,
            value=float(errors.mean()),
            unit="squared radians",
            definition=(
                "mean over yaw, pitch and roll of the squared difference; what all pitches have in common, the tilt "
                "that a head model has at rest, is taken off"
            ),
            protocol=(
                f"{len(found)} people ({how}), each seen from a camera of the training's spread; head {head} fitted to "
                f"landmarks of face-68; median error of yaw {facts['median_yaw_degrees']:.2f} and pitch "
                f"{facts['median_pitch_degrees']:.2f} degrees{told}"
            ),
            std=float(errors.std()),
            std_over="samples",
            details=details,
            **{**common, "count": len(errors)},
        )
    ]


def published_pose_card(
    found: Sequence[PersonMeasures], truth: Sequence[PersonMeasures], *, how: str, seed: int | None = None
) -> MetricCard | None:
    """Pose by Deep3DFaceRecon against the camera, as published; None where it was estimated of nobody."""
    errors, true = (_published_errors(people) for people in (found, truth))
    if not len(errors):
        return None
    told = f"; of {len(true)} synthetic heads of known pose {true.mean():.2g}" if len(true) else ""
    return MetricCard(
        name=PUBLISHED_POSE,
        value=float(errors.mean()),
        unit="squared radians",
        definition="mean over the three angles of the squared difference from (pitch, -yaw, 0); a roll is an error",
        protocol=(
            f"{len(found)} people ({how}), each seen from a camera of the training's spread, aligned by landmarks of "
            f"face-68; a pose was estimated of {len(errors)}{told}"
        ),
        count=len(errors),
        seed=seed,
        std=float(errors.std()),
        std_over="samples",
        details={
            "people": len(found),
            "true_heads": float(true.mean()) if len(true) else None,
            "true_heads_count": len(true),
        },
    )


def _published_errors(found: Sequence[PersonMeasures]) -> np.ndarray:
    known = [(each.angles, each.camera) for each in found if each.angles is not None]
    if not known:
        return np.zeros(0)
    angles, cameras = (torch.from_numpy(np.stack(each)) for each in zip(*known, strict=True))
    return pose_error(angles, cameras[:, 1], cameras[:, 0]).numpy()


def _angles(found: Sequence[PersonMeasures]) -> tuple[np.ndarray, np.ndarray] | None:
    """Yaw, pitch, roll of fitted heads ``[N, 3]``, and yaw and pitch of cameras ``[N, 2]``."""
    known = [(each.pose, each.camera) for each in found if each.pose is not None]
    if not known:
        return None
    poses, cameras = zip(*known, strict=True)
    return np.stack(poses), np.stack(cameras)


def _pose_numbers(poses: np.ndarray, cameras: np.ndarray) -> tuple[np.ndarray, dict[str, float]]:
    """Errors ``[N]`` and what is told of them."""
    tilt = float(np.median(poses[:, 1] - cameras[:, 1]))
    yaw, pitch = poses[:, 0], poses[:, 1] - tilt
    predicted = np.stack([pitch, -yaw, poses[:, 2]], -1)
    errors = pose_error(*(torch.from_numpy(each) for each in (predicted, cameras[:, 1], cameras[:, 0])))
    return errors.numpy(), {
        "median_yaw_degrees": math.degrees(float(np.median(np.abs(yaw - cameras[:, 0])))),
        "median_pitch_degrees": math.degrees(float(np.median(np.abs(pitch - cameras[:, 1])))),
        "tilt_degrees": math.degrees(tilt),
    }


def _percent(flags: Any) -> float:
    given = [bool(flag) for flag in flags]
    return 100.0 * sum(given) / max(len(given), 1)
