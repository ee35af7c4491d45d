"""Shards: what is written is read back at random, also by other tools, and nothing damaged is taken for whole."""

from __future__ import annotations

import pickle
import tarfile
import tempfile
from multiprocessing import get_context
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lineament.data import shards as module
from lineament.data.shards import ShardFiles, Slot, file_crc, shard_name, writing_shard
from lineament.errors import DataError

NAMES = st.text(
    st.characters(blacklist_characters="\0/", blacklist_categories=("Cs",)), min_size=1, max_size=120
)


@settings(max_examples=40, deadline=None)
@given(
    files=st.dictionaries(NAMES.filter(lambda n: n not in (".", "..")), st.binary(max_size=2000), max_size=6)
)
def test_round_trip(files: dict[str, bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / shard_name(0)
        with writing_shard(path) as shard:
            slots = {name: shard.add(name, data) for name, data in files.items()}
        assert (path.stat().st_size, file_crc(path)) == (shard.size, shard.crc)
        reader = ShardFiles(Path(folder), "mend it")
        assert {name: reader.read(0, slot, name) for name, slot in slots.items()} == files
        with tarfile.open(path) as archive:
            found = {info.name: archive.extractfile(info).read() for info in archive}  # type: ignore[union-attr]
        assert found == {name.rstrip("/"): data for name, data in files.items()}


def shard(folder: Path, number: int, *pieces: bytes) -> list[Slot]:
    with writing_shard(folder / shard_name(number)) as writer:
        return [writer.add(f"{place}.png", data) for place, data in enumerate(pieces)]


def test_any_flipped_bit_of_a_picture_is_noticed(tmp_path: Path) -> None:
    (slot,) = shard(tmp_path, 0, bytes(range(200)))
    path = tmp_path / shard_name(0)
    whole = path.read_bytes()
    for bit in range(0, 8 * slot.length, 13):
        data = bytearray(whole)
        data[slot.offset + bit // 8] ^= 1 << bit % 8
        path.write_bytes(data)
        with pytest.raises(DataError, match=r"shard-00000\.tar is damaged: the bytes of 'x' .*; mend it\.$"):
            ShardFiles(tmp_path, "mend it").read(0, slot, "x")
    path.write_bytes(whole[: slot.offset + 10])
    with pytest.raises(DataError, match=r"cut short: of 'x', 200 bytes, 10 are there; mend it\.$"):
        ShardFiles(tmp_path, "mend it").read(0, slot, "x")
    path.unlink()
    with pytest.raises(DataError, match=r"cannot be read \(No such file or directory\): mend it\.$"):
        ShardFiles(tmp_path, "mend it").read(0, slot, "x")


def test_an_error_leaves_the_older_shard(tmp_path: Path) -> None:
    (slot,) = shard(tmp_path, 0, b"old")
    with pytest.raises(KeyError), writing_shard(tmp_path / shard_name(0)) as writer:
        writer.add("x", b"new")
        raise KeyError
    assert ShardFiles(tmp_path, "").read(0, slot, "x") == b"old"
    assert [path.name for path in tmp_path.iterdir()] == [shard_name(0)]


def test_few_files_are_open_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_OPEN", 3)
    slots = {number: shard(tmp_path, number, b"%d" % number)[0] for number in range(8)}
    reader = ShardFiles(tmp_path, "")
    for _ in range(2):
        assert [reader.read(number, slot, "x") for number, slot in slots.items()] == [
            b"%d" % number for number in range(8)
        ]
    assert len(reader._files) == 3


def _answer(reader: ShardFiles, slots: list[Slot], results: object) -> None:
    results.put([reader.read(0, slot, "x") for slot in slots])  # type: ignore[attr-defined]


def test_open_shards_survive_new_processes(tmp_path: Path) -> None:
    slots = shard(tmp_path, 0, *(bytes([value]) * 500 for value in range(20)))
    reader = ShardFiles(tmp_path, "")
    assert reader.read(0, slots[3], "x") == bytes([3]) * 500
    assert pickle.loads(pickle.dumps(reader)).read(0, slots[4], "x") == bytes([4]) * 500
    context = get_context("fork")
    results = context.SimpleQueue()
    process = context.Process(target=_answer, args=(reader, slots, results))
    process.start()
    here = [reader.read(0, slot, "x") for slot in reversed(slots)]
    assert results.get() == here[::-1]
    process.join()
