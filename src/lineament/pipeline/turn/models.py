"""Which models find the keypoints of a face and their depth: those named, else those that come with the package."""

from __future__ import annotations

from pathlib import Path

from lineament.capabilities import DepthPredictor, LandmarkPredictor
from lineament.inference import DEFAULT_MODELS, has_default

# Instead of a model: the fitted head's own keypoints, or depth.
OF_HEAD = Path("head")


def chosen_models(
    depth: Path | None, landmarks: Path | None, keypoints: Path | None = None
) -> tuple[Path | None, Path | None]:
    """Models of depth and of landmarks to be loaded; None where the head is to serve.

    Args:
        depth: What was given for depth: run, model, :data:`OF_HEAD` or None.
        landmarks: The same for landmarks.
        keypoints: Label file, with which no landmark model is needed.
    """
    if landmarks is None and keypoints is not None:
        landmarks = OF_HEAD
    return _given_or_default(depth, DepthPredictor), _given_or_default(landmarks, LandmarkPredictor)


def _given_or_default(given: Path | None, wanted: type) -> Path | None:
    """The model given, else the one taken by default where it is there."""
    if given is None:
        return Path(DEFAULT_MODELS[wanted]) if has_default(wanted) else None
    return None if given == OF_HEAD and not given.exists() else given
