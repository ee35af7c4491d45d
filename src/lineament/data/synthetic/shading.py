"""Turns a rasterised head into pixels: albedo x light, occlusion, shadow and gloss, averaged over sub-pixel samples."""

from __future__ import annotations

import math

import numba
import numpy as np

from lineament.data.synthetic.albedo import albedo
from lineament.data.synthetic.appearance import Appearance
from lineament.data.synthetic.head.model import Part
from lineament.data.synthetic.light import Light

_EYE_LEFT, _EYE_RIGHT, _MOUTH, _TEETH = (
    int(Part.EYE_LEFT),
    int(Part.EYE_RIGHT),
    int(Part.MOUTH_INTERIOR),
    int(Part.TEETH),
)
_HAIR = int(Part.HAIR)
_SHEETS = (_HAIR, int(Part.LASHES), int(Part.CLOTH))


@numba.njit(cache=True, nogil=True, fastmath=True)
def _harmonics(table: np.ndarray, channel: int, x: float, y: float, z: float) -> float:
    """Order-2 spherical harmonics expansion at a unit direction."""
    return (
        0.282095 * table[0, channel]
        + 0.488603 * (y * table[1, channel] + z * table[2, channel] + x * table[3, channel])
        + 1.092548 * (x * y * table[4, channel] + y * z * table[5, channel] + x * z * table[7, channel])
        + 0.315392 * (3 * z * z - 1) * table[6, channel]
        + 0.546274 * (x * x - y * y) * table[8, channel]
    )


TONE_STEPS, TONE_TOP = 512, 4.0


def tone_table(contrast: float) -> np.ndarray:
    """Display values of exposed radiance ``TONE_TOP * (i / TONE_STEPS) ** 2``, ``[TONE_STEPS + 1]`` float32.

    Highlights roll off towards 1; then comes the sRGB curve as a power. The squared spacing keeps the shadows exact.
    """
    value = TONE_TOP * (np.arange(TONE_STEPS + 1) / TONE_STEPS) ** 2
    rolled = np.where(value > 0.6, 0.6 + 0.4 * (1 - np.exp(-(value - 0.6) / 0.4)), value)
    return (rolled ** (contrast / 2.2)).astype(np.float32)


@numba.njit(cache=True, nogil=True, fastmath=True)
def _display(table: np.ndarray, value: float) -> float:
    """Look an exposed radiance up in the tone table."""
    place = math.sqrt(min(max(value, 0.0), TONE_TOP * 0.9999) / TONE_TOP) * TONE_STEPS
    step = int(place)
    return table[step] + (place - step) * (table[step + 1] - table[step])


@numba.njit(cache=True, nogil=True, fastmath=True)
def _lit(shadow: np.ndarray, x: float, y: float, depth: float, bias: float) -> float:
    """Share of the light that passes: depth tests of 3 x 3 map pixels, weighted by a moving 2 x 2 box."""
    size = shadow.shape[0]
    if not (1.0 <= x < size - 2.001 and 1.0 <= y < size - 2.001):
        return 1.0
    x0, y0 = int(x + 0.5), int(y + 0.5)
    tx, ty = x + 0.5 - x0, y + 0.5 - y0
    total = 0.0
    for row in range(3):
        for column in range(3):
            front = shadow[y0 + row - 1, x0 + column - 1]
            if front == 0.0 or depth < front + bias:
                weight = 1 - ty if row == 0 else ty if row == 2 else 1.0
                total += weight * (1 - tx if column == 0 else tx if column == 2 else 1.0)
    return 0.25 * total


# What is added up over the samples of one surface in one pixel.
_NORMAL, _CANONICAL, _POINT, _SUN, _OPEN, _COUNT, _SUMS = 0, 3, 6, 9, 12, 13, 14
_APART = 8.0
"""Samples of one part whose depths differ by more than this (mm) lie on two surfaces and are shaded apart."""


