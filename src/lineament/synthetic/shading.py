"""Turns a rasterised head into pixels: albedo x light, occlusion, shadow and gloss, averaged over sub-pixel samples."""

from __future__ import annotations

import math

import numba
import numpy as np

from lineament.heads.model import Floats, Part
from lineament.synthetic.albedo import albedo
from lineament.synthetic.appearance import Appearance
from lineament.synthetic.compiled import per_pixel
from lineament.synthetic.light import Light
from lineament.synthetic.worn import FIRST_WORN

_EYE_LEFT, _EYE_RIGHT, _MOUTH, _TEETH = (
    int(Part.EYE_LEFT),
    int(Part.EYE_RIGHT),
    int(Part.MOUTH_INTERIOR),
    int(Part.TEETH),
)
_HAIR, _FIRST_WORN = int(Part.HAIR), FIRST_WORN
_SHEETS = (_HAIR, int(Part.LASHES), int(Part.CLOTH))


@per_pixel
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


@per_pixel
def _display(table: np.ndarray, value: float) -> float:
    """Look an exposed radiance up in the tone table."""
    place = math.sqrt(min(max(value, 0.0), TONE_TOP * 0.9999) / TONE_TOP) * TONE_STEPS
    step = int(place)
    return table[step] + (place - step) * (table[step + 1] - table[step])


@per_pixel
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


# Columns of the table of vertex attributes, which are added up over the samples of one surface in one pixel.
_NORMAL, _CANONICAL, _POINT, _SUN, _OPEN, ATTRIBUTES = 0, 3, 6, 9, 12, 13
_APART = 8.0
"""Samples of one part whose depths differ by more than this (mm) lie on two surfaces and are shaded apart."""


@per_pixel
def _group(
    index: np.ndarray,
    samples: int,
    row: int,
    column: int,
    pixels: np.ndarray,
    faces: np.ndarray,
    seen: np.ndarray,
    weights: np.ndarray,
) -> int:
    """Which faces a pixel's samples see and, added up, where in each; returns how many faces there are.

    Writes the ids to ``seen`` ``[S S]`` and to ``weights`` ``[S S, 4]`` the sums of the barycentric coordinates and the
    number of samples. Neighbouring samples mostly lie on one face, whose attributes are then read once for all.
    """
    found = 0
    for y in range(row * samples, (row + 1) * samples):
        for x in range(column * samples, (column + 1) * samples):
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
            slot = 0
            while slot < found and seen[slot] != face:
                slot += 1
            if slot == found:
                found += 1
                seen[slot] = face
                weights[slot, 0] = weights[slot, 1] = weights[slot, 2] = weights[slot, 3] = 0.0
            weights[slot, 0] += u * scale
            weights[slot, 1] += v * scale
            weights[slot, 2] += w * scale
            weights[slot, 3] += 1.0
    return found


@per_pixel
def _gather(
    found: int,
    seen: np.ndarray,
    weights: np.ndarray,
    faces: np.ndarray,
    part: np.ndarray,
    attributes: np.ndarray,
    sums: np.ndarray,
    counts: np.ndarray,
    parts: np.ndarray,
) -> int:
    """Add up the attributes of the faces of one pixel, one row of ``sums`` for each surface; returns their number."""
    surfaces = np.uint32(0)
    for number in range(np.uint32(found)):
        face = seen[number]
        u, v, w, count = weights[number, 0], weights[number, 1], weights[number, 2], weights[number, 3]
        # Unsigned ids spare the test for the negative ones of Python.
        i, j, k = np.uint32(faces[face, 0]), np.uint32(faces[face, 1]), np.uint32(faces[face, 2])
        depth = (
            u * attributes[i, _POINT + 2] + v * attributes[j, _POINT + 2] + w * attributes[k, _POINT + 2]
        ) / count
        slot = np.uint32(0)
        while slot < surfaces and not (
            parts[slot] == part[face] and abs(sums[slot, _POINT + 2] / counts[slot] - depth) < _APART
        ):
            slot += np.uint32(1)
        if slot == surfaces:
            surfaces += np.uint32(1)
            parts[slot] = part[face]
            counts[slot] = 0.0
            for c in range(ATTRIBUTES):
                sums[slot, c] = 0.0
        for c in range(ATTRIBUTES):
            sums[slot, c] += u * attributes[i, c] + v * attributes[j, c] + w * attributes[k, c]
        counts[slot] += count
    return int(surfaces)


