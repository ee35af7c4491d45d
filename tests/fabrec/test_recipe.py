"""Recipes: stages that build on each other, frozen and tuned encoders, few labels, other schemes, clear refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.fabrec.faces import Marks
from torch import Tensor

from lineament.data.face_box import sample_box
from lineament.data.order import sample_generator
from lineament.errors import DataError, UsageError
from lineament.evaluation.landmarks import score_landmarks
from lineament.methods.fabrec.figures import autoencoder_figures, landmark_figures
from lineament.methods.fabrec.landmark_config import LandmarkConfig
from lineament.methods.fabrec.predictor import LandmarkPredictor
from lineament.methods.fabrec.recipe import AutoencoderConfig, AutoencoderRecipe
from lineament.methods.fabrec.recipe_landmarks import LandmarkRecipe
from lineament.training.context import StepContext
from lineament.training.distributed import make_fabric
from lineament.training.loop import LoopOptions, train
from lineament.training.run import Run
from lineament.training.update import GradientUpdate

SIZES: dict[str, Any] = {"size": 64, "width": 4, "code": 8, "batch_size": 4}
QUIET = LoopOptions(device="cpu", progress=False, report=False)


def autoencoder(**changed: Any) -> AutoencoderRecipe:
    return AutoencoderRecipe(AutoencoderConfig(**{**SIZES, "steps": 2, "evaluate_count": 2, **changed}))


def landmarks(**changed: Any) -> LandmarkRecipe:
    values = {**SIZES, "base": "random", "scheme": "5", "steps": 2, "evaluate_count": 2, **changed}
    return LandmarkRecipe(LandmarkConfig(**values))


def batch_of(recipe: Any, source: Marks, step: int = 0) -> dict[str, Tensor]:
    count = recipe.config.batch_size
    items = [recipe.item(source[i % len(source)], sample_generator(0, step, i)) for i in range(count)]
    return recipe.collate(items)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Run:
    recipe = autoencoder(gan_from=-1, structure_from=-1)
    return train(recipe, Marks(), tmp_path_factory.mktemp("base") / "run", options=QUIET)


@pytest.mark.parametrize(
    ("stage", "idle"),
    [
        ({"gan_from": -1, "structure_from": -1}, {"image_discriminator"}),
        ({"structure_from": -1}, set()),
        ({}, set()),
        ({"mixes": True}, set()),
    ],
)
def test_every_parameter_that_should_gets_a_gradient(stage: dict[str, Any], idle: set[str]):
    torch.manual_seed(0)
    recipe = autoencoder(**stage)
    networks = recipe.networks()
    update = GradientUpdate(make_fabric("cpu", "32-true"), recipe.optimisers(networks), 1)
    values = recipe.step(networks, batch_of(recipe, Marks()), StepContext(update))
    assert ("structure" in values) == ("structure_from" not in stage)
    assert ("deception" in values) == ("gan_from" not in stage)
    for name, network in networks.items():
        for key, parameter in network.named_parameters():
            if name in idle:
                assert parameter.grad is None, f"{name}/{key}"
            else:
                assert parameter.grad is not None and bool((parameter.grad != 0).any()), f"{name}/{key}"


def test_losses_begin_when_they_are_due():
    recipe = autoencoder(gan_from=2, structure_from=1)
    networks = recipe.networks()
    update = GradientUpdate(make_fabric("cpu", "32-true"), recipe.optimisers(networks), 1)
    seen = [
        set(recipe.step(networks, batch_of(recipe, Marks(), s), StepContext(update, s))) for s in range(3)
    ]
    assert [("structure" in s, "deception" in s) for s in seen] == [
        (False, False),
        (True, False),
        (True, True),
    ]
    assert "code_discriminator" in seen[0] and "code_discriminator" not in seen[1]
    assert "code" in seen[0] and "code" not in seen[1] and "code" in seen[2]


def test_a_stage_takes_over_sizes_and_weights(base: Run):
    recipe = AutoencoderRecipe(AutoencoderConfig(base=str(base.folder)))
    assert (recipe.config.size, recipe.config.width, recipe.config.code) == (64, 4, 8)
    trained = base.load_networks()
    for name in ("encoder", "decoder", "code_discriminator"):
        mine = recipe.networks()[name].state_dict()
        assert all(torch.equal(mine[key], value) for key, value in trained[name].state_dict().items())
    with pytest.raises(UsageError, match="has width 4, not 8"):
        AutoencoderRecipe(AutoencoderConfig(base=str(base.folder), width=8))


def test_landmarks_train_on_a_frozen_autoencoder(base: Run):
    recipe = LandmarkRecipe(
        LandmarkConfig(base=str(base.folder), scheme="5", batch_size=4, learning_rate=3e-2)
    )
    networks = recipe.networks()
    before = {key: value.clone() for key, value in networks["decoder"].state_dict().items()}
    update = GradientUpdate(make_fabric("cpu", "32-true"), recipe.optimisers(networks), 1)
    source = Marks(count=2)  # fewer than a batch
    losses = [
        float(recipe.step(networks, batch_of(recipe, source, s), StepContext(update, s))["loss"])
        for s in range(25)
    ]
    assert sum(losses[-3:]) < 0.9 * sum(losses[:3])
    assert all(torch.equal(before[key], value) for key, value in networks["decoder"].state_dict().items())
    assert all(p.grad is None for name in ("encoder", "decoder") for p in networks[name].parameters())


def test_a_tuned_encoder_moves_and_the_decoder_does_not():
    recipe = landmarks(tune_encoder=True)
    networks = recipe.networks()
    update = GradientUpdate(make_fabric("cpu", "32-true"), recipe.optimisers(networks), 1)
    recipe.step(networks, batch_of(recipe, Marks()), StepContext(update))
    assert all(p.grad is not None for p in networks["encoder"].parameters())
    assert all(p.grad is None for p in networks["decoder"].parameters())


def test_another_scheme_is_seeded_by_what_fits(tmp_path: Path):
    run = train(landmarks(), Marks(), tmp_path / "five", options=QUIET)
    seeded = LandmarkRecipe(LandmarkConfig(base=str(run.folder), scheme="19")).networks()["transfer"]
    trained = run.load_networks()["transfer"].state_dict()
    assert torch.equal(seeded.state_dict()["t1.weight"], trained["t1.weight"])
    assert seeded.state_dict()["lin.weight"].shape[1] == 19


def test_predictions_are_scored_by_part():
    recipe = landmarks()
    predictor = LandmarkPredictor(recipe.config, recipe.networks())
    scores = score_landmarks(predictor, Marks())
    assert scores is not None
    # What the score says of a face is what the predictor answers for its box, by hand.
    for index in (0, 5):
        sample = Marks()[index]
        found = predictor.landmarks(sample.image, sample.box[None]).points[0]
        apart = (found - sample.landmarks).norm(dim=-1)
        eyes = (sample.landmarks[0] - sample.landmarks[1]).norm()
        torch.testing.assert_close(scores.errors[index].float(), apart / eyes, atol=1e-4, rtol=1e-4)
    assert scores.errors.shape == (8, 5) and scores.part("all") == pytest.approx(float(scores.errors.mean()))
    assert score_landmarks(predictor, Marks(labelled=False)) is None
    with pytest.raises(UsageError, match="no sample belongs to the subset 'blur'"):
        scores.only("blur")


def test_figures_come_with_numbers(tmp_path: Path):
    recipe = autoencoder()
    networks = {name: network.eval() for name, network in recipe.networks().items()}
    drawn = autoencoder_figures(networks, Marks(count=3), recipe.config.view, 8, tmp_path)
    reader = landmarks()
    predictor = LandmarkPredictor(reader.config, reader.networks())
    drawn += landmark_figures(predictor, Marks(count=3), tmp_path)
    assert {path.stem for path in drawn} == {
        "reconstructions",
        "structural-errors",
        "samples",
        "interpolations",
        "five-tiles",
    }
    assert all(path.is_file() and path.with_suffix(".json").is_file() for path in drawn)
    numbers = {path.stem: json.loads(path.with_suffix(".json").read_text()) for path in drawn}
    for name, count, fields in (
        ("reconstructions", 3, {"ssim_error", "pixel_error"}),
        ("structural-errors", 3, {"structural_error", "pixel_error"}),
        ("samples", 8 + 3, {"picture", "code"}),
        ("interpolations", 2 * 8, {"picture", "code"}),
    ):
        tiles = numbers[name]["tiles"]
        assert [set(tile) for tile in tiles] == [fields] * count
        assert all(value >= 0 for tile in tiles for value in tile.values())
    # A line drawn between two codes ends at the reconstruction of the last face.
    assert numbers["interpolations"]["to"] == "face2"
    tiles = predictor.tiles(Marks()[0].image, sample_box(Marks()[0]))
    assert tiles.shape[2] == 5 * tiles.shape[1]


def test_few_labels_are_the_first_or_a_seeded_draw():
    source = Marks(count=20)
    assert landmarks().training_source(source) is source
    first = landmarks(labels=3).training_source(source)
    assert [first[i].id for i in range(len(first))] == ["face0", "face1", "face2"]
    drawn = [landmarks(labels=3, pick="random", seed=s).training_source(source) for s in (0, 0, 1)]
    names = [[part[i].id for i in range(3)] for part in drawn]
    assert names[0] == names[1] != names[2]
    assert drawn[0].fingerprint != drawn[2].fingerprint
    with pytest.raises(DataError, match="30 labelled faces are asked for, but marks holds 20"):
        landmarks(labels=30).training_source(source)


def test_refusals(base: Run, tmp_path: Path):
    with pytest.raises(UsageError, match="--base RUN"):
        LandmarkRecipe(LandmarkConfig())
    with pytest.raises(DataError, match="face0 has no landmarks"):
        landmarks().item(Marks(labelled=False)[0], sample_generator(0, 0, 0))
    with pytest.raises(UsageError, match="no rule turns scheme 5 into 68"):
        landmarks(scheme="68").item(Marks()[0], sample_generator(0, 0, 0))
    with pytest.raises(UsageError, match="levels 0 to 8"):
        autoencoder(augmentation=9)
    with pytest.raises(UsageError, match="value_range"):
        autoencoder(value_range="wide")
    with pytest.raises(UsageError, match="heatmaps is exact or paper"):
        landmarks(heatmaps="sharp")
