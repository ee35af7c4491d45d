"""Shared edges: no hole, no pixel drawn twice, whatever the winding, the scale or the number of triangles."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.ops.meshes import QUAD

from lineament.ops import rasterize

SIZE = 24
WINDINGS = [[(0, 1, 2), (3, 2, 1)], [(0, 1, 2), (3, 1, 2)], [(0, 2, 1), (3, 2, 1)], [(0, 2, 1), (3, 1, 2)]]


def random_quads(count: int, dtype: torch.dtype) -> torch.Tensor:
    """Convex quads [count, 4, 3] around the image's centre; every other one with corners on a grid of 1/4 px."""
    generator = torch.Generator().manual_seed(0)
    angle = torch.tensor([3.9, 5.5, 2.4, 0.8]) + (torch.rand(count, 4, generator=generator) - 0.5) * 0.6
    radius = 9 + 3 * torch.rand(count, 4, generator=generator)
    xy = torch.stack([angle.cos(), angle.sin()], dim=-1) * radius[..., None] + (SIZE - 1) / 2
    xy[::2] = (xy[::2] * 4).round() / 4
    return torch.cat([xy, torch.ones(count, 4, 1)], dim=-1).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("winding", WINDINGS)
def test_thousand_quads_have_no_hole_and_no_overlap(dtype, winding):
    vertices = random_quads(1000, dtype)
    first, second = (
        rasterize(vertices, torch.tensor([corners], dtype=torch.int32), SIZE, SIZE) for corners in winding
    )
    both = rasterize(vertices, torch.tensor(winding, dtype=torch.int32), SIZE, SIZE) >= 0
    assert not bool(((first >= 0) & (second >= 0)).any()), "a pixel on the diagonal was drawn twice"
    assert torch.equal(both, (first >= 0) | (second >= 0))
    for row in both.flatten(0, 1).int():
        # A convex quad covers one run of pixels in each row; a hole on the diagonal would cut it in two.
        assert int((row.diff() == 1).sum()) + int(row[0]) <= 1


def test_the_other_diagonal_covers_the_same_pixels():
    vertices = random_quads(1000, torch.float32)
    other = torch.tensor([[0, 1, 3], [0, 3, 2]], dtype=torch.int32)
    assert torch.equal(
        rasterize(vertices, QUAD, SIZE, SIZE) >= 0, rasterize(vertices, other, SIZE, SIZE) >= 0
    )


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), scale=st.sampled_from([1.0, 1e3, 1e6, 1e9]), fan=st.integers(4, 12))
def test_fan_around_a_point_tiles_the_image(seed, scale, fan):
    # Three rays may stand almost half a turn apart: the far edge would then cut through the image.
    generator = torch.Generator().manual_seed(seed)
    middle = torch.rand(2, generator=generator) * SIZE
    turn = torch.arange(fan) / fan + torch.rand(fan, generator=generator) * 0.5 / fan
    ring = torch.stack([(turn * 6.283185).cos(), (turn * 6.283185).sin()], dim=1) * scale * 100 + middle
    vertices = torch.cat([torch.cat([middle[None], ring]), torch.ones(fan + 1, 1)], dim=1)[None]
    faces = torch.tensor([(0, 1 + k, 1 + (k + 1) % fan) for k in range(fan)], dtype=torch.int32)
    alone = sum((rasterize(vertices, face[None], SIZE, SIZE) >= 0).int() for face in faces)
    assert bool((alone == 1).all())
