"""What a network sees of a photograph: the view, the wider picture that is warped, and how they lie in each other."""

from __future__ import annotations

import pytest
import torch

from lineament.faces.frame import Frame, cut

BOX = torch.tensor([100.0, 200.0, 140.0, 280.0], dtype=torch.float64)


def test_the_view_is_a_square_about_the_box():
    frame = Frame(size=100, crop=10, view=1.5)
    assert frame.seen == 80
    # The square of 80 about (120, 240), half as large again: 60 to every side of the middle.
    corners = torch.tensor([60.0, 180.0, 180.0, 300.0], dtype=torch.float64)
    assert frame.view_of(BOX).apply_box(corners).tolist() == pytest.approx([-0.5, -0.5, 79.5, 79.5])


def test_the_view_is_the_inside_of_the_picture_that_is_warped():
    frame = Frame(size=100, crop=10, view=1.5)
    points = torch.tensor([[101.0, 213.0], [77.5, 290.0]], dtype=torch.float64)
    torch.testing.assert_close(frame.whole(BOX).apply(points) - 10, frame.view_of(BOX).apply(points))


def test_a_shift_moves_the_view_down():
    frame = Frame(size=100, crop=10, view=1.5, shift=0.25)
    moved = BOX + torch.tensor([0.0, 20.0, 0.0, 20.0], dtype=torch.float64)
    plain = Frame(size=100, crop=10, view=1.5)
    torch.testing.assert_close(frame.view_of(BOX).matrix, plain.view_of(moved).matrix)
    torch.testing.assert_close(frame.whole(BOX).matrix, plain.whole(moved).matrix)


def test_cutting_reads_the_pixels_that_the_view_names():
    y, x = torch.meshgrid(torch.arange(400.0), torch.arange(300.0), indexing="ij")
    frame = Frame(size=60, crop=0, view=1.0)
    seen = cut(torch.stack([x, y, x]), frame.view_of(BOX), 60)
    # 80 pixels become 60: pixel (30, 20) shows x = 80 + 30.5 * 4 / 3.
    assert float(seen[0, 20, 30]) == pytest.approx(80 + 30.5 * 4 / 3, abs=0.1)
    assert float(seen[1, 20, 30]) == pytest.approx(200 + 20.5 * 4 / 3, abs=0.1)
