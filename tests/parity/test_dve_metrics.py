"""Matching, dense matching, inter-ocular error and learning-rate schedule against recorded numbers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.parity.dve_goldens import golden_files
from tests.parity.recorded import assert_all_read
from torch import Tensor

from lineament.methods.dve.schedule import PUBLISHED_SCHEDULES, published_factor
from lineament.metrics.correspondence import dense_match_grid, enlarge, match_points, pixel_errors
from lineament.metrics.landmark import inter_ocular, normalised_errors

# The recorded files these tests compare with, every number of them.
FILES = ("dve/match_*", "dve/dense_match*", "dve/metrics*", "dve/lr_schedule_per_epoch*")

# There is no segmentation in this program.
UNREAD = {"dve/metrics*": ("seg*",)}

# Share of the largest score below which float32 does not tell two scores apart.
TIE = 1e-6


def as_good(scores: Tensor, found: Tensor, recorded: Tensor) -> bool:
    """Whether two choices ``[K]`` per row of scores ``[K, N]`` in float64 are the same or tie in float32."""
    chosen = [scores.gather(1, each.long()[:, None])[:, 0] for each in (found, recorded)]
    return bool((chosen[0] - chosen[1] <= TIE * scores.abs().amax(1)).all())


def test_point_matches_equal_the_reference(goldens: Path):
    for golden in golden_files(goldens, "match_*"):
        source, target, queries = golden["source"], golden["target"], golden["queries_xy"]
        stride = float(golden["stride"])
        matches, recorded = match_points(source, target, queries, stride), golden["matches_xy"]
        if not torch.equal(matches, recorded):
            height, width = source.shape[1:]
            at = (queries.double() / stride).round().long()
            rows, columns = at[:, 1].clamp(0, height - 1), at[:, 0].clamp(0, width - 1)
            scores = source.double()[:, rows, columns].t() @ target.double().flatten(1)
            index = [
                (xy[:, 1] / stride).round() * target.shape[2] + (xy[:, 0] / stride).round()
                for xy in (matches, recorded)
            ]
            assert as_good(scores, *index)
        # The error is recorded where the picture's size is.
        if "pixel_err" in golden:
            width = int(golden["imwidth"]) - 2 * int(golden["crop"])
            errors = pixel_errors(recorded, golden["gt_xy"], width)
            torch.testing.assert_close(errors, golden["pixel_err"], rtol=0, atol=1e-6)


def test_dense_matches_equal_the_reference(goldens: Path):
    for golden in golden_files(goldens, "dense_match*"):
        source, target, recorded = golden["source"], golden["target"], golden["grid"]
        factor = recorded.shape[1] // target.shape[1]
        grid = dense_match_grid(source, target, upscale=factor)
        assert grid.shape == recorded.shape
        keys = enlarge(source.double(), factor)
        extent = torch.tensor(keys.shape[:0:-1]) - 1
        places = [((each[0].double().flatten(0, 1) + 1) / 2 * extent).round() for each in (grid, recorded)]
        for each, place in zip((grid, recorded), places, strict=True):
            # Nothing but pixels of the source.
            assert (each[0].flatten(0, 1) - (place / extent * 2 - 1)).abs().max() < 1e-5
        index = [place[:, 1] * keys.shape[2] + place[:, 0] for place in places]
        scores = enlarge(target.double(), factor).flatten(1).t() @ keys.flatten(1)
        assert as_good(scores, *index)


def test_inter_ocular_error_equals_the_reference(goldens: Path):
    for golden in golden_files(goldens, "metrics*"):
        truth = golden["gt"]
        errors = normalised_errors(golden["pred"], truth, inter_ocular(truth, (36, 45)))
        torch.testing.assert_close(100 * errors.mean(), golden["iod68"], rtol=1e-5, atol=1e-5)


def test_learning_rates_follow_the_published_schedule(goldens: Path):
    for golden in golden_files(goldens, "lr_schedule_per_epoch*"):
        assert set(golden) == set(PUBLISHED_SCHEDULES)
        for name in golden:
            rates = golden[name]
            start = float(rates[0])
            for epoch, rate in enumerate(rates.tolist(), start=1):
                seen = start * published_factor(PUBLISHED_SCHEDULES[name], epoch)
                assert abs(seen - rate) < 1e-12, (name, epoch)


def test_every_recorded_number_is_compared_with(request: pytest.FixtureRequest, goldens: Path):
    assert_all_read(request, goldens, UNREAD)
