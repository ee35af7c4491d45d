"""Records of the old stream form, written by hand: modules with source, views, every storage, byte orders."""

from __future__ import annotations

import io
import pickle
import sys
import types
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lineament.errors import CheckpointError
from lineament.interop.restricted_pickle import Inert
from lineament.interop.torch_file import read_torch_file

MAGIC = 0x1950A86A20F9469CFC6C


class Stored:
    """A tensor as old files rebuild it: a persistent id, offset, size and strides."""

    def __init__(self, pid: tuple[Any, ...], offset: int, shape: Any, stride: Any) -> None:
        self.pid, self.view = pid, (offset, shape, stride)


class Writer(pickle.Pickler):
    """Pickles :class:`Stored` and, as torch before 1.6 did, modules together with their source."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, protocol=2)
        self.told: set[type] = set()

    def persistent_id(self, obj: Any) -> Any:
        if isinstance(obj, Place):
            return obj.pid
        if isinstance(obj, type) and issubclass(obj, torch.nn.Module) and obj not in self.told:
            self.told.add(obj)
            return ("module", obj, "model.py", "class Net(nn.Module): ...")
        return None

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, Stored):
            arguments = (Place(obj.pid), *obj.view, False, OrderedDict())
            return torch._utils._rebuild_tensor_v2, arguments
        return NotImplemented


class Place:
    def __init__(self, pid: tuple[Any, ...]) -> None:
        self.pid = pid


def body(value: Any) -> bytes:
    file = io.BytesIO()
    Writer(file).dump(value)
    return file.getvalue()


def write(path: Path, value: Any, storages: dict[str, np.ndarray], little: bool = True) -> Path:
    parts = [pickle.dumps(part, 2) for part in (MAGIC, 1001, {"little_endian": little})]
    parts += [body(value), pickle.dumps(sorted(storages), 2)]
    for key in sorted(storages):
        parts += [len(storages[key]).to_bytes(8, "little"), storages[key].tobytes()]
    path.write_bytes(b"".join(parts))
    return path


def pid(kind: Any, key: str, count: int, view: Any = None) -> tuple[Any, ...]:
    return ("storage", kind, key, "cpu", count, view)


def test_a_module_saved_with_its_source_becomes_a_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    module = types.ModuleType("model")

    class Net(torch.nn.Module):
        pass

    Net.__module__, Net.__qualname__ = "model", "Net"
    module.Net = Net  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "model", module)
    numbers = np.arange(6, dtype=np.float32)
    net = Net()
    net.__dict__["_parameters"] = {"w": Stored(pid(torch.FloatStorage, "0", 6), 0, (2, 3), (3, 1))}
    path = write(tmp_path / "old.pth", {"net": net, "again": [Net]}, {"0": numbers})
    monkeypatch.delitem(sys.modules, "model")
    read = read_torch_file(path)
    found = read.data["net"]
    assert isinstance(found, Inert) and found.foreign_name == "model.Net"
    assert torch.equal(found.state["_parameters"]["w"], torch.arange(6.0).view(2, 3))
    assert "model.Net" in read.foreign


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        ("DoubleStorage", np.float64),
        ("FloatStorage", np.float32),
        ("HalfStorage", np.float16),
        ("LongStorage", np.int64),
        ("IntStorage", np.int32),
        ("ShortStorage", np.int16),
        ("CharStorage", np.int8),
        ("ByteStorage", np.uint8),
        ("BoolStorage", np.bool_),
    ],
)
def test_every_storage_has_its_type(tmp_path: Path, kind: str, dtype: type):
    numbers = np.array([0, 1, 3, 100, 0, 7]).astype(dtype)
    stored = Stored(pid(getattr(torch, kind), "0", 6), 0, (3, 2), (2, 1))
    read = read_torch_file(write(tmp_path / "old.pth", {"w": stored}, {"0": numbers}))
    assert torch.equal(read.data["w"], torch.from_numpy(numbers).view(3, 2))


def test_a_view_of_a_storage_begins_at_its_offset(tmp_path: Path):
    numbers = np.arange(10, dtype=np.float32)
    view = Stored(pid(torch.FloatStorage, "0", 10, ("a", 4, 3)), 1, (2,), (1,))
    whole = Stored(pid(torch.FloatStorage, "0", 10), 7, (3,), (1,))
    read = read_torch_file(write(tmp_path / "old.pth", {"view": view, "whole": whole}, {"0": numbers}))
    # Three numbers from the fifth on, of which the second and third.
    assert read.data["view"].tolist() == [5.0, 6.0]
    # Up to the very last number of the storage.
    assert read.data["whole"].tolist() == [7.0, 8.0, 9.0]


@pytest.mark.parametrize(
    ("view", "said"),
    [
        ((8, (3,), (1,)), "reaches past"),
        ((0, (2, 6), (5, 1)), "reaches past"),
        ((0, (2, 3), (0, 1)), "stride 0"),
        ((-1, (2,), (1,)), "impossible shape"),
        ((0, (2, 2), (1,)), "impossible shape"),
    ],
)
def test_views_that_leave_or_repeat_their_storage_are_refused(tmp_path: Path, view: Any, said: str):
    stored = Stored(pid(torch.FloatStorage, "0", 10), *view)
    path = write(tmp_path / "old.pth", {"w": stored}, {"0": np.zeros(10, np.float32)})
    with pytest.raises(CheckpointError, match=said):
        read_torch_file(path)


def test_one_past_the_end_is_past_the_end(tmp_path: Path):
    stored = Stored(pid(torch.FloatStorage, "0", 10), 1, (10,), (1,))
    with pytest.raises(CheckpointError, match="reaches past its 10 values"):
        read_torch_file(write(tmp_path / "old.pth", {"w": stored}, {"0": np.zeros(10, np.float32)}))


def test_an_empty_storage_and_a_stride_of_one_row(tmp_path: Path):
    empty = Stored(pid(torch.FloatStorage, "0", 0), 0, (0, 3), (3, 1))
    # A dimension of one may have any stride, 0 too: torch writes such tensors itself.
    row = Stored(pid(torch.FloatStorage, "1", 3), 0, (1, 3), (0, 1))
    storages = {"0": np.zeros(0, np.float32), "1": np.arange(3, dtype=np.float32)}
    read = read_torch_file(write(tmp_path / "old.pth", {"empty": empty, "row": row}, storages))
    assert read.data["empty"].shape == (0, 3)
    assert read.data["row"].tolist() == [[0.0, 1.0, 2.0]]


def test_files_of_big_endian_machines_are_refused(tmp_path: Path):
    stored = Stored(pid(torch.FloatStorage, "0", 2), 0, (2,), (1,))
    path = write(tmp_path / "old.pth", {"w": stored}, {"0": np.ones(2, np.float32)}, little=False)
    with pytest.raises(CheckpointError, match="big-endian"):
        read_torch_file(path)
    zipped = tmp_path / "new.pth"
    torch.save({"w": torch.ones(2)}, zipped)
    with zipfile.ZipFile(zipped) as archive:
        parts = {info.filename: archive.read(info) for info in archive.infolist()}
    (order,) = [name for name in parts if name.endswith("byteorder")]
    with zipfile.ZipFile(zipped, "w") as archive:
        for name, data in parts.items():
            archive.writestr(name, b"big" if name == order else data)
    with pytest.raises(CheckpointError, match="big-endian"):
        read_torch_file(zipped)


def test_compressed_parts_are_refused(tmp_path: Path):
    path = tmp_path / "new.pth"
    torch.save({"w": torch.zeros(1000)}, path)
    with zipfile.ZipFile(path) as archive:
        parts = {info.filename: archive.read(info) for info in archive.infolist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    with pytest.raises(CheckpointError, match="compressed"):
        read_torch_file(path)
