"""MetFaces with the mirror image of each painting beside it, as its published preparation wants it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from lineament.data.image_archives import image_records, side_of
from lineament.data.images import encode_image, read_image_uint8
from lineament.data.readers.metfaces import WHERE, check_flips, flip_of, is_flip
from lineament.errors import DataError
from lineament.files import write_bytes
from lineament.parallel import ordered_map
from lineament.progress import Progress, silent

CHUNK = 8


@dataclass(frozen=True)
class Flips:
    """What :func:`write_flips` did.

    Attributes:
        folder: The folder with originals and flips.
        written: Flips that were written.
        unreadable: Images that cannot be read, and why; they have no flip.
    """

    folder: Path
    written: int
    unreadable: dict[str, str]


def write_flips(root: Path, out: Path, workers: int, remedy: str, progress: Progress = silent) -> Flips:
    """Put the images of a folder and their mirror images into ``out/metfaces{R}x{R}_xflip``.

    Where ``root`` is that folder already the flips are written beside its images. Images and flips that are there are
    left as they are, so that a second run changes nothing.

    Args:
        root: The published folder of images.
        out: The published ``runtime_dataset``.
        workers: Processes.
        remedy: What a user is to do when a process dies.
        progress: Shows progress.

    Raises:
        DataError: If there are no images, two differ in their endings alone, or flips were flipped.
    """
    if not root.is_dir():
        raise DataError(f"there is no folder {root}: MetFaces is a folder of PNG files, {WHERE}.")
    records = image_records(root)
    side = side_of(root, records)
    names = [record.id for record in records]
    check_flips(root, names, "none")
    originals = [name for name in names if not is_flip(name)]
    if len({flip_of(name) for name in originals}) < len(originals):
        raise DataError(f"{root} holds two images that differ in their endings alone: keep one of each.")
    folder = out / f"metfaces{side}x{side}_xflip"
    if folder.resolve() != root.resolve():
        for name in names:
            if not (folder / name).is_file():
                write_bytes(folder / name, (root / name).read_bytes(), durable=False)
    todo = [name for name in originals if not (folder / flip_of(name)).is_file()]
    chunks = [todo[start : start + CHUNK] for start in range(0, len(todo), CHUNK)]
    unreadable: dict[str, str] = {}
    with (
        ordered_map(_Flipper(folder), chunks, max(1, min(workers, len(chunks))), remedy) as results,
        progress("flipping", len(originals), "images", len(originals) - len(todo)) as step,
    ):
        for name, data in zip(todo, chain.from_iterable(results), strict=True):
            if isinstance(data, str):
                unreadable[name] = data
            else:
                write_bytes(folder / flip_of(name), data, durable=False)
            step()
    return Flips(folder, len(todo) - len(unreadable), unreadable)


@dataclass(frozen=True)
class _Flipper:
    """Mirrors images; what worker processes do."""

    folder: Path

    def __call__(self, names: list[str]) -> list[bytes | str]:
        return [self._flipped(name) for name in names]

    def _flipped(self, name: str) -> bytes | str:
        """The PNG file of the mirror image, or why there is none."""
        try:
            return encode_image(read_image_uint8(self.folder / name).flip(2), "png", name)
        except DataError as error:
            return str(error)
