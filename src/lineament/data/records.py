"""A source made from a list of annotated image files: what every reader of files builds."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from lineament.data.images import MAX_PIXELS, ImageKind, decode_image, image_kind, read_image
from lineament.data.rejects import label_faults
from lineament.data.sample import FaceSample
from lineament.data.subset import digest
from lineament.errors import DataError

Points = Sequence[Sequence[float]]
# Bytes at either end of an image that enter the fingerprint of its source: the header and the end of the coded pixels,
# which in compressed images hardly ever stay the same when a pixel changes.
ENDS = 4096


@dataclass(frozen=True)
class Record:
    """One image and its labels as they were read from the files of a data set, in pixels of the whole image.

    Attributes:
        id: Stable name of the sample in its data set.
        path: The image, or the zip archive that holds it.
        member: Name of the image inside the archive; None for a plain file.
        box: ``x0, y0, x1, y1`` px edges.
        landmarks: K points xy px.
        visibility: K truth values.
        identity: Label of the person.
        meta: Anything else.
        fault: Why the sample cannot be used although its image may be fine; "" when nothing is wrong.
    """

    id: str
    path: Path
    member: str | None = None
    box: tuple[float, float, float, float] | None = None
    landmarks: Points | None = None
    visibility: Sequence[bool] | None = None
    identity: str | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)
    fault: str = ""

    @property
    def place(self) -> str:
        """The image as messages name it."""
        return str(self.path) if self.member is None else f"{self.path}/{self.member}"


class RecordSource:
    """The samples of a list of records, without those on the reject list.

    The fingerprint covers the id and the labels of every image, its size in bytes, and a checksum of its first and
    last 4096 bytes (in an archive of all of it). It does not depend on where and when the files were copied. An image
    that is changed in its middle alone, at the same size, goes unnoticed: reading all bytes of 200,000 images would
    take longer than many trainings.

    Args:
        name: Data set and split.
        records: The samples in order.
        scheme: Landmark scheme the points follow.
        points: Number of landmarks every sample must have; None accepts any.
        rejects: Ids to leave out, with reasons.
        max_pixels: Larger images are refused.

    Raises:
        DataError: If two records share an id, or none is left.
    """

    def __init__(
        self,
        name: str,
        records: Sequence[Record],
        scheme: str | None = None,
        points: int | None = None,
        rejects: Mapping[str, str] | None = None,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        self.name = name
        self.scheme = scheme
        self.points = points
        self.max_pixels = max_pixels
        self.rejected = {record.id: rejects[record.id] for record in records if record.id in (rejects or {})}  # type: ignore[index]
        self.records = [record for record in records if record.id not in self.rejected]
        if not self.records:
            left_out = (
                f" after {len(self.rejected)} on the reject list were left out" if self.rejected else ""
            )
            raise DataError(f"{name} holds no samples{left_out}.")
        seen: set[str] = set()
        for record in self.records:
            if record.id in seen:
                raise DataError(f"{name} names the sample {record.id!r} twice: remove one of them.")
            seen.add(record.id)
        self._archives: dict[tuple[int, Path], zipfile.ZipFile] = {}

    @cached_property
    def fingerprint(self) -> str:
        """Hex digest over ids, labels, image sizes and checksums."""
        return digest(self.scheme, self.points, *map(self.digest_of, range(len(self))))

    def digest_of(self, index: int) -> str:
        """Digest of id, labels and content of one sample; it changes when what is read would change."""
        record = self.records[index]
        return digest(
            record.id,
            record.box,
            record.landmarks,
            record.visibility,
            record.identity,
            sorted(record.meta.items()),
            *self._content(record),
        )

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> FaceSample:
        record = self.records[index]
        if record.fault:
            raise DataError(f"the labels of {record.place} cannot be used: {record.fault}.")
        sample = FaceSample(
            id=record.id,
            image=self._image(record),
            box=None if record.box is None else torch.tensor(record.box, dtype=torch.float32),
            landmarks=None
            if record.landmarks is None
            else torch.tensor(record.landmarks, dtype=torch.float32),
            scheme=self.scheme if record.landmarks is not None else None,
            visibility=None
            if record.visibility is None
            else torch.tensor(record.visibility, dtype=torch.bool),
            identity=record.identity,
            path=record.path,
            meta=dict(record.meta),
        )
        faults = label_faults(sample, self.points)
        if faults:
            raise DataError(f"the labels of {record.place} cannot be used: {'; '.join(faults)}.")
        return sample

    def id_of(self, index: int) -> str:
        """Return the id of a sample without reading it, so that an unreadable one has a name too."""
        return self.records[index].id

    def kind_of(self, index: int) -> ImageKind:
        """Size and channels of an image from its header; raises ``DataError`` where it cannot be read."""
        record = self.records[index]
        if record.member is None:
            return image_kind(record.path)
        try:
            with self._archive(record.path).open(record.member) as stream:
                return image_kind(record.place, stream)  # type: ignore[arg-type]
        except DataError:
            raise
        # As below: zlib and its like raise their own classes.
        except Exception as error:
            raise DataError(f"{record.place} cannot be read from its archive: {error}.") from error

    def _image(self, record: Record) -> torch.Tensor:
        if record.member is None:
            return read_image(record.path, max_pixels=self.max_pixels)
        try:
            data = self._archive(record.path).read(record.member)
        except (OSError, KeyError, zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError) as error:
            raise DataError(f"{record.place} cannot be read from its archive: {error}.") from error
        except Exception as error:
            # zlib and its like raise their own classes for damaged data; they all mean the same.
            raise DataError(f"{record.place} is damaged in its archive: {error}.") from error
        return decode_image(data, record.place, max_pixels=self.max_pixels)

    def _archive(self, path: Path) -> zipfile.ZipFile:
        # A forked process shares the file position of its parent: each process opens archives of its own.
        key = (os.getpid(), path)
        if key not in self._archives:
            self._archives[key] = open_archive(path)
        return self._archives[key]

    def _content(self, record: Record) -> tuple[int, ...]:
        if record.member is None:
            return file_digest(record.path)
        try:
            info = self._archive(record.path).getinfo(record.member)
        except KeyError:
            return (-1,)
        return info.file_size, info.CRC

    def __getstate__(self) -> dict[str, Any]:
        # Open archives cannot travel to another process.
        return {**self.__dict__, "_archives": {}}


def file_digest(path: Path) -> tuple[int, ...]:
    """Return the size of a file and the CRC of its two ends, :data:`ENDS` bytes each; ``(-1,)`` where it is missing.

    A file that cannot be read counts by its size alone: reading the sample reports it by name.
    """
    if not path.is_file():
        return (-1,)
    size = path.stat().st_size
    try:
        with path.open("rb", buffering=0) as file:
            check = zlib.crc32(file.read(ENDS))
            if size > ENDS:
                file.seek(max(ENDS, size - ENDS))
                check = zlib.crc32(file.read(ENDS), check)
    except OSError:
        return (size,)
    return size, check


def open_archive(path: Path) -> zipfile.ZipFile:
    """Open a zip archive for reading.

    Raises:
        DataError: If it is missing or damaged.
    """
    try:
        return zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} cannot be opened as a zip archive: {error}.") from error


def read_lines(path: Path, what: str, where: str) -> list[str]:
    """Read the lines of a text file that are not blank.

    Args:
        path: The file.
        what: What it holds, for messages.
        where: Where it comes from, for messages.

    Raises:
        DataError: If it is missing or not text.
    """
    require(path, what, where)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} ({what}) cannot be read as text: {error}.") from error
    return [line for line in text.splitlines() if line.strip()]


def require(path: Path, what: str, where: str) -> Path:
    """Return ``path`` if it exists.

    Raises:
        DataError: Naming the missing part and where it comes from.
    """
    if not path.exists():
        raise DataError(f"{path} is missing ({what}): it comes from {where}.")
    return path


def require_one(candidates: Sequence[Path], what: str, where: str) -> Path:
    """Return the first of the candidates that exists; raises as :func:`require`."""
    for path in candidates:
        if path.exists():
            return path
    names = " or ".join(str(path) for path in candidates)
    raise DataError(f"{names} is missing ({what}): it comes from {where}.")


def check_count(what: str, found: int, published: int, subset: bool) -> None:
    """Compare a count with the published one.

    Raises:
        DataError: If they differ, unless ``subset`` says that a part or another version is meant.
    """
    if found != published and not subset:
        raise DataError(
            f"{what} holds {found:,} entries where the published data set has {published:,}: a file is cut short or of "
            "another version; give the option subset=true to use it as it is."
        )


def numbers(words: Sequence[str], what: str) -> list[float]:
    """Read numbers from words.

    Raises:
        DataError: If one is not a number; ``what`` names the file and line.
    """
    try:
        return [float(word) for word in words]
    except ValueError as error:
        raise DataError(f"{what} holds something that is not a number: {error}.") from error
