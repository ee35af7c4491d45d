"""Changes of appearance, one at a time, against closed forms."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from lineament.faces import photometric as look
from lineament.faces.photometric import (
    PhotometricRanges,
    apply_photometric,
    blur,
    colour_noise,
    sample_photometric,
    to_grey,
)

PICTURES = 0.2 + 0.6 * torch.rand(2, 3, 12, 10, generator=torch.Generator().manual_seed(0))
STILL = PhotometricRanges(0, 0, 0, 0)


def plain() -> Tensor:
    """Two looks that change nothing."""
    return sample_photometric(STILL, torch.Generator().manual_seed(0)).repeat(2, 1)


def changed(column: int, value: float) -> Tensor:
    looks = plain()
    looks[1, column] = value
    found = apply_photometric(PICTURES, looks)
    # Each picture has its own look.
    torch.testing.assert_close(found[0], PICTURES[0], atol=1e-6, rtol=0)
    return found[1]


def test_without_spread_nothing_changes():
    torch.testing.assert_close(apply_photometric(PICTURES, plain()), PICTURES, atol=1e-6, rtol=0)


def test_brightness_is_a_factor_and_is_clamped():
    torch.testing.assert_close(changed(look.BRIGHTNESS, 0.5), 0.5 * PICTURES[1])
    torch.testing.assert_close(changed(look.BRIGHTNESS, 1.5), (1.5 * PICTURES[1]).clamp(0, 1))


def test_contrast_is_about_the_mean_grey_of_the_picture():
    grey = to_grey(PICTURES[1:]).mean()
    torch.testing.assert_close(changed(look.CONTRAST, 0.5), grey + 0.5 * (PICTURES[1] - grey))


def test_saturation_is_about_each_pixel_s_own_grey_and_grey_takes_all():
    grey = to_grey(PICTURES[1:])[0]
    torch.testing.assert_close(changed(look.SATURATION, 0.5), grey + 0.5 * (PICTURES[1] - grey))
    torch.testing.assert_close(changed(look.GREY, 1.0), grey.expand(3, -1, -1))
    assert to_grey(torch.eye(3).view(3, 3, 1, 1)).flatten().tolist() == pytest.approx([0.299, 0.587, 0.114])


def test_gamma_is_an_exponent():
    torch.testing.assert_close(changed(look.GAMMA, 2.0), PICTURES[1] ** 2)


def test_side_light_slopes_along_its_own_axis():
    across, down = changed(look.LIGHT_X, 0.2) / PICTURES[1], changed(look.LIGHT_Y, 0.2) / PICTURES[1]
    torch.testing.assert_close(across, (1 + 0.2 * torch.linspace(-1, 1, 10)).expand(3, 12, 10))
    torch.testing.assert_close(down, (1 + 0.2 * torch.linspace(-1, 1, 12))[:, None].expand(3, 12, 10))


def test_colour_noise_lies_along_the_principal_axes():
    # A unit of the first coefficient: its deviation times the first column.
    found = colour_noise(torch.tensor([[1.0, 0.0, 0.0]]))[0]
    assert found.tolist() == pytest.approx([0.2175 * v for v in (-0.5675, -0.5808, -0.5836)])
    looks = plain()
    looks[1, look.COLOUR] = torch.tensor([1.0, 0.0, 0.0])
    torch.testing.assert_close(apply_photometric(PICTURES, looks)[1], PICTURES[1] + found[:, None, None])
    # A grey picture stays grey.
    looks[1, look.GREY] = 1.0
    made = apply_photometric(PICTURES, looks)[1]
    torch.testing.assert_close(made[0], made[2])


def test_pixel_noise_has_the_asked_deviation():
    looks, noise = plain(), torch.randn(2, 1, 12, 10, generator=torch.Generator().manual_seed(1))
    looks[1, look.NOISE] = 0.05
    made = apply_photometric(PICTURES, looks, noise)
    torch.testing.assert_close(made[1], (PICTURES[1] + 0.05 * noise[1]).clamp(0, 1))
    torch.testing.assert_close(made[0], PICTURES[0], atol=1e-6, rtol=0)


def test_blur_is_a_gaussian_of_the_asked_deviation():
    point = torch.zeros(2, 1, 15, 15)
    point[:, :, 7, 7] = 1.0
    made = blur(point, torch.tensor([1.0, 0.0]))[:, 0]
    bell = torch.exp(-0.5 * torch.arange(-3.0, 4.0) ** 2)
    bell = bell / bell.sum()
    torch.testing.assert_close(made[0, 4:11, 4:11], bell[:, None] * bell)
    torch.testing.assert_close(made[1], point[1, 0])
    # The border is repeated: a flat picture stays flat.
    torch.testing.assert_close(blur(torch.ones(1, 2, 8, 9), torch.tensor([1.5])), torch.ones(1, 2, 8, 9))


def test_draws_keep_to_their_ranges_and_reach_both_ends():
    spread = PhotometricRanges(0.4, 0.3, 0.2, 0.1, grey=0.25, gamma=1.0, light=0.5, blur=0.5, noise=0.04)
    generator = torch.Generator().manual_seed(0)
    drawn = torch.stack([sample_photometric(spread, generator) for _ in range(2000)])
    for column, reach in ((look.BRIGHTNESS, 0.4), (look.CONTRAST, 0.3), (look.SATURATION, 0.2)):
        low, high = float(drawn[:, column].min()), float(drawn[:, column].max())
        assert (low, high) == pytest.approx((1 - reach, 1 + reach), abs=0.01 * reach + 2e-3)
    # Exponents from 1/2 to 2, as many below one as above.
    exponents = drawn[:, look.GAMMA].log2()
    assert (float(exponents.min()), float(exponents.max())) == pytest.approx((-1, 1), abs=0.01)
    assert float(exponents.mean()) == pytest.approx(0, abs=0.05)
    assert float(drawn[:, look.GREY].mean()) == pytest.approx(0.25, abs=0.04)
    blurred = drawn[:, look.BLUR][drawn[:, look.BLUR] > 0]
    assert len(blurred) / 2000 == pytest.approx(0.5, abs=0.05)
    assert (float(blurred.min()), float(blurred.max())) == pytest.approx((0.3, 1.5), abs=0.01)
    assert float(drawn[:, look.NOISE].max()) == pytest.approx(0.04, abs=1e-3)
    for column in (look.LIGHT_X, look.LIGHT_Y):
        assert float(drawn[:, column].std()) == pytest.approx(0.5, rel=0.06)
    assert float(drawn[:, look.COLOUR].std()) == pytest.approx(0.1, rel=0.06)
    assert math.isfinite(float(apply_photometric(PICTURES, drawn[:2]).sum()))
