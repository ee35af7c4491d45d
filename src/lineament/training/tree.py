"""Nested state (of optimisers, schedules, random generators) as JSON plus tensors, and back, without pickle."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from lineament.errors import CheckpointError


def flatten(value: Any, tensors: dict[str, Tensor], prefix: str) -> Any:
    """Return a JSON value for ``value`` and put its tensors into ``tensors`` under names that begin with ``prefix``.

    Handles what state dictionaries hold: tensors, arrays, numbers, strings, ``None``, lists, tuples, and
    dictionaries with any hashable keys. Floats survive exactly (JSON is written with 17 digits, and NaN and
    infinities under their names).

    Raises:
        CheckpointError: If something else is found; the message names its place and type.
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return float(value)
    if isinstance(value, np.generic):
        return flatten(value.item(), tensors, prefix)
    if isinstance(value, Tensor):
        tensors[prefix] = value
        return {"tensor": prefix}
    if isinstance(value, np.ndarray):
        # torch lacks some of numpy's unsigned types; the bytes carry any of them.
        tensors[prefix] = torch.from_numpy(np.frombuffer(value.tobytes(), dtype=np.uint8).copy())
        return {"array": prefix, "dtype": value.dtype.str, "shape": list(value.shape)}
    if isinstance(value, list | tuple):
        kind = "list" if isinstance(value, list) else "tuple"
        return {kind: [flatten(item, tensors, f"{prefix}.{i}") for i, item in enumerate(value)]}
    if isinstance(value, dict):
        pairs = []
        for i, (key, item) in enumerate(value.items()):
            label = key if isinstance(key, str) else str(i)
            pairs.append(
                [flatten(key, tensors, f"{prefix}.key{i}"), flatten(item, tensors, f"{prefix}.{label}")]
            )
        return {"dict": pairs}
    raise CheckpointError(
        f"cannot store {prefix} of type {type(value).__name__}: keep only tensors, numbers, strings, lists and "
        "dictionaries in the state of optimisers and schedules."
    )


def unflatten(value: Any, tensors: dict[str, Tensor]) -> Any:
    """Invert :func:`flatten`."""
    if not isinstance(value, dict):
        return value
    if "tensor" in value:
        return tensors[value["tensor"]]
    if "array" in value:
        raw = tensors[value["array"]].numpy().tobytes()
        return np.frombuffer(raw, dtype=np.dtype(value["dtype"])).reshape(value["shape"]).copy()
    if "list" in value:
        return [unflatten(item, tensors) for item in value["list"]]
    if "tuple" in value:
        return tuple(unflatten(item, tensors) for item in value["tuple"])
    return {unflatten(key, tensors): unflatten(item, tensors) for key, item in value["dict"]}
