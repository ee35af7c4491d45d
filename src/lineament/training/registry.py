"""Recipes by name. A method's recipe module registers its classes by decorating them."""

from __future__ import annotations

import fnmatch
from typing import Any, TypeVar

from lineament.errors import unknown_name
from lineament.training.recipe import Recipe

_RECIPES: dict[str, type[Recipe[Any, Any]]] = {}

R = TypeVar("R", bound=type[Recipe[Any, Any]])


def register_recipe(cls: R) -> R:
    """Class decorator: make a recipe known under its ``name``.

    Raises:
        ValueError: If another class already has the name, or the class lacks ``name``, ``method``, ``config_class``.
    """
    for attribute in ("name", "method", "config_class"):
        if not hasattr(cls, attribute):
            raise ValueError(f"recipe class {cls.__qualname__} has no {attribute!r}")
    before = _RECIPES.get(cls.name)
    # A module that is imported twice (a reload in a notebook) registers an equal class anew.
    if before is not None and before.__qualname__ != cls.__qualname__:
        raise ValueError(f"two recipes are named {cls.name!r}: {before.__qualname__} and {cls.__qualname__}")
    _RECIPES[cls.name] = cls
    return cls


def recipes(pattern: str = "*") -> list[str]:
    """Return the sorted names that match a shell pattern, for example ``recipes("*16d")``."""
    return sorted(fnmatch.filter(_RECIPES, pattern))


def get_recipe(name: str) -> type[Recipe[Any, Any]]:
    """Return the recipe class of a name.

    Raises:
        UsageError: If no recipe has the name; the message names the nearest one.
    """
    if name not in _RECIPES:
        raise unknown_name("recipe", name, _RECIPES)
    return _RECIPES[name]


def summary_of(cls: type[Recipe[Any, Any]]) -> str:
    """Return the recipe's one-line summary: its ``summary``, else the first line of its docstring."""
    return cls.summary or (cls.__doc__ or "").strip().split("\n")[0].rstrip(".")


def preset_fields(cls: type[Recipe[Any, Any]], preset: str | None) -> dict[str, Any]:
    """Return the config fields that a preset of a recipe sets; none for ``None``.

    Raises:
        UsageError: If the recipe has no such preset.
    """
    if preset is None:
        return {}
    if preset not in cls.presets:
        raise unknown_name(f"preset of {cls.name}", preset, cls.presets)
    return dict(cls.presets[preset])
