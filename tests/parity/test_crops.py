"""Crops, mirrors and conversions against numbers recorded from the references."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from lineament.faces.crops import crop_image, crop_size, named_crop, published_points
from lineament.faces.schemes import builtin_schemes, convert_points, mirror_points
from lineament.geometry.affine2d import Affine2D


def recorded(goldens: Path, name: str) -> dict[str, torch.Tensor]:
    method, _, file = name.partition("/")
    # --goldens may name the folder of one method.
    path = goldens / (file if goldens.name == method else name)
    if not path.exists():
        pytest.skip(f"no {name} in {goldens}")
    if path.suffix == ".npz":
        with np.load(path) as arrays:
            return {key: torch.from_numpy(np.asarray(arrays[key])) for key in arrays}
    return load_file(path)


def as_image(pixels: torch.Tensor) -> torch.Tensor:
    return pixels.permute(2, 0, 1).double()


def region(crop: Affine2D, side: int) -> torch.Tensor:
    """Edges of the crop in the photograph, as the reference counts them: from the corner of the first pixel."""
    edges = torch.tensor([-0.5, -0.5, side - 0.5, side - 0.5], dtype=torch.float64)
    return crop.inverse().apply_box(edges) + 0.5


def test_fabrec_boxes(goldens: Path) -> None:
    golden = recorded(goldens, "fabrec/crops_aug.safetensors")
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
        # The reference resizes with another filter (bicubic, no anti-aliasing), so pictures agree only roughly.
        picture = crop_image(as_image(golden["img"]), crop, side)
        assert (picture - as_image(golden[f"{key}_black"])).abs().mean() < 3.0


def test_fabrec_landmarks(goldens: Path) -> None:
    golden = recorded(goldens, "fabrec/crops_aug.safetensors")
    side = int(golden["roi_size"])
    size = next(s for s in range(side) if int(np.ceil(s * 2**0.5)) == side)
    for key in ("lm68_0", "lm98_0"):
        points = golden[f"{key}_in"]
        crop = named_crop("fabrec", landmarks=points, size=size, trim=False)
        assert torch.allclose(region(crop, side), golden[f"{key}_tlbr"].double(), atol=1e-6)
        assert (published_points(points.double(), crop) - golden[f"{key}_out"]).abs().max() < 1e-4


def test_mirrors(goldens: Path) -> None:
    golden = recorded(goldens, "fabrec/crops_aug.safetensors")
    side = int(golden["roi_size"])
    checked = 0
    for name in builtin_schemes():
        if f"flip{name}_in" in golden:
            # The reference mirrors about the picture's middle column without the half pixel.
            flipped = mirror_points(golden[f"flip{name}_in"], name, side + 1)
            assert (flipped - golden[f"flip{name}_out"]).abs().max() < 1e-4
            checked += 1
    assert checked >= 4


def test_conversions(goldens: Path) -> None:
    golden = recorded(goldens, "fabrec/metrics.safetensors")
    assert torch.equal(convert_points(golden["lm98"], "98", "68"), golden["lm98_to_68"])
    golden = recorded(goldens, "depthnet/convert_66_68.npz")
    assert torch.allclose(convert_points(golden["kp66"], "66", "68"), golden["kp68"], atol=1e-12)


@pytest.mark.parametrize(("item", "name"), [("smallnet", "dve-celeba"), ("hourglass", "dve-hourglass")])
def test_celeba_items(goldens: Path, item: str, name: str) -> None:
    golden = recorded(goldens, f"dve/celeba_item_{item}.safetensors")
    picture = golden["image_hwc_uint8"]
    crop = named_crop(name, image_size=(picture.shape[0], picture.shape[1]))
    labels = published_points(golden["landmarks_raw"].double(), crop)
    assert (labels - golden["plain.keypts"]).abs().max() < 1e-4
    mean = torch.tensor([0.5084, 0.4224, 0.3769]).view(3, 1, 1)
    deviation = torch.tensor([0.2599, 0.2371, 0.2323]).view(3, 1, 1)
    seen = (crop_image(as_image(picture) / 255, crop, crop_size(name)) - mean) / deviation
    # The reference rounds to 8 bits after resizing.
    assert (seen - golden["plain.data"]).abs().max() < 1.1 / 255 / 0.2323


def test_300w_item(goldens: Path) -> None:
    golden = recorded(goldens, "dve/300w_item_modern_bicubic.safetensors")
    picture, box = golden["image_hwc_uint8"], golden["bbox_xyxy"]
    # Inclusive pixel numbers from 1 become edges about pixel centres from 0.
    edges = box + torch.tensor([-1.5, -1.5, -0.5, -0.5], dtype=box.dtype)
    crop = named_crop("dve-300w", box=edges, image_size=(picture.shape[0], picture.shape[1]))
    expected = as_image(golden["crop100_hwc_uint8"])
    seen = crop_image(as_image(picture), crop, 100)
    error = (seen - expected).abs().mean()
    assert error < 4.0
    for shift in ((1, 0), (-1, 0), (0, 1), (0, -1)):
        assert (seen.roll(shift, (1, 2)) - expected).abs().mean() > 2 * error
    cut = (100 - golden["data"].shape[-1]) // 2
    labels = crop.apply(golden["landmarks_raw"].double() - 1.0) - cut
    # The published labels leave out the half pixel and the rounding of the resized picture.
    assert (labels - golden["keypts"]).abs().max() < 0.7


def test_deep3d_alignment(goldens: Path) -> None:
    golden = recorded(goldens, "gmpi_rendering/align224.npz")
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
    assert (seen - expected).abs().mean() < 2.0
