"""The published preprocessing of every data set, and the matching evaluation on it, against recorded numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.parity.dve_goldens import HOURGLASS_GAIN, SMALLNET_GAIN, fill_with_recipe_weights, golden_files
from torch import Tensor

from lineament.data.sample import FaceSample
from lineament.evaluation import published, published_300w
from lineament.evaluation.matching import matching_errors
from lineament.faces.frame import Frame, PreparedFace
from lineament.geometry import tps_warp as warp
from lineament.methods.dve import protocol
from lineament.methods.dve.model import IMAGE_STD, build_backbone, describe, normalise_images
from lineament.methods.dve.protocol_look import add_colour_noise
from lineament.methods.dve.regressor import to_unit

# One step of an 8-bit picture after normalisation.
LEVEL = 1 / 255 / min(IMAGE_STD)


def as_sample(picture: Tensor, landmarks: Tensor) -> FaceSample:
    """What a reader gives: the picture in 0..1 and landmarks in float32."""
    return FaceSample("golden", picture.permute(2, 0, 1).float() / 255, landmarks=landmarks.float())


def cut_of(golden: dict[str, Tensor], face: PreparedFace, data: str) -> int:
    """Pixels cut off each side: recorded, or what is missing from the recorded view."""
    side, seen = face.image.shape[-1], golden[data].shape[-1]
    assert (side - seen) % 2 == 0
    cut = (side - seen) // 2
    assert cut == int(golden.get("crop", torch.tensor(cut)))
    return cut


def assert_plain_view_equal(golden: dict[str, Tensor], face: PreparedFace, prefix: str = "") -> None:
    cut = cut_of(golden, face, f"{prefix}data")
    image, points = published.plain_view(face, cut)
    torch.testing.assert_close(normalise_images(image), golden[f"{prefix}data"], rtol=0, atol=1e-5)
    torch.testing.assert_close(points, golden[f"{prefix}keypts"], rtol=0, atol=1e-4)
    unit = to_unit(points, image.shape[-1], image.shape[-2])
    torch.testing.assert_close(unit, golden[f"{prefix}keypts_normalized"], rtol=0, atol=1e-5)


def test_celeba_items_equal_the_reference(goldens: Path):
    for golden in golden_files(goldens, "celeba_item_*"):
        sample = as_sample(golden["image_hwc_uint8"], golden["landmarks_raw"][0])
        face = published.celeba_face(sample, int(golden["imwidth"]))
        assert_plain_view_equal(golden, face, "plain.")


def test_celeba_pairs_equal_the_reference(goldens: Path):
    for golden in golden_files(goldens, "celeba_item_*"):
        sample = as_sample(golden["image_hwc_uint8"], golden["landmarks_raw"][0])
        face = published.celeba_face(sample, int(golden["imwidth"]))
        cut = cut_of(golden, face, "pair.data")
        # The recorded pair was drawn with the spreads of training right after seeding.
        torch.manual_seed(int(golden["pair.torch_seed"]))
        first = warp.random_weights(warp.TRAINING.scaled(kernel=warp.FIRST_KERNEL_FACTOR))
        second = warp.random_weights(warp.TRAINING)
        torch.testing.assert_close(first, golden["pair.weights1"], rtol=0, atol=1e-7)
        torch.testing.assert_close(second, golden["pair.weights2"], rtol=0, atol=1e-7)
        pair = protocol.pair_views(face, cut, golden["pair.weights1"], golden["pair.weights2"])
        seen = normalise_images(torch.cat([pair.first, pair.second]))
        # Truncation to 8 bits may turn rounding into one level, but only at a few pixels.
        difference = (seen - golden["pair.data"]).abs()
        assert float(difference.max()) < 1.01 * LEVEL
        assert float((difference > 1e-5).double().mean()) < 0.02
        torch.testing.assert_close(pair.grid[0], golden["pair.grid"], rtol=0, atol=2e-5)
        torch.testing.assert_close(pair.flow()[0], golden["pair.flow"], rtol=0, atol=5e-4)
        assert pair.first_points is not None and pair.second_points is not None
        assert torch.equal(pair.first_points[0], golden["pair.kp1"].round())
        assert torch.equal(pair.second_points[0], golden["pair.kp2"].round())


@pytest.mark.parametrize(
    ("recorded", "resize"),
    [("300w_item_legacy_nearest", "nearest"), ("300w_item_modern_bicubic", "bicubic")],
)
def test_300w_items_equal_the_reference(goldens: Path, recorded: str, resize: str):
    for golden in golden_files(goldens, recorded):
        # The readers count pixels from 0.
        sample = as_sample(golden["image_hwc_uint8"], golden["landmarks_raw"] - 1)
        sample.box = (golden["bbox_xyxy"] + torch.tensor([-1.5, -1.5, -0.5, -0.5]).double()).float()
        for exact in (False, True):
            if exact:
                sample.meta["published_box"] = tuple(golden["bbox_xyxy"].tolist())
            assert sample.landmarks is not None
            window, points = published_300w.face_window(sample, sample.landmarks.double(), resize)
            assert np.array_equal(np.array(window), golden["crop100_hwc_uint8"].numpy())
            size = recorded_size(golden, points / published_300w.WINDOW)
            face = published.w300_face(sample, size, resize)
            assert_plain_view_equal(golden, face)
        named = {"nearest": "300w", "bicubic": "300w-bicubic"}[resize]
        assert torch.equal(published.get_protocol(named).prepare(sample, size).image, face.image)


def recorded_size(golden: dict[str, Tensor], share: Tensor) -> int:
    """Side before the cut, from the recorded labels: they are ``side * share - cut``, with cut = (side - seen) / 2."""
    seen = golden["data"].shape[-1]
    label, place = golden["keypts"].double() - seen / 2, share.double() - 0.5
    return round(float((label * place).sum() / place.square().sum()))


def test_aflw_items_equal_the_reference(goldens: Path):
    for golden in golden_files(goldens, "aflw_item*"):
        # Stored as (y, x); the reader turns them round and keeps the size the labels refer to.
        sample = as_sample(golden["image_hwc_uint8"], golden["gt_as_stored_yx"][0].flip(-1))
        height, width = golden["hw"].tolist()
        sample.meta["published_size"] = (width, height)
        assert sample.landmarks is not None
        size = recorded_size(golden, sample.landmarks / torch.tensor([width, height]))
        assert_plain_view_equal(golden, published.aflw_r_face(sample, size))


def test_colour_noise_equals_the_reference(goldens: Path):
    for golden in golden_files(goldens, "pca_aug"):
        seen = add_colour_noise(golden["image"], golden["randn3"])
        torch.testing.assert_close(seen, golden["output"], rtol=0, atol=1e-6)


def test_limited_annotations_are_the_published_ones(goldens: Path):
    total = 10_122
    for golden in golden_files(goldens, "restrict_annos_picks"):
        for key, picks in golden.items():
            seed, count = (
                int(part.removeprefix(word)) for part, word in zip(key.split("."), ("seed", "n"), strict=True)
            )
            assert protocol.annotation_picks(total, count, seed).tolist() == picks.tolist()
            epoch = protocol.annotation_epoch(total, count, seed)
            assert len(epoch) == total // count * count
            assert set(epoch.tolist()) == set(picks.tolist())


@pytest.mark.parametrize("recorded", ["eval_matching_smallnet", "eval_matching_hourglass"])
def test_matching_evaluation_equals_the_reference(goldens: Path, recorded: str):
    backbone = recorded.removeprefix("eval_matching_")
    for golden in golden_files(goldens, recorded):
        network = build_backbone(backbone, int(golden["channels"]))
        gain = SMALLNET_GAIN if backbone == "smallnet" else HOURGLASS_GAIN
        fill_with_recipe_weights(network, int(golden["recipe_seed"]), gain)
        network.eval()
        size, crop = int(golden["imwidth"]), int(golden["crop"])
        pictures = zip(golden["images_hwc_uint8"], golden["landmarks_raw"], strict=True)
        faces = [published.celeba_face(as_sample(*each), size) for each in pictures]
        found = matching_errors(lambda x: describe(network, x), faces, Frame(size, crop, 1.0), eight_bit=True)  # noqa: B023
        rows = golden["rows_same_diff_predxy_gtxy_err"]
        pairs, points = len(faces) // 2, faces[0].points.shape[0]
        # Recorded row by row: pair, point; columns: same and different.
        recorded = rows.view(pairs, points, 2, 5).permute(0, 2, 1, 3)
        assert torch.equal(found.truth.double(), recorded[..., 2:4].round())
        equal = (found.predicted.double() - recorded[..., :2]).abs().amax(-1) < 1e-3
        assert float((~equal).double().mean()) <= 1 / 20
        torch.testing.assert_close(found.errors.double()[equal], recorded[..., 4][equal], rtol=0, atol=1e-4)
        for column, key in enumerate(("mean_same", "mean_diff")):
            if bool(equal[:, column].all()):
                torch.testing.assert_close(
                    found.errors[:, column].double().mean(), golden[key], rtol=0, atol=1e-4
                )
