"""Modulated convolution: a sample's styles scale the input channels of the weights, demodulation the output's.

``w'[b, o, i] = w[o, i] s[b, i]``, then ``w' rsqrt(sum over i and the kernel of w'^2 + 1e-8)`` (Karras et
al. 2020, 2.2).
A convolution is linear, so scaling the maps before it and behind it is the same as scaling the weights.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lineament.nn.stylegan2.convolution import conv2d_resample

_EPSILON = 1e-8


def modulated_conv2d(
    x: Tensor,
    weight: Tensor,
    styles: Tensor,
    *,
    noise: Tensor | None = None,
    f: Tensor | None = None,
    up: int = 1,
    padding: int = 0,
    demodulate: bool = True,
    flip_weight: bool = True,
    fused: bool | None = None,
) -> Tensor:
    """Convolve each sample with the weights times its styles.

    Args:
        x: ``[B, I, H, W]``; in float16 weights and styles are first brought to a largest value of 1, which
            demodulation undoes.
        weight: ``[O, I, k, k]``, in the precision it is learnt in.
        styles: ``[B, I]``.
        noise: Added at the end; to be broadcast to the output.
        f: FIR filter for upsampling.
        up: Factor of upsampling.
        padding: As in :func:`conv2d_resample`.
        demodulate: Bring the scaled weights of each output channel to norm 1.
        flip_weight: As in :func:`conv2d_resample`.
        fused: True scales the weights, one group of a grouped convolution for each sample; False scales the maps; None
            takes what is faster: the maps, but for one sample whose weights are fewer than their values. (Grouped
            convolutions are slower wherever we measured them: on CPUs, 1.1 to 18 times.)

    Returns:
        ``[B, O, H up, W up]`` in the precision of x.
    """
    if x.dtype == torch.float16 and demodulate:
        weight = weight / weight.abs().amax(dim=(1, 2, 3), keepdim=True) / weight[0].numel() ** 0.5
        styles = styles / styles.abs().amax(dim=1, keepdim=True)
    if fused is None:
        fused = len(x) == 1 and weight.numel() <= x.numel()
    if weight.shape[2:] == (1, 1) and up == 1 and not demodulate and padding == 0:
        out = pointwise(x, (weight[None, :, :, 0, 0] * styles[:, None]).to(x.dtype))
        return out if noise is None else out + noise.to(x.dtype)
    convolve = _scaled_weights if fused else _scaled_maps
    return convolve(x, weight, styles, noise, f, up, padding, demodulate, flip_weight)


def _scaled_maps(
    x: Tensor,
    weight: Tensor,
    styles: Tensor,
    noise: Tensor | None,
    f: Tensor | None,
    up: int,
    padding: int,
    demodulate: bool,
    flip_weight: bool,
) -> Tensor:
    dtype = x.dtype
    x = x * styles.to(dtype)[:, :, None, None]
    x = conv2d_resample(x, weight.to(dtype), f, up=up, padding=padding, flip_weight=flip_weight)
    if not demodulate:
        return x if noise is None else x + noise.to(dtype)
    norms = styles.square() @ weight.square().sum(dim=(2, 3)).T
    factors = (norms + _EPSILON).rsqrt().to(dtype)[:, :, None, None]
    return x * factors if noise is None else torch.addcmul(noise.to(dtype), x, factors)


def _scaled_weights(
    x: Tensor,
    weight: Tensor,
    styles: Tensor,
    noise: Tensor | None,
    f: Tensor | None,
    up: int,
    padding: int,
    demodulate: bool,
    flip_weight: bool,
) -> Tensor:
    batch, inputs, height, width = x.shape
    scaled = weight[None] * styles[:, None, :, None, None]
    if demodulate:
        scaled = scaled * (scaled.square().sum(dim=(2, 3, 4), keepdim=True) + _EPSILON).rsqrt()
    scaled = scaled.flatten(0, 1).to(x.dtype)
    joined = x if batch == 1 else x.reshape(1, batch * inputs, height, width)
    joined = conv2d_resample(joined, scaled, f, up=up, padding=padding, flip_weight=flip_weight, groups=batch)
    x = joined if batch == 1 else joined.reshape(batch, -1, *joined.shape[2:])
    return x if noise is None else x + noise.to(x.dtype)


def pointwise(x: Tensor, weights: Tensor) -> Tensor:
    """A 1x1 convolution with weights of each sample.

    Args:
        x: ``[B, I, H, W]``.
        weights: ``[B, O, I]``.

    Returns:
        ``[B, O, H, W]`` in the order of memory of x.
    """
    height, width = x.shape[2:]
    if x.is_contiguous():
        return torch.bmm(weights, x.flatten(2)).unflatten(2, (height, width))
    pixels = x.permute(0, 2, 3, 1).flatten(1, 2)
    return torch.bmm(pixels, weights.transpose(1, 2)).unflatten(1, (height, width)).permute(0, 3, 1, 2)
