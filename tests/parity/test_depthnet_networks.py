"""Networks, affine solve, DepthCorr and pair scores of DepthNets against recorded numbers of the reference."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.parity.depthnet_goldens import (
    Golden,
    assert_state,
    fill,
    golden_files,
    network_seeds,
    prepared,
    read_npz,
    tensor,
)
from tests.parity.recorded import assert_all_read, matching
from tests.parity.rounding import NEIGHBOURS, bound, moved

from lineament.evaluation.depth import PairScores, score_pairs, score_true_depth
from lineament.geometry.affine_fit import apply_affine, fit_affine
from lineament.methods.depthnet.model import Critic, DepthNet, LearntAffineDepthNet
from lineament.methods.depthnet.predictor import DepthPredictor
from lineament.methods.depthnet.recipe_aign import AignConfig, AignRecipe
from lineament.metrics.depth import depth_correlation

# The recorded files these tests compare with, every number of them.
FILES = (
    "depthnet/affine_solve*",
    "depthnet/net_*",
    "depthnet/depthcorr*",
    "depthnet/dump_*",
    "depthnet/metrics_shallowd5.txt",
    "depthnet/metrics_sd5_learnm.txt",
    "depthnet/checkpoint_layout.json",
)

# Of the condition of the system; it follows from the rows.
UNREAD = {"depthnet/affine_solve*": ("cond_AtA",)}

NETWORKS = {"shallowd5": DepthNet, "sd5_learnm": LearntAffineDepthNet}


def make(name: str, seed: int) -> torch.nn.Module:
    kind = next(word for word in NETWORKS if word in name)
    return fill(NETWORKS[kind](), seed)


def test_affine_solve_equals_the_reference(goldens: Path):
    for golden in golden_files(goldens, "affine_solve*").values():
        source, target = tensor(golden["src_xy"]), tensor(golden["tgt_xy"])
        # Every other row is the target's x: the source's x, y, z, then 1 after the places of the target's y.
        rows = tensor(golden["A"])[:, ::2, [0, 1, 2, 6]]
        expected = torch.cat(
            [source, tensor(golden["src_z"])[..., None], torch.ones(*source.shape[:2], 1)], -1
        )
        torch.testing.assert_close(rows, expected[: len(rows)], rtol=0, atol=1e-6)
        for prefix, tolerance in (("", 5e-5), ("weak_", 2e-4)):
            check_solve(golden, prefix, tolerance)
        depth = tensor(golden["src_z"]).requires_grad_()
        predicted = apply_affine(fit_affine(source, depth, target), source, depth)
        exact = golden["tgt_pred_float64"]
        # The reference's own error, which may come on top.
        own = np.abs(golden["tgt_pred"] - exact).max()
        assert np.abs(predicted.detach().transpose(1, 2).numpy() - exact).max() <= max(2e-5, own)
        torch.testing.assert_close(
            predicted.transpose(1, 2), tensor(golden["tgt_pred"]), rtol=0, atol=bound(2e-5, own, 1e-4)
        )
        loss = (predicted - target).square().mean()
        for key in ("loss_l2", "weak_loss"):
            assert float(loss.detach()) == pytest.approx(float(golden[key]), rel=1e-4)
        loss.backward()
        expected = tensor(golden["grad_src_z"])
        assert depth.grad is not None
        torch.testing.assert_close(depth.grad, expected, rtol=0, atol=1e-3 * float(expected.abs().max()))


def check_solve(golden: Golden, prefix: str, tolerance: float) -> None:
    """Exact least squares in double precision; in single precision, the reference's within what it is off itself."""
    source, target = tensor(golden["src_xy"]), tensor(golden["tgt_xy"])
    depth = tensor(golden[f"{prefix}src_z"])
    truth = tensor(golden[f"{prefix}m_float64_lstsq"])
    exact = fit_affine(source.double(), depth.double(), target.double())
    torch.testing.assert_close(exact, truth, rtol=0, atol=1e-6)
    recorded = tensor(golden[f"{prefix}m"])
    own = float((recorded - truth).abs().max())
    seen = fit_affine(source, depth, target)
    torch.testing.assert_close(seen, recorded, rtol=0, atol=bound(tolerance, own, 5 * tolerance))
    assert float((seen - truth).abs().max()) <= max(tolerance, own)


