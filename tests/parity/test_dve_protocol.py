"""The published preprocessing of every data set, and the matching evaluation on it, against recorded numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.parity.dve_goldens import (
    HOURGLASS_GAIN,
    SMALLNET_GAIN,
    Golden,
    fill_with_recipe_weights,
    golden_files,
)
from tests.parity.recorded import assert_all_read
from tests.parity.test_dve_warp import DRAW
from torch import Tensor, nn

from lineament.data.sample import FaceSample
from lineament.evaluation import published, published_300w
from lineament.evaluation.matching import MatchingErrors, matching_errors, matching_pairs
from lineament.faces.frame import Frame, PreparedFace
from lineament.geometry import tps_warp as warp
from lineament.methods.dve import protocol
from lineament.methods.dve.model import IMAGE_STD, build_backbone, describe, normalise_images
from lineament.methods.dve.protocol_photometric import add_colour_noise
from lineament.methods.dve.regressor import to_unit

# The recorded files these tests compare with, every number of them.
FILES = (
    "dve/celeba_item_*",
    "dve/300w_item_*",
    "dve/aflw_item*",
    "dve/pca_aug*",
    "dve/restrict_annos_picks*",
    "dve/eval_matching_*",
)

# One step of an 8-bit picture after normalisation.
LEVEL = 1 / 255 / min(IMAGE_STD)
# Grey levels within which warped pictures agree (README: rounding of the grid, 2e-2 of 255).
GREY_ROUNDING = 2e-2


def as_sample(picture: Tensor, landmarks: Tensor) -> FaceSample:
    """What a reader gives: the picture in 0..1 and landmarks in float32."""
    return FaceSample("golden", picture.permute(2, 0, 1).float() / 255, landmarks=landmarks.float())


def cut_of(golden: Golden, face: PreparedFace, data: str) -> int:
    """Pixels cut off each side: recorded, or what is missing from the recorded view."""
    side, seen = face.image.shape[-1], golden.shape(data)[-1]
    assert (side - seen) % 2 == 0
    cut = (side - seen) // 2
    if "crop" in golden:
        assert cut == int(golden["crop"])
    return cut


def assert_plain_view_equal(golden: Golden, face: PreparedFace, prefix: str = "") -> None:
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
        torch.testing.assert_close(first, golden["pair.weights1"], rtol=0, atol=DRAW)
        torch.testing.assert_close(second, golden["pair.weights2"], rtol=0, atol=DRAW)
        pair = protocol.pair_views(face, cut, golden["pair.weights1"], golden["pair.weights2"])
        seen = normalise_images(torch.cat([pair.first, pair.second]))
        # Truncation to 8 bits turns rounding into one level, but only where a grey value is whole but for rounding.
        difference = (seen - golden["pair.data"]).abs()
        assert float(difference.max()) < 1.01 * LEVEL
        views = warp.warp_pair(face.image[None] * 255, first[None], second[None], cut)
        grey = torch.cat([views.first, views.second])
        assert bool(((grey - grey.round()).abs()[difference > 1e-5] < GREY_ROUNDING).all())
        torch.testing.assert_close(pair.grid[0], golden["pair.grid"], rtol=0, atol=2e-5)
        torch.testing.assert_close(pair.flow()[0], golden["pair.flow"], rtol=0, atol=5e-4)
        assert pair.first_points is not None and pair.second_points is not None
        for points, key in ((pair.first_points[0], "pair.kp1"), (pair.second_points[0], "pair.kp2")):
            # Whole pixels, with the rounding of the lattice that the reference read them off.
            assert torch.equal(points, golden[key].round())
            side = face.image.shape[-1]
            assert torch.equal(warp.published_positions(points, side, side, cut), golden[key])


@pytest.mark.parametrize(
    ("recorded", "resize"),
    [("300w_item_*nearest*", "nearest"), ("300w_item_*bicubic*", "bicubic")],
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


def recorded_size(golden: Golden, share: Tensor) -> int:
    """Side before the cut, from the recorded labels: they are ``side * share - cut``, with cut = (side - seen) / 2."""
    seen = golden.shape("data")[-1]
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
        for key in golden:
            picks = golden[key]
            seed, count = (
                int(part.removeprefix(word)) for part, word in zip(key.split("."), ("seed", "n"), strict=True)
            )
            assert protocol.annotation_picks(total, count, seed).tolist() == picks.tolist()
            epoch = protocol.annotation_epoch(total, count, seed)
            assert len(epoch) == total // count * count
            assert set(epoch.tolist()) == set(picks.tolist())


@pytest.mark.parametrize("backbone", ["smallnet", "hourglass"])
def test_matching_evaluation_equals_the_reference(goldens: Path, backbone: str):
    for golden in golden_files(goldens, f"eval_matching_{backbone}*"):
        network = build_backbone(backbone, int(golden["channels"]))
        gain = SMALLNET_GAIN if backbone == "smallnet" else HOURGLASS_GAIN
        fill_with_recipe_weights(network, int(golden["recipe_seed"]), gain)
        network.eval()
        size, crop = int(golden["imwidth"]), int(golden["crop"])
        pictures = zip(golden["images_hwc_uint8"], golden["landmarks_raw"], strict=True)
        faces = [published.celeba_face(as_sample(*each), size) for each in pictures]
        frame = Frame(size, crop, 1.0)
        found = matching_errors(lambda x: describe(network, x), faces, frame, eight_bit=True)  # noqa: B023
        assert_matches_equal(golden, faces, frame, network, found)


def assert_matches_equal(
    golden: Golden, faces: list[PreparedFace], frame: Frame, network: nn.Module, found: MatchingErrors
) -> None:
    """Every match, but where another one scores as high within what single precision and 8 bits leave open."""
    rows = golden["rows_same_diff_predxy_gtxy_err"]
    pairs, points = len(faces) // 2, faces[0].points.shape[0]
    # Recorded row by row: pair, point; columns: same and different.
    recorded = rows.view(pairs, points, 2, 5).permute(0, 2, 1, 3)
    places = recorded[..., 2:4]
    assert torch.equal(found.truth.double(), places.round())
    held = warp.published_positions(found.truth, frame.size, frame.size, frame.crop)
    assert torch.equal(held.double(), places)
    equal = (found.predicted.double() - recorded[..., :2]).abs().amax(-1) < 1e-3
    for pair, column, point in (~equal).nonzero().tolist():
        margin, reach = margin_of(faces, frame, network, pair, column, point, recorded[pair, column, point])
        assert margin <= reach, f"pair {pair}, point {point}: {margin:.2g} worse, 8 bits explain {reach:.2g}"
    torch.testing.assert_close(found.errors.double()[equal], recorded[..., 4][equal], rtol=0, atol=1e-4)
    for column, key in enumerate(("mean_same", "mean_diff")):
        mean = recorded[:, column, :, 4].mean()
        torch.testing.assert_close(golden[key].double(), mean, rtol=0, atol=1e-6)
        if bool(equal[:, column].all()):
            torch.testing.assert_close(found.errors[:, column].double().mean(), mean, rtol=0, atol=1e-4)


@torch.no_grad()
def margin_of(
    faces: list[PreparedFace],
    frame: Frame,
    network: nn.Module,
    pair: int,
    column: int,
    point: int,
    recorded: Tensor,
) -> tuple[float, float]:
    """How much lower the recorded match scores than ours, and how far 8 bits move that difference.

    Grey values that are whole but for rounding may fall to either side when they are cut to 8 bits: such pixels are
    lowered or raised by one level at random, a few times.
    """
    this = list(matching_pairs(faces, frame, eight_bit=True))[pair]
    exact = list(matching_pairs(faces, frame))[pair].images * 255
    open_pixels = (exact - exact.round()).abs() < GREY_ROUNDING
    generator = torch.Generator().manual_seed(0)
    differences = []
    for attempt in range(9):
        pictures = this.images
        if attempt:
            either = torch.where(torch.rand(exact.shape, generator=generator) < 0.5, 0, -1)
            pictures = torch.where(open_pixels, (exact.round() + either).clamp(min=0) / 255, pictures)
        source, *targets = describe(network, pictures)
        target = targets[column]
        stride = frame.seen / source.shape[-1]
        height, width = source.shape[1:]
        at = (this.queries[point].double() / stride).round().long()
        query = source[:, at[1].clamp(0, height - 1), at[0].clamp(0, width - 1)]
        scores = torch.einsum("c,chw->hw", query.double(), target.double())
        x, y = (recorded[:2] / stride).round().long().tolist()
        differences.append(float(scores.max() - scores[y, x]))
        scale = float(scores.abs().max())
    spread = max(abs(each - differences[0]) for each in differences)
    return differences[0], 2 * spread + 1e-5 * scale


def test_every_recorded_number_is_compared_with(request: pytest.FixtureRequest, goldens: Path):
    assert_all_read(request, goldens)
