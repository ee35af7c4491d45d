"""`lineament data list`: the data sets that can be read."""

from __future__ import annotations

import json
from dataclasses import dataclass

from lineament.cli.parse import parse


@dataclass
class Command:
    """Name the data sets that can be read, their splits, options and origin."""

    # Print JSON instead of a table.
    json: bool = False


def main(arguments: list[str]) -> int:
    """Run the verb."""
    command = parse(Command, "data list", arguments)
    from lineament.data.registry import readers

    known = readers()
    if command.json:
        entries = [
            {
                "name": reader.name,
                "summary": reader.summary,
                "splits": reader.splits,
                "options": reader.options,
                "where": reader.where,
            }
            for reader in known.values()
        ]
        print(json.dumps(entries, indent=1))
        return 0
    for reader in known.values():
        print(f"{reader.name:<10}  {reader.summary}")
        for label, words in (("splits", reader.splits), ("options", reader.options)):
            if words:
                print(f"{'':<10}    {label}: {', '.join(words)}")
        if reader.where:
            print(f"{'':<10}    from: {reader.where}")
    print("\nuse one as NAME:FOLDER?option=value after --data, for example celeba:/data/celeba?split=val")
    return 0
