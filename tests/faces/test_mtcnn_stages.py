"""The stages of the detector on pictures whose pixels tell their place, with networks that say what is wanted."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lineament.faces.detection.mtcnn import Mtcnn, _Candidates, _cut, _detections, _halvings


def ramp(height: int, width: int) -> Tensor:
    """``[1, 3, H, W]``: red is x and green is y of the pixel's middle, counted from the picture's edge."""
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    return torch.stack([x, y, torch.full_like(x, 9.0)])[None]


def candidates(*boxes: tuple[float, float, float, float]) -> _Candidates:
    count = len(boxes)
    return _Candidates(np.zeros(count, np.int64), np.array(boxes, dtype=float), np.linspace(0.9, 0.8, count))


@pytest.mark.parametrize("side", [24, 48])
@pytest.mark.parametrize("extent", [24.0, 31.0, 60.0, 97.0, 193.0])
def test_each_pixel_of_a_crop_shows_its_place_in_the_picture(side: int, extent: float):
    """Through every level of the pyramid: halving keeps a ramp, so a crop of any size must read it exactly."""
    x0, y0 = 140.0, 33.0
    crops = _cut(_halvings(ramp(384, 448)), candidates((x0, y0, x0 + extent, y0 + extent)), side)
    places = (torch.arange(side) + 0.5) / side * extent
    torch.testing.assert_close(crops[0, 0], (x0 + places).expand(side, side), atol=2e-2, rtol=0)
    torch.testing.assert_close(crops[0, 1], (y0 + places)[:, None].expand(side, side), atol=2e-2, rtol=0)


def test_a_crop_is_read_from_the_level_next_above_its_size():
    """Levels are marked by a constant: twice the side and more is read from the halved picture, not before."""
    levels = [torch.full((1, 3, 256 >> n, 256 >> n), float(n)) for n in range(4)]
    sides = (20, 24, 47.9, 48, 95.9, 96, 191.9, 192, 250)
    found = _cut(levels, candidates(*((0.0, 0.0, s, s) for s in sides)), 24)[:, 0, 12, 12]
    assert found.tolist() == pytest.approx([0, 0, 0, 1, 1, 2, 2, 3, 3])
    # No level beyond the last one.
    assert float(_cut(levels[:2], candidates((0.0, 0.0, 250.0, 250.0)), 24)[0, 0, 12, 12]) == pytest.approx(1)


def test_halvings_stop_where_the_smaller_crop_would_not_fit():
    assert [tuple(level.shape[2:]) for level in _halvings(torch.zeros(1, 3, 200, 333))] == [
        (200, 333),
        (100, 166),
        (50, 83),
        (25, 41),
    ]
    assert len(_halvings(torch.zeros(1, 3, 47, 500))) == 1


def test_what_lies_outside_is_black():
    crop = _cut([torch.full((1, 3, 64, 64), 5.0)], candidates((-24.0, 0.0, 24.0, 48.0)), 24)[0, 0]
    assert not bool(crop[:, :11].any())
    torch.testing.assert_close(crop[2:, 13:], torch.full((22, 11), 5.0))


def test_corrections_are_in_sides_of_the_box_and_squares_take_the_longer_one():
    box = candidates((10.0, 20.0, 30.0, 60.0))
    moved = box.corrected(np.array([[0.5, -0.25, 0.1, 0.5]]))
    assert moved.boxes[0].tolist() == pytest.approx([20.0, 10.0, 32.0, 80.0])
    assert box.squared().boxes[0].tolist() == pytest.approx([0.0, 20.0, 40.0, 60.0])


def test_answers_count_from_the_middle_of_the_first_pixel_of_the_photograph():
    found = candidates((0.0, 0.0, 10.0, 20.0))
    found.points = np.full((1, 5, 2), 3.0)
    ((face,),) = _detections(found, 1, reduction=4)
    assert face.box.tolist() == [-0.5, -0.5, 39.5, 79.5]
    assert face.points.tolist() == [[11.5, 11.5]] * 5


class Everywhere(nn.Module):
    """Says a face wherever the left upper corner of its window is white."""

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        windows = image[:, 0, :-10:2, :-10:2]
        scores = torch.where(windows > 0, 5.0, -5.0)
        return scores, torch.zeros(len(image), 4, *scores.shape[1:])


def test_windows_are_put_back_by_the_size_of_their_level_on_each_axis():
    """Levels are rounded to whole pixels, each axis by itself: 101 x 59 at 12 / 20 is 61 x 35."""
    pixels = torch.zeros(1, 3, 59, 101)
    pixels[..., :4, -40:-36] = 255.0
    detector = Mtcnn(pyramid_factor=0.01)
    found = detector._propose(Everywhere(), pixels, 20.0)  # type: ignore[arg-type]
    assert len(found) >= 1
    # Its corner lies at a multiple of two level pixels; before it was made square it was 12 level pixels each way.
    middle = 0.5 * (found.boxes[0, :2] + found.boxes[0, 2:])
    step = np.array([101 / 61, 59 / 35])
    corner = middle / step - 6
    assert corner == pytest.approx(np.round(corner / 2) * 2, abs=1e-6)
    assert corner[0] * step[0] == pytest.approx(63, abs=4) and corner[1] == pytest.approx(0.0)
    assert found.boxes[0, 2] - found.boxes[0, 0] == pytest.approx(12 * max(step))


class Sure(nn.Module):
    """Believes every crop, moves nothing, and sees the points in the middle."""

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        count = len(crops)
        return torch.linspace(4, 3, count), torch.zeros(count, 4), torch.full((count, 5, 2), 0.5)


def test_the_last_stage_drops_a_box_inside_another():
    nested = candidates((0.0, 0.0, 100.0, 100.0), (30.0, 30.0, 70.0, 70.0), (200.0, 0.0, 260.0, 60.0))
    levels = _halvings(torch.zeros(1, 3, 300, 300))
    kept = Mtcnn()._finish(Sure(), levels, nested, 0.7)  # type: ignore[arg-type]
    assert kept.boxes[:, 0].tolist() == [0.0, 200.0]
    assert kept.points is not None
    assert kept.points[1].tolist() == [[230.0, 30.0]] * 5


def test_a_score_above_the_last_stage_s_own_is_asked_for():
    boxes = candidates((0.0, 0.0, 50.0, 50.0), (100.0, 0.0, 150.0, 50.0))
    levels = _halvings(torch.zeros(1, 3, 200, 200))
    # Logits 4 and 3: 0.982 and 0.953.
    for least, left in ((0.7, 2), (0.96, 1), (0.99, 0)):
        assert len(Mtcnn()._finish(Sure(), levels, boxes, least)) == left  # type: ignore[arg-type]
