"""`lineament data prepare`: from photos to face crops."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

from tyro.conf import Positional

from lineament.cli.parse import parse
from lineament.errors import UsageError
from lineament.pipeline.prepare.options import PrepareOptions
from lineament.progress import progress


@dataclass
class Command:
    """Find the face in every photo, cut it out by a named rule, list what was left out and why.

    `3dfaw` is not cut out: its keypoints and depths become train.npz, valid.npz and test.npz, as DepthNets read them.

    Writes shards/ (plain tar files of images), index.parquet (with the transform from each crop back to its
    photo), cache.json and left_out.csv. Running it again goes on where it stopped, does what is new or has
    changed, and repairs damaged shards. Examples: `lineament data prepare folder photos/ --out crops/`, `lineament
    data prepare celeba /data/celeba --split train --crop dve-celeba --out celeba70/`.
    """

    # A data set (see `lineament data list`); `folder` for a folder of photos.
    name: Positional[str]
    # Folder of the photos or data set.
    root: Positional[Path]
    # Folder to write.
    out: Path
    # Part of the data set; the first one when not given.
    split: str | None = None
    # How faces are found and cut out.
    cutting: PrepareOptions = field(default_factory=PrepareOptions)
    # Processes that read, search and cut.
    workers: int = 2
    # Start again: remove the crops of an older run.
    overwrite: bool = False


def main(arguments: list[str]) -> int:
    """Run the verb."""
    command = parse(Command, "data prepare", arguments)
    from lineament.data.registry import open_source
    from lineament.pipeline.prepare.keypoints import prepare_keypoints
    from lineament.pipeline.prepare.run import prepare

    if command.workers < 1:
        raise UsageError(f"--workers must be at least 1, not {command.workers}.")
    command.cutting.check()
    if command.root.is_dir() and command.out.resolve().is_relative_to(command.root.resolve()):
        raise UsageError(
            f"{command.out} lies inside {command.root}: the crops would be read as photos next time, name "
            "a folder outside."
        )
    if command.name == "3dfaw":
        default = PrepareOptions()
        given = [name for name, value in vars(command.cutting).items() if value != getattr(default, name)]
        given += ["split"] if command.split is not None else []
        if given:
            flags = ", ".join(f"--{name.replace('_', '-')}" for name in given)
            raise UsageError(f"3dfaw is read and not cut out: leave out {flags}, which would change nothing.")
        print(prepare_keypoints(command.root, command.out, command.overwrite, progress))
        return 0
    source = open_source(command.name, command.root, split=command.split)
    try:
        report = prepare(source, command.out, command.cutting, command.overwrite, command.workers, progress)
    except KeyboardInterrupt:
        print("the same command goes on from here.", file=sys.stderr)
        raise
    print(report.summary())
    return 0
