"""`lineament data check`: finds what cannot be used before training does."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from lineament.cli.parse import parse


@dataclass
class Command:
    """Read every image and label of a data set once; list what cannot be used, with the reason.

    The list is written as reject.json into the folder of the data, where every reader honours it. Of prepared crops all
    bytes are compared with their checksums first: `lineament data prepare` repairs what is damaged. Examples:
    `lineament data check photos/`, `lineament data check celeba /data/celeba --split val`.

    `lineament data check gmpi FOLDER` looks at the tree of GMPI's published program (runtime_dataset and ckpts): which
    of its data sets are ready, what they lack, and whether every image has a pose or is on the list of failures. It
    writes nothing, and ends with 1 where something is wrong.
    """

    # A data set (see `lineament data list`), or a folder, or NAME:FOLDER?option=value.
    name: Positional[str]
    # Folder of the data set, where NAME is only a name.
    root: Positional[Path | None] = None
    # Part of the data set; the first one when not given.
    split: str | None = None
    # Number of landmarks every labelled sample must have.
    points: int | None = None
    # Where to write the list (.json or .txt); reject.json in the folder of the data when not given.
    out: Path | None = None
    # Replace an existing list that says something else.
    overwrite: bool = False
    # Images read at once.
    workers: int = 2


def main(arguments: list[str]) -> int:
    """Run the verb."""
    command = parse(Command, "data check", arguments)
    from lineament.data.registry import parse_data, request
    from lineament.errors import UsageError
    from lineament.pipeline.prepare.check import check, check_shards, open_unfiltered, write_report
    from lineament.progress import progress

    if command.name == "gmpi" and command.root is not None:
        return _check_tree(command)
    if command.workers < 1:
        raise UsageError(f"--workers must be at least 1, not {command.workers}.")
    if command.out is not None and command.out.suffix.lower() not in (".json", ".txt"):
        raise UsageError(f"--out must end in .json or .txt, not {command.out.name!r}.")
    if command.root is None:
        asked = parse_data(command.name, split=command.split)
    else:
        asked = request(command.name, command.root, split=command.split)
    source = open_unfiltered(asked)
    check_shards(source)
    with progress("reading", len(source), "samples") as advance:
        report = check(source, command.points, command.workers, advance)
    print(report.summary())
    for reason in list(report.faults.values())[:20]:
        print(f"  {reason}")
    if len(report.faults) > 20:
        print(f"  ... and {len(report.faults) - 20} more")
    print(write_report(report, asked, command.out, command.overwrite))
    return 0


def _check_tree(command: Command) -> int:
    """The published tree."""
    from lineament.errors import UsageError
    from lineament.pipeline.prepare.check_tree import check_tree, published_sets
    from lineament.progress import progress

    assert command.root is not None
    default = Command(command.name, command.root)
    given = [name for name, value in vars(command).items() if value != getattr(default, name)]
    if given:
        raise UsageError(f"--{given[0]}: changes nothing for the tree of gmpi; leave it out.")
    with progress("checking", len(published_sets()), "data sets") as advance:
        reports = check_tree(command.root, advance)
    for report in reports:
        print("\n".join(report.lines()))
    return 1 if any(report.faults for report in reports) else 0
