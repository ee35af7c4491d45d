"""Makes a data pack: downloads what its table names, builds it, checks it, and puts it in place whole."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lineament.errors import DataError, LineamentError
from lineament.files import replacing_folder
from lineament.heads.ict import PACK_FOLDER
from lineament.packs import COLOUR, GREY
from lineament.pipeline.fetch.download import RETRIES, download, read_table
from lineament.pipeline.fetch.ict import check_ict, make_ict, read_facts
from lineament.pipeline.fetch.portraits import check_colour, check_gray, make_colour, make_gray
from lineament.progress import Progress, say, silent

# Holds, for each pack, the table of upstream files and what else goes into it.
TABLES = Path(__file__).parent / "tables"
TABLE, FACTS = "sources.csv", "facts.json"
DOWNLOADS = "downloads"

Make = Callable[[Path, Path, Callable[[], None]], None]


@dataclass(frozen=True)
class Pack:
    """One data pack.

    Attributes:
        name: The word a user types.
        folder: Its folder among the packs, and that of its table.
        summary: What it is, its licence.
        make: ``make(sources, folder, advance)`` writes its arrays or archives.
        check: ``check(folder)`` raises ``DataError`` where the decoded arrays are not what they should be.
    """

    name: str
    folder: str
    summary: str
    make: Make
    check: Callable[[Path], None]

    @property
    def tables(self) -> Path:
        """Folder of its table."""
        return TABLES / self.folder


def _make_ict(sources: Path, folder: Path, advance: Callable[[], None]) -> None:
    make_ict(sources, folder, read_facts(TABLES / PACK_FOLDER / FACTS), advance)


def _check_ict(folder: Path) -> None:
    check_ict(folder, read_facts(TABLES / PACK_FOLDER / FACTS))


PACKS = {
    pack.name: pack
    for pack in (
        Pack("ict", PACK_FOLDER, "morphable head of ICT-FaceKit, MIT", _make_ict, _check_ict),
        Pack(
            "portraits-gray",
            GREY,
            "657 grey portraits of the US Congress, 200 x 250, public domain",
            make_gray,
            check_gray,
        ),
        Pack(
            "portraits-colour",
            COLOUR,
            "300 colour portraits of the US House, 512 x 512, MIT",
            make_colour,
            check_colour,
        ),
    )
}


def fetch_pack(
    pack: Pack,
    packs: Path,
    *,
    workers: int = 8,
    retries: int = RETRIES,
    keep: bool = False,
    overwrite: bool = False,
    progress: Progress = silent,
) -> tuple[Path, bool]:
    """Make a pack, unless it is there and whole.

    Args:
        pack: Which.
        packs: Folder of the packs; downloads wait in ``downloads`` there, and an interrupted call goes on from them.
        workers: Files fetched at once.
        retries: How often a file is asked for again.
        keep: Keep the downloads afterwards.
        overwrite: Make it anew where it is there.
        progress: Shows how far it is.

    Returns:
        The pack's folder, and whether it was made now.

    Raises:
        LineamentError: If a server cannot be reached, or nothing can be written there.
        DataError: If a file is not what the table names, or the pack in place or the one made is not what it should be.
    """
    place = packs / pack.folder
    if place.exists() and not overwrite:
        try:
            pack.check(place)
        except (DataError, OSError) as error:
            raise DataError(
                f"{place} is there and is not the pack {pack.name} ({str(error).rstrip('.')}): give --overwrite to "
                "make it anew, or another folder with --packs."
            ) from error
        return place, False
    table = pack.tables / TABLE
    files = read_table(table)
    sources = packs / DOWNLOADS / pack.folder
    say(f"{pack.name}: {len(files)} files, {sum(file.size for file in files) / 1e6:.0f} MB, into {sources}")
    try:
        with progress(f"fetching {pack.name}", len(files), "files") as advance:
            download(files, sources, table, workers=workers, retries=retries, advance=advance)
        with replacing_folder(place) as folder:
            for path in sorted(pack.tables.iterdir()):
                if path.name != FACTS:
                    shutil.copyfile(path, folder / path.name)
            with progress(f"making {pack.name}", len(files), "files") as advance:
                pack.make(sources, folder, advance)
            pack.check(folder)
        if not keep:
            shutil.rmtree(sources)
    except OSError as error:
        raise LineamentError(
            f"cannot write {error.filename or packs}: {error.strerror or error}; choose another folder with --packs."
        ) from error
    return place, True
