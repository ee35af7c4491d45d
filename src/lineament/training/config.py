"""Recipe configs as plain values for YAML and JSON, and back; comparison and hash."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import types
import typing
from pathlib import Path
from typing import Any, TypeVar

from lineament.errors import UsageError, unknown_name

T = TypeVar("T")


def config_to_dict(config: Any) -> dict[str, Any]:
    """Return the fields of a config dataclass as numbers, strings, lists and dictionaries."""
    return {field.name: _plain(getattr(config, field.name)) for field in dataclasses.fields(config)}


def config_from_dict(cls: type[T], values: dict[str, Any]) -> T:
    """Build a config from what :func:`config_to_dict` returned or a user wrote in YAML; absent fields are defaults.

    Raises:
        UsageError: If a field is unknown or its value is of the wrong type; the message names it.
    """
    hints = typing.get_type_hints(cls)
    names = [field.name for field in dataclasses.fields(cls)]  # type: ignore[arg-type]
    for name in values:
        if name not in names:
            raise unknown_name(f"field of {cls.__name__}", name, names)
    built = {}
    for name, value in values.items():
        try:
            built[name] = _typed(hints[name], value)
        except (TypeError, ValueError) as error:
            raise UsageError(f"field {name!r} of {cls.__name__} cannot be {value!r}: {error}.") from error
    return cls(**built)


def differing_fields(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Describe every field whose value differs, for example ``"steps: 100 -> 200"``."""
    missing = "(absent)"
    names = [*before, *(name for name in now if name not in before)]
    return [
        f"{name}: {before.get(name, missing)} -> {now.get(name, missing)}"
        for name in names
        if before.get(name, missing) != now.get(name, missing)
    ]


def config_hash(values: dict[str, Any]) -> str:
    """Return a hex digest of a config dictionary that does not depend on the order of its fields."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return config_to_dict(value)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    return str(value) if isinstance(value, Path) else value


def _typed(hint: Any, value: Any) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        choices = [choice for choice in arguments if choice is not type(None)]
        return _typed(choices[0], value) if len(choices) == 1 else value
    if origin is typing.Literal:
        if value not in arguments:
            raise ValueError(f"choose one of {', '.join(map(str, arguments))}")
        return value
    if origin in (list, tuple) and isinstance(value, list | tuple):
        each = (
            arguments
            if origin is tuple and Ellipsis not in arguments
            else (arguments[:1] or (Any,)) * len(value)
        )
        return origin(_typed(kind, item) for kind, item in zip(each, value, strict=True))
    if dataclasses.is_dataclass(hint) and isinstance(hint, type) and isinstance(value, dict):
        return config_from_dict(hint, value)
    if hint is bool and not isinstance(value, bool):
        raise TypeError("true or false is needed")
    if hint is int and (isinstance(value, bool) or int(value) != float(value)):
        raise TypeError("a whole number is needed")
    # YAML reads 1e-4 as text; float() accepts it.
    return hint(value) if hint in (int, float, str, Path) else value
