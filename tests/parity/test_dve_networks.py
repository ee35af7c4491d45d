"""SmallNet, hourglass and regressor against recorded numbers of the reference."""

from __future__ import annotations

from pathlib import Path

import torch
from tests.parity.dve_goldens import HOURGLASS_GAIN, SMALLNET_GAIN, fill_with_recipe_weights, golden_files
from torch import Tensor, nn

from lineament.methods.dve.hourglass import Hourglass
from lineament.methods.dve.model import SmallNet
from lineament.methods.dve.regressor import LandmarkRegressor, landmark_loss


def stage_outputs(network: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """Output of every submodule by name, in one forward pass."""
    outputs: dict[str, Tensor] = {}
    hooks = [
        module.register_forward_hook(lambda _m, _i, out, name=name: outputs.__setitem__(name, out))
        for name, module in network.named_modules()
        if name
    ]
    with torch.no_grad():
        outputs["output"] = network(images)
    for hook in hooks:
        hook.remove()
    return outputs


def assert_stages_equal(golden: dict[str, Tensor], outputs: dict[str, Tensor]) -> None:
    checked = 0
    for key, expected in golden.items():
        if key.startswith("stat_eval."):
            name = key.removeprefix("stat_eval.").removesuffix(".mean_std_absmax")
            out = outputs[name].double()
            seen = torch.stack([out.mean(), out.std(), out.abs().max()]).float()
            torch.testing.assert_close(seen, expected, rtol=1e-4, atol=1e-4 * float(expected[2]))
            checked += 1
    assert checked


def test_smallnet_equals_the_reference(goldens: Path):
    for golden in golden_files(goldens, "smallnet_*d_mp*"):
        network = SmallNet(int(golden["channels"]), max_pool=bool(golden["do_maxpool"]))
        fill_with_recipe_weights(network, int(golden["recipe_seed"]), SMALLNET_GAIN)
        network.eval()
        outputs = stage_outputs(network, golden["input"])
        torch.testing.assert_close(outputs["output"], golden["output_eval"], rtol=0, atol=1e-4)
        assert_stages_equal(golden, outputs)
        network.train()
        trained = network(golden["input"]).detach()
        torch.testing.assert_close(trained, golden["output_train"], rtol=0, atol=1e-4)
        for key, expected in golden.items():
            if key.startswith("after_train."):
                seen = network.state_dict()[key.removeprefix("after_train.")]
                torch.testing.assert_close(seen, expected, rtol=1e-5, atol=1e-6)


def test_smallnet_takes_the_reference_state(goldens: Path):
    for golden in golden_files(goldens, "smallnet_refinit_full_state"):
        state = {
            key.removeprefix("state."): value for key, value in golden.items() if key.startswith("state.")
        }
        network = SmallNet(len(state["conv6.bias"])).eval()
        network.load_state_dict(state, strict=True)
        with torch.no_grad():
            torch.testing.assert_close(network(golden["input"]), golden["output_eval"], rtol=0, atol=1e-5)


def test_hourglass_equals_the_reference(goldens: Path):
    for recorded in ("hourglass_*d_bn", "hourglass_*d_gn"):
        for golden in golden_files(goldens, recorded):
            group = recorded.endswith("gn")
            network = Hourglass(int(golden["channels"]), group_norm=group, scaled_norm_output=group)
            assert sum(p.numel() for p in network.parameters()) == int(golden["n_params"])
            fill_with_recipe_weights(network, int(golden["recipe_seed"]), HOURGLASS_GAIN)
            network.eval()
            outputs = stage_outputs(network, golden["input"])
            scale = float(golden["output_eval"].abs().max())
            torch.testing.assert_close(outputs["output"], golden["output_eval"], rtol=0, atol=1e-4 * scale)
            assert_stages_equal(golden, outputs)
            if "output_train" in golden:
                check_training_output(network.train(), golden)


def check_training_output(network: nn.Module, golden: dict[str, Tensor]) -> None:
    """Compare a forward pass with batch statistics.

    From one picture the deepest normalisation takes its statistics of nine values, and 1e-4 of the largest output is
    below what float32 can hold: the recorded output is 1.6e-4 from our float64 one (root mean square 3.4e-5), and
    rounding each convolution of a float64 pass at random to 24 bits moves it by 1.2e-4 to 1.3e-4.
    """
    expected = golden["output_train"].double()
    scale = float(expected.abs().max())
    for dtype, largest, typical in ((torch.float32, 4e-4, 1e-4), (torch.float64, 3e-4, 6e-5)):
        with torch.no_grad():
            error = (network.to(dtype)(golden["input"].to(dtype)).double() - expected) / scale
        assert float(error.abs().max()) < largest
        assert float(error.square().mean().sqrt()) < typical


def make_regressor(golden: dict[str, Tensor]) -> LandmarkRegressor:
    batch, landmarks, intermediate = golden["intermediate"].shape[:3]
    assert batch == len(golden["features"])
    regressor = LandmarkRegressor(
        golden["features"].shape[1], landmarks, intermediate, sharpness=float(golden["softargmax_mul"])
    )
    live = {key: golden[f"state.{key}"] for key in regressor.state_dict()}
    regressor.load_state_dict(live, strict=True)
    return regressor


def test_regressor_equals_the_reference(goldens: Path):
    for golden in golden_files(goldens, "keypoint_*"):
        regressor = make_regressor(golden)
        predicted, intermediate = regressor(golden["features"])
        torch.testing.assert_close(predicted, golden["pred"], rtol=0, atol=1e-4)
        torch.testing.assert_close(intermediate, golden["intermediate"], rtol=0, atol=1e-4)
        loss = landmark_loss(predicted, golden["keypts_normalized"], alpha=10)
        torch.testing.assert_close(loss.detach(), golden["regression_loss_alpha10"], rtol=1e-4, atol=0)
        loss.backward()
        for name, parameter in regressor.named_parameters():
            expected = golden[f"grad.{name}"]
            assert parameter.grad is not None
            limit = 1e-3 * float(expected.abs().max())
            torch.testing.assert_close(parameter.grad, expected, rtol=0, atol=limit)


def test_regressor_trains_like_the_reference(goldens: Path):
    for golden in golden_files(goldens, "keypoint_*"):
        regressor = make_regressor(golden)
        optimiser = torch.optim.Adam(regressor.parameters(), lr=1e-3, weight_decay=5e-4, amsgrad=True)
        for expected in golden["train.losses5"]:
            loss = landmark_loss(regressor(golden["features"])[0], golden["keypts_normalized"])
            assert abs(float(loss.detach()) - float(expected)) < 1e-4 * float(expected)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        final = regressor.reg_conv.weight.detach()
        torch.testing.assert_close(final, golden["train.final.reg_conv.weight"], rtol=0, atol=1e-4)
        norm = regressor.inner_conv.weight.detach().norm()
        torch.testing.assert_close(norm, golden["train.final.inner_conv.weight_norm"], rtol=1e-4, atol=0)
