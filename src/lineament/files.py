"""Files and folders that are either complete or absent, also after a kill or a power cut."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """Give a temporary name in the folder of ``path``; on leaving without an error it takes the place of ``path``.

    The folder is made when it is missing. On an error the temporary file is removed and an older ``path`` stays.

    Args:
        path: The file to write.
        durable: Wait until the disk has the file before it takes its place. False where thousands of files are
            written that can be made again: a kill still leaves each complete or absent, a power cut may not.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=".writing-", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes files only their owner can read; a result should have the rights of any other new file.
        temporary.chmod(0o666 & ~_mask())
        if durable:
            flush(temporary)
        temporary.replace(path)
        if durable:
            flush(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """As :func:`replacing`, for a folder with all that is written into it; an older folder ``path`` is removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".writing-", dir=path.parent))
    old = temporary.with_name(temporary.name + ".old")
    try:
        yield temporary
        temporary.chmod(0o777 & ~_mask())
        for each in temporary.rglob("*"):
            flush(each)
        flush(temporary)
        if path.is_dir():
            path.replace(old)
        temporary.replace(path)
        flush(path.parent)
    finally:
        if old.exists() and not path.exists():
            old.replace(path)
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def write_text(path: Path, text: str, *, durable: bool = True) -> None:
    """Write UTF-8 text so that the file is complete or absent; ``durable`` as in :func:`replacing`."""
    write_bytes(path, text.encode("utf-8"), durable=durable)


def write_bytes(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Write bytes so that the file is complete or absent; ``durable`` as in :func:`replacing`."""
    with replacing(path, durable=durable) as temporary:
        temporary.write_bytes(data)


def write_new(path: Path, data: bytes) -> None:
    """Write a file that must not exist, and wait until the disk has it; for folders that are put in place whole."""
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def flush(path: Path) -> None:
    """Wait until the disk has a file, or the names in a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _mask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
