import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from lineament.errors import DataError
from lineament.geometry.affine2d import Affine2D
from lineament.geometry.umeyama import fit_similarity, umeyama

finite = st.floats(-500.0, 500.0)
seeds = st.integers(0, 2**31)


@st.composite
def similarities(draw: st.DrawFn) -> Affine2D:
    scale = math.exp(draw(st.floats(-3.0, 3.0)))
    return Affine2D.from_similarity(scale, draw(st.floats(-3.1, 3.1)), (draw(finite), draw(finite)))


def points(seed: int, count: int, spread: float = 200.0) -> torch.Tensor:
    return spread * torch.randn(count, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@settings(max_examples=60, deadline=None)
@given(similarities(), seeds, st.integers(2, 70))
def test_similarity_fit_recovers_a_random_one(crop: Affine2D, seed: int, count: int) -> None:
    before = points(seed, count)
    fitted = fit_similarity(before, crop.apply(before))
    assert (fitted.apply(before) - crop.apply(before)).abs().max() < 1e-7 * (1.0 + crop.scale)
    assert fitted.is_similarity


@settings(max_examples=25, deadline=None)
@given(similarities(), seeds)
def test_fit_is_the_minimum(crop: Affine2D, seed: int) -> None:
    source, weights = points(seed, 9), points(seed + 1, 9)[:, 0].abs()
    target = crop.apply(source) + points(seed + 2, 9, 5.0)
    fitted = fit_similarity(source, target, weights)

    def loss(candidate: Affine2D) -> float:
        return float((weights * (candidate.apply(source) - target).pow(2).sum(-1)).sum())

    for nudge in (
        Affine2D.from_similarity(1.001),
        Affine2D.from_similarity(rotation=0.001),
        Affine2D.from_similarity(translation=(0.1, 0.0)),
        Affine2D.from_similarity(translation=(0.0, -0.1)),
    ):
        centre = Affine2D.from_similarity(translation=tuple((-fitted.apply(source.mean(0))).tolist()))
        assert loss(fitted.then(centre).then(nudge).then(centre.inverse())) >= loss(fitted) - 1e-9


def test_zero_weight_leaves_an_outlier_out() -> None:
    source = points(0, 6)
    target = source.clone()
    target[3] += 100.0
    weights = torch.ones(6)
    weights[3] = 0.0
    assert torch.allclose(
        fit_similarity(source, target, weights).matrix, Affine2D.identity().matrix, atol=1e-9
    )


def test_mirrored_points_are_not_fitted_by_a_mirror() -> None:
    source = points(1, 8)
    fitted = fit_similarity(source, source * torch.tensor([-1.0, 1.0]))
    assert torch.det(fitted.linear) > 0


def test_impossible_fits_are_refused() -> None:
    with pytest.raises(DataError):
        fit_similarity(torch.ones(5, 2), points(0, 5))
    with pytest.raises(DataError):
        fit_similarity(points(0, 5), points(0, 4))
    with pytest.raises(DataError, match="finite"):
        fit_similarity(torch.full((5, 2), float("nan")), points(0, 5))
    with pytest.raises(DataError, match="weights"):
        fit_similarity(points(0, 5), points(1, 5), torch.tensor([1.0, 1.0, -1.0, 1.0, 1.0]))


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_every_set_of_a_batch_gets_its_own_fit(dimensions: int) -> None:
    source, weights = drawn(4, 3, 9, dimensions), drawn(4, 3, 9, seed=1).square()
    target = drawn(4, 3, 9, dimensions, seed=2)
    together = umeyama(source, target, weights)
    assert together.scale.shape == (4, 3)
    alone = umeyama(source[2, 1], target[2, 1], weights[2, 1])
    torch.testing.assert_close(together.apply(source)[2, 1], alone.apply(source[2, 1]))
    torch.testing.assert_close(together.apply_inverse(together.apply(source)), source)
    torch.testing.assert_close(torch.linalg.det(together.rotation), torch.ones(4, 3, dtype=torch.float64))


def test_rotation_in_space_is_that_of_scipy() -> None:
    source, target, weights = drawn(11, 3), drawn(11, 3, seed=1), drawn(11, seed=2).square()
    fit = umeyama(source, target, weights)
    share = (weights / weights.sum())[:, None]
    centred = [values - (share * values).sum(0) for values in (source, target)]
    oracle, _ = Rotation.align_vectors(centred[1].numpy(), centred[0].numpy(), weights.numpy())
    torch.testing.assert_close(fit.rotation, torch.from_numpy(oracle.as_matrix()))
    turned = centred[0] @ fit.rotation.T
    torch.testing.assert_close(fit.scale, (share * turned * centred[1]).sum() / (share * turned**2).sum())
    torch.testing.assert_close((share * (fit.apply(source) - target)).sum(0), torch.zeros(3).double())


def test_the_plane_needs_no_svd_but_agrees_with_it() -> None:
    source, target, weights = drawn(5, 7, 2), drawn(5, 7, 2, seed=1), drawn(5, 7, seed=2).square()
    flat = [torch.nn.functional.pad(values, (0, 1)) for values in (source, target)]
    plane, space = umeyama(source, target, weights), umeyama(*flat, weights)
    # Points of a plane may be turned over in space, which the plane does not allow.
    upright = space.rotation[:, 2, 2] > 0
    assert bool(upright.any())
    torch.testing.assert_close(plane.apply(source)[upright], space.apply(flat[0])[upright][..., :2])


def test_points_that_coincide_have_no_scale() -> None:
    fit = umeyama(torch.ones(2, 5, 2), torch.ones(2, 5, 2) * 3)
    assert fit.scale.tolist() == [0.0, 0.0]
    torch.testing.assert_close(fit.apply(torch.zeros(2, 4, 2)), torch.full((2, 4, 2), 3.0))


def test_points_of_another_number_of_axes_are_refused() -> None:
    with pytest.raises(DataError, match="xy or xyz"):
        umeyama(torch.ones(5, 4), torch.ones(5, 4))


def test_where_the_turn_is_open_it_is_none() -> None:
    # A point-symmetric target of a mirrored square: every turn fits as badly.
    square = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]], dtype=torch.float64)
    fit = umeyama(square, torch.zeros(4, 2, dtype=torch.float64))
    assert fit.scale.item() == 0.0
    assert fit.rotation.tolist() == [[1.0, 0.0], [0.0, 1.0]]