@numba.njit(cache=True, nogil=True, fastmath=True)
def _gather(
    index: np.ndarray,
    samples: int,
    row: int,
    column: int,
    pixels: np.ndarray,
    faces: np.ndarray,
    part: np.ndarray,
    points: np.ndarray,
    normals: np.ndarray,
    canonical: np.ndarray,
    openness: np.ndarray,
    in_sun: np.ndarray,
    sums: np.ndarray,
    parts: np.ndarray,
) -> int:
    """Add up the attributes of a pixel's samples, one row of ``sums`` for each surface seen; returns their number."""
    surfaces = 0
    for sample in range(samples * samples):
        y, x = row * samples + sample // samples, column * samples + sample % samples
        face = index[y, x]
        if face < 0:
            continue
        i, j, k = faces[face, 0], faces[face, 1], faces[face, 2]
        # Corners relative to the sample are small numbers, for which float32 is enough and twice as fast.
        fx, fy = np.float32(x), np.float32(y)
        x0, y0 = pixels[i, 0] - fx, pixels[i, 1] - fy
        x1, y1 = pixels[j, 0] - fx, pixels[j, 1] - fy
        x2, y2 = pixels[k, 0] - fx, pixels[k, 1] - fy
        z0, z1, z2 = pixels[i, 2], pixels[j, 2], pixels[k, 2]
        u = (x1 * y2 - y1 * x2) * z1 * z2
        v = (x2 * y0 - y2 * x0) * z0 * z2
        w = (x0 * y1 - y0 * x1) * z0 * z1
        total = u + v + w
        scale = np.float32(1.0) / total if total != 0.0 else np.float32(0.0)
        u, v, w = u * scale, v * scale, w * scale
        depth = u * z0 + v * z1 + w * z2
        slot = surfaces
        for other in range(surfaces):
            mean = sums[other, _POINT + 2] / sums[other, _COUNT]
            if parts[other] == part[face] and abs(mean - depth) < _APART:
                slot = other
                break
        if slot == surfaces:
            surfaces += 1
            parts[slot] = part[face]
            sums[slot] = 0.0
        for c in range(3):
            sums[slot, _NORMAL + c] += u * normals[i, c] + v * normals[j, c] + w * normals[k, c]
            sums[slot, _CANONICAL + c] += u * canonical[i, c] + v * canonical[j, c] + w * canonical[k, c]
            sums[slot, _POINT + c] += u * points[i, c] + v * points[j, c] + w * points[k, c]
            sums[slot, _SUN + c] += u * in_sun[i, c] + v * in_sun[j, c] + w * in_sun[k, c]
        sums[slot, _OPEN] += u * openness[i] + v * openness[j] + w * openness[k]
        sums[slot, _COUNT] += 1
    return surfaces


@numba.njit(cache=True, nogil=True, fastmath=True)
def shade(
    index: np.ndarray,  # [S H, S W] int32 ids into faces, -1 empty
    samples: int,  # S, samples along each side of a pixel
    focal: float,  # focal length in pixels of the picture
    pixels: np.ndarray,  # [V, 3] sample coordinates and depth
    faces: np.ndarray,  # [F, 3] int32
    part: np.ndarray,  # [F] uint8
    points: np.ndarray,  # [V, 3] camera frame, mm
    normals: np.ndarray,  # [V, 3] camera frame
    canonical: np.ndarray,  # [V, 3] template frame
    openness: np.ndarray,  # [V] ambient occlusion, 1 open
    in_sun: np.ndarray,  # [V, 3] shadow-map coordinates
    shadow: np.ndarray,  # [M, M] shadow map
    shadow_bias: float,
    people: np.ndarray,  # [1] record of the Appearance
    lights: np.ndarray,  # [1] record of the Light
    irradiance: np.ndarray,  # [9, 3] harmonics folded with the cosine
    tones: np.ndarray,  # see tone_table
    maps: np.ndarray,
    volume: np.ndarray,
    image: np.ndarray,  # [H, W, 3], written: display values, times the share of the pixel that is covered
    coverage: np.ndarray,  # [H, W], written: that share
) -> None:
    """Shade every pixel of one picture; the caller lays it over a background by ``coverage``.

    Each surface seen in a pixel is shaded once, at the mean of its samples (as multisampling hardware does); the albedo
    knows the size of the pixel's footprint and fades what is finer.
    """
    person, light = people[0], lights[0]
    scratch = np.empty(maps.shape[2], np.float32)
    sums = np.zeros((samples * samples, _SUMS), np.float32)
    parts = np.zeros(samples * samples, np.uint8)
    colour = np.zeros(3, np.float32)
    for row in range(image.shape[0]):
        for column in range(image.shape[1]):
            surfaces = _gather(
                index, samples, row, column, pixels, faces, part, points, normals, canonical, openness, in_sun, sums,
                parts,
            )  # fmt: skip
            image[row, column] = 0.0
            covered = np.float32(0.0)
            for surface in range(surfaces):
                share = sums[surface, _COUNT] / (samples * samples)
                sums[surface] /= sums[surface, _COUNT]
                _shade_surface(
                    sums[surface], int(parts[surface]), focal, shadow, shadow_bias, person, light, irradiance, maps,
                    volume, scratch, colour,
                )  # fmt: skip
                for c in range(3):
                    image[row, column, c] += share * _display(tones, light.exposure * colour[c])
                covered += share
            coverage[row, column] = covered


