"""The folder of images with poses while it is written: what is done, what is named how, and what it ends as."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lineament.data.registry import UNFINISHED
from lineament.errors import DataError, LineamentError
from lineament.files import write_bytes, write_text
from lineament.methods.gmpi.pose_formats import DATASET_JSON, stem
from lineament.pipeline.prepare.files import LEFT_OUT, lock_folder
from lineament.pipeline.prepare.posed import PosedFace

# Hidden: readers of folders of images look past it.
HIDDEN = ".prepared"
SETTINGS, JOURNAL = "settings.json", "photos.jsonl"
FACES, SHEET, COEFFICIENTS = "faces.csv", "poses.sheet.png", "coeffs"
MIRRORED = "-mirrored"
AGAIN = "run the same command again, it goes on where it stopped"


@contextmanager
def claimed(out: Path, settings: Mapping[str, Any], overwrite: bool) -> Iterator[None]:
    """Make a folder ours, for this process alone, and unfinished until :func:`finished`; or refuse it.

    Raises:
        LineamentError: If it holds something else or images made in another way, or is being written.
    """
    hidden = out / HIDDEN
    if out.exists() and not out.is_dir():
        raise LineamentError(f"{out} is a file: name a folder for the images.")
    if not hidden.is_dir() and out.is_dir() and any(out.iterdir()):
        raise LineamentError(
            f"{out} is not empty and was not written by `lineament data prepare --for gmpi`: name another folder."
        )
    hidden.mkdir(parents=True, exist_ok=True)
    with (hidden / ".lock").open("w") as lock:
        lock_folder(lock.fileno(), out)
        path = hidden / SETTINGS
        if path.is_file():
            _compare(out, path, settings, overwrite)
        write_text(path, json.dumps(dict(settings), indent=2) + "\n")
        write_text(out / UNFINISHED, f"`lineament data prepare` did not end: {AGAIN}.\n")
        for leftover in out.rglob(".writing-*"):
            leftover.unlink()
        yield


def finished(out: Path) -> None:
    """Say that the folder is whole."""
    (out / UNFINISHED).unlink(missing_ok=True)


def _compare(out: Path, path: Path, settings: Mapping[str, Any], overwrite: bool) -> None:
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        if not overwrite:
            raise DataError(f"{path} is damaged ({error}): start again with --overwrite.") from error
        before = {}
    other = [name for name in settings if before.get(name) != settings[name]]
    if other and not overwrite:
        changes = ", ".join(f"{name} {before.get(name)!r} -> {settings[name]!r}" for name in other)
        raise LineamentError(
            f"{out} was prepared with other settings ({changes}): name another folder or start again with --overwrite."
        )
    if overwrite:
        for row in read_journal(out).values():
            remove(out, row)
        for name in (DATASET_JSON, FACES, LEFT_OUT, SHEET, f"{HIDDEN}/{JOURNAL}"):
            (out / name).unlink(missing_ok=True)


def read_journal(out: Path) -> dict[str, dict[str, Any]]:
    """What became of each photo, by its id; a line that was torn by a kill is passed over."""
    rows: dict[str, dict[str, Any]] = {}
    path = out / HIDDEN / JOURNAL
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        try:
            row = json.loads(line)
            rows[row["photo"]] = row
        except (ValueError, TypeError, KeyError):
            continue
    return rows


class Journal:
    """Writes what became of each photo, after its images are there."""

    def __init__(self, out: Path, known: Mapping[str, Mapping[str, Any]]) -> None:
        self.out = out
        path = out / HIDDEN / JOURNAL
        write_text(path, "".join(json.dumps(row) + "\n" for row in known.values()))
        self._file = path.open("a", encoding="utf-8")

    def add(self, photo: str, digest: str, image: str, face: PosedFace) -> dict[str, Any]:
        """Write the images of a photo, then its line; the line is returned."""
        row: dict[str, Any] = {"photo": photo, "digest": digest, "image": image, "reason": face.reason}
        row |= {**face.facts, "sizes": [len(data) for data in face.images]}
        if face.images:
            # Should the run end between image and line, the next one knows whose the image is.
            self._write({"photo": photo, "digest": "", "image": image})
        for name, data in zip(image_names(image), face.images, strict=False):
            write_bytes(self.out / name, data, durable=False)
        self._write(row)
        return row

    def _write(self, row: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def image_names(image: str) -> tuple[str, str]:
    """Names of an image and of its mirror image."""
    return image, f"{stem(image)}{MIRRORED}.png"


def is_whole(out: Path, row: Mapping[str, Any]) -> bool:
    """Whether the images that a line tells of are there."""
    try:
        sizes = [(out / name).stat().st_size for name in image_names(row["image"])[: len(row["sizes"])]]
    except OSError:
        return False
    return sizes == row["sizes"]


def remove(out: Path, row: Mapping[str, Any]) -> None:
    """Remove the files of a photo."""
    for name in image_names(row["image"]):
        (out / name).unlink(missing_ok=True)
        (out / COEFFICIENTS / f"{stem(name)}.mat").unlink(missing_ok=True)


def name_images(photos: Sequence[str], known: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Name the image of each photo: as the photo, and as before where it was named before."""
    names = {photo: str(known[photo]["image"]) for photo in photos if photo in known}
    taken = {each.lower() for image in names.values() for each in image_names(image)}
    for photo in photos:
        if photo in names:
            continue
        parts = [part for part in photo.split("/") if part not in ("", ".", "..")]
        # Names that begin with a dot would be looked past.
        plain = "/".join(part.lstrip(".") or "_" for part in parts)
        image = f"{stem(plain)}.png"
        # a.jpg beside a.png is called a.jpg.png.
        while not taken.isdisjoint(each.lower() for each in image_names(image)):
            plain += "" if image == f"{stem(plain)}.png" else "@"
            image = f"{plain}.png"
        names[photo] = image
        taken.update(each.lower() for each in image_names(image))
    return names
