"""The procedural albedo: reflectance at a point of the template face, for skin, lips, brows, eyes, hair and cloth.

Everything is evaluated at the point itself (there is no texture image), so it is as sharp as the image needs. All
functions are compiled, work in the template frame (head/template.py) and return linear RGB reflectance and a gloss;
``a`` is an :class:`~lineament.synthetic.appearance.Appearance` packed into a record.
"""

from __future__ import annotations

import math

import numpy as np

from lineament.heads.builtin.template import NOSTRILS
from lineament.heads.model import Part
from lineament.synthetic import fields
from lineament.synthetic.appearance import MOLES, Appearance
from lineament.synthetic.compiled import per_pixel
from lineament.synthetic.noise import noise, smooth
from lineament.synthetic.worn import FIRST_WORN, GLOSS, SLOTS

_SKIN, _EYE_LEFT, _EYE_RIGHT, _MOUTH, _TEETH = (int(part) for part in list(Part)[:5])
_HAIR, _LASHES, _EAR, _CLOTH = (int(part) for part in list(Part)[5:9])
GLASSES_PART = 9
"""Part number of spectacle frames, which belong to no head model."""

_FIRST_WORN, _HAND, _GLOSS = FIRST_WORN, SLOTS.index("skin"), GLOSS
_NOSTRIL_X, _NOSTRIL_Y, _NOSTRIL_Z = (float(value) for value in NOSTRILS[1])
_Y_FIRST, _Y_SPAN = fields.Y_FIRST, fields.Y_LAST - fields.Y_FIRST
_X_LAST = fields.X_LAST
_LIP, _MOUTH_GAP, _ALONG, _ACROSS, _EYE = (
    fields.LIP,
    fields.MOUTH,
    fields.BROW_ALONG,
    fields.BROW_ACROSS,
    fields.EYE,
)
_CHEEK, _BEARD, _MOUSTACHE, _UNDER_EYE = fields.CHEEK, fields.BEARD, fields.MOUSTACHE, fields.UNDER_EYE
_HAIRLINE = fields.HAIRLINE_Y


@per_pixel
def look_up(maps: np.ndarray, x: float, y: float, out: np.ndarray) -> None:
    """Bilinear samples of all feature maps at a template position, into ``out`` ``[C]``."""
    fx = min(abs(x), _X_LAST - 0.001)
    fy = min(max(y - _Y_FIRST, 0.0), _Y_SPAN - 0.001)
    x0, y0 = np.uint32(fx), np.uint32(fy)
    x1, y1 = x0 + np.uint32(1), y0 + np.uint32(1)
    # In single precision, eight channels go into one instruction.
    tx, ty = np.float32(fx - x0), np.float32(fy - y0)
    for channel in range(fields.CHANNELS):
        upper = maps[y0, x0, channel] + (maps[y0, x1, channel] - maps[y0, x0, channel]) * tx
        lower = maps[y1, x0, channel] + (maps[y1, x1, channel] - maps[y1, x0, channel]) * tx
        out[channel] = upper + (lower - upper) * ty


@per_pixel
def hair_height(x: float, y: float, z: float, hairline: float, shift: float, temples: float) -> float:
    """Signed distance in millimetres above the border of the scalp's hair (positive: hair grows here).

    In front the border is the template's hairline; beside the face it runs down to the sideburn, over the ear, and
    behind it down to the nape.
    """
    side = abs(x)
    front = hairline - shift - temples * math.exp(-(((side - 40.0) / 14.0) ** 2))
    if z < 84.0:
        around = 24.0
    elif z < 90.0:
        around = 24.0 - (z - 84.0) / 6.0 * 44.0
    elif z < 124.0:
        around = -20.0
    else:
        around = -20.0 + min((z - 124.0) / 30.0, 1.0) * 92.0
    back = smooth(78.0, 100.0, z)
    return front * (1 - back) + around * back - y


@per_pixel
def _fade(cells: float) -> float:
    """How much is left of a noise when a pixel covers this many of its cells."""
    return min(1.0, 0.7 / max(cells, 1e-3)) if cells < 2.0 else 0.35


