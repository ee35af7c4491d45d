"""Ordinary pickles with tensors inside, as StyleGAN2-ADA writes its networks: read whole, never executed."""

from __future__ import annotations

import os
import pickle
import random
import struct
import sys
import types
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lineament.errors import CheckpointError
from lineament.interop.restricted_pickle import Inert
from lineament.interop.torch_file import read_torch_file


def write(path: Path, value: Any, protocol: int = 4) -> Path:
    path.write_bytes(pickle.dumps(value, protocol))
    return path


def example() -> dict[str, Any]:
    base = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    return {
        "a": base,
        "shared": base[1:3],
        "transposed": base.T,
        "half": base.half(),
        "scalar": torch.tensor(3.5),
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "step": 7,
    }


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_reads_tensors_of_a_plain_pickle(tmp_path: Path, protocol: int):
    read = read_torch_file(write(tmp_path / "a.pkl", example(), protocol), plain=True)
    assert read.foreign == ()
    for key, value in example().items():
        if isinstance(value, torch.Tensor):
            assert read.data[key].dtype == value.dtype
            assert torch.equal(read.data[key], value.detach()), key
        else:
            assert read.data[key] == value


@pytest.mark.parametrize("zipped", [True, False])
def test_files_of_torch_save_are_read_too(tmp_path: Path, zipped: bool):
    torch.save(example(), tmp_path / "a.pkl", _use_new_zipfile_serialization=zipped)
    read = read_torch_file(tmp_path / "a.pkl", plain=True)
    assert torch.equal(read.data["transposed"], example()["transposed"])


def test_plain_pickles_are_refused_where_they_are_not_asked_for(tmp_path: Path):
    with pytest.raises(CheckpointError, match="does not begin like a file of torch"):
        read_torch_file(write(tmp_path / "a.pkl", example()))


def test_persistent_modules_become_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    module = types.ModuleType("torch_utils.persistence")

    def _reconstruct_persistent_obj(meta: Any) -> None:
        raise AssertionError("executed")

    _reconstruct_persistent_obj.__module__ = "torch_utils.persistence"
    _reconstruct_persistent_obj.__qualname__ = "_reconstruct_persistent_obj"
    module._reconstruct_persistent_obj = _reconstruct_persistent_obj  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch_utils", types.ModuleType("torch_utils"))
    monkeypatch.setitem(sys.modules, "torch_utils.persistence", module)

    class Persistent:
        def __reduce__(self) -> tuple[Callable[..., None], tuple[Any]]:
            state = {"_parameters": OrderedDict(weight=torch.nn.Parameter(torch.ones(3)))}
            source = "raise SystemExit('executed')"
            return _reconstruct_persistent_obj, ({"type": "class", "module_src": source, "state": state},)

    read = read_torch_file(write(tmp_path / "a.pkl", {"G_ema": Persistent()}), plain=True)
    record = read.data["G_ema"]
    assert isinstance(record, Inert)
    assert record.foreign_name == "torch_utils.persistence._reconstruct_persistent_obj"
    assert torch.equal(record.arguments[0]["state"]["_parameters"]["weight"], torch.ones(3))


class Call:
    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


def hostile(kind: str, marker: Path) -> bytes:
    command = Call(os.system, f"touch {marker}")
    if kind == "reduce":
        return pickle.dumps({"G_ema": command})
    if kind == "nested":
        return pickle.dumps([{"a": [({"b": command},)]}])
    if kind == "in a storage":
        inner = pickle.dumps(command)
        return pickle.dumps(
            {"w": Call(torch._utils._rebuild_tensor_v2, saved(inner), 0, (1,), (1,), False, {})}
        )
    if kind == "stream in a storage":
        head = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}, command, []]
        inner = b"".join(pickle.dumps(part, 2) for part in head)
        return pickle.dumps(
            {"w": Call(torch._utils._rebuild_tensor_v2, saved(inner), 0, (1,), (1,), False, {})}
        )
    if kind == "persistent":
        return b"\x80\x04X\x01\x00\x00\x00aQ."
    if kind == "allocation":
        return b"\x80\x02}" + b"r" + struct.pack("<I", 2**32 - 2) + b"."
    if kind == "long bytes":
        return b"\x80\x04\x8e" + struct.pack("<Q", 2**60) + b"abc."
    if kind == "recursion":
        return b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b"."
    raise AssertionError(kind)


def saved(data: bytes) -> Call:
    return Call(torch.storage._load_from_bytes, data)


RUNS_NOTHING = ("reduce", "nested")


@pytest.mark.parametrize(
    "kind",
    [
        *RUNS_NOTHING,
        "in a storage",
        "stream in a storage",
        "persistent",
        "allocation",
        "long bytes",
        "recursion",
    ],
)
def test_hostile_pickles_run_nothing(tmp_path: Path, kind: str):
    marker, path = tmp_path / "ran", tmp_path / "hostile.pkl"
    path.write_bytes(hostile(kind, marker))
    try:
        read = read_torch_file(path, plain=True)
    except CheckpointError as error:
        assert str(path) in str(error)
        assert kind not in RUNS_NOTHING
    else:
        assert kind in RUNS_NOTHING
        assert any(name.endswith("system") for name in read.foreign)
    assert not marker.exists()


def test_a_tensor_larger_than_its_bytes_is_refused(tmp_path: Path):
    storage = torch.zeros(4).untyped_storage()
    typed = torch.storage.TypedStorage(wrap_storage=storage, dtype=torch.float32, _internal=True)
    value = Call(torch._utils._rebuild_tensor_v2, typed, 0, (5,), (1,), False, OrderedDict())
    with pytest.raises(CheckpointError, match="reaches past its 4 values"):
        read_torch_file(write(tmp_path / "a.pkl", {"w": value}), plain=True)


def test_truncations_and_additions_are_refused(tmp_path: Path):
    data = pickle.dumps(example(), 4)
    path = tmp_path / "cut.pkl"
    rng = random.Random(0)
    for length in [0, 1, 2, *(rng.randrange(len(data)) for _ in range(200))]:
        path.write_bytes(data[:length])
        with pytest.raises(CheckpointError):
            read_torch_file(path, plain=True)
    path.write_bytes(data + b"x")
    with pytest.raises(CheckpointError, match="bytes follow the end"):
        read_torch_file(path, plain=True)
