"""Blocks of StyleGAN2 against their definitions."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck, gradgradcheck

from lineament.nn.stylegan2.bias_act import bias_act
from lineament.nn.stylegan2.convolution import conv2d_resample, conv2d_resample_reference
from lineament.nn.stylegan2.layers import EqualizedConv2d, EqualizedLinear, minibatch_std
from lineament.nn.stylegan2.mapping import MappingNetwork
from lineament.nn.stylegan2.modulation import modulated_conv2d
from lineament.nn.upfirdn import TAPS, fir_filter

FILTER = fir_filter(TAPS)


def drawn(seed: int, *shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 1000),
    kernel=st.sampled_from([1, 3, 5]),
    factor=st.sampled_from([("up", 1), ("up", 2), ("up", 3), ("down", 2), ("down", 3)]),
    extra=st.integers(0, 1),
    flip=st.booleans(),
    groups=st.sampled_from([1, 2]),
    taps=st.sampled_from([TAPS, (1.0, 2.0), (1.0, 2.0, 4.0, 2.0, 1.0, 0.5)]),
)
def test_convolution_with_resampling_equals_inserted_zeros(seed, kernel, factor, extra, flip, groups, taps):
    x, weight = drawn(seed, 2, 4, 9, 7), drawn(seed + 1, 6, 4 // groups, kernel, kernel)
    options = {factor[0]: factor[1], "padding": kernel // 2 + extra, "flip_weight": flip, "groups": groups}
    expected = conv2d_resample_reference(x, weight, fir_filter(taps), **options)
    seen = conv2d_resample(x, weight, fir_filter(taps), **options)
    torch.testing.assert_close(seen, expected, rtol=1e-11, atol=1e-11)


def test_resampling_needs_a_filter_and_one_direction():
    x, weight = torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 3, 3)
    with pytest.raises(ValueError, match="not both"):
        conv2d_resample(x, weight, FILTER, up=2, down=2)
    with pytest.raises(ValueError, match="filter"):
        conv2d_resample(x, weight, up=2)


@pytest.mark.parametrize("fused", [False, True, None])
@pytest.mark.parametrize(("kernel", "up", "demodulate"), [(3, 1, True), (3, 2, True), (1, 1, False)])
def test_modulation_equals_a_convolution_of_each_sample(fused, kernel, up, demodulate):
    x, weight, styles = drawn(0, 3, 4, 5, 6), drawn(1, 2, 4, kernel, kernel), drawn(2, 3, 4)
    noise = drawn(3, 3, 1, 5 * up, 6 * up)
    expected = []
    for sample in range(len(x)):
        own = weight * styles[sample][None, :, None, None]
        if demodulate:
            own = own / (own.square().sum(dim=(1, 2, 3), keepdim=True) + 1e-8).sqrt()
        made = conv2d_resample_reference(x[sample : sample + 1], own, FILTER, up=up, padding=kernel // 2)
        expected.append(made + noise[sample : sample + 1])
    options = {"noise": noise, "f": FILTER, "up": up, "padding": kernel // 2, "demodulate": demodulate}
    for inputs in (x, x.contiguous(memory_format=torch.channels_last)):
        seen = modulated_conv2d(inputs, weight, styles, fused=fused, **options)
        torch.testing.assert_close(seen, torch.cat(expected), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("up", [1, 2])
def test_gradients_of_gradients_of_modulation_are_exact(fused, up):
    leaves = [each.requires_grad_() for each in (drawn(0, 2, 2, 3, 3), drawn(1, 2, 2, 3, 3), drawn(2, 2, 2))]

    def convolve(x, weight, styles):
        y = modulated_conv2d(x, weight, styles, f=FILTER, up=up, padding=1, flip_weight=up == 1, fused=fused)
        return bias_act(y, None, "lrelu", clamp=50.0)

    assert gradcheck(convolve, leaves) and gradgradcheck(convolve, leaves)


def test_half_precision_is_normalised_before_it_can_overflow():
    x, weight, styles = (
        drawn(n, *s, dtype=torch.float32) for n, s in enumerate([(2, 64, 8, 8), (8, 64, 3, 3), (2, 64)])
    )
    exact = modulated_conv2d(x, weight * 1e3, styles * 300, padding=1)
    half = modulated_conv2d(x.half(), weight * 1e3, styles * 300, padding=1)
    assert half.dtype == torch.float16
    torch.testing.assert_close(half.float(), exact, rtol=0, atol=1e-2)
    bf16 = modulated_conv2d(x.bfloat16(), weight * 1e3, styles * 300, padding=1)
    torch.testing.assert_close(bf16.float(), exact, rtol=0, atol=8e-2)


def test_bias_act_is_what_it_says():
    x, bias = drawn(0, 2, 3, 4), torch.tensor([1.0, -2.0, 0.5]).double()
    seen = bias_act(x, bias, "lrelu", gain=0.7, clamp=0.9)
    expected = (F.leaky_relu(x + bias[:, None], 0.2) * 0.7).clamp(-0.9, 0.9)
    torch.testing.assert_close(seen, expected)
    torch.testing.assert_close(bias_act(x), x)
    torch.testing.assert_close(bias_act(x, activation="lrelu"), F.leaky_relu(x, 0.2) * 2**0.5)


@pytest.mark.parametrize(("group", "channels"), [(None, 1), (2, 1), (3, 2), (8, 1)])
def test_minibatch_std_equals_a_loop(group, channels):
    x = drawn(0, 6, 4, 2, 3)
    size = min(group or 6, 6)
    groups = 6 // size
    seen = minibatch_std(x, group, channels)
    assert torch.equal(seen[:, :4], x) and seen.shape == (6, 4 + channels, 2, 3)
    for sample in range(6):
        members = x[[n for n in range(6) if n % groups == sample % groups]]
        for number, part in enumerate(members.chunk(channels, dim=1)):
            expected = (part.var(dim=0, correction=0) + 1e-8).sqrt().mean()
            torch.testing.assert_close(seen[sample, 4 + number], expected.expand(2, 3))


def test_a_group_of_one_appends_a_constant():
    appended = minibatch_std(drawn(0, 3, 2, 4, 4), 1)[:, 2:]
    torch.testing.assert_close(appended, torch.full_like(appended, 1e-4))
    with pytest.raises(ValueError, match="divide"):
        minibatch_std(drawn(0, 3, 2, 4, 4), 2)


@torch.no_grad()
def test_equalised_layers_keep_the_second_moment():
    linear, convolution = EqualizedLinear(256, 256, lr_mul=0.01), EqualizedConv2d(64, 64, 3)
    x, image = drawn(0, 64, 256, dtype=torch.float32), drawn(1, 1, 64, 32, 32, dtype=torch.float32)
    assert float(linear(x).square().mean()) == pytest.approx(1, abs=0.1)
    assert float(convolution(image)[..., 1:-1, 1:-1].square().mean()) == pytest.approx(1, abs=0.15)
    assert float(linear.weight.std()) == pytest.approx(100, rel=0.05)
    biased = EqualizedLinear(4, 2, lr_mul=0.5, bias_init=3.0)
    torch.testing.assert_close(biased(torch.zeros(1, 4)), torch.full((1, 2), 1.5))


def test_the_gain_of_a_layer_scales_its_clamp():
    layer = EqualizedConv2d(2, 3, 3, activation="lrelu", clamp=0.5, down=2)
    x = drawn(0, 1, 2, 8, 8, dtype=torch.float32) * 10
    torch.testing.assert_close(layer(x, 0.5), layer(x) * 0.5)
    assert float(layer(x, 0.5).detach().abs().max()) == pytest.approx(0.25)


def test_truncation_moves_towards_the_running_mean():
    network = MappingNetwork(8, 6, 5, layers=2)
    z = drawn(0, 4, 8, dtype=torch.float32)
    w = network(z)[:, 0]
    torch.testing.assert_close(network.w_avg, 0.005 * w.mean(dim=0))
    network.eval()
    kept = network.w_avg.clone()
    torch.testing.assert_close(network(z, 0.0), kept.expand(4, 5, 6))
    torch.testing.assert_close(network(z, 0.25)[:, 2], kept + 0.25 * (w - kept))
    partly = network(z, 0.25, 2)
    torch.testing.assert_close(partly[:, 2:], w[:, None].expand(-1, 3, -1))
    torch.testing.assert_close(partly[:, :2], network(z, 0.25)[:, :2])
    assert torch.equal(network.w_avg, kept)
