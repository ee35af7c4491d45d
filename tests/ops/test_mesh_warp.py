"""`mesh_warp`: closed-form pictures, painting order, wrap, twins, simulated GPU, bad arguments."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tests.ops.mesh_warp_case import case, run
from torch import Tensor

from lineament.errors import DataError, UsageError
from lineament.ops import mesh_warp

SQUARE = torch.tensor([[0, 1, 2], [3, 2, 1]], dtype=torch.int32)


def square(left: float, top: float, right: float, bottom: float) -> Tensor:
    corners = [[left, top], [right, top], [left, bottom], [right, bottom]]
    return torch.tensor([corners], dtype=torch.float64)


def ramp(height: int, width: int) -> Tensor:
    """A picture whose channels are its own coordinates."""
    y, x = torch.meshgrid(torch.arange(height).float(), torch.arange(width).float(), indexing="ij")
    return torch.stack([x, y])[None]


@pytest.mark.parametrize("impl", ["numba", "reference"])
def test_the_identity_gives_the_picture_back(impl):
    image = torch.rand(1, 3, 9, 12)
    corners = square(-0.5, -0.5, 11.5, 8.5)
    warped, index = mesh_warp(image, corners, corners, SQUARE, 9, 12, impl=impl)
    torch.testing.assert_close(warped, image)
    assert set(index.unique().tolist()) == {0, 1}


@pytest.mark.parametrize("impl", ["numba", "reference"])
def test_an_affine_move_reads_the_picture_where_its_inverse_says(impl):
    source, target = square(2, 2, 12, 12), square(3, 1, 23, 11)
    warped, index = mesh_warp(ramp(15, 15), source, target, SQUARE, 14, 26, impl=impl)
    y, x = torch.nonzero(index[0] >= 0, as_tuple=True)
    assert len(y) == 200, "20 x 10 pixels: the right and lower edges are not owned"
    torch.testing.assert_close(warped[0, 0, y, x], 2 + (x - 3) / 2.0)
    torch.testing.assert_close(warped[0, 1, y, x], y + 1.0)
    assert not bool(warped[0, :, index[0] < 0].any())


@pytest.mark.parametrize("impl", ["numba", "reference"])
def test_the_later_triangle_is_on_top(impl):
    source = torch.cat([square(0, 0, 3, 3), square(5, 5, 8, 8)], dim=1)
    target = square(1, 1, 6, 6).repeat(1, 2, 1)
    for first, second in ((0, 4), (4, 0)):
        triangles = torch.cat([SQUARE + first, SQUARE + second])
        warped, index = mesh_warp(ramp(9, 9), source, target, triangles, 8, 8, impl=impl)
        assert set(index.unique().tolist()) == {-1, 2, 3}
        assert bool((warped[0, 0][index[0] >= 0] >= 5).all()) == (second == 4)


@pytest.mark.parametrize(("padding", "expected"), [("repeat", [3.0, 0.0, 1.0]), ("border", [0.0, 0.0, 1.0])])
@pytest.mark.parametrize("impl", ["numba", "reference"])
def test_outside_the_picture(impl, padding, expected):
    source, target = square(-1.5, 0, 2.5, 3), square(-0.5, -0.5, 3.5, 2.5)
    warped, _ = mesh_warp(ramp(4, 4), source, target, SQUARE, 3, 4, padding=padding, impl=impl)
    assert warped[0, 0, 1].tolist()[:3] == expected


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("seed", range(4))
def test_kernel_and_twin_agree(seed, dtype):
    image, source, target, triangles = case(seed)
    image = image.to(dtype)
    ours, index = mesh_warp(image, source, target, triangles, 31, 43)
    twin, twin_index = mesh_warp(image, source, target, triangles, 31, 43, impl="reference")
    same = index == twin_index
    assert float(same.float().mean()) > 0.999
    assert 0.3 < float((index >= 0).float().mean()) < 1
    assert ours.dtype == dtype
    tolerance = 1e-4 if dtype == torch.float32 else 1e-9
    torch.testing.assert_close(ours.movedim(1, -1)[same], twin.movedim(1, -1)[same], atol=tolerance, rtol=0)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_do_not_change_a_bit(threads):
    image, source, target, triangles = case(9)
    before = torch.get_num_threads()
    expected = mesh_warp(image, source, target, triangles, 220, 260)
    try:
        torch.set_num_threads(threads)
        found = mesh_warp(image, source, target, triangles, 220, 260)
    finally:
        torch.set_num_threads(before)
    assert found[0].equal(expected[0]) and found[1].equal(expected[1])


@pytest.mark.parametrize("impl", ["numba", "reference"])
def test_flat_and_endless_triangles_are_left_out(impl):
    target = square(1, 1, 6, 6)
    flat = target.clone()
    flat[..., 1] = 3.0
    endless = target.clone()
    endless[0, 0, 0] = torch.nan
    for broken in (flat, endless):
        warped, index = mesh_warp(ramp(8, 8), target, broken, SQUARE[:1], 8, 8, impl=impl)
        assert bool((index == -1).all()) and not bool(warped.any())
    assert bool((mesh_warp(ramp(8, 8), endless, target, SQUARE[:1], 8, 8, impl=impl)[1] == -1).all())


def test_one_picture_serves_many_views():
    image, source, target, triangles = case(3)
    warped, _ = mesh_warp(image[:1], source[:1], target, triangles, 20, 20)
    for view in range(len(target)):
        alone, _ = mesh_warp(image[:1], source[:1], target[view : view + 1], triangles, 20, 20)
        assert warped[view].equal(alone[0])


def test_torchs_own_check():
    image, source, target, triangles = case(4)
    arguments = (image, source.double(), target.double(), triangles, 9, 9, "repeat", "numba")
    torch.library.opcheck(torch.ops.lineament.mesh_warp.default, arguments)


def assert_same(found: list[Tensor], expected: list[Tensor]) -> None:
    assert int(expected[1].max()) > 3, "the scene shows nothing"
    same = found[1] == expected[1]
    assert float(same.float().mean()) > 0.995
    torch.testing.assert_close(
        found[0].movedim(1, -1)[same], expected[0].movedim(1, -1)[same], atol=1e-4, rtol=0
    )


def test_simulated_gpu_agrees_with_the_twin(tmp_path):
    simulated = {"NUMBA_ENABLE_CUDASIM": "1", "NUMBA_DISABLE_JIT": "1", "OMP_NUM_THREADS": "1"}
    program = [sys.executable, "-m", "tests.ops.mesh_warp_case", "cuda", str(tmp_path / "found.pt")]
    root = Path(__file__).parents[2]
    done = subprocess.run(
        program, env=os.environ | simulated, cwd=root, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert_same(torch.load(tmp_path / "found.pt"), run("reference"))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_gpu_agrees_with_the_twin():
    assert_same(run("auto", "cuda"), run("reference"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"image": torch.zeros(3, 8, 8)}, "image must be"),
        ({"source": torch.zeros(1, 4, 3)}, "source must be"),
        ({"target": torch.zeros(1, 5, 2)}, "4 vertices but target 5"),
        ({"image": torch.zeros(2, 1, 8, 8)}, "2 views"),
        ({"triangles": SQUARE.float()}, "faces must be"),
        ({"triangles": SQUARE[None]}, "triangles must be"),
        ({"height": -1}, "0 or more"),
        ({"padding": "mirror"}, "unknown padding"),
        ({"impl": "opengl"}, "unknown impl"),
    ],
)
def test_bad_arguments_are_one_sentence(change, said):
    good = {"image": ramp(8, 8), "source": square(0, 0, 4, 4), "target": square(0, 0, 4, 4)}
    with pytest.raises(UsageError, match=said):
        mesh_warp(**(good | {"triangles": SQUARE, "height": 8, "width": 8} | change))


@pytest.mark.parametrize("impl", ["numba", "reference"])
def test_a_missing_vertex_is_said(impl):
    corners = square(0, 0, 4, 4)
    with pytest.raises(DataError, match=r"vertices outside 0\.\.3"):
        mesh_warp(ramp(8, 8), corners, corners, SQUARE + 1, 8, 8, impl=impl)
