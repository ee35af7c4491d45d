"""The recipes: gradients everywhere, a falling loss, pure items, warm-up, landmarks end to end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.dve.faces import Blobs
from torch import Tensor

from lineament.data.order import sample_generator
from lineament.errors import DataError, UsageError
from lineament.evaluation.landmark_cards import landmark_cards
from lineament.evaluation.landmarks import TablePredictions, score_landmarks
from lineament.evaluation.mean_shape import MeanShape
from lineament.methods.dve.predictor import LandmarkPredictor
from lineament.methods.dve.recipe import DveConfig, DveRecipe
from lineament.methods.dve.recipe_landmarks import LandmarkConfig, LandmarkRecipe
from lineament.training.context import StepContext
from lineament.training.registry import get_recipe, recipes

SMALL = DveConfig(
    steps=30,
    batch_size=4,
    image_size=44,
    crop=6,
    channels=16,
    normalize=True,
    learning_rate=3e-3,
    bias_learning_rate=0,
)


class Update:
    """Stands in for the loop's: zero, back-propagate, step."""

    def __init__(self, optimisers: dict[str, torch.optim.Optimizer]) -> None:
        self.optimisers = optimisers

    def __call__(self, loss: Tensor, *names: str) -> None:
        for optimiser in self.optimisers.values():
            optimiser.zero_grad()
        loss.backward()
        for optimiser in self.optimisers.values():
            optimiser.step()


def batch_of(recipe: DveRecipe | LandmarkRecipe, source: Blobs, step: int) -> dict[str, Tensor]:
    size = recipe.config.batch_size
    indices = [(step * size + offset) % len(source) for offset in range(size)]
    return recipe.collate([recipe.item(source[i], sample_generator(0, step, i)) for i in indices])


def train(recipe: DveRecipe | LandmarkRecipe, source: Blobs, steps: int) -> tuple[dict, list[float]]:
    torch.manual_seed(0)
    networks = recipe.networks()
    update = Update(recipe.optimisers(networks))
    contexts = [StepContext(update, step, recipe.config.steps) for step in range(steps)]
    losses = [float(recipe.step(networks, batch_of(recipe, source, c.step), c)["loss"]) for c in contexts]
    return networks, losses


def test_the_published_grid_is_registered():
    assert set(recipes("dve-smallnet-*d")) == {f"dve-smallnet-{c}d" for c in (3, 16, 32, 64)}
    assert set(recipes("dve-smallnet-*-dense")) == {f"dve-smallnet-{c}d-dense" for c in (3, 16, 32, 64)}
    for channels in (3, 64):
        config = get_recipe(f"dve-smallnet-{channels}d").config()
        assert (config.channels, config.exchange, config.normalize, config.image_size) == (
            channels,
            True,
            False,
            100,
        )
    assert not get_recipe("dve-smallnet-16d-dense").config().exchange
    hourglass = get_recipe("dve-hourglass-64d").config()
    assert (hourglass.image_size, hourglass.crop, hourglass.normalize, hourglass.batch_size) == (
        136,
        20,
        True,
        16,
    )


@pytest.mark.parametrize("exchange", [False, True])
def test_every_parameter_gets_a_gradient(exchange: bool):
    recipe = DveRecipe(replace(SMALL, exchange=exchange))
    networks = recipe.networks()
    recipe.loss(networks["descriptor"], batch_of(recipe, Blobs(), 0)).backward()
    for name, parameter in networks["descriptor"].named_parameters():
        assert parameter.grad is not None, name
        # Batch normalisation takes a bias right before it away again.
        before_norm = name.endswith("0.bias")
        assert before_norm or float(parameter.grad.abs().max()) > 0, name


@pytest.mark.parametrize("exchange", [False, True])
def test_the_loss_falls(exchange: bool):
    _, losses = train(DveRecipe(replace(SMALL, exchange=exchange)), Blobs(), 30)
    assert sum(losses[-5:]) < 0.9 * sum(losses[:5])


def test_the_modern_recipe_learns():
    modern = get_recipe("dve-modern")
    recipe = modern.build(modern.config(steps=25, batch_size=4, image_size=44, crop=6, loss_points=64))
    networks = recipe.networks()
    recipe.loss(networks["descriptor"], batch_of(recipe, Blobs(), 0)).backward()
    for name, parameter in networks["descriptor"].named_parameters():
        assert float(parameter.grad.abs().max()) > 0, name
    _, losses = train(recipe, Blobs(), 25)
    assert sum(losses[-5:]) < 0.9 * sum(losses[:5])


def test_a_second_look_is_taken_only_where_views_agree_better(monkeypatch):
    source = Blobs(count=30, size=72)
    recipe = LandmarkRecipe(landmark_config(refine_box=True))
    networks, _ = train(recipe, source, 6)
    predictor = LandmarkPredictor(recipe.config, networks)
    sample = source[25]
    once, _ = predictor._look(sample.image, [sample.box])
    # A proposal beside the face: what the views see there disagrees, so the first look stands.
    monkeypatch.setattr(predictor, "_usual_box", lambda points, box: box + 60.0)
    found = predictor.landmarks(sample.image, sample.box[None])
    torch.testing.assert_close(found.points, once, atol=1e-3, rtol=0)


