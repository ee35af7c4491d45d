"""Poses of the published layouts of data sets against recorded results of the published readers."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
import torch
from tests.parity.gmpi_scenes import SCENE_OF, arrays, as_tensor, column, distance

from lineament.data.readers.folder import open_folder
from lineament.data.sample import FaceSample, FaceSource
from lineament.geometry.sphere_camera import angles_on_sphere
from lineament.methods.gmpi.pose_labels import match_poses, on_scene, read_poses

FILES = ("gmpi_rendering/datasets.npz",)
POSES = 2e-6


class Named:
    """Images of an archive, by their names alone."""

    name = fingerprint = "archive"

    def __init__(self, names: list[str]) -> None:
        self.names = names

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> FaceSample:
        return FaceSample(self.names[index], torch.zeros(3, 1, 1))


def images_of(place: Path) -> FaceSource:
    if place.suffix == ".zip":
        with zipfile.ZipFile(place) as archive:
            return Named(sorted(name for name in archive.namelist() if name.endswith(".png")))
    return open_folder(place)


@pytest.mark.parametrize(
    ("short", "scene", "images", "poses"),
    [
        ("ffhq", "FFHQ", "ffhq*.zip", "ffhq*_deep3dface_coeffs"),
        ("afhq", "AFHQCat", "afhq_v2_train_cat_512", "afhq_v2_train_cat_512/dataset.json"),
        ("met", "MetFaces", "metfaces_xflip", "metfaces_xflip_deep3dface_coeffs"),
    ],
)
def test_gmpi_poses_of_published_layouts(goldens: Path, short: str, scene: str, images: str, poses: str):
    file, tree = arrays(goldens, "datasets"), goldens / "gmpi_rendering" / "tiny_data"
    place, where = next(tree.glob(images)), next(tree.glob(poses))
    _, cameras = match_poses(read_poses(where), images_of(place), str(where))
    assert len(cameras) == int(as_tensor(file[f"{short}_n"]))
    placed = on_scene(torch.stack([*cameras.values()]), SCENE_OF[scene])
    assert distance(placed.flatten(1), file[f"{short}_pose"]) <= POSES
    if short == "afhq":
        found = angles_on_sphere(placed.double(), centre_z=SCENE_OF[scene].centre_z)
        for angle, name in zip(found, ("yaw", "pitch"), strict=True):
            assert distance(angle, column(file[f"afhq_{name}"])) <= POSES
