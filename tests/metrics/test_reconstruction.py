"""Quality of a reconstruction at landmarks: closed forms, borders, unknown points."""

from __future__ import annotations

import math

import pytest
import torch

from lineament.metrics.reconstruction import (
    correlation,
    eight_bits,
    error_around_landmarks,
    landmark_area,
    pixel_error,
    quality_at_landmarks,
    similarity,
    similarity_map,
    window_around,
)

PICTURE = torch.rand(3, 128, 128, generator=torch.Generator().manual_seed(0))


def test_the_same_picture_is_perfect_everywhere():
    points = torch.tensor([[0.0, 0.0], [64.2, 30.9], [126.0, 126.0]])
    found = quality_at_landmarks(PICTURE, PICTURE, points)
    torch.testing.assert_close(found.similarity, torch.ones(3).double())
    torch.testing.assert_close(found.correlation, torch.ones(3).double())
    assert found.error.tolist() == [0, 0, 0]
    assert error_around_landmarks(PICTURE, PICTURE, points) == 0
    assert similarity(PICTURE, PICTURE) == pytest.approx(1)


def test_a_flaw_counts_at_its_landmark_only():
    made = PICTURE.clone()
    made[:, 20:40, 20:40] = 1 - made[:, 20:40, 20:40]
    found = quality_at_landmarks(PICTURE, made, torch.tensor([[30.0, 30.0], [90.0, 90.0]]))
    assert found.similarity[0] < 0.1 and found.similarity[1] == pytest.approx(1)
    # A negative has the correlation -1.
    assert found.correlation[0] == pytest.approx(-1, abs=1e-3) and found.correlation[1] == pytest.approx(1)
    inside = 255 * (1 - 2 * PICTURE[:, 27:33, 27:33]).abs().mean()
    assert found.error.tolist() == pytest.approx([float(inside), 0], rel=1e-5)


def test_windows_at_the_border_and_beyond():
    assert window_around(torch.tensor([64.9, 10.0]), 128, 128) == (slice(7, 13), slice(61, 67))
    # The last row and column never count, as published.
    assert window_around(torch.tensor([127.0, 1.0]), 128, 128) == (slice(0, 4), slice(124, 127))
    for outside in ([-20.0, 5.0], [5.0, 140.0], [math.nan, 3.0]):
        assert window_around(torch.tensor(outside), 128, 128) is None
    assert window_around(torch.tensor([5.0, 5.0]), 16, 16) is not None
    found = quality_at_landmarks(PICTURE, PICTURE, torch.tensor([[math.nan, 0.0], [5.0, 5.0]]))
    assert torch.isnan(found.similarity).tolist() == [True, False]


def test_flat_pixels_have_no_correlation():
    assert math.isnan(correlation(torch.ones(4), torch.arange(4.0)))
    assert float(correlation(torch.arange(4.0), 3 - 2 * torch.arange(4.0))) == pytest.approx(-1)


def test_the_area_of_a_disc_and_of_two_that_overlap():
    one = landmark_area(torch.tensor([[50.0, 50.0]]), 200, 200)
    # 317 whole pixels lie within 10 of a pixel (Gauss's circle problem).
    assert int(one.sum()) == 317 and bool(one[50, 60]) and not bool(one[50, 61])
    both = landmark_area(torch.tensor([[50.0, 50.0], [50.9, 50.0], [math.nan, 0.0]]), 200, 200)
    assert torch.equal(one, both)
    assert math.isnan(error_around_landmarks(PICTURE, PICTURE, torch.full((2, 2), math.nan)))


def test_pixel_errors_are_in_steps_of_8_bits():
    assert pixel_error(torch.zeros(3, 4, 4), torch.full((3, 4, 4), 0.2)) == pytest.approx(51)
    assert similarity_map(PICTURE, PICTURE).shape == (128, 128)


def test_the_last_row_and_column_never_count():
    # As published, in both directions: windows end before them.
    rows, columns = window_around(torch.tensor([1.0, 127.0]), 128, 128)
    assert (rows, columns) == (slice(124, 127), slice(0, 4))
    assert window_around(torch.tensor([63.0, 60.0]), 61, 64) is not None
    assert window_around(torch.tensor([63.0, 60.0]), 61, 64)[0].stop == 60


def test_bytes_are_cut_and_not_rounded():
    values = torch.tensor([0.0, 0.999, 1.0, 1.7, -0.2, 100.9 / 255])
    assert eight_bits(values.expand(3, 1, 6))[0, :, 0].tolist() == [0, 254, 255, 255, 0, 100]
