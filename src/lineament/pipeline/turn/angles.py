"""Angles as the command line takes them: one number, a list, or a range, in degrees."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import torch
from torch import Tensor

from lineament.errors import UsageError

LARGEST = 90.0
# No ".5": "1...5" would be a range from 1 to 0.5.
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")


@dataclass(frozen=True)
class Angles:
    """Parsed angles of one axis.

    Attributes:
        values: Degrees; two of a range.
        is_range: Whether what lies between is meant, too.
    """

    values: tuple[float, ...]
    is_range: bool = False

    def at(self, count: int) -> list[float]:
        """``count`` values evenly over a range; of a list each, of one number the same again.

        Raises:
            UsageError: If a list has another length.
        """
        if self.is_range:
            first, last = self.values
            if count == 1:
                return [(first + last) / 2]
            return [first + (last - first) * step / (count - 1) for step in range(count)]
        if len(self.values) == 1:
            return list(self.values) * count
        if len(self.values) != count:
            raise UsageError(
                f"{len(self.values)} angles are given for {count} images: give as many, or a range."
            )
        return list(self.values)


def parse_angles(text: str, name: str) -> Angles:
    """Read ``20``, ``-30,0,30`` or ``-40..40``.

    Args:
        text: The words.
        name: The axis, for messages.

    Raises:
        UsageError: If it is none of these, or an angle is beyond 90 degrees.
    """
    is_range = ".." in text
    words = text.split("..") if is_range else text.split(",")
    values = tuple(float(word) for word in words if _NUMBER.fullmatch(word.strip()))
    if len(values) != len(words) or (is_range and len(values) != 2):
        raise UsageError(
            f"--{name} {text!r} is no angle: give degrees such as 20, a list such as -30,0,30 or a range such as "
            "-40..40."
        )
    if max(map(abs, values)) > LARGEST:
        raise UsageError(f"--{name} {text!r} goes beyond {LARGEST:g} degrees, where no face is seen.")
    return Angles(values, is_range)


def frame_count(angles: tuple[Angles, ...], wanted: int | None, default: int) -> int:
    """How many images to draw: as asked for, else as many as a list has, else ``default``, else one.

    Raises:
        UsageError: If less than one is asked for, or lists of different lengths meet.
    """
    lists = {len(each.values) for each in angles if not each.is_range and len(each.values) > 1}
    if len(lists) > 1:
        raise UsageError(f"the lists of angles have different lengths: {sorted(lists)}.")
    if wanted is not None:
        if not 1 <= wanted <= 2000:
            raise UsageError(f"--frames must lie between 1 and 2000, not {wanted}.")
        return wanted
    if lists:
        return lists.pop()
    return default if any(each.is_range for each in angles) else 1


def poses(yaw: Angles, pitch: Angles, roll: Angles, count: int) -> Tensor:
    """Poses ``[count, 3]`` in radians; the axes run side by side."""
    rows = list(zip(yaw.at(count), pitch.at(count), roll.at(count), strict=True))
    return torch.deg2rad(torch.tensor(rows, dtype=torch.float64))


def ping_pong(forward: Tensor) -> Tensor:
    """Poses ``[T, 3]`` of an endless loop: slow at both ends, from the first to the last and back."""
    count = len(forward)
    if count < 3:
        return forward
    phase = 0.5 - 0.5 * torch.cos(2 * math.pi * torch.arange(count, dtype=torch.float64) / count)
    place = phase * (count - 1)
    low = place.floor().long().clamp(max=count - 2)
    share = (place - low)[:, None]
    return (1 - share) * forward[low] + share * forward[low + 1]
