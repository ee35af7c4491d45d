"""Reading the recorded DepthNets numbers and filling networks the way they were filled."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

Golden = dict[str, np.ndarray]


def golden_folder(goldens: Path) -> Path:
    folder = goldens / "depthnet"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    return folder


def read_npz(path: Path) -> Golden:
    with np.load(path, allow_pickle=False) as file:
        return {key: file[key] for key in file.files}


def golden_files(goldens: Path, pattern: str) -> dict[str, Golden]:
    """Recorded files of ``goldens/depthnet`` by name; skips where the set holds none that match."""
    files = sorted(golden_folder(goldens).glob(f"{pattern}.npz"))
    if not files:
        pytest.skip(f"no {pattern}.npz in {goldens / 'depthnet'}")
    return {path.stem: read_npz(path) for path in files}


def tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))


def fill(network: nn.Module, seed: int) -> nn.Module:
    """Weights drawn the way the recorded networks got theirs (README of the goldens)."""
    draw = np.random.RandomState(seed)
    state = network.state_dict()
    for key in sorted(state):
        shape = tuple(state[key].shape)
        if key.endswith("num_batches_tracked"):
            value = np.zeros(shape)
        elif key.endswith("running_mean"):
            value = draw.normal(0, 0.1, shape)
        elif key.endswith("running_var"):
            value = draw.uniform(0.5, 1.5, shape)
        elif len(shape) == 1 and key.endswith("weight"):
            value = 1 + 0.1 * draw.normal(0, 1, shape)
        elif len(shape) >= 2:
            value = draw.normal(0, 1, shape) * np.sqrt(2 / np.prod(shape[1:]))
        else:
            value = draw.normal(0, 0.1, shape)
        state[key] = torch.as_tensor(value).to(state[key].dtype)
    network.load_state_dict(state)
    return network


def assert_state(network: nn.Module, keys: np.ndarray, sum_norm: np.ndarray, tolerance: float) -> None:
    """Compare sum and norm of each tensor, relative to the norm and the root of the count."""
    state = network.state_dict()
    assert {key for key in state if not key.endswith("num_batches_tracked")} == set(keys.tolist())
    for key, (total, norm) in zip(keys.tolist(), sum_norm, strict=True):
        value = state[key].double()
        assert abs(float(value.norm()) - norm) <= tolerance * max(norm, 1e-6), key
        assert abs(float(value.sum()) - total) <= tolerance * max(norm * value.numel() ** 0.5, 1e-6), key
