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


@numba.njit(cache=True, nogil=True, fastmath=True)
def _display(value: float, contrast: float) -> float:
    """Exposed linear radiance to display value: highlights roll off, then the sRGB curve as a power."""
    value = max(value, 0.0)
    if value > 0.6:
        value = 0.6 + 0.4 * (1 - math.exp(-(value - 0.6) / 0.4))
    return value ** (contrast / 2.2)


@numba.njit(cache=True, nogil=True, fastmath=True)
def _lit(shadow: np.ndarray, x: float, y: float, depth: float, bias: float) -> float:
    """Share of the light that passes: bilinear blend of four depth tests."""
    size = shadow.shape[0]
    if not (0.0 <= x < size - 1.001 and 0.0 <= y < size - 1.001):
        return 1.0
    x0, y0 = int(x), int(y)
    tx, ty = x - x0, y - y0
    total = 0.0
    for row in range(2):
        for column in range(2):
            front = shadow[y0 + row, x0 + column]
            weight = (ty if row else 1 - ty) * (tx if column else 1 - tx)
            if front == 0.0 or depth < front + bias:
                total += weight
    return total


@numba.njit(cache=True, nogil=True, fastmath=True)
def shade(
    index: np.ndarray,  # [S H, S W] int32 ids into faces, -1 empty
    samples: int,  # S, samples along each side of a pixel
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
    person: Appearance,
    light: Light,
    irradiance: np.ndarray,  # [9, 3] harmonics folded with the cosine
    maps: np.ndarray,
    volume: np.ndarray,
    image: np.ndarray,  # [H, W, 3], written: sum of covered samples' display values / S^2
    coverage: np.ndarray,  # [H, W], written: share of covered samples
) -> None:
    """Shade every pixel of one picture; the caller lays it over a background by ``coverage``."""
    scratch = np.empty(maps.shape[2], np.float32)
    sun_x, sun_y, sun_z = light.sun[0], light.sun[1], light.sun[2]
    wrap = 0.15 + 0.35 * light.softness
    inverse = np.float32(1.0 / (samples * samples))
    for row in range(image.shape[0]):
        for column in range(image.shape[1]):
            red = green = blue = covered = np.float32(0.0)
            for sample in range(samples * samples):
                y, x = row * samples + sample // samples, column * samples + sample % samples
                face = index[y, x]
                if face < 0:
                    continue
                i, j, k = faces[face, 0], faces[face, 1], faces[face, 2]
                x0, y0 = pixels[i, 0] - x, pixels[i, 1] - y
                x1, y1 = pixels[j, 0] - x, pixels[j, 1] - y
                x2, y2 = pixels[k, 0] - x, pixels[k, 1] - y
                z0, z1, z2 = pixels[i, 2], pixels[j, 2], pixels[k, 2]
                u = (x1 * y2 - y1 * x2) * z1 * z2
                v = (x2 * y0 - y2 * x0) * z0 * z2
                w = (x0 * y1 - y0 * x1) * z0 * z1
                total = u + v + w
                scale = 1.0 / total if total != 0.0 else 0.0
                u, v, w = np.float32(u * scale), np.float32(v * scale), np.float32(w * scale)
                nx = u * normals[i, 0] + v * normals[j, 0] + w * normals[k, 0]
                ny = u * normals[i, 1] + v * normals[j, 1] + w * normals[k, 1]
                nz = u * normals[i, 2] + v * normals[j, 2] + w * normals[k, 2]
                scale = 1.0 / max(math.sqrt(nx * nx + ny * ny + nz * nz), 1e-6)
                nx, ny, nz = nx * scale, ny * scale, nz * scale
                of_part = int(part[face])
                r, g, b, gloss = albedo(
                    of_part,
                    person,
                    maps,
                    volume,
                    scratch,
                    u * canonical[i, 0] + v * canonical[j, 0] + w * canonical[k, 0],
                    u * canonical[i, 1] + v * canonical[j, 1] + w * canonical[k, 1],
                    u * canonical[i, 2] + v * canonical[j, 2] + w * canonical[k, 2],
                )
                open_sky = u * openness[i] + v * openness[j] + w * openness[k]
                toward = nx * sun_x + ny * sun_y + nz * sun_z
                visible = 0.0
                if toward > -wrap:
                    visible = _lit(
                        shadow,
                        u * in_sun[i, 0] + v * in_sun[j, 0] + w * in_sun[k, 0],
                        u * in_sun[i, 1] + v * in_sun[j, 1] + w * in_sun[k, 1],
                        u * in_sun[i, 2] + v * in_sun[j, 2] + w * in_sun[k, 2],
                        shadow_bias,
                    )
                    if of_part in (_MOUTH, _TEETH):
                        visible *= open_sky
                # Soft lights reach around shadow borders and are never wholly hidden.
                visible = visible * (1 - 0.35 * light.softness) + 0.35 * light.softness * open_sky
                diffuse = max((toward + wrap) / (1 + wrap), 0.0) * visible
                px = u * points[i, 0] + v * points[j, 0] + w * points[k, 0]
                py = u * points[i, 1] + v * points[j, 1] + w * points[k, 1]
                pz = u * points[i, 2] + v * points[j, 2] + w * points[k, 2]
                scale = 1.0 / max(math.sqrt(px * px + py * py + pz * pz), 1e-6)
                vx, vy, vz = -px * scale, -py * scale, -pz * scale
                facing = max(nx * vx + ny * vy + nz * vz, 0.0)
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
                ao_red = open_sky + (1 - open_sky) * open_sky * 0.30
                red += _display(
                    light.exposure
                    * (
                        r
                        * (
                            max(_harmonics(irradiance, 0, nx, ny, nz), 0.0) * ao_red
                            + diffuse * light.sun_colour[0]
                        )
                        + fresnel
                        * (max(_harmonics(irradiance, 0, mx, my, mz), 0.0) + spot * light.sun_colour[0])
                    ),
                    light.contrast,
                )
                green += _display(
                    light.exposure
                    * (
                        g
                        * (
                            max(_harmonics(irradiance, 1, nx, ny, nz), 0.0) * open_sky
                            + diffuse * light.sun_colour[1]
                        )
                        + fresnel
                        * (max(_harmonics(irradiance, 1, mx, my, mz), 0.0) + spot * light.sun_colour[1])
                    ),
                    light.contrast,
                )
                blue += _display(
                    light.exposure
                    * (
                        b
                        * (
                            max(_harmonics(irradiance, 2, nx, ny, nz), 0.0) * open_sky
                            + diffuse * light.sun_colour[2]
                        )
                        + fresnel
                        * (max(_harmonics(irradiance, 2, mx, my, mz), 0.0) + spot * light.sun_colour[2])
                    ),
                    light.contrast,
                )
                covered += 1
            image[row, column, 0] = red * inverse
            image[row, column, 1] = green * inverse
            image[row, column, 2] = blue * inverse
            coverage[row, column] = covered * inverse
