"""Settings of the published program: ``gmpi.yml``, and ``config.pth`` beside its checkpoints.

Both are nested tables. Only the names of settings are relied on, not where in the tables they are.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lineament.errors import CheckpointError, UsageError
from lineament.interop.restricted_pickle import Inert
from lineament.methods.gmpi.alpha import Variant, resolve_variant
from lineament.methods.gmpi.datasets import SCENES

PAIR = ("torgba_cond_on_pos_enc", "torgba_cond_on_pos_enc_embed_func")
# Settings whose published value is the only one that the recipes have.
_PUBLISHED: Mapping[str, Any] = {
    "G_final_img_act": "tanh",
    "gen_alpha_largest_res": 256,
    "torgba_sep_background": True,
    "build_background_from_rgb": True,
    "background_alpha_full": True,
}
# The same of settings that only a training has.
_PUBLISHED_TRAINING: Mapping[str, Any] = {"use_mbstd_in_D": True}
# Whose value "none" draws a quarter of the latents from four sides each.
_WORSE_VIEW = "G_select_worse_view"
# The variants without a vector for each plane never used it.
_PER_PLANE_ONLY = "background_alpha_full"


def flat_settings(stored: Any) -> dict[str, list[Any]]:
    """Every plain value of nested tables by its name, wherever it is.

    Args:
        stored: Mappings, lists and foreign records in each other. A part that is met again is not entered twice.
    """
    found: dict[str, list[Any]] = defaultdict(list)
    left: list[tuple[str, Any]] = [("", stored)]
    entered: set[int] = set()
    while left:
        name, value = left.pop()
        if value is None or isinstance(value, str | bool | int | float):
            if value not in found[name]:
                found[name].append(value)
            continue
        if id(value) in entered:
            continue
        entered.add(id(value))
        if isinstance(value, Inert):
            # Tables of foreign classes keep their entries in either.
            left += [(name, value.state), *((name, each) for each in _entries(value.items))]
        elif isinstance(value, Mapping):
            left += [(str(key), each) for key, each in value.items()]
        elif isinstance(value, list | tuple):
            left += [(name, each) for each in value]
    return dict(found)


def _entries(items: Iterable[Any]) -> list[Any]:
    """What was set in a foreign table, one mapping each; what was appended to a foreign list as it is."""
    return [
        {item[0]: item[1]}
        if isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], str)
        else item
        for item in items
    ]


def stated_variant(settings: Mapping[str, list[Any]]) -> Variant | None:
    """The variant that settings name; None where they do not name both parts of the published pair.

    Raises:
        CheckpointError: If it is none of the four, or they name several; the message is the rest of a sentence.
    """
    words = [_only(settings, name) for name in PAIR]
    if None in words:
        return None
    try:
        return resolve_variant("/".join(map(str, words)))
    except UsageError as error:
        said = " and ".join(f"{name} {_shown(word)}" for name, word in zip(PAIR, words, strict=True))
        raise CheckpointError(f"say {said}, which is none of GMPI's four variants") from error


def stated_data_set(settings: Mapping[str, list[Any]], resolution: int) -> str | None:
    """The one data set of :data:`~lineament.methods.gmpi.datasets.SCENES` that settings name; None: none or several.

    Args:
        settings: By name.
        resolution: Of the weights, for names that lack it.
    """
    found: set[str] = set()
    for name, values in settings.items():
        if "dataset" not in re.sub(r"[^a-z]", "", name.lower()):
            continue
        for value in values:
            word = re.sub(r"[^a-z0-9]", "", str(value).lower())
            found |= {word, f"{word}{resolution}"} & SCENES.keys()
    return found.pop() if len(found) == 1 else None


def check_published(settings: Mapping[str, list[Any]], variant: Variant) -> None:
    """Refuse settings with which the published program drew otherwise than the recipes do.

    Raises:
        CheckpointError: Naming the first; the message is the rest of a sentence about the settings.
    """
    expected = {
        name: value for name, value in _PUBLISHED.items() if variant.per_plane or name != _PER_PLANE_ONLY
    }
    _check_values(settings, expected, "draw")


def training_fields(stored: Any, path: Path) -> dict[str, Any]:
    """Fields of a recipe's config that a file of settings tells.

    Args:
        stored: What the file holds.
        path: The file, for messages.

    Raises:
        CheckpointError: If they are none of GMPI's, or of a training that the recipes do not have.
    """
    settings = flat_settings(stored)
    try:
        variant = stated_variant(settings)
        if variant is None:
            raise CheckpointError(
                f"do not name {' and '.join(PAIR)}: give GMPI's gmpi.yml, or --variant alone"
            )
        check_published(settings, variant)
        _check_values(settings, _PUBLISHED_TRAINING, "train")
        if _only(settings, _WORSE_VIEW) == "none":
            raise CheckpointError(f"have {_WORSE_VIEW} none, but this method trains on the worst view alone")
    except CheckpointError as error:
        raise CheckpointError(f"the settings of {path} {error}.") from error
    return {"variant": variant.name}


def _check_values(settings: Mapping[str, list[Any]], expected: Mapping[str, Any], verb: str) -> None:
    for name, wanted in expected.items():
        for value in settings.get(name, []):
            if value is not None and value != wanted:
                raise CheckpointError(
                    f"have {name} {_shown(value)}, but runs of this method {verb} with {wanted} alone"
                )


def _only(settings: Mapping[str, list[Any]], name: str) -> str | None:
    """The value of a setting; YAML has no value for none."""
    values = {"none" if value is None else str(value).lower() for value in settings.get(name, [])}
    if len(values) > 1:
        raise CheckpointError(f"name {name} with several values, {', '.join(map(_shown, sorted(values)))}")
    return values.pop() if values else None


def _shown(value: Any) -> str:
    """Text of a foreign file as a terminal may show it."""
    return "".join(letter if letter.isprintable() else "?" for letter in str(value)[:40])
