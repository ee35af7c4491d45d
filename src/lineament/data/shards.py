"""Shards: images in plain tar files, found by their offset, every byte covered by a checksum.

A shard can be unpacked by any archive tool and streamed by tools that read tar shards. Readers do neither: they know
from an index where the bytes of an image lie, so that a shard of any size is read at random.
"""

from __future__ import annotations

import os
import tarfile
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from lineament.errors import DataError
from lineament.files import replacing

_BLOCK = tarfile.BLOCKSIZE
_PIECE = 1 << 20
# Shards that a process holds open at most; a system allows some hundred files to a process.
_OPEN = 64


@dataclass(frozen=True)
class Slot:
    """Where the bytes of one image lie in its shard: offset and length in bytes, CRC-32 of them."""

    offset: int
    length: int
    crc: int


class ShardWriter:
    """Adds images to a shard; :attr:`size` and :attr:`crc` are those of the whole file so far."""

    def __init__(self, file: BinaryIO) -> None:
        self.size = 0
        self.crc = 0
        self._file = file

    def add(self, name: str, data: bytes) -> Slot:
        """Append a file called ``name``.

        Everything in its header but the name and the length is fixed, so that equal images make equal shards.
        """
        info = tarfile.TarInfo(name)
        info.size = len(data)
        self._write(info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape"))
        slot = Slot(self.size, len(data), zlib.crc32(data))
        self._write(data)
        self._write(b"\0" * (-len(data) % _BLOCK))
        return slot

    def finish(self) -> None:
        """Write the end of a tar file."""
        self._write(b"\0" * 2 * _BLOCK)

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self.size += len(data)
        self.crc = zlib.crc32(data, self.crc)


@contextmanager
def writing_shard(path: Path) -> Iterator[ShardWriter]:
    """Write a shard that takes its place when it is whole; on an error an older one stays."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        writer = ShardWriter(file)
        yield writer
        writer.finish()


def shard_name(number: int) -> str:
    """File name of shard ``number``."""
    return f"shard-{number:05d}.tar"


def file_crc(path: Path) -> int:
    """CRC-32 of a whole file; raises ``OSError`` where it cannot be read."""
    crc = 0
    with path.open("rb", buffering=0) as file:
        while piece := file.read(_PIECE):
            crc = zlib.crc32(piece, crc)
    return crc


class ShardFiles:
    """Random access to the shards of a folder, for threads, forked and pickled.

    Reads name their position, so that processes forked from one another may share open files.

    Args:
        folder: Folder of the shards.
        remedy: What a user is to do about a damaged one, the end of the message.
    """

    def __init__(self, folder: Path, remedy: str) -> None:
        self.folder = folder
        self.remedy = remedy
        self._files: dict[int, BinaryIO] = {}
        self._lock = threading.Lock()

    def read(self, number: int, slot: Slot, name: str) -> bytes:
        """Read the bytes of one image.

        Args:
            number: Number of the shard.
            slot: Where they lie.
            name: The image, for messages.

        Raises:
            DataError: If the shard is missing, cut short, or holds other bytes than were written.
        """
        path = self.folder / shard_name(number)
        try:
            data = self._pread(number, path, slot)
        except OSError as error:
            raise DataError(f"{path} cannot be read ({error.strerror or error}): {self.remedy}.") from error
        if len(data) != slot.length:
            raise DataError(
                f"{path} is cut short: of {name!r}, {slot.length} bytes, {len(data)} are there; {self.remedy}."
            )
        if zlib.crc32(data) != slot.crc:
            raise DataError(
                f"{path} is damaged: the bytes of {name!r} are not those that were written; {self.remedy}."
            )
        return data

    def _pread(self, number: int, path: Path, slot: Slot) -> bytes:
        # The file object is held here while it is read: another thread may drop it from the open ones meanwhile.
        file = self._opened(number, path)
        pieces = []
        left, place = slot.length, slot.offset
        while left and (piece := os.pread(file.fileno(), left, place)):
            pieces.append(piece)
            left -= len(piece)
            place += len(piece)
        return b"".join(pieces)

    def _opened(self, number: int, path: Path) -> BinaryIO:
        with self._lock:
            file = self._files.pop(number, None)
            if file is None:
                file = path.open("rb", buffering=0)
                if len(self._files) >= _OPEN:
                    self._files.pop(next(iter(self._files)))
            self._files[number] = file  # the last used stands last
            return file

    def __getstate__(self) -> dict[str, Any]:
        # Open files and locks cannot travel to another process.
        return {"folder": self.folder, "remedy": self.remedy}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["folder"], state["remedy"])  # type: ignore[misc]
