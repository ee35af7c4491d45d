"""`lineament import`: an old checkpoint into a run directory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from lineament.cli.parse import parse


@dataclass
class Command:
    """Read a published checkpoint of another program into a run directory, without executing anything in it.

    The run loads like one trained here. Example: `lineament import dve checkpoint-epoch100.pth --run runs/published`.
    """

    # Family of the checkpoint: the method of this package that it belongs to (dve, fabrec, depthnet ...), or stylegan2.
    family: tyro.conf.Positional[str]
    # The file of the checkpoint, or the folder where its program wrote one (3FabRec: saae.mdl and meta.json; GMPI:
    # generator.pth, ema.pth and others).
    file: tyro.conf.Positional[Path]
    # Run directory to make; runs/FAMILY-FILE when not given.
    run: Path | None = None
    # Replace an older run in the same directory.
    overwrite: bool = False
    # gmpi: settings of its training (gmpi.yml or config.pth), where the folder has none or others.
    config: Path | None = None
    # gmpi: what it was trained on, where nothing else tells: ffhq256, ffhq512, ffhq1024, afhqcat or metfaces.
    data_set: str | None = None
    # gmpi: mean style of the averages, which truncation pulls towards: repaired (the generator's, the default), or
    # compat (0, about as the published evaluation had it).
    w_avg: Literal["repaired", "compat"] | None = None


def main(arguments: list[str]) -> int:
    """Run the verb."""
    command = parse(Command, "import", arguments)

    from lineament.pipeline.import_checkpoint import import_checkpoint

    config = None if command.config is None else str(command.config)
    options = {"config": config, "data_set": command.data_set, "w_avg": command.w_avg}
    done = import_checkpoint(
        command.family, command.file, command.run, overwrite=command.overwrite, options=options
    )
    print(done.summary())
    print(done.run.folder)
    return 0
