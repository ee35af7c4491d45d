"""Old checkpoints -> run directories: reads the file safely, lets its family recognise it, writes a run."""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from lineament.errors import CheckpointError, UsageError, unknown_name
from lineament.interop.settings_file import read_settings_file
from lineament.interop.torch_file import read_torch_file
from lineament.methods import legacy_readers
from lineament.training.imported import ImportedModel, imported_origin, write_imported_run
from lineament.training.run import Run, open_run


@dataclass(frozen=True)
class Import:
    """What an import did.

    Attributes:
        run: The run directory.
        model: What was read; None where the run was made from the same file before.
    """

    run: Run
    model: ImportedModel | None

    def summary(self) -> str:
        """What was found and what was left out, one line each."""
        if self.model is None:
            return f"{self.run.folder} was made from this file before: nothing to do."
        model = self.model
        width = max((len(name) for name in model.found), default=0)
        lines = [f"{name:<{width}}  {value}" for name, value in model.found.items()]
        lines.append(f"{'recipe':<{width}}  {model.recipe}, step {model.step}")
        lines += [f"ignored {name}: {reason}." for name, reason in model.ignored.items()]
        return "\n".join(lines)


def reader_of(family: str) -> ModuleType:
    """The module that recognises a family's checkpoints.

    It has a function ``read_legacy(TorchFile) -> ImportedModel``, whose errors complete "FILE: ...". Where a family's
    checkpoints are folders it also has ``FOLDER``, the names of the weights and of the facts beside them (JSON), which
    the function gets as a second argument. Where they are ordinary pickles it has ``PLAIN_PICKLES``.

    Where a checkpoint is several files it has, in place of that function, ``checkpoint_files(path, options)``, which
    gives them by part, and ``read_checkpoint(contents, files, options) -> ImportedModel``, which gets what they hold;
    ``OPTIONS`` names what the user may say about it.

    Raises:
        UsageError: If no method has one; the message names the nearest.
    """
    known = legacy_readers()
    if family not in known:
        raise unknown_name("family of checkpoints", family, known)
    return importlib.import_module(known[family])


def import_checkpoint(
    family: str,
    path: Path,
    folder: Path | None = None,
    *,
    overwrite: bool = False,
    options: Mapping[str, str | None] | None = None,
) -> Import:
    """Read an old checkpoint into a run directory.

    Args:
        family: A method that knows older checkpoints; see :func:`reader_of`.
        path: The file; where the checkpoints of a family are folders, the folder, or the file itself.
        folder: Run directory to make; ``runs/<family>-<name of the file>`` when None.
        overwrite: Replace an older run there.
        options: What the file does not tell, by name (``OPTIONS`` of the reader); None stands for nothing.

    Raises:
        UsageError: If the family is unknown, or an option means nothing to it.
        CheckpointError: If the file is missing, damaged, or of another method.
        LineamentError: If the folder is in use by something else.
    """
    reader = reader_of(family)
    said = {name: value for name, value in (options or {}).items() if value is not None}
    for name in said.keys() - set(getattr(reader, "OPTIONS", ())):
        raise UsageError(
            f"--{name.replace('_', '-')} means nothing to checkpoints of {family}: leave it out."
        )
    folder = folder or Path("runs") / f"{family}-{_name(path)}"
    opened = _several(reader, path, said) if hasattr(reader, "checkpoint_files") else _single(reader, path)
    origin: dict[str, Any] = {"family": family, "file": opened.path.resolve().name, "sha256": opened.digest}
    if said:
        # Of a file its name, as above; what it holds is part of the sha256.
        origin["options"] = {name: Path(value).name for name, value in said.items()}
    before = imported_origin(folder) if folder.is_dir() else None
    if before and not overwrite and all(before.get(key) == origin.get(key) for key in _IDENTITY):
        run = open_run(folder)
        # A run whose checkpoint was damaged since is not "done".
        run.read_checkpoint()
        return Import(run, None)
    try:
        model = opened.read()
    except CheckpointError as error:
        raise CheckpointError(f"{opened.path}: {str(error).rstrip('.')}.") from error
    return Import(write_imported_run(folder, model, origin, overwrite=overwrite), model)


# What tells one import from another.
_IDENTITY = ("family", "sha256", "options")


@dataclass(frozen=True)
class _Opened:
    """A checkpoint that was found: what to call it, the sha256 of its bytes, and what recognises it."""

    path: Path
    digest: str
    read: Callable[[], ImportedModel]


def _single(reader: ModuleType, path: Path) -> _Opened:
    in_folders: tuple[str, str] | None = getattr(reader, "FOLDER", None)
    path, facts = _with_facts(in_folders, path)
    file = read_torch_file(path, plain=getattr(reader, "PLAIN_PICKLES", False))
    arguments = (file, facts) if in_folders else (file,)
    return _Opened(path, _sha256(path), lambda: reader.read_legacy(*arguments))


def _several(reader: ModuleType, path: Path, options: Mapping[str, str]) -> _Opened:
    files: dict[str, Path] = reader.checkpoint_files(path, options)
    contents = {part: read_settings_file(file) for part, file in files.items()}
    digests = "".join(f"{part} {_sha256(file)}\n" for part, file in files.items())
    return _Opened(
        path,
        hashlib.sha256(digests.encode()).hexdigest(),
        lambda: reader.read_checkpoint(contents, files, options),
    )


def _name(path: Path) -> str:
    """What to call a run: published folders are named by session and epoch, session/00150."""
    plain = path.stem if not path.is_dir() else path.resolve().name
    return f"{path.resolve().parent.name}-{plain}" if path.is_dir() and plain.isdigit() else plain


def _with_facts(in_folders: tuple[str, str] | None, path: Path) -> tuple[Path, dict[str, Any]]:
    """The file with the weights, and the facts that lie beside it."""
    if in_folders is None:
        return path, {}
    weights, facts = in_folders
    if path.is_dir():
        path = path / weights
    beside = path.with_name(facts)
    if not beside.is_file():
        return path, {}
    try:
        content = json.loads(beside.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{beside} cannot be read as JSON: {error}.") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{beside} holds {type(content).__name__} instead of named facts.")
    return path, content


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()
