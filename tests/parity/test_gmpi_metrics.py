"""Distances of sets of images, of depths and of poses against recorded results of the published evaluation."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.parity.gmpi_scenes import arrays, as_tensor
from tests.parity.recorded import assert_all_read

from lineament.metrics.depth_map import depth_correlation_in, pose_error, standardised_error
from lineament.metrics.feature_distance import frechet_distance, kernel_distance, squared_mmd

FILES = ("gmpi_rendering/metrics.npz",)
# A loss that the published training does not use.
UNREAD = {"gmpi_rendering/metrics.npz": ("edge_rgb", "edge_depth", "edge_loss")}


def test_gmpi_distances_of_features(goldens: Path):
    file = arrays(goldens, "metrics")
    one, two = (as_tensor(file[name]).numpy() for name in ("feat1", "feat2"))
    assert frechet_distance(one, two) == pytest.approx(float(file["fid"]), rel=1e-6)
    first = squared_mmd(one[:200], two[:200])
    assert first == pytest.approx(float(file["kid_mmd_first200"]), rel=1e-9)
    # A subset of everything is everything, in another order.
    whole = kernel_distance(one[:200], two[:200], subsets=3)
    assert whole.size == 200 and whole.mean == pytest.approx(first, rel=1e-9) and whole.std < 1e-9


def test_gmpi_errors_of_depth_and_pose(goldens: Path):
    file = arrays(goldens, "metrics")
    depth, other, mask = (as_tensor(file[name]) for name in ("depth", "pred_depth", "pred_mask"))
    errors = [standardised_error(*each) for each in zip(depth, other, mask == 1, strict=True)]
    torch.testing.assert_close(
        torch.tensor(errors).double(), as_tensor(file["depth_err"]).double(), atol=1e-5, rtol=0
    )
    for index, error in enumerate(errors):
        valid = (mask[index] == 1) & (depth[index] >= 1e-8)
        assert error == pytest.approx(
            2 - 2 * depth_correlation_in(depth[index], other[index], valid), abs=1e-6
        )
    angles, rendered = as_tensor(file["coeff_angle"])[:, 0], as_tensor(file["render_pitch_yaw"])
    found = pose_error(angles, rendered[:, 0], rendered[:, 1])
    torch.testing.assert_close(found, as_tensor(file["angle_err"]).double(), atol=1e-7, rtol=0)
    both = [torch.tensor(errors).double(), found]
    summary = [value for each in both for value in (each.mean(), each.std(correction=0))]
    torch.testing.assert_close(torch.stack(summary), as_tensor(file["agg"]).double(), atol=1e-5, rtol=0)


def test_gmpi_metrics_are_read_whole(request: pytest.FixtureRequest, goldens: Path):
    assert_all_read(request, goldens, UNREAD)
