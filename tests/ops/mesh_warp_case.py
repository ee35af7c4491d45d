"""A folded mesh over a small picture, drawn with one implementation and saved.

Usage: ``python -m tests.ops.mesh_warp_case IMPL FILE``. A program of its own, because the CUDA simulator must be chosen
before numba is imported.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import Tensor

from lineament.ops import mesh_warp


def case(seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Two views of 14 random triangles that overlap and leave both pictures; one is flat."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.rand(2, 3, 17, 19, generator=generator)
    source = torch.rand(2, 15, 2, generator=generator) * 30 - 6
    target = torch.rand(2, 15, 2, generator=generator) * torch.tensor([44.0, 32.0]) - 3
    triangles = torch.randint(0, 15, (13, 3), generator=generator, dtype=torch.int32)
    return image, source, target, torch.cat([torch.tensor([[2, 2, 5]], dtype=torch.int32), triangles])


def run(impl: str, device: str = "cpu") -> list[Tensor]:
    """Picture and ids."""
    image, source, target, triangles = (tensor.to(device) for tensor in case(5))
    found = mesh_warp(image, source / 2, target / 3, triangles, 11, 13, impl=impl)
    return [tensor.cpu() for tensor in found]


if __name__ == "__main__":
    torch.save(run(sys.argv[1]), Path(sys.argv[2]))
