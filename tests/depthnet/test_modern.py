"""The modern recipe: frames, mirrors, refusals; the bench's plain twin."""

from __future__ import annotations

import pytest
import torch
from tests.depthnet.faces import random_faces, source

from lineament.errors import DataError, UsageError
from lineament.geometry.affine_fit import fit_affine
from lineament.methods.depthnet.evaluate import score_depths, score_pairs
from lineament.methods.depthnet.model import FramedDepthNet, framed
from lineament.methods.depthnet.predictor import DepthPredictor
from lineament.methods.depthnet.recipe_modern import ModernDepthNetConfig, ModernDepthNetRecipe
from lineament.pipeline.bench.depthnet import plain_fit


def network() -> FramedDepthNet:
    torch.manual_seed(0)
    made = FramedDepthNet((32, 16))
    made(torch.rand(32, 66, 2), torch.rand(32, 66, 2))
    return made.eval()


def test_depth_follows_the_size_and_ignores_the_place_of_a_face():
    made, faces = network(), random_faces(2).keypoints
    with torch.no_grad():
        plain = made(faces[:1], faces[1:])[0]
        moved = made(2 * faces[:1] - 0.3, 0.5 * faces[1:] + 0.1)[0]
    torch.testing.assert_close(moved, 2 * plain, rtol=1e-4, atol=1e-5)
    centred, _ = framed(faces)
    torch.testing.assert_close(centred.square().mean((1, 2)), torch.ones(2))


def test_pairs_are_scored_as_the_network_answers():
    predictor, faces = DepthPredictor(network()), random_faces(5)

    def slow(face: int, targets: slice):
        others = faces.keypoints[targets]
        return predictor.depth(faces.keypoints[face].expand_as(others), others), None

    fast, plain = score_pairs(predictor, faces), score_depths(slow, faces)
    assert fast.depth_corr() == pytest.approx(plain.depth_corr(), abs=1e-3)
    torch.testing.assert_close(fast.errors, plain.errors, rtol=1e-4, atol=1e-8, equal_nan=True)


def test_a_mirrored_item_is_the_mirrored_face():
    sample = source(3)[1]
    always = ModernDepthNetRecipe(ModernDepthNetConfig(mirror=1.0)).item(sample, torch.Generator())
    never = ModernDepthNetRecipe(ModernDepthNetConfig(mirror=0.0)).item(sample, torch.Generator())
    # The person's jaw begins where it ended.
    torch.testing.assert_close(always["keypoints"][0, 0], 1 - never["keypoints"][16, 0])
    torch.testing.assert_close(always["keypoints"][0, 1], never["keypoints"][16, 1])
    assert always["depth"][0] == never["depth"][16] and always["depth"][30] == never["depth"][30]


def test_refusals():
    for fields in ({"critic": True}, {"solve": "learnt"}, {"batch_size": 5}):
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
