"""What people wear or hold in front of their faces, as numbers, and how it is drawn at random."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from lineament.heads.model import Floats

FIRST_WORN = 10
"""Part number of the first of :data:`SLOTS`; the lower ones belong to the head (``Part``) and to spectacle frames."""
SLOTS = ("headgear", "mask", "headphones", "skin", "held", "tongue")
"""What each further part number paints; ``skin`` is that of hands."""
PLAIN, STRIPES, CHECKS, MOTTLED, RIBS = range(5)
COLUMNS = 9
GLOSS = COLUMNS - 1
"""A slot's row: colour, second colour (linear RGB), pattern, its scale in 1/mm, gloss."""
NO_PALETTE = np.zeros((len(SLOTS), COLUMNS), np.float32)

HEADGEAR = ("beanie", "cap", "hat", "scarf")
IN_FRONT = ("hand", "microphone", "object", "strands", "fringe")
NUMBERS = 24


def srgb_to_linear(colour: np.ndarray) -> np.ndarray:
    """Undo the sRGB transfer curve of values in 0..1."""
    return np.where(colour <= 0.04045, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4)


class Glasses(NamedTuple):
    """Spectacles; lengths in millimetres.

    Attributes:
        thickness: Of the rim; 0 draws no rim.
        half_width: Of a lens.
        half_height: Of a lens.
        squareness: Exponent of the superellipse: 2 round .. 5 nearly a rectangle.
        frame: ``[3]`` linear RGB.
        lens: ``[3]`` colour of the glass, display values.
        opacity: 0 clear .. 1 black; from :data:`HIDING` on, the points behind count as hidden.
        reflection: Brightness of what the glass mirrors, 0 .. 1.
    """

    thickness: float
    half_width: float
    half_height: float
    squareness: float
    frame: Floats
    lens: Floats
    opacity: float
    reflection: float


HIDING = 0.6
"""Opacity from which on glass hides what lies behind it."""


class Worn(NamedTuple):
    """What one person wears in one image.

    Attributes:
        glasses: Or ``None``.
        headgear: One of :data:`HEADGEAR` or ``""``.
        mask: Whether a mask covers nose and mouth.
        headphones: Whether headphones are worn.
        in_front: One of :data:`IN_FRONT` or ``""``.
        palette: ``[6, 9]`` colours of the :data:`SLOTS`.
        numbers: ``[24]`` uniform numbers in 0..1 that decide shapes and places.
    """

    glasses: Glasses | None = None
    headgear: str = ""
    mask: bool = False
    headphones: bool = False
    in_front: str = ""
    palette: Floats = NO_PALETTE
    numbers: Floats = np.zeros(NUMBERS, np.float32)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all that is worn, for tables by accessory."""
        glasses = (
            () if self.glasses is None else ("sunglasses" if self.glasses.opacity >= HIDING else "glasses",)
        )
        flags = (self.headgear, "mask" * self.mask, "headphones" * self.headphones, self.in_front)
        return glasses + tuple(name for name in flags if name)


NOTHING = Worn()
"""Nothing is worn."""


@dataclass(frozen=True)
class WornOdds:
    """Probability of each accessory.

    Attributes:
        glasses: Spectacles, a fifth of them dark.
        headgear: Beanie, cap, hat or head scarf.
        mask: Surgical or cloth mask.
        headphones: Over the ears.
        in_front: A hand, microphone, other object, strands of hair or a fringe.
    """

    glasses: float = 0.28
    headgear: float = 0.20
    mask: float = 0.04
    headphones: float = 0.05
    in_front: float = 0.22


def draw_worn(rng: np.random.Generator, odds: WornOdds) -> Worn:
    """Draw what one image's person wears; a fixed number of draws whatever the odds."""
    happens = rng.random(5)
    headgear = str(rng.choice(HEADGEAR, p=[0.27, 0.28, 0.2, 0.25]))
    in_front = str(rng.choice(IN_FRONT, p=[0.32, 0.13, 0.15, 0.2, 0.2]))
    glasses, palette = _draw_glasses(rng), _draw_palette(rng)
    return Worn(
        glasses=glasses if happens[0] < odds.glasses else None,
        headgear=headgear if happens[1] < odds.headgear else "",
        mask=bool(happens[2] < odds.mask),
        headphones=bool(happens[3] < odds.headphones),
        in_front=in_front if happens[4] < odds.in_front else "",
        palette=palette,
        numbers=rng.random(NUMBERS).astype(np.float32),
    )


def _draw_glasses(rng: np.random.Generator) -> Glasses:
    dark, tinted, rimless, mirrored = rng.random(4) < (0.2, 0.18, 0.12, 0.3)
    thickness = float(np.exp(rng.uniform(np.log(0.7), np.log(5.0))))
    shade = rng.choice([0.03, 0.05, 0.2, 0.5], p=[0.4, 0.2, 0.2, 0.2])
    frame = srgb_to_linear(
        np.clip(shade * rng.uniform(0.6, 1.4) + rng.choice([0.01, 0.12]) * rng.normal(size=3), 0.01, 0.9)
    )
    lens = rng.uniform(0.0, 0.25, 3) if dark else rng.uniform(0.1, 0.8, 3)
    opacity = rng.uniform(0.7, 0.98) if dark else rng.uniform(0.15, 0.5) if tinted else rng.uniform(0.0, 0.1)
    half_width = rng.uniform(21.0, 29.5)
    return Glasses(
        thickness=0.0 if rimless and not dark else thickness,
        half_width=float(half_width),
        half_height=float(half_width * rng.uniform(0.55, 0.95)),
        squareness=float(rng.uniform(2.0, 4.5)),
        frame=frame.astype(np.float32),
        lens=lens.astype(np.float32),
        opacity=float(opacity),
        reflection=float(rng.uniform(0.1, 0.75) if mirrored else rng.uniform(0.0, 0.1)),
    )


def _draw_palette(rng: np.random.Generator) -> Floats:
    palette = np.zeros((len(SLOTS), COLUMNS))
    for row in palette:
        shade = rng.choice([rng.uniform(0.02, 0.25), rng.uniform(0.65, 0.95), rng.uniform(0.1, 0.9)])
        for colour in (slice(0, 3), slice(3, 6)):
            row[colour] = srgb_to_linear(
                np.clip(shade + rng.choice([0.02, 0.2]) * rng.normal(size=3), 0.01, 0.95)
            )
            shade = rng.uniform(0.02, 0.95)
        row[6] = rng.choice([PLAIN, STRIPES, CHECKS, MOTTLED, RIBS], p=[0.45, 0.12, 0.1, 0.15, 0.18])
        row[7], row[GLOSS] = rng.uniform(0.08, 0.6), rng.uniform(0.05, 0.4)
    mask = palette[SLOTS.index("mask")]
    if rng.random() < 0.7:
        usual = np.array([(0.45, 0.68, 0.80), (0.90, 0.91, 0.92), (0.05, 0.05, 0.06)])[int(rng.integers(3))]
        mask[:3] = srgb_to_linear(usual * rng.uniform(0.85, 1.05))
        mask[3:6], mask[6], mask[7] = 0.75 * mask[:3], RIBS, rng.uniform(0.35, 0.6)
    palette[SLOTS.index("headphones"), GLOSS] = rng.uniform(0.3, 2.0)
    palette[SLOTS.index("held"), GLOSS] = rng.uniform(0.2, 2.0)
    palette[SLOTS.index("tongue")] = [0.36, 0.10, 0.09, 0.28, 0.07, 0.07, MOTTLED, 0.3, 1.2]
    return palette.astype(np.float32)
