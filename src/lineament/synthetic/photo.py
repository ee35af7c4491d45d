"""What photos of people have beyond the plain world: wide poses, hard and coloured light, clutter, other faces."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from lineament.faces.degradations import DegradationOdds
from lineament.synthetic.light import (
    Light,
    add_lobe,
    direction_of,
    draw_light,
    exposure_for,
)
from lineament.synthetic.worn import WornOdds

MOODS = {"laugh": 0.14, "shout": 0.06, "blink": 0.08, "wink": 0.02, "talk": 0.10}
"""Odds of these expressions instead of the plain world's."""


@dataclass(frozen=True)
class PhotoOptions:
    """How often an image has what; every number is a probability unless said otherwise.

    Attributes:
        worn: What people wear and hold.
        neighbour: Another face beside, cut by the border.
        flash: A flash at the camera.
        coloured: Strongly coloured light.
        backlight: The main light behind the head.
        dim: A dark image.
        clutter: A background of sharp things.
        flaws: Blur, low resolution, noise, tones, JPEG.
    """

    worn: WornOdds = field(default_factory=WornOdds)
    neighbour: float = 0.08
    flash: float = 0.08
    coloured: float = 0.08
    backlight: float = 0.08
    dim: float = 0.05
    clutter: float = 0.5
    flaws: DegradationOdds = field(default_factory=DegradationOdds)


def draw_pose(rng: np.random.Generator, limits: np.ndarray, nod: float) -> tuple[float, float, float]:
    """Yaw, pitch, roll, radians: mostly moderate, a third beyond half of the limit of yaw.

    Args:
        rng: Where all randomness comes from.
        limits: ``[3]`` largest angles.
        nod: Mean pitch.
    """
    kinds = rng.random(3)
    even, bell = rng.uniform(-1.0, 1.0, 3), rng.standard_normal(3)
    narrow, wide = np.array([0.20, 0.22, 0.22]), np.array([0.45, 0.45, 0.45])
    unit = np.where(kinds < 0.42, narrow * bell, np.where(kinds < 0.68, wide * bell, even))
    # What falls beyond a limit is spread over the range instead of heaped at its end.
    shift = np.array([0.0, nod / max(limits[1], 1e-9), 0.0])
    pose = np.where(np.abs(unit + shift) > 1.0, even, unit + shift) * limits
    return float(pose[0]), float(pose[1]), float(pose[2])


def draw_photo_light(rng: np.random.Generator, skin: np.ndarray, options: PhotoOptions) -> Light:
    """One of the plain world's lights, or a flash, coloured light, backlight or a dim room.

    Args:
        rng: Where all randomness comes from.
        skin: ``[3]`` mean linear reflectance of the face.
        options: The odds.
    """
    light = draw_light(rng, skin)
    odds = np.cumsum([options.flash, options.coloured, options.backlight, options.dim])
    kind = int(np.searchsorted(odds, rng.random(), side="right"))
    target = light.exposure
    harmonics = np.zeros((9, 3))
    if kind == 0:
        sun = direction_of(rng.normal(0.0, 0.12), rng.normal(0.12, 0.08))
        add_lobe(harmonics, np.array([0.0, -1.0, 0.0]), np.full(3, rng.uniform(0.03, 0.25)), 1.0)
        colour = np.full(3, rng.uniform(0.9, 1.6))
        light = light._replace(sun=sun.astype(np.float32), softness=float(rng.uniform(0.0, 0.35)))
        level = rng.uniform(0.35, 0.75)
    elif kind == 1:
        tint = _strong_tint(rng)
        harmonics = light.harmonics * (tint if rng.random() < 0.5 else _strong_tint(rng))
        colour, level = light.sun_colour * tint, rng.uniform(0.2, 0.4)
    elif kind == 2:
        side = rng.choice([-1.0, 1.0])
        sun = direction_of(side * rng.uniform(1.9, 2.9), rng.uniform(0.1, 0.9))
        add_lobe(harmonics, np.array([0.0, -1.0, 0.0]), np.full(3, rng.uniform(0.1, 0.4)), 1.0)
        add_lobe(harmonics, direction_of(rng.normal(0.0, 0.5), 0.1), np.full(3, rng.uniform(0.1, 0.4)), 1.0)
        colour = np.full(3, rng.uniform(0.6, 2.0)) * np.array([1.05, 1.0, 0.9])
        light = light._replace(sun=sun.astype(np.float32))
        level = rng.uniform(0.08, 0.35)
    elif kind == 3:
        return light._replace(exposure=target * float(rng.uniform(0.15, 0.5)))
    else:
        return light
    exposure = exposure_for(harmonics, light.sun.astype(np.float64), colour, skin, level)
    return light._replace(
        harmonics=harmonics.astype(np.float32), sun_colour=np.asarray(colour, np.float32), exposure=exposure
    )


def _strong_tint(rng: np.random.Generator) -> np.ndarray:
    hue = 2 * np.pi * rng.random()
    wave = np.cos(hue - np.array([0.0, 2.0, 4.0]) * np.pi / 3)
    tint: np.ndarray = np.clip(1.0 + rng.uniform(0.2, 0.75) * wave, 0.03, None)
    return tint


def draw_clutter(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Things of all shapes and colours, mostly out of focus; ``[H, W, 3]`` display values."""
    varied = float(rng.choice([6.0, 18.0, 45.0]))
    base = np.clip(rng.integers(0, 256) + varied * rng.normal(size=3), 0, 255)
    image = Image.new("RGB", (width, height), (int(base[0]), int(base[1]), int(base[2])))
    draw = ImageDraw.Draw(image)
    side = max(height, width)
    for _ in range(int(rng.integers(5, 45))):
        x, y = rng.uniform(-0.1, 1.1, 2) * (width, height)
        w, h = side * np.exp(rng.uniform(np.log(0.02), np.log(0.5), 2))
        shade = rng.integers(0, 256)
        red, green, blue = np.clip(shade + varied * rng.normal(size=3), 0, 255)
        colour = (int(red), int(green), int(blue))
        kind = rng.integers(4)
        if kind == 0:
            draw.rectangle((x - w / 2, y - h / 2, x + w / 2, y + h / 2), colour)
        elif kind == 1:
            draw.ellipse((x - w / 2, y - h / 2, x + w / 2, y + h / 2), colour)
        elif kind == 2:
            points = [(float(a), float(b)) for a, b in np.array([x, y]) + rng.normal(0, 0.5, (5, 2)) * (w, h)]
            draw.polygon(points, colour)
        else:
            end = np.array([x, y]) + rng.normal(0, 0.7, 2) * side
            draw.line((x, y, float(end[0]), float(end[1])), colour, int(1 + 0.1 * min(w, h)))
    blur = float(rng.choice([0.0, 0.01, 0.03]) * rng.uniform(0.5, 1.5) * side)
    if blur > 0.3:
        image = image.filter(ImageFilter.GaussianBlur(blur))
    return np.asarray(image, np.float32) / np.float32(255.0)
