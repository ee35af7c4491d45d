"""What a drawn face counts among in tables: how far it is turned, what is worn or held before it, how large it is."""

from __future__ import annotations

import math
from collections.abc import Sequence

# Upper ends of the bands of yaw, degrees to either side, and of the box's longer side, pixels.
YAWS, SIDES = (15, 30, 45, 60, 75, 90), (32, 64, 96, 128)


def subsets_of(yaw: float, worn: str, box: Sequence[float]) -> tuple[str, ...]:
    """Names of the subsets that a face belongs to.

    Args:
        yaw: Turn of the head to either side, radians.
        worn: Names of what is worn or held, with commas between; empty for nothing.
        box: ``x0, y0, x1, y1`` in pixels.

    Returns:
        A band of yaw, every accessory (or that there is none), and a band of size.
    """
    side = max(box[2] - box[0], box[3] - box[1])
    things = [f"with {name}" for name in worn.split(",") if name] or ["with nothing worn"]
    return (
        f"yaw {_band(abs(math.degrees(yaw)), YAWS, 'degrees')}",
        *things,
        f"box {_band(side, SIDES, 'px')}",
    )


def _band(value: float, ends: Sequence[int], unit: str) -> str:
    start = 0
    for end in ends:
        if value < end:
            return f"{start} to {end} {unit}"
        start = end
    return f"{start} {unit} and more"
