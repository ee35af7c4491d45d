"""Losses, heatmaps and the published measures of 3FabRec against recorded numbers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from tests.parity.fabrec_goldens import as_image, as_input, recorded, same
from tests.parity.recorded import assert_all_read
from torch import Tensor

from lineament.faces.schemes import convert_points, scheme
from lineament.methods.fabrec.evaluate import inner_and_outline, published_errors
from lineament.methods.fabrec.heatmaps import draw_heatmaps, read_heatmaps, smooth
from lineament.methods.fabrec.loss import (
    contrast_structure,
    pixel_loss,
    structural_loss,
    value_ranges,
    window_means,
)
from lineament.methods.fabrec.model import to_images
from lineament.methods.fabrec.tiles import heatmap_overlay, tile_images
from lineament.metrics.landmark import area_under_curve, cumulative_curve, failure_rate
from lineament.metrics.reconstruction import (
    eight_bits,
    error_around_landmarks,
    quality_at_landmarks,
    similarity,
)

# The recorded files these tests compare with, every number of them.
FILES = ("fabrec/ssim*", "fabrec/metrics*")


def dense_contrast_structure(x: Tensor, y: Tensor, window: Tensor) -> Tensor:
    """The plain twin: dense windows, image by image."""
    kernel = window.to(x.dtype).expand(x.shape[1], 1, *window.shape).contiguous()
    maps = []
    for a, b, extent in zip(x, y, value_ranges(x), strict=True):

        def mean(v: Tensor) -> Tensor:
            return F.conv2d(v[None], kernel, groups=len(v))

        c = (0.03 * extent) ** 2
        cov = mean(a * b) - mean(a) * mean(b)
        spread = mean(a * a) - mean(a) ** 2 + mean(b * b) - mean(b) ** 2
        maps.append((2 * cov + c) / (spread + c))
    return torch.cat(maps)


def test_structural_term(goldens: Path):
    for _, golden in recorded(goldens, "ssim*"):
        x, y = as_input(golden["x_u8"]), as_input(golden["y_u8"]).requires_grad_()
        same(x.amin((1, 2, 3)), golden["min_x"], 1e-6)
        single = torch.zeros(1, 1, 61, 61)
        single[..., 30, 30] = 1
        same(window_means(single)[0, 0], golden["window"], 1e-8)
        found = contrast_structure(x, y.detach(), "paper")
        exact = dense_contrast_structure(x.double(), y.detach().double(), golden["window"])
        for i in range(len(x)):
            expected = golden[f"cs_map_{i}"][0]
            # float32 variances are differences of near equals: the recording itself is that far from float64.
            noise = float((expected - exact[i]).abs().max())
            assert float((found[i] - exact[i]).abs().max()) <= max(1e-5, noise)
            same(found[i].mean(), golden[f"cs_{i}"][0], 1e-5)
        loss = structural_loss(x, y, "paper")
        same(loss, golden["loss_struct"][0], 1e-5)
        loss.backward()
        assert y.grad is not None
        same(y.grad, golden["grad_y"], 1e-5)
        assert float((y.grad - golden["grad_y"]).norm() / golden["grad_y"].norm()) < 1e-4
        assert float(pixel_loss(x, y.detach())) == pytest.approx(float(golden["loss_recon"]), rel=1e-5)
        each = torch.stack([pixel_loss(a, b) for a, b in zip(x, y.detach(), strict=True)])
        torch.testing.assert_close(each, golden["loss_recon_none"], rtol=1e-5, atol=0)
        pairs = zip(x, y.detach(), strict=True)
        ssim = torch.tensor([similarity(to_images(a), to_images(b)) for a, b in pairs], dtype=torch.float64)
        same(ssim, golden["skimage_ssim_u8"], 1e-5)


def test_heatmap_targets(goldens: Path):
    for _, golden in recorded(goldens, "metrics*"):
        points = golden["hm_lms"]
        side = next(
            golden.shape(k)[-1] for k in golden if k.startswith("hm_sigma") and len(golden.shape(k)) == 3
        )
        names = [k.removesuffix("_max") for k in golden if k.startswith("hm_sigma") and k.endswith("_max")]
        assert names
        for name in names:
            sigma = float(name.removeprefix("hm_sigma"))
            maps = draw_heatmaps(points, side, side, sigma, "paper")
            same(maps.amax((1, 2)), golden[f"{name}_max"], 1e-6)
            torch.testing.assert_close(maps.double().sum((1, 2)), golden[f"{name}_sum"], rtol=1e-6, atol=1e-4)
            best = maps.flatten(1).argmax(1)
            assert torch.equal(torch.stack([best % side, best // side], 1), golden[f"{name}_argmax"])
            if name in golden:
                same(maps[: len(golden[name])], golden[name], 1e-6)
        for name in (k for k in golden if k.startswith("template")):
            sigma = float(name.removeprefix("template"))
            window = golden[name]
            # A landmark in the middle of a large frame shows the whole window.
            frame = 4 * len(window)
            whole = draw_heatmaps(torch.full((1, 2), frame / 2.0), frame, frame, sigma, "paper")[0]
            start = int(frame / 2 - len(window) / 2)
            same(whole[start : start + len(window), start : start + len(window)], window, 1e-6)


def test_decoding(goldens: Path):
    for _, golden in recorded(goldens, "metrics*"):
        same(smooth(golden["dec_in"]), golden["dec_smooth"], 1e-6)
        for key in (k for k in golden if k.startswith("dec_lms_t")):
            size = int(key.removeprefix("dec_lms_t"))
            found, expected = read_heatmaps(golden["dec_in"], size, style="paper").double(), golden[key]
            # What differs may only be a tie: the recorded place scores as high as ours.
            blurred = smooth(golden["dec_in"])
            for b, k in (found != expected).any(-1).nonzero().tolist():
                x, y = (expected[b, k] * blurred.shape[-1] / size).long().tolist()
                assert blurred[b, k].max() - blurred[b, k, y, x] < 1e-6


def test_errors_curves_and_parts(goldens: Path):
    for _, golden in recorded(goldens, "metrics*"):
        names = [k.removeprefix("pred_") for k in golden if k.startswith("pred_")]
        assert names
        for name in names:
            count, norm = name.split("_")
            predicted, truth, expected = (golden[f"{k}_{name}"] for k in ("pred", "gt", "nme"))
            # Schemes without eyes are divided by the side of the crop, which the file does not tell but its numbers do.
            distance = (predicted - truth).norm(dim=-1)
            side = round(float((100 * distance / expected).mean()))
            errors = published_errors(predicted, truth, norm, side)
            torch.testing.assert_close(errors.double(), expected.double(), rtol=1e-5, atol=1e-5)
            if f"nme_inner_{name}" in golden:
                inner, outline = inner_and_outline(errors, scheme(count))
                same(inner, golden[f"nme_inner_{name}"], 1e-4)
                same(outline, golden[f"nme_outer_{name}"], 1e-4)
            per_face = expected.double().mean(1)
            curve = cumulative_curve(per_face, 10.0, len(golden[f"ced_{name}"]))[1]
            same(curve, golden[f"ced_{name}"], 1e-6)
            area = area_under_curve(per_face, 10.0, "paper")
            assert abs(area - float(golden[f"auc_{name}"])) < 1e-6
            assert abs(failure_rate(per_face, 10.0) - float(golden[f"fr_{name}"])) < 1e-6


def test_displayed_pictures(goldens: Path):
    for _, golden in recorded(goldens, "metrics*"):
        shown = torch.stack([torch.from_numpy(eight_bits(to_images(x))) for x in as_input(golden["im_a"])])
        assert (shown.int() - golden["disp"].int()).abs().max() <= 1
        # The grid holds the displayed pictures in rows of two; places without one are white.
        pictures, grid = [as_image(picture) for picture in golden["disp"]], as_image(golden["grid"])
        side = pictures[0].shape[1] + 2
        white = torch.ones_like(pictures[0])
        rows = []
        for top in range(0, grid.shape[1], side):
            windows = [grid[:, top : top + side - 2, x : x + side - 2] for x in range(0, grid.shape[2], side)]
            rows.append([next(p for p in [*pictures, white] if torch.equal(p, window)) for window in windows])
        assert torch.equal(rows[0][0], pictures[0])
        assert torch.equal(tile_images(rows), grid)


def test_98_points_as_68(goldens: Path):
    for _, golden in recorded(goldens, "metrics*"):
        same(convert_points(golden["lm98"], "98", "68"), golden["lm98_to_68"], 1e-6)


def test_pictures_at_landmarks(goldens: Path):
    for _, golden in recorded(goldens, "metrics*"):
        # Networks see and return pictures without their means.
        shown = [to_images(as_input(golden[key])) for key in ("im_a", "im_b")]
        for i, (picture, made) in enumerate(zip(*shown, strict=True)):
            points = golden["im_lms"][i]
            found = quality_at_landmarks(picture, made, points)
            same(found.similarity, golden["lm_ssim"][i], 1e-6)
            same(found.correlation, golden["lm_ncc"][i], 1e-6)
            # The recording divides by the number of channels twice.
            error = error_around_landmarks(picture, made, points) / 3
            assert error == pytest.approx(float(golden["lm_recon_err"][i]), rel=1e-5)


def test_heatmaps_over_a_picture(goldens: Path):
    for _, golden in recorded(goldens, "metrics*"):
        side = golden["overlay"].shape[0]
        # The first landmark, in a heatmap of half the size of the first picture.
        heatmaps = draw_heatmaps(golden["hm_lms"][:1], side, side // 2, style="paper")
        shown = torch.from_numpy(eight_bits(to_images(as_input(golden["im_a"][0]))))
        found = torch.from_numpy(eight_bits(heatmap_overlay(as_image(shown), heatmaps)))
        assert (found.int() - golden["overlay"].int()).abs().max() <= 1


def test_every_recorded_number_is_compared_with(request: pytest.FixtureRequest, goldens: Path):
    assert_all_read(request, goldens)
