"""The closed-form landmark fit on maps whose answer is known."""

from __future__ import annotations

import torch

from lineament.methods.dve.shape import ShapeRegressor, neighbourhoods, spread_of

SHAPE = torch.tensor([[-0.4, -0.4], [0.4, -0.4], [0.0, 0.0], [-0.3, 0.4], [0.3, 0.4], [0.0, 0.5]])


def shapes(count: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    stretch = 1 + 0.15 * torch.randn(count, 1, 2, generator=generator)
    shift = 0.15 * torch.randn(count, 1, 2, generator=generator)
    return SHAPE * stretch + shift


def coded_maps(points: torch.Tensor, side: int = 33) -> torch.Tensor:
    """Maps with a channel per point that is high around it, and a constant one."""
    axis = torch.linspace(-1, 1, side)
    grid = torch.stack(torch.meshgrid(axis, axis, indexing="ij")[::-1], -1)
    distance = (grid - points[:, :, None, None]).square().sum(-1)  # [B, K, h, w]
    bumps = torch.exp(-distance / (2 * 0.08**2))
    return torch.cat([bumps, 0.2 * torch.ones_like(bumps[:, :1])], dim=1)


def fitted() -> ShapeRegressor:
    regressor = ShapeRegressor(len(SHAPE) + 1, len(SHAPE), modes=4)
    for seed in range(4):
        labels = shapes(10, seed)
        regressor.fit_batch(coded_maps(labels), labels, torch.ones(10, len(SHAPE), dtype=torch.bool))
    return regressor


def test_landmarks_of_unseen_shapes_are_found():
    truth = shapes(8, 99)
    found, points = fitted()(coded_maps(truth))
    assert float((points - truth).norm(dim=-1).mean()) < 0.03
    assert float((found - truth).norm(dim=-1).mean()) < 0.03


def test_a_lost_point_is_held_by_the_others():
    truth = shapes(8, 99)
    maps = coded_maps(truth)
    maps[:, 2] = coded_maps(truth + 0.7)[:, 2]
    found, points = fitted()(maps)
    assert float((points[:, 2] - truth[:, 2]).norm(dim=-1).mean()) > 0.4
    assert float((found[:, 2] - truth[:, 2]).norm(dim=-1).mean()) < 0.1


def test_batches_of_any_size_give_the_same_fit():
    labels = shapes(12, 5)
    maps, known = coded_maps(labels), torch.ones(12, len(SHAPE), dtype=torch.bool)
    one = ShapeRegressor(len(SHAPE) + 1, len(SHAPE), modes=3)
    one.fit_batch(maps, labels, known)
    many = ShapeRegressor(len(SHAPE) + 1, len(SHAPE), modes=3)
    for part in range(0, 12, 4):
        many.fit_batch(maps[part : part + 4], labels[part : part + 4], known[part : part + 4])
    test = coded_maps(shapes(3, 6))
    torch.testing.assert_close(one(test)[0], many(test)[0], atol=1e-4, rtol=0)


def test_hidden_and_missing_points_teach_nothing_wrong():
    labels = shapes(20, 1)
    known = torch.ones(20, len(SHAPE), dtype=torch.bool)
    known[::2, 4] = False
    wrong = labels.clone()
    wrong[::2, 4] = torch.nan
    regressor = ShapeRegressor(len(SHAPE) + 1, len(SHAPE), modes=4)
    regressor.fit_batch(coded_maps(labels), wrong, known)
    assert all(torch.isfinite(buffer).all() for buffer in regressor.buffers())
    truth = shapes(5, 2)
    assert float((regressor(coded_maps(truth))[0] - truth).norm(dim=-1).mean()) < 0.03


def test_detectors_answer_to_the_laid_out_neighbourhoods():
    regressor = fitted()
    maps = coded_maps(shapes(3, 7))
    vectors = neighbourhoods(maps)
    scores = torch.einsum("bchw,kc->bkhw", vectors, regressor.detectors)
    mass = (regressor.sharpness * scores).flatten(2).softmax(2).view_as(scores)
    axis = torch.linspace(-1, 1, maps.shape[-1])
    expected = torch.stack([mass.sum(2) @ axis, mass.sum(3) @ axis], dim=2)
    torch.testing.assert_close(regressor.virtual_points(maps)[0], expected, atol=1e-5, rtol=0)


def test_moments_are_those_of_all_neighbourhoods():
    maps, labels = coded_maps(shapes(6, 8)), shapes(6, 8)
    regressor = ShapeRegressor(len(SHAPE) + 1, len(SHAPE), modes=3)
    regressor.fit_batch(maps, labels, torch.ones(6, len(SHAPE), dtype=torch.bool))
    vectors = neighbourhoods(maps).double().permute(0, 2, 3, 1).flatten(0, 2)
    torch.testing.assert_close(regressor.map_square, vectors.t() @ vectors, rtol=1e-5, atol=1e-3)
    torch.testing.assert_close(regressor.map_sum, vectors.sum(0), rtol=1e-5, atol=1e-3)
    assert float(regressor.map_count) == len(vectors)


def test_the_spread_grows_with_the_scale():
    torch.testing.assert_close(spread_of(1.7 * SHAPE + 0.3), 1.7 * spread_of(SHAPE))


def test_offsets_of_one_mode_are_the_most_probable_ones():
    """Noise in the frame of the model shrinks with the scale, and the mode's variance pulls towards the mean."""
    regressor = ShapeRegressor(2, 3, modes=1)
    mode = torch.tensor([0.6, 0.0, -0.8, 0.0, 0.0, 0.0], dtype=torch.float64)
    regressor.mean_shape.copy_(torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]))
    regressor.modes.copy_(mode[None])
    regressor.variances.fill_(0.04)
    observed = regressor.mean_shape + torch.tensor([[0.3, 0.1], [-0.2, 0.0], [0.0, 0.5]])
    weights, scale = torch.tensor([[4.0, 9.0, 1.0]]).double(), torch.tensor([2.0]).double()
    # Precisions are the weights times four.
    strength = 4 * (4 * 0.36 + 9 * 0.64) + 1 / 0.04
    pull = 4 * (4 * 0.6 * 0.3 + 9 * -0.8 * -0.2)
    found = regressor._shape_offsets(observed[None], weights, scale)
    torch.testing.assert_close(found.flatten(), pull / strength * mode)
