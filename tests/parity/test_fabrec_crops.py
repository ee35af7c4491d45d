"""Crops and random moves of 3FabRec, pixel for pixel, against recorded numbers."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from tests.parity.fabrec_goldens import as_image, recorded, same
from tests.parity.recorded import assert_all_read
from torch import Tensor

from lineament.faces.crops import named_crop, published_points
from lineament.faces.schemes import LandmarkScheme, scheme
from lineament.geometry.affine2d import Affine2D
from lineament.methods.fabrec.augment import (
    AffineParams,
    affine_matrix,
    apply_affine,
    published_mirror,
    transform_points,
)
from lineament.methods.fabrec.crop import View, region_offset, region_side
from lineament.methods.fabrec.cut import cut_region
from lineament.methods.fabrec.level import levelling

# The recorded files these tests compare with, every number of them.
FILES = ("fabrec/crops_aug*",)

# AFLW with ears: brows, eyes, left ear, nose, right ear, mouth, chin.
MIRROR_21 = (5, 4, 3, 2, 1, 0, 11, 10, 9, 8, 7, 6, 16, 15, 14, 13, 12, 19, 18, 17, 20)


def layout(count: str) -> LandmarkScheme:
    if count == "21":
        return LandmarkScheme("21", tuple(f"point {i}" for i in range(21)), MIRROR_21)
    return scheme(count)


def size_of(side: int) -> int:
    return next(size for size in range(side) if region_side(size) == side)


def corners(region: Affine2D, side: int) -> Tensor:
    """Corners of a region in the photograph, counted from the corner of its first pixel."""
    edges = torch.tensor([-0.5, -0.5, side - 0.5, side - 0.5], dtype=torch.float64)
    return region.inverse().apply_box(edges) + 0.5


def same_pixels(found: Tensor, expected: Tensor) -> None:
    """Within one step of 8 bits: libraries round differently."""
    assert ((255 * found).round() - 255 * as_image(expected)).abs().max() <= 1.001


def test_box_crops(goldens: Path):
    for _, golden in recorded(goldens, "crops_aug*"):
        side, image = int(golden["roi_size"]), as_image(golden["img"])
        size = size_of(side)
        keys = sorted(k.removesuffix("_tlbr") for k in golden if k.startswith("bb") and k.endswith("_tlbr"))
        assert keys
        for key in keys:
            view = View(size, "box", (0.20, 0.12), "paper")
            image_size = (image.shape[1], image.shape[2])
            region = view.region_of_box(golden[key].double() - 0.5, image_size)
            same(corners(region, side), golden[f"{key}_tlbr"], 1e-6)
            # The grown box alone leads to the same region, whose corners are cut to whole pixels toward zero; around a
            # tiny box it is the whole picture.
            grown = View(size, "box", (0.0, 0.0), "paper")
            same(
                corners(grown.region_of_box(golden[f"{key}_ext"].double() - 0.5, image_size), side),
                golden[f"{key}_tlbr"],
                1e-6,
            )
            box = golden[f"{key}_ext"].double()
            half = 0.5 * side / size * (box[2:] - box[:2]).max()
            middle = 0.5 * (box[2:] + box[:2])
            same(torch.cat([middle - half, middle + half]), golden[f"{key}_roi"], 1e-4)
            whole = golden[f"{key}_roi"].trunc().long()
            if (whole[2:] - whole[:2]).min() >= 10:
                assert torch.equal(whole, golden[f"{key}_tlbr"])
            for border in ("black", "edge", "mirror"):
                same_pixels(cut_region(image, region, side, border), golden[f"{key}_{border}"])
            placed = published_points(golden[f"{key}_lms_in"].double(), region)
            same(placed, golden[f"{key}_lms"], 1e-4)
            shift = torch.tensor([0.5 * (1.0 - s) for s in region.axis_scales], dtype=torch.float64)
            back = region.inverse().apply(golden[f"{key}_lms"].double() - shift)
            same(back, golden[f"{key}_lms_inv"], 2e-4)
            same(back, golden[f"{key}_lms_in"], 2e-4)


def test_landmark_crops(goldens: Path):
    for _, golden in recorded(goldens, "crops_aug*"):
        side, image = int(golden["roi_size"]), as_image(golden["img"])
        for key in sorted(
            k.removesuffix("_tlbr") for k in golden if k.startswith("lm") and k.endswith("_tlbr")
        ):
            points, turn = golden[f"{key}_in"], None
            kind = scheme(str(len(points)))
            # The number behind the scheme says whether the eyes were levelled first.
            if key.endswith("_1"):
                turn = levelling(points, kind, published=True)
                points = turn.apply(points)
            region = named_crop("fabrec", landmarks=points, scheme=kind, size=size_of(side), trim=False)
            same(corners(region, side), golden[f"{key}_tlbr"], 1e-6)
            same(published_points(points.double(), region), golden[f"{key}_out"], 1e-4)
            same_pixels(cut_region(image, region, side, turn=turn), golden[f"{key}_img"])


def test_moves(goldens: Path):
    for _, golden in recorded(goldens, "crops_aug*"):
        side = int(golden["roi_size"])
        start, points = as_image(golden["bb0_black"]), golden["bb0_lms"].double()
        offset = region_offset(size_of(side))
        checked = 0
        for key in sorted(
            k.removesuffix("_lms") for k in golden if k.startswith("daug") and k.endswith("_lms")
        ):
            if key.endswith("_cc"):
                continue
            # Level 0 mirrors one picture in two; without its parameters the mirrored points tell.
            mirrored = published_mirror(points, scheme(str(len(points))), side)
            distances = [float((each - golden[f"{key}_lms"]).abs().max()) for each in (points, mirrored)]
            move = AffineParams(mirror=distances[1] < distances[0])
            if f"{key}_params" in golden:
                flip, angle, tx, ty, sx, sy, shear = golden[f"{key}_params"].tolist()
                move = AffineParams(flip > 0, math.radians(angle), (tx, ty), (sx, sy), math.radians(shear))
                same(affine_matrix(move, side), golden[f"{key}_M_new"], 1e-6)
                same(affine_matrix(move, side, released=True), golden[f"{key}_M_legacy"], 1e-6)
            matrix = affine_matrix(move, side)
            moved = transform_points(mirrored if move.mirror else points, matrix)
            same(moved, golden[f"{key}_lms"], 1e-4)
            same((moved - offset).clamp(min=0), golden[f"{key}_cc_lms"], 1e-4)
            if f"{key}_img" in golden:
                picture = start.flip(-1) if move.mirror else start
                same_pixels(apply_affine(picture, matrix).clamp(0, 1), golden[f"{key}_img"])
            checked += 1
        assert checked


def test_centre_crop(goldens: Path):
    for _, golden in recorded(goldens, "crops_aug*"):
        size = size_of(int(golden["roi_size"]))
        view, image = View(size, "box", (0.20, 0.12), "paper"), as_image(golden["img"])
        region = view.region_of_box(golden["bb0"].double() - 0.5, (image.shape[1], image.shape[2]))
        points = golden["bb0_lms_in"]
        same_pixels(view.image(image, region), golden["cc_img"])
        same(view.points(points.double(), scheme(str(len(points))), region), golden["cc_lms"], 1e-4)


def test_mirrors(goldens: Path):
    for _, golden in recorded(goldens, "crops_aug*"):
        counts = [k[4:-3] for k in golden if k.startswith("flip") and k.endswith("_in")]
        assert counts
        for count in counts:
            found = published_mirror(golden[f"flip{count}_in"], layout(count), int(golden["roi_size"]))
            same(found, golden[f"flip{count}_out"], 1e-4)


def test_every_recorded_number_is_compared_with(request: pytest.FixtureRequest, goldens: Path):
    assert_all_read(request, goldens)
