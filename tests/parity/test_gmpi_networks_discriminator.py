"""GMPI's discriminator against recorded numbers of the reference."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.parity.gmpi_goldens import discriminator, recorded
from tests.parity.recorded import assert_all_read

from lineament.methods.gmpi.discriminator import Discriminator, load_unconditional
from lineament.methods.gmpi.reference_names import from_reference, reference_parameters

# The recorded files these tests compare with.
FILES = ("gmpi_networks/discriminator*.pt",)


def keep(seen: dict[str, torch.Tensor], name: str, _layer: Any, _inputs: Any, output: torch.Tensor) -> None:
    seen[name] = output.detach()


def test_scores_and_gradients_equal_the_reference(goldens: Path):
    for case in recorded(goldens, "discriminator.pt")["cases"]:
        network = discriminator(case["config"], case["state_dict"])
        assert list(reference_parameters(network)) == case["param_order"]
        image = case["x"].requires_grad_()
        seen: dict[str, torch.Tensor] = {}
        for name in case["inter"]:
            layer = network.get_submodule(name)
            layer.register_forward_hook(partial(keep, seen, name))
        scores = network(image, case["w2c_flat"])
        torch.testing.assert_close(scores.detach(), case["logits"], rtol=1e-5, atol=1e-6)
        assert case["inter"].keys() == seen.keys()
        for name, expected in case["inter"].items():
            torch.testing.assert_close(seen[name], expected, rtol=1e-5, atol=2e-5)
        (gradient,) = torch.autograd.grad(scores.sum(), image, create_graph=True)
        expected = case["dlogits_dx"]
        tolerance = 1e-5 * float(expected.abs().max())
        torch.testing.assert_close(gradient.detach(), expected, rtol=1e-4, atol=tolerance)
        square = gradient.square().sum(dim=(1, 2, 3)).mean()
        assert float(square.detach()) == pytest.approx(case["r1_mean_sq"], rel=1e-5)
        penalty = 5 * square
        assert float(penalty.detach()) == pytest.approx(case["r1_penalty"], rel=1e-5)
        parameters = reference_parameters(network)
        gradients = torch.autograd.grad(penalty, list(parameters.values()), allow_unused=True)
        norms = {name: g for name, g in zip(parameters, gradients, strict=True) if g is not None}
        # None of parameters that the gradient by the image does not depend on.
        recorded_norms = {name: norm for name, norm in case["r1_grad_norms"].items() if norm is not None}
        assert case["r1_grad_norms"].keys() == parameters.keys()
        largest = max(recorded_norms.values())
        for name in parameters:
            found = float(norms[name].norm()) if name in norms else 0.0
            assert found == pytest.approx(recorded_norms.get(name, 0.0), rel=1e-4, abs=1e-6 * largest), name


def test_an_unconditional_one_is_taken_over_as_by_the_reference(goldens: Path):
    golden = recorded(goldens, "discriminator_load_unconditional.pt")
    sizes = {name: golden[name] for name in ("channel_base", "channel_max")}
    source = Discriminator(golden["res"], conv_clamp=256, std_group=1, **sizes)
    state = from_reference(golden["src_state_dict"])
    assert load_unconditional(source, state) == []
    images, poses = golden["x"], golden["w2c_flat"]
    network = Discriminator(golden["res"], pose_dim=poses.shape[1], conv_clamp=256, std_group=1, **sizes)
    network.load_state_dict(golden["dst_before_mapping"], strict=False)
    assert load_unconditional(network, state) == ["mapping.weight", "mapping.bias"]
    assert torch.equal(network.b4.out.weight, golden["dst_after_b4_out_weight"])
    assert torch.equal(network.b4.out.bias, golden["dst_after_b4_out_bias"])
    for name, value in golden["dst_before_mapping"].items():
        assert torch.equal(network.get_parameter(name), value)
    with torch.no_grad():
        torch.testing.assert_close(source(images), golden["src_logits"], rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(network(images, poses), golden["dst_logits"], rtol=1e-5, atol=1e-6)


def test_every_recorded_number_is_compared_with(request: pytest.FixtureRequest, goldens: Path):
    assert_all_read(request, goldens)