@per_pixel
def eye_albedo(
    a: Appearance, volume: np.ndarray, mm: float, x: float, y: float, z: float, centre_x: float
) -> tuple[float, float, float, float]:
    """Sclera, iris and pupil of an eyeball whose centre lies at ``(centre_x, 0, 0)``; looks along -z."""
    dx, dy = x - centre_x, y
    radius = math.sqrt(dx * dx + dy * dy)
    if z > 0.0:
        radius = 12.0
    soft = 0.4 + 0.4 * mm
    edge = smooth(a.iris_radius + soft, a.iris_radius - soft, radius)
    veins = max(noise(volume, dx * 0.6 + 3.0, dy * 0.9 + 7.0, a.texture_shift[0]), 0.0) * smooth(
        6.0, 12.0, radius
    )
    red = 1.0 - 0.10 * veins
    corner = smooth(9.5, 12.5, abs(dx))
    r = a.sclera[0] * (1 - 0.1 * corner)
    g = a.sclera[1] * red * (1 - 0.35 * corner)
    b = a.sclera[2] * red * (1 - 0.35 * corner)
    if edge > 0.0:
        angle = math.atan2(dy, dx)
        fibre = 1.0 + 0.35 * noise(volume, angle * 4.0, radius * 0.35, a.texture_shift[1])
        ring = 1.0 - 0.75 * smooth(a.iris_radius - 1.6, a.iris_radius, radius)
        bright = fibre * ring * (1.0 + 0.5 * smooth(4.0, 2.0, radius))
        pupil = smooth(a.pupil_radius + 0.8 * soft, a.pupil_radius - 0.8 * soft, radius)
        bright *= 1 - pupil
        r = r * (1 - edge) + edge * (a.iris_colour[0] * bright + 0.004)
        g = g * (1 - edge) + edge * (a.iris_colour[1] * bright + 0.004)
        b = b * (1 - edge) + edge * (a.iris_colour[2] * bright + 0.004)
    return r, g, b, 3.0


@per_pixel
def cloth_albedo(
    a: Appearance, volume: np.ndarray, x: float, y: float, z: float
) -> tuple[float, float, float, float]:
    """Plain, striped, checked or mottled cloth."""
    mix = 0.0
    if a.cloth_pattern == 1.0:
        mix = smooth(-0.2, 0.2, math.sin(x * 0.45))
    elif a.cloth_pattern == 2.0:
        mix = smooth(-0.2, 0.2, math.sin(x * 0.3)) * 0.5 + smooth(-0.2, 0.2, math.sin(y * 0.3)) * 0.5
    elif a.cloth_pattern == 3.0:
        mix = smooth(0.0, 0.4, noise(volume, x * 0.06 + 1.0, y * 0.06, z * 0.06))
    fold = 1.0 + 0.15 * noise(volume, x * 0.04, y * 0.02, a.texture_shift[2])
    # The neck casts the collar's shadow; a thin dark seam makes the border read as cloth.
    fold *= 0.6 + 0.4 * smooth(0.0, 6.0, y - a.collar)
    return (
        (a.cloth[0] * (1 - mix) + a.cloth_second[0] * mix) * fold,
        (a.cloth[1] * (1 - mix) + a.cloth_second[1] * mix) * fold,
        (a.cloth[2] * (1 - mix) + a.cloth_second[2] * mix) * fold,
        0.2,
    )


@per_pixel
def hair_albedo(
    a: Appearance, volume: np.ndarray, mm: float, x: float, y: float, z: float
) -> tuple[float, float, float, float]:
    """Strands: noise that is fine across the hair and long along it; curls make it short in all directions."""
    curl = a.hair_curl
    # Hair falls from the crown, so strands are thin in the direction around it.
    turn = math.atan2(x, z - 95.0) * 70.0
    along = 0.04 + 0.30 * curl
    wave = 0.0
    if mm < 2.5:
        wave = noise(volume, turn * (0.5 - 0.25 * curl), y * along, z * along + a.texture_shift[1]) * _fade(
            0.5 * mm
        )
    lock = noise(volume, turn * 0.12, y * 0.015 + a.texture_shift[0], z * 0.02)
    value = max(1.0 + 0.32 * wave + 0.25 * lock, 0.2)
    return a.hair_colour[0] * value, a.hair_colour[1] * value, a.hair_colour[2] * value, 0.6


