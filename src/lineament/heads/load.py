"""Head models by name."""

from __future__ import annotations

import functools
from pathlib import Path

from lineament.errors import unknown_name
from lineament.heads.model import HeadModel
from lineament.packs import PACKS, packs_folder

HEADS = ("builtin", "ict")


def load_head(head: str | HeadModel, packs: Path | str | None = None) -> HeadModel:
    """Return a head model by name.

    Args:
        head: ``"builtin"``, ``"ict"``, or a model, which is returned as it is.
        packs: Where the ICT head lies (see :func:`lineament.heads.ict.read_ict`); else where
            :func:`lineament.packs.packs_folder` says.

    Raises:
        UsageError: On an unknown name.
        DataError: When the ICT head is not there; the sentence says where it was looked for and how to name the place.
    """
    if isinstance(head, HeadModel):
        return head
    if head == "builtin":
        return _builtin()
    if head == "ict":
        from lineament.heads.ict import NoIctError, read_ict

        try:
            return read_ict(packs_folder(packs))
        except NoIctError as error:
            raise NoIctError(
                f"{str(error).rstrip('.')}; get it with `lineament data fetch ict`, name the folder of the data packs "
                f"with --packs or in {PACKS}, or take the head builtin."
            ) from error
    raise unknown_name("head", head, HEADS)


@functools.lru_cache(maxsize=1)
def _builtin() -> HeadModel:
    from lineament.heads.builtin import builtin_head

    return builtin_head()
