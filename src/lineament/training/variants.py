"""Recipes that differ from another one in the defaults of their fields alone: the cells of the published tables."""

from __future__ import annotations

from dataclasses import make_dataclass
from typing import Any, get_type_hints

from lineament.training.recipe import Recipe
from lineament.training.registry import register_recipe


def register_variant(
    recipe: type[Recipe[Any, Any]],
    name: str,
    summary: str,
    presets: dict[str, dict[str, Any]],
    namespace: dict[str, Any],
    default_data: str = "",
    **changed: Any,
) -> None:
    """Register a recipe with other defaults.

    Args:
        recipe: The recipe class it differs from.
        name: Its name on the command line.
        summary: Its line in ``lineament recipes``.
        presets: Its presets.
        namespace: ``globals()`` of the calling module: worker processes find the classes there by name.
        default_data: What it trains on where nothing is said; that of the other recipe when empty.
        **changed: Field -> default.
    """
    module = namespace["__name__"]
    parent = recipe.config_class
    title = "".join(part.capitalize() for part in name.replace(".", "-").split("-"))
    hints = get_type_hints(parent)
    config = make_dataclass(
        f"{title}Config",
        [(key, hints[key], value) for key, value in changed.items()],
        bases=(parent,),
        frozen=True,
        namespace={"__doc__": parent.__doc__, "__module__": module},
    )
    members = {
        "name": name,
        "config_class": config,
        "presets": presets,
        "summary": summary,
        "default_data": default_data or recipe.default_data,
        "__doc__": recipe.__doc__,
        "__module__": module,
    }
    namespace[config.__name__] = config
    namespace[title] = register_recipe(type(title, (recipe,), members))
