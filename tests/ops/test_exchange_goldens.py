"""The exchange loss against recorded numbers of the published code, in the tolerances recorded with them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.ops.exchange_cases import lattice
from torch import Tensor

from lineament.ops.exchange import dense_correlation_loss, exchange_loss


def run(record: dict[str, Tensor], key: str, impl: str) -> tuple[Tensor, Tensor]:
    """Loss and gradient with respect to the interleaved features of one recorded setting."""
    _, kind, norm, _, power_whole, power_tenths, precision = key.split(".")
    dtype = {"f32": torch.float32, "f64": torch.float64}[precision]
    stride, grid = int(record["stride"]), record["grid"].to(dtype)
    height, width = grid.shape[1:3]
    features = record["feats"].clone().to(dtype).detach().requires_grad_()
    pixels = (grid + 1) / 2 * torch.tensor([width - 1, height - 1], dtype=dtype)
    target_xy = pixels[:, ::stride, ::stride].flatten(1, 2)
    places = lattice(*features.shape[2:], stride).to(dtype)
    options = {
        "normalize": norm == "norm1",
        "power": float(f"{power_whole.removeprefix('pow')}.{power_tenths}"),
        "impl": impl,
    }
    if kind == "dve":
        loss = exchange_loss(features[0::2], features[1::2], None, target_xy, places, **options)
    else:
        loss = dense_correlation_loss(features[0::2], features[1::2], target_xy, places, **options)
    loss.backward()
    assert features.grad is not None
    return loss.detach(), features.grad


@pytest.mark.parametrize("impl", ["auto", "torch"])
@pytest.mark.parametrize("name", ["a", "b", "c"])
def test_recorded_losses_and_gradients(goldens: Path, name: str, impl: str):
    path = goldens / "dve" / f"loss_{name}.safetensors"
    if not path.is_file():
        pytest.skip(f"no recorded losses at {path}")
    record = load_file(path)
    keys = [key for key in record if key.startswith("loss.")]
    assert len(keys) >= 8
    for key in keys:
        loss, gradient = run(record, key, impl)
        assert abs(loss.item() / record[key].item() - 1) < 1e-6, key
        recorded = record.get(key.replace("loss.", "grad.").replace("f32", "f64"))
        if recorded is None:
            continue
        # The published code rounds even its double-precision loss to single precision on the way.
        error = ((gradient - recorded).abs().max() / recorded.abs().max()).item()
        allowed = 1e-7 if key.endswith("f64") else 1e-3 if "norm1" in key else 3e-6
        assert error < allowed, f"{key}: gradient off by {error:.1e} of its maximum"
