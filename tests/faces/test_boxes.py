import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lineament.errors import DataError
from lineament.faces import boxes

BOX = torch.tensor([10.0, 20.0, 30.0, 60.0])


def test_square_expand_and_clip() -> None:
    assert boxes.square(BOX).tolist() == [0.0, 20.0, 40.0, 60.0]
    assert boxes.expand(BOX, 2.0).tolist() == [0.0, 0.0, 40.0, 80.0]
    assert boxes.clip(torch.tensor([-5.0, 3.0, 50.0, 9.0]), 20, 8).tolist() == [-0.5, 3.0, 19.5, 7.5]
    assert boxes.centre(BOX).tolist() == [20.0, 40.0]


def test_iou_by_hand() -> None:
    other = torch.tensor(
        [[10.0, 20.0, 30.0, 60.0], [20.0, 20.0, 40.0, 60.0], [30.0, 20.0, 40.0, 60.0], [5.0, 5.0, 5.0, 5.0]]
    )
    assert boxes.iou(BOX[None], other)[0].tolist() == pytest.approx([1.0, 1.0 / 3.0, 0.0, 0.0])
    assert boxes.iou(other[3:], other[3:]).item() == 0.0


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**31))
def test_jitter_stays_in_its_bounds_and_repeats(seed: int) -> None:
    once = boxes.jitter(BOX, torch.Generator().manual_seed(seed), shift=0.1, scale=0.2)
    again = boxes.jitter(BOX, torch.Generator().manual_seed(seed), shift=0.1, scale=0.2)
    assert torch.equal(once, again)
    moved = (boxes.centre(once) - boxes.centre(BOX)).abs() / boxes.size(BOX)
    growth = boxes.size(once) / boxes.size(BOX)
    assert moved.max() <= 0.1 + 1e-5
    assert growth.min() >= 0.8 - 1e-5 and growth.max() <= 1.2 + 1e-5
    assert growth[0].item() == pytest.approx(growth[1].item(), rel=1e-4)


def test_jitter_spreads_over_its_range() -> None:
    generator = torch.Generator().manual_seed(0)
    drawn = torch.stack([boxes.jitter(BOX, generator) for _ in range(400)])
    moved = (boxes.centre(drawn) - boxes.centre(BOX)) / boxes.size(BOX)
    assert moved.mean(0).abs().max() < 0.01
    assert moved.std(0).tolist() == pytest.approx([0.2 / 12**0.5] * 2, rel=0.15)


def test_box_from_landmarks_leaves_nan_out() -> None:
    points = torch.tensor([[0.0, 10.0], [float("nan"), 99.0], [20.0, 50.0]])
    assert boxes.box_from_landmarks(points).tolist() == [0.0, 10.0, 20.0, 50.0]
    assert boxes.box_from_landmarks(points, margin=0.5).tolist() == [-10.0, -10.0, 30.0, 70.0]


def test_box_from_five_points_by_hand() -> None:
    points = torch.tensor([[0.0, 10.0], [100.0, 10.0], [50.0, 70.0], [10.0, 110.0], [90.0, 110.0]])
    assert boxes.box_from_five_points(points).tolist() == pytest.approx([-58.0, -102.0, 158.0, 182.0])
    profile = points * torch.tensor([0.2, 1.0])
    assert boxes.size(boxes.box_from_five_points(profile)).tolist() == pytest.approx([216.0, 284.0])
    with pytest.raises(DataError):
        boxes.box_from_five_points(torch.ones(5, 2))
    with pytest.raises(DataError):
        boxes.box_from_five_points(points[:4])


@pytest.mark.parametrize(
    "points", [torch.zeros(5, 2), torch.full((5, 2), float("nan")), torch.tensor([[1.0, 2.0]])]
)
def test_landmarks_without_extent_are_refused(points: torch.Tensor) -> None:
    with pytest.raises(DataError):
        boxes.box_from_landmarks(points)


@pytest.mark.parametrize("box", [[3.0, 3.0, 3.0, 5.0], [0.0, 0.0, float("nan"), 1.0], [0.0, 0.0, 1.0]])
def test_malformed_boxes_are_refused(box: list[float]) -> None:
    with pytest.raises(DataError, match="box"):
        boxes.check_box(torch.tensor(box))
