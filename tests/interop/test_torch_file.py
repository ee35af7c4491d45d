"""Foreign checkpoints: read whole, never executed, never silently damaged."""

from __future__ import annotations

import argparse
import io
import os
import pathlib
import pickle
import random
import struct
import sys
import types
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch

from lineament.errors import CheckpointError
from lineament.interop.restricted_pickle import Inert
from lineament.interop.torch_file import read_torch_file


@pytest.fixture
def foreign_config(monkeypatch: pytest.MonkeyPatch) -> type:
    """A class that exists while the file is written and is gone when it is read."""
    module = types.ModuleType("parse_config")

    class ConfigParser:
        def __init__(self) -> None:
            self._config = OrderedDict(arch={"type": "SmallNet"}, lr=1e-3)
            self.save_dir = pathlib.PurePosixPath("saved/models")
            self.args = argparse.Namespace(resume=None)

    ConfigParser.__module__ = "parse_config"
    ConfigParser.__qualname__ = "ConfigParser"
    module.ConfigParser = ConfigParser  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "parse_config", module)
    return ConfigParser


def example() -> dict[str, object]:
    generator = torch.Generator().manual_seed(0)
    base = torch.randn(6, 4, generator=generator)
    return {
        "state_dict": OrderedDict(
            a=base,
            shared=base[1:3],
            transposed=base.T,
            half=base.half(),
            bfloat=base.bfloat16(),
            long=torch.arange(5),
            flag=torch.tensor([True, False]),
            scalar=torch.tensor(3.5),
            empty=torch.zeros(0, 3),
            parameter=torch.nn.Parameter(torch.ones(2)),
        ),
        "epoch": 7,
        "best": np.float64(0.25),
        "array": np.arange(6, dtype=np.float32).reshape(2, 3),
        "names": ("x", ["y", None], {1, 2}),
    }


def check_equal(read: object, wanted: object) -> None:
    if isinstance(wanted, torch.Tensor):
        assert isinstance(read, torch.Tensor)
        assert read.dtype == wanted.dtype
        torch.testing.assert_close(read, wanted.detach(), rtol=0, atol=0)
    elif isinstance(wanted, np.ndarray):
        np.testing.assert_array_equal(np.asarray(read), wanted)
    elif isinstance(wanted, dict):
        assert isinstance(read, dict)
        assert list(read) == list(wanted)
        for key, value in wanted.items():
            check_equal(read[key], value)
    else:
        assert read == wanted


@pytest.mark.parametrize("zipped", [True, False])
def test_reads_what_torch_saved(tmp_path: Path, zipped: bool):
    path = tmp_path / "old.pth"
    torch.save(example(), path, _use_new_zipfile_serialization=zipped)
    read = read_torch_file(path)
    check_equal(read.data, example())
    assert read.foreign == ()


@pytest.mark.parametrize("zipped", [True, False])
def test_foreign_classes_become_inert_records(tmp_path: Path, zipped: bool, foreign_config: type):
    path = tmp_path / "old.pth"
    torch.save({"config": foreign_config(), "w": torch.ones(2)}, path, _use_new_zipfile_serialization=zipped)
    del sys.modules["parse_config"]
    read = read_torch_file(path)
    config = read.data["config"]
    assert isinstance(config, Inert)
    assert config.foreign_name == "parse_config.ConfigParser"
    assert config.state["_config"]["arch"] == {"type": "SmallNet"}
    assert "parse_config.ConfigParser" in read.foreign
    assert torch.equal(read.data["w"], torch.ones(2))


class Shell:
    """Runs a command when it is unpickled by an ordinary reader."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.marker}",)


def pickled(value: object, **persistent: object) -> bytes:
    stream = io.BytesIO()
    pickler = pickle.Pickler(stream, protocol=2)
    if persistent:
        marked = persistent["value"]
        pickler.persistent_id = lambda item: marked if item == "PERSISTENT" else None  # type: ignore[method-assign]
    pickler.dump(value)
    return stream.getvalue()


def hostile(kind: str, marker: Path) -> bytes:
    if kind == "reduce":
        return pickled({"state_dict": Shell(marker)})
    if kind == "nested":
        return pickled([{"a": [({"b": Shell(marker)},)]}])
    if kind == "persistent":

        class Pickler(pickle.Pickler):
            def persistent_id(self, obj: object) -> object:
                return ("storage", Shell(marker), "0", "cpu", 4) if obj == "here" else None

        stream = io.BytesIO()
        Pickler(stream, protocol=2).dump({"w": "here"})
        return stream.getvalue()
    if kind == "allocation":
        # The memo number of LONG_BINPUT alone makes an ordinary reader allocate 60 GB.
        return b"\x80\x02}" + b"r" + struct.pack("<I", 2**32 - 2) + b"."
    if kind == "recursion":
        return b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b"."
    raise AssertionError(kind)


@pytest.mark.parametrize("kind", ["reduce", "nested", "persistent", "allocation", "recursion"])
@pytest.mark.parametrize("form", ["zip", "stream"])
def test_hostile_pickles_run_nothing(tmp_path: Path, kind: str, form: str):
    marker, path = tmp_path / "ran", tmp_path / "hostile.pth"
    body = hostile(kind, marker)
    if form == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", body)
            archive.writestr("archive/data/0", b"\0" * 16)
    else:
        head = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}]
        path.write_bytes(b"".join(pickle.dumps(part, 2) for part in head) + body + pickle.dumps([], 2))
    try:
        read = read_torch_file(path)
    except CheckpointError as error:
        assert str(path) in str(error)
    else:
        assert kind in ("reduce", "nested")
        assert any(name.endswith("system") for name in read.foreign)
    assert not marker.exists()


def test_tensor_larger_than_its_storage_is_refused(tmp_path: Path):
    path = tmp_path / "big.pth"
    torch.save({"w": torch.zeros(4)}, path)
    with zipfile.ZipFile(path) as archive:
        parts = {info.filename: archive.read(info) for info in archive.infolist()}
    head = next(name for name in parts if name.endswith("data.pkl"))
    # In protocol 2 the storage's count and the tensor's length are both the byte 4 after BININT1.
    parts[head] = parts[head].replace(b"K\x04", b"K\xff")
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    with pytest.raises(CheckpointError, match="declares"):
        read_torch_file(path)


@pytest.mark.parametrize("zipped", [True, False])
def test_truncations_are_refused(tmp_path: Path, zipped: bool):
    whole = tmp_path / "whole.pth"
    torch.save(example(), whole, _use_new_zipfile_serialization=zipped)
    data = whole.read_bytes()
    rng = random.Random(0)
    path = tmp_path / "cut.pth"
    for _ in range(200):
        path.write_bytes(data[: rng.randrange(len(data))])
        with pytest.raises(CheckpointError):
            read_torch_file(path)


def test_missing_and_other_files(tmp_path: Path):
    with pytest.raises(CheckpointError, match="no such file"):
        read_torch_file(tmp_path / "none.pth")
    text = tmp_path / "text.pth"
    text.write_text("hello")
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_torch_file(text)
