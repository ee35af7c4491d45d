"""What every result file says about how it was made, and how a verb goes through many images."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from PIL import Image

import lineament
from lineament.errors import DataError, NoFaceError, UsageError
from lineament.inference import Model
from lineament.pipeline.predict.photos import Photo
from lineament.training.model_folder import FACTS, is_model_folder
from lineament.training.run import CONFIG

# Key of the settings in the text of an overlay, where no JSON file is wanted.
NOTE = "lineament settings"


def result_meta(photo: Photo, verb: str, settings: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """Return the ``meta`` of an image's JSON file.

    Args:
        photo: The image and where its results go.
        verb: Verb of the command line that makes them.
        settings: All that decides the result besides the image, as JSON holds it.
        more: Further facts, for example ``width`` and ``height``.
    """
    return {**table_meta([photo], photo.json.parent, verb, settings), **more}


def table_meta(
    photos: Sequence[Photo], folder: Path, verb: str, settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the ``meta`` of a table in ``folder``; its ``folder`` leads from there to where the names count from."""
    roots = {os.path.relpath(photo.root, folder) for photo in photos}
    place = Path(roots.pop()).as_posix() if len(roots) == 1 else None
    return {**settings_meta(verb, settings), "folder": place}


def settings_meta(verb: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the ``meta`` of every result says: version, verb and settings, as JSON holds them."""
    return {"version": lineament.__version__, "verb": verb, "settings": json.loads(json.dumps(settings))}


def run_digest(run: Path) -> str:
    """Digest of what a run directory or model folder holds: config or facts, and the sha256 of its weights."""
    digest = hashlib.sha256()
    facts = [run / FACTS] if is_model_folder(run) else [run / CONFIG]
    for path in sorted([*facts, *(run / "checkpoints").glob("*/manifest.json")]):
        digest.update(path.relative_to(run).as_posix().encode())
        digest.update(path.read_bytes() if path.is_file() else b"")
    return digest.hexdigest()[:16]


def model_settings(model: Model, detects: bool = True) -> dict[str, Any]:
    """What a model adds to the settings of a result: weights by digest, number type, detector, scheme asked for.

    Args:
        model: The model.
        detects: Whether its detector finds the faces; it changes nothing where they are given.
    """
    return {
        "model": run_digest(model.run.folder),
        "bf16": model.dtype == torch.bfloat16,
        "detector": model.detector_name if detects else None,
        **model.settings,
    }


def file_digest(path: Path | None) -> str | None:
    """Digest of a file's bytes; None without one.

    Raises:
        DataError: If it cannot be read.
    """
    if path is None:
        return None
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error}).") from error


def refuse_other_settings(
    photos: Sequence[Photo], settings: Mapping[str, Any], done: Callable[[Photo], Path] | None = None
) -> None:
    """Refuse to take results that were made in another way for done.

    Args:
        photos: What is to be done.
        settings: How; as given to :func:`result_meta`.
        done: Gives the file whose presence means that an image is done; its JSON file when None.

    Raises:
        UsageError: Naming the first setting that differs.
    """
    differing: list[tuple[Path, str]] = []
    for photo in photos:
        result = photo.json if done is None else done(photo)
        if not result.exists():
            continue
        before = read_settings(result)
        if before is None:
            differing.append((result, "it does not say which"))
            continue
        gone = {name: None for name in before if name not in settings}
        if why := first_difference(before, {**settings, **gone}):
            differing.append((result, why))
    if differing:
        raise other_settings(differing)


def first_difference(before: Mapping[str, Any], wanted: Mapping[str, Any]) -> str | None:
    """Say which of the settings ``wanted`` differs from how something was made ``before``; None where all agree.

    A setting that either lacks is None there.
    """
    for name, value in json.loads(json.dumps(wanted)).items():
        if before.get(name) != value:
            return f"{name} {_plain(before.get(name))}, now {_plain(value)}"
    return None


def other_settings(differing: Sequence[tuple[Path, str]]) -> UsageError:
    """Build the error for results that were made with other settings, each with what differs."""
    path, why = differing[0]
    count = f" and {len(differing) - 1} more" if len(differing) > 1 else ""
    return UsageError(
        f"{path}{count} {'were' if count else 'was'} made with other settings ({why}): give --overwrite to replace "
        "what is there, or another folder with --out."
    )


def read_settings(result: Path) -> dict[str, Any] | None:
    """Settings that a result was made with, from its JSON file, or else its overlay; None where neither tells."""
    try:
        if result.suffix == ".json":
            found = json.loads(result.read_text(encoding="utf-8"))["meta"]["settings"]
        else:
            with Image.open(result.with_suffix(".png")) as overlay:
                found = json.loads(overlay.info[NOTE])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if isinstance(found, dict) else None


def _plain(value: Any) -> str:
    return "none" if value is None else str(value)


@dataclass
class Tally:
    """What became of many images.

    Attributes:
        done: How many have a result now.
        skipped: How many of them were done before.
        without_face: Reason by image without a face; no failure.
        failed: Reason by image that could not be read or used.
    """

    done: int = 0
    skipped: int = 0
    without_face: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def tell(self, unit: str = "photos") -> int:
        """Print the account, the failures on the error stream, and return the exit code."""
        parts = [f"{self.done} {unit} done"]
        if self.skipped:
            parts[0] += f" ({self.skipped} before)"
        if self.without_face:
            parts.append(f"{len(self.without_face)} without a face")
        if self.failed:
            parts.append(f"{len(self.failed)} failed")
        print(", ".join(parts) + ".")
        for reason in self.without_face.values():
            print(f"without a face: {reason}", file=sys.stderr)
        return tell_failures(self.failed)


def tell_failures(failed: Mapping[str, str]) -> int:
    """Print why what failed on the error stream, and return the exit code: 1 where anything did."""
    for reason in failed.values():
        print(f"failed: {reason}", file=sys.stderr)
    return 1 if failed else 0


def go_through(photos: Sequence[Photo], work: Callable[[Photo], bool], single: bool) -> Tally:
    """Do ``work`` for each image; a bad one does not stop the others.

    Args:
        photos: What to go through.
        work: Does one image, and returns whether it was done before.
        single: Whether the user named this one image: then what it raises comes through.

    Raises:
        DataError: If a single image cannot be used, or has no face.
    """
    tally = Tally()
    for photo in photos:
        try:
            tally.skipped += work(photo)
            tally.done += 1
        except NoFaceError as error:
            if single:
                raise
            tally.without_face[str(photo.path)] = str(error)
        except DataError as error:
            if single:
                raise
            tally.failed[str(photo.path)] = str(error)
    return tally
