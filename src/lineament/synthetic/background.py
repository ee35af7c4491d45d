"""Procedural backgrounds: studio backdrops, gradients, blurred rooms and textures."""

from __future__ import annotations

import numba
import numpy as np
from scipy.ndimage import gaussian_filter

from lineament.heads.model import Floats

_KINDS = ("backdrop", "gradient", "mottled", "room", "texture")


def draw_background(rng: np.random.Generator, height: int, width: int) -> Floats:
    """Draw one background; the image follows from ``rng`` and the size alone.

    Args:
        rng: Where all randomness comes from.
        height: Rows.
        width: Columns.

    Returns:
        ``[H, W, 3]`` display values in 0..1.
    """
    kind = _KINDS[int(rng.choice(len(_KINDS), p=[0.26, 0.14, 0.18, 0.28, 0.14]))]
    colours = rng.uniform(0.02, 0.95) + rng.choice([0.01, 0.05, 0.15]) * rng.normal(size=(4, 3))
    row, column = np.linspace(-1, 1, 24)[:, None, None], np.linspace(-1, 1, 24)[None, :, None]
    if kind == "backdrop":
        middle = rng.normal(0.0, 0.35, 2)
        spot = np.exp(-((column - middle[0]) ** 2 + (row - middle[1]) ** 2) / rng.uniform(0.4, 2.5))
        coarse = colours[0] * (1 - spot) + (colours[0] + rng.uniform(0.05, 0.45)) * spot
    elif kind == "gradient":
        turn = rng.uniform(0, 2 * np.pi)
        ramp = 0.5 + 0.35 * (np.cos(turn) * column + np.sin(turn) * row)
        coarse = colours[0] * (1 - ramp) + colours[1] * ramp
    elif kind == "mottled":
        clouds = gaussian_filter(
            rng.normal(size=(24, 24, 1)), (rng.uniform(1.0, 4.0),) * 2 + (0,), mode="wrap"
        )
        clouds /= clouds.std() + 1e-6
        coarse = colours[0] + 0.10 * clouds * (0.5 + 0.5 * np.abs(colours[1]))
    elif kind == "room":
        coarse = _room(rng, colours)
    else:
        patches = gaussian_filter(
            rng.normal(size=(24, 24, 1)), (rng.uniform(0.3, 1.5),) * 2 + (0,), mode="wrap"
        )
        coarse = colours[0] + rng.uniform(0.04, 0.18) * patches / (patches.std() + 1e-6) + 0.05 * colours[1]
    coarse = np.clip(coarse, 0.0, 1.0) * np.ones((1, 1, 3))
    image = _enlarge(coarse.astype(np.float32), height, width)
    if kind == "texture" or rng.random() < 0.3:
        grain = rng.normal(size=(height, width, 1)).astype(np.float32)
        image += rng.uniform(0.01, 0.08) * gaussian_filter(grain, (rng.uniform(0.3, 1.5),) * 2 + (0,))
    return np.clip(image, 0.0, 1.0).astype(np.float32)


def _room(rng: np.random.Generator, colours: np.ndarray) -> np.ndarray:
    """Boxes of light and dark, out of focus: windows, shelves, people far behind."""
    room = np.empty((24, 24, 3))
    room[:] = colours[0]
    for _ in range(rng.integers(3, 14)):
        top, left = rng.integers(-4, 24, 2)
        tall, wide = rng.integers(2, 16, 2)
        shade = rng.uniform(0.02, 0.95) + rng.choice([0.02, 0.1]) * rng.normal(size=3)
        room[max(top, 0) : max(top + tall, 0), max(left, 0) : max(left + wide, 0)] = shade
    return gaussian_filter(room, (rng.uniform(0.2, 2.2),) * 2 + (0,), mode="nearest")


@numba.njit(cache=True, nogil=True, fastmath=True)
def _enlarge(coarse: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bilinear enlargement with smoothed weights, so that the grid of the coarse image does not show."""
    rows, columns = coarse.shape[0], coarse.shape[1]
    image = np.empty((height, width, 3), np.float32)
    for y in range(height):
        fy = (y + 0.5) / height * (rows - 1)
        y0 = min(int(fy), rows - 2)
        ty = fy - y0
        ty = ty * ty * (3 - 2 * ty)
        for x in range(width):
            fx = (x + 0.5) / width * (columns - 1)
            x0 = min(int(fx), columns - 2)
            tx = fx - x0
            tx = tx * tx * (3 - 2 * tx)
            for c in range(3):
                upper = coarse[y0, x0, c] * (1 - tx) + coarse[y0, x0 + 1, c] * tx
                lower = coarse[y0 + 1, x0, c] * (1 - tx) + coarse[y0 + 1, x0 + 1, c] * tx
                image[y, x, c] = upper * (1 - ty) + lower * ty
    return image
