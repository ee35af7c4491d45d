"""The published face warp, its files, and exports that are right where the published ones are not."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from lineament.errors import DataError, UsageError
from lineament.methods.depthnet.export import (
    affine_in_pixels,
    export_turned_source,
    rotation_about,
    rotation_affine,
    scale_depth,
)
from lineament.methods.depthnet.warp import face_triangles, face_warp, move_keypoints
from lineament.methods.depthnet.warp_files import (
    IDENTITY,
    WarpCase,
    case_names,
    read_case,
    read_table,
    warp_dataset,
    warped_pixels,
    write_case,
)
from lineament.pipeline.bench.facewarp import bench_face


def case(name: str = "a", size: int = 40) -> WarpCase:
    image, points, depth, affine = bench_face(size)
    return WarpCase(name, image[0], points[0].trunc(), depth[0], affine[0])


def test_the_mesh_is_a_disk_whose_border_is_jaw_and_brows():
    triangles = face_triangles()
    assert triangles.shape == (107, 3) and triangles.dtype == torch.int32
    edges = torch.cat([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]).sort(dim=1).values
    unique, count = edges.unique(dim=0, return_counts=True)
    assert len(unique) == 174 and 68 - len(unique) + 107 == 1
    assert sorted(unique[count == 1].unique().tolist()) == list(range(27))


def test_the_identity_cuts_the_face_out():
    here = case()
    unmoved = torch.tensor([IDENTITY], dtype=torch.float64)
    warped, index = face_warp(here.image[None], here.keypoints[None], here.depth[None], unmoved)
    painted = index[0] >= 0
    torch.testing.assert_close(warped[0][:, painted], here.image[:, painted])
    assert not bool(warped[0][:, ~painted].any()) and 0.3 < float(painted.float().mean()) < 0.9


@pytest.mark.parametrize("count", [66, 5])
def test_another_number_of_points_is_refused(count):
    with pytest.raises(DataError, match="68 keypoints"):
        face_warp(
            torch.zeros(1, 3, 8, 8), torch.zeros(1, count, 2), torch.zeros(1, count), torch.zeros(1, 2, 4)
        )
    with pytest.raises(DataError, match=r"\[N, 2, 4\]"):
        face_warp(torch.zeros(1, 3, 8, 8), torch.zeros(1, 68, 2), torch.zeros(1, 68), torch.zeros(1, 2, 3))


def test_files_are_written_as_they_are_read(tmp_path: Path):
    here = case()
    write_case(tmp_path, here)
    again = read_case(tmp_path, "a")
    assert again.keypoints.equal(here.keypoints)
    torch.testing.assert_close(again.depth, here.depth, atol=1e-6, rtol=0)
    torch.testing.assert_close(again.affine, here.affine, atol=1e-6, rtol=0)
    assert float((again.image - here.image).abs().max()) <= 0.5 / 255 + 1e-6
    written = warp_dataset(tmp_path, tmp_path / "out")
    assert np.array_equal(np.array(Image.open(written[0])), warped_pixels(again))
    assert warp_dataset(tmp_path, tmp_path / "out") == []
    cut = warp_dataset(tmp_path, tmp_path / "cut", identity=True)
    assert not np.array_equal(np.array(Image.open(cut[0])), warped_pixels(again))


def test_a_last_row_without_an_end_of_line_counts(tmp_path: Path):
    write_case(tmp_path, case())
    path = tmp_path / "depth" / "a.txt"
    path.write_text(path.read_text().rstrip("\n"))
    assert read_case(tmp_path, "a").depth.shape == (68,)


def test_damaged_files_are_named(tmp_path: Path):
    write_case(tmp_path, case())
    with pytest.raises(DataError, match="no folder 'affines'"):
        case_names(tmp_path, "affines")
    path = tmp_path / "keypoints" / "a.txt"
    lines = path.read_text().splitlines()
    for text, said in (
        ("\n".join(lines[:-1]), "68 rows of 2 numbers are needed, it holds 67"),
        ("\n".join(["1 2 3", *lines[1:]]), "2/3 numbers"),
        ("\n".join(["1 x", *lines[1:]]), "could not convert"),
        ("\n".join(["1 nan", *lines[1:]]), "not finite"),
    ):
        path.write_text(text)
        with pytest.raises(DataError, match=said):
            read_case(tmp_path, "a")
    path.unlink()
    with pytest.raises(DataError, match="none of which"):
        case_names(tmp_path)
    with pytest.raises(DataError, match="cannot be read"):
        read_table(path, 68, 2)


def test_a_map_between_shares_becomes_one_between_pixels():
    affine = torch.rand(3, 2, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    points, depth = torch.rand(3, 9, 2, dtype=torch.float64), torch.rand(3, 9, dtype=torch.float64)
    size = torch.tensor([200.0, 50.0], dtype=torch.float64)
    expected = move_keypoints(points, depth, affine) * size
    found = move_keypoints(points * size, depth, affine_in_pixels(affine, 200, 50))
    torch.testing.assert_close(found, expected)
    published = move_keypoints(points * size, depth, affine_in_pixels(affine, 200, 50, faithful=True))
    assert not torch.allclose(published, expected, atol=1.0)
    square = affine_in_pixels(affine, 64, 64)
    torch.testing.assert_close(square, affine_in_pixels(affine, 64, 64, faithful=True))


@pytest.mark.parametrize("axis", ["x", "y", "z"])
def test_a_rotation_keeps_its_centre_and_is_rigid_in_pixels(axis):
    rotation = rotation_about(axis, torch.tensor([0.4, -0.7], dtype=torch.float64))
    centre = torch.tensor([0.4, 0.6, 0.1])
    affine = rotation_affine(rotation, 300, 100, centre)
    here = torch.tensor([[[120.0, 60.0]]], dtype=torch.float64).expand(2, -1, -1)
    torch.testing.assert_close(move_keypoints(here, torch.full((2, 1), 0.1).double(), affine), here)
    if axis == "z":
        linear = affine[:, :, :2]
        torch.testing.assert_close(linear @ linear.transpose(1, 2), torch.eye(2).double().expand(2, -1, -1))
    published = rotation_affine(rotation, 300, 100)
    assert not bool(published[..., 3].any())


def test_turning_the_source_keeps_the_face_in_its_place():
    def predict(source: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        return source[..., 0] * 0, torch.zeros(len(source), 2, 4)

    points = torch.rand(66, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    rotation = rotation_about("y", torch.tensor([0.0, math.pi / 4], dtype=torch.float64))
    ours = export_turned_source(predict, points, points, rotation, 200, 100)
    middle = move_keypoints(ours.keypoints, ours.depth, ours.affine).mean(1)
    torch.testing.assert_close(middle[1], middle[0])
    published = export_turned_source(predict, points, points, rotation, 200, 100, faithful=True)
    middle = move_keypoints(published.keypoints, published.depth, published.affine).mean(1)
    assert float((middle[1] - middle[0]).abs()[0]) > 10


def test_depth_is_scaled_or_refused():
    depth = torch.tensor([2.0, 6.0])
    assert scale_depth(depth, 0).tolist() == [0, 1] and scale_depth(depth, 2).tolist() == [1, 3]
    with pytest.raises(UsageError, match="not be negative"):
        scale_depth(depth, -1)
    with pytest.raises(DataError, match="all depths"):
        scale_depth(torch.ones(3), 0)
    with pytest.raises(UsageError, match="x, y or z"):
        rotation_about("w", depth)


def test_pixels_count_from_their_corners():
    """A shift by half a pixel mixes two neighbours in halves; keypoints at whole numbers lie between pixels."""
    here = case()
    ramp = torch.arange(40.0).expand(3, 40, 40) / 40
    moved = torch.tensor([IDENTITY], dtype=torch.float64)
    moved[0, 0, 3] += 0.5
    warped, index = face_warp(ramp[None], here.keypoints[None], here.depth[None], moved)
    _, still = face_warp(
        ramp[None], here.keypoints[None], here.depth[None], torch.tensor([IDENTITY], dtype=torch.float64)
    )
    inside = (index[0] >= 0) & (still[0] >= 0)
    torch.testing.assert_close(warped[0, 0][inside], (ramp[0] - 0.5 / 40)[inside], atol=1e-5, rtol=0)
    # A square from 10.25 to 30.25 holds the middles of the pixels 10 to 29, which lie at 10.5 to 29.5.
    flat = torch.zeros(1, 68, 2, dtype=torch.float64)
    flat[0, :, 0] = torch.where(torch.arange(68) % 2 == 0, 10.25, 30.25)
    flat[0, :, 1] = torch.where(torch.arange(68) % 4 < 2, 10.25, 30.25)
    _, painted = face_warp(
        ramp[None], flat, torch.zeros(1, 68), torch.tensor([IDENTITY], dtype=torch.float64)
    )
    rows, columns = (painted[0] >= 0).nonzero().T
    assert (int(rows.min()), int(rows.max())) == (10, 29)
    assert (int(columns.min()), int(columns.max())) == (10, 29)
