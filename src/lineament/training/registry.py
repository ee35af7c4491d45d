"""Recipes by name, as data: which class trains a name, with which defaults, and what it is for.

A method is a package with a module ``recipes`` that calls :func:`register_variant` for each of its recipes. Methods
are found in three places: in ``lineament.methods``; by the entry points ``lineament.methods`` of installed packages,
each of which names such a module; and in the folders that the environment variable ``LINEAMENT_METHODS`` names,
separated as in ``PATH``, each of which is a method's package or holds some. Only the tables are imported to find a
name: the module of a recipe, with its networks, is imported when that recipe is used.
"""

from __future__ import annotations

import fnmatch
import functools
import importlib
import importlib.util
import os
import pkgutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from lineament.errors import LineamentError, UsageError, unknown_name

if TYPE_CHECKING:
    from lineament.training.recipe import Recipe, RecipeConfig

BUILT_IN = "lineament.methods"
GROUP = "lineament.methods"
FOLDERS = "LINEAMENT_METHODS"
TABLE = "recipes"
# In the field ``base``: untrained networks, for tests and as a baseline.
RANDOM_BASE = "random"


@dataclass(frozen=True)
class Origin:
    """Where a recipe comes from; :meth:`RecipeEntry.build` tells.

    Attributes:
        name: The name it is registered under; "" takes the class's own.
        start: The config that the user's fields changed, with which they are compared; None takes the class's defaults.
        preset: The preset that ``start`` holds, or "".
        restored: Whether the config is that of a run: then it is taken as it is, and no base is read.
    """

    name: str = ""
    start: Any = None
    preset: str = ""
    restored: bool = False


@dataclass(frozen=True)
class RecipeEntry:
    """One recipe that can be trained.

    Attributes:
        name: The word a user types.
        method: The family that owns its checkpoints, for example ``dve``.
        recipe: The class that trains it, or where it is: ``"module:Class"``.
        summary: One line for ``lineament recipes``.
        defaults: Fields of the config whose defaults differ from those of the class.
        data: What ``lineament train`` opens when ``--data`` is not given (``data.registry.open_data``).
        presets: Named sets of fields for ``--preset``. "tiny" must train in a second or two on two small images: the
            tests that every recipe has to pass (exact resume, gradients, workers) run it.
    """

    name: str
    method: str
    recipe: str | type[Recipe[Any, Any]]
    summary: str
    defaults: Mapping[str, Any] = field(default_factory=dict)
    data: str = "synthetic"
    presets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def recipe_class(self) -> type[Recipe[Any, Any]]:
        """The class, imported when it is first asked for.

        Raises:
            LineamentError: If it is not where the table says.
        """
        if not isinstance(self.recipe, str):
            return self.recipe
        module, _, name = self.recipe.partition(":")
        try:
            return getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError) as error:
            raise LineamentError(f"the recipe {self.name!r} cannot be loaded ({error}).") from error

    @property
    def config_class(self) -> type[RecipeConfig]:
        """The dataclass of its fields."""
        return self.recipe_class.config_class

    def preset_fields(self, preset: str | None) -> Mapping[str, Any]:
        """Fields that a preset sets; none for ``None`` and "".

        Raises:
            UsageError: If there is no such preset.
        """
        if not preset:
            return {}
        if preset not in self.presets:
            raise unknown_name(f"preset of {self.name}", preset, self.presets)
        return self.presets[preset]

    def config(self, preset: str | None = None, **fields: Any) -> Any:
        """Build a config: the recipe's defaults, then the preset's fields, then those given.

        Raises:
            UsageError: If there is no such preset, or fields contradict each other.
        """
        return self.config_class(**{**self.defaults, **self.preset_fields(preset), **fields})

    def build(
        self, config: Any = None, *, preset: str | None = None, restored: bool = False, **sources: Any
    ) -> Any:
        """Build the recipe under this name.

        Args:
            config: Its config; that of the preset when None.
            preset: The preset that the config started from.
            restored: True for the config of a run that was trained before: it is taken as it is, and no base is read.
            sources: Further data that the recipe learns from, opened already, such as ``unlabelled``.
        """
        start = None if restored else self.config(preset)
        return self.recipe_class(
            start if config is None else config, Origin(self.name, start, preset or "", restored), **sources
        )


_ENTRIES: dict[str, RecipeEntry] = {}


