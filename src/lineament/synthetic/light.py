"""Light: one sun or lamp, and everything else as spherical harmonics of order 2.

The light lives in the camera frame (x right, y down, z away from the camera). Irradiance from the harmonics follows
Ramamoorthi and Hanrahan, "An efficient representation for irradiance environment maps", SIGGRAPH 2001, eq. 13.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lineament.heads.model import Floats


class Light(NamedTuple):
    """One illumination.

    Attributes:
        harmonics: ``[9, 3]`` coefficients of the incoming radiance, linear RGB, order (0,0), (1,-1), (1,0), (1,1),
            (2,-2) .. (2,2).
        sun: ``[3]`` unit vector towards the sun or lamp, camera frame.
        sun_colour: ``[3]`` its irradiance on a facing surface divided by pi, linear RGB.
        softness: 0 (a point) .. 1 (a large soft box): how far its light wraps around and its shadows blur.
        exposure: Factor from linear radiance to the display value before the tone curve.
        contrast: Exponent of the tone curve, 1 for the plain sRGB curve.
    """

    harmonics: Floats
    sun: Floats
    sun_colour: Floats
    softness: float
    exposure: float
    contrast: float


def harmonic_basis(directions: np.ndarray) -> np.ndarray:
    """Real spherical harmonics up to order 2 of unit vectors: ``[..., 3] -> [..., 9]``."""
    x, y, z = directions[..., 0], directions[..., 1], directions[..., 2]
    basis = np.empty((*directions.shape[:-1], 9), np.result_type(directions.dtype, np.float32))
    basis[..., 0] = 0.282095
    basis[..., 1:4] = 0.488603 * directions[..., [1, 2, 0]]
    basis[..., 4] = 1.092548 * x * y
    basis[..., 5] = 1.092548 * y * z
    basis[..., 6] = 0.315392 * (3 * z * z - 1)
    basis[..., 7] = 1.092548 * x * z
    basis[..., 8] = 0.546274 * (x * x - y * y)
    return basis


_COSINE = np.array([1.0] + [2.0 / 3.0] * 3 + [0.25] * 5)
"""Convolution with the clamped cosine, divided by pi, for each coefficient (A_l / pi of eq. 8)."""


def irradiance_coefficients(harmonics: np.ndarray) -> Floats:
    """Fold the cosine convolution in: ``harmonic_basis(n) @ result`` is irradiance / pi at normal ``n``; ``[9, 3]``."""
    return (harmonics * _COSINE[:, None]).astype(np.float32)


def add_lobe(harmonics: np.ndarray, direction: np.ndarray, colour: np.ndarray, width: float) -> None:
    """Add a smooth patch of light, in place.

    Args:
        harmonics: ``[9, 3]`` coefficients to add to.
        direction: ``[3]`` unit vector towards its middle.
        colour: ``[3]`` irradiance / pi that it gives a surface facing it.
        width: 0 a point, 1 a hemisphere; wider patches lose their higher orders.
    """
    basis = harmonic_basis(np.asarray(direction, np.float64))
    damping = np.array([1.0] + [1 - 0.35 * width] * 3 + [1 - 0.8 * width] * 5)
    peak = float((basis * basis * damping * _COSINE).sum())
    harmonics += (basis * damping)[:, None] * (np.asarray(colour, np.float64) / peak)


def draw_light(rng: np.random.Generator, skin: np.ndarray) -> Light:
    """Draw an illumination whose exposure suits a skin of this colour.

    Args:
        rng: Where all randomness comes from.
        skin: ``[3]`` mean linear reflectance of the face, for the automatic exposure.
    """
    harmonics = np.zeros((9, 3))
    kind = rng.choice(["studio", "outdoors", "window", "flat", "hard"], p=[0.32, 0.2, 0.18, 0.18, 0.12])
    warm = _tint(rng, 0.12)
    cool = _tint(rng, 0.12)
    side = rng.choice([-1.0, 1.0])
    # The elevation angle counts upwards, so y (down) is its negative sine.
    azimuth, elevation = side * abs(rng.normal(0.65, 0.4)), rng.normal(0.6, 0.25)
    sun_strength, ambient, softness = {
        "studio": (rng.uniform(0.5, 1.1), rng.uniform(0.25, 0.6), rng.uniform(0.4, 1.0)),
        "outdoors": (rng.uniform(0.2, 1.3), rng.uniform(0.35, 0.7), rng.uniform(0.05, 0.5)),
        "window": (rng.uniform(0.4, 1.0), rng.uniform(0.15, 0.45), rng.uniform(0.7, 1.0)),
        "flat": (rng.uniform(0.0, 0.25), rng.uniform(0.7, 1.0), 1.0),
        "hard": (rng.uniform(0.8, 1.5), rng.uniform(0.08, 0.3), rng.uniform(0.0, 0.3)),
    }[kind]
    if kind == "outdoors":
        elevation = rng.uniform(0.3, 1.3)
        azimuth = rng.uniform(-2.0, 2.0)
    elif kind == "window":
        azimuth, elevation = side * rng.uniform(0.6, 1.5), rng.uniform(0.0, 0.5)
    elif kind == "flat":
        azimuth, elevation = rng.normal(0.0, 0.3), rng.uniform(0.2, 1.0)
    sun = direction_of(azimuth, elevation)
    # Sky above, ground below, a frontal fill: together they make the ambient part.
    add_lobe(harmonics, np.array([0.0, -1.0, 0.0]), ambient * rng.uniform(0.3, 0.9) * cool, 1.0)
    add_lobe(harmonics, np.array([0.0, 1.0, 0.0]), ambient * rng.uniform(0.05, 0.4) * _tint(rng, 0.1), 1.0)
    fill = direction_of(-np.sign(azimuth) * rng.uniform(0.0, 0.9), rng.uniform(-0.2, 0.5))
    add_lobe(harmonics, fill, ambient * rng.uniform(0.3, 0.9) * _tint(rng, 0.08), 0.8)
    if rng.random() < 0.25:
        rim = direction_of(-side * rng.uniform(1.8, 2.6), rng.uniform(0.0, 0.8))
        add_lobe(harmonics, rim, rng.uniform(0.2, 0.8) * warm, 0.5)
    sun_colour = sun_strength * warm
    level = 0.34 * float(np.exp(rng.normal(0.0, 0.3)))
    return Light(
        harmonics=harmonics.astype(np.float32),
        sun=sun.astype(np.float32),
        sun_colour=sun_colour.astype(np.float32),
        softness=float(softness),
        exposure=exposure_for(harmonics, sun, sun_colour, skin, level),
        contrast=float(np.exp(rng.normal(0.0, 0.12))),
    )


def exposure_for(
    harmonics: np.ndarray, sun: np.ndarray, sun_colour: np.ndarray, skin: np.ndarray, level: float
) -> float:
    """The exposure under which a face of the mean colour ``skin`` gets about the display value of ``level``.

    Args:
        harmonics: ``[9, 3]`` incoming radiance.
        sun: ``[3]`` unit vector towards the sun or lamp.
        sun_colour: ``[3]`` its irradiance on a facing surface divided by pi.
        skin: ``[3]`` linear reflectance.
        level: For a skin that reflects two fifths of the light; cameras expose darker skin brighter, but not all the
            way: it stays darker in the image.
    """
    frontal = np.stack(
        [direction_of(turn, lift) for turn, lift in ((0.0, 0.0), (0.7, 0.1), (-0.7, 0.1), (0.0, 0.5))]
    )
    irradiance = (harmonic_basis(frontal) @ irradiance_coefficients(harmonics)).mean(axis=0)
    irradiance = irradiance + sun_colour * np.maximum(frontal @ sun, 0).mean()
    luma = np.array([0.3, 0.6, 0.1])
    return level * (float(skin @ luma) / 0.4) ** 0.45 / max(float((irradiance * skin) @ luma), 1e-3)


def direction_of(azimuth: float, elevation: float) -> np.ndarray:
    """Unit vector towards a light: azimuth 0 is the camera, positive to the image right; elevation is upwards."""
    return np.array(
        [np.sin(azimuth) * np.cos(elevation), -np.sin(elevation), -np.cos(azimuth) * np.cos(elevation)]
    )


def _tint(rng: np.random.Generator, strength: float) -> np.ndarray:
    warmth, green = rng.normal(0.0, strength), rng.normal(0.0, 0.25 * strength)
    return np.array([1 + warmth, 1 + green, 1 - warmth]).clip(0.3, 1.7)


def rotate_light(light: Light, rotation: np.ndarray) -> Light:
    """The same light in another frame: a direction ``d`` becomes ``rotation @ d``; exact for order 2."""
    golden = np.pi * (3 - np.sqrt(5))
    numbers = np.arange(36)
    height = 1 - (2 * numbers + 1) / 36
    radius = np.sqrt(1 - height * height)
    directions = np.stack(
        [radius * np.cos(golden * numbers), height, radius * np.sin(golden * numbers)], axis=1
    )
    before = harmonic_basis(directions @ rotation) @ light.harmonics
    harmonics, *_ = np.linalg.lstsq(harmonic_basis(directions), before, rcond=None)
    return light._replace(
        harmonics=harmonics.astype(np.float32),
        sun=(rotation @ light.sun.astype(np.float64)).astype(np.float32),
    )
