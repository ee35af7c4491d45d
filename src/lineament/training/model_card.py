"""The card of a model: the README of its folder, which hubs of models and people read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from lineament.errors import DataError, unknown_name

# What a model gives -> the task that hubs sort it under.
_TASKS = {
    "landmarks": "keypoint-detection",
    "depths of keypoints": "depth-estimation",
    "dense descriptors": "image-feature-extraction",
}


@dataclass(frozen=True)
class ModelCard:
    """What people should know of a model, in words; its facts are added by themselves.

    Attributes:
        summary: What it does, in one line.
        licence: SPDX name of the licence of the weights.
        data: What it was trained on: names, sizes, licences.
        training: How, and the one command that trains it again.
        limits: Where it does not hold, and what it must not be used for.
        tags: Further words that it is found by.
    """

    summary: str = ""
    licence: str = "Apache-2.0"
    data: str = ""
    training: str = ""
    limits: str = ""
    tags: tuple[str, ...] = ()


def read_card(path: Path) -> ModelCard:
    """Read a card from a YAML file with the fields of :class:`ModelCard`.

    Raises:
        DataError: If it cannot be read, or a value is no text.
        UsageError: If a field is unknown.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise DataError(f"the card {path} cannot be read ({reason}).") from error
    names = [each.name for each in fields(ModelCard)]
    if not isinstance(content, dict):
        raise DataError(f"the card {path} is a mapping of {', '.join(names)}.")
    for name, value in content.items():
        if name not in names:
            raise unknown_name(f"field of the card {path}", str(name), names)
        texts = value if name == "tags" else [value]
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise DataError(f"the field {name!r} of the card {path} is {value!r}: text is needed.")
    given: dict[str, Any] = {
        name: tuple(value) if name == "tags" else value.strip() for name, value in content.items()
    }
    return ModelCard(**given)


def card_text(facts: Mapping[str, Any], card: ModelCard) -> str:
    """Return the card in Markdown, with front matter as hubs of models read it.

    Args:
        facts: Content of ``model.json``.
        card: The words.
    """
    given = [str(each) for each in facts["gives"]]
    task = next((task for words, task in _TASKS.items() if words in given), None)
    front: dict[str, Any] = {
        "license": card.licence.lower(),
        "library_name": "lineament",
        **({"pipeline_tag": task} if task else {}),
        "tags": list(dict.fromkeys(["lineament", "face", *given, str(facts["recipe"]), *card.tags])),
    }
    sizes = facts["sizes"]
    layout = facts.get("scheme")
    scheme = f" ({len(layout['points'])} points, scheme {layout['name']})" if layout else ""
    summary = str(facts["summary"]).rstrip(".")
    parts = [
        f"---\n{yaml.safe_dump(front, sort_keys=False, allow_unicode=True)}---",
        f"# {facts['name']}",
        f"{summary[:1].upper()}{summary[1:]}.",
        f"Gives {' and '.join(given)}{scheme}. {sizes['parameters']:,} parameters, {sizes['bytes'] / 1e6:.1f} MB, "
        f"recipe `{facts['recipe']}`, {facts['step']} steps.",
        f"```python\nimport lineament\n\nmodel = lineament.load({json.dumps(str(facts['name']))})\n```",
        _section("Data", card.data or _listed(facts["data"])),
        _section("Training", card.training),
        _section("Figures", _figures(facts["figures"])),
        _section("What is taken for no face", _limit(facts.get("uncertainty_limit"))),
        _section("Limits", card.limits),
        _section("Licence", card.licence),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _section(title: str, text: str) -> str:
    return f"## {title}\n\n{text}" if text else ""


def _listed(data: list[str]) -> str:
    return "\n".join(f"- `{name}`" for name in data)


def _figures(figures: Mapping[str, list[Mapping[str, Any]]]) -> str:
    rows = [
        f"| {protocol} | {card['name']} | {_number(card['value'])} {card.get('unit', '')} | {card.get('count', '')} |"
        for protocol, cards in figures.items()
        for card in cards
    ]
    if not rows:
        return ""
    head = "| protocol and data | figure | value | samples |\n|---|---|---|---|\n"
    return f"{head}{chr(10).join(rows)}\n\nDefinitions, crops and normalisers are in `model.json`."


def _limit(limit: Mapping[str, Any] | None) -> str:
    if limit is None:
        return ""
    data = " and ".join(f"`{name}`" for name in limit["data"])
    return (
        f"A detection whose points are uncertain by more than {100 * limit['value']:.2f} % of the box (median of their "
        f"standard deviations) is taken for no face. The limit is {limit['margin']:g} times the "
        f"{100 * limit['quantile']:g} % quantile of {limit['faces']:,} faces that the detector {limit['detector']} "
        f"found in {data} ({100 * limit['typical']:.2f} % of the box); the largest of them was "
        f"{100 * limit['largest']:.2f} %. `--all-faces`, or `all_faces=True`, keeps all detections."
    )


def _number(value: Any) -> str:
    return "-" if value is None else f"{value:.4g}"
