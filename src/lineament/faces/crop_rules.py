"""What a crop rule is given, and the rules by name; the rules themselves are in ``faces/crops.py``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from lineament.errors import DataError, unknown_name
from lineament.faces import boxes
from lineament.faces.schemes import LandmarkScheme, convert_points
from lineament.geometry.affine2d import Affine2D


@dataclass(frozen=True)
class CropRequest:
    """What a crop rule may use.

    Attributes:
        size: Side of the crop in pixels.
        box: ``[4]`` float64 face box, or None.
        landmarks: ``[K, 2]`` float64 xy in pixels, or None.
        scheme: Scheme of the landmarks.
        image_size: Height and width of the photo, or None.
        options: Further arguments of the rule, by name.
    """

    size: int
    box: Tensor | None = None
    landmarks: Tensor | None = None
    scheme: LandmarkScheme | None = None
    image_size: tuple[int, int] | None = None
    options: dict[str, Any] = field(default_factory=dict)

    def points(self, wanted: str) -> Tensor:
        """Return the landmarks in scheme ``wanted``, all finite; raises ``DataError`` where one is NaN."""
        assert self.landmarks is not None and self.scheme is not None
        converted = convert_points(self.landmarks, self.scheme, wanted)
        if not bool(torch.isfinite(converted).all()):
            raise DataError(
                "this crop needs landmarks without NaN: give a box instead, or leave the face out."
            )
        return converted

    def face_box(self, name: str) -> Tensor:
        """Return the box, else that of the landmarks; raises ``DataError`` where there is neither.

        Five points cover only the middle of a face, so theirs is the box a detector would give; else it is tight.
        """
        if self.box is not None:
            return self.box
        if self.landmarks is not None and self.scheme is not None and self.scheme.name == "5":
            return boxes.box_from_five_points(self.landmarks)
        if self.landmarks is not None:
            return boxes.box_from_landmarks(self.landmarks)
        raise DataError(f"crop {name!r} needs a box or landmarks.")


Rule = Callable[[CropRequest], Affine2D]


@dataclass(frozen=True)
class CropEntry:
    """A registered rule.

    Attributes:
        rule: The rule.
        size: Side of the crop in pixels where none is asked for.
        options: Names of its options.
        region: Side of what the protocol moves at random before it keeps the crop, in sides of the crop; such a rule
            has the option ``trim``.
        border: What the protocol puts outside the image: a value 0..1, or ``"edge"`` for its border repeated.
        around: What a preparation keeps around the region on every side, in sides of it, where nothing else is asked.
    """

    rule: Rule
    size: int
    options: frozenset[str]
    region: float = 1.0
    border: float | str = "edge"
    around: float = 0.0


_CROPS: dict[str, CropEntry] = {}


def register_crop(
    name: str,
    size: int,
    options: tuple[str, ...] = (),
    region: float = 1.0,
    border: float | str = "edge",
    around: float = 0.0,
) -> Callable[[Rule], Rule]:
    """Register a crop rule under ``name`` (decorator).

    Args:
        name: Word by which the crop is asked for.
        size: Side of the crop in pixels where none is asked for.
        options: Names of the further arguments the rule takes.
        region: See :class:`CropEntry`.
        border: See :class:`CropEntry`.
        around: See :class:`CropEntry`.
    """

    def register(rule: Rule) -> Rule:
        _CROPS[name] = CropEntry(rule, size, frozenset(options), region, border, around)
        return rule

    return register


def crop_names() -> list[str]:
    """Names of all crops."""
    return sorted(_CROPS)


def crop_size(name: str) -> int:
    """Side in pixels of the crop ``name`` where none is asked for; raises ``UsageError`` on an unknown name."""
    return crop_entry(name).size


def crop_entry(name: str) -> CropEntry:
    """What is registered under ``name``; raises ``UsageError`` on an unknown name."""
    if name not in _CROPS:
        raise unknown_name("crop", name, _CROPS)
    return _CROPS[name]
