"""What of GMPI's published preparation is there already, and what this program made of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from lineament.errors import DataError, LineamentError
from lineament.files import write_text
from lineament.methods.gmpi.pose_formats import read_coefficient_file, stem, write_coefficient_file
from lineament.methods.gmpi.published_layout import (
    PublishedLayout,
    read_fail_list,
    read_landmarks,
    write_landmarks,
)
from lineament.pipeline.prepare.files import lock_folder
from lineament.pipeline.prepare.published import FoundPose

# Hidden: readers of folders look past it.
HIDDEN = ".prepared"
_SETTINGS, _JOURNAL = "settings.json", "images.jsonl"
# Damaged files that a message names.
_SHOWN = 3


@dataclass
class Stock:
    """What needs no work.

    Attributes:
        rows: What is known of an image that is done, by its name: as :func:`row_of` gives it.
        points: Landmarks that are there, by name, also of images whose pose is still to be found.
        read: Images that another program was done with.
    """

    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    points: dict[str, Tensor] = field(default_factory=dict)
    read: int = 0


@contextmanager
def claimed(
    home: Path, settings: Mapping[str, Any], layout: PublishedLayout, overwrite: bool
) -> Iterator[None]:
    """Make a folder ours, for this process alone; files of another program in it stay.

    Args:
        home: Folder of the journal.
        settings: All that decides what is written.
        layout: Where it is written.
        overwrite: Remove what this program wrote before.

    Raises:
        LineamentError: If it was prepared with other settings, or is being written.
    """
    hidden = home / HIDDEN
    if home.exists() and not home.is_dir():
        raise LineamentError(f"{home} is a file: name another folder for --out.")
    hidden.mkdir(parents=True, exist_ok=True)
    with (hidden / ".lock").open("w") as lock:
        lock_folder(lock.fileno(), home)
        path = hidden / _SETTINGS
        if overwrite:
            _remove(home, layout)
        elif path.is_file():
            _compare(home, path, settings)
        write_text(path, json.dumps(dict(settings), indent=2) + "\n")
        for folder in {home, layout.detections}:
            for leftover in folder.rglob(".writing-*"):
                leftover.unlink()
        yield


def _compare(home: Path, path: Path, settings: Mapping[str, Any]) -> None:
    try:
        before = dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{path} is damaged ({error}): start again with --overwrite.") from error
    other = [name for name in settings if before.get(name) != settings[name]]
    if other:
        changes = ", ".join(f"{name} {before.get(name)!r} -> {settings[name]!r}" for name in other)
        raise LineamentError(
            f"{home} was prepared with other settings ({changes}): name another --out or start again with --overwrite."
        )


def _remove(home: Path, layout: PublishedLayout) -> None:
    """Remove what the journal tells that this program wrote, and its lists and table."""
    rows = read_journal(home)
    for row in rows.values():
        for path in _written(layout, row):
            path.unlink(missing_ok=True)
    if rows:
        for path in (layout.undetected, layout.unposed, layout.table, home / HIDDEN / _JOURNAL):
            path.unlink(missing_ok=True)


def _written(layout: PublishedLayout, row: Mapping[str, Any]) -> list[Path]:
    """The files that a line of the journal tells of."""
    paths = {"landmarks": layout.landmarks(row["name"]), "pose": layout.pose(row["name"])}
    return [path for kind, path in paths.items() if kind in row["wrote"]]


def read_journal(home: Path) -> dict[str, dict[str, Any]]:
    """What this program did with each image, by its name; a line that was torn by a kill is passed over."""
    rows: dict[str, dict[str, Any]] = {}
    path = home / HIDDEN / _JOURNAL
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        try:
            row = json.loads(line)
            if {"name", "digest", "wrote", "row"} <= set(row):
                rows[row["name"]] = row
        except (ValueError, TypeError):
            continue
    return rows


def take_stock(home: Path, layout: PublishedLayout, digests: Mapping[str, str], poses: str) -> Stock:
    """Find out which images are done: by this program, if they did not change since, or by another one.

    Args:
        home: Folder of the journal.
        layout: Where files are.
        digests: Digest of each image, by name.
        poses: What poses come from; with ``"none"`` an image with landmarks is done.

    Raises:
        DataError: If files of landmarks or poses are damaged; they are counted, the first are named.
    """
    stock = Stock()
    damaged: list[str] = []
    known = read_journal(home)
    failed = {*read_fail_list(layout.undetected), *read_fail_list(layout.unposed)}
    for name, digest in digests.items():
        row = known.get(name)
        if row is not None:
            written = _written(layout, row)
            if row["digest"] == digest and all(path.is_file() for path in written):
                stock.rows[name] = row["row"]
                continue
            # The image changed, a file is gone, or the run ended between them: all is made again.
            for path in written:
                path.unlink(missing_ok=True)
        try:
            found = _of_others(
                layout, name, row is None and not failed.isdisjoint((name, stem(name))), poses, stock
            )
        except DataError as error:
            damaged.append(str(error))
            continue
        if found is not None:
            stock.rows[name] = found
            stock.read += 1
    if damaged:
        more = f" (and {len(damaged) - _SHOWN} more)" if len(damaged) > _SHOWN else ""
        raise DataError(" ".join(damaged[:_SHOWN]) + more)
    return stock


def _of_others(
    layout: PublishedLayout, name: str, failed: bool, poses: str, stock: Stock
) -> dict[str, Any] | None:
    """What another program left of an image; None where there is work to do."""
    landmarks, pose = layout.landmarks(name), layout.pose(name)
    points = read_landmarks(landmarks) if landmarks.is_file() else None
    if points is not None:
        stock.points[name] = points
    if failed:
        # Such a list also names images whose pose cannot be used although there is one.
        return row_of(name, FoundPose("on a list of failures that was there", points), "read")
    if pose.is_file():
        angle, translation = read_coefficient_file(pose)
        return row_of(name, FoundPose("", points, {"angle": angle, "trans": translation}), "read")
    if poses == "none" and points is not None:
        return row_of(name, FoundPose("", points), "read")
    return None


def row_of(name: str, found: FoundPose, made_by: str) -> dict[str, Any]:
    """A row of the table of poses; angles and translation as the ``.mat`` file holds them, in single precision."""
    pose = {
        key: None if found.coefficients is None else found.coefficients[key].float().tolist()
        for key in ("angle", "trans")
    }
    return {
        "name": name,
        "reason": found.reason,
        "made_by": made_by,
        "points": None if found.points is None else found.points.flatten().tolist(),
        "head_error": found.head_error,
        **pose,
    }


class Journal:
    """Writes the files of an image, then the line that tells of them."""

    def __init__(self, home: Path, layout: PublishedLayout, names: Sequence[str]) -> None:
        self.layout = layout
        path = home / HIDDEN / _JOURNAL
        known = read_journal(home)
        # Without lines that were torn or replaced, and without images that are gone.
        write_text(path, "".join(json.dumps(known[name]) + "\n" for name in names if name in known))
        self._file = path.open("a", encoding="utf-8")

    def add(self, name: str, digest: str, found: FoundPose, made_by: str) -> dict[str, Any]:
        """Write what was found of an image; its row of the table is returned."""
        landmarks, pose = self.layout.landmarks(name), self.layout.pose(name)
        wrote = ["landmarks"] if found.points is not None and not landmarks.is_file() else []
        wrote += ["pose"] if found.coefficients is not None else []
        if wrote:
            # Should the run end between files and line, the next one knows whose they are.
            self._write({"name": name, "digest": "", "wrote": wrote, "row": None})
        if "landmarks" in wrote and found.points is not None:
            write_landmarks(landmarks, found.points)
        if found.coefficients is not None:
            write_coefficient_file(pose, found.coefficients, found.landmarks)
        row = row_of(name, found, made_by)
        self._write({"name": name, "digest": digest, "wrote": wrote, "row": row})
        return row

    def _write(self, line: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()