@per_pixel
def skin_albedo(
    a: Appearance,
    maps: np.ndarray,
    volume: np.ndarray,
    m: np.ndarray,
    mm: float,
    x: float,
    y: float,
    z: float,
    ear: bool,
) -> tuple[float, float, float, float]:
    """Skin with everything that grows or is painted on it; ``m`` is scratch space ``[C]``."""
    sx, sy, sz = x + 50.0 * a.texture_shift[0], y + 50.0 * a.texture_shift[1], z + 50.0 * a.texture_shift[2]
    if y > a.collar - 0.25 * abs(x):
        return cloth_albedo(a, volume, x, y, z)
    look_up(maps, x, y, m)
    soft = 0.45 * mm
    coarse = noise(volume, sx * 0.035, sy * 0.035, sz * 0.035)
    middle = noise(volume, sx * 0.16, sy * 0.16, sz * 0.16)
    scalp = -1.0
    if not ear and a.hair_density > 0.0 and (y < 0.0 or z > 60.0):
        height = hair_height(x, y, z, m[_HAIRLINE], a.hairline_shift, a.hairline_temples)
        scalp = height
        # Farther from the hairline than the fringe can reach, its strands make no difference.
        if abs(height) < 8.0 + 6.0 * a.hairline_fringe:
            strand = noise(volume, x * 0.5, y * 0.05, z * 0.15 + a.texture_shift[2])
            scalp += a.hairline_fringe * (0.7 * middle + 0.8 * strand)
        if scalp > 4.0 and a.hair_density > 0.9:
            return hair_albedo(a, volume, mm, x, y, z)
    front = z < 66.0
    melanin = a.melanin * (1 + 0.06 * a.blotches * coarse) + 0.012 * a.blotches * middle
    blood = a.haemoglobin * (1 + 0.35 * a.blotches * coarse) + 0.03 * a.blotches * middle
    gloss = a.shine
    if ear:
        blood += 0.12
    lip = 0.0
    if front:
        blood += a.blush * m[_CHEEK] * (0.8 + 0.4 * middle)
        melanin += 0.12 * a.under_eye * m[_UNDER_EYE]
        blood += 0.25 * a.under_eye * m[_UNDER_EYE]
        if a.freckles > 0.0:
            spots = noise(volume, sx * 0.55, sy * 0.55, sz * 0.55) * _fade(0.6 * mm)
            melanin += 0.16 * a.freckles * smooth(0.55, 0.85, spots) * (0.3 + m[_CHEEK])
        for mole in range(MOLES):
            if a.moles[mole, 3] > 0.0:
                mx, my = x - a.moles[mole, 0], y - a.moles[mole, 1]
                size = a.moles[mole, 3]
                melanin += 0.5 * smooth(size + 0.3 + soft, size - 0.2 - soft, math.sqrt(mx * mx + my * my))
        lip = smooth(0.6 + soft, -0.6 - soft, m[_LIP] + 0.25 * middle)
        blood += lip * a.lip_red
        melanin += 0.10 * lip * (1 - a.melanin)
        gloss += 0.5 * lip
    r = a.skin_base[0] * math.exp(-2.2 * melanin - 0.10 * blood)
    g = a.skin_base[1] * math.exp(-2.65 * melanin - 0.95 * blood)
    b = a.skin_base[2] * math.exp(-3.0 * melanin - 0.80 * blood)
    if front:
        r, g, b = _face_paint(a, volume, m, mm, x, y, z, lip, r, g, b)
    if scalp > -3.0:
        cover = smooth(-2.0, 4.0, scalp) * a.hair_density
        hr, hg, hb, _ = hair_albedo(a, volume, mm, x, y, z)
        r, g, b = r * (1 - cover) + hr * cover, g * (1 - cover) + hg * cover, b * (1 - cover) + hb * cover
        gloss *= 1 - 0.6 * cover
    return r, g, b, gloss


