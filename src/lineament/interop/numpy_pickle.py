"""Reads lists of numpy arrays that joblib wrote, without running a pickle.

A joblib file is a pickle stream into which the raw bytes of every array are spliced. The reader below walks the
opcodes itself and knows only those that build lists, tuples, dictionaries, strings, numbers and arrays: a file
cannot name a function, so there is nothing in it that could run.
"""

from __future__ import annotations

import io
import math
import pickletools
from collections.abc import Callable
from typing import Any

import numpy as np

from lineament.errors import CheckpointError

_MARK = object()
_GLOBALS = {
    ("joblib.numpy_pickle", "NumpyArrayWrapper"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
}
_PLAIN_KINDS = "biuf"


class _Name:
    """A known name of the stream; never called, only compared."""

    def __init__(self, module: str, name: str) -> None:
        if (module, name) not in _GLOBALS:
            raise CheckpointError(
                f"refused to load {module}.{name}: only plain numpy arrays are read from this file."
            )
        self.name = name


class _ArrayHeader:
    """What joblib keeps of an array: shape, order, dtype, alignment; the bytes follow in the stream."""

    def __init__(self) -> None:
        self.state: dict[str, Any] = {}


def load_arrays(data: bytes, name: str = "file") -> Any:
    """Read an uncompressed joblib stream.

    Args:
        data: The bytes of the stream.
        name: What to call it in errors.

    Returns:
        The stored object: arrays, nested in lists, tuples and dictionaries.

    Raises:
        CheckpointError: If the stream is damaged or holds anything but plain arrays and containers.
    """
    try:
        return _Reader(data).run()
    except CheckpointError as error:
        raise CheckpointError(f"{name}: {error}") from error
    except (
        ValueError,
        IndexError,
        KeyError,
        TypeError,
        AttributeError,
        EOFError,
        OverflowError,
        SyntaxError,
    ) as error:
        raise CheckpointError(f"{name}: not a readable file of arrays ({error}): fetch it again.") from error


class _Reader:
    """A stack machine over the few opcodes that array files use."""

    def __init__(self, data: bytes) -> None:
        self.stream = io.BytesIO(data)
        self.size = len(data)
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.handlers: dict[str, Callable[[Any], None]] = {
            "EMPTY_LIST": lambda _: self.stack.append([]),
            "EMPTY_DICT": lambda _: self.stack.append({}),
            "EMPTY_TUPLE": lambda _: self.stack.append(()),
            "NONE": lambda _: self.stack.append(None),
            "NEWTRUE": lambda _: self.stack.append(True),
            "NEWFALSE": lambda _: self.stack.append(False),
            "MARK": lambda _: self.stack.append(_MARK),
            "MEMOIZE": lambda _: self.memo.__setitem__(len(self.memo), self.stack[-1]),
            "TUPLE": lambda _: self.stack.append(tuple(self.pop_to_mark())),
            "APPEND": lambda _: self.append([self.stack.pop()]),
            "APPENDS": lambda _: self.append(self.pop_to_mark()),
            "SETITEM": lambda _: self.set_items([self.stack.pop(-2), self.stack.pop()]),
            "SETITEMS": lambda _: self.set_items(self.pop_to_mark()),
            "STACK_GLOBAL": lambda _: self.stack.append(_Name(*self.pop(2))),
            "NEWOBJ": lambda _: self.new_object(),
            "REDUCE": lambda _: self.reduce(),
            "BUILD": lambda _: self.build(),
        }
        for count in (1, 2, 3):
            self.handlers[f"TUPLE{count}"] = lambda _, n=count: self.stack.append(tuple(self.pop(n)))  # type: ignore[misc]
        for opcode in ("BININT", "BININT1", "BININT2", "SHORT_BINUNICODE", "BINUNICODE", "BINFLOAT", "LONG1"):
            self.handlers[opcode] = self.stack.append
        for opcode in ("BINGET", "LONG_BINGET"):
            self.handlers[opcode] = lambda index: self.stack.append(self.memo[index])
        for opcode in ("BINPUT", "LONG_BINPUT"):
            self.handlers[opcode] = lambda index: self.memo.__setitem__(index, self.stack[-1])
        for opcode in ("PROTO", "FRAME"):
            self.handlers[opcode] = lambda _: None

    def run(self) -> Any:
        # `genops` is lazy: after BUILD the array's bytes are taken from the same stream before the next opcode.
        for opcode, argument, _ in pickletools.genops(self.stream):
            if opcode.name == "STOP":
                if len(self.stack) != 1 or self.stream.tell() != self.size:
                    raise ValueError("bytes are left over")
                return self.stack[0]
            handler = self.handlers.get(opcode.name)
            if handler is None:
                raise CheckpointError(
                    f"refused opcode {opcode.name}: only plain numpy arrays are read from this file."
                )
            handler(argument)
        raise ValueError("the stream has no end")

    def pop(self, count: int) -> list[Any]:
        values = self.stack[-count:]
        if len(values) != count:
            raise ValueError("the stack is empty")
        del self.stack[-count:]
        return values

    def pop_to_mark(self) -> list[Any]:
        values = []
        while (value := self.stack.pop()) is not _MARK:
            values.append(value)
        return values[::-1]

    def append(self, values: list[Any]) -> None:
        if type(self.stack[-1]) is not list:
            raise TypeError("append to something that is no list")
        self.stack[-1].extend(values)

    def set_items(self, values: list[Any]) -> None:
        if type(self.stack[-1]) is not dict or len(values) % 2:
            raise TypeError("items set on something that is no dictionary")
        self.stack[-1].update(zip(values[::2], values[1::2], strict=True))

    def new_object(self) -> None:
        kind, arguments = self.pop(2)
        if not isinstance(kind, _Name) or kind.name != "NumpyArrayWrapper" or arguments != ():
            raise TypeError("an object that is no array")
        self.stack.append(_ArrayHeader())

    def reduce(self) -> None:
        kind, arguments = self.pop(2)
        if not isinstance(kind, _Name) or kind.name != "dtype" or not isinstance(arguments[0], str):
            raise TypeError("a call that makes no number type")
        dtype = np.dtype(arguments[0])
        if dtype.kind not in _PLAIN_KINDS:
            raise TypeError(f"array of type {dtype}")
        self.stack.append(dtype)

    def build(self) -> None:
        state = self.stack.pop()
        target = self.stack[-1]
        if isinstance(target, np.dtype) and isinstance(state, tuple):
            if state[1] in ("<", ">"):
                self.stack[-1] = target.newbyteorder(state[1])
                self.memo.update({key: self.stack[-1] for key, value in self.memo.items() if value is target})
        elif isinstance(target, _ArrayHeader) and isinstance(state, dict):
            self.stack[-1] = self.read_array(state)
            self.memo.update({key: self.stack[-1] for key, value in self.memo.items() if value is target})
        else:
            raise TypeError("state for something that is no array")

    def read_array(self, state: dict[str, Any]) -> np.ndarray:
        dtype, shape, order = state["dtype"], state["shape"], state["order"]
        if not isinstance(dtype, np.dtype) or order not in ("C", "F"):
            raise TypeError("an array without a number type or order")
        if not all(isinstance(side, int) and side >= 0 for side in shape):
            raise ValueError(f"array of shape {shape}")
        if state.get("numpy_array_alignment_bytes"):
            self.stream.seek(self.stream.read(1)[0], io.SEEK_CUR)
        count = math.prod(shape)
        if count * dtype.itemsize > self.size - self.stream.tell():
            raise ValueError(f"an array of shape {shape} is longer than the file")
        values = np.frombuffer(self.stream.read(count * dtype.itemsize), dtype=dtype, count=count)
        return values.reshape(shape, order=order).copy()
