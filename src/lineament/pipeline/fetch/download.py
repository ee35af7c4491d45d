"""Downloads the files of a table, several at once, each checked by its sha256; what is there is not fetched again."""

from __future__ import annotations

import csv
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from lineament.errors import DataError, LineamentError

# Seconds without an answer after which a connection counts as lost.
TIMEOUT = 30.0
# How often a file is asked for again.
RETRIES = 2
COLUMNS = ("file", "url", "bytes", "sha256")


@dataclass(frozen=True)
class SourceFile:
    """One upstream file.

    Attributes:
        name: What it is called in the folder of downloads.
        url: Where it is published.
        size: Its bytes.
        sha256: Of its content.
    """

    name: str
    url: str
    size: int
    sha256: str


def read_table(path: Path) -> list[SourceFile]:
    """Read the table of a pack's upstream files.

    Raises:
        DataError: If it cannot be read.
    """
    try:
        with path.open(encoding="utf-8", newline="") as lines:
            rows = [tuple(row[name] for name in COLUMNS) for row in csv.DictReader(lines)]
        return [SourceFile(name, url, int(size), sha256) for name, url, size, sha256 in rows]
    except (OSError, KeyError, ValueError) as error:
        raise DataError(f"{path} is no table of {', '.join(COLUMNS)} ({error}).") from error


def download(
    files: list[SourceFile],
    folder: Path,
    table: Path,
    *,
    workers: int = 8,
    retries: int = RETRIES,
    advance: Callable[[], None] = lambda: None,
) -> None:
    """Bring files into a folder; each is whole and checked, or not there.

    Args:
        files: What is wanted.
        folder: Where they go; files there of the right sha256 are kept.
        table: The table that names them, for messages.
        workers: How many are fetched at once.
        retries: How often a file is asked for again.
        advance: Called after each file.

    Raises:
        DataError: If a server gives another file than the table names.
        LineamentError: If a server cannot be reached; the sentence says which files to put where.
    """
    import pooch
    import requests

    pooch.get_logger().setLevel(logging.WARNING)
    store = pooch.create(
        path=folder,
        base_url="",
        registry={file.name: f"sha256:{file.sha256}" for file in files},
        urls={file.name: file.url for file in files},
        retry_if_failed=retries,
    )
    folder.mkdir(parents=True, exist_ok=True)

    def fetch(file: SourceFile) -> None:
        store.fetch(file.name, downloader=pooch.HTTPDownloader(timeout=TIMEOUT))

    with ThreadPoolExecutor(max(1, workers)) as pool:
        waiting = {pool.submit(fetch, file): file for file in files}
        try:
            for done in as_completed(waiting):
                file = waiting[done]
                try:
                    done.result()
                except requests.RequestException as error:
                    raise _unreachable(file, files, folder, table, error) from error
                except ValueError as error:
                    raise DataError(
                        f"{file.url} gives another file than {table} names (sha256 {file.sha256}): it was changed "
                        "there, or on its way here; try again later."
                    ) from error
                advance()
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _unreachable(
    file: SourceFile, files: list[SourceFile], folder: Path, table: Path, error: Exception
) -> LineamentError:
    answer = getattr(getattr(error, "response", None), "status_code", None)
    why = f"{file.url} answers {answer}" if answer else f"{urlsplit(file.url).hostname} cannot be reached"
    missing = sum(not _is_there(folder / each.name, each) for each in files)
    return LineamentError(
        f"{why}: type the same command again when it can, which goes on from here, or put the {missing} missing of "
        f"{len(files)} files by hand into {folder}, by the names and addresses in {table}, and type it then."
    )


def _is_there(path: Path, file: SourceFile) -> bool:
    return path.is_file() and path.stat().st_size == file.size
