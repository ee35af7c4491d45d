"""GMPI's generators against recorded numbers of the reference."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.parity.gmpi_goldens import VARIANT_WORDS, generator, recorded
from tests.parity.recorded import assert_all_read, matching
from torch import Tensor

from lineament.methods.gmpi.alpha import interpolation_weights
from lineament.methods.gmpi.discriminator import Discriminator
from lineament.methods.gmpi.generator import GMPIGenerator
from lineament.methods.gmpi.reference_names import from_reference, reference_parameters

# The recorded files these tests compare with.
FILES = ("gmpi_networks/generator_*.pt", "gmpi_networks/full_size_keys.json")

# Absolute, of the output; the surface of predicted-depth is steep.
TOLERANCE = {word: 1e-4 if word == "depth2alpha" else 1e-5 for word in VARIANT_WORDS}
VARIANT_FILES = sorted(f"generator_{word}.pt" for word in VARIANT_WORDS)


def made(golden: Any) -> GMPIGenerator:
    network = generator(golden["config"], golden["state_dict"], golden["plane_normalized_z"])
    assert len(golden["plane_normalized_z"]) == golden["config"]["n_planes"]
    return network


def assert_near(seen: Tensor, expected: Tensor, tolerance: float) -> None:
    torch.testing.assert_close(seen, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("name", VARIANT_FILES)
@torch.no_grad()
def test_outputs_equal_the_reference(goldens: Path, name: str):
    golden = recorded(goldens, name)
    network, tolerance = made(golden), TOLERANCE[golden["config"]["variant"]]
    z = golden["z"]
    assert_near(network.mapping(z), golden["ws"], 1e-6)
    assert_near(network(z, noise_mode="none").rgba(), golden["out_noise_none"], tolerance)
    assert_near(network(z, noise_mode="const").rgba(), golden["out_noise_const"], tolerance)
    truncated = network(z, truncation_psi=0.7, noise_mode="none").rgba()
    assert_near(truncated, golden["out_psi07_noise_none"], tolerance)
    for key in golden:
        if key.startswith("out_noise_random_torchseed"):
            torch.manual_seed(int(key.removeprefix("out_noise_random_torchseed")))
            assert_near(network(z).rgba(), golden[key], tolerance)


@pytest.mark.parametrize("name", VARIANT_FILES)
@torch.no_grad()
def test_any_number_of_planes_equals_the_reference(goldens: Path, name: str):
    golden = recorded(goldens, name)
    if "alt" not in golden:
        assert golden["config"]["variant"] == "vanilla"
        return
    network, other = made(golden), golden["alt"]
    source = golden["plane_normalized_z"]
    if "plane_normalized_z" in other:
        depths = other["plane_normalized_z"]
    else:
        # Columns: something nearer than the first plane, the planes, something farther than the last.
        weights = other["z_interpolation_ws"]
        depths = weights @ torch.cat([source[:1], source, source[-1:]])
        expected = weights[:, 1:-1].clone()
        expected[:, 0] += weights[:, 0]
        expected[:, -1] += weights[:, -1]
        assert_near(interpolation_weights(source, depths), expected, 1e-5)
    assert len(depths) == other["n_planes"] != len(source)
    batch = len(other["out"])
    made_of_them = network(golden["z"][:batch], depths, noise_mode="none").rgba()
    assert_near(made_of_them, other["out"], TOLERANCE[golden["config"]["variant"]])


@pytest.mark.parametrize("name", VARIANT_FILES)
@torch.no_grad()
def test_features_equal_the_reference(goldens: Path, name: str):
    """Features of each block, and the image before the final activation."""
    golden = recorded(goldens, name)
    network, variant = made(golden), golden["config"]["variant"]
    planes = len(golden["plane_normalized_z"])
    ws, depths = network.mapping(golden["z"]), golden["plane_normalized_z"]
    x = colours = opacity = None
    expected, checked, start = golden["inter_noise_none"], 0, 0
    for block in network.synthesis.blocks:
        own = ws[:, start : start + block.layers + 1]
        start += block.layers
        x, colours, opacity = block.multiplane(x, colours, opacity, own, depths, "none", None)
        side = f"b{block.resolution}"
        if f"{side}.x" in expected:
            assert_near(x, expected[f"{side}.x"], 2e-5)
            checked += 1
        if f"{side}.img" in expected:
            if variant in ("cond", "learnable"):
                shared = colours[:, None, :3].expand(-1, planes - 1, -1, -1, -1)
                full = torch.cat([shared, colours[:, None, 3:]], dim=1)
                image = torch.cat([full, opacity[:, :, None]], dim=2).flatten(1, 2)
            else:
                image = torch.cat([colours, opacity], dim=1)
            assert_near(image, expected[f"{side}.img"], 2e-5)
        if f"{side}.pos_enc_embed" in expected:
            vectors = block.plane_embedding(own[:, block.layers - 1], depths)
            assert_near(vectors.flatten(0, 1)[..., None, None], expected[f"{side}.pos_enc_embed"], 2e-5)
    assert checked


@pytest.mark.parametrize("name", VARIANT_FILES)
def test_gradients_equal_the_reference(goldens: Path, name: str):
    golden = recorded(goldens, name)
    network, record = made(golden), golden["grad"]
    images = network(golden["z"], noise_mode="const").rgba()
    assert record["loss_is"] == "mean(out_noise_const * cot)"
    source = torch.Generator().manual_seed(record["cot_seed"])
    cotangent = torch.randn(images.shape, generator=source)
    assert_near(cotangent.flatten()[: len(record["cot_first5"])], record["cot_first5"], 1e-6)
    loss = (images * cotangent).mean()
    assert float(loss.detach()) == pytest.approx(record["loss"], abs=1e-6)
    loss.backward()
    parameters = reference_parameters(network)
    gradients = {name: each.grad for name, each in parameters.items() if each.grad is not None}
    norms = record["norms"]
    assert set(norms) == set(gradients)
    largest = max(norms.values())
    for name_of, expected in norms.items():
        seen = float(gradients[name_of].norm())
        assert seen == pytest.approx(expected, rel=1e-4, abs=1e-5 * largest), name_of
    whole = {
        "const": "synthesis.b4.const",
        "fc0_weight": "mapping.fc0.weight",
        **{
            f"{layer}_b{side}_weight": f"synthesis.b{side}.{layer}.weight"
            for side in network.synthesis.resolutions
            for layer in ("conv0", "conv1", "torgb")
        },
    }
    tensors = [key for key, value in record.items() if isinstance(value, Tensor) and key != "cot_first5"]
    assert len(tensors) == 4
    for key in tensors:
        expected = record[key]
        tolerance = 1e-4 * float(expected.abs().max())
        torch.testing.assert_close(gradients[whole[key]], expected, rtol=1e-4, atol=tolerance)


def test_clamps_and_activations_equal_the_reference(goldens: Path):
    for case in recorded(goldens, "generator_cond_clamp_act.pt")["cases"]:
        network = generator(case, case["state_dict"], case["plane_normalized_z"])
        assert len(network.plane_depths) == case["n_planes"]
        with torch.no_grad():
            assert_near(network(case["z"], noise_mode="none").rgba(), case["out"], 1e-5)


@pytest.mark.parametrize("name", VARIANT_FILES)
def test_order_of_parameters_equals_the_reference(goldens: Path, name: str):
    golden = recorded(goldens, name)
    assert list(reference_parameters(made(golden))) == golden["param_order"]
    # What the reference itself allows between its forms is within what is allowed here.
    assert golden["max_abs_fused_vs_unfused"] <= TOLERANCE[golden["config"]["variant"]]


def test_weights_of_full_size_have_the_published_names(goldens: Path):
    """Every name, shape and place of the published networks; constants of theirs are none of our weights."""
    sizes = json.loads(matching(goldens, "gmpi_networks/full_size_keys.json")[0].read_text())
    for key, record in sizes.items():
        kind, *variant, resolutions = key.split("/")
        resolution = int("".join(letter for letter in resolutions.split("_")[0] if letter.isdigit()))
        base = 16384 if resolution == 256 else 32768
        shapes = dict(record["parameters"])
        with torch.device("meta"):
            if kind == "D":
                pose_dim = shapes["mapping.weight"][1]
                network: Any = Discriminator(resolution, pose_dim=pose_dim, channel_base=base)
            else:
                token = shapes.get("synthesis.b4.pos_enc_embed_learnable_param")
                planes = token[1] if token else shapes.get("synthesis.b4.toalpha.weight", [1])[0]
                network = GMPIGenerator(
                    resolution,
                    torch.linspace(0, 1, planes, device="cpu"),
                    variant=VARIANT_WORDS[variant[0]],
                    channel_base=base,
                )
        parameters = reference_parameters(network)
        assert [[name, list(each.shape)] for name, each in parameters.items()] == record["parameters"], key
        assert sum(each.numel() for each in parameters.values()) == record["n_params"]
        if kind == "G":
            assert network.num_ws == record["num_ws"]
        states = {name: list(value.shape) for name, value in network.state_dict().items()}
        published = dict(record["parameters"] + record["buffers"])
        ours = from_reference({name: constant(name, shape) for name, shape in published.items()})
        assert {name: list(value.shape) for name, value in ours.items()} == states, key


def constant(name: str, shape: list[int]) -> Tensor:
    """A tensor of that shape that takes no memory; the filter as it is published."""
    if name.endswith("resample_filter"):
        taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
        return torch.outer(taps, taps) / 64
    return torch.zeros(()).expand(shape)


def test_every_recorded_number_is_compared_with(request: pytest.FixtureRequest, goldens: Path):
    assert_all_read(request, goldens)
