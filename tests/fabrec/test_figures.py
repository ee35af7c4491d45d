"""Tiles, sheets and cards of reconstructions, from pictures whose numbers are known."""

from __future__ import annotations

import pytest
import torch
from tests.fabrec.faces import Marks

from lineament.errors import DataError, UsageError
from lineament.evaluation.reconstruction import reconstruction_cards
from lineament.faces.normalisers import normaliser
from lineament.faces.schemes import scheme
from lineament.methods.fabrec.crop import View
from lineament.methods.fabrec.evaluate import (
    inner_and_outline,
    published_normaliser,
)
from lineament.methods.fabrec.figures import (
    LINE,
    SMALL_WINDOW,
    error_sheet,
    reconstruction_sheet,
    with_text,
)
from lineament.methods.fabrec.loss import WINDOW
from lineament.methods.fabrec.model import Layout
from lineament.methods.fabrec.predictor import AutoencoderPredictor
from lineament.methods.fabrec.tiles import coloured, enlarged, heatmap_overlay, tile_images, with_landmarks


def pictures(size: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(seed))


def test_tiles_have_two_white_pixels_after_each():
    sheet = tile_images([[torch.zeros(3, 4, 5)] * 3, [torch.zeros(3, 4, 5)] * 3])
    assert sheet.shape == (3, 12, 21)
    assert float(sheet.sum()) == 3 * (12 * 21 - 6 * 20)
    assert bool((sheet[:, 4:6] == 1).all()) and bool((sheet[:, :, 5:7] == 1).all())


def test_small_pictures_are_enlarged_by_whole_factors():
    picture = pictures(50)[0]
    large = enlarged(picture, 128)
    assert large.shape == (3, 150, 150)
    torch.testing.assert_close(large[:, ::3, ::3], picture)
    assert enlarged(pictures(200)[0], 128).shape == (3, 200, 200)


def test_text_stands_below_the_picture():
    picture = torch.full((3, 64, 128), 0.8)
    shown = with_text(picture, ["pixels 3.1"])
    assert shown.shape == (3, 64 + LINE + 4, 128)
    torch.testing.assert_close(shown[:, :64], picture, atol=1 / 255, rtol=0)
    assert float(shown[:, 64:].median()) == 0 and float(shown[0, 64:].max()) > 0.9


def test_heatmaps_glow_at_their_peak():
    heatmaps = torch.zeros(2, 32, 32)
    heatmaps[0, 8, 8], heatmaps[1, 20, 20] = 1.0, 2.0
    shown = heatmap_overlay(torch.zeros(3, 64, 64), heatmaps)
    dark, bright = coloured(torch.tensor([[0.0, 1.0]]), "inferno", 0, 1)[:, 0].unbind(1)
    torch.testing.assert_close(shown[:, 40, 2], 0.45 * dark, atol=1e-3, rtol=0)
    for place in (17, 41):
        assert float((shown[:, place, place] - dark).norm()) > 0.4 * float((0.45 * bright).norm())
    assert float(heatmap_overlay(torch.ones(3, 64, 64), heatmaps).max()) == 1


def test_landmarks_are_drawn_where_they_are():
    points = torch.tensor([[10.0, 12.0], [50.0, 12.0], [30.0, 30.0], [15.0, 50.0], [45.0, 50.0]])
    shown = with_landmarks(torch.zeros(3, 64, 64), points, scheme("5"))
    for x, y in points.long().tolist():
        assert float(shown[1, y, x]) > 0.9
    assert float(shown[:, 60, 60].sum()) == 0


@pytest.mark.parametrize(("size", "window"), [(64, SMALL_WINDOW), (128, WINDOW)])
def test_the_border_of_an_error_map_is_half_a_window(size: int, window: int):
    true, made = pictures(size), pictures(size, 1)
    sheet, numbers = error_sheet(true, made)
    factor, border = 128 // size, window // 2
    tile = sheet[:, 2 * 130 : 2 * 130 + 128, :128]
    assert float(tile[:, : border * factor].sum()) == 0
    assert float(tile[:, border * factor, 64].sum()) > 0
    assert all(0.5 < each["structural_error"] < 1.5 for each in numbers)
    assert [each["structural_error"] for each in error_sheet(true, true)[1]] == pytest.approx(
        [0, 0], abs=1e-4
    )


def test_perfect_reconstructions_have_no_error():
    true = pictures(64)
    _, numbers = reconstruction_sheet(true, true)
    assert numbers == [{"ssim_error": pytest.approx(0, abs=1e-6), "pixel_error": 0}] * 2


def test_cards_with_and_without_labels():
    layout = Layout(64, width=2, code=3)
    predictor = AutoencoderPredictor(View(64), layout.autoencoder())
    plain = reconstruction_cards(predictor, Marks(count=3, labelled=False), range(2))
    assert [(card.name, card.count) for card in plain] == [
        ("pixel error", 2),
        ("structural dissimilarity", 2),
    ]
    full = reconstruction_cards(predictor, Marks(count=3), range(3))
    assert [card.name for card in full[2:]] == [
        "similarity at landmarks",
        "correlation at landmarks",
        "pixel error at landmarks",
        "pixel error around landmarks",
    ]
    assert list(full[2].details["per_point"]) == list(scheme("5").names)
    with pytest.raises(DataError, match="no faces to reconstruct"):
        reconstruction_cards(predictor, Marks(), [])


def test_published_measures_without_eyes_or_outline():
    truth = torch.rand(2, 19, 2) * 50
    assert published_normaliser(truth, size=128).tolist() == [128, 128]
    with pytest.raises(UsageError, match="inter-pupil"):
        published_normaliser(truth, "pupil")
    errors = torch.rand(2, 19)
    inner, outline = inner_and_outline(errors, scheme("19"))
    torch.testing.assert_close(inner, errors.mean(1))
    torch.testing.assert_close(outline, errors.mean(1))


def test_sides_and_diagonals_of_boxes():
    points, box = torch.rand(19, 2) * 50, torch.tensor([10.0, 20.0, 40.0, 60.0])
    lengths = {name: float(normaliser(name)(points, "19", box)) for name in ("box", "box-side", "diagonal")}
    assert lengths == pytest.approx({"box": 1200**0.5, "box-side": 40, "diagonal": 50})
    extent = points.amax(0) - points.amin(0)
    assert float(normaliser("box_side")(points, "19")) == pytest.approx(float(extent.max()))
