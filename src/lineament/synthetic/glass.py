"""Lenses of spectacles, laid over the drawn image: tint, dark glass and what it mirrors."""

from __future__ import annotations

import numpy as np

from lineament.synthetic.extras import fit_to_face, lens_outline
from lineament.synthetic.mesh import depth_buffer
from lineament.synthetic.worn import HIDING, Glasses


def lens_points(glasses: Glasses, landmarks: np.ndarray) -> np.ndarray:
    """Corners of the two lenses in the head frame, ``[2, 29, 3]``: the middle and the outline."""
    linear, shift = fit_to_face(landmarks)
    lenses = []
    for side in (1.0, -1.0):
        outline = lens_outline(glasses.half_width, glasses.half_height, glasses.squareness, side)
        middle = outline.mean(axis=0) - np.array([0.0, 0.0, 1.5])
        lenses.append(np.concatenate([middle[None], outline]) @ linear + shift)
    return np.stack(lenses)


def lay_glass(
    image: np.ndarray,
    fine_depth: np.ndarray,
    samples: int,
    corners: np.ndarray,
    glasses: Glasses,
    numbers: np.ndarray,
    bright: float,
) -> None:
    """Draw both lenses into an image, in place; dark ones also enter the depths.

    Args:
        image: ``[H, W, 3]`` display values.
        fine_depth: ``[S H, S W]`` depth of what is drawn, 0 where empty; where dark glass lies before it, the glass's.
        samples: ``S``.
        corners: ``[2, 29, 3]`` the lenses' corners in samples (x, y) and millimetres (depth).
        glasses: The spectacles.
        numbers: Uniform numbers that place the reflections.
        bright: Brightness of what is mirrored, display value.
    """
    height, width = image.shape[:2]
    count = corners.shape[1] - 1
    fan = np.stack([np.zeros(count, int), 1 + np.arange(count), 1 + (np.arange(count) + 1) % count], axis=1)
    for lens in corners.astype(np.float32):
        low = np.maximum(np.floor(lens[:, :2].min(axis=0) / samples).astype(int) - 1, 0)
        high = np.minimum(np.ceil(lens[:, :2].max(axis=0) / samples).astype(int) + 2, [width, height])
        if (high <= low).any():
            continue
        window = (slice(low[1], high[1]), slice(low[0], high[0]))
        fine = (slice(low[1] * samples, high[1] * samples), slice(low[0] * samples, high[0] * samples))
        rows, columns = high[1] - low[1], high[0] - low[0]
        local = lens - np.array([low[0] * samples, low[1] * samples, 0], np.float32)
        index, depth = depth_buffer(local, fan.astype(np.int32), rows * samples, columns * samples)
        behind = fine_depth[fine]
        front = (index >= 0) & ((behind == 0) | (depth < behind))
        cover = front.reshape(rows, samples, columns, samples).mean(axis=(1, 3))[..., None].astype(np.float32)
        # Place in the lens, about -1 .. 1.
        middle = 0.5 * (lens[:, :2].min(axis=0) + lens[:, :2].max(axis=0)) / samples
        half = 0.5 * float(np.ptp(lens[:, 0])) / samples + 1e-3
        y, x = np.mgrid[low[1] : high[1], low[0] : high[0]].astype(np.float32)
        u, v = (x - middle[0]) / half, (y - middle[1]) / half
        veil = _mirrored(u, v, numbers)[..., None] * np.float32(glasses.reflection * bright)
        shade = np.float32(glasses.opacity) * (1 - 0.25 * numbers[3] * v[..., None].clip(-1, 1))
        clear = image[window] * (1 - shade) + shade * glasses.lens * (0.5 + 0.5 * bright)
        image[window] += cover * (clear + veil * (1 - clear) - image[window])
        if glasses.opacity >= HIDING:
            behind[front] = depth[front]


def _mirrored(u: np.ndarray, v: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """0..1: a bright sky from one side, and a window or a lamp."""
    a, b, c, d = (float(number) for number in numbers[4:8])
    turn = 2 * np.pi * a
    sky = np.clip(0.5 + 1.2 * (np.cos(turn) * u + np.sin(turn) * v) - 0.8 * b, 0, 1)
    x, y = u - 1.2 * (c - 0.5), v - 0.8 * (d - 0.5)
    slanted = x + 0.4 * (a - 0.5) * y
    edge = 0.2
    window = np.clip((0.16 + 0.3 * b - np.abs(slanted)) / edge, 0, 1) * np.clip(
        (0.3 + 0.2 * d - np.abs(y)) / edge, 0, 1
    )
    return np.clip(0.45 * sky + (0.3 + 0.7 * d) * window, 0, 1).astype(np.float32)
