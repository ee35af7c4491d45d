import io
import os
import pickle
import random

import numpy as np
import pytest

from lineament.errors import CheckpointError
from lineament.interop.numpy_pickle import load_arrays

joblib_pickle = pytest.importorskip("joblib.numpy_pickle")


def dumped(value: object) -> bytes:
    stream = io.BytesIO()
    joblib_pickle.NumpyPickler(stream, protocol=4).dump(value)
    return stream.getvalue()


ARRAYS = [
    np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    np.asfortranarray(np.random.default_rng(0).normal(size=(5, 7))),
    np.array([1, 2, 3], dtype=">i4"),
    np.zeros((0, 3), dtype=np.uint8),
    np.array([True, False]),
]


def test_reads_what_joblib_wrote() -> None:
    for given, read in zip(ARRAYS, load_arrays(dumped(ARRAYS)), strict=True):
        assert read.dtype == given.dtype
        assert np.array_equal(read, given)


def test_reads_containers() -> None:
    value = {"weights": (ARRAYS[0], [1, 2.5, None, True, "name"]), "empty": {}}
    read = load_arrays(dumped(value))
    assert np.array_equal(read["weights"][0], ARRAYS[0])
    assert read["weights"][1] == [1, 2.5, None, True, "name"]


def test_one_array_twice_is_one_array() -> None:
    first, second = load_arrays(dumped([ARRAYS[0], ARRAYS[0]]))
    assert np.array_equal(first, second)


class Shell:
    def __reduce__(self):  # type: ignore[no-untyped-def]
        return os.system, ("touch hostile-was-here",)


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("value", [Shell(), [Shell()], {"a": (1, [Shell()])}])
def test_nothing_runs(protocol: int, value: object, tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match=r"weights\.lz4"):
        load_arrays(pickle.dumps(value, protocol=protocol), "weights.lz4")
    assert not (tmp_path / "hostile-was-here").exists()


def test_object_arrays_are_refused() -> None:
    with pytest.raises(CheckpointError):
        load_arrays(dumped([np.array([Shell(), None], dtype=object)]))


def test_huge_arrays_are_refused_before_memory_is_taken() -> None:
    data = dumped(np.zeros((3, 4), dtype=np.float64))
    with pytest.raises(CheckpointError, match="longer than the file"):
        load_arrays(data.replace(b"K\x03K\x04\x86", b"J\xff\xff\xff\x7fK\x04\x86"))


def test_every_truncation_is_refused() -> None:
    data = dumped(ARRAYS)
    for length in range(len(data)):
        with pytest.raises(CheckpointError):
            load_arrays(data[:length])


def test_random_damage_gives_arrays_or_one_error() -> None:
    data = dumped(ARRAYS[:2])
    draw = random.Random(0)
    refused = 0
    for _ in range(400):
        damaged = bytearray(data)
        damaged[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        try:
            load_arrays(bytes(damaged))
        except CheckpointError:
            refused += 1
    assert 0 < refused < 400
