"""3DFAW preparation and the 66 to 68 conversion against recorded results of the reference."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.parity.depthnet_goldens import golden_files, golden_folder, read_npz, tensor
from tests.parity.recorded import assert_all_read, matching

from lineament.data.readers.threedfaw import SPLITS
from lineament.data.registry import open_source
from lineament.faces.schemes import convert_points
from lineament.pipeline.prepare.keypoints import prepare_keypoints

# The recorded files these tests compare with, every number of them.
FILES = ("depthnet/mini3dfaw/*", "depthnet/mini3dfaw_expected/*", "depthnet/convert_*")


@pytest.mark.parametrize("split", SPLITS)
def test_prepared_arrays_equal_the_reference(goldens: Path, split: str, tmp_path: Path):
    folder = golden_folder(goldens)
    expected = read_npz(matching(goldens, f"depthnet/mini3dfaw_expected/{split}.npz")[0])
    prepare_keypoints(folder / "mini3dfaw", tmp_path)
    ours = read_npz(tmp_path / f"{split}.npz")
    assert ours["ids"].tolist() == expected["ids"].tolist()
    for key in ("y_keypts", "z_keypts"):
        assert ours[key].dtype == expected[key].dtype
        np.testing.assert_allclose(ours[key], expected[key], rtol=0, atol=1e-7)
    if "orientations" in expected:
        assert ours["orientations"].tolist() == expected["orientations"].tolist()


@pytest.mark.parametrize("split", SPLITS)
def test_readers_with_and_without_pictures_agree(goldens: Path, split: str):
    from lineament.data.keypoint_depth import collect

    root = golden_folder(goldens) / "mini3dfaw"
    if not root.is_dir():
        pytest.skip(f"no {root}")
    arrays = collect(open_source("3dfaw-keypoints", root, split=split))
    pictures = collect(open_source("3dfaw", root, split=split))
    assert arrays.ids == pictures.ids
    assert arrays.depth is not None and pictures.depth is not None
    torch.testing.assert_close(arrays.keypoints, pictures.keypoints, rtol=0, atol=2e-7)
    torch.testing.assert_close(arrays.depth, pictures.depth, rtol=0, atol=2e-7)
    assert torch.equal(arrays.sizes, pictures.sizes)


def test_conversion_equals_the_reference(goldens: Path):
    for golden in golden_files(goldens, "convert_*").values():
        points = torch.cat([tensor(golden["kp66"]), tensor(golden["z66"])[:, None]], dim=1)
        ours = convert_points(points, "66", "68")
        torch.testing.assert_close(ours[:, :2], tensor(golden["kp68"]), rtol=0, atol=1e-12)
        torch.testing.assert_close(ours[:, 2], tensor(golden["z68"]), rtol=0, atol=1e-12)
        torch.testing.assert_close(convert_points(ours, "68", "66"), points, rtol=0, atol=0)


def test_every_recorded_number_is_compared_with(request: pytest.FixtureRequest, goldens: Path):
    assert_all_read(request, goldens)
