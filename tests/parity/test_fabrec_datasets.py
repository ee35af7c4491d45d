"""Samples of small WFLW, 300-W, VGGFace2 and AffectNet sets, cut as published, against recorded ones."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from tests.parity.fabrec_goldens import Golden, as_image, recorded, same
from tests.parity.recorded import assert_all_read
from torch import Tensor

from lineament.data.sample import FaceSample
from lineament.faces.schemes import scheme
from lineament.methods.fabrec.crop import View
from lineament.methods.fabrec.heatmaps import draw_heatmaps
from lineament.methods.fabrec.model import normalise_images

# The recorded files these tests compare with, every number of them.
FILES = ("fabrec/datasets*",)

# How many samples there were, and points whose originals were not recorded.
UNREAD = {"fabrec/datasets*": ("*_len", "aff_*_landmarks")}

# Number of the picture of 300-W that was not compressed with loss.
PNG_OF_300W = 3
# Of the boxes of each set: growth above and below.
MARGINS = {"wflw": (0.0, 0.10), "w300": (0.20, 0.12)}


def sample_of(image: Tensor, box: Tensor | None, points: Tensor | None) -> FaceSample:
    """Boxes are counted from the corner of the first pixel."""
    edges = None if box is None else (box.reshape(-1) - 0.5).double()
    layout = None if points is None else str(len(points))
    return FaceSample("golden", as_image(image), edges, points, layout)


def labelled_samples(golden: Golden) -> list[tuple[str, FaceSample, View]]:
    """Recorded name, sample and view of every labelled sample."""
    found = []
    for key in (k.removesuffix("_image") for k in golden if k.endswith("_image")):
        match = re.fullmatch(r"(wflw|w300)_(bb|lm)_(ground_truth|detector)_(\d+)", key)
        if not match:
            continue
        name, by, kind, number = match.groups()
        if name == "wflw":
            image, box, points = (golden[f"wflw_{part}{number}"] for part in ("img", "bb", "lm"))
        else:
            box = golden["w300_bb_gt" if kind == "ground_truth" else "w300_bb_det"]
            image, points = (golden[f"w300_{part}{int(number) + 1}"] for part in ("img", "lm"))
        # Of some pictures only every so manieth pixel was recorded.
        size = max(golden.shape(k)[-1] for k in golden if k.startswith(name) and k.endswith("_image"))
        view = View(size, "landmarks" if by == "lm" else "box", MARGINS[name], "paper")
        found.append((key, sample_of(image, box, points), view))
    return found


def tolerance_of(key: str) -> float:
    """Grey levels: only one picture of 300-W was not compressed with loss on its way."""
    lossless = not key.startswith("w300") or int(key.rpartition("_")[2]) + 1 == PNG_OF_300W
    return 1.01 if lossless else 3.01


def test_labelled_samples(goldens: Path):
    for _, golden in recorded(goldens, "datasets*"):
        cases = labelled_samples(golden)
        assert cases
        for key, sample, view in cases:
            assert sample.landmarks is not None and sample.scheme is not None
            region = view.region(sample)
            expected = golden[f"{key}_image"]
            every = view.size // expected.shape[-1]
            picture = normalise_images(view.image(sample.image, region))[:, ::every, ::every]
            same(picture, expected, tolerance_of(key) / 255)
            points = view.points(sample.landmarks.double(), scheme(sample.scheme), region)
            same(points, golden[f"{key}_landmarks"], 1e-3)
            if f"{key}_hm_sum" in golden:
                maps = draw_heatmaps(golden[f"{key}_landmarks"], view.size, 128, style="paper")
                torch.testing.assert_close(
                    maps.double().sum((1, 2)), golden[f"{key}_hm_sum"].double(), rtol=1e-4, atol=1e-3
                )


def test_grown_boxes(goldens: Path):
    for _, golden in recorded(goldens, "datasets*"):
        for key, sample, view in labelled_samples(golden):
            # The recorded box has grown already and was cut to whole pixels: it leads to the same region.
            image_size = (sample.image.shape[1], sample.image.shape[2])
            grown = View(view.size, "box", (0.0, 0.0), "paper")
            box = View(view.size, "box", view.margins, "paper")
            assert sample.box is not None
            ours = box.region_of_box(sample.box, image_size)
            theirs = grown.region_of_box(golden[f"{key}_bb"].double() - 0.5, image_size)
            corner = torch.zeros(1, 2, dtype=torch.float64)
            same(theirs.inverse().apply(corner), ours.inverse().apply(corner), 1.01)


def test_unlabelled_samples(goldens: Path):
    for _, golden in recorded(goldens, "datasets*"):
        for key, pictures in (("vgg_0", ("vgg_img0", "vgg_img1")), ("aff_0", ("aff_img",))):
            expected = golden[f"{key}_image"]
            # The recorded box has grown already.
            view = View(expected.shape[-1], "box", (0.0, 0.0), "paper")
            errors = []
            for name in pictures:
                sample = sample_of(golden[name], golden[f"{key}_bb"], None)
                picture = view.image(sample.image, view.region(sample))
                errors.append(float((normalise_images(picture) - expected).abs().max()))
            # JPEG: within three steps of 8 bits; which of the pictures was kept is not told.
            assert min(errors) <= 3.01 / 255, key


def test_every_recorded_number_is_compared_with(request: pytest.FixtureRequest, goldens: Path):
    assert_all_read(request, goldens, UNREAD)
