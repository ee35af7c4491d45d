"""Degradations of pixels: each does what its name says, and nothing to a picture it is not asked to change."""

from __future__ import annotations

import numpy as np
import pytest

from lineament.faces.degradations import (
    Degradation,
    DegradationOdds,
    black_and_white,
    defocus,
    degrade,
    draw_degradation,
    jpeg,
    low_resolution,
    motion_blur,
    sensor_noise,
    tone_and_cast,
)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


@pytest.fixture
def picture() -> np.ndarray:
    return rng().integers(0, 256, (40, 56, 3)).astype(np.uint8)


def dot() -> np.ndarray:
    black = np.zeros((41, 41, 3), np.uint8)
    black[20, 20] = 255
    return black


def test_no_flaw_leaves_the_picture_alone(picture: np.ndarray) -> None:
    assert (degrade(picture, Degradation()) == picture).all()


def test_flaws_follow_from_the_generator_and_keep_shape_and_input(picture: np.ndarray) -> None:
    before = picture.copy()
    for seed in range(30):
        one = degrade(picture, draw_degradation(rng(seed), DegradationOdds(), 56))
        other = degrade(picture, draw_degradation(rng(seed), DegradationOdds(), 56))
        assert one.shape == picture.shape and one.dtype == np.uint8 and (one == other).all()
    assert (picture == before).all()


def test_odds_of_zero_draw_no_flaw_and_odds_of_one_draw_each() -> None:
    names = ("low_resolution", "defocus", "motion", "noise", "grey", "tone", "cast", "jpeg")
    none = draw_degradation(rng(3), DegradationOdds(**dict.fromkeys(names, 0.0)), 100)
    assert none._replace(filters=(0, 0), angle=0.0, noise_seed=0) == Degradation()
    every = draw_degradation(rng(3), DegradationOdds(**dict.fromkeys(names, 1.0)), 100)
    assert every.share < 1 and every.defocus > 0 and every.motion > 0 and every.noise > 0
    assert every.grey and every.gamma != 1 and every.lift != 0 and every.quality >= 18


def test_motion_smears_along_its_direction_only() -> None:
    across = motion_blur(dot(), 6.0, 0.0)
    assert np.flatnonzero(across[20, :, 0]).tolist() == list(range(17, 24))
    assert np.flatnonzero(across[:, :, 0].sum(axis=1)).tolist() == [20]
    down = motion_blur(dot(), 6.0, np.pi / 2)
    assert (down.transpose(1, 0, 2) == across).all()


def test_defocus_spreads_like_a_disc() -> None:
    spread = defocus(dot(), 6.0)[..., 0].astype(float)
    offsets = np.arange(41) - 20
    variance = (spread.sum(axis=0) * offsets**2).sum() / spread.sum()
    # A disc of radius r: variance r^2 / 4 along each axis.
    assert variance == pytest.approx(9.0, rel=0.2)
    assert abs((spread.sum(axis=1) * offsets).sum() / spread.sum()) < 0.1


def test_low_resolution_keeps_flat_areas_and_loses_stripes() -> None:
    flat = np.full((64, 64, 3), 90, np.uint8)
    assert (low_resolution(flat, 0.2, (2, 1)) == 90).all()
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 200
    assert low_resolution(stripes, 0.25).std() < 0.1 * stripes.std()


def test_black_and_white_noise_tones_and_files(picture: np.ndarray) -> None:
    grey = black_and_white(picture)
    assert np.ptp(grey, axis=2).max() == 0
    luma = picture @ np.array([0.299, 0.587, 0.114])
    assert np.abs(grey[..., 0] - luma).max() <= 1
    assert np.ptp(sensor_noise(grey, 0.05, 1, grey=True), axis=2).max() == 0
    middle = np.full((64, 64, 3), 128, np.uint8)
    assert sensor_noise(middle, 0.05, 1).std() == pytest.approx(0.05 * 255, rel=0.05)
    assert tone_and_cast(middle, 1.0, (1.0, 0.5, 2.0))[0, 0].tolist() == [128, 64, 255]
    assert (tone_and_cast(picture, 1.0) == picture).all()
    assert np.abs(jpeg(middle, 90).astype(int) - 128).max() <= 2
    assert np.abs(jpeg(picture, 10).astype(int) - picture).mean() > 10
