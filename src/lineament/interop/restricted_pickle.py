"""Unpickles foreign objects without running anything: known plain types are built, all else becomes an inert record.

A pickle can name any importable function and have it called. Here a name never reaches an import: it is looked up in
a short table of builders that only assemble plain values, and whatever is not in the table becomes a fresh class that
stores what it is given.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np

from lineament.errors import CheckpointError

MAX_NESTING = 200
_PLAIN_KINDS = "biufcSU"
_DAMAGE = (
    ValueError, IndexError, KeyError, TypeError, AttributeError, EOFError, OverflowError, MemoryError, RecursionError,
    ImportError, NameError, pickle.UnpicklingError,
)  # fmt: skip


class Inert:
    """A record of an object whose class is not known; nothing of it runs.

    Attributes:
        foreign_name: ``module.Class`` as the file spells it.
        arguments: What its constructor would have been given.
        state: What its ``__setstate__`` would have been given.
        items: What would have been appended or set item by item.
    """

    foreign_name = "?"
    arguments: tuple[Any, ...]
    state: Any
    items: list[Any]

    def __new__(cls, *arguments: Any, **_: Any) -> Inert:
        """Store the arguments of a constructor that is not known."""
        record = object.__new__(cls)
        record.__dict__.update(arguments=arguments, state=None, items=[])
        return record

    def __init__(self, *_: Any, **__: Any) -> None:
        """Take any arguments; ``__new__`` has stored them."""

    def __setstate__(self, state: Any) -> None:
        self.__dict__["state"] = state

    def append(self, item: Any) -> None:
        """Store an item of a foreign list."""
        self.items.append(item)

    def extend(self, items: Any) -> None:
        """Store items of a foreign list."""
        self.items.extend(items)

    def __setitem__(self, key: Any, value: Any) -> None:
        self.items.append((key, value))

    def __repr__(self) -> str:
        return f"<inert {self.foreign_name}>"


class Deferred:
    """A value that is built after the pickle has ended (see :func:`resolve`)."""

    def build(self, resolve_one: Callable[[Any], Any]) -> Any:
        """Return the value; ``resolve_one`` resolves the parts it needs."""
        raise CheckpointError(f"{type(self).__name__} cannot be built.")


class _PlainDtype(Deferred):
    def __init__(self, name: str = "", *_: Any) -> None:
        self.dtype = np.dtype(str(name))
        if self.dtype.kind not in _PLAIN_KINDS:
            raise CheckpointError(f"refused a numpy array of type {name!r}: only plain numbers are read.")

    def __setstate__(self, state: Any) -> None:
        order = state[1]
        if order in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(order)

    def build(self, resolve_one: Callable[[Any], Any]) -> Any:
        return self.dtype


class _PlainArray(Deferred):
    def __init__(self, *_: Any) -> None:
        self.state: tuple[Any, ...] = (1, (0,), _PlainDtype("f8"), False, b"")

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def build(self, resolve_one: Callable[[Any], Any]) -> Any:
        _, shape, dtype, fortran, data = self.state
        plain = np.frombuffer(bytes(data), dtype=resolve_one(dtype))
        return plain.reshape(shape, order="F" if fortran else "C").copy()


class _PlainScalar(Deferred):
    def __init__(self, dtype: _PlainDtype, data: bytes = b"") -> None:
        self.dtype, self.data = dtype, data

    def build(self, resolve_one: Callable[[Any], Any]) -> Any:
        return np.frombuffer(bytes(self.data), dtype=resolve_one(self.dtype))[0].item()


def _encode(text: str, encoding: str = "latin1") -> bytes:
    if encoding not in ("latin1", "latin-1", "ascii", "utf-8"):
        raise CheckpointError(f"refused bytes in the encoding {encoding!r}.")
    return text.encode(encoding)


def _ordered(items: Any = ()) -> OrderedDict[Any, Any]:
    return OrderedDict(items)


def _reconstruct(cls: type, *_: Any) -> Any:
    return cls.__new__(cls) if isinstance(cls, type) and issubclass(cls, Inert) else Inert()


# Builders are wrapped in fresh closures for every load, so that a file cannot alter them for the next one.
_PLAIN: dict[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): _ordered,
    ("_codecs", "encode"): _encode,
    ("copy_reg", "_reconstructor"): _reconstruct,
    ("copyreg", "_reconstructor"): _reconstruct,
    ("numpy", "dtype"): _PlainDtype,
    ("numpy", "ndarray"): _PlainArray,
}
for _module in ("numpy.core.multiarray", "numpy._core.multiarray"):
    _PLAIN[_module, "_reconstruct"] = _PlainArray
    _PLAIN[_module, "scalar"] = _PlainScalar
for _builtins in ("builtins", "__builtin__"):
    for _type in (set, frozenset, list, dict, tuple, int, float, bool, complex, str):
        _PLAIN[_builtins, _type.__name__] = _type


def _fresh(builder: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *arguments: builder(*arguments)


class RestrictedUnpickler(pickle.Unpickler):
    """An unpickler that imports nothing.

    Attributes:
        foreign: Names met that are not known, in order; their objects are :class:`Inert`.
    """

    def __init__(
        self,
        data: bytes,
        builders: dict[tuple[str, str], Any] | None = None,
        persistent: Callable[[Any], Any] | None = None,
    ) -> None:
        """Prepare to read ``data``.

        Args:
            data: One complete pickle.
            builders: Further names that may be built, as (module, name) -> value or callable.
            persistent: How to resolve persistent ids; without it they are refused.
        """
        super().__init__(io.BytesIO(data), encoding="latin1")
        self._builders = dict(builders or {})
        self._persistent = persistent
        self._classes: dict[str, type[Inert]] = {}
        self._fresh: dict[tuple[str, str], Any] = {}
        self.foreign: list[str] = []

    def find_class(self, module: str, name: str, /) -> Any:
        """Return the builder of a known name, or a new inert class."""
        key = (module, name)
        if key not in self._fresh:
            if key in self._builders:
                known = self._builders[key]
                self._fresh[key] = _fresh(known) if callable(known) and not isinstance(known, type) else known
            elif key in _PLAIN:
                self._fresh[key] = _fresh(_PLAIN[key])
            else:
                foreign = f"{module}.{name}"
                self.foreign.append(foreign)
                self._fresh[key] = type("Inert", (Inert,), {"foreign_name": foreign})
        return self._fresh[key]

    def persistent_load(self, pid: Any, /) -> Any:
        """Resolve a persistent id through the given function."""
        if self._persistent is None:
            raise CheckpointError("refused a persistent id: this file does not use them.")
        return self._persistent(pid)


def pickle_length(data: bytes, start: int = 0) -> int:
    """Return the length of the pickle that begins at ``start``, having looked at every opcode.

    Raises:
        CheckpointError: If it is cut off, or numbers its memo so that reading it would exhaust the memory.
    """
    stream = io.BytesIO(data)
    stream.seek(start)
    count = 0
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(stream), 1):
            if "PUT" in opcode.name and int(argument or 0) > 2 * count:
                raise CheckpointError(f"refused a pickle whose memo number {argument} is out of range.")
    except _DAMAGE as error:
        raise CheckpointError(f"the pickle is damaged after {count} operations ({error}).") from error
    return stream.tell() - start


def unpickle(unpickler: RestrictedUnpickler) -> Any:
    """Run a restricted unpickler, turning every way a bad pickle can fail into one error type.

    Raises:
        CheckpointError: If the pickle is damaged or refused.
    """
    try:
        return unpickler.load()
    except _DAMAGE as error:
        raise CheckpointError(f"the pickle is damaged or not of a known form ({error}).") from error


def resolve(value: Any, nesting: int = 0, seen: dict[int, Any] | None = None) -> Any:
    """Replace every deferred value inside plain containers and inert records.

    Raises:
        CheckpointError: If values are nested deeper than ``MAX_NESTING`` or contain themselves.
    """
    seen = {} if seen is None else seen
    if id(value) in seen:
        if seen[id(value)] is _BUSY:
            raise CheckpointError("refused a pickle in which an object contains itself.")
        return seen[id(value)]
    if nesting > MAX_NESTING:
        raise CheckpointError(f"refused a pickle nested deeper than {MAX_NESTING} levels.")

    def inner(part: Any) -> Any:
        return resolve(part, nesting + 1, seen)

    if not isinstance(value, (dict, list, tuple, Deferred, Inert)):
        return value
    seen[id(value)] = _BUSY
    result: Any
    if isinstance(value, Deferred):
        try:
            result = value.build(inner)
        except _DAMAGE as error:
            raise CheckpointError(f"a stored array is damaged ({error}).") from error
    elif isinstance(value, dict):
        result = type(value)((key, inner(part)) for key, part in value.items())
    elif isinstance(value, list):
        result = [inner(part) for part in value]
    elif isinstance(value, tuple):
        result = tuple(inner(part) for part in value)
    else:
        value.__dict__.update(
            arguments=inner(value.arguments), state=inner(value.state), items=inner(value.items)
        )
        result = value
    seen[id(value)] = result
    return result


_BUSY = object()
