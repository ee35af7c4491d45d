"""How well faces are reconstructed, and the published landmark measures with their own rules."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from lineament.data.sample import FaceSource
from lineament.errors import UsageError
from lineament.faces.schemes import LandmarkScheme
from lineament.methods.fabrec.crop import View
from lineament.methods.fabrec.model import normalise_images, reconstruct, to_pictures
from lineament.metrics.landmark import point_distances

# Pictures decoded at a time.
BATCH = 16
# Thresholds of the published cumulative curve, in %.
THRESHOLDS = 50


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


def eight_bits(picture: Tensor) -> np.ndarray:
    """``[3, H, W]`` in 0..1 as ``[H, W, 3]`` bytes, truncated as published."""
    values = (picture.clamp(0, 1) * 255).byte()
    return values.permute(1, 2, 0).numpy()


def similarity(first: Tensor, second: Tensor) -> float:
    """SSIM of two pictures ``[3, H, W]`` in 0..1: 8 bits, windows of 7 x 7, mean over channels (scikit-image)."""
    from skimage.metrics import structural_similarity

    return float(structural_similarity(eight_bits(first), eight_bits(second), channel_axis=2, data_range=255))


def pixel_error(first: Tensor, second: Tensor) -> float:
    """Mean absolute difference of two pictures in 0..1, in steps of 8-bit pictures."""
    return float(255 * (first - second).abs().mean())


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
    eyes = {68: (36, 45), 98: (60, 72), 5: (0, 1)}.get(truth.shape[1])
    if truth.shape[1] == 68 and norm == "none":
        return truth.new_full((len(truth),), 100.0)
    if eyes is None:
        return truth.new_full((len(truth),), float(size))
    return (truth[:, eyes[1]] - truth[:, eyes[0]]).norm(dim=-1)


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


@dataclass(frozen=True)
class PublishedCurve:
    """The published rectangle rule, which counts the threshold 0 and so ends at 0.98 for perfect landmarks.

    Attributes:
        failure_rate: Share of faces with a mean error above 10 %.
        curve: ``[50]`` share of faces at or below thresholds from 0 to 10 %.
        area: Mean of the curve.
    """

    failure_rate: float
    curve: np.ndarray
    area: float


def published_curve(per_face: Sequence[float] | Tensor) -> PublishedCurve:
    """Failure rate, cumulative curve and area from the mean error of each face in %."""
    errors = np.asarray(torch.as_tensor(per_face), dtype=np.float64)
    thresholds = np.linspace(0, 10, THRESHOLDS)
    curve = 1 - (errors[None] > thresholds[:, None]).mean(1)
    return PublishedCurve(float((errors > 10).mean()), curve, float(curve.sum() / THRESHOLDS))
