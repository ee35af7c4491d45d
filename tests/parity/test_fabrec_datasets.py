"""Samples of small WFLW, 300-W, VGGFace2 and AffectNet sets, cut as published, against recorded ones."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from tests.parity.fabrec_goldens import Golden, as_image, assert_files_read, recorded, same
from torch import Tensor

from lineament.data.sample import FaceSample
from lineament.faces.schemes import scheme
from lineament.methods.fabrec.crop import View
from lineament.methods.fabrec.heatmaps import draw_heatmaps
from lineament.methods.fabrec.model import normalise_images

# The recorded files these tests compare with, every number of them.
FILES = ("datasets*",)

# Of the boxes of each set: growth above and below.
MARGINS = {"wflw": (0.0, 0.10), "w300": (0.20, 0.12)}


def sample_of(image: Tensor, box: Tensor | None, points: Tensor | None) -> FaceSample:
    """Boxes are counted from the corner of the first pixel."""
    edges = None if box is None else (box.reshape(-1) - 0.5).double()
    layout = None if points is None else str(len(points))
    return FaceSample("golden", as_image(image), edges, points, layout)


def whole_samples(golden: Golden) -> list[tuple[str, FaceSample, View]]:
    """Recorded name, sample and view of every sample recorded in full, from a picture stored as it was read."""
    found = []
    for key in (k.removesuffix("_image") for k in golden if k.endswith("_image")):
        match = re.fullmatch(r"(wflw|w300)_(bb|lm)_(ground_truth|detector)_(\d+)", key)
        # Of the JPEG files of 300-W only what went into the encoder is known.
        if not match or golden[f"{key}_image"].shape[-1] < 32:
            continue
        name, by, kind, number = match.groups()
        if name == "wflw":
            image, box, points = (golden[f"wflw_{part}{number}"] for part in ("img", "bb", "lm"))
        else:
            box = golden["w300_bb_gt" if kind == "ground_truth" else "w300_bb_det"]
            image, points = (golden[f"w300_{part}{int(number) + 1}"] for part in ("img", "lm"))
        size = golden[f"{key}_image"].shape[-1]
        view = View(size, "landmarks" if by == "lm" else "box", MARGINS[name], "paper")
        found.append((key, sample_of(image, box, points), view))
    return found


def test_labelled_samples(goldens: Path):
    for _, golden in recorded(goldens, "datasets*"):
        cases = whole_samples(golden)
        assert cases
        for key, sample, view in cases:
            assert sample.landmarks is not None and sample.scheme is not None
            region = view.region(sample)
            picture = view.picture(sample.image, region)
            same(normalise_images(picture), golden[f"{key}_image"], 1.01 / 255)
            points = view.points(sample.landmarks.double(), scheme(sample.scheme), region)
            same(points, golden[f"{key}_landmarks"], 1e-3)
            if f"{key}_hm_sum" in golden:
                maps = draw_heatmaps(golden[f"{key}_landmarks"], view.size, 128, style="paper")
                torch.testing.assert_close(
                    maps.double().sum((1, 2)), golden[f"{key}_hm_sum"].double(), rtol=1e-4, atol=1e-3
                )


def test_landmarks_of_all_300w_samples(goldens: Path):
    for _, golden in recorded(goldens, "datasets*"):
        for key in (k.removesuffix("_landmarks") for k in golden if re.match(r"w300_bb_.*_landmarks", k)):
            box = golden["w300_bb_gt" if "ground_truth" in key else "w300_bb_det"]
            number = int(key.rpartition("_")[2]) + 1
            sample = sample_of(golden[f"w300_img{number}"], box, golden[f"w300_lm{number}"])
            size = max(
                v.shape[-1] for k, v in golden.items() if k.startswith("w300") and k.endswith("_image")
            )
            view = View(size, "box", MARGINS["w300"], "paper")
            assert sample.landmarks is not None
            points = view.points(sample.landmarks.double(), scheme("68"), view.region(sample))
            same(points, golden[f"{key}_landmarks"], 1e-3)


def test_unlabelled_samples(goldens: Path):
    for _, golden in recorded(goldens, "datasets*"):
        for key, pictures in (("vgg_0", ("vgg_img0", "vgg_img1")), ("aff_0", ("aff_img",))):
            expected = golden[f"{key}_image"]
            # The recorded box has grown already.
            view = View(expected.shape[-1], "box", (0.0, 0.0), "paper")
            errors = []
            for name in pictures:
                sample = sample_of(golden[name], golden[f"{key}_bb"], None)
                picture = view.picture(sample.image, view.region(sample))
                errors.append(float((normalise_images(picture) - expected).abs().max()))
            # JPEG: within three steps of 8 bits; which of the pictures was kept is not told.
            assert min(errors) <= 3.01 / 255, key


def test_every_recorded_number_is_compared_with(request: pytest.FixtureRequest, goldens: Path):
    assert_files_read(request, goldens, FILES)
