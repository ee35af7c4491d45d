"""`lineament data fetch`: the data packs, from those who publish what is in them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from lineament.cli.parse import parse


@dataclass
class Command:
    """Make data packs from the files that their publishers offer; nothing else in this package fetches anything.

    ict (405 MB to fetch, 18 MB made), portraits-gray (18 MB, 8 MB), portraits-colour (10 MB, 10 MB). Every file is
    checked by its sha256, and the pack on its decoded arrays. An interrupted command is simply repeated. Example:
    `lineament data fetch ict portraits-gray`.
    """

    # Packs: ict, portraits-gray, portraits-colour.
    packs_wanted: Positional[tuple[str, ...]]
    # Folder of the packs; when not given LINEAMENT_PACKS, else a folder in the user's cache, where all verbs look.
    packs: Path | None = None
    # Files fetched at once.
    workers: int = 8
    # Keep the fetched files in PACKS/downloads.
    keep_downloads: bool = False
    # Make packs that are there anew.
    overwrite: bool = False


def main(arguments: list[str]) -> int:
    """Run the verb."""
    command = parse(Command, "data fetch", arguments)

    from lineament.errors import UsageError, unknown_name
    from lineament.packs import packs_folder
    from lineament.pipeline.fetch.run import PACKS, fetch_pack
    from lineament.progress import progress

    if not command.packs_wanted:
        raise UsageError(f"name at least one pack: {', '.join(PACKS)}.")
    if command.workers < 1:
        raise UsageError(f"--workers is at least 1, not {command.workers}.")
    for name in command.packs_wanted:
        if name not in PACKS:
            raise unknown_name("data pack", name, PACKS)
    folder = packs_folder(command.packs)
    for name in command.packs_wanted:
        place, made = fetch_pack(
            PACKS[name],
            folder,
            workers=command.workers,
            keep=command.keep_downloads,
            overwrite=command.overwrite,
            progress=progress,
        )
        print(f"{place}: {PACKS[name].summary}" if made else f"{place}: made before")
    return 0
