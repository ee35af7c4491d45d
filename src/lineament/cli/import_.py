"""`lineament import`: an old checkpoint into a run directory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from lineament.cli.parse import parse


@dataclass
class Command:
    """Read a published checkpoint of another program into a run directory, without executing anything in it.

    The run loads like one trained here. Example: `lineament import dve checkpoint-epoch100.pth --run runs/published`.
    """

    # Family of the checkpoint: the method of this package that it belongs to (dve, fabrec, depthnet ...), or stylegan2.
    family: tyro.conf.Positional[str]
    # The file of the checkpoint, or the folder where its program wrote one (3FabRec: saae.mdl and meta.json).
    file: tyro.conf.Positional[Path]
    # Run directory to make; runs/FAMILY-FILE when not given.
    run: Path | None = None
    # Replace an older run in the same directory.
    overwrite: bool = False


def main(arguments: list[str]) -> int:
    """Run the verb."""
    command = parse(Command, "import", arguments)

    from lineament.pipeline.import_checkpoint import import_checkpoint

    done = import_checkpoint(command.family, command.file, command.run, overwrite=command.overwrite)
    print(done.summary())
    print(done.run.folder)
    return 0