def test_items_depend_on_their_generator_only():
    recipe = DveRecipe(replace(SMALL, noise=0.1, loss_points=50, mirror=0.5))
    sample = Blobs()[3]
    first = recipe.item(sample, sample_generator(0, 0, 3))
    torch.manual_seed(123)
    again = recipe.item(sample, sample_generator(0, 0, 3))
    other = recipe.item(sample, sample_generator(0, 1, 3))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["weights1"], other["weights1"])
    assert not torch.equal(first["image"], other["image"])


def test_pictures_without_box_or_landmarks_can_be_trained_on():
    sample = replace(Blobs(labelled=False)[0], box=None)
    item = DveRecipe(SMALL).item(sample, sample_generator(0, 0, 0))
    assert item["image"].shape == (3, 44, 44)


def test_warm_up_leaves_exchange_out():
    recipe = DveRecipe(replace(SMALL, warmup=0.5, steps=4))
    used: list[bool | None] = []
    original = recipe.loss
    recipe.loss = lambda *a, exchange=None: used.append(exchange) or original(*a, exchange=exchange)  # type: ignore[method-assign,func-returns-value]
    train(recipe, Blobs(), 4)
    assert used == [False, False, True, True]


def test_a_luma_network_sees_no_colour():
    recipe = DveRecipe(replace(SMALL, luma=True))
    network = recipe.networks()["descriptor"].eval()
    from lineament.faces.photometric import to_grey
    from lineament.methods.dve.model import describe

    image = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(
            describe(network, image),
            describe(network, to_grey(image).expand(-1, 3, -1, -1)),
            atol=1e-5,
            rtol=1e-4,
        )


def landmark_config(**changed: object) -> LandmarkConfig:
    values = {
        "base": "random",
        "backbone": "smallnet",
        "channels": 32,
        "image_size": 60,
        "crop": 6,
        "view": 1.3,
        "scheme": "5",
        "steps": 6,
        "batch_size": 8,
        "look": False,
        **changed,
    }
    return LandmarkConfig(**values)  # type: ignore[arg-type]


def test_landmarks_are_learnt_from_few_labels():
    source, seen, test = Blobs(count=30, size=72), Blobs(count=20, size=72), range(20, 30)
    recipe = LandmarkRecipe(landmark_config())
    networks, _ = train(recipe, seen, 6)
    predictor = LandmarkPredictor(recipe.config, networks)
    (error, failures, area) = landmark_cards(predictor, source, test, box_jitter=0.1)
    baseline = landmark_cards(MeanShape([seen[i] for i in range(20)], "5"), source, test, box_jitter=0.1)[0]
    assert error.value < 0.6 * baseline.value
    scores = score_landmarks(predictor, source, test, box_jitter=0.1)
    assert scores is not None and error.count == len(scores.per_face) == 10
    assert error.value == pytest.approx(100 * float(scores.per_face.mean()))
    assert failures.value == pytest.approx(100 * float((scores.per_face > 0.1).double().mean()))
    assert area.value == pytest.approx(float((1 - scores.per_face / 0.1).clamp(min=0).mean()))
    found = predictor.landmarks(source[25].image, source[25].box[None])
    eyes = (source[25].landmarks[0] - source[25].landmarks[1]).norm()
    assert float((found.points[0] - source[25].landmarks).norm(dim=-1).mean() / eyes) < baseline.value / 100


def test_the_published_regressor_trains_on_frozen_descriptors():
    recipe = LandmarkRecipe(landmark_config(fit="paper", intermediate=8, learning_rate=1e-2, channels=16))
    networks, losses = train(recipe, Blobs(size=72), 15)
    assert all(not p.requires_grad for p in networks["descriptor"].parameters())
    assert sum(losses[-3:]) < sum(losses[:3])


def test_labels_are_needed():
    recipe = LandmarkRecipe(landmark_config())
    with pytest.raises(DataError, match="blob0 has no landmarks"):
        recipe.item(Blobs(labelled=False)[0], sample_generator(0, 0, 0))
    with pytest.raises(UsageError, match="--base RUN"):
        LandmarkRecipe(LandmarkConfig())
    assert landmark_cards(LandmarkPredictor(recipe.config, recipe.networks()), Blobs(labelled=False)) == []


def test_predictions_from_a_file_are_scored_alike(tmp_path: Path):
    from lineament.faces.schemes import scheme

    source = Blobs()
    shifted = {source[i].id: source[i].landmarks + torch.tensor([3.0, 4.0]) for i in range(len(source))}
    card = landmark_cards(TablePredictions(scheme("5"), shifted, "theirs.json"), source)[0]
    expected = [5 / (source[i].landmarks[0] - source[i].landmarks[1]).norm() for i in range(len(source))]
    assert card.value == pytest.approx(100 * float(torch.stack(expected).mean()), rel=1e-4)
    with pytest.raises(DataError, match="no prediction for blob0"):
        landmark_cards(TablePredictions(scheme("5"), {}, "theirs.json"), source)
