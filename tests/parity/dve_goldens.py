"""Reading the recorded DVE numbers and making the networks they were recorded with."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from tests.parity.recorded import Recorded, matching, read_tensors
from torch import Tensor, nn

Golden = Recorded[Tensor]


def golden_files(goldens: Path, pattern: str) -> list[Golden]:
    """All recorded files of this method that match; skips where the set holds none."""
    return [read_tensors(path) for path in matching(goldens, f"dve/{pattern}.safetensors")]


def fill_with_recipe_weights(network: nn.Module, seed: int, gain: float) -> None:
    """Weights drawn the way the recorded networks got theirs (README of the goldens)."""
    rs = np.random.RandomState(seed)
    state = network.state_dict()
    for key in sorted(state):
        shape = tuple(state[key].shape)
        if key.endswith("num_batches_tracked"):
            value = np.zeros(shape, dtype=np.int64)
        elif key == "normscale":
            value = np.full(shape, 20.0)
        elif key.endswith("running_var"):
            value = rs.uniform(0.5, 1.5, shape)
        elif key.endswith("running_mean"):
            value = rs.normal(0, 0.1, shape)
        elif len(shape) >= 2:
            value = rs.normal(0, gain / math.sqrt(np.prod(shape[1:])), shape)
        elif key.endswith("weight"):
            value = rs.uniform(0.5, 1.5, shape)
        else:
            value = rs.normal(0, 0.05, shape)
        state[key] = torch.as_tensor(value).to(state[key].dtype)
    network.load_state_dict(state)


SMALLNET_GAIN = math.sqrt(2)
HOURGLASS_GAIN = 0.5
