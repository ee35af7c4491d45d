"""The one pass of bias, rectifier, gain and clamp beside one function of torch after the other."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lineament.nn.stylegan2.bias_act import bias_act, bias_act_reference

OPTIONS: list[dict[str, Any]] = [
    {"activation": "lrelu"},
    {"activation": "lrelu", "clamp": 0.8},
    {"activation": "lrelu", "gain": 0.7, "clamp": 0.5},
    {"activation": "linear", "gain": 0.5},
    {"activation": "linear", "clamp": 1.1},
]


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("threads", [1, 2])
def test_values_and_gradients_of_gradients(options: Any, with_bias: bool, last: bool, threads: int):
    draws = torch.Generator().manual_seed(1)
    order = torch.channels_last if last else torch.contiguous_format
    x = torch.randn(3, 5, 64, 48, generator=draws).contiguous(memory_format=order).requires_grad_()
    bias = torch.randn(5, generator=draws).requires_grad_() if with_bias else None
    leaves = [x] if bias is None else [x, bias]
    found, before = [], torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for function in (bias_act, bias_act_reference):
            y = function(x, bias, **options)
            assert y.is_contiguous(memory_format=order)
            first = torch.autograd.grad(y.square().mean() * 50, leaves, create_graph=True)
            # The second order goes through the rectifier's slope, and through the results that were squared.
            second = torch.autograd.grad((first[0].square() * x).sum(), leaves)
            found.append((y, *first, *second))
    finally:
        torch.set_num_threads(before)
    for ours, plain in zip(*found, strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("last", [False, True])
def test_values_without_gradients(options: Any, with_bias: bool, last: bool):
    draws = torch.Generator().manual_seed(2)
    order = torch.channels_last if last else torch.contiguous_format
    x = torch.randn(2, 5, 8, 6, generator=draws).contiguous(memory_format=order)
    bias = torch.randn(5, generator=draws, requires_grad=True) if with_bias else None
    kept = x.clone()
    with torch.no_grad():
        y = bias_act(x, bias, **options)
        torch.testing.assert_close(y, bias_act_reference(x, bias, **options))
    assert y.is_contiguous(memory_format=order) and not y.requires_grad and torch.equal(x, kept)


def test_what_is_no_number_stays_one():
    x = torch.tensor([torch.nan, torch.inf, -torch.inf, 0.0]).view(1, 1, 2, 2)
    for learns in (False, True):
        y = bias_act(x.clone().requires_grad_(learns), None, "lrelu", clamp=3.0).detach().flatten()
        assert y.isnan().tolist() == [True, False, False, False]
        assert y[1:].tolist() == [3.0, -3.0, 0.0]


def test_it_takes_maps_in_any_order_and_of_no_size():
    x = torch.randn(2, 4, 6, 3).permute(0, 2, 1, 3)
    torch.testing.assert_close(bias_act(x, activation="lrelu"), bias_act_reference(x, activation="lrelu"))
    x.requires_grad_()
    torch.testing.assert_close(bias_act(x, activation="lrelu"), bias_act_reference(x, activation="lrelu"))
    empty = torch.randn(0, 3, 4, 4, requires_grad=True)
    assert bias_act(empty, torch.zeros(3), "lrelu").shape == (0, 3, 4, 4)
