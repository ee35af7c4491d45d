"""Networks of 3FabRec against recorded numbers: names, shapes, counts, every tapped stage, heatmaps, landmarks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tests.parity.fabrec_goldens import as_input, filled, recorded, same
from tests.parity.recorded import assert_all_read, matching
from torch import Tensor

from lineament.methods.fabrec.folded import FoldedNetworks
from lineament.methods.fabrec.heatmaps import read_heatmaps, smooth
from lineament.methods.fabrec.model import Fabrec, Layout, heatmaps_of, interpolate_codes, reconstruct

# The recorded files these tests compare with, every number of them.
FILES = ("fabrec/forward_*_*", "fabrec/state_dict_manifest.json")


def stats(x: Tensor) -> Tensor:
    x = x.double()
    return torch.stack([x.mean(), x.std(), x.min(), x.max(), x.abs().sum()])


def same_stats(x: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(stats(x), expected, rtol=2e-5, atol=1e-5)


def test_names_and_shapes(goldens: Path):
    path = matching(goldens, "fabrec/state_dict_manifest.json")[0]
    for key, entries in json.loads(path.read_text()).items():
        size, landmarks = map(int, key.split("_"))
        with torch.device("meta"):
            state = Fabrec(Layout(size), landmarks).state_dict()
        mine = {
            name: [list(value.shape), str(value.dtype).removeprefix("torch.")]
            for name, value in state.items()
        }
        assert mine == entries
        assert list(mine) == list(entries)


@torch.no_grad()
def test_forward(goldens: Path):
    for facts, golden in recorded(goldens, "forward_*"):
        model = filled(facts).eval()
        networks = model.networks()
        images = as_input(golden["image_u8"])
        taps: dict[str, Tensor] = {}
        for name in ("layer1", "layer2", "layer4"):
            model.Q.get_submodule(name).register_forward_hook(
                lambda _m, _i, out, name=name, taps=taps: taps.__setitem__(name, out)
            )
        z = model.Q(images)
        same(z, golden["z"], 1e-5)
        for name, tap in (("Q_x1", "layer1"), ("Q_x2", "layer2"), ("Q_ft", "layer4")):
            same_stats(taps[tap], golden[f"{name}_stats"])
        stages = model.P.stages(z)
        assert {f"P_x{i}_stats" for i in range(len(stages))} == {
            k for k in golden if k.startswith("P_x") and "stats" in k
        }
        for i, stage in enumerate(stages):
            same_stats(stage, golden[f"P_x{i}_stats"])
        for name, stage in (("P_x1", stages[1]), ("P_x2", stages[2])):
            same(stage[: len(golden[name])], golden[name], 1e-5)
        image = reconstruct(networks, images)
        same(image[: len(golden["recon"])], golden["recon"], 1e-5)
        same_stats(image, golden["recon_stats"])
        same(model.LMH.t1(stages[1])[: len(golden["LMH_t1"])], golden["LMH_t1"], 1e-5)
        same(model.D(images), golden["D_input"], 1e-5)
        same(model.D(image), golden["D_recon"], 1e-5)
        same(model.D_z(z), golden["D_z_z"], 1e-5)
        made = model.P(golden["z_rand"]).image
        same_stats(made, golden["gen_stats"])
        same(made[..., ::8, ::8], golden["gen_sub8"], 1e-5)
        same(interpolate_codes(z[:1], z[-1:], len(golden["interp_z"])), golden["interp_z"], 1e-5)


@torch.no_grad()
def test_heatmaps_and_landmarks(goldens: Path):
    for facts, golden in recorded(goldens, "forward_*"):
        networks = filled(facts).eval().networks()
        images = as_input(golden["image_u8"])
        heatmaps = heatmaps_of(networks, images)
        folded = FoldedNetworks(networks["encoder"], networks["decoder"], networks["transfer"])(images)
        same(folded, heatmaps, 1e-5)
        some = golden["hm_first4ch"]
        same(heatmaps[: some.shape[0], : some.shape[1]], some, 1e-5)
        same_stats(heatmaps, golden["hm_stats"])
        same(heatmaps.amax((2, 3)), golden["hm_ch_max"], 1e-5)
        # Sums over a whole map collect the rounding of its 16384 values.
        torch.testing.assert_close(heatmaps.double().sum((2, 3)), golden["hm_ch_sum"], rtol=1e-5, atol=1e-2)
        blurred = smooth(heatmaps)
        same(blurred[: some.shape[0], : some.shape[1]], golden["hm_smooth_first4ch"], 1e-5)
        found = read_heatmaps(heatmaps, facts["input_size"], style="paper").double()
        equal = (found == golden["landmarks"]).all(-1)
        # What differs may only be a tie: the recorded place scores as high as ours.
        side = heatmaps.shape[-1]
        for b, k in (~equal).nonzero().tolist():
            x, y = (golden["landmarks"][b, k] * side / facts["input_size"]).long().tolist()
            assert blurred[b, k].max() - blurred[b, k, y, x] < 1e-5


def test_published_counts():
    with torch.device("meta"):
        for size, (encoder, decoder) in {
            128: (11_227_299, 10_699_776),
            256: (11_379_491, 10_868_096),
            512: (11_531_683, 11_036_416),
        }.items():
            for landmarks in (19, 68, 98):
                parts = Fabrec(Layout(size), landmarks).networks().values()
                counts = [sum(p.numel() for p in network.parameters()) for network in parts]
                assert counts == [encoder, decoder, 1_102_001, 1_743_744, 811_008 + 1_024 * landmarks]


def test_every_recorded_number_is_compared_with(request: pytest.FixtureRequest, goldens: Path):
    assert_all_read(request, goldens)