@per_pixel
def _face_paint(a: Appearance, volume: np.ndarray, m: np.ndarray, mm: float, x: float, y: float, z: float, lip: float,
    r: float, g: float, b: float,
) -> tuple[float, float, float]:  # fmt: skip
    """Lines, make-up, brows, lashes and beard over the bare skin of the front of the face."""
    soft = 0.45 * mm
    if lip > 0.0:
        stick = lip * a.lipstick[3]
        r, g, b = (
            r + (a.lipstick[0] - r) * stick,
            g + (a.lipstick[1] - g) * stick,
            b + (a.lipstick[2] - b) * stick,
        )
        # Where the lips meet light hardly gets in.
        dark = 1 - 0.55 * smooth(0.7 + soft, -0.2 - soft, m[_MOUTH_GAP])
        r, g, b = r * dark, g * dark * 0.95, b * dark * 0.95
    nx, ny, nz = (abs(x) - _NOSTRIL_X) / 3.6, (y - _NOSTRIL_Y) / 2.4, (z - _NOSTRIL_Z) / 5.0
    hole = nx * nx + ny * ny + nz * nz
    if hole < 2.0:
        dark = 1 - 0.88 * smooth(1.5, 0.5, hole)
        r, g, b = r * dark, g * dark * 0.9, b * dark * 0.9
    eye = m[_EYE]
    if eye < 16.0:
        lid = smooth(9.0, 3.0, eye) * (1.0 if y < 0.0 else 0.3) * a.shadow[3]
        r, g, b = r + (a.shadow[0] - r) * lid, g + (a.shadow[1] - g) * lid, b + (a.shadow[2] - b) * lid
        # The fold above the upper lid, and the lashes: a dark line that is thick above and thin below.
        if y < 2.0:
            fold = 0.35 * math.exp(-(((eye - 4.2) / 0.9) ** 2))
            line = smooth(1.7 + soft, 0.7 - soft, eye) * (0.55 + 0.45 * a.liner)
        else:
            fold = 0.12 * math.exp(-(((eye - 6.0) / 1.5) ** 2))
            line = smooth(1.0 + soft, 0.4 - soft, eye) * (0.15 + 0.45 * a.liner)
        dark = (1 - fold) * (1 - 0.88 * line)
        r, g, b = r * dark, g * dark, b * dark
    if a.wrinkles > 0.0:
        brow_lines = smooth(-32.0, -40.0, y) * smooth(46.0, 30.0, abs(x))
        if brow_lines > 0.0:
            wavy = y + 2.0 * noise(volume, x * 0.05, y * 0.02, a.texture_shift[1])
            brow_lines *= max(math.sin(wavy * 0.85), 0.0) ** 4
        fold_x = 24.0 + 0.33 * (y - 40.0)
        cheek_fold = smooth(36.0, 46.0, y) * smooth(74.0, 64.0, y)
        if cheek_fold > 0.0:
            cheek_fold *= math.exp(-(((abs(x) - fold_x) / 1.6) ** 2))
        dark = 1 - min(a.wrinkles, 1.0) * (0.22 * brow_lines + 0.3 * cheek_fold)
        r, g, b = r * dark, g * dark * 0.98, b * dark * 0.98
    along = m[_ALONG]
    if -0.25 < along < 1.4:
        taper = a.brow_width * (
            0.55 + 0.75 * along if along < 0.4 else 0.85 - 0.62 * (along - 0.4) / 0.6 * 1.0
        )
        taper = max(taper, 0.6)
        across = (m[_ACROSS] - a.brow_lift) / taper
        spread = 0.35 + soft / taper
        cover = 0.0
        if abs(across) < 2.4 + spread:
            ends = smooth(-0.10, 0.10, along) * smooth(a.brow_length, a.brow_length - 0.22, along)
            strands = noise(volume, x * 0.9 + y * 0.5, y * 0.35, a.texture_shift[0]) * _fade(mm)
            cover = ends * smooth(0.9 + spread, 0.9 - spread, abs(across) + 0.30 * strands) * a.brow_density
            cover = min(cover * (1.0 + 0.25 * strands), 1.0)
        if cover > 0.0:
            c = a.brow_colour
            r, g, b = r + (c[0] - r) * cover, g + (c[1] - g) * cover, b + (c[2] - b) * cover
    return _beard(a, volume, m, mm, x, y, lip, r, g, b)


