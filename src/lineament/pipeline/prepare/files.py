"""The folder of a cache of crops while it is written: what is done, what is damaged, and the index of it all."""

from __future__ import annotations

import csv
import errno
import fcntl
import io
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from lineament.data.cache_format import (
    INDEX,
    INDEX_SCHEMA,
    MANIFEST,
    PART_SCHEMA,
    REMEDY,
    SHARDS,
    content_digest,
    part_facts,
    part_table,
    read_manifest,
    read_table,
    write_manifest,
    write_table,
)
from lineament.data.shards import ShardFiles, Slot, file_crc, shard_name
from lineament.errors import DataError, LineamentError
from lineament.faces.labels.cells import guard
from lineament.files import write_text
from lineament.pipeline.prepare.faces import Cut
from lineament.progress import Progress

LEFT_OUT = "left_out.csv"
_LOCK = ".lock"
# How long to wait for the processes of a run that was just killed.
_PATIENCE_S = 5.0
_PLACE = ("id", "shard", "offset", "length", "crc", "photo_id", "photo_digest", "reason")


@contextmanager
def claimed(out: Path, settings: Mapping[str, Any], overwrite: bool) -> Iterator[None]:
    """Make a folder ours, for this process alone, or refuse it.

    Raises:
        LineamentError: If the folder holds something else or crops made in another way, or is being written.
    """
    if out.exists() and not out.is_dir():
        raise LineamentError(f"{out} is a file: name a folder for the crops.")
    if not (out / MANIFEST).exists() and out.is_dir() and any(path.name != _LOCK for path in out.iterdir()):
        raise LineamentError(
            f"{out} is not empty and holds no crops of `lineament data prepare`: name another folder."
        )
    out.mkdir(parents=True, exist_ok=True)
    with (out / _LOCK).open("w") as lock:
        lock_folder(lock.fileno(), out)
        if (out / MANIFEST).exists():
            _compare(out, settings, overwrite)
        if not (out / MANIFEST).exists():
            write_manifest(out, {"settings": settings})
        for leftover in [*out.glob(".writing-*"), *(out / SHARDS).glob(".writing-*")]:
            leftover.unlink()
        yield


def lock_folder(file: int, out: Path) -> None:
    """Take the lock of an open file for this process; raises ``LineamentError`` where another one holds it."""
    until = time.monotonic() + _PATIENCE_S
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError as error:
            if time.monotonic() > until:
                raise LineamentError(
                    f"another `lineament data prepare` is writing {out}: wait for it."
                ) from error
            time.sleep(0.1)
        except OSError as error:
            # Some network file systems know no locks; all others end here with a true error.
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP):
                raise
            return


def _compare(out: Path, settings: Mapping[str, Any], overwrite: bool) -> None:
    """Refuse crops made in another way, or remove them with ``overwrite``."""
    try:
        before = read_manifest(out)["settings"]
    except DataError:
        if not overwrite:
            raise
        before = {}
    other = [name for name in settings if before.get(name) != settings[name]]
    if other and not overwrite:
        changes = ", ".join(f"{name} {before.get(name)!r} -> {settings[name]!r}" for name in other)
        raise LineamentError(
            f"{out} was prepared with other settings ({changes}): name another folder or start again with "
            "--overwrite."
        )
    if overwrite:
        # The manifest first: without it nobody takes what is left for crops.
        for path in [out / MANIFEST, out / INDEX, out / LEFT_OUT, *sorted((out / SHARDS).glob("shard-*"))]:
            path.unlink(missing_ok=True)


@dataclass
class Group:
    """The images of one shard that is to be written.

    Attributes:
        number: Number of the shard.
        photos: Images in order, as indices of the source.
        kept: What needs no work, by image: crops of a damaged shard that are whole.
    """

    number: int
    photos: list[int]
    kept: dict[int, Cut] = field(default_factory=dict)


@dataclass
class Known:
    """What a folder holds already.

    Attributes:
        done: Number of the shard of every image that is done.
        damaged: Shards to write again, with what is left of them.
        taken: Numbers of all shards.
    """

    done: dict[int, int] = field(default_factory=dict)
    damaged: list[Group] = field(default_factory=list)
    taken: set[int] = field(default_factory=set)

    def next_numbers(self) -> Iterator[int]:
        """Numbers that no shard has, the lowest first."""
        number = 0
        while True:
            if number not in self.taken:
                yield number
            number += 1


def part_path(out: Path, number: int) -> Path:
    """The table beside shard ``number``."""
    return (out / SHARDS / shard_name(number)).with_suffix(".parquet")