def vertex_attributes(
    normals: Floats, canonical: Floats, points: Floats, in_sun: Floats, openness: Floats
) -> Floats:
    """One table of what is interpolated, so that a corner is one cache line; ``[V, 3]`` x 4 and ``[V]`` to ``[V, 13]``.

    Args:
        normals: In the camera frame.
        canonical: In the template frame.
        points: In the camera frame, mm.
        in_sun: Shadow-map coordinates.
        openness: Ambient occlusion, 1 open.
    """
    return np.concatenate([normals, canonical, points, in_sun, openness[:, None]], axis=1)


@numba.njit(cache=True, nogil=True, fastmath=True)
def shade(
    index: np.ndarray,  # [S H, S W] int32 ids into faces, -1 empty
    samples: int,  # S, samples along each side of a pixel
    focal: float,  # focal length in pixels of the image
    pixels: np.ndarray,  # [V, 3] sample coordinates and depth
    faces: np.ndarray,  # [F, 3] int32
    part: np.ndarray,  # [F] uint8
    attributes: np.ndarray,  # [V, 13], see vertex_attributes
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
    """Shade every pixel of one image; the caller lays it over a background by ``coverage``.

    Each surface seen in a pixel is shaded once, at the mean of its samples (as multisampling hardware does); the albedo
    knows the size of the pixel's footprint and fades what is finer.
    """
    most = samples * samples
    scratch, colour = np.empty(maps.shape[2], np.float32), np.zeros(3, np.float32)
    seen, weights = np.zeros(most, np.int32), np.zeros((most, 4), np.float32)
    sums, counts = np.zeros((most, ATTRIBUTES), np.float32), np.zeros(most, np.float32)
    parts = np.zeros(most, np.uint8)
    for row in range(image.shape[0]):
        _shade_row(
            row, index, samples, focal, pixels, faces, part, attributes, shadow, shadow_bias, people, lights,
            irradiance, tones, maps, volume, image, coverage, scratch, colour, seen, weights, sums, counts, parts,
        )  # fmt: skip


@per_pixel
def _shade_row(
    row: int, index: np.ndarray, samples: int, focal: float, pixels: np.ndarray, faces: np.ndarray, part: np.ndarray,
    attributes: np.ndarray, shadow: np.ndarray, shadow_bias: float, people: np.ndarray, lights: np.ndarray,
    irradiance: np.ndarray, tones: np.ndarray, maps: np.ndarray, volume: np.ndarray, image: np.ndarray,
    coverage: np.ndarray, scratch: np.ndarray, colour: np.ndarray, seen: np.ndarray, weights: np.ndarray,
    sums: np.ndarray, counts: np.ndarray, parts: np.ndarray,
) -> None:  # fmt: skip
    """One row of :func:`shade`; the arguments after ``coverage`` are scratch space."""
    person, light = people[0], lights[0]
    for column in range(image.shape[1]):
        found = _group(index, samples, row, column, pixels, faces, seen, weights)
        surfaces = _gather(found, seen, weights, faces, part, attributes, sums, counts, parts)
        for c in range(3):
            image[row, column, c] = 0.0
        covered = np.float32(0.0)
        for surface in range(surfaces):
            share = counts[surface] / (samples * samples)
            scale = np.float32(1.0) / counts[surface]
            for c in range(ATTRIBUTES):
                sums[surface, c] *= scale
            _shade_surface(
                sums[surface], int(parts[surface]), focal, shadow, shadow_bias, person, light, irradiance, maps,
                volume, scratch, colour,
            )  # fmt: skip
            for c in range(3):
                image[row, column, c] += share * _display(tones, light.exposure * colour[c])
            covered += share
        coverage[row, column] = covered


@per_pixel
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
    if facing < 0.0 and (of_part in _SHEETS or of_part >= _FIRST_WORN):
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
