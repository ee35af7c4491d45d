"""How well faces are reconstructed, and the published landmark measures with their own rules."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor, nn

from lineament.data.sample import FaceSource
from lineament.errors import UsageError
from lineament.faces.schemes import LandmarkScheme, scheme
from lineament.methods.fabrec.crop import View
from lineament.methods.fabrec.model import normalise_images, reconstruct, to_images
from lineament.metrics.landmark import point_distances
from lineament.metrics.reconstruction import pixel_error, similarity

# Images decoded at a time.
BATCH = 16


def prepare_images(source: FaceSource, view: View, indices: Iterable[int]) -> tuple[Tensor, list[str]]:
    """Images ``[N, 3, S, S]`` in 0..1 as the networks see them, without moves, and the names of their samples."""
    images, names = [], []
    for index in indices:
        sample = source[index]
        images.append(view.image(sample.image, view.region(sample)))
        names.append(sample.id)
    return torch.stack(images), names


def reconstruct_images(networks: dict[str, nn.Module], images: Tensor) -> Tensor:
    """Reconstructions ``[N, 3, S, S]`` in 0..1 of images in 0..1."""
    device = next(networks["decoder"].buffers()).device
    parts = [reconstruct(networks, normalise_images(part.to(device))) for part in images.split(BATCH)]
    return to_images(torch.cat(parts)).cpu()


def reconstruction_errors(
    networks: dict[str, nn.Module], source: FaceSource, view: View, indices: Iterable[int]
) -> dict[str, float]:
    """Mean pixel error (0 to 255) and mean 1 - SSIM over faces."""
    images, _ = prepare_images(source, view, indices)
    made = reconstruct_images(networks, images)
    pairs = list(zip(images, made, strict=True))
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
