"""Scores against torchmetrics."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torchmetrics.functional import pearson_corrcoef
from torchmetrics.functional.image import structural_similarity_index_measure as ssim

from lineament.eight_bit import quantised
from lineament.methods.fabrec.loss import contrast_structure
from lineament.metrics.depth import PearsonSums, depth_correlation
from lineament.metrics.reconstruction import correlation, similarity


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def pictures(seed: int, side: int = 48) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(2, 3, 12, 12, generator=generator, dtype=torch.float64)
    return torch.nn.functional.interpolate(coarse, (side, side), mode="bilinear", align_corners=False)


def test_correlations_are_torchmetrics():
    predicted, true = drawn(50, 7), drawn(50, 7, seed=1)
    true = true + 0.8 * predicted
    expected = pearson_corrcoef(predicted, true)
    sums = PearsonSums(7)
    for part in torch.arange(50).split(13):
        sums.add(predicted[part], true[part])
    torch.testing.assert_close(sums.correlations(), expected)
    assert depth_correlation(predicted, true) == pytest.approx(float(expected.abs().sum()))
    torch.testing.assert_close(correlation(predicted[:, 0], true[:, 0]), expected[0])


def test_ssim_of_reconstructions_is_torchmetrics():
    """Uniform windows of 7 x 7 over 8-bit values; the sample variance, as scikit-image's, is torchmetrics' too."""
    first = quantised(pictures(0))[0]
    second = quantised((first + 0.1 * pictures(1)[0]).clamp(0, 1))
    value = similarity(first, second)
    expected = ssim(
        255 * first[None], 255 * second[None], gaussian_kernel=False, kernel_size=7, data_range=255.0
    )
    assert value == pytest.approx(float(expected), abs=3e-3)
    assert value < 0.99


def test_contrast_and_structure_are_ssim_where_the_means_agree():
    """The structural term leaves SSIM's luminance out: where both images have the same local means they agree."""
    images = pictures(2)
    targets = 0.5 + 1e-9 * images
    shifted = torch.full_like(images, 0.5)
    found = contrast_structure(targets, shifted, window=11).mean()
    assert float(found) == pytest.approx(float(ssim(targets, shifted, data_range=1.0)), abs=1e-6)


def test_the_whole_of_ssim_is_luminance_times_contrast_and_structure():
    from lineament.methods.fabrec.loss import window_means

    first = pictures(3)
    second = (first + 0.2 * pictures(4)).clamp(0, 1)
    mean_x, mean_y = window_means(first, 11), window_means(second, 11)
    luminance = (2 * mean_x * mean_y + 0.01**2) / (mean_x**2 + mean_y**2 + 0.01**2)
    ours = (luminance * contrast_structure(first, second, window=11)).mean((1, 2, 3))
    _, image = ssim(
        first, second, data_range=1.0, sigma=1.5, kernel_size=11, return_full_image=True, reduction="none"
    )
    # torchmetrics pads and cuts five pixels on each side.
    torch.testing.assert_close(ours, image[..., 5:-5, 5:-5].mean((1, 2, 3)), atol=1e-6, rtol=0)
