"""Small meshes that several tests draw."""

from __future__ import annotations

import torch
from torch import Tensor

TRIANGLE = torch.tensor([[0, 1, 2]], dtype=torch.int32)
QUAD = torch.tensor(
    [[0, 1, 2], [3, 2, 1]], dtype=torch.int32
)  # corners: top left, top right, bottom left, bottom right


def points(*rows: tuple[float, float, float]) -> Tensor:
    """One view [1, V, 3]."""
    return torch.tensor([rows], dtype=torch.float32)


def quad(low: float, high: float, z: float = 1.0) -> Tensor:
    """An upright square [1, 4, 3]."""
    return points((low, low, z), (high, low, z), (low, high, z), (high, high, z))


def soup(seed: int, count: int = 60, size: float = 50.0, views: int = 2) -> tuple[Tensor, Tensor]:
    """Random triangles of random size that overlap, intersect and leave the image on all sides."""
    generator = torch.Generator().manual_seed(seed)
    vertices = torch.rand(views, count, 3, generator=generator) * torch.tensor([size, size, 3.0])
    faces = torch.randint(0, count, (count + count // 2, 3), generator=generator, dtype=torch.int32)
    return vertices + torch.tensor([-0.1 * size, -0.1 * size, 1.0]), faces


def cosine(a: Tensor, b: Tensor) -> float:
    """Cosine between two tensors seen as vectors."""
    return float(torch.nn.functional.cosine_similarity(a.flatten().double(), b.flatten().double(), dim=0))


def relative_error(a: Tensor, b: Tensor) -> float:
    """Norm of the difference over the norm of ``b``."""
    return float((a.double() - b.double()).norm() / b.double().norm())
