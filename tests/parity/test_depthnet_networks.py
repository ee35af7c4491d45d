"""Networks, affine solve, DepthCorr and pair scores of DepthNets against recorded numbers of the reference."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.parity.depthnet_goldens import assert_state, fill, golden_files, golden_folder, read_npz, tensor

from lineament.data.keypoint_depth import KeypointSet, read_arrays
from lineament.evaluation.depth import PairScores, score_pairs, score_true_depth
from lineament.geometry.affine_fit import apply_affine, fit_affine
from lineament.methods.depthnet.model import Critic, DepthNet, LearntAffineDepthNet
from lineament.methods.depthnet.predictor import DepthPredictor
from lineament.metrics.depth import depth_correlation

NETWORKS = {"shallowd5": DepthNet, "sd5_learnm": LearntAffineDepthNet}


def make(name: str, seed: int) -> torch.nn.Module:
    kind = next(word for word in NETWORKS if word in name)
    return fill(NETWORKS[kind](), seed)


def test_affine_solve_equals_the_reference(goldens: Path):
    for golden in golden_files(goldens, "affine_solve*").values():
        source, target = tensor(golden["src_xy"]), tensor(golden["tgt_xy"])
        depth = tensor(golden["src_z"]).requires_grad_()
        matrix = fit_affine(source, depth, target)
        predicted = apply_affine(matrix, source, depth)
        torch.testing.assert_close(matrix, tensor(golden["m"]), rtol=0, atol=5e-5)
        torch.testing.assert_close(predicted.transpose(1, 2), tensor(golden["tgt_pred"]), rtol=0, atol=2e-5)
        # No worse than the reference's own distance from exact least squares.
        for key, exact in (("m", golden["m_float64_lstsq"]), ("tgt_pred", golden["tgt_pred_float64"])):
            ours = matrix if key == "m" else predicted.transpose(1, 2)
            error = np.abs(ours.detach().numpy() - exact).max()
            assert error <= max(np.abs(golden[key] - exact).max(), 1e-6)
        loss = (predicted - target).square().mean()
        assert float(loss.detach()) == pytest.approx(float(golden["loss_l2"]), rel=1e-4)
        loss.backward()
        expected = tensor(golden["grad_src_z"])
        assert depth.grad is not None
        torch.testing.assert_close(depth.grad, expected, rtol=0, atol=1e-3 * float(expected.abs().max()))
        weak = fit_affine(source, tensor(golden["weak_src_z"]), target)
        torch.testing.assert_close(weak, tensor(golden["weak_m"]), rtol=0, atol=2e-4)


def test_networks_equal_the_reference(goldens: Path):
    for name, golden in golden_files(goldens, "net_*").items():
        network = make(name, int(golden["seed_g"])).eval()
        assert_state(network, golden["g_keys"], golden["g_sum_norm"], 1e-6)
        source, target = (part.transpose(1, 2) for part in tensor(golden["net_input"]).chunk(2, dim=1))
        with torch.no_grad():
            for mode, depth_key, affine_key in (
                (False, "depth_eval", "m_eval"),
                (True, "depth_train_bn", "m_train_bn"),
            ):
                depth, affine = network.train(mode)(source, target)
                expected = tensor(golden[depth_key])
                # Batch norm over few, alike faces magnifies rounding: the reference is 5e-5 from its float64 self.
                limit = 1e-4 * float(expected.abs().max()) if mode else 2e-5
                torch.testing.assert_close(depth, expected, rtol=0, atol=limit)
                if affine is not None:
                    torch.testing.assert_close(
                        affine.flatten(1), tensor(golden[affine_key]), rtol=0, atol=limit
                    )
        critic = fill(Critic(), int(golden["seed_d"])).eval()
        assert_state(critic, golden["d_keys"], golden["d_sum_norm"], 1e-6)
        with torch.no_grad():
            score = critic(tensor(golden["disc_input"]))
        torch.testing.assert_close(score, tensor(golden["disc_out_eval"]), rtol=0, atol=2e-5)


def test_depth_corr_equals_the_reference(goldens: Path):
    for golden in golden_files(goldens, "depthcorr*").values():
        ours = depth_correlation(tensor(golden["preds"]), tensor(golden["actuals"]))
        assert ours == pytest.approx(float(golden["covar"]), abs=1e-9)


def network_seed(folder: Path, name: str) -> int:
    return int(read_npz(folder / f"net_{name}.npz")["seed_g"])


def predictor_of(folder: Path, name: str) -> DepthPredictor:
    solve = "learnt" if "learnm" in name else "fixed"
    return DepthPredictor(make(name, network_seed(folder, name)), solve)


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_dump_equals_the_reference(goldens: Path, name: str):
    folder = golden_folder(goldens)
    if not (folder / f"dump_{name}.npz").is_file():
        pytest.skip(f"no dump_{name}.npz")
    expected = read_npz(folder / f"dump_{name}.npz")["preds"]
    faces = read_arrays(folder / "mini3dfaw_expected" / "test.npz")
    ours = np.zeros_like(expected)

    def keep(source: int, targets: slice, depth: torch.Tensor) -> None:
        ours[source, targets] = depth.numpy()

    score_pairs(predictor_of(folder, name), faces, dump=keep)
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
    folder = golden_folder(goldens)
    if not (folder / f"metrics_{name}.txt").is_file():
        pytest.skip(f"no metrics_{name}.txt")
    (valid_corr, test_corr), table, errors = read_metrics(folder / f"metrics_{name}.txt")
    predictor = predictor_of(folder, name)
    valid, test = (read_arrays(folder / "mini3dfaw_expected" / f"{part}.npz") for part in ("valid", "test"))
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
    folder = golden_folder(goldens)
    faces: KeypointSet = read_arrays(folder / "mini3dfaw_expected" / "test.npz").first(5)
    predictor = predictor_of(folder, "shallowd5")
    rows, truths = [], []
    for i in range(5):
        for j in range(5):
            if i != j:
                fit = predictor(faces.keypoints[i : i + 1], faces.keypoints[j : j + 1])
                rows.append(fit.depth[0])
                truths.append(faces.depth[i])
    expected = depth_correlation(torch.stack(rows), torch.stack(truths))
    assert score_pairs(predictor, faces).depth_corr() == pytest.approx(expected, abs=1e-3)
