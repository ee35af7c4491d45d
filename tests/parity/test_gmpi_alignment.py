"""The alignment of Deep3DFaceRecon against a recording of it."""

from __future__ import annotations

from pathlib import Path

import torch
from tests.parity.gmpi_scenes import arrays, as_tensor, distance

from lineament.faces.crops import named_crop
from lineament.faces.deep3d_alignment import align_image, align_map, align_points, find_window

FILES = ("gmpi_rendering/align224.npz",)


def test_gmpi_alignment_of_images_depths_and_points(goldens: Path):
    file = arrays(goldens, "align224")
    image = as_tensor(file["img_in"]).permute(2, 0, 1)
    points = as_tensor(file["lm5_image"])
    window = find_window(points, tuple(image.shape[-2:]))
    assert distance(torch.tensor(window.position), as_tensor(file["t"]).flatten()) <= 1e-5
    assert abs(window.face_scale - float(as_tensor(file["s_pos"]))) <= 1e-5
    assert abs(window.scale - float(as_tensor(file["scale"]))) <= 1e-6
    assert window.size == tuple(as_tensor(file["size_wh"]).tolist())
    assert window.corner == tuple(as_tensor(file["left_up"]).tolist())
    assert distance(align_image(image, window).permute(1, 2, 0), file["img_out"]) <= 1
    assert torch.equal(align_map(as_tensor(file["depth_in"]), window), as_tensor(file["depth_out"]))
    assert distance(align_points(points, window), file["lm_out"]) <= 1e-5
    height = image.shape[-2]
    flipped = torch.stack([points[:, 0], height - 1 - points[:, 1]], -1)
    assert distance(flipped, file["lm5_yup"]) <= 1e-9
    # The named crop leads to the same place; sizes and corner are cut to whole pixels.
    crop = named_crop("gmpi", landmarks=points, scheme="5", image_size=tuple(image.shape[-2:]))
    moved = crop.apply(points)
    moved[:, 1] = 223 - moved[:, 1]
    assert float((moved - as_tensor(file["lm_out"])).abs().max()) <= 2.5
    # Points of the mean face need no fit.
    assert as_tensor(file["lm3d_std5"]).shape == (5, 3)
