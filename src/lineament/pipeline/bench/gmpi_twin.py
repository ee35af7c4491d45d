"""The plain twin of GMPI's generator: features of every plane are made, and every filter is a pass of its own.

It computes what the paper describes with the weights of a network of ours, in the usual order of memory.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from lineament.methods.gmpi.alpha import side_columns, stretch_sides
from lineament.methods.gmpi.generator import GMPIGenerator
from lineament.methods.gmpi.multiplane_synthesis import MultiplaneBlock
from lineament.nn.stylegan2.bias_act import bias_act_reference
from lineament.nn.stylegan2.synthesis import SynthesisLayer, ToRGB, latents_of_blocks


def multiplane(
    network: GMPIGenerator, z: Tensor, depths: Tensor, *, fused: bool = True, noise_mode: str = "const"
) -> Tensor:
    """Planes with their colours, for the variants with a vector for each plane.

    Args:
        network: Whose weights are used.
        z: ``[B, z_dim]``.
        depths: ``[P]`` normalised.
        fused: Scale weights, with a group of a grouped convolution for each sample, as the published program does when
            it does not train; else scale maps.
        noise_mode: ``"const"``, ``"random"`` or ``"none"``.

    Returns:
        ``[B, P, 4, R, R]``.
    """
    planes = len(depths)
    ws = network.mapping(z)
    x = image = None
    blocks = network.synthesis.blocks
    for block, own in zip(blocks, latents_of_blocks(ws, blocks), strict=True):
        assert isinstance(block, MultiplaneBlock)
        if x is None:
            x = block.const[None].expand(len(z), -1, -1, -1)
        else:
            x = _layer(block.conv0, x, own[:, 0], fused, noise_mode)
        for_layer, for_image = own[:, block.layers - 1], own[:, block.layers]
        x = _layer(block.conv1, x, for_layer, fused, noise_mode)
        sides = side_columns(x.detach(), block.side)
        background = _to_image(block.torgb, stretch_sides(sides, block.resolution, block.side), for_image)
        colour = _to_image(block.torgb, x, for_image)
        alpha = _alphas(block, x, for_layer, for_image, depths)
        added = torch.cat([colour, background, alpha], dim=1)
        image = added if image is None else filtered(image, block.f, up=2, padding=(2, 1), gain=4) + added
    assert image is not None
    image = (image.tanh() + 1) / 2
    colours = [image[:, None, :3].expand(-1, planes - 1, -1, -1, -1), image[:, None, 3:6]]
    full = torch.cat([torch.cat(colours, dim=1), image[:, 6:, None]], dim=2)
    if network.synthesis.background_alpha_full:
        full = torch.cat(
            [full[:, :-1], torch.cat([full[:, -1:, :3], torch.ones_like(full[:, -1:, 3:])], dim=2)], 1
        )
    return full


def filtered(
    x: Tensor, f: Tensor, *, up: int = 1, down: int = 1, padding: tuple[int, int] = (0, 0), gain: float = 1.0
) -> Tensor:
    """Insert zeros, pad both axes alike, filter each channel by ``f [T, T]`` (symmetric), drop values."""
    batch, channels, height, width = x.shape
    if up > 1:
        x = F.pad(x.reshape(batch, channels, height, 1, width, 1), (0, up - 1, 0, 0, 0, up - 1))
        x = x.reshape(batch, channels, height * up, width * up)
    x = F.pad(x, (*padding, *padding))
    x = F.conv2d(x, (f * gain).expand(channels, 1, -1, -1), groups=channels)
    return x[:, :, ::down, ::down]


def _layer(layer: SynthesisLayer, x: Tensor, w: Tensor, fused: bool, noise_mode: str) -> Tensor:
    styles, weight, batch = layer.affine(w), layer.weight, len(x)
    noise = 0 if noise_mode == "none" else layer.noise_const * layer.noise_strength
    if noise_mode == "random":
        noise = torch.randn(batch, 1, *layer.noise_const.shape).to(x) * layer.noise_strength
    scaled = weight[None] * styles[:, None, :, None, None]
    factors = (scaled.square().sum(dim=(2, 3, 4)) + 1e-8).rsqrt()
    if fused:
        scaled = (scaled * factors[..., None, None, None]).flatten(0, 1)
        x = _resampled(layer, x.reshape(1, -1, *x.shape[2:]), scaled, batch)
        x = x.reshape(batch, -1, *x.shape[2:]) + noise
    else:
        x = _resampled(layer, x * styles[..., None, None], weight, 1) * factors[..., None, None] + noise
    return bias_act_reference(x, layer.bias, "lrelu", clamp=layer.clamp)


def _resampled(layer: SynthesisLayer, x: Tensor, weight: Tensor, groups: int) -> Tensor:
    if layer.up == 1:
        return F.conv2d(x, weight, padding=1, groups=groups)
    turned = weight.unflatten(0, (groups, -1)).transpose(1, 2).flatten(0, 1)
    x = F.conv_transpose2d(x, turned, stride=2, groups=groups)
    return filtered(x, layer.f, padding=(1, 1), gain=4)


def _to_image(layer: ToRGB, x: Tensor, w: Tensor) -> Tensor:
    styles = layer.affine(w) * layer.weight.shape[1] ** -0.5
    weights = layer.weight[None] * styles[:, None, :, None, None]
    batch, channels, height, width = x.shape
    joined = x.reshape(1, batch * channels, height, width)
    joined = torch.conv2d(joined, weights.flatten(0, 1), groups=batch)
    return bias_act_reference(joined.reshape(batch, -1, height, width), layer.bias, clamp=layer.clamp)


def _alphas(
    block: MultiplaneBlock, x: Tensor, for_layer: Tensor, for_image: Tensor, depths: Tensor
) -> Tensor:
    """``[B, P, H, W]`` from ``[B P, C, H, W]``; zeros where the block makes none."""
    if block.toalpha is None or block.plane_embedding is None:
        return x.new_zeros(len(x), len(depths), *x.shape[2:])
    std = (x.var(dim=(2, 3), keepdim=True) + 1e-8).sqrt()
    normalised = (x - x.mean(dim=(2, 3), keepdim=True)) / (std + 1e-8)
    vectors = block.plane_embedding(for_layer, depths)
    per_plane = (normalised[:, None] + vectors[..., None, None]).flatten(0, 1)
    alpha = _to_image(block.toalpha, per_plane, for_image.repeat_interleave(len(depths), dim=0))
    return alpha.reshape(len(x), len(depths), *x.shape[2:])
