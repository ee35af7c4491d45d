import math

import pytest
import torch
from torch.nn import functional as F

from lineament.errors import DataError, UsageError
from lineament.faces.crops import crop_image
from lineament.geometry.affine2d import Affine2D


def picture(channels: int = 3, height: int = 90, width: int = 70) -> torch.Tensor:
    return torch.rand(
        channels, height, width, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )


def ramps(height: int, width: int) -> torch.Tensor:
    y, x = torch.meshgrid(torch.arange(float(height)), torch.arange(float(width)), indexing="ij")
    return torch.stack([x, y]).double()


@pytest.mark.parametrize("fill", [0.0, 0.7, "edge"])
@pytest.mark.parametrize("target", [(30, 20), (90, 70), (45, 200), (7, 5)])
def test_whole_picture_is_the_anti_aliased_resize(target: tuple[int, int], fill: float | str) -> None:
    image = picture()
    height, width = target
    crop = crop_image(image, Affine2D.resize((70, 90), (width, height)), target, fill)
    expected = F.interpolate(image[None], size=target, mode="bilinear", align_corners=False, antialias=True)[
        0
    ]
    # At the border "edge" repeats the last pixel where resizing leaves the filter's tail out.
    inner = slice(1, -1) if fill == "edge" else slice(None)
    assert torch.allclose(crop[:, inner, inner], expected[:, inner, inner], atol=1e-5)


def test_identity_and_whole_shifts_copy_pixels() -> None:
    image = picture()
    assert torch.allclose(crop_image(image, Affine2D.identity(), (90, 70)), image, atol=1e-12)
    shifted = crop_image(image, Affine2D.from_similarity(translation=(-5.0, 3.0)), (90, 70), fill=0.25)
    assert torch.allclose(shifted[:, 3:, :65], image[:, :87, 5:], atol=1e-12)
    assert (shifted[:, :3] == 0.25).all()


@pytest.mark.parametrize("angle", [0.0, 0.4, -2.0])
@pytest.mark.parametrize("scale", [0.11, 0.45, 1.0, 2.3])
def test_every_crop_pixel_comes_from_where_the_inverse_says(scale: float, angle: float) -> None:
    image = ramps(500, 600)
    turn = Affine2D.from_similarity(scale, angle)
    middle = turn.apply(torch.tensor([[300.0, 250.0]], dtype=torch.float64))[0]
    crop = turn.then(Affine2D.from_similarity(translation=tuple((24.5 - middle).tolist())))
    seen = crop_image(image, crop, 50)
    source = crop.inverse().apply(ramps(50, 50).permute(1, 2, 0)).permute(2, 0, 1)
    margin = 3.0 / min(scale, 1.0)
    inside = (
        (source[0] > margin) & (source[0] < 599 - margin) & (source[1] > margin) & (source[1] < 499 - margin)
    )
    assert inside.sum() > 500
    # A sampled triangle wobbles by a few hundredths of a crop pixel where the ratio is not whole.
    assert (seen - source)[:, inside].abs().max() * scale < 0.04


@pytest.mark.parametrize("angle", [0.0, 0.3])
def test_shrinking_does_not_alias(angle: float) -> None:
    checks = torch.zeros(1, 400, 400, dtype=torch.float64)
    checks[:, ::2, ::2] = 1.0
    checks[:, 1::2, 1::2] = 1.0
    crop = crop_image(checks, Affine2D.from_similarity(0.1, angle, (5.0, 5.0)), 24)
    middle = crop[:, 12:20, 12:20]
    assert (middle - 0.5).abs().max() < 0.02


@pytest.mark.parametrize("angle", [0.0, 0.3])
@pytest.mark.parametrize("shift", [(1e5, -1e5), (-1e5, 40.0), (30.0, 1e5)])
def test_far_outside_is_fill(angle: float, shift: tuple[float, float]) -> None:
    image = picture()
    crop = Affine2D.from_similarity(0.5, angle, shift)
    assert torch.allclose(crop_image(image, crop, 8, fill=0.3), torch.tensor(0.3, dtype=torch.float64))
    edge = crop_image(image, crop, 8, fill="edge")
    assert edge.isfinite().all() and edge.min() >= 0 and edge.max() <= 1


def test_edge_repeats_the_border() -> None:
    image = picture()
    crop = crop_image(image, Affine2D.from_similarity(translation=(10.0, 0.0)), (90, 80), fill="edge")
    assert torch.allclose(crop[:, :, :10], image[:, :, :1].expand(-1, -1, 10))


def test_gradients_and_types_pass_through() -> None:
    image = picture().float().requires_grad_()
    crop = crop_image(image, Affine2D.from_similarity(0.4, 0.2), 16)
    assert crop.dtype == torch.float32
    crop.sum().backward()
    assert image.grad is not None and image.grad.abs().sum() > 0


def test_one_pixel_pictures_and_crops() -> None:
    assert crop_image(torch.full((3, 1, 1), 0.6), Affine2D.from_similarity(9.0, 0.0, (4.0, 4.0)), 9).allclose(
        torch.tensor(0.6)
    )
    assert crop_image(picture(), Affine2D.resize((70, 90), (1, 1)), 1).shape == (3, 1, 1)


def test_wrong_pictures_and_fills_are_refused() -> None:
    with pytest.raises(DataError, match="uint8"):
        crop_image(torch.zeros(3, 4, 4, dtype=torch.uint8), Affine2D.identity(), 4)
    with pytest.raises(DataError):
        crop_image(torch.zeros(4, 4), Affine2D.identity(), 4)
    with pytest.raises(UsageError, match="mirror"):
        crop_image(picture(), Affine2D.identity(), 4, fill="mirror")
    assert math.isfinite(float(crop_image(picture(), Affine2D.identity(), 4).sum()))


@pytest.mark.parametrize("scale", [0.25, 0.5, 1.0, 4.0])
def test_a_border_pixel_is_filled_by_the_share_that_lies_outside(scale: float) -> None:
    """A white picture whose left edge runs through the middle, or a quarter, of a crop pixel; grey around it."""
    image = torch.ones(1, 64, 64, dtype=torch.float64)
    for share in (0.5, 0.25):
        # Crop pixel 3 spans 2.5 .. 3.5; the picture's edge, -0.5, lands at 2.5 + share.
        crop = Affine2D.from_similarity(scale, 0.0, (2.5 + share + 0.5 * scale, 0.5 * scale - 0.5))
        row = crop_image(image, crop, (3, 8), fill=0.2)[0, 1]
        assert row[:3].tolist() == pytest.approx([0.2, 0.2, 0.2])
        assert float(row[3]) == pytest.approx((1 - share) + 0.2 * share)
        assert row[4:].tolist() == pytest.approx([1.0] * 4)
