"""What happens to images and labels that cannot be used: named, left out the same way on every run, and counted.

A *reject list* is a file that ``lineament data check`` writes and every reader honours: samples whose id stands in it
do not exist. Text form: one id per line, ``#`` starts a comment after a tab; JSON form: ``{"rejects": {id: reason}}``.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from lineament.data.sample import FaceSample, FaceSource
from lineament.errors import DataError
from lineament.files import write_text

log = logging.getLogger(__name__)

# Share of a source that may be unreadable before work stops.
DEFAULT_TOLERANCE = 0.01
# A reader looks for these in its root, in this order.
REJECT_NAMES = ("reject.json", "reject.txt")


@dataclass
class BadFiles:
    """Counts unusable samples of one source and stops the work above a share of them.

    Attributes:
        total: Samples of the source.
        tolerance: Share of them, 0..1, that may be bad.
        reasons: Sample -> why it cannot be used.
    """

    total: int
    tolerance: float = DEFAULT_TOLERANCE
    reasons: dict[str, str] = field(default_factory=dict)

    @property
    def most(self) -> int:
        """Largest number of bad samples that is tolerated."""
        return math.floor(self.total * self.tolerance)

    def __len__(self) -> int:
        return len(self.reasons)

    def add(self, sample: str, reason: str) -> None:
        """Count one bad sample; a known one is not counted or reported again.

        Raises:
            DataError: If more than the tolerated share is bad.
        """
        if sample in self.reasons:
            return
        self.reasons[sample] = reason
        log.warning("left out: %s", reason)
        if len(self.reasons) > self.most:
            raise DataError(
                f"{len(self.reasons)} of {self.total} samples cannot be used, more than {self.tolerance:.1%} "
                f"(the last: {reason}): run `lineament data check` to list them and write a reject list."
            )


def usable(source: FaceSource, tolerance: float = DEFAULT_TOLERANCE) -> Iterator[tuple[int, FaceSample]]:
    """Yield (index, sample) of every readable sample in order; bad ones are reported, counted and left out.

    Raises:
        DataError: If more than ``tolerance`` of the source is unreadable.
    """
    bad = BadFiles(len(source), tolerance)
    for index in range(len(source)):
        try:
            sample = source[index]
        except DataError as error:
            bad.add(str(index), str(error))
            continue
        yield index, sample


def label_faults(sample: FaceSample, points: int | None = None) -> list[str]:
    """Say what is wrong with the labels of a sample; an empty list when nothing is.

    Args:
        sample: The sample; image ``[3, H, W]``, landmarks ``[K, 2]`` px, box ``x0, y0, x1, y1`` px.
        points: Number of landmarks expected; None accepts any.

    Returns:
        One sentence part per fault: infinite landmarks, a wrong number of them, no landmark that is known (single ones
        may be missing, that is NaN), landmarks of which none lies in the image, an empty or not finite box, a box
        entirely outside the image.
    """
    faults = []
    height, width = sample.image.shape[-2:]
    if sample.landmarks is not None:
        marks = sample.landmarks
        if marks.ndim != 2 or marks.shape[-1] != 2:
            faults.append(f"landmarks have the shape {tuple(marks.shape)} instead of [K, 2]")
        else:
            if points is not None and len(marks) != points:
                faults.append(f"{len(marks)} landmarks instead of {points}")
            bad = int(torch.isinf(marks).any(dim=-1).sum())
            known = marks[torch.isfinite(marks).all(dim=-1)]
            if bad:
                faults.append(f"{bad} of {len(marks)} landmarks are not finite")
            elif len(marks) and not len(known):
                faults.append(f"none of its {len(marks)} landmarks has a place")
            elif len(marks):
                x, y = known.unbind(-1)
                if not ((x >= -0.5) & (x <= width - 0.5) & (y >= -0.5) & (y <= height - 0.5)).any():
                    faults.append(f"all landmarks lie outside the {width}x{height} image")
    if sample.box is not None:
        faults += box_faults(sample.box, width, height)
    return faults


def box_faults(box: torch.Tensor, width: int, height: int) -> list[str]:
    """Say what is wrong with a box ``x0, y0, x1, y1`` px in an image of ``width`` x ``height`` pixels."""
    shown = ", ".join(f"{value:g}" for value in box.tolist())
    if box.shape != (4,):
        return [f"box has the shape {tuple(box.shape)} instead of [4]"]
    if not torch.isfinite(box).all():
        return [f"box ({shown}) is not finite"]
    x0, y0, x1, y1 = box.tolist()
    if x1 <= x0 or y1 <= y0:
        return [f"box ({shown}) is empty"]
    if x1 <= -0.5 or y1 <= -0.5 or x0 >= width - 0.5 or y0 >= height - 0.5:
        return [f"box ({shown}) lies outside the {width}x{height} image"]
    return []


def read_rejects(path: Path) -> dict[str, str]:
    """Read a reject list in either form.

    Returns:
        Sample id -> reason ("" where none is given).

    Raises:
        DataError: If the file cannot be read as a reject list.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read the reject list {path}: {error}.") from error
    if path.suffix.lower() == ".json":
        try:
            rejects = json.loads(text)["rejects"]
            return {str(name): str(reason) for name, reason in dict(rejects).items()}
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f'{path} is not a reject list: expected {{"rejects": {{id: reason}}}} ({error}).'
            ) from error
    rejects = {}
    for line in text.splitlines():
        name, _, reason = line.partition("\t")
        if name.strip() and not name.startswith("#"):
            rejects[name.strip()] = reason.removeprefix("#").strip()
    return rejects


def write_rejects(path: Path, rejects: Mapping[str, str]) -> None:
    """Write a reject list atomically, sorted by id; the suffix ``.json`` or ``.txt`` chooses the form."""
    ordered = {name: rejects[name] for name in sorted(rejects)}
    if path.suffix.lower() == ".json":
        text = json.dumps({"rejects": ordered}, indent=1, ensure_ascii=False) + "\n"
    else:
        lines = ["# samples left out by every reader: id, then a tab and the reason"]
        lines += [f"{name}\t# {' '.join(reason.split())}" for name, reason in ordered.items()]
        text = "\n".join(lines) + "\n"
    write_text(path, text)


def find_rejects(root: Path, given: str | Path | None = None) -> dict[str, str]:
    """Read the reject list of a data root.

    Args:
        root: Folder of the data set, or a file in it.
        given: A reject list to read instead of those of :func:`reject_places`; ``"none"`` honours none.
    """
    if given == "none":
        return {}
    if given is not None:
        return read_rejects(Path(given))
    for path in reject_places(root):
        if path.is_file():
            return read_rejects(path)
    return {}


def reject_places(root: Path) -> list[Path]:
    """Where the reject list of a data root may lie: in its folder, of an archive beside it and named after it.

    Archives of one data set at several sizes lie in one folder and hold images of the same names.
    """
    if root.suffix.lower() == ".zip" and root.is_file():
        return [root.with_name(f"{root.stem}.{name}") for name in REJECT_NAMES]
    folder = root if root.is_dir() else root.parent
    return [folder / name for name in REJECT_NAMES]
