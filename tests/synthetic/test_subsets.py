"""What drawn faces count among."""

from __future__ import annotations

import math

import pytest

from lineament.synthetic.subsets import subsets_of


@pytest.mark.parametrize(
    ("degrees", "named"),
    [
        (0, "0 to 15 degrees"),
        (-14.9, "0 to 15 degrees"),
        (15.1, "15 to 30 degrees"),
        (-89, "75 to 90 degrees"),
        (95, "90 degrees and more"),
    ],
)
def test_both_sides_of_a_turn_are_one_band(degrees: float, named: str) -> None:
    assert subsets_of(math.radians(degrees), "", (0, 0, 50, 40))[0] == f"yaw {named}"


def test_every_accessory_counts_and_so_does_none() -> None:
    assert subsets_of(0, "glasses,cap", (0, 0, 1, 1))[1:3] == ("with glasses", "with cap")
    assert subsets_of(0, "", (0, 0, 1, 1))[1] == "with nothing worn"


def test_size_is_the_longer_side() -> None:
    assert subsets_of(0, "", (10, 20, 30, 75))[-1] == "box 32 to 64 px"
    assert subsets_of(0, "", (10, 20, 210, 75))[-1] == "box 128 px and more"
