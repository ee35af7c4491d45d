"""What a camera and its file format do to an image: blur, noise, vignetting, grey film, JPEG, eight bits."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from lineament.faces.degradations import DegradationOdds, degrade, draw_degradation
from lineament.heads.model import Floats


def through_camera(rng: np.random.Generator, image: Floats, strength: float, grey: float) -> Floats:
    """Degrade a clean image the way cameras do.

    Args:
        rng: Where all randomness comes from.
        image: ``[H, W, 3]`` display values in 0..1; left as it is.
        strength: 0 (only rounded to eight bits) .. 1 (the full range of effects).
        grey: Probability of a black-and-white image.

    Returns:
        ``[H, W, 3]`` display values, multiples of 1/255.
    """
    # Every number is drawn whatever the options, so that they do not change the rest of the scene.
    draws = rng.random(8)
    noise_level, blur, quality = rng.uniform(0.0, 0.04), rng.uniform(0.0, 1.1), int(rng.integers(40, 96))
    gain, tint = rng.uniform(0.9, 1.1), rng.normal(0.0, 0.02, 3)
    image = image.astype(np.float32)
    height, width = image.shape[:2]
    if draws[0] < 0.35 * strength:
        # An image of size 128 blurs by up to about a pixel; larger ones in proportion.
        sigma = blur * max(width / 128.0, 0.5)
        image = gaussian_filter(image, (sigma, sigma, 0), mode="nearest")
    if draws[1] < 0.3 * strength:
        row, column = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)[None]
        image = image * (1 - 0.18 * (row * row + column * column)).astype(np.float32)[..., None]
    if draws[2] < 0.5 * strength:
        image = image * (gain + tint).astype(np.float32)
    if draws[3] < grey:
        weights = np.array([0.299, 0.587, 0.114]) + 0.5 * tint
        image = np.repeat((image @ (weights / weights.sum()).astype(np.float32))[..., None], 3, axis=2)
        if draws[4] < 0.15 * strength:
            image = image * np.array([1.03, 0.97, 0.84], np.float32)
    if draws[5] < 0.5 * strength:
        grain = rng.standard_normal(image.shape[:2] + ((1,) if draws[3] < grey else (3,)), dtype=np.float32)
        image = image + np.float32(noise_level) * grain
    bytes_ = np.rint(np.clip(image, 0.0, 1.0) * 255.0).astype(np.uint8)
    if draws[6] < 0.4 * strength:
        buffer = io.BytesIO()
        Image.fromarray(bytes_).save(buffer, format="JPEG", quality=quality)
        bytes_ = np.asarray(Image.open(buffer))
    return bytes_.astype(np.float32) / np.float32(255.0)


def with_flaws(
    rng: np.random.Generator,
    image: Floats,
    odds: DegradationOdds,
    strength: float,
    grey: float,
    face: float,
) -> Floats:
    """Degrade a clean image the way photos are degraded (faces/degradations.py).

    Args:
        rng: Where all randomness comes from.
        image: ``[H, W, 3]`` display values in 0..1; left as it is.
        odds: How often and how far.
        strength: Factor 0..1 on all probabilities but that of black and white.
        grey: Probability of black and white.
        face: Side of the face, px; blur goes with it.

    Returns:
        ``[H, W, 3]`` display values, multiples of 1/255.
    """
    names = ("low_resolution", "defocus", "motion", "noise", "tone", "cast", "jpeg")
    scaled = replace(odds, grey=grey, **{name: strength * getattr(odds, name) for name in names})
    flaws = draw_degradation(rng, scaled, face)
    bytes_ = np.rint(np.clip(image, 0.0, 1.0) * 255.0).astype(np.uint8)
    return degrade(bytes_, flaws).astype(np.float32) / np.float32(255.0)
