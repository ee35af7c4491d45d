"""The AIGN baselines against recorded numbers of the reference: heat maps, spectral norm, heads, steps, metrics."""

from __future__ import annotations

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
    golden_folder,
    read_npz,
    tensor,
)

from lineament.data.keypoint_depth import read_arrays
from lineament.methods.depthnet.aign import Aign, AignPredictor, SpectralLinear, heat_maps
from lineament.methods.depthnet.evaluate import score_pairs
from lineament.methods.depthnet.evaluate_single import single_depth_corr
from lineament.methods.depthnet.recipe_aign import AignConfig, AignRecipe
from lineament.training.distributed import make_fabric
from lineament.training.update import GradientUpdate


def test_heat_maps_equal_the_reference(goldens: Path):
    for golden in golden_files(goldens, "aign_heatmap*").values():
        crops = {key: value for key, value in golden.items() if key.startswith("map_")}
        size = 128
        points = tensor(golden["points_xy"]).double()
        # The middle of the pixel: truncation must not depend on rounding.
        maps = heat_maps((points[None] + 0.5) / size, size)[0]
        torch.testing.assert_close(maps.sum((1, 2)), tensor(golden["maps_sum"]), rtol=0, atol=1e-12)
        peaks = torch.stack([torch.stack([m.argmax() // size, m.argmax() % size]) for m in maps])
        assert torch.equal(peaks, tensor(golden["maps_argmax_yx"]))
        for key, expected in crops.items():
            x, y, rest = re.match(r"map_(\d+)_(\d+)_crop_(.*)", key).groups()  # type: ignore[union-attr]
            numbers = [int(n) for n in re.findall(r"\d+", rest)]
            top, bottom, left, right = numbers if len(numbers) == 4 else numbers * 2
            row = golden["points_xy"].tolist().index([int(x), int(y)])
            torch.testing.assert_close(
                maps[row, top:bottom, left:right], tensor(expected), rtol=0, atol=1e-12
            )


def test_spectral_norm_equals_the_reference(goldens: Path):
    for golden in golden_files(goldens, "spectral_norm*").values():
        outputs, inputs = golden["init_module__weight_bar"].shape
        layer = SpectralLinear(inputs, outputs)
        prefix = "init_module__"
        layer.load_state_dict(
            {f"module.{k.removeprefix(prefix)}": tensor(v) for k, v in golden.items() if k.startswith(prefix)}
        )
        calls = sorted(key for key in golden if key.startswith("out_call"))
        for key in calls:
            torch.testing.assert_close(
                layer(tensor(golden["x"])).detach(), tensor(golden[key]), rtol=0, atol=1e-6
            )
        for key, value in golden.items():
            if key.startswith("after"):
                name = key.partition("_module__")[2]
                torch.testing.assert_close(
                    layer.state_dict()[f"module.{name}"], tensor(value), rtol=0, atol=1e-6
                )


HEADS = {
    "rot_model": "rotation",
    "alpha_model": "shape",
    "T_model": "translation",
    "f_model": "focal",
    "c_model": "centre",
}


def aign_files(goldens: Path) -> dict[str, Golden]:
    return {name: golden for name, golden in golden_files(goldens, "aign*").items() if "seed_g" in golden}


def check_heads(network: Aign, keypoints: torch.Tensor, golden: Golden) -> torch.Tensor:
    """Compare what the network answers in eval mode; return its 3-D points."""
    maps = heat_maps(keypoints)
    close(maps.sum((1, 2, 3)), golden["heatmap_sum"], 1e-3)
    with torch.no_grad():
        heads = network.eval().heads(maps)
        points, projected = network(keypoints)
    for key, ours in HEADS.items():
        close(heads[ours], golden[f"eval_{key}"], 1e-4)
    close(points, golden["eval_x_3d"], 1e-4)
    close(projected.transpose(1, 2), golden["eval_x_2d_proj"], 1e-4)
    error = float((projected - keypoints).abs().mean())
    assert error == pytest.approx(float(golden["evalloss_l1_loss"]), rel=1e-4)
    return points


def close(seen: torch.Tensor, expected: np.ndarray, limit: float) -> None:
    torch.testing.assert_close(seen.double(), tensor(expected).double(), rtol=0, atol=limit)


def test_training_equals_the_reference(goldens: Path):
    train = read_arrays(golden_folder(goldens) / "mini3dfaw_expected" / "train.npz")
    assert train.depth is not None
    for name, golden in aign_files(goldens).items():
        rows = tensor(golden["batch_rows"])
        keypoints, depth = train.keypoints[rows].double(), train.depth[rows].double()
        spectral = "sn" in name
        recipe = AignRecipe(AignConfig(spectral=spectral, projection_weight=100, penalty=0.1))
        networks = recipe.networks()
        generator = fill(networks["generator"], int(golden["seed_g"]))
        critic = fill(networks["critic"], int(golden["seed_d"])).double()
        assert isinstance(generator, Aign)
        check_heads(generator, keypoints.float(), golden)
        points = generator.double().eval()(keypoints)[0].detach()
        real = torch.cat([keypoints.transpose(1, 2), depth[:, None]], dim=1)
        # The recorded evaluation scored three batches first, and a spectral norm iterates in each.
        with torch.no_grad():
            scores = [critic.eval()(batch).mean() for batch in (points, points, real)]
        assert float(-scores[0]) == pytest.approx(float(golden["evalloss_g_loss"]), rel=1e-4)
        for network in networks.values():
            network.train()
        update = GradientUpdate(make_fabric("cpu", "32-true"), recipe.optimisers(networks), 1)
        # Batch norms over three faces: weights moved by 3e-7 of themselves spread the second losses by 2 %.
        limits = (1e-3, 1e-2 if spectral else 5e-2)
        for step in range(len(golden["train_loss_g_loss"])):
            values = recipe.step(networks, {"keypoints": keypoints, "depth": depth}, update)
            for key, ours in (("g_loss", "adversarial"), ("l1_loss", "projection"), ("d_loss", "critic")):
                expected = float(golden[f"train_loss_{key}"][step])
                assert float(values[ours]) == pytest.approx(expected, rel=limits[min(step, 1)]), (
                    name,
                    step,
                    key,
                )
        for letter, network in (("g", generator), ("d", critic)):
            assert_state(network, golden[f"final_{letter}_keys"], golden[f"final_{letter}_sum_norm"], 1e-2)


def test_metrics_equal_the_reference(goldens: Path):
    folder = golden_folder(goldens)
    if not (folder / "metrics_aign.txt").is_file():
        pytest.skip("no metrics_aign.txt")
    text = (folder / "metrics_aign.txt").read_text()
    network = fill(Aign(), int(read_npz(folder / "aign.npz")["seed_g"]))
    faces = read_arrays(folder / "mini3dfaw_expected" / "test.npz")
    predictor = AignPredictor(network)
    ours = single_depth_corr(predictor.depth(faces.keypoints, faces.keypoints), faces)
    found = re.findall(r"(\w+) =\s+([\d.]+)", text)
    assert {name for name, _ in found} == set(ours)
    for name, value in found:
        assert ours[name] == pytest.approx(float(value), abs=2e-3)
    mean, deviation = (float(word) for word in re.findall(r"([\d.e-]+)\s+\+/-\s+([\d.e-]+)", text)[0])
    assert score_pairs(predictor, faces).keypoint_error() == pytest.approx((mean, deviation), rel=1e-3)
    assert np.isfinite(mean)
