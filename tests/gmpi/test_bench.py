"""The bench of GMPI's generator: its plain twin computes the same, and it reports shares and memory."""

from __future__ import annotations

import pytest
import torch

from lineament.methods.gmpi.generator import GMPIGenerator
from lineament.pipeline.bench import gmpi_generator as bench
from lineament.pipeline.bench import gmpi_step as step_bench
from lineament.pipeline.bench import gmpi_twin, run_bench
from lineament.pipeline.bench.gmpi_memory import build, measure_memory, plane_depths


@pytest.mark.parametrize("variant", ["plane-depth", "plane-token"])
def test_the_twin_equals_the_network(variant: str):
    torch.manual_seed(0)
    network = GMPIGenerator(
        64, plane_depths(5), variant=variant, channel_base=512, channel_max=16, alpha_resolution=32
    )
    network.eval()
    for name, parameter in network.named_parameters():
        if name.endswith("noise_strength"):
            torch.nn.init.constant_(parameter, 0.3)
    z = torch.randn(2, 512)
    with torch.no_grad():
        plain = gmpi_twin.multiplane(network, z, network.plane_depths)
        ours = network(z, noise_mode="const").rgba()
    torch.testing.assert_close(plain, ours, rtol=0, atol=2e-5)


def test_planes_lie_evenly_in_one_over_the_distance():
    depths = plane_depths(32)
    distances = 0.95 + depths * (1.12 - 0.95)
    steps = (1 / distances).diff()
    assert depths[0] == 0 and depths[-1] == 1
    torch.testing.assert_close(steps, steps.mean().expand(31), rtol=1e-3, atol=0)


def test_it_reports_shares_and_memory(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(bench, "build", lambda size, planes: build(32, planes))
    monkeypatch.setattr(bench, "measure_memory", lambda size, planes: (100.0 + size, 300.0 + size))
    figures = run_bench("gmpi-generator", threads=1, repeats=1)
    assert figures["times_floor"] == pytest.approx(1 / figures["share"], rel=0.05)
    assert figures["memory_mb"] == 200 and figures["large_peak_mb"] == 1324
    assert figures["cpu_s"] > 0 and figures["twin_cpu_s"] > 0 and figures["lean_ms"] > 0


def test_memory_does_not_hold_features_of_each_plane():
    """Of 256 planes of 128 px with up to 512 channels they alone would take gigabytes."""
    found = measure_memory(128, 256)
    if found is None:
        pytest.skip("memory is read from /proc")
    loaded, peak = found
    planes_with_colours = 256 * 4 * 128 * 128 * 4 / 2**20
    assert planes_with_colours < peak - loaded < 4 * planes_with_colours


_Step = step_bench.Step


def small_step() -> step_bench.Step:
    made = _Step(size=16, channel_base=128, channel_max=8)
    # Noise that is drawn anew would differ between the two.
    made.settings = step_bench.StepSettings(noise_mode="const")
    return made


def test_the_twin_steps_as_the_networks_do():
    """Each starts from the same weights; losses, chosen views and the discriminator's gradients are the same."""
    found = []
    for whose in (_Step.__call__, lambda ours: step_bench.take(step_bench.twin_of(ours), ours)):
        torch.manual_seed(0)
        ours = small_step()
        results = whose(ours)
        gradients = [p.grad for n in ours.networks.values() for p in n.parameters() if p.grad is not None]
        found.append([*results, *gradients])
    assert len(found[0]) == len(found[1]) > 50
    for ours, plain in zip(*found, strict=True):
        # Adam's first step is as long for a gradient that is rounding alone as for any other.
        torch.testing.assert_close(ours, plain, rtol=1e-2, atol=1e-3 * float(plain.abs().max()) + 1e-7)


def test_it_reports_the_parts_of_a_step(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(step_bench, "Step", lambda device: small_step())
    figures = run_bench("gmpi-step", threads=1, repeats=2)
    parts = sum(figures[f"{part}_ms"] for part in ("judge", "choose", "learn"))
    assert 0 < parts <= 1e3 * figures["cpu_s"] * 1.01
    assert figures["times_floor"] == pytest.approx(1 / figures["share"], rel=0.05)
    assert figures["times_faster"] == pytest.approx(figures["twin_cpu_s"] / figures["cpu_s"], rel=0.05)
