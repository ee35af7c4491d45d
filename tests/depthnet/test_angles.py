"""Angles of the command line."""

from __future__ import annotations

import pytest
import torch

from lineament.errors import UsageError
from lineament.pipeline.turn.angles import frame_count, parse_angles, ping_pong, poses


def test_one_a_list_and_a_range():
    assert parse_angles("20", "yaw").at(3) == [20, 20, 20]
    assert parse_angles("-30,0,30", "yaw").at(3) == [-30, 0, 30]
    assert parse_angles("-40..40", "yaw").at(5) == [-40, -20, 0, 20, 40]
    assert parse_angles("10..-10", "yaw").at(2) == [10, -10]
    assert parse_angles("-40..40", "yaw").at(1) == [0]


@pytest.mark.parametrize(
    "text", ["", "..", "1..", "1...5", "1..2..3", "nan", "inf", "1e3", "a", "1,,2", "91", "-90.1..3"]
)
def test_what_is_no_angle_is_refused(text):
    with pytest.raises(UsageError, match="--roll"):
        parse_angles(text, "roll")


def test_how_many_pictures():
    one, many, span = parse_angles("5", "yaw"), parse_angles("1,2,3", "yaw"), parse_angles("0..9", "yaw")
    assert frame_count((one, one, one), None, 7) == 1
    assert frame_count((one, many, one), None, 7) == 3
    assert frame_count((one, span, one), None, 7) == 7
    assert frame_count((span, span, one), 4, 7) == 4
    for wanted in (0, 2001):
        with pytest.raises(UsageError, match="--frames"):
            frame_count((span, one, one), wanted, 7)
    with pytest.raises(UsageError, match="give as many"):
        poses(many, one, one, 4)


def test_a_loop_is_slow_at_its_ends_and_closed():
    forward = torch.linspace(-1, 1, 24, dtype=torch.float64)[:, None].expand(-1, 3)
    loop = ping_pong(forward)[:, 0]
    assert len(loop) == 24 and float(loop[0]) == -1 and float(loop.max()) == 1
    steps = torch.cat([loop, loop[:1]]).diff().abs()
    assert float(steps[0]) < 0.2 * float(steps.max()) and float(steps[-1]) < 0.2 * float(steps.max())
