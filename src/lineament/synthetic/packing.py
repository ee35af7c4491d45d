"""Named tuples of numbers as records that compiled code takes by reference."""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np


def as_record(values: NamedTuple) -> np.ndarray:
    """Pack a named tuple of floats and float arrays into one record, ``[1]``; compiled code reads ``record[0].name``.

    A tuple with arrays in it, handed from function to function, costs compiled code hundreds of copies a call.
    """
    shapes = tuple(value.shape if isinstance(value, np.ndarray) else () for value in values)
    record = np.zeros(1, _dtype(values._fields, shapes))
    for name, value in zip(values._fields, values, strict=True):
        record[name][0] = value
    return record


@functools.lru_cache(maxsize=16)
def _dtype(names: tuple[str, ...], shapes: tuple[tuple[int, ...], ...]) -> np.dtype:
    return np.dtype([(name, np.float32, shape) for name, shape in zip(names, shapes, strict=True)])
