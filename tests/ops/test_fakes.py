"""What `torch.compile` and `torch.export` are told about each op: the shapes and types of what it really returns."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

import lineament.ops  # noqa: F401  (registers the ops)

GENERATOR = torch.Generator().manual_seed(0)
# No two sizes alike: views, vertices, faces, channels, texture, picture.
N, V, F, C, TALL, WIDE, H, W = 2, 5, 4, 6, 9, 11, 7, 13


def drawn(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=GENERATOR)


FACES = torch.tensor([[[0, 1, 2], [1, 2, 3], [2, 3, 4], [0, 2, 4]]], dtype=torch.int32)
VERTICES = torch.cat([14 * drawn(N, V, 2), 1 + drawn(N, V, 1)], 2)
INDEX = torch.randint(-1, F, (N, H, W), generator=GENERATOR, dtype=torch.int32)
BARY, IMAGE = drawn(N, 3, H, W), drawn(N, C, H, W)
# Descriptors: queries, auxiliary vectors and targets of different numbers.
QUERIES, OTHER, TARGETS = drawn(N, C, 7), drawn(N, C, 10), drawn(N, C, 12)
PLACES, GRID_XY = drawn(N, 7, 2), drawn(12, 2)
ROWS = drawn(N, 7) + 0.5
TEXTURE = (TALL, WIDE, 1, False, "border", "reference")

# Two views of each of N images with as many planes as faces.
MPI = (
    drawn(N, F, TALL, WIDE),
    drawn(N, 1, 3, TALL, WIDE),
    (1 + torch.arange(F).double())[:, None] * torch.ones(3),
    torch.zeros(2 * N, 3).double(),
    torch.eye(3).double().expand(2 * N, 3, 3).contiguous(),
)

CALLS: dict[str, tuple[Any, ...]] = {
    "rasterize": (VERTICES, FACES, H, W, "reference"),
    "barycentrics": (VERTICES, FACES, INDEX, "reference"),
    "barycentrics_backward": (drawn(N, H, W), BARY, VERTICES, FACES, INDEX, "reference"),
    "interpolate": (drawn(N, V, C), FACES, INDEX, BARY, "reference"),
    "interpolate_backward": (IMAGE, drawn(N, V, C), FACES, INDEX, BARY, "reference"),
    "edge_gradient": (VERTICES, FACES, BARY, IMAGE, INDEX, False, "reference"),
    "edge_gradient_backward": (IMAGE, VERTICES, FACES, BARY, IMAGE, INDEX, False, "reference"),
    "sample_texture": (drawn(N, C, TALL * WIDE), drawn(N, 2, H, W), None, *TEXTURE),
    "sample_texture_backward": (IMAGE, drawn(N, C, TALL * WIDE), drawn(N, 2, H, W), None, *TEXTURE),
    "mesh_warp": (
        drawn(N, 3, TALL, WIDE),
        drawn(N, V, 2).double(),
        drawn(N, V, 2).double(),
        FACES[0],
        H,
        W,
        "zeros",
        "reference",
    ),
    "mpi_composite": (*MPI, H, W, False, 0.0, "reference"),
    "mpi_composite_backward": (
        drawn(2 * N, 3, H, W),
        drawn(2 * N, H, W),
        drawn(2 * N, H, W),
        *MPI,
        False,
        0.0,
        "reference",
    ),
    "reconstruct": (QUERIES, OTHER, "torch"),
    "reconstruct_backward": (drawn(N, C, 7), QUERIES, OTHER, drawn(N, C, 7), ROWS, ROWS, "torch"),
    "expected_distance": (QUERIES, TARGETS, PLACES, GRID_XY, 0.5, "torch"),
    "expected_distance_backward": (
        drawn(N, 7),
        QUERIES,
        TARGETS,
        PLACES,
        GRID_XY,
        ROWS,
        ROWS,
        ROWS,
        0.5,
        "torch",
    ),
    "mean_loss": (QUERIES, OTHER, TARGETS, PLACES, GRID_XY, 0.5, "torch"),
}


def described(results: Any) -> list[tuple[tuple[int, ...], torch.dtype, tuple[int, ...]]]:
    tensors = results if isinstance(results, tuple | list) else [results]
    return [(tuple(each.shape), each.dtype, each.stride()) for each in tensors]


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("double", [False, True])
def test_the_fake_has_the_shapes_types_and_strides_of_the_op(name: str, double: bool):
    op = getattr(torch.ops.lineament, name).default
    arguments = [
        a.double() if double and isinstance(a, Tensor) and a.is_floating_point() else a for a in CALLS[name]
    ]
    real = described(op(*arguments))
    mode = FakeTensorMode()
    faked = [mode.from_tensor(a) if isinstance(a, Tensor) else a for a in arguments]
    with mode:
        assert described(op(*faked)) == real


def test_without_exchange_there_is_no_gradient_of_the_auxiliary():
    arguments = (QUERIES, None, TARGETS, PLACES, GRID_XY, 0.5, "torch")
    op = torch.ops.lineament.mean_loss.default
    mode = FakeTensorMode()
    faked = [mode.from_tensor(a) if isinstance(a, Tensor) else a for a in arguments]
    real = described(op(*arguments))
    with mode:
        assert described(op(*faked)) == real


def test_every_op_is_among_them():
    names = {
        schema.name.removeprefix("lineament::")
        for schema in torch._C._jit_get_all_schemas()
        if schema.name.startswith("lineament::")
    }
    assert names == set(CALLS)