def register_variant(
    name: str,
    *,
    method: str,
    recipe: str | type[Recipe[Any, Any]],
    summary: str,
    defaults: Mapping[str, Any] | None = None,
    data: str = "synthetic",
    presets: Mapping[str, Mapping[str, Any]] | None = None,
) -> None:
    """Register a recipe by name; arguments as in :class:`RecipeEntry`.

    Raises:
        ValueError: If another recipe has the name.
    """
    before = _ENTRIES.get(name)
    # A module that is imported twice (a reload in a notebook) registers an equal class anew.
    if before is not None and _place(before.recipe) != _place(recipe):
        raise ValueError(f"two recipes are named {name!r}: {_place(before.recipe)} and {_place(recipe)}")
    _ENTRIES[name] = RecipeEntry(
        name, method, recipe, summary, dict(defaults or {}), data, dict(presets or {"tiny": {}})
    )


R = TypeVar("R", bound="type[Recipe[Any, Any]]")


def register_recipe(cls: R) -> R:
    """Class decorator: register a recipe under its ``name``, for programs and notebooks that define one in passing.

    Its class attributes ``method``, ``summary`` (else the docstring's first line), ``default_data`` and ``presets``
    make the entry.

    Raises:
        ValueError: If another recipe has the name, or the class lacks ``name``, ``method``, ``config_class``.
    """
    for attribute in ("name", "method", "config_class"):
        if not hasattr(cls, attribute):
            raise ValueError(f"recipe class {cls.__qualname__} has no {attribute!r}")
    summary = getattr(cls, "summary", "") or (cls.__doc__ or "").strip().split("\n")[0].rstrip(".")
    register_variant(
        cls.name,
        method=cls.method,
        recipe=cls,
        summary=summary,
        data=getattr(cls, "default_data", "synthetic"),
        presets=getattr(cls, "presets", None),
    )
    return cls


def recipes(pattern: str = "*") -> list[str]:
    """Return the sorted names that match a shell pattern, for example ``recipes("*16d")``."""
    _find_methods()
    return sorted(fnmatch.filter(_ENTRIES, pattern))


def get_recipe(name: str) -> RecipeEntry:
    """Return the entry of a name; no recipe is imported yet.

    Raises:
        UsageError: If no recipe has the name; the message names the nearest one.
        LineamentError: If a method that was installed or named cannot be read.
    """
    _find_methods()
    if name not in _ENTRIES:
        raise unknown_name("recipe", name, _ENTRIES)
    return _ENTRIES[name]


def _place(recipe: str | type) -> str:
    return recipe if isinstance(recipe, str) else f"{recipe.__module__}:{recipe.__qualname__}"


def _find_methods() -> None:
    """Import the tables of all methods, each once."""
    _import_tables(os.environ.get(FOLDERS, ""))


@functools.cache
def _import_tables(folders: str) -> None:
    for module, origin in (*_built_in(), *_installed(), *_in_folders(folders)):
        try:
            importlib.import_module(module)
        except (ImportError, ValueError, SyntaxError) as error:
            raise LineamentError(f"the recipes of {origin} cannot be read: {error}.") from error


def _built_in() -> Iterator[tuple[str, str]]:
    # By name, for this room lies below the methods. Installed metadata may be older than the code, so it is not asked.
    package = importlib.import_module(BUILT_IN)
    for method in pkgutil.iter_modules(package.__path__):
        module = f"{BUILT_IN}.{method.name}.{TABLE}"
        if method.ispkg and importlib.util.find_spec(module):
            yield module, f"the method {method.name}"


def _installed() -> Iterator[tuple[str, str]]:
    for point in entry_points(group=GROUP):
        if not point.value.startswith(f"{BUILT_IN}."):
            yield point.value, f"the installed method {point.name}"


def _in_folders(folders: str) -> Iterator[tuple[str, str]]:
    for folder in filter(None, folders.split(os.pathsep)):
        place = Path(folder).expanduser().resolve()
        if not place.is_dir():
            raise UsageError(f"there is no folder {folder}, which {FOLDERS} names.")
        methods = [place] if _is_method(place) else sorted(filter(_is_method, place.iterdir()))
        if not methods:
            raise UsageError(
                f"{folder}, which {FOLDERS} names, holds no method: a package with a module {TABLE}."
            )
        for method in methods:
            if str(method.parent) not in sys.path:
                sys.path.append(str(method.parent))
            found = importlib.util.find_spec(method.name)
            if found is None or found.origin != str(method / "__init__.py"):
                raise UsageError(
                    f"the method {method} cannot be imported as {method.name!r}, which is the name of another module: "
                    "rename its folder."
                )
            yield f"{method.name}.{TABLE}", str(method)


def _is_method(place: Path) -> bool:
    return (place / "__init__.py").is_file() and (place / f"{TABLE}.py").is_file()
