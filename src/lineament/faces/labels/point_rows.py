"""Points of one face from a plain list of rows: csv and txt without a header, and pts."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from torch import Tensor

from lineament.errors import DataError
from lineament.faces.labels.reading import read_keypoints

_SEPARATORS = re.compile(r"[,;\s]+")


def read_point_rows(path: str | Path, count: int | tuple[int, ...] | None = None) -> Tensor:
    """Read points, one a row: ``x y`` or ``x y z`` in pixels, separated by commas, semicolons or blanks.

    A last line without a newline counts like any other (the published reader dropped it). A ``.pts`` file is read as
    300-W writes it, its first pixel being 1.

    Args:
        path: ``.csv``, ``.txt``, ``.pts`` or any other text file.
        count: Number of points there must be, or several allowed numbers; None accepts any.

    Returns:
        ``[K, 2]`` or ``[K, 3]`` float64.

    Raises:
        DataError: If the file cannot be read, holds something else than numbers, or another number of points.
    """
    path = Path(path)
    if path.suffix.lower() == ".pts":
        landmarks = read_keypoints(path).faces[0].landmarks
        assert landmarks is not None
        points = landmarks.double()
    else:
        points = _rows(path)
    allowed = (count,) if isinstance(count, int) else count
    if allowed is not None and len(points) not in allowed:
        raise DataError(f"{path} holds {len(points)} points, {' or '.join(map(str, allowed))} are needed.")
    return points


def _rows(path: Path) -> Tensor:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path}: cannot read points ({getattr(error, 'strerror', None) or error})."
        ) from error
    rows: list[list[float]] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = [float(word) for word in _SEPARATORS.split(line.strip().strip(",;"))]
        except ValueError as error:
            raise DataError(f"{path}, line {number} is {line.strip()[:60]!r}, not numbers.") from error
        if len(row) not in (2, 3) or (rows and len(row) != len(rows[0])):
            raise DataError(
                f"{path}, line {number} has {len(row)} numbers, not {len(rows[0]) if rows else '2 or 3'}."
            )
        rows.append(row)
    points = torch.tensor(rows, dtype=torch.float64)
    if not rows or not bool(torch.isfinite(points).all()):
        raise DataError(f"{path} holds no points, or some that are not finite.")
    return points
