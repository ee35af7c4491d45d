"""Crops, mirrors and conversions against numbers recorded from the references."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.parity.recorded import Recorded, matching, read_arrays, read_tensors
from tests.parity.test_dve_protocol import recorded_size

from lineament.faces.crops import crop_image, crop_size, named_crop, published_points
from lineament.faces.schemes import builtin_schemes, convert_points, mirror_points
from lineament.geometry.affine2d import Affine2D


def recorded(goldens: Path, pattern: str) -> Recorded[torch.Tensor]:
    """The first file that matches; skips where there is none."""
    path = matching(goldens, pattern)[0]
    if path.suffix == ".npz":
        arrays = read_arrays(path)
        return Recorded(path, {key: torch.from_numpy(np.asarray(arrays[key])) for key in arrays})
    return read_tensors(path)


def assert_same_place(seen: torch.Tensor, expected: torch.Tensor, within: int = 0) -> None:
    """Pictures that another filter resized agree roughly, and worse when one of them is moved.

    Args:
        seen: ``[3, H, W]``.
        expected: ``[3, H, W]``.
        within: Pixels by which one may lie beside the other.
    """

    def error(down: int, across: int) -> float:
        return float((seen.roll((down, across), (1, 2)) - expected).abs().mean())

    near = range(-within, within + 1)
    best = min(error(down, across) for down in near for across in near)
    away = 2 * within + 1
    for down, across in ((away, 0), (-away, 0), (0, away), (0, -away)):
        assert error(down, across) > best


def as_image(pixels: torch.Tensor) -> torch.Tensor:
    return pixels.permute(2, 0, 1).double()


def region(crop: Affine2D, side: int) -> torch.Tensor:
    """Edges of the crop in the photograph, as the reference counts them: from the corner of the first pixel."""
    edges = torch.tensor([-0.5, -0.5, side - 0.5, side - 0.5], dtype=torch.float64)
    return crop.inverse().apply_box(edges) + 0.5


def test_fabrec_boxes(goldens: Path) -> None:
    golden = recorded(goldens, "fabrec/crops_aug*")
    side = int(golden["roi_size"])
    size = next(s for s in range(side) if int(np.ceil(s * 2**0.5)) == side)
    height, width = golden["img"].shape[:2]
    keys = sorted(key[:-5] for key in golden if key.startswith("bb") and key.endswith("_tlbr"))
    assert keys
    for key in keys:
        box = golden[key].double()
        # The recorded boxes were grown by the margins of 300-W.
        crop = named_crop(
            "fabrec", box=box - 0.5, image_size=(height, width), size=size, margins=(0.20, 0.12), trim=False
        )
        assert torch.allclose(region(crop, side), golden[f"{key}_tlbr"].double(), atol=1e-6)
        labels = published_points(golden[f"{key}_lms_in"].double(), crop)
        assert (labels - golden[f"{key}_lms"]).abs().max() < 1e-4
        # The reference resizes bicubically, without anti-aliasing: test_fabrec_crops.py compares pixel for pixel.
        picture = crop_image(as_image(golden["img"]), crop, side)
        assert_same_place(picture, as_image(golden[f"{key}_black"]))


def test_fabrec_landmarks(goldens: Path) -> None:
    golden = recorded(goldens, "fabrec/crops_aug*")
    side = int(golden["roi_size"])
    size = next(s for s in range(side) if int(np.ceil(s * 2**0.5)) == side)
    keys = sorted(k[:-5] for k in golden if k.startswith("lm") and k.endswith("_0_tlbr"))
    assert keys
    for key in keys:
        points = golden[f"{key}_in"]
        crop = named_crop("fabrec", landmarks=points, size=size, trim=False)
        assert torch.allclose(region(crop, side), golden[f"{key}_tlbr"].double(), atol=1e-6)
        assert (published_points(points.double(), crop) - golden[f"{key}_out"]).abs().max() < 1e-4


def test_mirrors(goldens: Path) -> None:
    golden = recorded(goldens, "fabrec/crops_aug*")
    side = int(golden["roi_size"])
    known = {k[4:-3] for k in golden if k.startswith("flip") and k.endswith("_in")} & set(builtin_schemes())
    assert known
    for name in known:
        # The reference mirrors about the picture's middle column without the half pixel.
        flipped = mirror_points(golden[f"flip{name}_in"], name, side + 1)
        assert (flipped - golden[f"flip{name}_out"]).abs().max() < 1e-4


def test_conversions(goldens: Path) -> None:
    golden = recorded(goldens, "fabrec/metrics*")
    assert torch.equal(convert_points(golden["lm98"], "98", "68"), golden["lm98_to_68"])
    golden = recorded(goldens, "depthnet/convert_*")
    assert torch.allclose(convert_points(golden["kp66"], "66", "68"), golden["kp68"], atol=1e-12)


@pytest.mark.parametrize(("item", "name"), [("smallnet", "dve-celeba"), ("hourglass", "dve-hourglass")])
def test_celeba_items(goldens: Path, item: str, name: str) -> None:
    golden = recorded(goldens, f"dve/celeba_item_{item}*")
    picture = golden["image_hwc_uint8"]
    image_size, width, side = tuple(picture.shape[:2]), int(golden["imwidth"]), golden.shape("plain.data")[-1]
    cut = (width - side) / 2
    whole = named_crop(name, image_size=image_size, size=width, trim=False)
    crop = whole.then(Affine2D.from_similarity(1.0, 0.0, (-cut, -cut)))
    published = named_crop(name, image_size=image_size)
    if (side, published.axis_scales) == (crop_size(name), pytest.approx(crop.axis_scales)):
        assert torch.allclose(published.matrix, crop.matrix, atol=1e-9)
    labels = published_points(golden["landmarks_raw"].double(), whole) - cut
    assert (labels - golden["plain.keypts"]).abs().max() < 1e-4
    mean = torch.tensor([0.5084, 0.4224, 0.3769]).view(3, 1, 1)
    deviation = torch.tensor([0.2599, 0.2371, 0.2323]).view(3, 1, 1)
    seen = (crop_image(as_image(picture) / 255, crop, side) - mean) / deviation
    # The reference rounds to 8 bits after resizing.
    assert (seen - golden["plain.data"]).abs().max() < 1.1 / 255 / 0.2323


def test_300w_item(goldens: Path) -> None:
    golden = recorded(goldens, "dve/300w_item_*bicubic*")
    picture, box = golden["image_hwc_uint8"], golden["bbox_xyxy"]
    # Inclusive pixel numbers from 1 become edges about pixel centres from 0.
    edges = box + torch.tensor([-1.5, -1.5, -0.5, -0.5], dtype=box.dtype)
    crop = named_crop("dve-300w", box=edges, image_size=(picture.shape[0], picture.shape[1]))
    expected = as_image(golden["crop100_hwc_uint8"])
    seen = crop_image(as_image(picture), crop, 100)
    # The published window is cut at whole pixels.
    assert_same_place(seen, expected, within=1)
    # From the window to the view: scaled by size / 100 without the half pixel, then cut.
    inside = crop.apply(golden["landmarks_raw"].double() - 1.0)
    size, seen_side = recorded_size(golden, inside / 100), golden.shape("data")[-1]
    labels = inside * (size / 100) - (size - seen_side) / 2
    # The published labels leave out the half pixel, and the window is cut at whole pixels.
    assert (labels - golden["keypts"]).abs().max() < 1.1 * max(1.0, size / 100)


def test_deep3d_alignment(goldens: Path) -> None:
    golden = recorded(goldens, "gmpi_rendering/align*.npz")
    picture = golden["img_in"]
    height, width = picture.shape[:2]
    crop = named_crop("gmpi", landmarks=golden["lm5_image"], image_size=(height, width))
    resized = golden["size_wh"].double()
    assert crop.axis_scales == pytest.approx((float(resized[0]) / width, float(resized[1]) / height))
    corner = crop.inverse().apply(torch.tensor([[-0.5, -0.5]], dtype=torch.float64))[0] + 0.5
    scales = torch.tensor(crop.axis_scales, dtype=torch.float64)
    assert torch.allclose(corner * scales, golden["left_up"].double(), atol=1e-6)
    expected = as_image(golden["img_out"])
    seen = crop_image(as_image(picture), crop, expected.shape[-1])
    assert_same_place(seen, expected)
