import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lineament.errors import DataError
from lineament.geometry.affine2d import Affine2D

finite = st.floats(-500.0, 500.0)
seeds = st.integers(0, 2**31)


@st.composite
def similarities(draw: st.DrawFn) -> Affine2D:
    scale = math.exp(draw(st.floats(-3.0, 3.0)))
    return Affine2D.from_similarity(scale, draw(st.floats(-3.1, 3.1)), (draw(finite), draw(finite)))


@st.composite
def affines(draw: st.DrawFn) -> Affine2D:
    squash = Affine2D(
        torch.tensor([[draw(st.floats(0.3, 3.0)), draw(st.floats(-0.4, 0.4)), 0.0], [0.0, 1.0, 0.0]])
    )
    return draw(similarities()).compose(squash)


def points(seed: int, count: int, spread: float = 200.0) -> torch.Tensor:
    return spread * torch.randn(count, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@settings(max_examples=60, deadline=None)
@given(affines(), seeds)
def test_inverse_undoes_the_transform(crop: Affine2D, seed: int) -> None:
    before = points(seed, 20, 2000.0)
    assert (crop.inverse().apply(crop.apply(before)) - before).abs().max() < 1e-4 / 100
    identity = crop.inverse().compose(crop).matrix
    assert torch.allclose(identity[:, :2], torch.eye(2, dtype=torch.float64), atol=1e-9)


@settings(max_examples=40, deadline=None)
@given(affines(), affines(), seeds)
def test_compose_means_one_after_the_other(first: Affine2D, second: Affine2D, seed: int) -> None:
    before = points(seed, 7)
    expected = second.apply(first.apply(before))
    tolerance = 1e-9 * (1.0 + expected.abs().max())
    assert (second.compose(first).apply(before) - expected).abs().max() < tolerance
    assert (first.then(second).apply(before) - expected).abs().max() < tolerance


def test_parameters_come_back() -> None:
    crop = Affine2D.from_similarity(2.5, 0.3, (4.0, -7.0))
    assert crop.scale == pytest.approx(2.5)
    assert crop.rotation == pytest.approx(0.3)
    assert crop.translation.tolist() == [4.0, -7.0]
    assert crop.axis_scales == pytest.approx((2.5, 2.5))
    assert not crop.is_axis_aligned
    assert crop.homogeneous()[2].tolist() == [0.0, 0.0, 1.0]


def test_positive_rotation_is_clockwise_on_the_screen() -> None:
    turned = Affine2D.from_similarity(rotation=math.pi / 2).apply(torch.tensor([[1.0, 0.0]]))
    assert turned[0].tolist() == pytest.approx([0.0, 1.0], abs=1e-7)


def test_resize_keeps_edges_on_edges() -> None:
    crop = Affine2D.resize((200, 100), (50, 200))
    assert crop.apply(torch.tensor([[-0.5, -0.5], [199.5, 99.5]])).tolist() == [[-0.5, -0.5], [49.5, 199.5]]
    assert crop.apply(torch.tensor([[0.0, 0.0]])).tolist() == [[-0.375, 0.5]]
    assert crop.is_axis_aligned
    assert not crop.is_similarity


def test_window_puts_the_box_on_the_crop() -> None:
    crop = Affine2D.window((10.0, 20.0, 30.0, 60.0), (40, 80))
    assert crop.apply_box(torch.tensor([10.0, 20.0, 30.0, 60.0])).tolist() == [-0.5, -0.5, 39.5, 79.5]


def test_dtype_is_kept_and_nan_stays_nan() -> None:
    moved = Affine2D.from_similarity(2.0).apply(torch.tensor([[1.0, float("nan")]]))
    assert moved.dtype == torch.float32
    assert moved.isnan().all()


@pytest.mark.parametrize(
    "matrix",
    [torch.zeros(2, 3), torch.ones(2, 3), torch.eye(3), torch.full((2, 3), float("nan"))],
)
def test_impossible_matrices_are_refused(matrix: torch.Tensor) -> None:
    with pytest.raises(DataError, match="transform"):
        Affine2D(matrix)


def test_window_without_area_is_refused() -> None:
    with pytest.raises(DataError, match="area"):
        Affine2D.window((5.0, 5.0, 5.0, 9.0), (10, 10))


def test_axis_scales_belong_to_the_axes_of_the_source() -> None:
    # Squashed before it is turned: the source's x axis is stretched three times whatever the turn.
    squashed = Affine2D.resize((10, 10), (30, 5)).then(Affine2D.from_similarity(rotation=0.7))
    assert squashed.axis_scales == pytest.approx((3.0, 0.5))
    assert squashed.scale == pytest.approx(math.sqrt(1.5))


def test_the_box_around_a_turned_box_holds_all_four_corners() -> None:
    turned = Affine2D.from_similarity(rotation=math.pi / 4)
    side = 10.0 / math.sqrt(2.0)
    # The corners (0, 0), (10, 0), (10, 10), (0, 10) become the left and right, upper and lower tips of a diamond.
    box = turned.apply_box(torch.tensor([0.0, 0.0, 10.0, 10.0], dtype=torch.float64))
    assert box.tolist() == pytest.approx([-side, 0.0, side, 2 * side])


@pytest.mark.parametrize("mirror", [(-1.0, 1.0), (1.0, -1.0), (-1.0, -1.0)])
def test_mirrors_and_half_turns_are_not_axis_aligned(mirror: tuple[float, float]) -> None:
    flipped = Affine2D(torch.tensor([[mirror[0], 0.0, 0.0], [0.0, mirror[1], 0.0]]))
    assert not flipped.is_axis_aligned
    # Only the half turn keeps the order of the corners.
    assert flipped.is_similarity == (mirror == (-1.0, -1.0))


@given(
    st.sampled_from([0, 90, 180, 270]),
    st.integers(1, 4000),
    st.integers(1, 4000),
    st.lists(st.tuples(st.integers(-9000, 9000), st.integers(-9000, 9000)), min_size=1, max_size=9),
)
def test_a_quarter_turn_and_back_is_exact(degrees, width, height, eighths) -> None:
    points = torch.tensor(eighths, dtype=torch.float64) / 8
    turn = Affine2D.quarter_turn(degrees, (width, height))
    assert torch.equal(turn.inverse().apply(turn.apply(points)), points)
    assert turn.then(turn.inverse()).matrix.equal(Affine2D.identity().matrix)


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_a_quarter_turn_follows_the_pixels(degrees) -> None:
    image = torch.arange(3 * 5 * 7.0).reshape(3, 5, 7)
    turned = torch.rot90(image, degrees // 90, (1, 2))
    turn = Affine2D.quarter_turn(degrees, (7, 5))
    for y in range(5):
        for x in range(7):
            column, row = turn.apply(torch.tensor([float(x), float(y)])).tolist()
            assert turned[:, int(row), int(column)].equal(image[:, y, x])


def test_other_turns_are_refused() -> None:
    with pytest.raises(DataError, match="not by 45"):
        Affine2D.quarter_turn(45, (4, 4))
