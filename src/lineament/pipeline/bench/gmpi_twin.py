"""The plain twin of GMPI's generator: features of every plane are made, and every filter is a pass of its own.

It computes what the paper describes with the weights of a network of ours, in the usual order of memory.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lineament.methods.gmpi.alpha import side_columns, stretch_sides
from lineament.methods.gmpi.generator import GMPIGenerator
from lineament.methods.gmpi.multiplane_synthesis import MultiplaneBlock
from lineament.nn.stylegan2.bias_act import bias_act
from lineament.nn.stylegan2.modulation import modulated_conv2d
from lineament.nn.stylegan2.synthesis import SynthesisLayer, ToRGB, latents_of_blocks
from lineament.nn.upfirdn import upsample2d


def multiplane(network: GMPIGenerator, z: Tensor, depths: Tensor) -> Tensor:
    """Planes with their colours ``[B, P, 4, R, R]``, constant noise, for the variants with a vector for each plane."""
    planes = len(depths)
    ws = network.mapping(z)
    x = image = None
    blocks = network.synthesis.blocks
    for block, own in zip(blocks, latents_of_blocks(ws, blocks), strict=True):
        assert isinstance(block, MultiplaneBlock)
        if x is None:
            x = block.const[None].expand(len(z), -1, -1, -1)
        else:
            x = _layer(block.conv0, x, own[:, 0])
        for_layer, for_image = own[:, block.layers - 1], own[:, block.layers]
        x = _layer(block.conv1, x, for_layer)
        sides = side_columns(x.detach(), block.side)
        background = _to_image(block.torgb, stretch_sides(sides, block.resolution, block.side), for_image)
        colour = _to_image(block.torgb, x, for_image)
        alpha = _alphas(block, x, for_layer, for_image, depths)
        of_planes = torch.cat(
            [colour[:, None].expand(-1, planes - 1, -1, -1, -1), background[:, None]], dim=1
        )
        added = torch.cat([of_planes, alpha], dim=2).flatten(1, 2)
        image = added if image is None else upsample2d(image, block.f) + added
    assert image is not None
    full = ((image.tanh() + 1) / 2).unflatten(1, (planes, 4))
    if network.synthesis.background_alpha_full:
        full = torch.cat(
            [full[:, :-1], torch.cat([full[:, -1:, :3], torch.ones_like(full[:, -1:, 3:])], dim=2)], 1
        )
    return full


def _layer(layer: SynthesisLayer, x: Tensor, w: Tensor) -> Tensor:
    x = modulated_conv2d(
        x.contiguous(),
        layer.weight,
        layer.affine(w),
        noise=layer.noise_const * layer.noise_strength,
        f=layer.f,
        up=layer.up,
        padding=1,
        flip_weight=layer.up == 1,
        fused=True,
    )
    return bias_act(x, layer.bias, "lrelu", clamp=layer.clamp)


def _to_image(layer: ToRGB, x: Tensor, w: Tensor) -> Tensor:
    styles = layer.affine(w) * layer.weight.shape[1] ** -0.5
    weights = layer.weight[None] * styles[:, None, :, None, None]
    batch, channels, height, width = x.shape
    joined = x.reshape(1, batch * channels, height, width)
    joined = torch.conv2d(joined, weights.flatten(0, 1), groups=batch)
    return bias_act(joined.reshape(batch, -1, height, width), layer.bias, clamp=layer.clamp)


def _alphas(
    block: MultiplaneBlock, x: Tensor, for_layer: Tensor, for_image: Tensor, depths: Tensor
) -> Tensor:
    """``[B, P, 1, H, W]`` from ``[B P, C, H, W]``; zeros where the block makes none."""
    if block.toalpha is None or block.plane_embedding is None:
        return x.new_zeros(len(x), len(depths), 1, *x.shape[2:])
    std = (x.var(dim=(2, 3), keepdim=True) + 1e-8).sqrt()
    normalised = (x - x.mean(dim=(2, 3), keepdim=True)) / (std + 1e-8)
    vectors = block.plane_embedding(for_layer, depths)
    per_plane = (normalised[:, None] + vectors[..., None, None]).flatten(0, 1)
    alpha = _to_image(block.toalpha, per_plane, for_image.repeat_interleave(len(depths), dim=0))
    return alpha.unflatten(0, (len(x), len(depths)))
