"""Checkpoints that are either whole or not there, and that notice any damage.

A checkpoint is a folder ``checkpoints/<step>/`` of safetensors files, ``state.json`` and ``manifest.json`` with the
sha256 of every file. It is written under a temporary name in the same folder, every file is flushed to the disk, and
only then does the folder get its name. No pickle is written or read.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import shutil
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from lineament.errors import CheckpointError
from lineament.files import flush, write_new
from lineament.training.tree import flatten, unflatten

FORMAT = 1
MANIFEST = "manifest.json"
STATE = "state"
LOG = logging.getLogger(__name__)


@dataclass
class Checkpoint:
    """What one checkpoint holds.

    Attributes:
        step: Optimiser steps done.
        groups: Tensors by file (``"networks"``, ``"ema"``) and name.
        state: Everything else, nested (see ``training/tree.py`` for what may be inside).
    """

    step: int
    groups: dict[str, dict[str, Tensor]]
    state: dict[str, Any]


def step_folder(folder: Path, step: int) -> Path:
    """Return the path of the checkpoint of ``step`` in the folder of all checkpoints."""
    return folder / f"{step:08d}"


def checkpoint_steps(folder: Path) -> list[int]:
    """Return the steps that have a checkpoint, whole or damaged, in rising order."""
    if not folder.is_dir():
        return []
    return sorted(int(child.name) for child in folder.iterdir() if child.name.isdigit() and child.is_dir())


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> Path:
    """Write a checkpoint under ``folder`` so that a kill at any moment leaves the old or the new state.

    Returns:
        The folder of the checkpoint.

    Raises:
        CheckpointError: If it cannot be written (disk full, folder not writable); what was there before is intact.
    """
    final = step_folder(folder, checkpoint.step)
    temporary = folder / f".{final.name}.{uuid.uuid4().hex[:8]}.tmp"
    contents = _serialise(checkpoint)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        temporary.mkdir()
        for name, data in contents.items():
            write_new(temporary / name, data)
        flush(temporary)
        if final.exists():
            _discard(final)
        temporary.replace(final)
        flush(folder)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise CheckpointError(f"cannot write the checkpoint {final}: {_reason(error)}.") from error
    return final


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint folder after checking every byte against its manifest.

    Raises:
        CheckpointError: If anything is missing, damaged, or of another format.
    """
    manifest = _read_manifest(path)
    groups: dict[str, dict[str, Tensor]] = {}
    described: dict[str, Any] = {}
    for name, expected in manifest["files"].items():
        # The bytes that were checked are the bytes that are parsed; nothing is read a second time.
        data = _read_file(path, name)
        found = hashlib.sha256(data).hexdigest()
        if found != expected:
            raise CheckpointError(
                f"the checkpoint {path} is damaged: the sha256 of {name} is {found[:12]} instead of {expected[:12]}; "
                "resume from the one before it."
            )
        if name.endswith(".json"):
            described = json.loads(data)
        else:
            groups[name.removesuffix(".safetensors")] = safetensors.torch.load(data)
    state = unflatten(described, groups.pop(STATE, {}))
    return Checkpoint(int(manifest["step"]), groups, state)


def newest_checkpoint(folder: Path) -> Checkpoint | None:
    """Return the newest whole checkpoint, with a warning for each damaged one that is passed over.

    Returns:
        The checkpoint, or ``None`` where none was ever written.

    Raises:
        CheckpointError: If there are checkpoints but all are damaged.
    """
    problems: list[str] = []
    for step in reversed(checkpoint_steps(folder)):
        try:
            checkpoint = read_checkpoint(step_folder(folder, step))
        except CheckpointError as error:
            problems.append(str(error))
            LOG.warning("warning: %s", error)
            continue
        if problems:
            LOG.warning("warning: going on from step %d.", step)
        return checkpoint
    if problems:
        raise CheckpointError(
            f"all {len(problems)} checkpoints in {folder} are damaged: train again with --overwrite."
        )
    return None


def prune_checkpoints(folder: Path, keep: Iterable[int]) -> None:
    """Remove the checkpoints of all steps but ``keep``, and what an interrupted save left behind."""
    kept = set(keep)
    for step in checkpoint_steps(folder):
        if step not in kept:
            _discard(step_folder(folder, step))
    for leftover in folder.glob(".*.tmp"):
        shutil.rmtree(leftover, ignore_errors=True)


def _serialise(checkpoint: Checkpoint) -> dict[str, bytes]:
    """Return the contents of all files by name, the manifest last."""
    state_tensors: dict[str, Tensor] = {}
    described = flatten(checkpoint.state, state_tensors, STATE)
    groups = {**checkpoint.groups, STATE: state_tensors}
    contents = {
        f"{name}.safetensors": safetensors.torch.save(
            # A clone because safetensors refuses tensors that share memory, as tied weights do.
            {key: tensor.detach().to("cpu", copy=True).contiguous() for key, tensor in tensors.items()}
        )
        for name, tensors in groups.items()
    }
    contents[f"{STATE}.json"] = json.dumps(described).encode()
    body = {
        "format": FORMAT,
        "step": checkpoint.step,
        "files": {name: hashlib.sha256(data).hexdigest() for name, data in sorted(contents.items())},
    }
    contents[MANIFEST] = _manifest_bytes(body)
    return contents


def _manifest_bytes(body: dict[str, Any]) -> bytes:
    plain = json.dumps(body, indent=1, sort_keys=True)
    return json.dumps(
        {**body, "digest": hashlib.sha256(plain.encode()).hexdigest()}, indent=1, sort_keys=True
    ).encode()


def _read_manifest(path: Path) -> dict[str, Any]:
    if not path.is_dir():
        raise CheckpointError(f"there is no checkpoint at {path}: give a folder checkpoints/<step>.")
    data = _read_file(path, MANIFEST)
    damaged = f"the checkpoint {path} is damaged: {MANIFEST} is not what was written; resume from the one before it."
    try:
        manifest = json.loads(data)
        body = {key: manifest[key] for key in ("format", "step", "files")}
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(damaged) from error
    # The manifest is compared byte by byte with what its own content would be written as: its digest covers it.
    if data != _manifest_bytes(body):
        raise CheckpointError(damaged)
    if body["format"] != FORMAT:
        raise CheckpointError(
            f"the checkpoint {path} has format {body['format']}, this version reads {FORMAT}: update lineament."
        )
    return body


def _read_file(path: Path, name: str) -> bytes:
    try:
        return (path / name).read_bytes()
    except OSError as error:
        raise CheckpointError(
            f"the checkpoint {path} is damaged: {name} cannot be read ({error.strerror}); "
            "resume from the one before it."
        ) from error


def _discard(path: Path) -> None:
    # Renamed first: a kill half-way through removing must not leave a checkpoint that looks damaged.
    doomed = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    path.replace(doomed)
    shutil.rmtree(doomed, ignore_errors=True)


def _reason(error: OSError) -> str:
    text = error.strerror or str(error)
    if error.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT):
        return f"{text}; free some space and resume, the checkpoint before is intact"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR):
        return f"{text}; make the folder writable or choose another with --run"
    return f"{text}; the checkpoint before is intact"
