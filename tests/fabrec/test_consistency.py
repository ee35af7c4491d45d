"""Faces without labels beside labelled ones: who takes part, what a teacher passes on, that runs go on exactly."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.fabrec.faces import Marks

from lineament.data.loader import BatchStream
from lineament.data.semi_supervised import UNLABELLED, SemiSupervisedSource
from lineament.errors import DataError, UsageError
from lineament.faces.schemes import scheme
from lineament.methods.fabrec.augment import level, sample_affine
from lineament.methods.fabrec.consistency import pseudo_labels
from lineament.methods.fabrec.crop import View, region_side
from lineament.methods.fabrec.heatmaps import draw_heatmaps
from lineament.methods.fabrec.loss import consistency_loss, heatmap_cross_entropy
from lineament.methods.fabrec.recipe_modern import (
    ModernLandmarkConfig,
    ModernLandmarkRecipe,
    SupervisedConfig,
)
from lineament.nn.soft_argmax import edge_aligned, soft_moments
from lineament.training.context import StepContext
from lineament.training.ema import MovingAverage
from lineament.training.loop import LoopOptions, resume, train
from lineament.training.registry import get_recipe
from lineament.training.run import open_run
from lineament.training.stopping import TrainingInterrupted

TINY = {**get_recipe("fabrec-modern").presets["tiny"], "scheme": "5", "batch_size": 4, "steps": 10}
QUIET = LoopOptions(device="cpu", progress=False, report=False)


def recipe(**fields: object) -> ModernLandmarkRecipe:
    return ModernLandmarkRecipe(ModernLandmarkConfig(**{**TINY, **fields}), unlabelled=Marks(6))


def test_labelled_and_unlabelled_faces_take_turns():
    both = SemiSupervisedSource(Marks(2), Marks(5))
    faces = [both[index] for index in range(len(both))]
    assert [face.id for face in faces[::2]] == ["face0", "face1", "face0", "face1", "face0"]
    assert [face.id for face in faces[1::2]] == [f"face{i}" for i in range(5)]
    assert all(face.landmarks is None and face.meta[UNLABELLED] for face in faces[1::2])
    assert all(face.landmarks is not None and UNLABELLED not in face.meta for face in faces[::2])
    assert both.fingerprint != SemiSupervisedSource(Marks(3), Marks(5)).fingerprint
    assert both.fingerprint != SemiSupervisedSource(Marks(2), Marks(4)).fingerprint
    with pytest.raises(IndexError):
        both[10]
    with pytest.raises(DataError, match="marks holds no faces: give other --unlabelled faces"):
        SemiSupervisedSource(Marks(2), Marks(0))


def test_the_soft_place_of_a_gaussian_is_its_centre():
    points = torch.tensor([[[20.3, 30.6], [40.0, 33.2]]])
    scores = draw_heatmaps(points, 64, 32, 1.5).clamp(min=1e-30).log() + 7.0
    means, variances = soft_moments(scores, edge_aligned)
    torch.testing.assert_close(means * 64 - 0.5, points, atol=1e-3, rtol=0)
    torch.testing.assert_close(variances, torch.full((1, 2), 2 * (1.5 / 32) ** 2), atol=1e-5, rtol=0)
    # A map that knows nothing is as wide as the picture, which the teacher's weights must notice.
    assert float(soft_moments(torch.zeros(1, 1, 32, 32), edge_aligned)[1]) == pytest.approx(1 / 6, rel=0.01)


@pytest.mark.parametrize("seed", range(8))
def test_a_teacher_that_is_right_teaches_the_labels(seed: int):
    """Landmarks found in the plain picture come out where the labels lie in the moved and mirrored one."""
    layout, view = scheme("5"), View(64)
    face = Marks(8)[seed]
    assert face.landmarks is not None
    generator = torch.Generator().manual_seed(seed)
    region, move = view.region(face), sample_affine(level(8), region_side(64), generator)
    plain = view.points(face.landmarks.double(), layout, region).float()
    expected = view.points(face.landmarks.double(), layout, region, move).float()
    scores = draw_heatmaps(plain[None], 64, 64, 1.5).clamp(min=1e-30).log()
    clean_to_augmented = view.clean_to_augmented(region, move).float()[None]
    points, weights = pseudo_labels(scores, clean_to_augmented, torch.tensor([move.mirror]), layout, 64)
    inside = ((expected > 0) & (expected < 63)).all(-1)
    assert int(inside.sum()) >= 3
    torch.testing.assert_close(points[0, inside], expected[inside], atol=0.02, rtol=0)
    assert float(weights[0, inside].min()) > 0.8


def test_what_leaves_the_picture_or_is_doubtful_teaches_nothing():
    layout = scheme("5")
    scores = draw_heatmaps(torch.full((1, 5, 2), 40.0), 64, 64, 1.5).clamp(min=1e-30).log()
    away = torch.tensor([[[1.0, 0.0, 30.0], [0.0, 1.0, 0.0]]])
    stay = torch.eye(2, 3)[None]
    straight = torch.tensor([False])
    assert float(pseudo_labels(scores, away, straight, layout, 64)[1].max()) == 0.0
    assert float(pseudo_labels(scores, stay, straight, layout, 64)[1].min()) > 0.8
    assert float(pseudo_labels(0 * scores, stay, straight, layout, 64)[1].max()) < 1e-3


def test_the_consistency_loss_is_the_weighted_place_loss():
    targets = draw_heatmaps(torch.tensor([[[20.0, 30.0], [12.0, 9.0]]]), 64, 64, 2.0)
    scores = torch.randn(1, 2, 64, 64)
    one = consistency_loss(scores, targets, torch.ones(1, 2))
    torch.testing.assert_close(one, heatmap_cross_entropy(scores, targets))
    half = consistency_loss(scores, targets, torch.tensor([[1.0, 0.0]]))
    torch.testing.assert_close(half, 0.5 * heatmap_cross_entropy(scores[:, :1], targets[:, :1]))
    assert float(consistency_loss(scores[:0], targets[:0], torch.ones(0, 2))) == 0.0


def test_unlabelled_faces_teach_but_their_labels_are_not_seen():
    made = recipe()
    source = made.training_source(Marks(2))
    items = [made.item(source[i], torch.Generator().manual_seed(i)) for i in range(4)]
    assert [item["unlabelled"] for item in items] == [False, True, False, True]
    assert not items[1]["known"].any() and not items[1]["points"].any() and items[1]["plain"].any()
    torch.manual_seed(0)
    networks = made.networks()
    for name, network in networks.items():
        network.train()
        assert name in ("encoder", "decoder", "transfer") or not any(
            parameter.requires_grad for parameter in network.parameters()
        )
    # Late in training the weight of unlabelled faces is whole.
    averages = {
        name: MovingAverage(networks, spec).networks for name, spec in made.averages(networks).items()
    }
    assert list(averages) == ["teacher"] and averages["teacher"]["encoder"].training
    seen: list[torch.Tensor] = []
    late = StepContext(lambda loss, *_: seen.append(loss), 7, 8, averages=averages)  # type: ignore[arg-type]
    values = made.step(networks, made.collate(items), late)
    torch.testing.assert_close(seen[0].detach(), values["loss"] + values["consistency"])
    only = made.collate(items[1::2])
    assert float(made.step(networks, only, late)["loss"]) == 0.0
    labelled = made.collate(items[::2])
    assert float(made.step(networks, labelled, late)["consistency"]) == 0.0


@pytest.mark.parametrize(("heatmaps", "loss"), [("paper", "squared"), ("exact", "cross-entropy")])
def test_labels_are_learnt_from_labelled_faces_alone(heatmaps: str, loss: str):
    """Where published heatmaps teach unknown landmarks too, an unlabelled face must not teach its landmarks at 0, 0."""
    made = recipe(heatmaps=heatmaps, loss=loss)
    source = made.training_source(Marks(2))
    batch = made.collate([made.item(source[i], torch.Generator().manual_seed(i)) for i in range(4)])
    scores = torch.randn(4, 5, made.config.layout.heatmap, made.config.layout.heatmap)
    labelled = {"points": batch["points"][::2], "known": batch["known"][::2]}
    torch.testing.assert_close(made._labelled_loss(scores, batch), made.loss(scores[::2], labelled))
    changed = scores.clone()
    changed[1::2] += 1.0
    torch.testing.assert_close(made._labelled_loss(changed, batch), made._labelled_loss(scores, batch))


def test_the_weight_rises_after_the_first_steps():
    made = recipe(steps=100, consistency=2.0)
    weights = [made._weight(done / 100) for done in (0, 30, 45, 60, 99)]
    assert weights == pytest.approx([0.0, 0.0, 1.0, 2.0, 2.0])


def test_a_run_with_unlabelled_faces_goes_on_exactly(tmp_path: Path):
    straight = train(recipe(), Marks(3), tmp_path / "straight", options=QUIET)
    with suppress(TrainingInterrupted):
        train(recipe(), Marks(3), tmp_path / "cut", options=replace(QUIET, stop_after=6, workers=1))
    cut = resume(tmp_path / "cut", Marks(3), recipe=recipe(), options=QUIET)
    groups = [run.read_checkpoint().groups for run in (straight, cut)]
    assert groups[0].keys() == groups[1].keys() == {"networks", "teacher"}
    for group, weights in groups[0].items():
        for key, value in weights.items():
            assert torch.equal(value, groups[1][group][key]), f"{group}: {key}"
    one, teacher = groups[0]["networks"], groups[0]["teacher"]
    lines = [(run.folder / "metrics.jsonl").read_text() for run in (straight, cut)]
    assert lines[0] == lines[1] and '"consistency"' in lines[0]
    # The teacher follows slowly, and only where there is something to follow.
    moved = one["transfer/lin.weight"] - teacher["transfer/lin.weight"]
    assert 0 < float(moved.abs().max()) < 0.1
    assert torch.equal(one["encoder/bn1.running_mean"], teacher["encoder/bn1.running_mean"])
    run = open_run(straight.folder)
    assert run.config["unlabelled"] == ["marks"] and set(run.load_networks()) >= {"encoder", "transfer"}


def test_refusals():
    with pytest.raises(UsageError, match="leave --unlabelled out"):
        SupervisedConfig(unlabelled=("faces/",))
    with pytest.raises(UsageError, match="weight of 0 or more, not -1"):
        recipe(consistency=-1.0)
    with pytest.raises(UsageError, match="need --resampling exact"):
        recipe(resampling="paper")


def test_every_batch_holds_both_kinds_in_the_long_run():
    made = recipe()
    source = made.training_source(Marks(2))
    stream = iter(BatchStream(source, made.item, made.collate, 4, seed=0))
    kinds = torch.cat([next(stream)["unlabelled"] for _ in range(12)])
    assert len(kinds) == 48 and int(kinds.sum()) == 24


def test_hidden_landmarks_are_learnt_where_they_are_labelled():
    face = replace(Marks(1)[0], visibility=torch.tensor([True, False, True, False, True]))
    item = recipe().item(face, torch.Generator().manual_seed(0))
    assert item["known"].all()
    assert face.landmarks is not None
    face.landmarks[1] = torch.nan
    item = recipe(mirror=False).item(face, torch.Generator().manual_seed(0))
    assert item["known"].tolist() == [True, False, True, True, True]
