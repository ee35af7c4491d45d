"""One rounding between tensors and 8-bit images."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lineament.eight_bit import from_array, from_pil, quantised, to_array, to_float, to_pil, to_uint8


def test_every_value_of_eight_bits_survives():
    levels = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_uint8(to_float(levels)), levels)
    assert torch.equal(quantised(to_float(levels)), to_float(levels))


@pytest.mark.parametrize(
    ("value", "level"), [(-0.3, 0), (1.2, 255), (0.5 / 255, 0), (1.5 / 255, 2), (0.7 / 255, 1)]
)
def test_values_are_clamped_and_rounded_to_the_nearest_even(value: float, level: int):
    image = torch.full((3, 2, 4), value, dtype=torch.float64)
    assert to_uint8(image).unique().tolist() == [level]
    assert (255 * quantised(image)).round().unique().tolist() == [level]


def test_channels_and_axes_keep_their_order():
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    image = from_array(pixels)
    assert image.shape == (3, 5, 7)
    assert image.dtype == torch.float32
    assert float(image[1, 4, 2]) == pytest.approx(pixels[4, 2, 1] / 255)
    assert np.array_equal(to_array(image), pixels)
    assert to_pil(image).getpixel((2, 4)) == tuple(pixels[4, 2])
    assert torch.equal(from_pil(to_pil(image)), image)


def test_one_channel_is_a_grey_image():
    assert to_pil(torch.zeros(1, 4, 6, dtype=torch.uint8)).mode == "L"
