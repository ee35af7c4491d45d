"""Old checkpoints -> run directories: reads the file safely, lets its family recognise it, writes a run."""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lineament.errors import CheckpointError, unknown_name
from lineament.interop.torch_file import read_torch_file
from lineament.methods import register_all
from lineament.training.imported import ImportedModel, imported_origin, write_imported_run
from lineament.training.run import Run, open_run

# Family -> module with a function ``read_legacy(TorchFile) -> ImportedModel``. Its errors complete "FILE: ...".
FAMILIES = {
    "depthnet": "lineament.methods.depthnet.legacy",
    "dve": "lineament.methods.dve.legacy",
    "fabrec": "lineament.methods.fabrec.legacy",
}
# Families whose checkpoints are folders: names of the weights and of the facts beside them (JSON), which the reader
# gets as a second argument.
FOLDERS = {"fabrec": ("saae.mdl", "meta.json")}


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


def reader_of(family: str) -> Callable[..., ImportedModel]:
    """The function that recognises a family's checkpoints.

    Raises:
        UsageError: If the family is unknown; the message names the nearest one.
    """
    if family not in FAMILIES:
        raise unknown_name("family of checkpoints", family, FAMILIES)
    return importlib.import_module(FAMILIES[family]).read_legacy


def import_checkpoint(
    family: str, path: Path, folder: Path | None = None, *, overwrite: bool = False
) -> Import:
    """Read an old checkpoint into a run directory.

    Args:
        family: One of :data:`FAMILIES`.
        path: The file; for families of :data:`FOLDERS` the folder that holds it, or the file itself.
        folder: Run directory to make; ``runs/<family>-<name of the file>`` when None.
        overwrite: Replace an older run there.

    Raises:
        UsageError: If the family is unknown.
        CheckpointError: If the file is missing, damaged, or of another method.
        LineamentError: If the folder is in use by something else.
    """
    read = reader_of(family)
    register_all()
    folder = folder or Path("runs") / f"{family}-{_name(path)}"
    path, facts = _opened(family, path)
    file = read_torch_file(path)
    digest = _sha256(path)
    before = imported_origin(folder) if folder.is_dir() else None
    if before and (before.get("family"), before.get("sha256")) == (family, digest) and not overwrite:
        run = open_run(folder)
        # A run whose checkpoint was damaged since is not "done".
        run.read_checkpoint()
        return Import(run, None)
    try:
        model = read(file, facts) if family in FOLDERS else read(file)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {str(error).rstrip('.')}.") from error
    origin = {"family": family, "file": path.name, "sha256": digest}
    return Import(write_imported_run(folder, model, origin, overwrite=overwrite), model)


def _name(path: Path) -> str:
    """What to call a run: published folders are named by session and epoch, session/00150."""
    plain = path.stem if not path.is_dir() else path.resolve().name
    return f"{path.resolve().parent.name}-{plain}" if path.is_dir() and plain.isdigit() else plain


def _opened(family: str, path: Path) -> tuple[Path, dict[str, Any]]:
    """The file with the weights, and the facts that lie beside it."""
    if family not in FOLDERS:
        return path, {}
    weights, facts = FOLDERS[family]
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
