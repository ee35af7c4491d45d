"""Where the data packs lie: one rule for every verb."""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import user_cache_dir

from lineament.errors import DataError

# Environment variable that names the folder of the data packs.
PACKS = "LINEAMENT_PACKS"
# Folders of packs: grey and colour portraits, and an independent tool's points on both.
GREY, COLOUR, JUDGE = "congress_portraits_gray", "congress_portraits_colour", "portraits_judge"


def cached_packs() -> Path:
    """The folder in the user's cache that ``lineament data fetch`` writes packs into.

    On Linux ``$XDG_CACHE_HOME/lineament/packs``, else ``~/.cache/lineament/packs``; elsewhere where that system keeps
    caches.
    """
    return Path(user_cache_dir("lineament", appauthor=False)) / "packs"


def packs_folder(given: str | Path | None = None) -> Path:
    """Return the folder of the data packs, whether it is there or not.

    Args:
        given: The folder that the user named; else ``LINEAMENT_PACKS`` counts, else :func:`cached_packs`.
    """
    if given:
        return Path(given)
    named = os.environ.get(PACKS)
    return Path(named).expanduser() if named else cached_packs()


def find_packs(given: str | Path | None = None) -> Path:
    """As :func:`packs_folder`, for work that cannot do without.

    Raises:
        DataError: If there is no such folder.
    """
    folder = packs_folder(given)
    if not folder.is_dir():
        raise DataError(
            f"there are no data packs at {folder}: get them with `lineament data fetch`, give --packs FOLDER or set "
            f"{PACKS}."
        )
    return folder
