"""How well faces are reconstructed, and the published landmark measures with their own rules."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lineament.data.sample import FaceSource
from lineament.errors import DataError, UsageError
from lineament.faces.schemes import LandmarkScheme, as_scheme, convert_points, scheme
from lineament.methods.fabrec.crop import View
from lineament.methods.fabrec.model import normalise_images, reconstruct, to_pictures
from lineament.metrics.card import MetricCard
from lineament.metrics.landmark import point_distances
from lineament.metrics.reconstruction import (
    LandmarkQuality,
    error_around_landmarks,
    pixel_error,
    quality_at_landmarks,
    similarity,
)

# Pictures decoded at a time.
BATCH = 16


def prepare_pictures(source: FaceSource, view: View, indices: Iterable[int]) -> tuple[Tensor, list[str]]:
    """Pictures ``[N, 3, S, S]`` in 0..1 as the networks see them, without moves, and the names of their samples."""
    pictures, names = [], []
    for index in indices:
        sample = source[index]
        pictures.append(view.picture(sample.image, view.region(sample)))
        names.append(sample.id)
    return torch.stack(pictures), names


def reconstruct_pictures(networks: dict[str, nn.Module], pictures: Tensor) -> Tensor:
    """Reconstructions ``[N, 3, S, S]`` in 0..1 of pictures in 0..1."""
    device = next(networks["decoder"].buffers()).device
    parts = [reconstruct(networks, normalise_images(part.to(device))) for part in pictures.split(BATCH)]
    return to_pictures(torch.cat(parts)).cpu()


def reconstruction_errors(
    networks: dict[str, nn.Module], source: FaceSource, view: View, indices: Iterable[int]
) -> dict[str, float]:
    """Mean pixel error (0 to 255) and mean 1 - SSIM over faces."""
    pictures, _ = prepare_pictures(source, view, indices)
    made = reconstruct_pictures(networks, pictures)
    pairs = list(zip(pictures, made, strict=True))
    return {
        "pixel_error": float(np.mean([pixel_error(*pair) for pair in pairs])),
        "ssim_error": float(np.mean([1 - similarity(*pair) for pair in pairs])),
    }


def reconstruction_cards(
    networks: dict[str, nn.Module], source: FaceSource, view: View, indices: Sequence[int]
) -> list[MetricCard]:
    """How well faces are reconstructed: as wholes and, where they are labelled, at each landmark.

    Args:
        networks: Encoder and decoder.
        source: Faces, with or without landmarks.
        view: What the networks see of them.
        indices: Which samples.

    Returns:
        Pixel error and 1 - SSIM of whole pictures; for labelled faces also similarity, correlation and error at their
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
        regions = [view.region(sample) for sample in samples]
        pictures = torch.stack(
            [view.picture(each.image, region) for each, region in zip(samples, regions, strict=True)]
        )
        made = reconstruct_pictures(networks, pictures)
        for sample, region, true, ours in zip(samples, regions, pictures, made, strict=True):
            whole.append((pixel_error(true, ours), 1 - similarity(true, ours)))
            if sample.landmarks is None or sample.scheme is None:
                continue
            layout = layout or as_scheme(sample.scheme)
            points = convert_points(sample.landmarks.double(), sample.scheme, layout)
            points = view.points(points, layout, region)
            at_points.append(quality_at_landmarks(true, ours, points))
            around.append(error_around_landmarks(true, ours, points))
    common = {
        "protocol": f"faces cropped by their {view.crop}, seen at {view.size} px, without moves",
        "data": source.name,
        "fingerprint": source.fingerprint,
    }
    pixels, structure = (torch.tensor(column, dtype=torch.float64) for column in zip(*whole, strict=True))
    cards = [
        _mean_card("pixel error", pixels, "of 255", "mean absolute difference of the pixels", common),
        _mean_card("structural dissimilarity", structure, "of 1", "1 - SSIM, windows of 7 x 7 px", common),
    ]
    if layout is None:
        return cards
    common["protocol"] += f"; landmarks of scheme {layout.name}, mean over landmarks, then over faces"
    window = "in a window of a sixteenth of the picture around each landmark"
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
    near = "mean absolute difference within a twentieth of the picture of any landmark"
    cards.append(_mean_card("pixel error around landmarks", torch.tensor(around), "of 255", near, common))
    return cards


def _mean_card(
    name: str, values: Tensor, unit: str, definition: str, common: Mapping[str, Any]
) -> MetricCard:
    """Mean and deviation over the faces ``[N]`` whose number is known."""
    known = values[torch.isfinite(values)].double()
    return MetricCard(
        name=name,
        value=float(known.mean()),
        unit=unit,
        definition=definition,
        count=len(known),
        deviation=float(known.std(correction=0)),
        deviation_over="samples",
        **common,
    )


def published_normaliser(truth: Tensor, norm: str = "outer", size: int = 256) -> Tensor:
    """What the published code divides by: ``[N]`` pixels for landmarks ``[N, K, 2]``.

    The outer eye corners for 68 points (100 for ``none``) and for 98, the eyes for 5, else the side of the crop.

    Raises:
        UsageError: On a norm other than ``outer`` and ``none``; the published inter-pupil one never worked
            (``faces.normalisers`` has one that does).
    """
    if norm not in ("outer", "none"):
        raise UsageError(
            f"the published norms are outer and none, not {norm!r}: use the normaliser inter-pupil."
        )
    # Published data sets are told apart by their number of points, after which built-in schemes are named.
    layout = str(truth.shape[1])
    if layout == "68" and norm == "none":
        return truth.new_full((len(truth),), 100.0)
    if layout not in ("5", "68", "98"):
        return truth.new_full((len(truth),), float(size))
    left, right = scheme(layout).ocular_points()
    return (truth[:, right] - truth[:, left]).norm(dim=-1)


def published_errors(predicted: Tensor, truth: Tensor, norm: str = "outer", size: int = 256) -> Tensor:
    """Error of each landmark in %: ``[N, K]`` from ``[N, K, 2]`` in pixels of a crop of side ``size``."""
    return 100 * point_distances(predicted, truth) / published_normaliser(truth, norm, size)[:, None]


def inner_and_outline(errors: Tensor, layout: LandmarkScheme) -> tuple[Tensor, Tensor]:
    """Mean error ``[N]`` of each face over its inner landmarks and over its outline; AFLW's are both those of all."""
    outline = sorted(layout.parts.get("outline", ())) if layout.name in ("68", "98") else []
    if not outline:
        return errors.mean(1), errors.mean(1)
    inner = [k for k in range(errors.shape[1]) if k not in outline]
    return errors[:, inner].mean(1), errors[:, outline].mean(1)
