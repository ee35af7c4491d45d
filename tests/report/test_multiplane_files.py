"""Multiplane images and their files."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from lineament.errors import DataError, UsageError
from lineament.geometry.multiplane import MultiplaneImage, SphereCameras
from lineament.methods.gmpi.datasets import SCENES
from lineament.methods.gmpi.planes import make_planes
from lineament.methods.gmpi.renderer import Mpi, Renderer
from lineament.report.multiplane_files import (
    JSON_NAME,
    encode_atlas,
    read_atlas,
    read_multiplane,
    read_npz,
    write_atlas,
    write_npz,
)

SCENE = SCENES["ffhq256"]
CAMERAS = SphereCameras(
    SCENE.fov, SCENE.centre_z, SCENE.radius, SCENE.poses.yaw_range, SCENE.poses.pitch_range
)


def made(count: int = 7, height: int = 12, width: int = 12, seed: int = 0) -> MultiplaneImage:
    draw = torch.Generator().manual_seed(seed)
    alpha = torch.rand(count, height, width, generator=draw)
    alpha[-1] = 1
    colour, background = (torch.rand(3, height, width, generator=draw) for _ in range(2))
    return MultiplaneImage(
        colour, background, alpha, make_planes(SCENE, count), CAMERAS, {"seed": seed, "from": "noise"}
    )


def assert_same(found: MultiplaneImage, image: MultiplaneImage, atol: float) -> None:
    for name in ("colour", "background", "alpha", "planes"):
        a, b = getattr(found, name), getattr(image, name)
        torch.testing.assert_close(a, b, atol=0 if name == "planes" else atol, rtol=0)
    assert found.cameras == image.cameras and found.facts == image.facts


def test_it_is_seen_as_gmpis_renderer_sees_it():
    image = made()
    yaw, pitch = torch.tensor([0.4, -0.2]), torch.tensor([0.1, -0.2])
    seen = image.render(yaw, pitch, 20)
    mpi = Mpi(image.alpha[None], image.colour[None], image.background[None])
    expected = Renderer(SCENE, 7).render(mpi, torch.stack([pitch, yaw], 1), 20)
    torch.testing.assert_close(2 * seen.image - 1, expected.image, atol=2e-6, rtol=0)
    torch.testing.assert_close(seen.depth, expected.depth[:, 0], atol=1e-6, rtol=0)


def test_an_image_that_is_not_square_shows_its_middle_in_square_pixels():
    cameras = replace(CAMERAS, aspect=2.0)
    assert cameras.size(40) == (20, 40) and replace(CAMERAS, aspect=0.5).size(40) == (40, 20)
    wide, square = replace(made(), cameras=cameras), made()
    zero = torch.zeros(1)
    middle = square.render(zero, zero, 40).image[..., 10:30, :]
    torch.testing.assert_close(wide.render(zero, zero, 40).image, middle, atol=2e-6, rtol=0)


def test_the_middle_and_the_shares_of_depth():
    cameras = replace(CAMERAS, yaw_limits=(-0.1, 0.3), pitch_limits=(0.0, 0.2))
    assert cameras.middle == pytest.approx((0.1, 0.1))
    image = made()
    depth = torch.tensor([0.0, image.near, (image.near + image.far) / 2, 9.0])
    assert image.depth_share(depth).tolist() == pytest.approx([0, 0, 0.5, 1], abs=1e-6)


@pytest.mark.parametrize("count", [1, 3, 7])
def test_files_give_back_what_was_written(tmp_path, count):
    image = made(count, 9, 13) if count != 1 else made(1)
    assert_same(read_npz(write_npz(tmp_path / "a.npz", image)), image, 0)
    folder = write_atlas(tmp_path / "a", image)
    assert_same(read_atlas(folder), image, 0.5 / 255 + 1e-6)
    assert_same(read_multiplane(folder / JSON_NAME), read_multiplane(folder), 0)
    assert_same(read_multiplane(tmp_path / "a.npz"), image, 0)
    # A second one takes the place of the first.
    assert_same(read_atlas(write_atlas(folder, made(2))), made(2), 0.5 / 255 + 1e-6)


def test_every_plane_lies_where_the_layout_says():
    image = made(7, 4, 6)
    value, pngs = encode_atlas(replace(image, alpha=torch.arange(7.0)[:, None, None].expand(7, 4, 6) / 255))
    from lineament.data.images import decode_image

    atlas = (decode_image(pngs[value["files"]["alpha"]], "alpha") * 255).round()
    assert value["atlas"] == {"columns": 2, "rows": 2, "channels": 3}
    for k in range(7):
        row, column = divmod(k // 3, value["atlas"]["columns"])
        cell = atlas[k % 3, row * 4 : row * 4 + 4, column * 6 : column * 6 + 6]
        assert bool((cell == k).all())
    assert value["size"] == [4, 6] and len(value["dhw"]) == value["planes"] == 7
    assert value["near"] == pytest.approx(SCENE.near) and value["sphere"] == {"centre_z": 1.0, "radius": 1.0}


def broken(value, **changes):
    return json.dumps({**value, **changes})


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda v: "{", "no JSON"),
        (lambda v: "[]", "no multiplane image"),
        (lambda v: broken(v, version=2), "of version 2"),
        (lambda v: broken(v, sphere={}), "lacks what a multiplane image needs"),
        (lambda v: broken(v, dhw=[[1, 1]]), "planes"),
        (lambda v: broken(v, fov=-1), "0 < fov < pi"),
        (lambda v: broken(v, atlas={}), "lacks what a folder of PNGs needs"),
        (lambda v: broken(v, atlas={"columns": 1, "rows": 1, "channels": 3}), "cannot hold 7 planes"),
        (lambda v: broken(v, size=[12, 13]), "must be"),
        (lambda v: broken(v, files={"colour": "x", "background": "y", "alpha": "z"}), "cannot be read"),
    ],
)
def test_damaged_folders_are_refused_in_a_sentence(tmp_path, change, sentence):
    folder = write_atlas(tmp_path / "a", made())
    path = folder / JSON_NAME
    path.write_text(change(json.loads(path.read_text())))
    with pytest.raises(DataError, match=sentence):
        read_atlas(folder)


def test_other_files_are_refused_in_a_sentence(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"PK nothing")
    np.savez(tmp_path / "b.npz", alpha=np.zeros(3))
    np.savez(tmp_path / "c.npz", alpha=np.array([{}], dtype=object))
    for name in ("a", "b", "c", "none"):
        with pytest.raises(DataError, match=f"{name}.npz cannot be read"):
            read_npz(tmp_path / f"{name}.npz")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "mine.jpg").write_bytes(b"x")
    with pytest.raises(DataError, match="choose another name"):
        write_atlas(tmp_path / "photos", made())
    assert (tmp_path / "photos" / "mine.jpg").exists()
    with pytest.raises(DataError, match=r"mpi\.json cannot be read"):
        read_multiplane(tmp_path / "photos")


@pytest.mark.parametrize(
    ("make", "error", "sentence"),
    [
        (lambda: replace(made(), alpha=torch.zeros(3, 12, 12)), DataError, "planes"),
        (lambda: replace(made(), colour=torch.zeros(3, 12, 11)), DataError, "colour must be"),
        (lambda: replace(made(), planes=made().planes.flip(0)), DataError, "nearest first"),
        (lambda: replace(CAMERAS, yaw_limits=(0.2, 0.1)), DataError, "least before greatest"),
        (lambda: replace(CAMERAS, pitch_limits=(-2.0, 0.1)), DataError, "quarter turn"),
        (lambda: replace(CAMERAS, radius=math.nan), DataError, "finite"),
        (lambda: made().render(torch.zeros(2), torch.zeros(1)), UsageError, r"\[V\]"),
    ],
)
def test_impossible_images_are_refused(make, error, sentence):
    with pytest.raises(error, match=sentence):
        make()
