"""Smoothing: what stands still stays, what moves is followed closely, noise is reduced."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from lineament.errors import UsageError
from lineament.faces.one_euro import RESPONSE, OneEuroFilter

SIDE, RATE = 100.0, 25.0


def smoothed(points: Tensor, amount: float = 1.0, rate: float = RATE, side: float = SIDE) -> Tensor:
    """Positions ``[T, K, 2]`` one after another."""
    smoother = OneEuroFilter(amount)
    return torch.stack([smoother(each, index / rate, side) for index, each in enumerate(points)])


@pytest.mark.parametrize("amount", [0.0, 0.5, 1.0, 4.0])
def test_what_stands_still_stays(amount: float):
    points = (300 * torch.rand(68, 2)).expand(50, 68, 2)
    assert torch.equal(smoothed(points, amount), points)


def test_none_is_none():
    points = torch.randn(20, 5, 2)
    assert torch.equal(smoothed(points, 0.0), points)


@pytest.mark.parametrize("speed", [0.2, 1.0, 3.0])
def test_a_steady_motion_is_followed_closely(speed: float):
    """At ``speed`` face sides a second the lag stays below 1 / (2 pi response) of a side, whatever the speed."""
    times = torch.arange(100)[:, None, None] / RATE
    points = times * speed * SIDE * torch.tensor([0.6, -0.8])
    lag = (points - smoothed(points)).norm(dim=-1)[-1, 0] / SIDE
    assert 0.0 < float(lag) < 1 / (2 * torch.pi * RESPONSE)


def test_noise_is_reduced_to_less_than_a_half_and_more_by_more():
    generator = torch.Generator().manual_seed(0)
    noise = 0.005 * SIDE * torch.randn(500, 68, 2, generator=generator)
    left = [float(smoothed(noise, amount)[25:].std() / noise.std()) for amount in (0.5, 1.0, 2.0)]
    assert left == sorted(left, reverse=True)
    assert left[1] < 0.45
    assert left[2] < 0.35


def test_resolution_and_rate_do_not_matter():
    generator = torch.Generator().manual_seed(1)
    points = torch.cumsum(torch.randn(60, 5, 2, generator=generator), 0)
    torch.testing.assert_close(
        smoothed(4 * points, side=4 * SIDE), 4 * smoothed(points), rtol=1e-4, atol=1e-3
    )
    # The same jump one second apart is followed as far, however many frames lie between.
    jump = [torch.cat([torch.zeros(1, 1, 2), torch.full((n, 1, 2), 50.0)]) for n in (15, 30, 60)]
    ends = [float(smoothed(each, rate=len(each) - 1.0)[-1, 0, 0]) for each in jump]
    assert min(ends) > 49.0


def test_a_time_that_does_not_advance_starts_anew():
    smoother = OneEuroFilter()
    smoother(torch.zeros(5, 2), 1.0, SIDE)
    assert torch.equal(smoother(torch.ones(5, 2), 1.0, SIDE), torch.ones(5, 2))


@pytest.mark.parametrize("amount", [-1.0, float("nan"), float("inf")])
def test_amounts_out_of_range_are_refused(amount: float):
    with pytest.raises(UsageError, match="smoothing"):
        OneEuroFilter(amount)


def weight(cut_off: float, step: float) -> float:
    tau = 1 / (2 * math.pi * cut_off)
    return 1 / (1 + tau / step)


@pytest.mark.parametrize("amount", [1.0, 2.0])
def test_three_frames_by_hand(amount: float):
    """Equations 1 to 5 of the paper: the speed is that of the raw positions, smoothed at 1 Hz, in face sides."""
    raw, step = [0.0, 10.0, 40.0], 1 / RATE
    speed = smooth = 0.0
    wanted = [0.0]
    for before, now in itertools.pairwise(raw):
        speed += weight(1.0, step) * ((now - before) / (SIDE * step) - speed)
        smooth += weight((1.0 + RESPONSE * abs(speed)) / amount, step) * (now - smooth)
        wanted.append(smooth)
    points = torch.tensor([[[x, 0.0]] for x in raw])
    assert smoothed(points, amount)[:, 0, 0].tolist() == pytest.approx(wanted, rel=1e-5)
