"""How well faces are reconstructed: as wholes and, where they are labelled, at each landmark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from lineament.capabilities import Reconstructor
from lineament.data.sample import FaceSource
from lineament.errors import DataError
from lineament.faces.schemes import LandmarkScheme, as_scheme, convert_points
from lineament.metrics.card import MetricCard
from lineament.metrics.reconstruction import (
    LandmarkQuality,
    error_around_landmarks,
    pixel_error,
    quality_at_landmarks,
    similarity,
)

# Images decoded at a time.
BATCH = 16


def reconstruction_cards(
    predictor: Reconstructor, source: FaceSource, indices: Sequence[int], note: str = ""
) -> list[MetricCard]:
    """How well faces are reconstructed: as wholes and, where they are labelled, at each landmark.

    Args:
        predictor: The autoencoder.
        source: Faces, with or without landmarks.
        indices: Which samples.
        note: What the first line of each card must say.

    Returns:
        Pixel error and 1 - SSIM of whole images; for labelled faces also similarity, correlation and error at their
        landmarks, with one number for every landmark in the details.

    Raises:
        DataError: If there are no samples.
    """
    if not indices:
        raise DataError(f"{source.name} has no faces to reconstruct.")
    whole: list[tuple[float, float]] = []
    at_points: list[LandmarkQuality] = []
    around: list[float] = []
    layout: LandmarkScheme | None = None
    for start in range(0, len(indices), BATCH):
        samples = [source[index] for index in indices[start : start + BATCH]]
        for sample, found in zip(samples, predictor.reconstruct(samples), strict=True):
            true, ours = found.image, found.made
            whole.append((pixel_error(true, ours), 1 - similarity(true, ours)))
            if found.points is None or sample.scheme is None:
                continue
            layout = layout or as_scheme(sample.scheme)
            points = convert_points(found.points, sample.scheme, layout)
            at_points.append(quality_at_landmarks(true, ours, points))
            around.append(error_around_landmarks(true, ours, points))
    common = {
        "protocol": predictor.cut_words,
        "data": source.name,
        "fingerprint": source.fingerprint,
        "note": note,
    }
    pixels, structure = (torch.tensor(column, dtype=torch.float64) for column in zip(*whole, strict=True))
    cards = [
        _mean_card("pixel error", pixels, "of 255", "mean absolute difference of the pixels", common),
        _mean_card("structural dissimilarity", structure, "of 1", "1 - SSIM, windows of 7 x 7 px", common),
    ]
    if layout is None:
        return cards
    common["protocol"] += f"; landmarks of scheme {layout.name}, mean over landmarks, then over faces"
    window = "in a window of a sixteenth of the image around each landmark"
    kinds = {
        "similarity at landmarks": ("similarity", "of 1", f"SSIM {window}"),
        "correlation at landmarks": ("correlation", "of 1", f"normalised cross-correlation {window}"),
        "pixel error at landmarks": ("error", "of 255", f"mean absolute difference {window}"),
    }
    for name, (field, unit, definition) in kinds.items():
        values = torch.stack([getattr(each, field) for each in at_points])
        card = _mean_card(name, values.nanmean(1), unit, definition, common)
        per_point = dict(zip(layout.names, values.nanmean(0).tolist(), strict=True))
        cards.append(replace(card, details={"per_point": per_point}))
    near = "mean absolute difference within a twentieth of the image of any landmark"
    cards.append(_mean_card("pixel error around landmarks", torch.tensor(around), "of 255", near, common))
    return cards


def _mean_card(
    name: str, values: Tensor, unit: str, definition: str, common: Mapping[str, Any]
) -> MetricCard:
    """Mean and standard deviation over the faces ``[N]`` whose number is known."""
    known = values[torch.isfinite(values)].double()
    return MetricCard(
        name=name,
        value=float(known.mean()),
        unit=unit,
        definition=definition,
        count=len(known),
        std=float(known.std(correction=0)),
        std_over="samples",
        **common,
    )
