"""Landmark errors against closed forms and invariances."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lineament.metrics import landmark

SQUARE = torch.tensor([[0.0, 0.0], [4.0, 0.0], [4.0, 4.0], [0.0, 4.0]])


def test_a_shift_of_three_and_four_is_five():
    predicted = SQUARE[None] + torch.tensor([3.0, 4.0])
    errors = landmark.normalised_errors(predicted, SQUARE[None], landmark.inter_ocular(SQUARE[None], (0, 1)))
    assert errors.tolist() == [5 / 4]


def test_hidden_points_do_not_count_even_when_missing():
    truth = SQUARE[None].clone()
    predicted = truth + torch.tensor([1.0, 0.0])
    predicted[0, 2] += 100
    truth[0, 3] = torch.nan
    visible = torch.tensor([[True, True, False, False]])
    length = torch.tensor([4.0])
    assert landmark.normalised_errors(predicted, truth, length, visible).tolist() == [0.25]


def test_different_shapes_are_refused():
    with pytest.raises(ValueError, match="differ in shape"):
        landmark.point_distances(torch.zeros(4, 2), torch.zeros(5, 2))


def test_curve_failures_and_area_of_a_known_set():
    errors = torch.tensor([0.0, 0.05, 0.1, 0.2])
    assert landmark.failure_rate(errors, 0.1) == 0.25
    thresholds, share = landmark.cumulative_curve(errors, 0.1, steps=3)
    assert thresholds.tolist() == pytest.approx([0, 0.05, 0.1])
    assert share[0] == 0.25
    assert share[2] == 0.75
    assert landmark.area_under_curve(errors, 0.1) == pytest.approx((1 + 0.5 + 0 + 0) / 4)
    assert landmark.failure_rate(torch.tensor([math.nan])) == 1.0


def test_area_is_the_integral_of_the_curve():
    errors = torch.rand(200, generator=torch.Generator().manual_seed(0)) * 0.2
    thresholds, share = landmark.cumulative_curve(errors, 0.1, steps=20001)
    integral = float(torch.trapezoid(share, thresholds)) / 0.1
    assert landmark.area_under_curve(errors, 0.1) == pytest.approx(integral, abs=1e-4)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.1, 20), st.floats(-3.2, 3.2))
def test_error_does_not_change_with_scale_rotation_and_shift(seed: int, scale: float, angle: float):
    generator = torch.Generator().manual_seed(seed)
    truth = torch.randn(3, 6, 2, generator=generator, dtype=torch.float64) * 10
    predicted = truth + torch.randn(3, 6, 2, generator=generator, dtype=torch.float64)
    rotation = torch.tensor(
        [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
    ).double()

    def error(points: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return landmark.normalised_errors(points, target, landmark.inter_ocular(target, (0, 1)))

    moved = [scale * points @ rotation.t() + 7 for points in (predicted, truth)]
    torch.testing.assert_close(error(*moved), error(predicted, truth), rtol=1e-9, atol=0)


def test_a_failure_is_more_than_a_tenth_unless_said_otherwise():
    errors = torch.tensor([0.02, 0.0999, 0.1, 0.1001, 0.3, math.nan], dtype=torch.float64)
    # The threshold itself has not failed; an error that is no number has.
    assert landmark.failure_rate(errors) == pytest.approx(3 / 6)
    assert landmark.failure_rate(errors, 0.08) == pytest.approx(5 / 6)
    assert landmark.failure_rate(errors.float()) == pytest.approx(3 / 6)


def test_the_published_area_reads_the_curve_at_fifty_thresholds():
    # The thresholds are k / 490, k = 0 .. 49. A face of no error is right at all of them; one of 0.05 from k = 25 on;
    # one of 0.1 at the last alone.
    for error, share in ((0.0, 50 / 50), (1e-9, 49 / 50), (0.05, 25 / 50), (0.1, 1 / 50), (0.2, 0.0)):
        found = landmark.area_under_curve(torch.tensor([error], dtype=torch.float64), rule="paper")
        assert found == pytest.approx(share), error
    assert landmark.area_under_curve(torch.tensor([math.nan]), rule="paper") == 0.0


def test_a_face_without_a_number_adds_no_area():
    errors = torch.tensor([0.05, math.nan])
    assert landmark.area_under_curve(errors, 0.1) == pytest.approx(0.25)
    assert landmark.area_under_curve(errors, 0.2) == pytest.approx(0.375)
    # Far beyond the limit is no worse than at it.
    assert landmark.area_under_curve(torch.tensor([0.05, 99.0]), 0.1) == pytest.approx(0.25)


def test_a_face_without_counted_points_has_no_error():
    truth = SQUARE.expand(2, 4, 2)
    visible = torch.tensor([[False] * 4, [True] * 4])
    found = landmark.normalised_errors(truth + 1, truth, torch.full((2,), 4.0), visible)
    assert math.isnan(found[0]) and float(found[1]) == pytest.approx(2**0.5 / 4)
