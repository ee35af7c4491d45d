"""Distances of generated images from real ones: what is drawn, rounded, counted, and said."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch

from lineament.capabilities import ImageGenerator, PooledFeatures
from lineament.data.sample import FaceSample
from lineament.errors import DataError
from lineament.evaluation.feature_distances import Extractor, RealImages, feature_cards
from lineament.evaluation.generated import SEEDS_APART, Draws, in_eight_bits
from lineament.metrics.feature_distance import frechet_distance

SIDE = 4


class Colours:
    """A generator of plain images: a latent vector is a colour."""

    latent_size, resolution = 3, SIDE

    def images(self, latents: torch.Tensor, psi: float = 1.0, batch: int = 8) -> torch.Tensor:
        return (0.5 + 0.1 * psi * latents).clamp(0, 1)[..., None, None].expand(-1, 3, SIDE, SIDE)


class MeanColour:
    """Features that are the mean colour, of the part of the processes that see it."""

    def pooled_features(self, images: torch.Tensor) -> torch.Tensor:
        return images.mean((2, 3))


class Photos:
    """Plain images of colours spread like the generator's."""

    fingerprint = "abc"

    def __init__(self, count: int, side: int = SIDE) -> None:
        self.count, self.side, self.name = count, side, "photos"

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> FaceSample:
        draws = torch.Generator().manual_seed(10_000 + index)
        colour = (0.5 + 0.1 * torch.randn(3, generator=draws)).clamp(0, 1)
        return FaceSample(f"{index}.png", colour[:, None, None].expand(3, self.side, self.side))


EXTRACTORS = [Extractor.of_model(MeanColour(), "colours"), Extractor.inception(MeanColour())]
cards_of = partial(feature_cards, Draws(Colours()), extractors=EXTRACTORS)


def test_toys_answer_the_protocols():
    assert isinstance(Colours(), ImageGenerator) and isinstance(MeanColour(), PooledFeatures)


def test_cards_hold_the_distances_of_what_was_drawn_with_every_count():
    photos = Photos(50)
    real = RealImages.choose(photos, 30, SIDE, False)
    frechet, kernel, fid, kid = cards_of(40, real)
    drawn = in_eight_bits(Draws(Colours()).images(range(40)), "nearest").mean((2, 3)).numpy()
    true = np.stack([real.image(index).mean((1, 2)).numpy() for index in real.indices])
    assert frechet.value == pytest.approx(frechet_distance(drawn, true), rel=1e-6)
    assert frechet.baseline == pytest.approx(frechet_distance(true[:15], true[15:]), rel=1e-6)
    assert frechet.details["same_count"] == pytest.approx(frechet_distance(drawn[:15], true[:15]), rel=1e-6)
    assert frechet.name == "Frechet distance (colours features)" and fid.name == "FID" and kid.name == "KID"
    assert (frechet.details["generated"], frechet.details["real"], frechet.details["real_there"]) == (
        40,
        30,
        50,
    )
    assert "40 generated images" in frechet.protocol and "30 of 50 real ones" in frechet.protocol
    assert kernel.details["subset_size"] == 30 and kernel.note == "subsets of 30 images, not 1000"
    # FID of few images is never taken for a published one; the distance that only we have warns of nothing.
    assert "of 30 images" in fid.note and "published ones of 50000" in fid.note and not frechet.note
    # The generator draws what the photos hold, another one does not.
    far = feature_cards(Draws(Colours(), psi=3.0), 40, real, EXTRACTORS[:1])[0]
    assert far.value > 5 * frechet.value


def test_more_real_images_than_there_are_is_no_error_and_is_said():
    real = RealImages.choose(Photos(20), 50_000, SIDE, False)
    assert sorted(real.indices) == list(range(20)) and real.indices != list(range(20))
    assert "20 of 20 real ones" in cards_of(8, real)[0].protocol
    assert RealImages.choose(Photos(20), 0, SIDE, False).indices == real.indices
    with pytest.raises(DataError, match="photos has 1 images"):
        RealImages.choose(Photos(1), 0, SIDE, False)


def test_no_more_images_than_features_is_warned_of():
    notes = [card.note for card in cards_of(3, RealImages.choose(Photos(8), 0, SIDE, False))]
    assert "too few images: 3 of one kind" in notes[0]


def test_real_images_of_another_size_are_named_unless_they_are_to_be_resized():
    with pytest.raises(DataError, match=r"\d+\.png is 6x6, not 4x4: give --resize"):
        cards_of(4, RealImages.choose(Photos(4, 6), 0, SIDE, False))
    card = cards_of(4, RealImages.choose(Photos(4, 6), 0, SIDE, True))[0]
    assert "cut to their middle square" in card.protocol


def test_published_rounding_drops_fractions():
    image = torch.tensor([0.0, 0.5, 0.999, 1.0, 1.2, -0.1])
    levels = [in_eight_bits(image, rounding) * 255 for rounding in ("nearest", "published")]
    assert levels[0].round().tolist() == [0, 128, 255, 255, 255, 0]
    assert levels[1].round().tolist() == [0, 127, 254, 255, 255, 0]
    real = RealImages.choose(Photos(30), 0, SIDE, False)
    near, published = (cards_of(30, real, rounding=each)[0] for each in ("nearest", "published"))
    assert "fractions of a level dropped" in published.protocol and published.value != near.value


def test_an_image_hangs_on_its_number_alone():
    draws = Draws(Colours())
    alone = torch.cat([draws.images([number]) for number in (5, 2, 9)])
    assert torch.equal(draws.images([5, 2, 9]), alone)
    later = Draws(Colours(), seed=1)
    assert torch.equal(later.images([3]), draws.images([SEEDS_APART + 3]))
    torch.manual_seed(5)
    assert torch.equal(draws.images([5])[0, :, 0, 0], (0.5 + 0.1 * torch.randn(3)).clamp(0, 1))


def test_processes_change_nothing():
    real = RealImages.choose(Photos(40), 0, SIDE, False)
    one, two = (cards_of(40, real, workers=workers) for workers in (1, 2))
    assert [card.to_json() for card in one] == [card.to_json() for card in two]
