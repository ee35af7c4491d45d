"""Models by name: those that come with the package, and those of the folders that the user names.

What a user gives as a model is a path, of a run or of a model folder, or a name; a path wins.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from lineament.errors import LineamentError, UsageError
from lineament.training.model_folder import is_model_folder, open_model_folder
from lineament.training.run import Run, open_run

# Environment variable that names model folders, or folders of them, separated as in PATH; they come before the
# package's own.
FOLDERS = "LINEAMENT_MODELS"
_NAME = re.compile(r"[\w-][\w.-]*")


@dataclass(frozen=True)
class NamedModel:
    """A model that can be named.

    Attributes:
        name: Its name, that of its folder.
        folder: Where it lies.
        shipped: Whether it came with the package.
    """

    name: str
    folder: Path
    shipped: bool


def shipped_folder() -> Path:
    """The folder of the models that come with the package."""
    return Path(str(files("lineament") / "shipped"))


def model_folders() -> Iterator[tuple[Path, bool]]:
    """Folders that are searched for models, in order, each with whether it is the package's own.

    Raises:
        UsageError: If one that the user names is not there.
    """
    for word in filter(None, os.environ.get(FOLDERS, "").split(os.pathsep)):
        folder = Path(word).expanduser()
        if not folder.is_dir():
            raise UsageError(f"there is no folder {word}, which {FOLDERS} names.")
        yield folder, False
    yield shipped_folder(), True


def named_models() -> dict[str, NamedModel]:
    """All models by name, in alphabetical order; of two with one name the first found."""
    found: dict[str, NamedModel] = {}
    for root, shipped in model_folders():
        inside = [root] if is_model_folder(root) else sorted(root.iterdir()) if root.is_dir() else []
        for folder in inside:
            if _NAME.fullmatch(folder.name) and is_model_folder(folder):
                found.setdefault(folder.name, NamedModel(folder.name, folder, shipped))
    return dict(sorted(found.items()))


def open_trained(given: str | Path) -> Run:
    """Open a run directory, a model folder, or a model by its name; a path wins over a name.

    Raises:
        LineamentError: If there is none; the message names the nearest models.
        CheckpointError: If it is a model of a newer version, or its facts cannot be read.
    """
    path = Path(given)
    if path.is_dir():
        return open_model_folder(path) if is_model_folder(path) else open_run(path)
    if path.exists() or not _NAME.fullmatch(str(given)):
        return open_run(path)
    known = named_models()
    if str(given) in known:
        model = known[str(given)]
        return open_model_folder(model.folder, model.name)
    if not known:
        return open_run(path)
    near = difflib.get_close_matches(str(given), known, n=3, cutoff=0.6)
    advice = (
        f"did you mean {' or '.join(near)}" if near else f"give a run's folder, or one of {', '.join(known)}"
    )
    raise LineamentError(
        f"there is no run directory {given}, and no model of that name: {advice}{'?' if near else '.'}"
    )
