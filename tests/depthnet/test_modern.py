"""The modern recipe: what its depth follows, the target as second view, refusals; the bench's plain twin."""

from __future__ import annotations

import math

import pytest
import torch
from tests.depthnet.faces import random_faces, source

from lineament.errors import DataError, UsageError
from lineament.evaluation.depth import score_depths, score_pairs
from lineament.geometry.affine_fit import apply_affine, fit_affine
from lineament.methods.depthnet.model import DepthNet
from lineament.methods.depthnet.predictor import DepthPredictor
from lineament.methods.depthnet.recipe_modern import ModernDepthNetConfig, ModernDepthNetRecipe
from lineament.methods.depthnet.two_view import MIRROR, TwoViewDepthNet, upright
from lineament.pipeline.bench.depthnet_twin import plain_fit
from lineament.training.context import StepContext


def network(damping: float = 0.05) -> TwoViewDepthNet:
    torch.manual_seed(0)
    made = TwoViewDepthNet((32, 16), damping)
    for _ in range(3):
        made.own_depth(torch.rand(32, 66, 2))
    return made.eval()


def turned(points: torch.Tensor, degrees: float) -> torch.Tensor:
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return points @ torch.tensor([[c, s], [-s, c]])


@torch.no_grad()
def test_depth_follows_the_size_and_ignores_place_and_roll():
    made, faces = network(), random_faces(2).keypoints
    plain = made(faces[:1], faces[1:])[0]
    moved = made(2 * turned(faces[:1], 33.0) - 0.3, 0.5 * turned(faces[1:], -120.0) + 0.1)[0]
    torch.testing.assert_close(moved, 2 * plain, rtol=1e-4, atol=1e-5)
    points, _ = upright(faces)
    torch.testing.assert_close(points.square().mean((1, 2)), torch.ones(2))


@torch.no_grad()
def test_a_mirrored_face_has_the_mirrored_depth():
    made, faces = network(), random_faces(2).keypoints
    mirrored = faces[:, MIRROR] * torch.tensor([-1.0, 1.0]) + torch.tensor([1.0, 0.0])
    plain, other = made(faces[:1], faces[1:])[0], made(mirrored[:1], mirrored[1:])[0]
    torch.testing.assert_close(other, plain[:, MIRROR], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_another_view_of_the_same_face_corrects_its_depth():
    face = random_faces(1)
    assert face.depth is not None
    points, depth = face.keypoints, face.depth
    view = torch.tensor([[[0.9, 0.0, 0.4, 0.1], [0.05, 1.0, 0.1, 0.0]]])
    target = apply_affine(view, points, depth)
    wrong = depth + 0.05 * torch.randn(1, 66, generator=torch.Generator().manual_seed(1))
    columns = torch.cat([points[0], torch.ones(66, 1)], dim=1)

    def missed(values: torch.Tensor) -> float:
        """Part of the depth's error that no plane explains, with its scale fitted: the affine map takes the rest."""
        others = torch.cat([columns, values.T], dim=1)
        solution = torch.linalg.lstsq(others, depth.T).solution
        return float((others @ solution - depth.T).norm())

    corrected = network(1e-6).corrected(points, wrong, target)
    damped = network(0.1).corrected(points, wrong, target)
    assert missed(corrected) < 0.05 * missed(wrong)
    assert missed(corrected) < missed(damped) < missed(wrong)
    torch.testing.assert_close(network(float("inf")).corrected(points, wrong, target), wrong)
    # The face itself, elsewhere and larger, shows nothing of its depth.
    torch.testing.assert_close(network().corrected(points, wrong, 2 * points + 0.1), wrong, atol=1e-5, rtol=0)


def test_pairs_are_scored_as_the_network_answers():
    predictor, faces = DepthPredictor(network()), random_faces(5)

    def slow(face: int, targets: slice):
        others = faces.keypoints[targets]
        return predictor(faces.keypoints[face].expand_as(others), others)

    fast, plain = score_pairs(predictor, faces), score_depths(slow, faces)
    assert fast.depth_corr() == pytest.approx(plain.depth_corr(), abs=1e-3)
    torch.testing.assert_close(fast.errors, plain.errors, rtol=1e-4, atol=1e-8, equal_nan=True)


@torch.no_grad()
def test_own_depth_needs_no_target_where_the_network_knows_it():
    faces = random_faces(3).keypoints
    modern, published = DepthPredictor(network()), DepthPredictor(DepthNet(widths=(16, 8)))
    torch.testing.assert_close(modern.own_depth(faces, faces[:1]), modern.network.own_depth(faces))  # type: ignore[operator]
    both = [published.depth(faces[1:2], faces[target : target + 1])[0] for target in (0, 2)]
    torch.testing.assert_close(
        published.own_depth(faces, faces[[0, 2]])[1], sum(both) / 2, rtol=1e-4, atol=1e-6
    )
    with pytest.raises(UsageError, match="66"):
        modern.own_depth(faces[:, :5], faces)


def test_training_with_and_without_the_keypoint_error_learns_the_depth():
    batch = {"keypoints": random_faces(16).keypoints, "depth": random_faces(16).depth}
    for weight in (0.0, 1.0):
        torch.manual_seed(0)
        config = ModernDepthNetConfig(widths=(32, 16), keypoint_weight=weight, batch_size=16)
        recipe = ModernDepthNetRecipe(config)
        networks = recipe.networks()
        optimiser = recipe.optimisers(networks)["generator"]

        def update(loss: torch.Tensor, *names: str, optimiser: torch.optim.Optimizer = optimiser) -> None:
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

        values = [recipe.step(networks, batch, StepContext(update)) for _ in range(120)]  # type: ignore[arg-type]
        assert ("keypoint" in values[0]) == bool(weight)
        assert float(values[-1]["depth"]) < 0.3 * float(values[0]["depth"])


def test_refusals():
    for fields in ({"batch_size": 5}, {"damping": 0.0}, {"keypoint_weight": -1.0}):
        with pytest.raises(UsageError):
            ModernDepthNetConfig(**fields)
    sample = source(3)[0]
    sample.meta["keypoint_record"] = (sample.meta["keypoint_record"][0], None)
    with pytest.raises(DataError, match="no depths"):
        ModernDepthNetRecipe(ModernDepthNetConfig()).item(sample, torch.Generator())


def test_the_twin_of_the_bench_solves_the_same_problem():
    faces = random_faces(3)
    assert faces.depth is not None
    target = faces.keypoints.flip(0)
    ours = fit_affine(faces.keypoints, faces.depth, target)
    torch.testing.assert_close(plain_fit(faces.keypoints, faces.depth, target), ours, rtol=0, atol=2e-3)
