"""Convolutions with derivatives of their own beside torch's."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import grad

from lineament.nn.convolution import convolve

CASES = [
    {"stride": 1, "padding": 1},
    {"stride": 2, "padding": 0},
    {"stride": 2, "padding": 1},
    {"stride": 2, "padding": 0, "transposed": True},
    {"stride": 1, "padding": 2, "transposed": True},
]


def plain(x: torch.Tensor, weight: torch.Tensor, stride: int, padding: int, transposed: bool = False):
    if transposed:
        return torch.conv_transpose2d(x, weight, None, stride, padding)
    return torch.conv2d(x, weight, None, stride, padding)


@pytest.mark.parametrize("options", CASES)
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("channels", [3, 96])
def test_values_and_three_orders_of_derivatives_are_torchs(
    options: dict[str, int], last: bool, channels: int
):
    """96 channels have weights so large that their gradient takes another path."""
    draws = torch.Generator().manual_seed(0)
    order = torch.channels_last if last else torch.contiguous_format
    shapes = (2, channels, 6, 5), (channels, channels, 3, 3)
    leaves = [torch.randn(s, generator=draws, dtype=torch.float64).requires_grad_() for s in shapes]
    found = []
    for function in (convolve, plain):
        x, weight = leaves
        y = function(x.contiguous(memory_format=order), weight, **options)
        cotangent = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view_as(y)
        first = grad((y.square() * cotangent).sum(), leaves, create_graph=True)
        second = grad(sum(each.square().sum() for each in first), leaves, create_graph=True)
        third = grad(sum(each.square().sum() for each in second), leaves)
        found.append([y, *first, *second, *third])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9 * float(theirs.detach().abs().max()))


def test_what_needs_no_gradient_gets_none():
    x = torch.randn(1, 2, 5, 5, requires_grad=True)
    weight = torch.randn(3, 2, 3, 3)
    convolve(x, weight, padding=1).sum().backward()
    assert x.grad is not None and weight.grad is None
    assert not convolve(x.detach(), weight, padding=1).requires_grad


def test_groups_and_mixed_precision_are_left_to_torch():
    x, weight = torch.randn(2, 4, 6, 6), torch.randn(6, 2, 3, 3, requires_grad=True)
    torch.testing.assert_close(
        convolve(x, weight, padding=1, groups=2), torch.conv2d(x, weight, None, 1, 1, 1, 2)
    )
    with torch.autocast("cpu", torch.bfloat16):
        assert convolve(x[:, :2], weight, padding=1).dtype == torch.bfloat16
