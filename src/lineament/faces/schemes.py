"""Landmark schemes: what the K points of a face are called, how they mirror, and how schemes convert.

Left and right are the sides of the image for an upright face, in every scheme. Built in are "68" (300-W), "66" (3DFAW),
"98" (WFLW), "19" (AFLW) and "5" (MAFL, CelebA, MTCNN); a YAML file of the same form adds another (docs/faces.md).
"""

from __future__ import annotations

import re
from collections import deque
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from lineament.errors import DataError, UsageError, unknown_name
from lineament.faces.landmark_scheme import Contour, LandmarkScheme, builtin_schemes
from lineament.faces.scheme_file import load_scheme

__all__ = [
    "Contour",
    "LandmarkScheme",
    "as_scheme",
    "builtin_schemes",
    "convert_points",
    "eye_centres",
    "load_scheme",
    "mirror_points",
    "mirror_values",
    "register_scheme",
    "scheme",
    "scheme_names",
]

_FOLDER = Path(__file__).parent / "schemes_data"
_UNNAMED = re.compile(r"points-([1-9]\d{0,3})")


@cache
def scheme(name: str) -> LandmarkScheme:
    """Return a scheme by its name, or read it where ``name`` is the path of a YAML file.

    ``points-7`` is a scheme of seven points of unknown meaning, for models that do not tell what they learnt.

    Raises:
        UsageError: If there is no scheme of that name.
        DataError: If the YAML file cannot be read or is inconsistent.
    """
    if name in _registered:
        return _registered[name]
    if name in builtin_schemes():
        return load_scheme(_FOLDER / f"{name}.yaml")
    unnamed = _UNNAMED.fullmatch(name)
    if unnamed:
        count = int(unnamed[1])
        return LandmarkScheme(
            name,
            tuple(f"point {index}" for index in range(count)),
            tuple(range(count)),
            description=f"{count} points of unknown meaning, as an old model may have learnt them",
        )
    if name.endswith((".yaml", ".yml")):
        return load_scheme(Path(name))
    raise unknown_name("landmark scheme", name, scheme_names())


_registered: dict[str, LandmarkScheme] = {}


def register_scheme(added: LandmarkScheme) -> LandmarkScheme:
    """Make a scheme known by its name; raises ``UsageError`` if another one has the name."""
    known = _registered.get(added.name)
    if added.name in builtin_schemes() or (known is not None and known != added):
        raise UsageError(f"a landmark scheme named {added.name!r} exists already: give yours another name.")
    _registered[added.name] = added
    scheme.cache_clear()
    return added


def scheme_names() -> list[str]:
    """Names of all known schemes."""
    return [*builtin_schemes(), *sorted(_registered)]


def as_scheme(given: str | LandmarkScheme) -> LandmarkScheme:
    """Return a scheme given by name, path or itself."""
    return given if isinstance(given, LandmarkScheme) else scheme(given)


def mirror_points(points: Tensor, which: str | LandmarkScheme, width: int) -> Tensor:
    """Landmarks of the left-right flipped picture.

    Args:
        points: ``[..., K, 2]`` xy in pixels (further columns, for example depth, move along unchanged).
        which: The scheme of the points.
        width: Width of the picture in pixels: ``x' = width - 1 - x``.

    Raises:
        DataError: If the number of points is not the scheme's.
    """
    layout = as_scheme(which)
    layout.check(points)
    swapped = points[..., list(layout.mirror), :]
    return torch.cat([(width - 1) - swapped[..., :1], swapped[..., 1:]], dim=-1)


def mirror_values(values: Tensor, which: str | LandmarkScheme) -> Tensor:
    """Reorder what belongs to the points, for example visibility ``[..., K]``, for the flipped picture."""
    layout = as_scheme(which)
    if values.shape[-1] != len(layout):
        raise DataError(f"scheme {layout.name} has {len(layout)} points, not {values.shape[-1]}.")
    return values[..., list(layout.mirror)]


def convert_points(points: Tensor, source: str | LandmarkScheme, target: str | LandmarkScheme) -> Tensor:
    """Express landmarks in another scheme, where that is defined.

    Every point of the target is a point of the source or the mean of several; where no direct rule exists the shortest
    chain of rules is taken (98 to 66 goes over 68). A point made of a NaN point is NaN.

    Args:
        points: ``[..., K, C]``, C >= 2.
        source: Scheme of ``points``.
        target: Scheme wanted.

    Returns:
        ``[..., K', C]``.

    Raises:
        UsageError: If no chain of rules leads from the source to the target; the message lists what can be reached.
        DataError: If the number of points is not the source's.
    """
    start, end = as_scheme(source), as_scheme(target)
    start.check(points)
    if start == end:
        return points
    for groups in _chain(start, end.name):
        points = torch.stack([points[..., list(group), :].mean(-2) for group in groups], dim=-2)
    return points


def _chain(start: LandmarkScheme, end: str) -> list[tuple[tuple[int, ...], ...]]:
    """Shortest list of conversion tables from ``start`` to the scheme named ``end``."""
    queue: deque[tuple[LandmarkScheme, list[tuple[tuple[int, ...], ...]]]] = deque([(start, [])])
    seen = {start.name}
    while queue:
        here, tables = queue.popleft()
        for name, table in here.conversions.items():
            if name == end:
                return [*tables, table]
            if name not in seen:
                seen.add(name)
                queue.append((scheme(name), [*tables, table]))
    reached = ", ".join(sorted(seen - {start.name})) or "none"
    raise UsageError(f"no rule turns scheme {start.name} into {end}: it can become {reached}.")


def eye_centres(points: Tensor, which: str | LandmarkScheme) -> Tensor:
    """Return the left and right eye centres ``[..., 2, 2]`` of landmarks ``[..., K, 2]``.

    Raises:
        UsageError: If the scheme names no eyes.
        DataError: If the number of points is not the scheme's.
    """
    layout = as_scheme(which)
    layout.check(points)
    if layout.eyes is None:
        raise UsageError(
            f"scheme {layout.name} names no eyes: add 'eyes: {{left: ..., right: ...}}' to its file."
        )
    return torch.stack([points[..., list(eye), :2].mean(-2) for eye in layout.eyes], dim=-2)
