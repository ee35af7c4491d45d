"""The files of a cache of face crops (docs/data.md): manifest, index, and one table beside each shard.

``cache.json`` says how the crops were made and, when they are complete, what the index's digest is; ``index.parquet``
has one row per crop; ``shards/shard-00000.tar`` holds images and ``shards/shard-00000.parquet`` what became of every
photo of that shard: its crops, or why there is none.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lineament.errors import DataError
from lineament.files import replacing, write_text

MANIFEST, INDEX, SHARDS = "cache.json", "index.parquet", "shards"
FORMAT = 1
REMEDY = "run `lineament data prepare` again as before, it repairs what is damaged and keeps the rest"

_NUMBERS = pa.list_(pa.float64())
_CROP = [
    ("id", pa.string()),
    ("shard", pa.int32()),
    ("offset", pa.int64()),
    ("length", pa.int64()),
    ("crc", pa.int64()),
    ("photo_id", pa.string()),
    ("photo_digest", pa.string()),
    ("photo", pa.string()),
    ("photo_width", pa.int32()),
    ("photo_height", pa.int32()),
    ("identity", pa.string()),
    ("subsets", pa.list_(pa.string())),
    ("meta", pa.string()),
    ("box", _NUMBERS),
    ("score", pa.float64()),
    ("scheme", pa.string()),
    ("landmarks", _NUMBERS),
    ("visibility", pa.list_(pa.bool_())),
    ("detected_points", _NUMBERS),
    ("turn", pa.int32()),
    ("cut_by", pa.string()),
    ("crop_to_photo", _NUMBERS),
]
INDEX_SCHEMA = pa.schema(_CROP)
# Images without a crop have a reason and nothing else but their name and digest.
PART_SCHEMA = pa.schema([*_CROP, ("reason", pa.string())])
# What a change of would make other crops of the same image; the name of the file does not count.
_CONTENT = ("id", "crc", "length", "identity", "subsets", "meta", "box", "scheme", "landmarks", "visibility")


def read_manifest(root: Path) -> dict[str, Any]:
    """Read ``cache.json``.

    Raises:
        DataError: If it is missing, damaged, or of another format.
    """
    path = root / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        known = manifest["format"], manifest["settings"]
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error}): {REMEDY}.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} is damaged ({error}): start again with `lineament data prepare ... --overwrite`."
        ) from error
    if known[0] != FORMAT:
        raise DataError(f"{path} has format {known[0]}, this version reads {FORMAT}: update lineament.")
    return dict(manifest)


def write_manifest(root: Path, manifest: Mapping[str, Any]) -> None:
    """Write ``cache.json`` atomically."""
    text = json.dumps({"format": FORMAT, **manifest}, indent=1, ensure_ascii=False)
    write_text(root / MANIFEST, text + "\n")


def write_table(path: Path, table: pa.Table) -> str:
    """Write a table atomically, with checksums of its pages; returns the sha256 of the file."""
    with replacing(path) as temporary:
        pq.write_table(table, temporary, write_page_checksum=True)
        return file_sha256(temporary)


def read_table(path: Path) -> pa.Table:
    """Read a table and check its pages.

    Raises:
        DataError: If it cannot be read.
    """
    try:
        return pq.read_table(path, page_checksum_verification=True, use_threads=False)
    # Arrow raises errors of a dozen kinds on damaged files; they all mean the same.
    except Exception as error:
        raise DataError(f"{path} cannot be read ({type(error).__name__}: {error}).") from error


def file_sha256(path: Path) -> str:
    """Hex sha256 of a file."""
    state = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            state.update(piece)
    return state.hexdigest()


def content_digest(table: pa.Table) -> str:
    """Digest of the rows of an index: images and labels, not where they lie or what the photos' paths are."""
    state = hashlib.sha256()
    for start in range(0, table.num_rows, 4096):
        columns = table.select(_CONTENT).slice(start, 4096).to_pydict()
        for row in zip(*columns.values(), strict=True):
            state.update(json.dumps(row).encode())
    return state.hexdigest()


def part_table(rows: Sequence[Mapping[str, Any]], facts: Mapping[str, Any]) -> pa.Table:
    """Make the table of one shard; ``facts`` are its size and CRC, kept in the metadata."""
    table = pa.Table.from_pylist([dict(row) for row in rows], schema=PART_SCHEMA)
    return table.replace_schema_metadata({"lineament.shard": json.dumps(dict(facts))})


def part_facts(table: pa.Table) -> dict[str, Any]:
    """What :func:`part_table` kept; empty where it is damaged."""
    try:
        return dict(json.loads((table.schema.metadata or {})[b"lineament.shard"]))
    except (KeyError, ValueError, TypeError):
        return {}