@numba.njit(cache=True, nogil=True, fastmath=True)
def _shade_surface(
    s: np.ndarray,
    of_part: int,
    focal: float,
    shadow: np.ndarray,
    shadow_bias: float,
    person: Appearance,
    light: Light,
    irradiance: np.ndarray,
    maps: np.ndarray,
    volume: np.ndarray,
    scratch: np.ndarray,
    colour: np.ndarray,
) -> None:
    """Linear radiance of one surface point towards the camera, into ``colour`` ``[3]``."""
    nx, ny, nz = s[_NORMAL], s[_NORMAL + 1], s[_NORMAL + 2]
    scale = 1.0 / max(math.sqrt(nx * nx + ny * ny + nz * nz), 1e-6)
    nx, ny, nz = nx * scale, ny * scale, nz * scale
    px, py, pz = s[_POINT], s[_POINT + 1], s[_POINT + 2]
    scale = 1.0 / max(math.sqrt(px * px + py * py + pz * pz), 1e-6)
    vx, vy, vz = -px * scale, -py * scale, -pz * scale
    facing = nx * vx + ny * vy + nz * vz
    if facing < 0.0 and of_part in _SHEETS:
        nx, ny, nz, facing = -nx, -ny, -nz, -facing
    facing = max(facing, 0.0)
    r, g, b, gloss = albedo(
        of_part, person, maps, volume, scratch, pz / focal,
        s[_CANONICAL], s[_CANONICAL + 1], s[_CANONICAL + 2],
    )  # fmt: skip
    open_sky = s[_OPEN]
    sun_x, sun_y, sun_z = light.sun[0], light.sun[1], light.sun[2]
    wrap = 0.15 + 0.35 * light.softness
    toward = nx * sun_x + ny * sun_y + nz * sun_z
    visible = 0.0
    if toward > -wrap:
        # Slanting light needs more room before a surface shadows itself.
        bias = shadow_bias * (0.7 + 2.0 * (1 - max(toward, 0.0)))
        visible = _lit(shadow, s[_SUN], s[_SUN + 1], s[_SUN + 2], bias)
        if of_part in (_MOUTH, _TEETH):
            visible *= open_sky
    # Soft lights reach around shadow borders and are never wholly hidden.
    visible = visible * (1 - 0.35 * light.softness) + 0.35 * light.softness * open_sky
    diffuse = max((toward + wrap) / (1 + wrap), 0.0) * visible
    mx, my, mz = 2 * facing * nx - vx, 2 * facing * ny - vy, 2 * facing * nz - vz
    grazing = (1 - facing) ** 5
    fresnel = gloss * (0.028 + 0.22 * grazing) * open_sky
    mirror = max(mx * sun_x + my * sun_y + mz * sun_z, 0.0)
    if of_part in (_EYE_LEFT, _EYE_RIGHT):
        # A wet mirror: small bright image of the light, and a share of the surroundings.
        spot = 14.0 * mirror**90 + 0.5 * mirror**12
    elif of_part == _HAIR:
        spot = 0.8 * mirror**8
    else:
        spot = 1.6 * mirror**14 + 0.3 * mirror**4
    spot *= visible
    for c in range(3):
        reflectance = r if c == 0 else g if c == 1 else b
        # Light that enters a crease of skin comes out redder.
        sky = open_sky + (1 - open_sky) * open_sky * 0.30 if c == 0 else open_sky
        colour[c] = reflectance * (
            max(_harmonics(irradiance, c, nx, ny, nz), 0.0) * sky + diffuse * light.sun_colour[c]
        ) + fresnel * (max(_harmonics(irradiance, c, mx, my, mz), 0.0) + spot * light.sun_colour[c])
