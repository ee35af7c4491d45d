"""Reading the recorded DepthNets numbers and filling networks the way they were filled."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tests.parity.recorded import Recorded, matching, method_folder, read_arrays
from torch import Tensor, nn

from lineament.data.keypoint_depth import KeypointSet
from lineament.data.keypoint_depth import read_arrays as keypoint_set

Golden = Recorded[Any]


def golden_folder(goldens: Path) -> Path:
    return method_folder(goldens, "depthnet")


def read_npz(path: Path) -> Golden:
    return read_arrays(path)


def golden_files(goldens: Path, pattern: str) -> dict[str, Golden]:
    """Recorded files of ``goldens/depthnet`` by name; skips where the set holds none that match."""
    return {path.stem: read_arrays(path) for path in matching(goldens, f"depthnet/{pattern}.npz")}


def prepared(goldens: Path, split: str) -> KeypointSet:
    """The recorded faces of one part of the small 3DFAW set; skips where there are none."""
    return keypoint_set(matching(goldens, f"depthnet/mini3dfaw_expected/{split}.npz")[0])


def network_seeds(goldens: Path, kind: str = "net") -> tuple[int, int]:
    """Seeds (depth network, critic) behind recorded metrics and dumps, of ``set.json``, else of a file of that kind."""
    facts_file = golden_folder(goldens) / "set.json"
    facts = json.loads(facts_file.read_text()) if facts_file.exists() else {}
    facts = facts if kind == "net" else facts.get(kind, {})
    if "seed_g" not in facts:
        facts = next(iter(golden_files(goldens, f"{kind}*").values()))
    return int(facts["seed_g"]), int(facts["seed_d"])


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
