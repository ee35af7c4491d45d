"""The face warp and the exporter against recorded results of the published programs (README of the goldens)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.parity.depthnet_goldens import Golden, fill, golden_folder, read_npz
from tests.parity.recorded import assert_all_read
from torch import Tensor

from lineament.methods.depthnet.export import (
    WarpInput,
    export_turned_source,
    export_turned_target,
    export_warp,
    rotation_about,
    rotation_angles,
    scale_depth,
)
from lineament.methods.depthnet.model import DepthNet, LearntAffineDepthNet
from lineament.methods.depthnet.predictor import DepthPredictor
from lineament.methods.depthnet.warp import face_triangles
from lineament.methods.depthnet.warp_files import (
    case_names,
    read_case,
    read_table,
    warp_dataset,
    write_numbers,
)

# The recorded files these tests compare with, every number of them.
FILES = (
    "depthnet/triangles_1based.txt",
    "depthnet/warp_extra/*",
    "depthnet/export_single_*",
    "depthnet/export_rot_*",
)

# A turned source has no depths of its own to scale.
UNREAD = {"depthnet/export_rot_*rotatesource*": ("scale_depth",)}

# Pixels of a case that may differ at ties between edges, and grey levels elsewhere (README of the goldens).
TIES, LEVELS = 20, 1


@pytest.fixture(scope="module")
def folder(goldens: Path) -> Path:
    return golden_folder(goldens)


def existing(folder: Path, pattern: str) -> list[Path]:
    found = sorted(folder.glob(pattern))
    if not found:
        pytest.skip(f"no {pattern} in {folder}")
    return found


def test_depthnet_triangles_and_their_order(folder: Path):
    path = existing(folder, "triangles_1based.txt")[0]
    expected = read_table(path, len(path.read_text().split()) // 3, 3).long() - 1
    assert face_triangles().long().equal(expected)


def test_depthnet_warp_equals_the_published_program(folder: Path, tmp_path: Path):
    cases = existing(folder, "warp_extra")[0]
    warp_dataset(cases, tmp_path)
    names = case_names(cases)
    for name in names:
        expected = np.array(Image.open(next(cases.glob(f"expected*/{name}.png"))).convert("RGBA"))
        found = np.array(Image.open(tmp_path / f"{name}.png"))
        assert found.shape == expected.shape, name
        difference = np.abs(found.astype(int) - expected).max(axis=-1)
        assert int((difference > LEVELS).sum()) <= TIES, name
        painted = expected[..., :3].any(-1)
        assert painted.mean() > 0.02, "an empty case shows nothing"
        assert (found[..., :3].any(-1) != painted).sum() <= TIES, name


@pytest.mark.parametrize("impl", ["numba", "reference"])
def test_depthnet_warp_of_both_forms(folder: Path, impl: str):
    from lineament.methods.depthnet.warp_files import warped_pixels

    cases = existing(folder, "warp_extra")[0]
    name = case_names(cases)[-1]
    expected = np.array(Image.open(next(cases.glob(f"expected*/{name}.png"))).convert("RGBA"))
    difference = np.abs(warped_pixels(read_case(cases, name), impl=impl).astype(int) - expected)
    assert int((difference.max(axis=-1) > LEVELS).sum()) <= TIES


def test_depthnet_warp_files_come_back_as_they_were(folder: Path, tmp_path: Path):
    cases = existing(folder, "warp_extra")[0]
    for name in case_names(cases):
        case = read_case(cases, name)
        write_numbers(tmp_path, name, case.keypoints, case.depth, case.affine)
        for kind in ("keypoints", "depth", "affine"):
            written = (tmp_path / kind / f"{name}.txt").read_text()
            assert written.split() == (cases / kind / f"{name}.txt").read_text().split()
            assert written.endswith("\n")


def predictor(path: Path, seed: int) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
    kind = "learnm" if "learnm" in path.stem else "fixm"
    network = fill(LearntAffineDepthNet() if kind == "learnm" else DepthNet(), seed)
    model = DepthPredictor(network, "learnt" if kind == "learnm" else "fixed")

    def predict(source: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        fit = model(source.float(), target.float())
        return fit.depth, fit.affine

    return predict


def shares(points: np.ndarray, size: np.ndarray) -> Tensor:
    """Pixels over width and height; ``size`` is height, width."""
    return torch.from_numpy(points[:, :2] / size[::-1].astype(float))


def assert_export(found: WarpInput, recorded: Golden) -> None:
    keypoints = recorded["keypoints"]
    expected = {key: torch.from_numpy(np.array(recorded[key])).double() for key in ("depth", "affine")}
    assert np.array_equal(found.keypoints.numpy().reshape(keypoints.shape), keypoints)
    depth, affine = found.depth.reshape_as(expected["depth"]), found.affine.reshape_as(expected["affine"])
    torch.testing.assert_close(depth, expected["depth"], atol=2e-5, rtol=0)
    scale = float(expected["affine"].abs().max())
    torch.testing.assert_close(affine, expected["affine"], atol=2e-3 * scale, rtol=0)


def side_of(which: str, sizes: dict[str, np.ndarray]) -> tuple[int, int]:
    """Height and width of an export: of the picture that is named, or a square of the side that is named."""
    height, width = sizes[which].tolist() if which in sizes else (int(float(which)),) * 2
    return height, width


def test_depthnet_export_of_one_face(folder: Path, tmp_path: Path):
    for path in existing(folder, "export_single_*.npz"):
        recorded = read_npz(path)
        which = str(recorded["output_size"]) if "output_size" in recorded else path.stem.rsplit("_", 1)[1]
        height, width = side_of(which, {"src": recorded["src_hw"], "tgt": recorded["tgt_hw"]})
        source = shares(recorded["src_kpts_px"], recorded["src_hw"])[None]
        target = shares(recorded["tgt_kpts_px"], recorded["tgt_hw"])[None]
        predict = predictor(path, int(recorded["seed_g"]))
        found = export_warp(predict, source, target, width, height, faithful=True)
        assert_export(found, recorded)
        # The files of the published program: their names, and as many decimals.
        name = str(recorded["file_basename"]).removesuffix(".txt")
        keypoints, depth, affine = (
            torch.from_numpy(recorded[key]).double() for key in ("keypoints", "depth", "affine")
        )
        write_numbers(tmp_path, name, keypoints, depth, affine)
        written = (tmp_path / "affine" / f"{name}.txt").read_text()
        assert written.split() == str(recorded["affine_text"]).split()


def test_depthnet_export_of_rotations(folder: Path):
    for path in existing(folder, "export_rot_*.npz"):
        recorded = read_npz(path)
        first, last = float(recorded["tgt_angle_1"]), float(recorded["tgt_angle_2"])
        angles = rotation_angles(first, last, float(recorded["frame_multiplier"]))
        assert len(angles) == len(recorded["frames"])
        rotation = rotation_about(str(recorded["axis"]), angles)
        size = recorded["hw"]
        # One photograph is both source and target.
        height, width = side_of(str(recorded["output_size"]), {"src": size, "tgt": size})
        points = shares(recorded["kpts_px"], size)
        predict = predictor(path, int(recorded["seed_g"]))
        mean, std = float(recorded["norm_mean"]), float(recorded["norm_std"])
        if bool(recorded["rotate_source"]):
            found = export_turned_source(
                predict, points, points, rotation, width, height, std=std, faithful=True
            )
        else:
            depth = torch.from_numpy(recorded["kpts_px"][:, 2])
            depth = scale_depth(depth, float(recorded["scale_depth"]))
            found = export_turned_target(
                predict,
                points,
                points,
                depth,
                rotation,
                width,
                height,
                mean=mean,
                std=std,
                faithful=True,
            )
        assert_export(found, recorded)


def test_every_recorded_number_is_compared_with(request: pytest.FixtureRequest, goldens: Path):
    assert_all_read(request, goldens, UNREAD)
