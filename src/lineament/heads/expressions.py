"""Draws facial expressions for any head model, by the meaning of its expressions' names."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping

import numpy as np

from lineament.heads.model import Floats, HeadModel

# Mood -> (how often, {part of an expression's name: (least, most) activation}). Heads name the same thing differently.
_MOODS: dict[str, tuple[float, dict[str, tuple[float, float]]]] = {
    "neutral": (0.20, {}),
    "smile": (0.16, {"smile": (0.2, 0.9), "cheeksquint": (0.0, 0.5), "dimple": (0.0, 0.4)}),
    # Into a camera people smile widely and show their teeth: in portraits the mouth is as wide as the eyes are apart,
    # where a face at rest has four fifths of that.
    "portrait": (
        0.24,
        {
            "smile": (0.6, 1.0),
            "mouthstretch": (0.0, 0.4),
            "upperup": (0.2, 0.7),
            "upperlipraise": (0.2, 0.7),
            "dimple": (0.0, 0.5),
            "cheeksquint": (0.0, 0.6),
            "cheekraise": (0.0, 0.6),
            "squint": (0.0, 0.4),
            "jawopen": (0.0, 0.12),
        },
    ),
    "laugh": (
        0.10,
        {
            "smile": (0.5, 1.0),
            "jawopen": (0.1, 0.5),
            "squint": (0.1, 0.5),
            "upperup": (0.1, 0.5),
            "upperlipraise": (0.1, 0.5),
        },
    ),
    "talk": (
        0.09,
        {
            "jawopen": (0.05, 0.5),
            "funnel": (0.0, 0.5),
            "pucker": (0.0, 0.4),
            "lowerdown": (0.0, 0.4),
            "lowerlipdown": (0.0, 0.4),
        },
    ),
    "surprise": (
        0.05,
        {
            "jawopen": (0.2, 0.8),
            "browinnerup": (0.4, 1.0),
            "browouterup": (0.4, 1.0),
            "browup": (0.4, 1.0),
            "eyewide": (0.3, 1.0),
            "lidwide": (0.2, 0.8),
        },
    ),
    "anger": (
        0.05,
        {
            "browdown": (0.4, 1.0),
            "sneer": (0.1, 0.7),
            "nosewrinkle": (0.1, 0.7),
            "press": (0.1, 0.7),
            "squint": (0.1, 0.5),
        },
    ),
    "sadness": (
        0.04,
        {"browinnerup": (0.3, 0.9), "frown": (0.3, 0.9), "shruglower": (0.1, 0.6), "chinraise": (0.1, 0.6)},
    ),
    "blink": (0.03, {"blink": (0.7, 1.0), "lidclose": (0.7, 1.0)}),
    "pout": (0.04, {"pucker": (0.4, 1.0), "cheekpuff": (0.0, 0.5)}),
    "mixture": (0.06, {}),
    "shout": (
        0.0,
        {
            "jawopen": (0.5, 1.0),
            "squint": (0.0, 0.5),
            "browdown": (0.0, 0.6),
            "upperup": (0.1, 0.7),
            "upperlipraise": (0.1, 0.7),
            "lowerdown": (0.0, 0.5),
            "lowerlipdown": (0.0, 0.5),
            "mouthstretch": (0.0, 0.5),
        },
    ),
    "wink": (0.0, {"smile": (0.1, 0.8), "jawopen": (0.0, 0.15)}),
}
_GAZE_LIMIT = 0.45


@functools.lru_cache(maxsize=1024)
def _plain(name: str) -> tuple[str, str]:
    """A name without case, underscores and side, and the side (``"l"``, ``"r"`` or ``""``)."""
    found = re.fullmatch(r"(.*?)_?(L|R|left|right|Left|Right)?", name)
    stem, side = (found.group(1), found.group(2) or "") if found else (name, "")
    return stem.replace("_", "").lower(), side[:1].lower()


def draw_expression(
    rng: np.random.Generator, head: HeadModel, often: Mapping[str, float] | None = None
) -> tuple[Floats, Floats, str]:
    """Draw the face of one moment.

    Args:
        rng: Where all randomness comes from.
        head: The head whose expressions are to be set.
        often: Weights of moods by name instead of the usual ones; some moods are only drawn when given here.

    Returns:
        ``[E]`` activations in 0..1, ``[2, 2]`` gaze (yaw, pitch in radians of the person's left and right eye) that
        :meth:`HeadModel.vertices` takes, and the name of the mood.
    """
    moods = list(_MOODS)
    odds = np.array([(often or {}).get(mood, _MOODS[mood][0]) for mood in moods])
    mood = moods[int(rng.choice(len(moods), p=odds / odds.sum()))]
    plain = [_plain(name) for name in head.expression_names]
    activations = np.zeros(len(plain), np.float64)
    lean = rng.normal(0.0, 0.15)
    for key, (low, high) in _MOODS[mood][1].items():
        strength = rng.uniform(low, high)
        for number, (stem, side) in enumerate(plain):
            if key in stem:
                tilt = lean if side == "l" else -lean if side == "r" else 0.0
                activations[number] = max(activations[number], strength * (1 + tilt))
    # Nobody's face is quite at rest.
    still = np.array(
        [_is_gaze(stem) or _closes_lids(stem) or "pupil" in stem or "jaw" in stem for stem, _ in plain]
    )
    share = 0.5 if mood == "mixture" else 0.15
    stray = (
        (rng.random(len(plain)) < share)
        * rng.beta(1.2, 4.0, len(plain))
        * (0.8 if mood == "mixture" else 0.4)
    )
    activations = np.where(still, activations, np.maximum(activations, stray))
    lids = rng.beta(1.2, 6.0) * 0.5
    if mood != "surprise":
        activations += lids * np.array([_closes_lids(stem) for stem, _ in plain])
    if mood == "wink":
        winking = "l" if rng.random() < 0.5 else "r"
        closed = np.array([_closes_lids(stem) and side == winking for stem, side in plain])
        activations = np.where(closed, rng.uniform(0.8, 1.0), activations)
    gaze = np.clip(rng.normal(0.0, [0.18, 0.10]), -_GAZE_LIMIT, _GAZE_LIMIT)
    eyes = _apply_gaze(activations, plain, gaze)
    return np.clip(activations, 0, 1).astype(np.float32), eyes, mood


def _closes_lids(stem: str) -> bool:
    return "blink" in stem or "lidclose" in stem


def _is_gaze(stem: str) -> bool:
    return "eyelook" in stem or "gaze" in stem


def _apply_gaze(activations: np.ndarray, plain: list[tuple[str, str]], gaze: np.ndarray) -> Floats:
    """Set the gaze through the model's own look expressions where it has them for each eye, else by turning the eyes.

    Positive yaw looks to the image right, which is outwards for the person's left eye.
    """
    stems = [stem for stem, _ in plain]
    if not any("eyelook" in stem for stem in stems):
        return np.repeat(gaze[None], 2, axis=0).astype(np.float32)
    yaw, pitch = gaze / 0.5
    wanted = {
        ("eyelookout", "l"): yaw, ("eyelookin", "r"): yaw,
        ("eyelookin", "l"): -yaw, ("eyelookout", "r"): -yaw,
        ("eyelookdown", "l"): pitch, ("eyelookdown", "r"): pitch,
        ("eyelookup", "l"): -pitch, ("eyelookup", "r"): -pitch,
    }  # fmt: skip
    for number, key in enumerate(plain):
        if key in wanted:
            activations[number] = max(wanted[key], 0.0)
    return np.zeros((2, 2), np.float32)
