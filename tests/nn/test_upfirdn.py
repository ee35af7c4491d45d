"""Resampling by FIR filters against zeros that are really inserted, and against closed forms."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck, gradgradcheck

from lineament.nn.upfirdn import (
    downsample2d,
    filter2d,
    fir_filter,
    upfirdn2d,
    upfirdn2d_reference,
    upsample2d,
)

QUICK = settings(max_examples=60, deadline=None, derandomize=True)


@st.composite
def cases(draw: st.DrawFn) -> tuple[torch.Tensor, torch.Tensor, dict[str, Any]]:
    sizes = st.integers(1, 4)
    shape = (
        draw(st.integers(1, 2)),
        draw(st.integers(1, 3)),
        draw(st.integers(1, 7)),
        draw(st.integers(1, 7)),
    )
    generator = torch.Generator().manual_seed(draw(st.integers(0, 1000)))
    taps = (draw(st.integers(1, 10)),) if draw(st.booleans()) else (draw(sizes), draw(sizes))
    steps = st.tuples(st.integers(1, 3), st.integers(1, 3))
    options = {
        "up": draw(steps),
        "down": draw(steps),
        "padding": tuple(draw(st.integers(-2, 9)) for _ in range(4)),
        "flip": draw(st.booleans()),
        "gain": draw(st.sampled_from([1.0, 4.0, 0.3])),
    }
    x = torch.randn(shape, generator=generator, dtype=torch.float64)
    return x, torch.randn(taps, generator=generator, dtype=torch.float64), options


def fits(x: torch.Tensor, f: torch.Tensor, options: dict[str, Any]) -> bool:
    left, right, top, bottom = options["padding"]
    (up_x, up_y), (height, width) = options["up"], x.shape[2:]
    return width * up_x + left + right >= f.shape[-1] and height * up_y + top + bottom >= f.shape[0]


@QUICK
@given(case=cases(), last=st.booleans())
def test_it_equals_inserted_zeros(case: Any, last: bool):
    x, f, options = case
    assume(fits(x, f, options))
    expected = upfirdn2d_reference(x, f, **options)
    given_order = x.contiguous(memory_format=torch.channels_last) if last else x
    torch.testing.assert_close(upfirdn2d(given_order, f, **options), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("function", [upfirdn2d, upfirdn2d_reference])
def test_both_refuse_when_nothing_is_left(function: Any):
    x = torch.zeros(1, 1, 4, 4)
    with pytest.raises(ValueError, match="7 values are fewer than the 8 taps of the filter along axis x"):
        function(x, fir_filter(range(1, 9)), up=2, padding=(-2, 1, 0, 0))
    with pytest.raises(ValueError, match="0 values are fewer than the 1 taps of the filter along axis y"):
        function(x, fir_filter([1]), padding=(0, 0, -2, -2))
    with pytest.raises(ValueError, match="at least 1"):
        function(x, fir_filter([1]), up=0)


@pytest.mark.parametrize(
    "options",
    [
        {"up": 2, "padding": (2, 1, 2, 1), "gain": 4},
        {"down": 2, "padding": 1},
        {"up": 3, "down": 2, "padding": (4, -1, 0, 3)},
    ],
)
@pytest.mark.parametrize("taps", [[1.0, 3, 3, 1], [1.0, 7, 21, 35, 35, 21, 7, 1]])
def test_gradients_of_gradients_are_exact(options: dict[str, Any], taps: list[float]):
    x = torch.randn(1, 2, 5, 8, dtype=torch.float64, requires_grad=True)

    def squared(x: torch.Tensor) -> torch.Tensor:
        padded = torch.nn.functional.pad(x, (4, 4, 4, 4))
        return upfirdn2d(padded, fir_filter(taps), **options).pow(3)

    assert gradcheck(squared, (x,)) and gradgradcheck(squared, (x,))


def test_an_even_image_stays_even_away_from_the_border():
    even, f = torch.full((1, 2, 12, 12), 3.0), fir_filter([1, 3, 3, 1])
    for image in (upsample2d(even, f), downsample2d(even, f), filter2d(even, f)):
        torch.testing.assert_close(image[..., 2:-2, 2:-2], torch.full_like(image[..., 2:-2, 2:-2], 3.0))
    assert upsample2d(even, f).shape[2:] == (24, 24) and downsample2d(even, f).shape[2:] == (6, 6)
    assert filter2d(even, f).shape == even.shape


def test_an_upsampled_slope_keeps_its_places():
    """Values are at the centres of pixels: those of the larger image lie a quarter pixel beside."""
    columns = torch.arange(10.0).expand(1, 1, 10, 10)
    larger = upsample2d(columns, fir_filter([1, 3, 3, 1]))
    expected = (torch.arange(20.0) + 0.5) / 2 - 0.5
    torch.testing.assert_close(larger[0, 0, 4, 2:-2], expected[2:-2])
    smaller = downsample2d(columns, fir_filter([1, 3, 3, 1]))
    torch.testing.assert_close(smaller[0, 0, 2, 1:-1], (torch.arange(5.0) * 2 + 0.5)[1:-1])


def test_the_order_of_memory_is_kept():
    x = torch.randn(1, 4, 8, 8).contiguous(memory_format=torch.channels_last)
    for y in (upsample2d(x, fir_filter([1, 3, 3, 1])), downsample2d(x, fir_filter([1, 3, 3, 1]))):
        assert y.is_contiguous(memory_format=torch.channels_last)


def test_filters():
    assert fir_filter([1, 3, 3, 1]).shape == (4, 4)
    assert fir_filter(range(1, 9)).shape == (8,)
    assert float(fir_filter([1, 2], gain=4).sum()) == pytest.approx(4)
    long = fir_filter(range(1, 9), gain=4, flip=True)
    assert float(long.sum()) == pytest.approx(2) and long[0] > long[-1]
    for wrong in ([], [1, -1], [[[1.0]]]):
        with pytest.raises(ValueError, match="taps"):
            fir_filter(torch.tensor(wrong))


@QUICK
@given(case=cases(), last=st.booleans())
def test_gradients_equal_those_of_inserted_zeros(case: Any, last: bool):
    x, f, options = case
    assume(fits(x, f, options))
    x = (x.contiguous(memory_format=torch.channels_last) if last else x).requires_grad_()
    found = []
    for function in (upfirdn2d, upfirdn2d_reference):
        (first,) = torch.autograd.grad(function(x, f, **options).pow(3).sum(), x, create_graph=True)
        (second,) = torch.autograd.grad(first.square().sum(), x)
        found.append((first, second))
    for ours, plain in zip(*found, strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-10, atol=1e-10)
