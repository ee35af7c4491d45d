"""Matching, dense matching, inter-ocular error and learning-rate schedule against recorded numbers."""

from __future__ import annotations

from pathlib import Path

import torch
from tests.parity.dve_goldens import golden_files

from lineament.methods.dve.schedule import PUBLISHED_SCHEDULES, published_factor
from lineament.metrics.correspondence import dense_match_grid, match_points, pixel_errors
from lineament.metrics.landmark import inter_ocular, normalised_errors


def test_point_matches_equal_the_reference(goldens: Path):
    for golden in golden_files(goldens, "match_*"):
        stride = float(golden["stride"])
        matches = match_points(golden["source"], golden["target"], golden["queries_xy"], stride)
        assert torch.equal(matches, golden["matches_xy"])
        width = int(golden["imwidth"]) - 2 * int(golden["crop"])
        errors = pixel_errors(matches, golden["gt_xy"], width)
        torch.testing.assert_close(errors, golden["pixel_err"], rtol=0, atol=1e-6)


def test_dense_matches_equal_the_reference(goldens: Path):
    for golden in golden_files(goldens, "dense_match"):
        factor = golden["grid"].shape[1] // golden["target"].shape[1]
        grid = dense_match_grid(golden["source"], golden["target"], upscale=factor)
        equal = (grid - golden["grid"]).abs().amax(-1) < 1e-5
        # Points whose two best scores tie may choose differently.
        assert float(equal.double().mean()) > 0.99


def test_inter_ocular_error_equals_the_reference(goldens: Path):
    for golden in golden_files(goldens, "metrics"):
        truth = golden["gt"]
        errors = normalised_errors(golden["pred"], truth, inter_ocular(truth, (36, 45)))
        torch.testing.assert_close(100 * errors.mean(), golden["iod68"], rtol=1e-5, atol=1e-5)
    for golden in golden_files(goldens, "keypoint_*"):
        truth = golden["keypts_normalized"]
        left, right = golden["eye_idxs"].tolist()
        errors = normalised_errors(golden["pred"], truth, inter_ocular(truth, (left, right)))
        torch.testing.assert_close(100 * errors.mean(), golden["inter_ocular_error"], rtol=1e-5, atol=1e-5)


def test_learning_rates_follow_the_published_schedule(goldens: Path):
    for golden in golden_files(goldens, "lr_schedule_per_epoch"):
        assert set(golden) == set(PUBLISHED_SCHEDULES)
        for name, rates in golden.items():
            start = float(rates[0])
            for epoch, rate in enumerate(rates.tolist(), start=1):
                seen = start * published_factor(PUBLISHED_SCHEDULES[name], epoch)
                assert abs(seen - rate) < 1e-12, (name, epoch)
