import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lineament.errors import DataError
from lineament.geometry.similarity import Similarity, fit_affine, fit_similarity

finite = st.floats(-500.0, 500.0)
seeds = st.integers(0, 2**31)


@st.composite
def similarities(draw: st.DrawFn) -> Similarity:
    scale = math.exp(draw(st.floats(-3.0, 3.0)))
    return Similarity.from_parameters(scale, draw(st.floats(-3.1, 3.1)), (draw(finite), draw(finite)))


@st.composite
def affines(draw: st.DrawFn) -> Similarity:
    squash = Similarity(
        torch.tensor([[draw(st.floats(0.3, 3.0)), draw(st.floats(-0.4, 0.4)), 0.0], [0.0, 1.0, 0.0]])
    )
    return draw(similarities()).compose(squash)


def points(seed: int, count: int, spread: float = 200.0) -> torch.Tensor:
    return spread * torch.randn(count, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@settings(max_examples=60, deadline=None)
@given(affines(), seeds)
def test_inverse_undoes_the_transform(crop: Similarity, seed: int) -> None:
    before = points(seed, 20, 2000.0)
    assert (crop.inverse().apply(crop.apply(before)) - before).abs().max() < 1e-4 / 100
    identity = crop.inverse().compose(crop).matrix
    assert torch.allclose(identity[:, :2], torch.eye(2, dtype=torch.float64), atol=1e-9)


@settings(max_examples=40, deadline=None)
@given(affines(), affines(), seeds)
def test_compose_means_one_after_the_other(first: Similarity, second: Similarity, seed: int) -> None:
    before = points(seed, 7)
    expected = second.apply(first.apply(before))
    tolerance = 1e-9 * (1.0 + expected.abs().max())
    assert (second.compose(first).apply(before) - expected).abs().max() < tolerance
    assert (first.then(second).apply(before) - expected).abs().max() < tolerance


@settings(max_examples=60, deadline=None)
@given(similarities(), seeds, st.integers(2, 70))
def test_similarity_fit_recovers_a_random_one(crop: Similarity, seed: int, count: int) -> None:
    before = points(seed, count)
    fitted = fit_similarity(before, crop.apply(before))
    assert (fitted.apply(before) - crop.apply(before)).abs().max() < 1e-7 * (1.0 + crop.scale)
    assert fitted.is_similarity


@settings(max_examples=40, deadline=None)
@given(affines(), seeds, st.integers(6, 70))
def test_affine_fit_recovers_a_random_one(crop: Similarity, seed: int, count: int) -> None:
    before = points(seed, count)
    assert torch.allclose(fit_affine(before, crop.apply(before)).matrix, crop.matrix, atol=1e-6, rtol=1e-7)


@settings(max_examples=25, deadline=None)
@given(similarities(), seeds)
def test_fit_is_the_minimum(crop: Similarity, seed: int) -> None:
    source, weights = points(seed, 9), points(seed + 1, 9)[:, 0].abs()
    target = crop.apply(source) + points(seed + 2, 9, 5.0)
    fitted = fit_similarity(source, target, weights)

    def loss(candidate: Similarity) -> float:
        return float((weights * (candidate.apply(source) - target).pow(2).sum(-1)).sum())

    for nudge in (
        Similarity.from_parameters(1.001),
        Similarity.from_parameters(rotation=0.001),
        Similarity.from_parameters(translation=(0.1, 0.0)),
        Similarity.from_parameters(translation=(0.0, -0.1)),
    ):
        centre = Similarity.from_parameters(translation=tuple((-fitted.apply(source.mean(0))).tolist()))
        assert loss(fitted.then(centre).then(nudge).then(centre.inverse())) >= loss(fitted) - 1e-9


def test_zero_weight_leaves_an_outlier_out() -> None:
    source = points(0, 6)
    target = source.clone()
    target[3] += 100.0
    weights = torch.ones(6)
    weights[3] = 0.0
    assert torch.allclose(
        fit_similarity(source, target, weights).matrix, Similarity.identity().matrix, atol=1e-9
    )


def test_mirrored_points_are_not_fitted_by_a_mirror() -> None:
    source = points(1, 8)
    fitted = fit_similarity(source, source * torch.tensor([-1.0, 1.0]))
    assert torch.det(fitted.linear) > 0


def test_parameters_come_back() -> None:
    crop = Similarity.from_parameters(2.5, 0.3, (4.0, -7.0))
    assert crop.scale == pytest.approx(2.5)
    assert crop.rotation == pytest.approx(0.3)
    assert crop.translation.tolist() == [4.0, -7.0]
    assert crop.axis_scales == pytest.approx((2.5, 2.5))
    assert not crop.is_axis_aligned
    assert crop.homogeneous()[2].tolist() == [0.0, 0.0, 1.0]


def test_positive_rotation_is_clockwise_on_the_screen() -> None:
    turned = Similarity.from_parameters(rotation=math.pi / 2).apply(torch.tensor([[1.0, 0.0]]))
    assert turned[0].tolist() == pytest.approx([0.0, 1.0], abs=1e-7)


def test_resize_keeps_edges_on_edges() -> None:
    crop = Similarity.resize((200, 100), (50, 200))
    assert crop.apply(torch.tensor([[-0.5, -0.5], [199.5, 99.5]])).tolist() == [[-0.5, -0.5], [49.5, 199.5]]
    assert crop.apply(torch.tensor([[0.0, 0.0]])).tolist() == [[-0.375, 0.5]]
    assert crop.is_axis_aligned
    assert not crop.is_similarity


def test_window_puts_the_box_on_the_crop() -> None:
    crop = Similarity.window((10.0, 20.0, 30.0, 60.0), (40, 80))
    assert crop.apply_box(torch.tensor([10.0, 20.0, 30.0, 60.0])).tolist() == [-0.5, -0.5, 39.5, 79.5]


def test_dtype_is_kept_and_nan_stays_nan() -> None:
    moved = Similarity.from_parameters(2.0).apply(torch.tensor([[1.0, float("nan")]]))
    assert moved.dtype == torch.float32
    assert moved.isnan().all()


@pytest.mark.parametrize(
    "matrix",
    [torch.zeros(2, 3), torch.ones(2, 3), torch.eye(3), torch.full((2, 3), float("nan"))],
)
def test_impossible_matrices_are_refused(matrix: torch.Tensor) -> None:
    with pytest.raises(DataError, match="transform"):
        Similarity(matrix)


@pytest.mark.parametrize("fit", [fit_similarity, fit_affine])
def test_impossible_fits_are_refused(fit) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(DataError):
        fit(torch.ones(5, 2), points(0, 5))
    with pytest.raises(DataError):
        fit(points(0, 5), points(0, 4))
    with pytest.raises(DataError, match="finite"):
        fit(torch.full((5, 2), float("nan")), points(0, 5))
    with pytest.raises(DataError, match="weights"):
        fit(points(0, 5), points(1, 5), torch.tensor([1.0, 1.0, -1.0, 1.0, 1.0]))
    with pytest.raises(DataError):
        fit_affine(torch.arange(5.0)[:, None].expand(5, 2), points(0, 5))


def test_window_without_area_is_refused() -> None:
    with pytest.raises(DataError, match="area"):
        Similarity.window((5.0, 5.0, 5.0, 9.0), (10, 10))