def test_networks_equal_the_reference(goldens: Path):
    for name, golden in golden_files(goldens, "net_*").items():
        network = make(name, int(golden["seed_g"])).eval()
        assert_state(network, golden["g_keys"], golden["g_sum_norm"], 1e-6)
        check_outputs(network, golden, "eval")
        check_outputs(network, golden, "train_bn")
        critic = fill(Critic(), int(golden["seed_d"])).eval()
        assert_state(critic, golden["d_keys"], golden["d_sum_norm"], 1e-6)
        with torch.no_grad():
            score = critic(tensor(golden["disc_input"]))
        torch.testing.assert_close(score, tensor(golden["disc_out_eval"]), rtol=0, atol=2e-5)


@torch.no_grad()
def check_outputs(network: torch.nn.Module, golden: Golden, mode: str) -> None:
    """Depth and map; with batch statistics over few, alike faces, which magnify rounding, as far as rounding goes."""
    inputs = tensor(golden["net_input"])

    def outputs(network: torch.nn.Module, dtype: torch.dtype) -> list[torch.Tensor]:
        source, target = (part.transpose(1, 2) for part in inputs.to(dtype).chunk(2, dim=1))
        found = network.to(dtype).train(mode == "train_bn")(source, target)
        return [each.double().flatten(1) for each in found if each is not None]

    keys = ("depth", "m")[: len(outputs(moved(network, 0).eval(), torch.float32))]
    others = [outputs(moved(network, seed), torch.float32) for seed in range(NEIGHBOURS[0])]
    exact = outputs(copy.deepcopy(network), torch.float64)
    for i, key in enumerate(keys):
        expected = tensor(golden[f"{key}_{mode}"]).double()
        spread = max(float((other[i] - exact[i]).abs().max()) for other in others)
        ceiling = 5e-4 * float(expected.abs().max()) if mode == "train_bn" else 2e-5
        limit = bound(2e-5, spread, ceiling)
        for seen in (exact[i], others[0][i]):
            torch.testing.assert_close(seen, expected, rtol=0, atol=limit)


def test_checkpoint_layout_equals_the_reference(goldens: Path):
    """Names, shapes and types of every tensor of the published checkpoints."""
    layouts = json.loads(matching(goldens, "depthnet/checkpoint_layout.json")[0].read_text())
    checked = 0
    for name, layout in layouts.items():
        networks = networks_of(name)
        for letter in {"g", "d"} & set(layout):
            state = networks[letter].state_dict()
            mine = sorted([key, list(value.shape), str(value.dtype)] for key, value in state.items())
            assert mine == sorted(layout[letter]), f"{name}, {letter}"
            checked += 1
    assert checked


def networks_of(name: str) -> dict[str, torch.nn.Module]:
    """Generator and critic of a published variant."""
    if name in NETWORKS:
        return {"g": NETWORKS[name](), "d": Critic()}
    networks = AignRecipe(AignConfig(spectral="sn" in name)).networks()
    return {"g": networks["generator"], "d": networks["critic"]}


def test_depth_corr_equals_the_reference(goldens: Path):
    for golden in golden_files(goldens, "depthcorr*").values():
        ours = depth_correlation(tensor(golden["preds"]), tensor(golden["actuals"]))
        assert ours == pytest.approx(float(golden["covar"]), abs=1e-9)


