"""Resampling, modulated convolution, mapping and moving averages against recorded numbers of the reference."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.parity.gmpi_goldens import exactly, recorded
from tests.parity.recorded import assert_all_read
from torch import Tensor, nn

from lineament.nn.stylegan2.bias_act import bias_act
from lineament.nn.stylegan2.convolution import conv2d_resample, conv2d_resample_reference
from lineament.nn.stylegan2.mapping import MappingNetwork
from lineament.nn.stylegan2.modulation import modulated_conv2d
from lineament.nn.upfirdn import (
    downsample2d,
    filter2d,
    fir_filter,
    upfirdn2d,
    upfirdn2d_reference,
    upsample2d,
)
from lineament.training.ema import ema_update, ramped

# The recorded files these tests compare with.
FILES = (
    "gmpi_networks/ops.pt",
    "gmpi_networks/modconv.pt",
    "gmpi_networks/mapping.pt",
    "gmpi_networks/ema.pt",
)


def close(seen: Tensor, expected: Tensor, tolerance: float) -> None:
    """Within a tolerance of the value, or of the largest value."""
    atol = tolerance * max(1.0, float(expected.abs().max()))
    torch.testing.assert_close(seen.detach(), expected, rtol=10 * tolerance, atol=atol)


def check(case: Mapping[str, Any], compute: Any, leaves: Mapping[str, Tensor], tolerance: float) -> None:
    """Output and gradients of a recorded case; ``dx`` is the gradient of the leaf ``x``."""
    for leaf in leaves.values():
        leaf.requires_grad_()
    y = compute(**leaves)
    close(y, case["y"], tolerance)
    gradients = torch.autograd.grad((y * case["cot"]).sum(), list(leaves.values()))
    for name, gradient in zip(leaves, gradients, strict=True):
        close(gradient, case[f"d{name}"], tolerance)


def test_filters_equal_the_reference(goldens: Path):
    filters = recorded(goldens, "ops.pt")["filters"]
    taps = {"1331": [1, 3, 3, 1], "12": [1, 2], "1": [1]}
    for name, expected in filters.items():
        if expected.ndim == 1:
            torch.testing.assert_close(fir_filter(expected / expected.max()), expected, rtol=0, atol=1e-7)
        else:
            torch.testing.assert_close(fir_filter(taps[name]), expected, rtol=0, atol=1e-7)


@pytest.mark.parametrize("twin", [False, True])
def test_resampling_equals_the_reference(goldens: Path, twin: bool):
    ops = recorded(goldens, "ops.pt")
    plain = {"upsample2d": upsample2d, "downsample2d": downsample2d, "filter2d": filter2d}
    core = upfirdn2d_reference if twin else upfirdn2d
    for case in ops["fir"]:
        options = {{"flip_filter": "flip"}.get(name, name): value for name, value in case["kw"].items()}
        if "up" in options and case["kind"] != "upfirdn2d":
            options.pop("up")
        compute = core if case["kind"] == "upfirdn2d" else plain[case["kind"]]
        check(
            case,
            lambda x, compute=compute, case=case, options=options: compute(x, case["filter"], **options),
            {"x": ops["x"].clone()},
            1e-6,
        )
    for case in ops["conv2d_resample"]:
        convolve = conv2d_resample_reference if twin else conv2d_resample
        options = {name: case[name] for name in ("up", "down", "padding", "flip_weight", "groups")}
        assert case["w"].shape[2:] == (case["k"], case["k"])
        check(
            case,
            lambda x, w, options=options, convolve=convolve: convolve(
                x, w, ops["filters"]["1331"], **options
            ),
            {"x": case["x"], "w": case["w"]},
            1e-6,
        )


def test_bias_and_activation_equal_the_reference(goldens: Path):
    for case in recorded(goldens, "ops.pt")["bias_act"]:
        check(
            case,
            lambda x, b, case=case: bias_act(x, b, case["act"], gain=case["gain"], clamp=case["clamp"]),
            {"x": case["x"], "b": case["b"]},
            1e-6,
        )


@pytest.mark.parametrize("fused", [False, True])
def test_modulated_convolution_equals_the_reference(goldens: Path, fused: bool):
    golden = recorded(goldens, "modconv.pt")
    for case in golden["cases"]:
        assert case["w"].shape[2:] == (case["k"], case["k"])
        options = {name: case[name] for name in ("up", "padding", "demodulate", "flip_weight", "noise")}
        leaves = {"x": case["x"], "w": case["w"], "styles": case["styles"]}
        check(
            case,
            lambda x, w, styles, options=options: modulated_conv2d(
                x, w, styles, f=golden["resample_filter"], fused=fused, **options
            ),
            leaves,
            1e-5,
        )
        # The reference's two forms, within what it says they differ by.
        difference = case["max_abs_fused_vs_unfused"]
        torch.testing.assert_close(case["y_unfused"], case["y"], rtol=0, atol=difference)


def test_mapping_equals_the_reference(goldens: Path):
    golden = recorded(goldens, "mapping.pt")
    z, state = golden["z"], golden["state_dict"]
    copies, w_dim = golden["ws_psi1"].shape[1:]
    network = MappingNetwork(z.shape[1], w_dim, copies, layers=golden["num_layers"])
    exactly(network, state)
    close(network(z), golden["ws_psi1"], 1e-6)
    close(network(z, 0.7), golden["ws_psi07"], 1e-6)
    close(network(z, 0.5, 3), golden["ws_psi05_cut3"], 1e-6)
    torch.testing.assert_close(network.w_avg, state["w_avg"])
    network.train()
    close(network(z), golden["ws_train"], 1e-6)
    close(network.w_avg, golden["w_avg_after_one_train_forward"], 1e-6)


def test_moving_averages_equal_the_reference(goldens: Path):
    golden = recorded(goldens, "ema.pt")

    def module(values: list[Tensor]) -> nn.Module:
        return nn.ParameterList([nn.Parameter(value.clone()) for value in values])

    averages: dict[Any, nn.Module] = {}
    for step, record in enumerate(golden["steps"], start=1):
        for decay, shadow in record["shadow"].items():
            average = averages.setdefault(decay, module(golden["init"]))
            ema_update(average, module(record["params"]), 1 - ramped(float(decay), step))
            for seen, expected in zip(average.parameters(), shadow, strict=True):
                close(seen, expected, 1e-6)


def test_every_recorded_number_is_compared_with(request: pytest.FixtureRequest, goldens: Path):
    assert_all_read(request, goldens)
