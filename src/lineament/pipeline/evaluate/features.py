"""Dense features from elsewhere - a file, or a Python function - in place of a model of this package.

The matching evaluation asks for the features of three images per pair of faces, named ``00012-source``,
``00012-same`` and ``00012-other``. ``lineament evaluate ... --pictures-out FOLDER`` writes these images as PNG, so
that any program can describe them. A file of features holds one array ``[C, h, w]`` under each name: an ``.npz``, a
``.safetensors``, or a folder of ``NAME.npy``. A function takes images ``[B, 3, H, W]`` in 0..1 and returns
``[B, C, h, w]``.
"""

from __future__ import annotations

import importlib
import io
import json
import sys
import zipfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lineament.data.images import write_image
from lineament.errors import DataError, UsageError
from lineament.evaluation.matching import Describe, MatchingPair, PairFeatures
from lineament.files import replacing, write_text

ENDINGS = (".npz", ".safetensors")


def is_feature_file(path: Path) -> bool:
    """Whether a path is a file, or folder, of features."""
    if path.is_dir():
        return any(path.glob("*.npy"))
    return path.suffix.lower() in ENDINGS and path.is_file()


class FileFeatures(PairFeatures):
    """Features of a file by the names of the images; one pair is in memory at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read = _reader(path)

    def of(self, pair: MatchingPair) -> tuple[Tensor, Tensor, Tensor]:
        """Features ``[C, h, w]`` of the three images of a pair.

        Raises:
            DataError: If one is missing or is no map of finite numbers.
        """
        source, same, other = (self._one(name) for name in pair.names)
        for name, features in zip(pair.names[1:], (same, other), strict=True):
            if features.shape != source.shape:
                raise DataError(
                    f"{self.path}: {name} has the shape {tuple(features.shape)}, {pair.names[0]} {tuple(source.shape)}."
                )
        return source, same, other

    def _one(self, name: str) -> Tensor:
        try:
            stored = self._read(name)
        except KeyError:
            raise DataError(
                f"{self.path} has no features of {name}: describe every image that --pictures-out writes."
            ) from None
        # What is wrong with a foreign file comes in many classes.
        except Exception as error:
            raise DataError(f"{self.path}: the features of {name} cannot be read ({error}).") from error
        return checked_map(stored, f"{self.path}: {name}")


def _reader(path: Path) -> Callable[[str], Any]:
    """A function from a name to its array; raises ``KeyError`` where there is none."""
    if path.is_dir():

        def from_folder(name: str) -> Any:
            file = path / f"{name}.npy"
            if not file.is_file():
                raise KeyError(name)
            return np.load(file, allow_pickle=False)

        return from_folder
    try:
        if path.suffix.lower() == ".npz":
            archive = np.load(path, allow_pickle=False)
            return lambda name: archive[name]
        from safetensors import safe_open

        opened = safe_open(path, framework="pt")
        known = set(opened.keys())
    except Exception as error:
        raise DataError(f"{path} cannot be read as features ({error}).") from error

    def from_safetensors(name: str) -> Any:
        if name not in known:
            raise KeyError(name)
        return opened.get_tensor(name)

    return from_safetensors


def checked_map(values: Any, what: str, dimensions: int = 3) -> Tensor:
    """Features as float32.

    Raises:
        DataError: If they are no array of ``dimensions`` dimensions, empty, or not finite.
    """
    try:
        features = torch.as_tensor(values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"{what} is {type(values).__name__}, not an array of features.") from error
    if features.ndim != dimensions or min(features.shape, default=0) < 1 or features.is_complex():
        wanted = "[C, h, w]" if dimensions == 3 else "[B, C, h, w]"
        raise DataError(f"{what} has the shape {list(features.shape)} where features {wanted} are expected.")
    features = features.detach().cpu().float()
    if not bool(features.isfinite().all()):
        raise DataError(f"{what} holds values that are not finite.")
    return features


def import_function(text: str) -> Describe:
    """The function ``package.module:name``; the current folder is searched too.

    Raises:
        UsageError: If there is no such module or function.
    """
    module_name, _, name = text.partition(":")
    with _current_folder_importable():
        try:
            found: Any = importlib.import_module(module_name)
        except ImportError as error:
            raise UsageError(f"cannot import the module {module_name!r} of {text!r} ({error}).") from error
    for word in name.split("."):
        if not hasattr(found, word):
            raise UsageError(f"the module {module_name!r} has no {name!r}.")
        found = getattr(found, word)
    if not callable(found):
        raise UsageError(f"{text!r} is {type(found).__name__}, not a function.")
    return found


@contextmanager
def _current_folder_importable() -> Any:
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        yield
    finally:
        sys.path.remove(here)


def checked_function(function: Callable[[Tensor], Any], name: str) -> Describe:
    """The same function with its answers checked; see :func:`checked_map`."""

    def describe(images: Tensor) -> Tensor:
        with torch.no_grad():
            features = checked_map(function(images), f"what {name} returns", 4)
        if len(features) != len(images):
            raise DataError(f"{name} returns features of {len(features)} images for {len(images)}.")
        return features

    return describe


def write_features(path: Path, describe: Describe, pairs: Iterable[MatchingPair]) -> Path:
    """Describe the images of all pairs into a file; its ending says the format, no ending makes a folder.

    Raises:
        UsageError: If the ending is of neither format.
    """
    named = (
        (name, np.ascontiguousarray(features.numpy()))
        for pair in pairs
        for name, features in zip(pair.names, describe(pair.images), strict=True)
    )
    if path.suffix == "":
        path.mkdir(parents=True, exist_ok=True)
        for name, features in named:
            with replacing(path / f"{name}.npy") as temporary:
                np.save(temporary, features)
    elif path.suffix.lower() == ".npz":
        with replacing(path) as temporary, zipfile.ZipFile(temporary, "w", allowZip64=True) as archive:
            for name, features in named:
                content = io.BytesIO()
                np.save(content, features)
                archive.writestr(f"{name}.npy", content.getvalue())
    elif path.suffix.lower() == ".safetensors":
        from safetensors.numpy import save_file

        with replacing(path) as temporary:
            save_file(dict(named), temporary)
    else:
        raise UsageError(f"{path}: features are written as .npz, .safetensors, or a folder of .npy files.")
    return path


def write_images(folder: Path, pairs: Iterable[MatchingPair], facts: Mapping[str, Any]) -> Path:
    """Write the images of all pairs as ``NAME.png``, and what they are as ``pictures.json``."""
    names: list[str] = []
    for pair in pairs:
        for name, image in zip(pair.names, pair.images, strict=True):
            write_image(folder / f"{name}.png", image)
            names.append(name)
    write_text(folder / "pictures.json", json.dumps({**facts, "pictures": names}, indent=1) + "\n")
    return folder
