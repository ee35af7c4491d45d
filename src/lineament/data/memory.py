"""Tensors that begin where torch's own memory does."""

from __future__ import annotations

from typing import Any

from torch import Tensor

# Bytes; what torch's allocator for the CPU gives every tensor.
ALIGNMENT = 64


def align_memory(value: Any) -> Any:
    """Copy the CPU tensors in nested lists, tuples and dictionaries that do not begin at a multiple of 64 bytes.

    Matrix products by a vector, and with them some convolutions, round differently where data begin elsewhere, as
    those of numpy and of files do: the same numbers would not give the same bits on every run.

    Args:
        value: Anything; what is not a container or an unaligned tensor comes back as it is.
    """
    if isinstance(value, Tensor):
        unaligned = value.device.type == "cpu" and value.numel() > 0 and value.data_ptr() % ALIGNMENT != 0
        return value.clone() if unaligned else value
    if isinstance(value, dict):
        return type(value)({key: align_memory(item) for key, item in value.items()})
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(align_memory(item) for item in value))
    if isinstance(value, list | tuple):
        return type(value)(align_memory(item) for item in value)
    return value
