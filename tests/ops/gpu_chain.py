"""Runs every op on a small scene with one implementation and saves outputs and gradients.

Usage: ``python gpu_chain.py IMPL FILE``. A program of its own, because the CUDA simulator must be chosen before numba
is imported.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import Tensor

from lineament.ops import barycentrics, edge_gradient, interpolate, rasterize_with_depth, sample_texture

HEIGHT, WIDTH = 11, 13


def scene() -> tuple[Tensor, Tensor]:
    """Overlapping and intersecting triangles, one larger than what a single GPU thread draws, two dropped."""
    generator = torch.Generator().manual_seed(5)
    vertices = torch.rand(2, 12, 3, generator=generator) * torch.tensor([14.0, 12.0, 3.0]) + torch.tensor(
        [-1.0, -1, 1]
    )
    vertices[:, 0], vertices[:, 1] = torch.tensor([-40.0, -40, 3]), torch.tensor([60.0, -20, 3])
    vertices[:, 2], vertices[:, 3, 2] = torch.tensor([-10.0, 90, 3]), -1
    faces = torch.randint(3, 12, (12, 3), generator=generator, dtype=torch.int32)
    return vertices, torch.cat([torch.tensor([[0, 1, 2], [4, 4, 5], [3, 4, 5]], dtype=torch.int32), faces])


def run(impl: str, device: str = "cpu") -> list[Tensor]:
    """Index, depth, barycentrics, image, texture lookups and all gradients."""
    generator = torch.Generator().manual_seed(6)
    vertices, faces = (tensor.to(device) for tensor in scene())
    attributes = torch.rand(2, 12, 2, generator=generator).to(device).requires_grad_()
    texture = torch.rand(1, 2, 6, 5, generator=generator).to(device).requires_grad_()
    vertices.requires_grad_()
    index, nearest = rasterize_with_depth(vertices, faces, HEIGHT, WIDTH, impl=impl)
    depth, bary = barycentrics(vertices, faces, index, impl=impl)
    uv = interpolate(attributes, faces, index, bary, impl=impl)
    derivative = torch.full((2, 2, 2, HEIGHT, WIDTH), 0.3, device=device)
    plain = sample_texture(texture, uv, align_corners=True, padding="zeros", impl=impl)
    mipped = sample_texture(texture, uv, align_corners=False, uv_derivative=derivative, impl=impl)
    inner = plain.square().sum() + mipped.square().sum() + depth.sum()
    gradients = list(torch.autograd.grad(inner, (vertices, attributes, texture)))
    values = torch.rand(2, 3, HEIGHT, WIDTH, generator=generator).to(device)
    for flat in (False, True):
        outer = edge_gradient(vertices, faces, bary.detach(), values, index, flat=flat, impl=impl)
        gradients += torch.autograd.grad(outer.square().sum(), vertices)
    outputs = [index, nearest, depth, bary, uv, plain, mipped]
    return [tensor.detach().cpu() for tensor in (*outputs, *gradients)]


if __name__ == "__main__":
    torch.save(run(sys.argv[1]), Path(sys.argv[2]))
