"""Synthetic faces: drawn while they are read, or read from a folder that ``lineament data synth`` wrote."""

from __future__ import annotations

from pathlib import Path

from lineament.data.registry import register_reader
from lineament.data.rejects import find_rejects
from lineament.data.sample import FaceSource
from lineament.data.subset import Subset, held_out
from lineament.errors import DataError, UsageError

# The splits of a drawn world show different people: their worlds have seeds this far apart.
SEEDS_APART = {"all": 0, "train": 0, "val": 1_000_003, "test": 2_000_003}
# Share of the people of a folder in each of the splits val and test.
HELD_OUT = 0.1


@register_reader(
    "synthetic",
    "faces drawn by the built-in world, with exact ground truth",
    splits=("all", "train", "val", "test"),
    where="nothing is needed; or a folder of `lineament data synth`; head=ict draws the head of the data packs",
    needs_root=False,
)
def open_synthetic(
    root: Path | None,
    split: str = "all",
    count: int | None = None,
    size: int | None = None,
    seed: int | None = None,
    head: str | None = None,
    identities: int | None = None,
    rejects: str | None = None,
    scheme: str = "68",
    packs: str | None = None,
) -> FaceSource:
    """Open the synthetic world, or a folder of it.

    Args:
        root: Folder with the ``index.parquet`` of ``lineament data synth``; else the folder of the data packs, for
            ``head=ict``; None draws, and takes the packs of :func:`lineament.packs.packs_folder`.
        split: Drawn: ``all`` and ``train`` are the world of the seed, ``val`` and ``test`` other worlds with other
            people. Folder: ``val`` and ``test`` hold a tenth of the people each, ``train`` the others.
        count: Number of images; 1000, or all of a folder, where not given.
        size: Side of a drawn image in pixels; 128 where not given.
        seed: Number of the drawn world; 0 where not given.
        head: Drawn head, ``builtin`` (where not given) or ``ict``.
        identities: Number of drawn people; another person in every image where not given.
        rejects: Reject list of a folder to honour instead of the one in it.
        scheme: Of the landmarks: ``68``, whose jaw follows the visible outline, ``68-3d``, fixed places, or, of a
            folder, any scheme (a name or a file) that says where its points lie on the head.
        packs: Folder, for such a scheme: where the data packs with the ICT head are; where not given, where
            :func:`lineament.packs.packs_folder` says.

    Raises:
        UsageError: If options of a drawn world are given for a folder, or are impossible.
        DataError: If the folder cannot be read, or nothing is left of it.
    """
    if root is not None and (root / "index.parquet").is_file():
        drawn = {"size": size, "seed": seed, "head": head, "identities": identities}
        given = [name for name, value in drawn.items() if value is not None]
        if given:
            raise UsageError(f"{root} is drawn already: leave {', '.join(given)} out.")
        return _folder(root, split, count, rejects, scheme, packs)
    if packs is not None:
        raise UsageError("packs belongs to a drawn folder: name the folder of the packs as the data itself.")
    from lineament.synthetic.source import SyntheticFaces

    count = 1000 if count is None else count
    seed = (seed or 0) + SEEDS_APART[split]
    return SyntheticFaces(seed, count, size or 128, head or "builtin", root, identities, scheme=scheme)


def _folder(
    root: Path, split: str, count: int | None, rejects: str | None, scheme: str, packs: str | None
) -> FaceSource:
    import pyarrow.parquet as pq

    from lineament.synthetic.folder import SyntheticFolder

    faces = SyntheticFolder(root, scheme, packs)
    rows = pq.read_table(root / "index.parquet", columns=["file", "person"]).to_pylist()
    left_out = find_rejects(root, rejects)
    indices = [
        index
        for index, row in enumerate(rows)
        if row["file"] not in left_out and split in ("all", _split_of(row["person"]))
    ][:count]
    if not indices:
        raise DataError(f"{root} holds no faces in its split {split!r}.")
    if len(indices) == len(rows):
        return faces
    return Subset(faces, indices, f"{faces.name}/{split}")


def _split_of(person: str) -> str:
    if not held_out(person, 2 * HELD_OUT):
        return "train"
    return "val" if held_out(person, HELD_OUT) else "test"
