"""Reads files that ``torch.save`` wrote, of any age, whatever classes they mention, without running anything.

Three forms are known: the zip archive (torch 1.6 and later), the older stream of pickles, and, where it is asked for, a
plain pickle in which each storage is such a stream. Tensors are built with every bound checked; other classes become
:class:`~lineament.interop.restricted_pickle.Inert` records.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lineament.errors import CheckpointError
from lineament.interop.restricted_pickle import (
    Deferred,
    RestrictedUnpickler,
    pickle_length,
    resolve,
    unpickle,
)

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
# The pickle of that number, with which older streams begin.
_STREAM_HEAD = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
_STORAGE_DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
_DTYPES = ("float16", "float32", "float64", "bfloat16", "int8", "int16", "int32", "int64", "uint8", "bool")


@dataclass(frozen=True)
class TorchFile:
    """What a foreign checkpoint holds.

    Attributes:
        data: The stored object: tensors, numbers, text, containers, inert records.
        foreign: ``module.Class`` names that the file mentions and that were not built.
    """

    data: Any
    foreign: tuple[str, ...]


@dataclass(frozen=True)
class _StorageType:
    dtype: torch.dtype


@dataclass
class _Storage(Deferred):
    key: str
    dtype: torch.dtype
    count: int
    offset: int
    read: Callable[[str], bytes]

    def build(self, resolve_one: Callable[[Any], Any]) -> Tensor:
        data = self.read(self.key)
        size = self.dtype.itemsize
        if self.offset < 0 or self.count < 0 or len(data) < (self.offset + self.count) * size:
            raise CheckpointError(
                f"storage {self.key} has {len(data)} bytes, fewer than the {self.count * size} it declares."
            )
        if not self.count:
            return torch.empty(0, dtype=self.dtype)
        # Not a slice of the whole: strides of tensors count from where a tensor's memory begins.
        return torch.frombuffer(
            bytearray(data), dtype=self.dtype, count=self.count, offset=self.offset * size
        )


class _SavedStorage(Deferred):
    """A storage that a plain pickle holds as the bytes of a file of its own."""

    def __init__(self, data: Any = b"", *_: Any) -> None:
        self.data = data

    def build(self, resolve_one: Callable[[Any], Any]) -> Tensor:
        if not isinstance(self.data, bytes | bytearray):
            raise CheckpointError("a stored tensor has no bytes.")
        flat = _read_stream(bytes(self.data)).data
        if not isinstance(flat, Tensor) or flat.ndim != 1:
            raise CheckpointError("the bytes of a stored tensor hold something else than a storage.")
        return flat


class _Tensor(Deferred):
    def __init__(self, storage: Any, offset: int, shape: Any, stride: Any, *_: Any) -> None:
        self.storage, self.offset, self.shape, self.stride = storage, int(offset), tuple(shape), tuple(stride)

    def build(self, resolve_one: Callable[[Any], Any]) -> Tensor:
        if not isinstance(self.storage, _Storage | _SavedStorage):
            raise CheckpointError("a stored tensor has no storage.")
        flat: Tensor = resolve_one(self.storage)
        numbers = (self.offset, *self.shape, *self.stride)
        if not all(isinstance(n, int) and n >= 0 for n in numbers) or len(self.shape) != len(self.stride):
            raise CheckpointError(f"a stored tensor has an impossible shape {self.shape}.")
        last = self.offset + sum((n - 1) * s for n, s in zip(self.shape, self.stride, strict=True))
        if 0 in self.shape:
            return torch.empty(self.shape, dtype=flat.dtype)
        if last >= flat.numel():
            raise CheckpointError(
                f"a stored tensor of shape {self.shape} reaches past its {flat.numel()} values."
            )
        if len(self.shape) and any(s == 0 and n > 1 for n, s in zip(self.shape, self.stride, strict=True)):
            raise CheckpointError(
                f"refused a stored tensor of shape {self.shape} that repeats values by stride 0."
            )
        return torch.as_strided(flat, self.shape, self.stride, self.offset).clone()


class _Parameter(Deferred):
    def __init__(self, tensor: Any, *_: Any) -> None:
        self.tensor = tensor

    def build(self, resolve_one: Callable[[Any], Any]) -> Tensor:
        return resolve_one(self.tensor)


def _builders() -> dict[tuple[str, str], Any]:
    table: dict[tuple[str, str], Any] = {
        ("torch._utils", "_rebuild_tensor"): lambda *a: _Tensor(*a),
        ("torch._utils", "_rebuild_tensor_v2"): lambda *a: _Tensor(*a),
        ("torch._utils", "_rebuild_parameter"): lambda *a: _Parameter(*a),
        ("torch", "Size"): lambda *a: tuple(*a),
    }
    for name, dtype in _STORAGE_DTYPES.items():
        for module in ("torch", "torch.cuda", "torch.storage"):
            table[module, name] = _StorageType(dtype)
    for name in _DTYPES:
        table["torch", name] = getattr(torch, name)
    return table


def _is_module(pid: Any) -> bool:
    """Whether a persistent id is a class of networks with its source, as torch before 1.6 wrote whole networks."""
    return isinstance(pid, tuple) and len(pid) == 4 and pid[0] == "module"


def _storages(read: Callable[[str], bytes]) -> Callable[[Any], Any]:
    known: dict[tuple[str, int, int], _Storage] = {}

    def persistent(pid: Any) -> Any:
        if _is_module(pid):
            return pid[1]
        if not (
            isinstance(pid, tuple)
            and len(pid) >= 5
            and pid[0] == "storage"
            and isinstance(pid[1], _StorageType)
        ):
            raise CheckpointError("refused a persistent id that is not a tensor storage.")
        _, kind, key, _, count, *view = pid
        offset = 0
        if view and view[0] is not None:
            _, offset, count = view[0]
        place = (str(key), int(offset), int(count))
        if place not in known:
            known[place] = _Storage(place[0], kind.dtype, place[2], place[1], read)
        return known[place]

    return persistent


def _load(data: bytes, read: Callable[[str], bytes]) -> Callable[[], TorchFile]:
    unpickler = RestrictedUnpickler(data, _builders(), _storages(read))
    raw = unpickle(unpickler)
    return lambda: TorchFile(resolve(raw), tuple(unpickler.foreign))


def _read_zip(path: Path) -> TorchFile:
    with zipfile.ZipFile(path) as archive:
        entries = {info.filename: info for info in archive.infolist()}
        heads = [name for name in entries if name.endswith("/data.pkl")]
        if len(heads) != 1:
            raise CheckpointError("it is a zip file, but holds no data.pkl.")
        prefix = heads[0][: -len("data.pkl")]

        def read(name: str) -> bytes:
            info = entries.get(prefix + name)
            if info is None:
                raise CheckpointError(f"the archive lacks its part {name}.")
            # torch stores without compression; anything else could expand without bound.
            if info.compress_type != zipfile.ZIP_STORED:
                raise CheckpointError(f"refused the compressed part {name}.")
            return archive.read(info)

        if prefix + "byteorder" in entries and read("byteorder") != b"little":
            raise CheckpointError("it was written on a big-endian machine.")
        head = read("data.pkl")
        pickle_length(head)
        return _load(head, lambda key: read(f"data/{key}"))()


def _read_stream(data: bytes) -> TorchFile:
    place = 0

    def next_pickle() -> bytes:
        nonlocal place
        length = pickle_length(data, place)
        part = data[place : place + length]
        place += length
        return part

    if unpickle(RestrictedUnpickler(next_pickle())) != _LEGACY_MAGIC:
        raise CheckpointError("it does not begin like a file of torch.save.")
    unpickle(RestrictedUnpickler(next_pickle()))  # protocol version
    info = unpickle(RestrictedUnpickler(next_pickle()))
    if isinstance(info, dict) and info.get("little_endian") is False:
        raise CheckpointError("it was written on a big-endian machine.")
    body = next_pickle()
    keys = unpickle(RestrictedUnpickler(next_pickle()))
    sizes: dict[str, torch.dtype] = {}
    parts: dict[str, bytes] = {}
    finish = _load(body, lambda key: parts[key])
    for pid_key, dtype in _storage_dtypes(body).items():
        sizes[pid_key] = dtype
    for key in keys:
        count = int.from_bytes(data[place : place + 8], "little", signed=True)
        length = count * sizes.get(str(key), torch.uint8).itemsize
        if count < 0 or place + 8 + length > len(data):
            raise CheckpointError(f"it ends inside storage {key}.")
        parts[str(key)] = data[place + 8 : place + 8 + length]
        place += 8 + length
    return finish()


def _storage_dtypes(body: bytes) -> dict[str, torch.dtype]:
    found: dict[str, torch.dtype] = {}

    def note(pid: Any) -> Any:
        if isinstance(pid, tuple) and len(pid) >= 5 and isinstance(pid[1], _StorageType):
            found[str(pid[2])] = pid[1].dtype
        return pid[1] if _is_module(pid) else None

    unpickle(RestrictedUnpickler(body, _builders(), note))
    return found


def _read_plain(data: bytes) -> TorchFile:
    if pickle_length(data) != len(data):
        raise CheckpointError("bytes follow the end of its pickle.")
    builders = _builders() | {("torch.storage", "_load_from_bytes"): lambda *a: _SavedStorage(*a)}
    unpickler = RestrictedUnpickler(data, builders)
    return TorchFile(resolve(unpickle(unpickler)), tuple(unpickler.foreign))


def read_torch_file(path: str | Path, *, plain: bool = False) -> TorchFile:
    """Read a file of ``torch.save`` without executing anything from it.

    Args:
        path: A ``.pt``, ``.pth``, ``.pkl``, ``.mdl`` ... file: zip archive or older stream.
        plain: Read an ordinary pickle of objects with tensors too, as StyleGAN2-ADA saves its networks.

    Returns:
        Its contents, tensors on the CPU, and the names of the classes that were left inert.

    Raises:
        CheckpointError: If the file is missing, damaged, cut off, or asks for anything that is refused.
    """
    file = Path(path)
    if not file.is_file():
        raise CheckpointError(f"{file}: no such file: check the path of the checkpoint.")
    try:
        if zipfile.is_zipfile(file):
            return _read_zip(file)
        data = file.read_bytes()
        if data[:4] == b"PK\x03\x04":
            raise CheckpointError("it begins like a zip archive but its end is missing: copy it again.")
        return _read_plain(data) if plain and not data.startswith(_STREAM_HEAD) else _read_stream(data)
    except CheckpointError as error:
        raise CheckpointError(f"{file}: cannot be read as a checkpoint: {error}") from error
    except (zipfile.BadZipFile, EOFError, OSError, NotImplementedError, RuntimeError, ValueError) as error:
        raise CheckpointError(f"{file}: damaged, copy it again ({error}).") from error
