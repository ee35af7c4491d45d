"""Predictors of this method: how sure they are, and where their descriptors lie."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tests.dve.faces import Blobs
from tests.dve.test_recipe import landmark_config, train

from lineament.capabilities import DenseDescriptor, LandmarkPredictor
from lineament.errors import DataError, UsageError
from lineament.faces.frame import cut
from lineament.methods.dve import predictor as predictors
from lineament.methods.dve.recipe_landmarks import LandmarkRecipe
from lineament.pipeline.video.track_faces import LOST

SOURCE = Blobs(count=30, size=72)


@pytest.fixture(scope="module")
def trained() -> tuple[LandmarkRecipe, dict[str, torch.nn.Module]]:
    recipe = LandmarkRecipe(landmark_config())
    return recipe, train(recipe, SOURCE, 6)[0]


def one_view(trained) -> predictors.LandmarkPredictor:
    recipe, networks = trained
    # The recipe's own config has what it took over from its base.
    return predictors.LandmarkPredictor(replace(recipe.config, views=1, flip_tta=False), networks)


def test_a_single_view_predicts_and_others_say_how_sure_it_is(trained):
    model = one_view(trained)
    for index in range(20, 24):
        sample = SOURCE[index]
        found = model.landmarks(sample.image, sample.box[None])
        view = model.frame.view_of(sample.box)
        unit = model.regress(cut(sample.image, view, model.frame.seen)[None])[0]
        pixels = predictors.to_pixels(unit, model.frame.seen, model.frame.seen)
        torch.testing.assert_close(found.points[0], view.inverse().apply(pixels), atol=1e-3, rtol=0)
        assert float(found.confidence.max()) < 1
        # A face that went: where there is none, a tracker must lose its trust.
        empty = torch.full_like(sample.image, 0.3)
        nothing = model.landmarks(empty, sample.box[None]).confidence.mean()
        assert float(nothing) < LOST * float(found.confidence.mean())


def test_five_views_are_as_sure_as_ever(trained):
    recipe, networks = trained
    model = recipe.predictor(networks)
    sample = SOURCE[25]
    looks = [model._moved(sample.box, *look) for look in predictors.BOX_VIEWS]
    found = model._predict(sample.image, looks)
    apart = (found - found.mean(0)).norm(dim=-1).mean(0) / float((sample.box[2:] - sample.box[:2]).max())
    answer = model.landmarks(sample.image, sample.box[None])
    torch.testing.assert_close(answer.points[0], found.mean(0), atol=1e-4, rtol=0)
    torch.testing.assert_close(answer.confidence[0], 1 / (1 + (apart / 0.02) ** 2), atol=1e-3, rtol=0)


def test_descriptors_lie_where_the_record_says(trained):
    recipe, networks = trained
    model = recipe.predictor(networks)
    assert isinstance(model, LandmarkPredictor) and isinstance(model, DenseDescriptor)
    sample = SOURCE[3]
    found = model.describe(sample.image, torch.stack([sample.box, sample.box + 3]))
    assert found.features.shape[:2] == (2, 32) and found.to_view.shape == (2, 2, 3)
    assert found.stride == pytest.approx(found.side / found.features.shape[-1])
    # The middle of the box is the middle of the square, and its sides take the share that the view leaves them.
    for box, to_view in zip((sample.box, sample.box + 3), found.to_view, strict=True):
        corners = torch.stack([box[:2], box[2:]]).double()
        seen = corners @ to_view[:, :2].T + to_view[:, 2]
        torch.testing.assert_close(
            seen.mean(0), torch.full((2,), (found.side - 1) / 2).double(), atol=1e-5, rtol=0
        )
        assert float((seen[1] - seen[0])[0]) == pytest.approx(found.box_side, abs=1e-4)
    views = torch.rand(3, 3, found.side, found.side)
    assert model.describe_views(views).shape == (3, *found.features.shape[1:])


def test_wrong_boxes_and_number_types_are_refused(trained):
    recipe, networks = trained
    with pytest.raises(DataError):
        recipe.predictor(networks).landmarks(SOURCE[0].image, torch.tensor([[5.0, 5.0, 5.0, 9.0]]))
    with pytest.raises(UsageError, match="float32 alone"):
        recipe.predictor(networks, dtype=torch.bfloat16)
