"""Poses of the published layouts of data sets against recorded results of the published readers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.parity.gmpi_scenes import SCENE_OF, arrays, as_tensor, column, distance

from lineament.data.registry import open_source
from lineament.data.square_images import square_image
from lineament.geometry.sphere_camera import angles_on_sphere
from lineament.methods.gmpi.pose_labels import match_poses, on_scene, read_poses

FILES = ("gmpi_rendering/datasets.npz",)
POSES = 2e-6


@pytest.mark.parametrize(
    ("reader", "short", "scene", "images", "poses"),
    [
        ("ffhq", "ffhq", "FFHQ", "ffhq*.zip", "ffhq*_deep3dface_coeffs"),
        ("afhqcat", "afhq", "AFHQCat", "afhq_v2_train_cat_512", "afhq_v2_train_cat_512/dataset.json"),
        ("metfaces", "met", "MetFaces", "metfaces_xflip", "metfaces_xflip_deep3dface_coeffs"),
    ],
)
def test_gmpi_data_of_published_layouts(
    goldens: Path, reader: str, short: str, scene: str, images: str, poses: str
):
    file, tree = arrays(goldens, "datasets"), goldens / "gmpi_rendering" / "tiny_data"
    place, where = next(tree.glob(images)), next(tree.glob(poses))
    source, cameras = match_poses(read_poses(where), open_source(reader, place), str(where))
    assert len(cameras) == int(as_tensor(file[f"{short}_n"]))
    # The published readers give images in -1..1.
    seen = torch.stack([sample.image for sample in source])
    assert torch.equal((seen - 0.5) / 0.5, as_tensor(file[f"{short}_img"]))
    placed = on_scene(torch.stack([*cameras.values()]), SCENE_OF[scene])
    assert distance(placed.flatten(1), file[f"{short}_pose"]) <= POSES
    if short == "afhq":
        found = angles_on_sphere(placed.double(), centre_z=SCENE_OF[scene].centre_z)
        for angle, name in zip(found, ("yaw", "pitch"), strict=True):
            assert distance(angle, column(file[f"afhq_{name}"])) <= POSES


def test_gmpi_images_of_ffhq_at_another_size_and_rotations_alone(goldens: Path):
    file, tree = arrays(goldens, "datasets"), goldens / "gmpi_rendering" / "tiny_data"
    where = next(tree.glob("ffhq*_deep3dface_coeffs"))
    source, cameras = match_poses(
        read_poses(where), open_source("ffhq", next(tree.glob("ffhq*.zip"))), str(where)
    )
    expected = as_tensor(file["ffhq_resized_img"])
    side = expected.shape[-1]
    seen = torch.stack([square_image(sample.image, side, True, sample.id) for sample in source])
    assert torch.equal((seen - 0.5) / 0.5, expected)
    placed = on_scene(torch.stack([*cameras.values()]), SCENE_OF["FFHQ"])
    assert distance(placed[:, :3, :3].flatten(1), file["ffhq9_pose"]) <= POSES
    assert distance(placed.flatten(1), file["ffhq_resized_pose"]) <= POSES
