"""Pair scores: closed-form cases, groups, memory, folded networks."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest
import torch
from tests.depthnet.faces import random_faces

from lineament.errors import DataError
from lineament.evaluation.depth import (
    given_depths,
    score_depths,
    score_pairs,
    score_true_depth,
)
from lineament.evaluation.depth_figures import evaluation_figures, sample_depths
from lineament.methods.depthnet.folded import FoldedNetwork
from lineament.methods.depthnet.model import build_network
from lineament.methods.depthnet.predictor import DepthPredictor
from lineament.metrics.depth import PearsonSums, depth_correlation
from lineament.pipeline.bench.depthnet_memory import peak_mb


def predictor(solve="fixed") -> DepthPredictor:
    torch.manual_seed(0)
    network = build_network(solve, widths=(32, 16))
    network.train()
    network(torch.rand(64, 66, 2), torch.rand(64, 66, 2))
    return DepthPredictor(network, solve)


def test_pearson_sums_do_not_depend_on_the_parts():
    predicted, true = torch.randn(50, 7), 1000 + torch.randn(50, 7)
    whole, parts = PearsonSums(7), PearsonSums(7)
    whole.add(predicted, true)
    for rows in (slice(0, 1), slice(1, 30), slice(30, 30), slice(30, 50)):
        parts.add(predicted[rows], true[rows])
    expected = torch.stack(
        [torch.corrcoef(torch.stack([predicted[:, k], true[:, k]]).double())[0, 1] for k in range(7)]
    )
    torch.testing.assert_close(whole.correlations(), expected)
    torch.testing.assert_close(parts.correlations(), expected)


def test_depth_corr_of_the_truth_is_the_number_of_keypoints():
    depth = torch.randn(20, 66)
    assert depth_correlation(depth, depth) == pytest.approx(66)
    assert depth_correlation(-3 * depth + 1, depth) == pytest.approx(66)
    assert depth_correlation(torch.full_like(depth, 0.25), depth) == 0


@pytest.mark.parametrize("solve", ["fixed", "learnt"])
def test_folded_network_equals_the_network(solve):
    model, faces = predictor(solve), random_faces(6)
    folded = FoldedNetwork(model.network, faces.keypoints)
    with torch.no_grad():
        expected, affine = model.network(faces.keypoints[2].expand(6, -1, -1), faces.keypoints)
    depth, learnt = folded(2, slice(0, 6))
    torch.testing.assert_close(depth, expected, rtol=1e-4, atol=1e-5)
    if affine is None:
        assert learnt is None
    else:
        torch.testing.assert_close(learnt, affine, rtol=1e-4, atol=1e-5)


def test_groups_hold_the_pairs_they_say():
    faces = random_faces(9)
    assert faces.orientations is not None
    scores = score_pairs(predictor(), faces)
    counts = {word: faces.orientations.count(word) for word in set(faces.orientations)}
    for a in counts:
        for b in counts:
            expected = counts[a] * counts[b] - (counts[a] if a == b else 0)
            assert len(scores.pair_errors(a, b)) == expected
    assert len(scores.pair_errors()) == 9 * 8


def test_true_depth_of_one_rigid_face_explains_all_pairs():
    faces = random_faces(5)
    rigid = faces.take([0] * 5)
    turned = torch.stack([rigid.keypoints[0] * (1 + 0.1 * i) + 0.01 * i for i in range(5)])
    same = type(faces)(rigid.ids, turned, rigid.depth, None, rigid.sizes)
    assert score_true_depth(same).keypoint_error()[0] < 1e-12
    assert score_depths(given_depths(faces.depth, faces.keypoints), faces).depth_corr() == pytest.approx(
        66, abs=1e-6
    )


def test_too_few_faces_or_no_depth():
    with pytest.raises(DataError, match="two faces"):
        score_pairs(predictor(), random_faces(1))
    blind = random_faces(4, depth=False)
    scores = score_pairs(predictor(), blind)
    assert scores.keypoint_error()[0] > 0
    with pytest.raises(DataError, match="known depths"):
        scores.depth_corr()
    with pytest.raises(DataError, match="known depths"):
        score_true_depth(blind)


def test_memory_does_not_grow_with_the_pairs():
    model = predictor()
    peaks = []
    for count in (20, 60):
        faces = random_faces(count)
        tracemalloc.start()
        score_pairs(model, faces)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # Nine times the pairs; what Python itself holds stays.
    assert peaks[1] < 3 * peaks[0] + 2**20


def test_keypoint_error_is_that_of_all_pairs():
    scores = score_pairs(predictor(), random_faces(9))
    for groups in ((None, None), ("left", "center"), ("right", None)):
        errors = scores.pair_errors(*groups).double()
        expected = (float(errors.mean()), float(errors.std(correction=0)))
        assert scores.keypoint_error(*groups) == pytest.approx(expected, rel=1e-9)


def test_figures_of_the_paper(tmp_path: Path):
    faces = random_faces(9)
    model = predictor()
    models = {
        "one": (sample_depths(model, faces), score_pairs(model, faces)),
        "two": (faces.depth, None),
    }
    drawn = evaluation_figures(models, faces, tmp_path, shown=2)
    assert [path.stem for path in drawn] == ["faces", "depths", "depth_corr", "keypoint_errors"]
    assert all(path.stat().st_size > 5000 and path.with_suffix(".json").is_file() for path in drawn)


def test_a_few_sources_against_two_thousand_faces_fit_into_little_memory():
    peak = peak_mb(2000, sources=2)
    if peak is None:
        pytest.skip("the peak of a process is read from /proc, which Linux alone has")
    assert peak < 400


@pytest.mark.slow
def test_four_million_pairs_fit_into_little_memory():
    peak = peak_mb(2000, sources=2000)
    if peak is None:
        pytest.skip("the peak of a process is read from /proc, which Linux alone has")
    assert peak < 400


@pytest.mark.slow
def test_peak_is_that_of_the_first_sources():
    few, all_sources = peak_mb(300, sources=2), peak_mb(300, sources=300)
    if few is None or all_sources is None:
        pytest.skip("the peak of a process is read from /proc, which Linux alone has")
    assert all_sources < few + 25
