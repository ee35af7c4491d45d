"""Labels that lack single points: no loss, no metric and no mirroring of any landmark recipe sees what is not there."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lineament.capabilities import Landmarks
from lineament.data.keypoint_depth import keypoint_record
from lineament.data.sample import FaceSample
from lineament.errors import DataError
from lineament.evaluation.landmark_cards import landmark_cards
from lineament.evaluation.landmarks import score_landmarks
from lineament.faces.boxes import box_from_five_points
from lineament.faces.schemes import mirror_values, parse_scheme, scheme, scheme_word
from lineament.methods.dve.regressor import landmark_loss
from lineament.methods.dve.shape import ShapeRegressor
from lineament.methods.fabrec.loss import heatmap_cross_entropy, heatmap_loss
from lineament.training.registry import get_recipe

FILL = st.sampled_from([math.nan, 1e9, -1e9, 0.0])
SHAPE = torch.tensor([[-0.35, -0.25], [0.35, -0.25], [0.0, 0.1], [-0.25, 0.45], [0.25, 0.45]])


class Faces:
    """Five marks on noise; face i lacks the points of ``gone[i]``."""

    name = "marks"
    fingerprint = "marks"

    def __init__(self, gone: list[set[int]], size: int = 64) -> None:
        self.gone, self.size = gone, size

    def __len__(self) -> int:
        return len(self.gone)

    def __getitem__(self, index: int) -> FaceSample:
        if not 0 <= index < len(self):
            raise IndexError(index)
        generator = torch.Generator().manual_seed(index)
        points = self.size / 2 + 0.6 * self.size * (SHAPE + 0.02 * torch.randn(5, 2, generator=generator))
        image = torch.rand(3, self.size, self.size, generator=generator)
        points[sorted(self.gone[index])] = math.nan
        box = torch.tensor([8.0, 8.0, self.size - 8.0, self.size - 8.0])
        return FaceSample(f"face{index}", image, box=box, landmarks=points, scheme="5")


RECIPES = ("dve-landmarks", "fabrec-landmarks", "fabrec-modern", "fabrec-supervised")


def make(name: str, **fields: Any) -> Any:
    entry = get_recipe(name)
    return entry.build(entry.config("tiny", scheme="5", **fields), preset="tiny")


def batch_of(recipe: Any, source: Faces) -> dict[str, Tensor]:
    items = [recipe.item(source[i], torch.Generator().manual_seed(i)) for i in range(len(source))]
    batch: dict[str, Any] = torch.utils.data.default_collate(items)
    return batch


def loss_of(recipe: Any, batch: dict[str, Tensor]) -> float:
    torch.manual_seed(0)
    networks = recipe.networks()
    if recipe.name == "dve-landmarks":
        images, points, visible = recipe.views(batch)
        regressor = networks["regressor"]
        maps = networks["descriptor"].eval()(images).detach()
        if isinstance(regressor, ShapeRegressor):
            predicted = regressor.fit_batch(maps, points, visible, ~batch["labelled"])
        else:
            predicted, _ = regressor(maps)
        known = batch["labelled"] & torch.isfinite(points).all(-1)
        return float(landmark_loss(predicted.detach(), points, 10.0, known))
    heatmaps = torch.rand(len(batch["points"]), 5, recipe.config.layout.heatmap, recipe.config.layout.heatmap)
    return float(recipe.loss(heatmaps, batch))


@pytest.mark.parametrize("name", [*RECIPES, "dve-landmarks fit=paper", "fabrec-landmarks heatmaps=paper"])
@settings(max_examples=8, deadline=None)
@given(st.sets(st.integers(0, 4), min_size=1, max_size=3), FILL, st.booleans())
def test_no_loss_depends_on_what_stands_at_a_missing_point(
    name: str, gone: set[int], fill: float, mirror: bool
) -> None:
    name, _, extra = name.partition(" ")
    fields: dict[str, Any] = dict([extra.split("=")]) if extra else {}
    recipe = make(name, **fields, mirror=float(mirror))
    batch = batch_of(recipe, Faces([gone, set(), {0}]))
    known = batch["labelled"] if "labelled" in batch else batch["known"]
    assert bool(torch.isfinite(batch["points"][known]).all())
    filled = {**batch, "points": torch.where(known[..., None], batch["points"], fill)}
    before = loss_of(recipe, batch)
    assert math.isfinite(before) and loss_of(recipe, filled) == before


@pytest.mark.parametrize("name", RECIPES)
def test_a_mirrored_face_lacks_the_mirrored_points(name: str) -> None:
    mirrored = make(name, mirror=1.0)
    seen = set()
    for seed in range(8):
        item = mirrored.item(Faces([{0}])[0], torch.Generator().manual_seed(seed))
        known = item["labelled"] if "labelled" in item else item["known"]
        seen.add(tuple(known.tolist()))
    flipped = tuple(mirror_values(torch.tensor([False, True, True, True, True]), "5").tolist())
    assert flipped in seen and seen <= {flipped, (False, True, True, True, True)}


@settings(deadline=None)
@given(st.lists(st.booleans(), min_size=6, max_size=6), FILL)
def test_losses_count_known_points_alone(known: list[bool], fill: float) -> None:
    mask = torch.tensor(known).view(2, 3)
    generator = torch.Generator().manual_seed(0)
    predicted, target = torch.rand(2, 2, 3, 2, generator=generator).unbind(0)
    filled = torch.where(mask[..., None], target, fill)
    loss = landmark_loss(predicted, filled, 10.0, mask)
    if mask.any():
        torch.testing.assert_close(loss, landmark_loss(predicted[mask], target[mask], 10.0))
    else:
        assert float(loss) == 0.0
    maps, marks = torch.rand(2, 2, 3, 8, 8, generator=generator).unbind(0)
    broken = torch.where(mask[..., None, None], marks, fill)
    for measure in (heatmap_loss, heatmap_cross_entropy):
        torch.testing.assert_close(measure(maps, broken, mask), measure(maps, marks, mask), rtol=0, atol=0)


def test_no_gradient_comes_from_a_missing_point() -> None:
    predicted = torch.rand(1, 3, 2, requires_grad=True)
    target = torch.tensor([[[0.1, 0.2], [math.nan, math.nan], [1e9, 1e9]]])
    landmark_loss(predicted, target, 10.0, torch.tensor([[True, False, False]])).backward()
    assert predicted.grad is not None and float(predicted.grad[0, 1:].abs().max()) == 0.0
    assert float(predicted.grad[0, 0].abs().min()) > 0.0


class Perfect:
    """Answers a fixed distance beside the truth."""

    scheme = scheme("5")

    def __init__(self, whole: Faces) -> None:
        self.answers = {
            float(face.image.sum()): face.landmarks for face in map(whole.__getitem__, range(len(whole)))
        }

    def landmarks(self, image: Tensor, boxes: Tensor) -> Landmarks:
        points = self.answers[float(image.sum())]
        assert points is not None
        return Landmarks((points + torch.tensor([3.0, 4.0]))[None], torch.ones(1, len(points)))


def test_metrics_leave_missing_points_out_and_the_card_counts_them() -> None:
    whole = Faces([set(), set(), set()])
    some = Faces([{2}, {3, 4}, {0}])
    truth = [whole[i].landmarks for i in range(3)]
    scores = score_landmarks(Perfect(whole), some)
    assert scores is not None
    # The third face lacks an eye, and with it the distance that errors are divided by.
    assert scores.left_out == 1 and scores.missing == 3 and len(scores.ids) == 2
    for row, face in zip(scores.per_face, truth[:2], strict=True):
        assert face is not None
        torch.testing.assert_close(row, 5.0 / (face[1] - face[0]).norm())
    card = landmark_cards(Perfect(whole), some)[0]
    assert card.details["missing_points"] == 3 and card.details["left_out_faces"] == 1
    assert "3 of 10 points have no label" in card.protocol and "1 faces left out" in card.protocol
    boxed = score_landmarks(Perfect(whole), some, normalise_by="box")
    assert boxed is not None and boxed.left_out == 0 and boxed.missing == 4
    with pytest.raises(DataError, match="--normaliser"):
        score_landmarks(Perfect(whole), Faces([{0}, {1}]))


def test_a_scheme_without_eyes_is_measured_by_the_box() -> None:
    mine = parse_scheme({"name": "five", "points": ["a", "b", "c", "d", "e"], "mirror": []})

    class Own(Faces):
        def __getitem__(self, index: int) -> FaceSample:
            return replace(super().__getitem__(index), scheme=scheme_word(mine))

    model = Perfect(Own([set()]))
    model.scheme = mine
    scores = score_landmarks(model, Own([set()]))
    assert scores is not None and scores.normalise_by == "box"
    torch.testing.assert_close(scores.per_face, torch.tensor([5.0 / 48.0]))


def test_shapes_with_missing_points_make_a_whole_shape_model() -> None:
    generator = torch.Generator().manual_seed(1)
    shapes = 0.8 * SHAPE + 0.02 * torch.randn(40, 5, 2, generator=generator)
    maps = torch.rand(40, 4, 12, 12, generator=generator)
    known = torch.rand(40, 5, generator=generator) > 0.25
    whole, partial = ShapeRegressor(4, 5), ShapeRegressor(4, 5)
    whole.fit_batch(maps, shapes, torch.ones_like(known))
    partial.fit_batch(maps, torch.where(known[..., None], shapes, 1e9), known, ~known)
    assert not bool(known.all(1).all())

    def laid(model: ShapeRegressor) -> Tensor:
        shape = model.mean_shape - model.mean_shape.mean(0)
        return shape / shape.norm()

    assert float((laid(whole) - laid(partial)).abs().max()) < 0.03
    assert whole.usual_place()[1] == pytest.approx(partial.usual_place()[1], rel=0.05)
    # Every single label lacks a point, and no face is whole.
    none = ShapeRegressor(4, 5)
    mask = torch.ones(5, 5, dtype=torch.bool)
    mask.fill_diagonal_(False)
    none.fit_batch(maps[:5], torch.where(mask[..., None], shapes[:5], math.nan), mask, ~mask)
    assert float((laid(whole) - laid(none)).abs().max()) < 0.06


def test_depth_needs_every_keypoint() -> None:
    points = torch.rand(66, 2) * 50
    points[7] = math.nan
    sample = FaceSample("a.jpg", torch.rand(3, 64, 64), landmarks=points, scheme="66")
    with pytest.raises(DataError, match=r"a\.jpg lacks 1 of 66 keypoints: depth needs all of them"):
        keypoint_record(sample)


def test_the_box_of_five_points_bears_missing_ones() -> None:
    points = (
        torch.tensor([[69.0, 111.0], [108.0, 111.0], [88.0, 135.0], [72.0, 152.0], [105.0, 152.0]]) * 2 + 7
    )
    box = box_from_five_points(points)
    for gone in ([2], [0], [3, 4], [0, 1, 2]):
        some = points.clone()
        some[gone] = math.nan
        torch.testing.assert_close(box_from_five_points(some), box, rtol=0, atol=1e-3)
    with pytest.raises(DataError, match="not 1 of shape"):
        box_from_five_points(torch.where(torch.arange(5)[:, None] == 1, points, torch.nan))
