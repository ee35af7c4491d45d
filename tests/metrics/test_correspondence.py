"""Matching of dense features on maps whose answer is known."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from lineament.metrics import correspondence


def coded_map(height: int, width: int, seed: int = 0) -> torch.Tensor:
    """Features that tell every grid point apart."""
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(24, height, width, generator=generator), dim=0)


def test_a_map_matches_itself():
    features = coded_map(8, 10)
    points = torch.tensor([[0.0, 0.0], [4.0, 6.0], [18.0, 14.0]])
    assert torch.equal(correspondence.match_points(features, features, points, 2.0), points)
    grid = correspondence.dense_match_grid(features, features, upscale=1)
    torch.testing.assert_close(grid[0, 3, 4], torch.tensor([8 / 9 - 1, 6 / 7 - 1]))


def test_points_follow_a_rolled_map():
    features = coded_map(8, 10)
    rolled = features.roll((1, 2), dims=(1, 2))
    points = torch.tensor([[2.0, 2.0], [6.0, 4.0]])
    expected = points + torch.tensor([4.0, 2.0])
    assert torch.equal(correspondence.match_points(features, rolled, points, 2.0), expected)


def test_queries_are_rounded_half_to_even_and_clamped():
    features = coded_map(5, 5)
    points = torch.tensor([[1.0, 3.0], [-9.0, 99.0]])
    # 0.5 rounds to 0 and 1.5 to 2; outside sticks to the border.
    assert correspondence.match_points(features, features, points, 2.0).tolist() == [[0, 4], [0, 8]]


def test_soft_matches_find_positions_between_grid_points():
    ys, xs = torch.meshgrid(torch.arange(9.0), torch.arange(9.0), indexing="ij")
    centre = (4.4, 3.7)

    def bump(x: float, y: float) -> torch.Tensor:
        # Smooth features of position: nearby points look alike, as trained descriptors do.
        return torch.cat(
            [
                torch.stack(
                    [
                        torch.cos(k * (xs - x) / 4),
                        torch.sin(k * (xs - x) / 4),
                        torch.cos(k * (ys - y) / 4),
                        torch.sin(k * (ys - y) / 4),
                    ]
                )
                for k in (1, 2)
            ]
        )

    source, target = bump(4.0, 4.0), bump(*centre)
    found, similarity = correspondence.match_points_softly(
        source, target, torch.tensor([[8.0, 8.0]]), 2.0, sharpness=20
    )
    assert (found - torch.tensor([[2 * centre[0], 2 * centre[1]]])).norm() < 0.35
    assert float(similarity) > 0.9


def test_pixel_errors_are_scaled_to_the_published_frame():
    errors = correspondence.pixel_errors(torch.tensor([[3.0, 4.0]]), torch.zeros(1, 2), width=140)
    assert errors.tolist() == [2.5]


def test_correct_share_counts_the_threshold_itself():
    assert correspondence.correct_share(torch.tensor([1.0, 2.0, 3.0, 4.0]), 10.0, 0.2) == 50.0


def test_soft_matches_stay_inside_a_map_that_is_not_square():
    """At the last column and row of a wide and of a tall map the neighbours outside take no part."""
    for height, width in ((4, 11), (11, 4)):
        features = coded_map(height, width)
        corners = torch.tensor([[0, 0], [width - 1, 0], [0, height - 1], [width - 1, height - 1]])
        points = 2.0 * corners.float()
        found, score = correspondence.match_points_softly(features, features, points, 2.0, sharpness=200.0)
        torch.testing.assert_close(found, points, atol=1e-3, rtol=0)
        torch.testing.assert_close(score, torch.ones(4))


def test_smooth_matches_of_a_map_with_itself_are_the_points() -> None:
    """Also between the steps, at the border and beyond it, where the border answers."""
    y, x = torch.meshgrid(torch.arange(9.0), torch.arange(11.0), indexing="ij")
    features = torch.stack([(x / 9).cos(), (x / 9).sin(), (y / 9).cos(), (y / 9).sin()])
    generator = torch.Generator().manual_seed(0)
    points = 2.0 * torch.rand(40, 2, generator=generator) * torch.tensor([10.0, 8.0])
    found, score = correspondence.match_points_smoothly(features, features, points, 2.0)
    torch.testing.assert_close(found, points, rtol=0, atol=2e-3)
    assert float(score.min()) > 0.98
    outside = torch.tensor([[-7.0, 4.0], [99.0, 99.0]])
    found, _ = correspondence.match_points_smoothly(features, features, outside, 2.0)
    torch.testing.assert_close(found, torch.tensor([[0.0, 4.0], [20.0, 16.0]]), rtol=0, atol=2e-3)
    # A map that was shifted by a step and a half gives points shifted as much.
    moved = torch.stack([((x - 1.5) / 9).cos(), ((x - 1.5) / 9).sin(), (y / 9).cos(), (y / 9).sin()])
    inner = torch.tensor([[4.0, 6.0], [9.5, 3.1]])
    found, _ = correspondence.match_points_smoothly(features, moved, inner, 2.0)
    torch.testing.assert_close(found, inner + torch.tensor([3.0, 0.0]), rtol=0, atol=2e-2)
    still, _ = correspondence.match_points_smoothly(torch.ones(2, 3, 5), torch.ones(2, 3, 5), inner, 2.0)
    assert bool(torch.isfinite(still).all())


def test_flat_neighbourhoods_have_their_own_mean():
    # All places look alike: the first wins, and the answer is the mean of those of its neighbours that exist.
    found, _ = correspondence.match_points_softly(
        torch.ones(2, 3, 5), torch.ones(2, 3, 5), torch.tensor([[4.0, 2.0]]), 2.0
    )
    assert found.tolist() == [[1.0, 1.0]]


def test_queries_beyond_the_border_are_read_on_it():
    features = coded_map(5, 6)
    outside = torch.tensor([[-7.0, 4.0], [99.0, 99.0]])
    found, score = correspondence.match_points_softly(features, features, outside, 2.0, sharpness=200.0)
    torch.testing.assert_close(found, torch.tensor([[0.0, 4.0], [10.0, 8.0]]), atol=1e-3, rtol=0)
    torch.testing.assert_close(score, torch.ones(2))


def test_dense_matches_in_blocks_are_those_of_the_whole():
    source, target = coded_map(5, 7), coded_map(4, 6, seed=1)
    whole = correspondence.dense_match_grid(source, target)
    assert whole.shape == (1, 8, 12, 2)
    assert torch.equal(whole, correspondence.dense_match_grid(source, target, rows_at_once=5))
