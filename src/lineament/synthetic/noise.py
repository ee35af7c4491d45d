"""Smooth random fields in space, for skin, hair, cloth and backgrounds."""

from __future__ import annotations

import functools

import numpy as np

from lineament.heads.model import Floats
from lineament.synthetic.compiled import per_pixel

CELLS = 32
"""Cells along one side of the tileable noise volume."""


@functools.lru_cache(maxsize=1)
def noise_volume() -> Floats:
    """``[32, 32, 32]`` standard normal values, the same in every process; it tiles in all directions."""
    return np.random.Generator(np.random.PCG64(20260101)).standard_normal((CELLS,) * 3).astype(np.float32)


@per_pixel
def smooth(low: float, high: float, value: float) -> float:
    """Hermite step: 0 at ``low``, 1 at ``high``; ``low`` may be above ``high``."""
    t = min(max((value - low) / (high - low), 0.0), 1.0)
    return t * t * (3.0 - 2.0 * t)


@per_pixel
def noise(volume: np.ndarray, x: float, y: float, z: float) -> float:
    """Trilinear value noise at a point given in cells; zero mean, standard deviation about 0.6."""
    fx, fy, fz = np.floor(x), np.floor(y), np.floor(z)
    tx, ty, tz = x - fx, y - fy, z - fz
    x0, y0, z0 = int(fx) & 31, int(fy) & 31, int(fz) & 31
    x1, y1, z1 = (x0 + 1) & 31, (y0 + 1) & 31, (z0 + 1) & 31
    near = (volume[z0, y0, x0] * (1 - tx) + volume[z0, y0, x1] * tx) * (1 - ty) + (
        volume[z0, y1, x0] * (1 - tx) + volume[z0, y1, x1] * tx
    ) * ty
    far = (volume[z1, y0, x0] * (1 - tx) + volume[z1, y0, x1] * tx) * (1 - ty) + (
        volume[z1, y1, x0] * (1 - tx) + volume[z1, y1, x1] * tx
    ) * ty
    return near * (1 - tz) + far * tz
