"""Networks of Deep3DFaceRecon as its published program saves them."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from lineament.methods.gmpi import deep3d
from lineament.methods.gmpi.deep3d import Deep3DNetwork

LAYERS = (80, 64, 80, 3, 27, 2, 1)


def random_network(seed: int = 0) -> Deep3DNetwork:
    """With statistics of batches as a training leaves them."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = Deep3DNetwork().eval()
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 2)
    return network


def small_network(monkeypatch: pytest.MonkeyPatch, seed: int = 0) -> Deep3DNetwork:
    """Of few channels: files of weights are read in the same way."""
    monkeypatch.setattr(deep3d, "STAGES", ((4, 1), (4, 2), (8, 1), (8, 1)))
    return random_network(seed)


def published_weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state with the published names."""
    named = {f"backbone.{name}": value for name, value in state.items() if "fc." not in name}
    for part in ("weight", "bias"):
        for number, rows in enumerate(state[f"fc.{part}"].split(LAYERS)):
            value = rows[..., None, None] if part == "weight" else rows
            named[f"final_layers.{number}.{part}"] = value.clone()
    return named
