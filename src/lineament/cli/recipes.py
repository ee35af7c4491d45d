"""`lineament recipes`: what can be trained."""

from __future__ import annotations

from dataclasses import dataclass

import tyro

from lineament.cli.parse import parse


@dataclass
class Command:
    """List what can be trained: recipe, method, presets, summary."""

    # Shell pattern that names must match, for example '*16d'.
    pattern: tyro.conf.Positional[str] = "*"


def main(arguments: list[str]) -> int:
    """Run the verb."""
    command = parse(Command, "recipes", arguments)

    from lineament.report.tables import Table
    from lineament.training.registry import get_recipe, recipes

    table = Table("Recipes", ("recipe", "method", "presets", "summary"))
    for name in recipes(command.pattern):
        entry = get_recipe(name)
        table.add(name, entry.method, ", ".join(entry.presets), entry.summary)
    if not table.rows:
        from lineament.errors import unknown_name

        raise unknown_name("recipe", command.pattern, recipes())
    print(table.to_text())
    return 0
