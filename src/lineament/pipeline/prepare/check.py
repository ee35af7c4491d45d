"""Reads every sample of a data set once and says which cannot be used."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import torch

from lineament.data.cache_format import REMEDY
from lineament.data.crop_cache import CropCache
from lineament.data.registry import Request
from lineament.data.rejects import label_faults, read_rejects, reject_places, write_rejects
from lineament.data.sample import FaceSource
from lineament.data.subset import sample_id
from lineament.errors import DataError, LineamentError
from lineament.faces.schemes import as_scheme


@dataclass
class CheckReport:
    """What a check found.

    Attributes:
        name: Data set and split.
        total: Samples read.
        faults: Id -> why the sample cannot be used.
        duplicates: Groups of ids whose images hold the same pixels; they are reported, not refused.
        smallest: Width and height of the usable image with the fewest pixels.
        largest: Width and height of the one with the most pixels.
        boxes: Usable samples with a face box.
        landmarks: Usable samples with landmarks.
        missing: Single landmarks of them that have no place.
        hidden: Those that are placed but hidden.
        scheme: Landmark scheme of the last one.
    """

    name: str
    total: int
    faults: dict[str, str] = field(default_factory=dict)
    duplicates: list[list[str]] = field(default_factory=list)
    smallest: tuple[int, int] | None = None
    largest: tuple[int, int] | None = None
    boxes: int = 0
    landmarks: int = 0
    missing: int = 0
    hidden: int = 0
    scheme: str | None = None

    @property
    def share(self) -> float:
        """Share of unusable samples, 0..1."""
        return len(self.faults) / self.total

    def summary(self) -> str:
        """Say the result in a few lines."""
        lines = [f"{self.name}: {self.total} samples, {len(self.faults)} unusable ({self.share:.2%})"]
        if self.smallest and self.largest:
            size = "{}x{}".format(*self.smallest)
            if self.smallest != self.largest:
                size += " to {}x{}".format(*self.largest)
            lines.append(f"images {size} px, {self.boxes} with a box, {self.landmarks} with landmarks")
            if self.scheme:
                lines[-1] += f" (scheme {self.scheme})"
            if self.missing or self.hidden:
                lines.append(f"{self.missing} single points are missing, {self.hidden} are hidden but placed")
        if self.duplicates:
            copies = sum(len(group) - 1 for group in self.duplicates)
            lines.append(
                f"{copies} images repeat the pixels of another, for example {' = '.join(self.duplicates[0])}"
            )
        return "\n".join(lines)


@dataclass(frozen=True)
class _Finding:
    fault: str = ""
    pixels: bytes = b""
    size: tuple[int, int] = (0, 0)
    box: bool = False
    landmarks: bool = False
    missing: int = 0
    hidden: int = 0
    scheme: str | None = None


def check(
    source: FaceSource,
    points: int | None = None,
    workers: int = 1,
    advance: Callable[[], None] = lambda: None,
) -> CheckReport:
    """Read every sample of a source.

    Args:
        source: The samples; a source with ``id_of`` names unreadable ones by their id, others by their index.
        points: Number of landmarks every labelled sample must have; None accepts any.
        workers: Threads that read at once; the report does not depend on it.
        advance: Called after each sample.
    """

    def look(index: int) -> _Finding:
        finding = _look(source, index, points)
        advance()
        return finding

    report = CheckReport(source.name, len(source))
    same: dict[bytes, list[str]] = {}
    with ThreadPoolExecutor(max_workers=workers) as pool:
        for index, finding in enumerate(pool.map(look, range(len(source)))):
            name = sample_id(source, index)
            if finding.fault:
                report.faults[name] = finding.fault
                continue
            same.setdefault(finding.pixels, []).append(name)
            report.boxes += finding.box
            report.landmarks += finding.landmarks
            report.missing += finding.missing
            report.hidden += finding.hidden
            report.scheme = finding.scheme or report.scheme
            area = finding.size[0] * finding.size[1]
            if report.smallest is None or area < report.smallest[0] * report.smallest[1]:
                report.smallest = finding.size
            if report.largest is None or area > report.largest[0] * report.largest[1]:
                report.largest = finding.size
    report.duplicates = [group for group in same.values() if len(group) > 1]
    return report


def check_shards(source: FaceSource) -> None:
    """Compare every byte of the shards of prepared crops with their checksums; other sources have none.

    Raises:
        DataError: Naming the damaged shards: they are repaired, not left out.
    """
    faults = source.damaged_shards() if isinstance(source, CropCache) else []
    if faults:
        shown = "; ".join(faults[:5]) + (f"; and {len(faults) - 5} more" if len(faults) > 5 else "")
        raise DataError(f"{source.name}: {shown}; {REMEDY}.")


def open_unfiltered(request: Request) -> FaceSource:
    """Open a data set without its reject list, so that what was repaired since the last check comes back."""
    if "rejects" in request.reader.options:
        request.arguments.setdefault("rejects", "none")
    return request.open()


def write_report(report: CheckReport, request: Request, out: Path | None, overwrite: bool) -> str:
    """Write the reject list of a check and say where.

    Args:
        report: What the check found.
        request: What was checked: the list goes into its folder, unless ``out`` is given.
        out: File to write, ``.json`` or ``.txt``.
        overwrite: Replace a list that says something else.

    Raises:
        LineamentError: If a list that says something else is there and may not be replaced.
    """
    if out is None:
        if request.root is None or "rejects" not in request.reader.options:
            return "no list is written: this data set has no folder."
        places = reject_places(request.root)
        out = next((path for path in places if path.exists()), places[0])
    if not out.exists():
        if not report.faults:
            return "nothing is left out: no list is written."
        write_rejects(out, report.faults)
        return f"wrote {out}: readers leave these {len(report.faults)} samples out."
    before = read_rejects(out)
    if before.keys() == report.faults.keys():
        return f"{out} says the same already."
    if not overwrite:
        raise LineamentError(
            f"{out} lists {len(before)} samples, this check found {len(report.faults)}: replace it with --overwrite or "
            "name another file with --out."
        )
    write_rejects(out, report.faults)
    return f"replaced {out}: readers leave {len(report.faults)} samples out."


def _look(source: FaceSource, index: int, points: int | None) -> _Finding:
    try:
        sample = source[index]
    except DataError as error:
        return _Finding(fault=str(error))
    faults = label_faults(sample, points)
    if faults:
        return _Finding(
            fault=f"the labels of {sample.path or sample.id} cannot be used: {'; '.join(faults)}."
        )
    height, width = sample.image.shape[-2:]
    pixels = hashlib.sha256(f"{width}x{height}".encode())
    pixels.update((sample.image * 65535).round().int().numpy().tobytes())
    missing = hidden = 0
    if sample.landmarks is not None:
        placed = torch.isfinite(sample.landmarks).all(-1)
        missing = int((~placed).sum())
        hidden = 0 if sample.visibility is None else int((placed & ~sample.visibility).sum())
    return _Finding(
        pixels=pixels.digest(),
        size=(width, height),
        box=sample.box is not None,
        landmarks=sample.landmarks is not None,
        missing=missing,
        hidden=hidden,
        scheme=None if sample.scheme is None else as_scheme(sample.scheme).name,
    )