@per_pixel
def _beard(
    a: Appearance,
    volume: np.ndarray,
    m: np.ndarray,
    mm: float,
    x: float,
    y: float,
    lip: float,
    r: float,
    g: float,
    b: float,
) -> tuple[float, float, float]:
    """Beard, moustache and stubble over the lower face."""
    grown = max(a.beard * m[_BEARD], a.moustache * m[_MOUSTACHE])
    rough = 0.5 * a.stubble * max(m[_BEARD], 0.8 * m[_MOUSTACHE])
    if grown + rough <= 0.01:
        return r, g, b
    strands = noise(volume, x * 0.8, y * 0.25, a.texture_shift[2]) * _fade(0.8 * mm)
    cover = min(max(smooth(0.12, 0.75, grown + 0.16 * strands), rough * (0.55 + 0.2 * strands)), 0.97) * (
        1 - lip
    )
    value = max(1.0 + 0.35 * strands, 0.2)
    c = a.beard_colour
    return r + (c[0] * value - r) * cover, g + (c[1] * value - g) * cover, b + (c[2] * value - b) * cover


@per_pixel
def worn_albedo(
    a: Appearance, volume: np.ndarray, slot: int, x: float, y: float, z: float
) -> tuple[float, float, float, float]:
    """Plain, striped, checked, mottled or ribbed material of one of the worn slots; hands have the person's skin."""
    if slot == _HAND:
        melanin = a.melanin * (1 + 0.05 * a.blotches * noise(volume, x * 0.05, y * 0.05, z * 0.05))
        blood = a.haemoglobin + 0.08
        return (
            a.skin_base[0] * math.exp(-2.2 * melanin - 0.10 * blood),
            a.skin_base[1] * math.exp(-2.65 * melanin - 0.95 * blood),
            a.skin_base[2] * math.exp(-3.0 * melanin - 0.80 * blood),
            0.8 * a.shine,
        )
    pattern, scale = a.worn[slot, 6], a.worn[slot, 7]
    mix = 0.0
    if pattern == 1.0:
        mix = smooth(-0.2, 0.2, math.sin((x + 0.6 * y) * scale))
    elif pattern == 2.0:
        mix = 0.5 * smooth(-0.2, 0.2, math.sin(x * scale)) + 0.5 * smooth(-0.2, 0.2, math.sin(y * scale))
    elif pattern == 3.0:
        mix = smooth(0.0, 0.4, noise(volume, x * 0.3 * scale, y * 0.3 * scale, z * 0.3 * scale))
    elif pattern == 4.0:
        mix = 0.5 + 0.5 * math.sin(y * scale)
    fold = 1.0 + 0.10 * noise(volume, x * 0.05, y * 0.05, a.texture_shift[2])
    return (
        (a.worn[slot, 0] * (1 - mix) + a.worn[slot, 3] * mix) * fold,
        (a.worn[slot, 1] * (1 - mix) + a.worn[slot, 4] * mix) * fold,
        (a.worn[slot, 2] * (1 - mix) + a.worn[slot, 5] * mix) * fold,
        a.worn[slot, _GLOSS],
    )


@per_pixel
def albedo(
    part: int,
    a: Appearance,
    maps: np.ndarray,
    volume: np.ndarray,
    scratch: np.ndarray,
    mm: float,
    x: float,
    y: float,
    z: float,
) -> tuple[float, float, float, float]:
    """Linear reflectance and gloss of a point of any part of a head.

    ``x, y, z`` is its template position, ``mm`` the side of the pixel it is seen through, in millimetres.
    """
    if part == _EYE_LEFT:
        return eye_albedo(a, volume, mm, x, y, z, 31.5)
    if part == _EYE_RIGHT:
        return eye_albedo(a, volume, mm, x, y, z, -31.5)
    if part == _MOUTH:
        return 0.22, 0.055, 0.05, 0.8
    if part == _TEETH:
        return a.teeth[0], a.teeth[1], a.teeth[2], 1.5
    if part == _HAIR:
        return hair_albedo(a, volume, mm, x, y, z)
    if part == _LASHES:
        return 0.01, 0.008, 0.008, 0.2
    if part == _CLOTH:
        return cloth_albedo(a, volume, x, y, z)
    if part == GLASSES_PART:
        return a.glasses[0], a.glasses[1], a.glasses[2], 3.0
    if part >= _FIRST_WORN:
        return worn_albedo(a, volume, part - _FIRST_WORN, x, y, z)
    return skin_albedo(a, maps, volume, scratch, mm, x, y, z, part == _EAR)