def predictor_of(goldens: Path, name: str) -> DepthPredictor:
    solve = "learnt" if "learnm" in name else "fixed"
    return DepthPredictor(make(name, network_seeds(goldens)[0]), solve)


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_dump_equals_the_reference(goldens: Path, name: str):
    expected = read_npz(matching(goldens, f"depthnet/dump_{name}.npz")[0])["preds"]
    faces = prepared(goldens, "test")
    ours = np.zeros_like(expected)

    def keep(source: int, targets: slice, depth: torch.Tensor) -> None:
        ours[source, targets] = depth.numpy()

    score_pairs(predictor_of(goldens, name), faces, dump=keep)
    ours[np.arange(len(faces)), np.arange(len(faces))] = 0
    np.testing.assert_allclose(ours, expected, rtol=0, atol=2e-5)


def read_metrics(
    path: Path,
) -> tuple[list[float], dict[tuple[str, str], float], list[tuple[str, float, float]]]:
    """DepthCorr values in order, the 3x3 table, and (pair of groups, mean, deviation) of each keypoint error."""
    corr: list[float] = []
    table: dict[tuple[str, str], float] = {}
    errors: list[tuple[str, float, float]] = []
    columns: list[str] = []
    groups = ""
    for line in path.read_text().splitlines():
        words = line.split()
        if re.fullmatch(r"[\d.]+", line.strip()):
            corr.append(float(line))
        elif words and all(word.isalpha() for word in words) and len(words) > 1:
            columns = words
        elif line.startswith("src:"):
            groups = line
        elif "+/-" in line:
            mean, _, deviation = line.removeprefix("kp error:").partition("+/-")
            errors.append((groups, float(mean), float(deviation)))
        elif columns and words and words[0] in columns:
            table |= {(words[0], column): float(v) for column, v in zip(columns, words[1:], strict=True)}
    return corr, table, errors


def check_error(scores: PairScores, groups: str, mean: float, deviation: float) -> None:
    source, target = (None if word == "all" else word for word in re.findall(r": (\w+)", groups))
    seen = scores.keypoint_error(source, target)
    assert seen == pytest.approx((mean, deviation), rel=1e-3), groups


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_metrics_equal_the_reference(goldens: Path, name: str):
    path = matching(goldens, f"depthnet/metrics_{name}.txt")[0]
    (valid_corr, test_corr), table, errors = read_metrics(path)
    predictor = predictor_of(goldens, name)
    valid, test = prepared(goldens, "valid"), prepared(goldens, "test")
    on_valid, on_test = score_pairs(predictor, valid), score_pairs(predictor, test)
    assert on_valid.depth_corr() == pytest.approx(valid_corr, abs=2e-3)
    assert on_test.depth_corr() == pytest.approx(test_corr, abs=2e-3)
    assert table
    for (source, target), expected in table.items():
        assert on_test.depth_corr(source, target) == pytest.approx(expected, abs=2e-3)
    first, *rest, with_truth = errors
    check_error(on_valid, *first)
    assert len(rest) == 1 + len(table)
    for entry in rest:
        check_error(on_test, *entry)
    check_error(score_true_depth(test, predictor), *with_truth)


def test_scores_equal_a_loop_over_pairs(goldens: Path):
    faces = prepared(goldens, "test")
    faces = faces.first(min(5, len(faces)))
    predictor = predictor_of(goldens, "shallowd5")
    rows, truths = [], []
    for i in range(len(faces)):
        for j in range(len(faces)):
            if i != j:
                fit = predictor(faces.keypoints[i : i + 1], faces.keypoints[j : j + 1])
                rows.append(fit.depth[0])
                truths.append(faces.depth[i])
    expected = depth_correlation(torch.stack(rows), torch.stack(truths))
    assert score_pairs(predictor, faces).depth_corr() == pytest.approx(expected, abs=1e-3)


def test_every_recorded_number_is_compared_with(request: pytest.FixtureRequest, goldens: Path):
    assert_all_read(request, goldens, UNREAD)
