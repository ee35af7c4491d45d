"""Everything that a Python caller may take for a picture is read, or refused in one sentence."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from lineament.data.image_inputs import as_image
from lineament.errors import DataError

GREY = np.arange(24, dtype=np.uint8).reshape(4, 6) * 10
COLOUR = np.stack([GREY, 255 - GREY, GREY // 2], -1)
TRUTH = torch.from_numpy(COLOUR.transpose(2, 0, 1).astype(np.float32)) / 255
FLAT = torch.from_numpy(GREY.astype(np.float32) / 255).expand(3, 4, 6)


def encoded(kind: str) -> bytes:
    buffer = BytesIO()
    Image.fromarray(COLOUR).save(buffer, kind)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (COLOUR, TRUTH),
        (COLOUR[::-1][::-1], TRUTH),
        (COLOUR / 255.0, TRUTH),
        ((COLOUR / 255.0).astype(np.float32), TRUTH),
        (COLOUR.astype(np.uint16) * 257, TRUTH),
        (COLOUR.astype(np.int64), TRUTH),
        (GREY, FLAT),
        (GREY[..., None], FLAT),
        (GREY > 100, torch.from_numpy(np.broadcast_to(GREY > 100, (3, 4, 6)).astype(np.float32))),
        (np.dstack([COLOUR, np.full_like(GREY, 255)]), TRUTH),
        (np.dstack([COLOUR, np.zeros_like(GREY)]), torch.ones(3, 4, 6)),
        (TRUTH, TRUTH),
        (TRUTH.double(), TRUTH),
        ((TRUTH * 255).round().byte(), TRUTH),
        (TRUTH[0], FLAT),
        (TRUTH[:1], FLAT),
        (torch.cat([TRUTH, torch.ones(1, 4, 6)]), TRUTH),
        (Image.fromarray(COLOUR), TRUTH),
        (Image.fromarray(GREY), FLAT),
        (Image.fromarray(GREY).convert("LA"), FLAT),
        (Image.fromarray(COLOUR).convert("RGBA"), TRUTH),
        (Image.fromarray(GREY.astype(np.uint16) * 257), FLAT),
        (encoded("PNG"), TRUTH),
        (bytearray(encoded("BMP")), TRUTH),
    ],
)
def test_pictures(given: Any, expected: torch.Tensor) -> None:
    found = as_image(given)
    assert found.dtype == torch.float32 and found.shape == (3, 4, 6)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_a_float_picture_may_overshoot_a_little() -> None:
    assert as_image(torch.full((3, 2, 2), 1.05)).max() == 1.0
    assert as_image(np.full((2, 2), -0.05)).min() == 0.0


@pytest.mark.filterwarnings("error")
def test_a_read_only_array_is_a_picture_too() -> None:
    array = np.full((4, 6, 3), 255, np.uint8)
    array.setflags(write=False)
    assert torch.equal(as_image(array[::-1]), torch.ones(3, 4, 6))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (COLOUR.astype(np.float32), r"from 0 to 255: they must lie in 0\.\.1, divide by 255"),
        (np.full((2, 2), np.nan), "not finite"),
        (torch.full((3, 2, 2), torch.inf), "not finite"),
        (np.full((2, 2), 300, np.int32), "integers from 300 to 300"),
        (np.full((2, 2), -1, np.int8), "integers from -1"),
        (np.zeros((4, 6, 2)), r"not \[4, 6, 2\]"),
        (np.zeros((3, 4, 6)), r"\[H, W, 3\] or \[H, W, 4\], not \[3, 4, 6\]"),
        (torch.zeros(5, 6, 3), r"not \[5, 6, 3\]"),
        (np.zeros((2, 4, 6, 3)), "several images at once"),
        (torch.zeros(2, 3, 4, 6), "several images at once"),
        ([COLOUR, COLOUR], r"several images at once \(list\)"),
        ((COLOUR,), "several images"),
        ((each for each in [COLOUR]), r"\(generator\)"),
        ({"a": 1}, r"\(dict\)"),
        (None, r"no image is given \(None\)"),
        (7, "a int is no image"),
        (b"", "bytes"),
        (b"nonsense", "the image of 8 bytes is not an image"),
        (np.zeros((0, 4)), "holds no pixel"),
        (np.array([["a", "b"]]), "is no image"),
        (np.zeros((2, 2), complex), "is no image"),
        (Path("absent.png"), "there is no image"),
        (Image.fromarray(np.full((2, 2), 7.5, np.float32)), "floating-point values from 7.5"),
    ],
)
def test_what_is_none_is_one_sentence(given: Any, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        as_image(given)
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value)