def take_stock(
    out: Path, names: Sequence[str], digests: Sequence[str], workers: int, show: Progress
) -> Known:
    """Find out which images are done; every byte of every shard is read and compared with its CRC.

    An image whose file or labels changed since is not done. A shard without its table, or whose table cannot be
    read, is removed: its images are done again.

    Args:
        out: Folder of the cache.
        names: Ids of all images in order.
        digests: Digest of each.
        workers: Shards read at once.
        show: Shows progress.
    """
    known = Known()
    paths = sorted((out / SHARDS).glob("shard-*.parquet"))
    tables = {path: _read_part(path) for path in paths}
    for shard in (out / SHARDS).glob("shard-*.tar"):
        if tables.get(shard.with_suffix(".parquet")) is None:
            shard.unlink()
    found = {number: table for table in tables.values() if table is not None for number in [_number(table)]}
    if not found:
        return known
    with show("checking", len(found), "shards") as step, ThreadPoolExecutor(workers) as pool:

        def sound(number: int) -> bool:
            whole = _is_whole(out, number, found[number])
            step()
            return whole

        whole = dict(zip(found, pool.map(sound, found), strict=True))
    place_of = {name: index for index, name in enumerate(names)}
    known.taken = set(found)
    newest: dict[int, int] = {}
    for number, table in found.items():
        for name, seen in zip(table["photo_id"].to_pylist(), table["photo_digest"].to_pylist(), strict=True):
            index = place_of.get(name)
            if index is not None and digests[index] == seen:
                newest[index] = number
    known.done = {index: number for index, number in newest.items() if whole[number]}
    for number in (number for number in found if not whole[number]):
        photos = sorted(index for index, shard in newest.items() if shard == number)
        known.damaged.append(Group(number, photos, _salvaged(out, number, found[number], place_of, photos)))
    return known


def _number(table: pa.Table) -> int:
    return int(part_facts(table)["number"])


def _read_part(path: Path) -> pa.Table | None:
    """Read the table of a shard; one that is damaged is removed."""
    try:
        table = read_table(path)
    except DataError:
        table = None
    usable = table is not None and table.schema.equals(PART_SCHEMA)
    if not usable or part_path(path.parent.parent, part_facts(table).get("number", -1)) != path:
        path.unlink()
        return None
    return table


def _is_whole(out: Path, number: int, table: pa.Table) -> bool:
    path, facts = out / SHARDS / shard_name(number), part_facts(table)
    try:
        return path.stat().st_size == facts.get("size") and file_crc(path) == facts.get("crc")
    except OSError:
        return False


def _salvaged(
    out: Path, number: int, table: pa.Table, place_of: Mapping[str, int], photos: Sequence[int]
) -> dict[int, Cut]:
    """Read what is whole of a damaged shard: images all of whose crops are as they were written."""
    files = ShardFiles(out / SHARDS, REMEDY)
    wanted = set(photos)
    kept: dict[int, Cut] = {}
    lost: set[int] = set()
    for row in table.to_pylist():
        index = place_of.get(row["photo_id"])
        if index not in wanted or index is None:
            continue
        cut = kept.setdefault(index, Cut(row["reason"] or ""))
        if row["offset"] is None:
            continue
        try:
            data = files.read(number, Slot(row["offset"], row["length"], row["crc"]), row["id"])
        except DataError:
            lost.add(index)
            continue
        cut.crops.append(({name: value for name, value in row.items() if name not in _PLACE}, data))
    return {index: cut for index, cut in kept.items() if index not in lost}


def write_part(out: Path, number: int, rows: Sequence[Mapping[str, Any]], size: int, crc: int) -> None:
    """Write the table of a shard, which makes its images done."""
    write_table(part_path(out, number), part_table(rows, {"number": number, "size": size, "crc": crc}))


def finish(
    out: Path, names: Sequence[str], done: Mapping[int, int], facts: Mapping[str, Any]
) -> Counter[str]:
    """Join the tables of all shards to the index, in the order of the images, and complete the manifest.

    Args:
        out: Folder of the cache.
        names: Ids of all images in order.
        done: Number of the shard of every image.
        facts: What the manifest says besides.

    Returns:
        How many crops there are, under ``crops``, and how many images were left out, by the kind of reason.
    """
    place_of = {name: index for index, name in enumerate(names)}
    parts, order, shards = [], [], {}
    left_out: dict[int, str] = {}
    row = 0
    for number in sorted(set(done.values())):
        table = read_table(part_path(out, number))
        parts.append(table.select(INDEX_SCHEMA.names))
        shards[str(number)] = {name: part_facts(table)[name] for name in ("size", "crc")}
        for name, reason in zip(table["photo_id"].to_pylist(), table["reason"].to_pylist(), strict=True):
            index = place_of.get(name, -1)
            if done.get(index) == number:
                if reason:
                    left_out[index] = reason
                else:
                    order.append((index, row))
            row += 1
    write_left_out(out / LEFT_OUT, {names[index]: left_out[index] for index in sorted(left_out)})
    counts = Counter(reason.partition(":")[0] for reason in left_out.values())
    counts["crops"] = len(order)
    if not order:
        return counts
    joined = pa.concat_tables([part.replace_schema_metadata(None) for part in parts])
    index_table = joined.take([row for _, row in sorted(order)]).combine_chunks()
    sha256 = write_table(out / INDEX, index_table.cast(INDEX_SCHEMA))
    write_manifest(
        out,
        {
            **facts,
            "photographs": len(names),
            "crops": len(order),
            "left_out": len(left_out),
            "fingerprint": content_digest(index_table),
            "index_sha256": sha256,
            "shards": shards,
        },
    )
    return counts


def write_left_out(path: Path, left_out: Mapping[str, str]) -> None:
    """Write image and reason of everything that was left out, also when that is nothing."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["photo", "reason"])
    writer.writerows([guard(name), guard(reason)] for name, reason in left_out.items())
    write_text(path, text.getvalue())
