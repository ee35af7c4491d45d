"""What a person's skin, hair, eyes and clothes look like, and how such a person is drawn at random."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lineament.heads.model import Floats
from lineament.synthetic.worn import NO_PALETTE, srgb_to_linear

MOLES = 5
"""Moles that every person carries; those with radius 0 are not painted."""


class Appearance(NamedTuple):
    """Parameters of the painted albedo; colours are linear RGB reflectances, lengths millimetres.

    Skin follows a two-pigment model: reflectance = base * exp(-melanin * m) * exp(-haemoglobin * h) per channel.
    """

    skin_base: Floats  # [3] reflectance of skin without pigment
    melanin: float  # 0 (very light) .. 1 (very dark)
    haemoglobin: float  # 0 .. 1
    blotches: float  # strength of the low-frequency pigment variation
    freckles: float  # 0 .. 1
    blush: float  # extra haemoglobin of cheeks, nose and chin
    under_eye: float  # darkness below the eyes, 0 .. 1
    wrinkles: float  # 0 .. 1
    shine: float  # specular strength of the skin, about 0.4 .. 1.6
    lip_red: float  # extra haemoglobin of the lips
    lipstick: Floats  # [4] colour and strength
    liner: float  # dark line at the lashes, 0 .. 1
    shadow: Floats  # [4] eye shadow: colour and strength
    brow_colour: Floats  # [3]
    brow_density: float  # 0 .. 1
    brow_width: float  # half width at the middle, mm
    brow_lift: float  # mm above the template line
    brow_length: float  # where the temple end fades, 0.8 .. 1.15
    iris_colour: Floats  # [3]
    iris_radius: float  # mm
    pupil_radius: float  # mm
    sclera: Floats  # [3]
    hair_colour: Floats  # [3]
    hair_density: float  # 0 bald .. 1 covered
    hairline_shift: float  # mm the hairline is higher than the template's
    hairline_temples: float  # mm more above the temples
    hairline_fringe: float  # mm of irregularity
    hair_volume: float  # mm the hair stands off the skull
    hair_length: float  # mm below the ear the hair falls to; negative = short hair
    hair_curl: float  # 0 straight .. 1 curly
    beard: float  # 0 .. 1
    moustache: float  # 0 .. 1
    stubble: float  # 0 .. 1
    beard_colour: Floats  # [3]
    moles: Floats  # [MOLES, 4] template xyz and radius
    cloth: Floats  # [3]
    cloth_second: Floats  # [3]
    cloth_pattern: float  # 0 plain .. 3
    collar: float  # height y of the collar in the template frame, mm
    teeth: Floats  # [3]
    texture_shift: Floats  # [3] where in the noise this person's skin lies
    glasses: Floats  # [5] frame colour, tint, thickness in mm (0 = none)
    hair_tucked: float = 0.0  # radians that long hair is drawn back behind the face
    worn: Floats = NO_PALETTE  # [6, 9] colours of what is worn, see worn.py


_HAIR = np.array(
    [[0.06, 0.05, 0.05], [0.11, 0.08, 0.07], [0.20, 0.13, 0.09], [0.32, 0.21, 0.13], [0.48, 0.34, 0.20],
     [0.70, 0.55, 0.35], [0.82, 0.70, 0.50], [0.45, 0.20, 0.10], [0.55, 0.53, 0.51], [0.80, 0.79, 0.78]]
)  # fmt: skip
_IRIS = np.array(
    [[0.16, 0.09, 0.05], [0.24, 0.14, 0.07], [0.36, 0.24, 0.12], [0.42, 0.36, 0.20], [0.36, 0.42, 0.30],
     [0.34, 0.45, 0.55], [0.45, 0.52, 0.58]]
)  # fmt: skip


def draw_appearance(rng: np.random.Generator) -> Appearance:
    """Draw one person; every number follows from ``rng`` alone."""
    melanin = float(
        np.clip(
            rng.choice([rng.beta(1.3, 7.0), rng.beta(3.5, 3.0), rng.uniform(0.0, 1.0)], p=[0.5, 0.25, 0.25]),
            0.02,
            0.95,
        )
    )
    age = rng.uniform(0.0, 1.0)
    masculine = rng.random() < 0.5
    hair_colour = _hair_colour(rng, melanin, age)
    grey_beard = np.clip(hair_colour * rng.uniform(0.7, 1.3) + 0.25 * (rng.random() < 0.2 * age), 0.004, 0.5)
    bearded = masculine and rng.random() < 0.35
    moustached = masculine and (bearded or rng.random() < 0.15)
    made_up = (not masculine) and rng.random() < 0.55
    bald = masculine and rng.random() < 0.12 + 0.2 * age
    long_hair = rng.random() < (0.08 if masculine else 0.65)
    lipstick = np.array([*srgb_to_linear(rng.uniform([0.45, 0.05, 0.1], [0.9, 0.4, 0.45])), 0.0])
    lipstick[3] = rng.uniform(0.3, 0.9) if made_up else 0.0
    shadow = np.array([*srgb_to_linear(rng.uniform(0.05, 0.6, 3)), rng.uniform(0.1, 0.6) if made_up else 0.0])
    brow_colour = np.clip(0.7 * hair_colour * rng.uniform(0.4, 1.2), 0.004, 0.35 if age < 0.7 else 0.6)
    return Appearance(
        skin_base=_f(np.array([0.86, 0.60, 0.47]) * rng.uniform(0.92, 1.06) * rng.uniform(0.96, 1.04, 3)),
        melanin=melanin,
        haemoglobin=rng.uniform(0.05, 0.35),
        blotches=rng.uniform(0.3, 1.3),
        freckles=rng.uniform(0.3, 1.0) if rng.random() < 0.12 * (1.2 - melanin) else 0.0,
        blush=rng.uniform(0.05, 0.5),
        under_eye=rng.uniform(0.0, 0.5) * (0.5 + 0.5 * age),
        wrinkles=max(0.0, age - 0.35) * rng.uniform(0.3, 1.4),
        shine=rng.uniform(0.4, 1.6),
        lip_red=rng.uniform(0.25, 0.8),
        lipstick=_f(lipstick),
        liner=rng.uniform(0.5, 1.0) if made_up else rng.uniform(0.1, 0.6),
        shadow=_f(shadow),
        brow_colour=_f(brow_colour),
        brow_density=rng.uniform(0.55, 1.0) if masculine or made_up else rng.uniform(0.35, 0.95),
        brow_width=rng.uniform(3.4, 5.6) if masculine else rng.uniform(2.2, 4.2),
        brow_lift=rng.normal(-1.0, 1.0),
        brow_length=rng.uniform(0.85, 1.1),
        iris_colour=_f(srgb_to_linear(_IRIS[_iris_choice(rng, melanin)]) * rng.uniform(0.6, 1.3)),
        iris_radius=rng.uniform(5.6, 6.2),
        pupil_radius=rng.uniform(1.4, 3.2),
        sclera=_f(np.array([0.62, 0.60, 0.58]) * rng.uniform(0.75, 1.1)),
        hair_colour=_f(hair_colour),
        hair_density=rng.uniform(0.0, 0.25) if bald else 1.0,
        hairline_shift=rng.normal(0.0, 5.0) + (8.0 * age if masculine else 0.0),
        hairline_temples=abs(rng.normal(0.0, 9.0)) * (0.4 + age) if masculine else abs(rng.normal(0.0, 3.0)),
        hairline_fringe=rng.uniform(1.0, 7.0),
        hair_volume=_hair_volume(rng, bald, masculine, melanin),
        hair_length=rng.uniform(10.0, 150.0) if long_hair and not bald else -60.0,
        hair_curl=float(rng.random() ** 2 if melanin < 0.55 else rng.uniform(0.3, 1.0)),
        beard=rng.uniform(0.35, 1.0) if bearded else 0.0,
        moustache=rng.uniform(0.4, 1.0) if moustached else 0.0,
        stubble=rng.uniform(0.05, 0.6) if masculine else 0.0,
        beard_colour=_f(grey_beard),
        moles=_moles(rng),
        cloth=_f(srgb_to_linear(_cloth(rng))),
        cloth_second=_f(srgb_to_linear(_cloth(rng))),
        cloth_pattern=float(rng.choice([0, 0, 0, 1, 2, 3])),
        collar=rng.uniform(148.0, 185.0),
        teeth=_f(np.array([0.66, 0.60, 0.48]) * rng.uniform(0.7, 1.25)),
        texture_shift=_f(rng.uniform(0.0, 32.0, 3)),
        glasses=_f(_glasses(rng)),
    )


def _f(values: np.ndarray) -> Floats:
    return np.ascontiguousarray(values, dtype=np.float32)


def _hair_colour(rng: np.random.Generator, melanin: float, age: float) -> np.ndarray:
    weights = np.array([3.0, 3, 2.5, 2, 1.4, 1.0, 0.7, 0.5, 0.2, 0.1])
    weights[2:8] *= max(0.02, 1 - 1.8 * melanin)
    weights[8:] += np.array([1.6, 1.0]) * max(0.0, age - 0.5) * 2.5
    colour = _HAIR[rng.choice(len(_HAIR), p=weights / weights.sum())] * rng.uniform(0.75, 1.2)
    return np.clip(srgb_to_linear(np.clip(colour, 0, 1)), 0.003, 0.45)


def _iris_choice(rng: np.random.Generator, melanin: float) -> int:
    weights = np.array([2.5, 2.5, 1.5, 1.0, 0.9, 1.2, 0.9])
    weights[3:] *= max(0.02, 1 - 2.2 * melanin)
    return int(rng.choice(len(_IRIS), p=weights / weights.sum()))


def _hair_volume(rng: np.random.Generator, bald: bool, masculine: bool, melanin: float) -> float:
    if bald:
        return 0.0
    if melanin > 0.5 and rng.random() < 0.3:
        return float(rng.uniform(15.0, 45.0))
    return float(rng.uniform(1.0, 18.0) if masculine else rng.uniform(6.0, 26.0))


def _cloth(rng: np.random.Generator) -> np.ndarray:
    value = rng.choice([rng.uniform(0.03, 0.25), rng.uniform(0.7, 0.97), rng.uniform(0.1, 0.9)])
    return np.clip(value + rng.choice([0.02, 0.15]) * rng.normal(size=3), 0.02, 0.97)


def _moles(rng: np.random.Generator) -> np.ndarray:
    moles = np.zeros((MOLES, 4))
    count = rng.choice([0, 0, 0, 1, 2])
    moles[:count, 0] = rng.uniform(-60, 60, count)
    moles[:count, 1] = rng.uniform(-55, 105, count)
    moles[:count, 3] = rng.uniform(0.6, 2.2, count)
    return _f(moles)


def _glasses(rng: np.random.Generator) -> np.ndarray:
    worn = rng.random() < 0.12
    colour = srgb_to_linear(rng.choice([0.06, 0.2, 0.5]) * rng.uniform(0.6, 1.3, 3))
    return np.array([*colour, rng.uniform(0.0, 0.15), rng.uniform(1.2, 3.4) if worn else 0.0])
