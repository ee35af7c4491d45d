"""Reading the recorded 3FabRec numbers and making the networks they were recorded with."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tests.parity.recorded import Recorded, matching, method_folder, read_tensors
from torch import Tensor

from lineament.methods.fabrec.model import Fabrec, Layout, normalise_images

Golden = Recorded[Tensor]


def recorded(goldens: Path, pattern: str) -> list[tuple[dict[str, Any], Golden]]:
    """Facts (of ``set.json``) and tensors of every file of ``goldens/fabrec`` that matches; skips where none does."""
    facts_file = method_folder(goldens, "fabrec") / "set.json"
    facts = json.loads(facts_file.read_text()) if facts_file.exists() else {}
    files = matching(goldens, f"fabrec/{pattern}.safetensors")
    return [(facts.get(file.stem, {}), read_tensors(file)) for file in files]


def filled(facts: dict[str, Any]) -> Fabrec:
    """All networks with weights drawn by the recipe of the goldens' README."""
    size, landmarks = facts["input_size"], facts["landmarks"] or 0
    model = Fabrec(Layout(size), landmarks)
    model.load_state_dict(_drawn(size, landmarks, facts["fill_seed"]))
    return model


@cache
def _drawn(size: int, landmarks: int, seed: int) -> dict[str, Tensor]:
    with torch.device("meta"):
        expected = Fabrec(Layout(size), landmarks).state_dict()
    stream = np.random.RandomState(seed)
    state = {}
    for key in sorted(expected):
        shape = tuple(expected[key].shape)
        if key.endswith("num_batches_tracked"):
            values = np.zeros(shape)
        elif key.endswith("running_var"):
            values = 0.5 + stream.rand(*shape)
        elif key.endswith(("running_mean", ".bias")):
            values = 0.1 * stream.randn(*shape)
        elif len(shape) == 1:
            values = 0.5 + stream.rand(*shape)
        else:
            values = stream.randn(*shape) / np.sqrt(np.prod(shape[1:]))
        state[key] = torch.as_tensor(values).to(expected[key].dtype)
    return state


def as_image(pixels: Tensor) -> Tensor:
    """``[..., H, W, 3]`` bytes as ``[..., 3, H, W]`` in 0..1."""
    return pixels.movedim(-1, -3).float() / 255


def as_input(pixels: Tensor) -> Tensor:
    """``[..., H, W, 3]`` bytes as the networks' input."""
    return normalise_images(as_image(pixels))


def same(found: Tensor, expected: Tensor, tolerance: float) -> None:
    """Equal shapes, and values within an absolute tolerance."""
    torch.testing.assert_close(found.double(), expected.double(), rtol=0, atol=tolerance)
