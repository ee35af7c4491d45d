"""What `lineament models` tells of each model that can be named."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lineament.errors import CheckpointError
from lineament.report.tables import Table
from lineament.training.model_folder import open_model_folder
from lineament.training.models import named_models


@dataclass(frozen=True)
class ListedModel:
    """One line of the list.

    Attributes:
        name: What it is called.
        folder: Where it lies.
        shipped: Whether it came with the package.
        facts: The content of its ``model.json``; empty where that cannot be read.
        problem: Why it cannot be used; "" where it can.
    """

    name: str
    folder: str
    shipped: bool
    facts: dict[str, Any]
    problem: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def list_models() -> list[ListedModel]:
    """All models that can be named, in alphabetical order; one that cannot be used is among them, with the reason."""
    return list(_listed())


def _listed() -> Iterator[ListedModel]:
    for model in named_models().values():
        place = (model.name, str(model.folder), model.shipped)
        try:
            yield ListedModel(*place, open_model_folder(model.folder, model.name).facts)
        except CheckpointError as error:
            yield ListedModel(*place, {}, str(error))


def models_table(models: Sequence[ListedModel]) -> str:
    """Return the models as a table for a terminal, with the figures of each below it."""
    table = Table(
        "Models", ("model", "gives", "size", "recipe", "licence", "where"), ("", "", "MB", "", "", "")
    )
    notes = []
    for model in models:
        where = "this package" if model.shipped else model.folder
        if model.problem:
            table.add(model.name, "-", None, "-", "-", where)
            notes.append(f"{model.name}: {model.problem}")
            continue
        facts = model.facts
        table.add(
            model.name,
            " and ".join(facts["gives"]),
            round(facts["sizes"]["bytes"] / 1e6, 2),
            str(facts["recipe"]),
            str(facts["licence"]),
            where,
        )
        notes.append(f"{model.name}: {facts['summary']}")
        notes += [f"  {line}" for line in _figures(facts)]
    return "\n".join([table.to_text(), "", *notes])


def _figures(facts: dict[str, Any]) -> Iterator[str]:
    for protocol, cards in facts.get("figures", {}).items():
        for card in cards:
            value = "-" if card.get("value") is None else f"{card['value']:.4g}"
            yield f"{protocol}: {card['name']} {value} {card.get('unit', '')} ({card.get('count', '?')} samples)"
