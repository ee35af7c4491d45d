"""AFHQv2's cats as EG3D packs them: images with mirror images, and ``dataset.json`` with the camera of each."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

from lineament.data.image_archives import image_records, side_of
from lineament.data.records import Record, RecordSource, open_archive
from lineament.data.registry import register_reader
from lineament.data.rejects import find_rejects
from lineament.errors import DataError

WHERE = (
    "https://github.com/NVlabs/eg3d (preparing datasets: AFHQv2), the zip as it is or unpacked to "
    "afhq_v2_train_cat_512"
)
LABELS = "dataset.json"


@register_reader("afhqcat", "AFHQv2's cats as EG3D packs them, with camera poses", where=WHERE)
def open_afhqcat(root: Path, rejects: str | None = None) -> RecordSource:
    """Open EG3D's archive or its folder.

    Mirror images are among the files, so that no split is made of them. An image without 25 numbers counts as a bad
    sample, and so do numbers without an image.

    Args:
        root: The zip archive, or the folder that it was unpacked to; ``dataset.json`` lies in it.
        rejects: Reject list to honour instead of the one in the folder.

    Raises:
        DataError: If images or ``dataset.json`` are missing or cannot be read, or the first image is not square.
    """
    labels = read_labels(root)
    records = image_records(root)
    side_of(root, records)
    known = {record.id for record in records}
    records = [replace(record, fault=_fault(labels, record.id)) for record in records]
    strays = sorted(set(labels) - known)
    if len(strays) == len(labels):
        raise DataError(
            f"{LABELS} of {root} names no image that is there ({strays[0]}): give the folder or zip that it came in."
        )
    for name in strays:
        fault = f"{LABELS} has a pose of it, but there is no such image"
        records.append(Record(name, root / name if root.is_dir() else root, fault=fault))
    return RecordSource(f"{root.resolve().stem}/all", records, rejects=find_rejects(root, rejects))


def read_labels(root: Path) -> dict[str, Any]:
    """What ``dataset.json`` of an archive or folder says, by name of the image; the values are not checked.

    Raises:
        DataError: If it is missing or not of EG3D's form.
    """
    place = f"{root}/{LABELS}"
    try:
        if root.is_dir():
            text = (root / LABELS).read_bytes()
        else:
            with open_archive(root) as archive:
                text = archive.read(LABELS)
        labels = json.loads(text.decode("utf-8-sig"))["labels"]
        if not labels:
            raise ValueError("it has no labels")
        found = {str(name).replace("\\", "/").removeprefix("./"): values for name, values in labels}
    except DataError:
        raise
    except (FileNotFoundError, KeyError) as error:
        raise DataError(
            f"{place} is missing or has no labels: it holds the camera of each image and comes from {WHERE}."
        ) from error
    # A damaged archive raises almost anything.
    except Exception as error:
        raise DataError(f"{place} cannot be read as EG3D's labels ({error}): fetch it again.") from error
    if len(found) < len(labels):
        raise DataError(f"{place} names an image twice: leave one of its labels.")
    return found


def _fault(labels: dict[str, Any], name: str) -> str:
    if name not in labels:
        return f"{LABELS} has no pose of it"
    values = labels[name]
    try:
        fine = len(values) == 25 and all(math.isfinite(float(value)) for value in values)
    except (TypeError, ValueError):
        fine = False
    return "" if fine else f"its label in {LABELS} is not 25 finite numbers"
