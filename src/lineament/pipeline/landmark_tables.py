"""Writes the tables and figures of a landmark evaluation, for a run or for predictions of another tool."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from lineament.data.sample import FaceSource
from lineament.errors import DataError
from lineament.faces.keypoints import read_keypoints
from lineament.pipeline.load import load_landmarks
from lineament.report.landmark_scores import Predictor, TablePredictions, score_landmarks
from lineament.report.landmark_tables import write_landmark_tables


def read_table(path: Path) -> TablePredictions:
    """Read predicted landmarks by picture from a label file; of several faces in a picture the first counts.

    Raises:
        DataError: If the file cannot be read or holds no landmarks.
    """
    labels = read_keypoints(path)
    if labels.scheme is None:
        raise DataError(f"{path} holds no landmarks.")
    points: dict[str, Tensor] = {}
    for face in labels.faces:
        if face.landmarks is not None:
            points.setdefault(face.image, face.landmarks)
    return TablePredictions(labels.scheme, points, str(path))


def tabulate_landmarks(
    subject: Path,
    source: FaceSource,
    folder: Path,
    *,
    count: int = 0,
    which: str | None = None,
    normalise_by: str = "inter-ocular",
    box_jitter: float = 0.0,
    seed: int = 0,
    device: str = "cpu",
) -> list[Path]:
    """Score a run or a label file (json, csv) and write subsets, curves and errors of every landmark.

    Args:
        subject: Run directory, or label file of predictions.
        source: Labelled faces; subsets are those its samples name.
        folder: Where to write.
        count: Use only the first so many samples; 0 uses all.
        which: Scheme to compare in; the labels' own when None.
        normalise_by: Name of the normaliser.
        box_jitter: Boxes are moved and scaled by up to this share of their side.
        seed: Seed of the jitter.
        device: Where a model runs.

    Returns:
        The files written.

    Raises:
        DataError: If the data has no landmarks or a prediction is missing.
    """
    predictor: Predictor | TablePredictions
    if subject.suffix.lower() in (".json", ".csv") and subject.is_file():
        predictor = read_table(subject)
    else:
        predictor = load_landmarks(subject, device).predictor
    scores = score_landmarks(
        predictor,
        source,
        range(min(count or len(source), len(source))),
        which=which,
        normalise_by=normalise_by,
        box_jitter=box_jitter,
        seed=seed,
    )
    if scores is None:
        raise DataError(f"{source.name} has no landmarks to compare with.")
    return write_landmark_tables(scores, folder)
