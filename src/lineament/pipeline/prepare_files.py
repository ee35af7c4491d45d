"""The files of a folder of prepared crops: journal, index, list of what was left out."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from lineament.data.files import replacing, write_text
from lineament.errors import LineamentError

JOURNAL = "journal.jsonl"
_OWN_FILES = (JOURNAL, "index.parquet", "left_out.csv")


class Journal:
    """What is done: the settings in the first line, then one line per photograph with its rows or a reason.

    A line is appended and flushed when the crops of a photograph are on disk; a last line that a crash cut short is
    dropped, and its photograph done again.

    Args:
        folder: Folder of the crops.
        settings: All that decides what the crops are.
        overwrite: Start again and remove the crops of an older run.

    Raises:
        LineamentError: If the folder holds something else, or a run with other settings.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any], overwrite: bool) -> None:
        self.path = folder / JOURNAL
        self.settings = json.loads(json.dumps(settings))
        self.done: dict[str, dict[str, Any]] = {}
        self._file: TextIO | None = None
        if folder.exists() and not folder.is_dir():
            raise LineamentError(f"{folder} is a file: name a folder for the crops.")
        if not self.path.exists() and folder.is_dir() and any(folder.iterdir()):
            raise LineamentError(
                f"{folder} is not empty and holds no crops of `lineament data prepare`: name another folder."
            )
        if self.path.exists() and overwrite:
            self._clear(folder)
        elif self.path.exists():
            self._load()

    def __enter__(self) -> Journal:
        """Write what is known afresh, without a line cut short, and open the file for more."""
        lines = [self.settings, *self.done.values()]
        write_text(self.path, "".join(_line(entry) for entry in lines))
        self._file = self.path.open("a", encoding="utf-8")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file:
            self._file.close()

    def add(self, photo: str, rows: list[dict[str, Any]], reason: str) -> None:
        """Note that a photograph is done."""
        if self._file is None:
            raise ValueError("the journal is not open.")
        self.done[photo] = {"photo": photo, "rows": rows, "reason": reason}
        self._file.write(_line(self.done[photo]))
        self._file.flush()

    def rows(self, photos: Sequence[str]) -> list[dict[str, Any]]:
        """Rows of all crops, in the order of the photographs."""
        return [row for photo in photos for row in self.done[photo]["rows"]]

    def left_out(self, photos: Sequence[str]) -> dict[str, str]:
        """Photographs without a crop and why, in their order."""
        return {photo: self.done[photo]["reason"] for photo in photos if self.done[photo]["reason"]}

    def _load(self) -> None:
        first, *lines = self.path.read_text(encoding="utf-8", errors="replace").splitlines() or [""]
        before = _parsed(first)
        if before is None:
            raise LineamentError(f"the first line of {self.path} is damaged: start again with --overwrite.")
        other = [key for key in self.settings if before.get(key) != self.settings[key]]
        if other:
            changes = ", ".join(f"{key} {before.get(key)!r} -> {self.settings[key]!r}" for key in other)
            raise LineamentError(
                f"{self.path.parent} was prepared with other settings ({changes}): name another folder or start again "
                "with --overwrite."
            )
        for line in lines:
            entry = _parsed(line)
            # A crop that was deleted by hand is made again.
            if entry and all((self.path.parent / row["file"]).is_file() for row in entry["rows"]):
                self.done[entry["photo"]] = entry

    def _clear(self, folder: Path) -> None:
        shutil.rmtree(folder / "crops", ignore_errors=True)
        for name in _OWN_FILES:
            (folder / name).unlink(missing_ok=True)


def _line(entry: Mapping[str, Any]) -> str:
    return json.dumps(entry, ensure_ascii=True) + "\n"


def _parsed(line: str) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) else None


def write_index(path: Path, rows: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]) -> None:
    """Write the index of the crops; its metadata names the reader and the settings."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    numbers = pa.list_(pa.float64())
    schema = pa.schema(
        [
            ("id", pa.string()),
            ("file", pa.string()),
            ("photo_id", pa.string()),
            ("photo", pa.string()),
            ("photo_width", pa.int32()),
            ("photo_height", pa.int32()),
            ("identity", pa.string()),
            ("box", numbers),
            ("score", pa.float64()),
            ("scheme", pa.string()),
            ("landmarks", numbers),
            ("detected_points", numbers),
            ("crop_to_photo", numbers),
        ],
        metadata={"lineament.reader": "crops", "lineament.settings": json.dumps(settings)},
    )
    table = pa.Table.from_pylist([dict(row) for row in rows], schema=schema)
    with replacing(path) as temporary:
        pq.write_table(table, temporary)


def write_left_out(path: Path, left_out: Mapping[str, str]) -> None:
    """Write photograph and reason of everything that was left out, also when that is nothing."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["photo", "reason"])
    writer.writerows(left_out.items())
    write_text(path, text.getvalue())
