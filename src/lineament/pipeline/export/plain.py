"""Which network is exported, example inputs for it, and the facts that every exported file holds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import lineament
from lineament.capabilities import Exportable, PlainNetwork
from lineament.errors import UsageError
from lineament.faces.detection.yunet_network import SHA256
from lineament.faces.detection.yunet_plain import plain_yunet
from lineament.inference import load
from lineament.training.models import named_models

DETECTOR = "yunet"
# Key of the facts in a file's metadata.
FACTS = "lineament"
# What sizes that vary are in examples, times what they are multiples of; batches besides.
_STEPS = {"height": 3, "width": 4}


def open_plain(model: str) -> tuple[PlainNetwork, dict[str, Any]]:
    """The network of a run, model folder or named model, or of the detector, and facts of its file.

    Args:
        model: Path or name; ``yunet`` is the detector, unless a path or a model has that name.

    Raises:
        UsageError: If it is not there or cannot be exported; one sentence says why.
        CheckpointError: If it cannot be read.
    """
    if model == DETECTOR and not Path(model).exists() and model not in named_models():
        plain = plain_yunet()
        detector = {"name": DETECTOR, "recipe": DETECTOR, "sha256": SHA256, "licence": "Apache-2.0"}
        return plain, _facts(plain, detector)
    opened = load(model)
    predictor = opened.predictor
    if not isinstance(predictor, Exportable):
        holds = getattr(predictor, "holds", "nothing that other programs can run")
        raise UsageError(
            f"{model} ({opened.run.recipe}) holds {holds}, which is not exported: give a model of landmarks, dense "
            f"descriptors or depth, or {DETECTOR}."
        )
    plain = predictor.plain_network()
    folder = getattr(opened.run, "facts", {})
    about: dict[str, Any] = {"name": opened.run.label, "recipe": opened.run.recipe, "step": opened.step}
    for key in ("sha256", "licence"):
        if isinstance(folder.get(key), str):
            about[key] = folder[key]
    return plain, _facts(plain, about)


def example_inputs(plain: PlainNetwork, batch: int, seed: int = 0) -> tuple[Tensor, ...]:
    """Random inputs in 0..1 for a batch."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for shape in plain.inputs.values():
        sizes = [_size(plain, each, batch) for each in shape]
        found.append(torch.rand(sizes, generator=generator))
    return tuple(found)


def largest_differences(found: tuple[Tensor, ...], wanted: tuple[Tensor, ...]) -> list[float]:
    """Largest difference of each output, in shares of its own range, or as it is where that is below 1."""
    differences = []
    for one, other in zip(found, wanted, strict=True):
        spread = max(float(other.max() - other.min()), 1.0)
        differences.append(float((one - other).abs().max()) / spread)
    return differences


def as_tuple(outputs: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Outputs of a network as a tuple."""
    return (outputs,) if isinstance(outputs, Tensor) else tuple(outputs)


def facts_text(facts: Mapping[str, Any]) -> str:
    """Facts as the JSON that files hold."""
    return json.dumps(facts, ensure_ascii=False, sort_keys=True)


def _size(plain: PlainNetwork, given: int | str, batch: int) -> int:
    if isinstance(given, int):
        return given
    return _STEPS[given] * plain.multiples[given] if given in plain.multiples else batch


def _facts(plain: PlainNetwork, about: Mapping[str, Any]) -> dict[str, Any]:
    return {"format": 1, "made_by": f"lineament {lineament.__version__}", **about, **plain.facts}
