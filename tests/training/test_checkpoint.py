"""Checkpoints: what goes in comes out, all of it or nothing, and no damage passes."""

from __future__ import annotations

import json
import math
import os
import random
import resource
import shutil
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lineament.errors import CheckpointError
from lineament.training import checkpoint as module
from lineament.training.checkpoint import (
    Checkpoint,
    checkpoint_steps,
    newest_checkpoint,
    prune_checkpoints,
    read_checkpoint,
    save_checkpoint,
)
from lineament.training.tree import flatten, unflatten


def small(step: int, size: int = 5) -> Checkpoint:
    weights = {"net/w": torch.full((size,), float(step)), "net/count": torch.tensor(step)}
    state = {
        "optimisers": {
            "net": {"state": {0: {"step": torch.tensor(3.0)}}, "groups": [{"lr": 0.1, "b": (0.9, 0.99)}]}
        }
    }
    return Checkpoint(step, {"networks": weights}, {**state, "best": None})


def assert_is(found: Checkpoint | None, step: int) -> None:
    assert found is not None
    assert found.step == step
    assert torch.equal(
        found.groups["networks"]["net/w"],
        small(step, len(found.groups["networks"]["net/w"])).groups["networks"]["net/w"],
    )


def test_round_trip(tmp_path: Path):
    tied = torch.randn(3, 4)
    groups = {"networks": {"a": tied, "b": tied, "c": tied.t(), "half": torch.ones(2, dtype=torch.bfloat16)}}
    state = {
        "rng": torch.get_rng_state(),
        "best": {"value": 0.1, "step": 3},
        "numbers": [math.inf, -0.0, 1e-300],
    }
    found = read_checkpoint(save_checkpoint(tmp_path, Checkpoint(7, groups, state)))
    for key, value in groups["networks"].items():
        assert found.groups["networks"][key].dtype == value.dtype
        assert torch.equal(found.groups["networks"][key], value)
    assert torch.equal(found.state["rng"], state["rng"])
    assert found.state["numbers"] == state["numbers"]
    assert found.state["best"] == state["best"]


plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
nested = st.recursive(
    plain,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(
            st.integers() | st.text(max_size=3) | st.sampled_from(["tensor", "list", "dict"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=10,
)


@given(nested)
@settings(max_examples=40, deadline=None)
def test_any_nested_state_survives_json(value: Any):
    tensors: dict[str, Tensor] = {}
    text = json.dumps(flatten(value, tensors, "state"))
    found = unflatten(json.loads(text), tensors)
    assert found == value
    assert repr(found) == repr(value)


def test_arrays_and_tensors_in_state_survive():
    tensors: dict[str, Tensor] = {}
    value = {"a": np.arange(4, dtype=np.uint32), 3: (torch.arange(2), [np.float64(0.1)])}
    found = unflatten(json.loads(json.dumps(flatten(value, tensors, "s"))), tensors)
    assert found["a"].dtype == np.uint32
    assert found["a"].tolist() == [0, 1, 2, 3]
    assert found[3][0].tolist() == [0, 1]
    assert found[3][1] == [0.1]


def test_what_cannot_be_stored_is_named():
    with pytest.raises(CheckpointError, match=r"state\.hook of type function"):
        flatten({"hook": lambda: None}, {}, "state")


def test_a_thousand_bit_flips_are_all_noticed(tmp_path: Path):
    path = save_checkpoint(tmp_path, small(1))
    files = sorted(path.iterdir())
    assert len(files) == 4
    chance = random.Random(0)
    originals = {file: file.read_bytes() for file in files}
    for _ in range(1000):
        file = chance.choice(files)
        data = bytearray(originals[file])
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        file.write_bytes(bytes(data))
        with pytest.raises(CheckpointError):
            read_checkpoint(path)
        file.write_bytes(originals[file])
    assert_is(read_checkpoint(path), 1)


def test_every_byte_of_the_manifest_counts(tmp_path: Path):
    path = save_checkpoint(tmp_path, small(1)) / "manifest.json"
    original = path.read_bytes()
    for position in range(len(original)):
        data = bytearray(original)
        data[position] ^= 1 << (position % 8)
        path.write_bytes(bytes(data))
        with pytest.raises(CheckpointError):
            module._read_manifest(path.parent)


def test_truncations_and_missing_files_are_all_refused(tmp_path: Path):
    path = save_checkpoint(tmp_path, small(1))
    chance = random.Random(1)
    for file in sorted(path.iterdir()):
        original = file.read_bytes()
        for length in [0, 1, len(original) - 1, *(chance.randrange(len(original)) for _ in range(97))]:
            file.write_bytes(original[:length])
            with pytest.raises(CheckpointError):
                read_checkpoint(path)
        file.unlink()
        with pytest.raises(CheckpointError, match=file.name):
            read_checkpoint(path)
        file.write_bytes(original)


def test_files_of_two_checkpoints_do_not_mix(tmp_path: Path):
    first, second = (save_checkpoint(tmp_path, small(step)) for step in (1, 2))
    shutil.copy(first / "networks.safetensors", second / "networks.safetensors")
    with pytest.raises(CheckpointError, match="sha256"):
        read_checkpoint(second)


def test_another_format_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "FORMAT", 99)
    path = save_checkpoint(tmp_path, small(1))
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match="format 99"):
        read_checkpoint(path)


def test_saving_a_step_again_replaces_it(tmp_path: Path):
    path = save_checkpoint(tmp_path, small(1))
    (path / "state.json").write_bytes(b"damaged")
    save_checkpoint(tmp_path, small(1, size=9))
    assert read_checkpoint(path).groups["networks"]["net/w"].shape == (9,)
    prune_checkpoints(tmp_path, [1])
    assert [child.name for child in tmp_path.iterdir()] == ["00000001"]


def test_pruning_keeps_what_it_is_told(tmp_path: Path):
    for step in (1, 2, 3, 4):
        save_checkpoint(tmp_path, small(step))
    # What a killed save leaves behind; another program's file is not ours to remove.
    (tmp_path / ".00000005.abcd1234.tmp").mkdir()
    (tmp_path / ".00000005.abcd1234.tmp" / "networks.safetensors").write_bytes(b"half")
    prune_checkpoints(tmp_path, [2, 4])
    assert checkpoint_steps(tmp_path) == [2, 4]
    assert len(list(tmp_path.iterdir())) == 2


class Killed(BaseException):
    """Stands for a kill: no `except OSError` and no cleaning up may see it."""


@pytest.mark.parametrize("torn", [False, True], ids=["before", "half-written"])
def test_a_kill_at_every_single_operation_leaves_a_whole_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, torn: bool
):
    """Enumerates the crash points that the random kills of test_kill.py only sample."""
    killed_at = 0
    write = module.write_new
    for crash in range(1, 60):
        folder = tmp_path / str(crash)
        for step in (1, 2):
            save_checkpoint(folder, small(step))
        done = 0

        def counted(original: Any, crash: int = crash) -> Any:
            def operation(*args: Any, **kwargs: Any) -> Any:
                nonlocal done
                done += 1
                if done == crash:
                    if torn and original is write:
                        args[0].write_bytes(args[1][: len(args[1]) // 2])
                    raise Killed
                return original(*args, **kwargs)

            return operation

        with monkeypatch.context() as patch:
            patch.setattr(module, "write_new", counted(write))
            patch.setattr(module, "flush", counted(module.flush))
            patch.setattr(Path, "replace", counted(Path.replace))
            patch.setattr(Path, "mkdir", counted(Path.mkdir))
            patch.setattr(module.shutil, "rmtree", counted(shutil.rmtree))
            try:
                save_checkpoint(folder, small(3))
                prune_checkpoints(folder, [2, 3])
            except Killed:
                killed_at = crash
        found = newest_checkpoint(folder)
        assert found is not None
        assert_is(found, found.step)
        assert found.step in (2, 3)
        assert 2 in checkpoint_steps(folder)
        if killed_at != crash:
            break
    # Four files, two flushes, one rename, two folders, and the removal of step 1.
    assert killed_at >= 10


def test_a_full_disk_leaves_the_old_checkpoint_and_says_so(tmp_path: Path):
    save_checkpoint(tmp_path, small(1, size=10_000))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(CheckpointError) as caught:
            save_checkpoint(tmp_path, small(2, size=10_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    message = str(caught.value)
    assert "File too large" in message
    assert "free some space" in message
    assert message.count("\n") == 0
    assert [child.name for child in tmp_path.iterdir()] == ["00000001"]
    assert_is(newest_checkpoint(tmp_path), 1)


def test_a_folder_that_cannot_be_written_gives_one_sentence():
    """Real permissions: root may write anywhere, so a child process gives up its rights first."""
    # Not tmp_path: its parents are closed to other users.
    folder = Path(os.path.realpath(os.environ.get("TMPDIR", "/tmp"))) / f"lineament-read-only-{os.getpid()}"
    folder.mkdir()
    reader, writer = os.pipe()
    try:
        save_checkpoint(folder, small(1))
        folder.chmod(stat.S_IRUSR | stat.S_IXUSR | stat.S_IROTH | stat.S_IXOTH)
        child = os.fork()
        if child == 0:
            if os.geteuid() == 0:
                os.setuid(65534)
            try:
                save_checkpoint(folder, small(2))
                os.write(writer, b"it was written")
            except CheckpointError as error:
                os.write(writer, str(error).encode())
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        message = os.read(reader, 4000).decode()
        assert message.startswith(f"cannot write the checkpoint {folder}/00000002: Permission denied")
        assert "choose another" in message
        assert_is(newest_checkpoint(folder), 1)
    finally:
        os.close(reader)
        os.close(writer)
        folder.chmod(0o700)
        shutil.rmtree(folder)


def test_a_file_in_the_place_of_the_folder_gives_one_sentence(tmp_path: Path):
    (tmp_path / "checkpoints").write_text("a file")
    with pytest.raises(CheckpointError, match="cannot write the checkpoint"):
        save_checkpoint(tmp_path / "checkpoints", small(1))
    assert (tmp_path / "checkpoints").read_text() == "a file"
