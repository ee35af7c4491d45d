"""Landmark schemes: what the K points of a face are called, how they mirror, and how schemes convert.

Left and right are the sides of the image for an upright face, in every scheme. Built in are "68" (300-W), "66" (3DFAW),
"98" (WFLW), "19" (AFLW) and "5" (MAFL, CelebA, MTCNN); a YAML file of the same form adds another (docs/faces.md).

Text stands for a scheme in configs, samples and files (:func:`scheme_word`): the name of a built-in one, else the whole
content on one line. So a run or a cache needs no other file, and two schemes of one name stay apart.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from lineament.errors import DataError, UsageError, unknown_name
from lineament.faces.landmark_scheme import Contour, LandmarkScheme, builtin_schemes
from lineament.faces.scheme_file import (
    load_scheme,
    parse_scheme,
    parse_scheme_text,
    scheme_content,
    scheme_text,
)

__all__ = [
    "SCHEME_FILES",
    "Contour",
    "LandmarkScheme",
    "as_scheme",
    "builtin_schemes",
    "convert_points",
    "eye_centres",
    "is_unnamed",
    "load_scheme",
    "mirror_points",
    "mirror_values",
    "parse_scheme",
    "register_scheme",
    "scheme",
    "scheme_content",
    "scheme_names",
    "scheme_of_names",
    "scheme_word",
    "unnamed_scheme",
]

# Folder of the built-in schemes, each a file of its name.
SCHEME_FILES = Path(__file__).parent / "schemes_data"
_UNNAMED = re.compile(r"points-([1-9]\d{0,3})")


def scheme(name: str) -> LandmarkScheme:
    """Return a scheme by its name, from the path of a YAML file, or from its content.

    ``points-7`` is a scheme of seven points of unknown meaning, for models that do not tell what they learnt and for
    labels without names.

    Raises:
        UsageError: If there is no scheme of that name.
        DataError: If the YAML file or the content cannot be read or is inconsistent.
    """
    # A file may change between two readings, a name or a content never does.
    if name.endswith((".yaml", ".yml")) and not name.startswith("{"):
        return load_scheme(Path(name).expanduser())
    return _registered.get(name) or _known(name)


@cache
def _known(name: str) -> LandmarkScheme:
    if name in builtin_schemes():
        return load_scheme(SCHEME_FILES / f"{name}.yaml", builtin=True)
    unnamed = _UNNAMED.fullmatch(name)
    if unnamed:
        count = int(unnamed[1])
        return LandmarkScheme(
            name,
            tuple(f"point {index}" for index in range(count)),
            tuple(range(count)),
            description=f"{count} points of unknown meaning, as an old model may have learnt them",
            mirror_known=count == 1,
        )
    if name.lstrip().startswith("{"):
        return parse_scheme_text(name)
    raise unknown_name("landmark scheme", name, [*scheme_names(), "or a scheme file such as my-scheme.yaml"])


def scheme_word(which: str | LandmarkScheme) -> str:
    """The text that stands for a scheme in configs, samples and files: a built-in name, else its content."""
    layout = as_scheme(which)
    if layout.name in builtin_schemes() or is_unnamed(layout):
        return layout.name
    return scheme_text(layout)


def is_unnamed(layout: LandmarkScheme) -> bool:
    """Whether the scheme only counts points: ``points-7``."""
    return _UNNAMED.fullmatch(layout.name) is not None


def scheme_of_names(names: Sequence[str]) -> LandmarkScheme:
    """The known scheme whose points have these names; else a new one, which mirrors as left and right in them say.

    Names that only count (``0, 1, 2``, or from 1) are none: they give the built-in scheme of as many points, else
    :func:`unnamed_scheme`.
    """
    names = tuple(names)
    for known in scheme_names():
        if scheme(known).names == names:
            return scheme(known)
    counted = [int(name) for name in names if name.isascii() and name.isdigit()]
    if len(counted) == len(names) and counted in ([*range(len(names))], [*range(1, len(names) + 1)]):
        return unnamed_scheme(len(names))
    unnamed = f"points-{len(names)}"
    if _UNNAMED.fullmatch(unnamed) and scheme(unnamed).names == names:
        return scheme(unnamed)
    return parse_scheme(
        {"name": f"own-{len(names)}", "points": [name.replace("[", "(").replace("]", ")") for name in names]}
    )


def unnamed_scheme(count: int) -> LandmarkScheme:
    """The built-in scheme of ``count`` points, else ``points-<count>``; raises ``DataError`` above 9999 points."""
    name = str(count) if str(count) in builtin_schemes() else f"points-{count}"
    if name not in builtin_schemes() and not _UNNAMED.fullmatch(name):
        raise DataError(f"{count} points are no face: 1 to 9999 are read.")
    return scheme(name)


_registered: dict[str, LandmarkScheme] = {}


def register_scheme(added: LandmarkScheme) -> LandmarkScheme:
    """Make a scheme known by its name; raises ``UsageError`` if another one has the name."""
    known = _registered.get(added.name)
    if added.name in builtin_schemes() or is_unnamed(added) or (known is not None and known != added):
        raise UsageError(f"a landmark scheme named {added.name!r} exists already: give yours another name.")
    _registered[added.name] = added
    return added


def scheme_names() -> list[str]:
    """Names of all known schemes."""
    return [*builtin_schemes(), *sorted(_registered)]


def as_scheme(given: str | LandmarkScheme) -> LandmarkScheme:
    """Return a scheme given by name, path or itself."""
    return given if isinstance(given, LandmarkScheme) else scheme(given)


def mirror_points(points: Tensor, which: str | LandmarkScheme, width: int) -> Tensor:
    """Landmarks of the left-right flipped image.

    Args:
        points: ``[..., K, 2]`` xy in pixels (further columns, for example depth, move along unchanged).
        which: The scheme of the points.
        width: Width of the image in pixels: ``x' = width - 1 - x``.

    Raises:
        DataError: If the number of points is not the scheme's.
    """
    layout = as_scheme(which)
    layout.check(points)
    layout.require_mirror()
    swapped = points[..., list(layout.mirror), :]
    return torch.cat([(width - 1) - swapped[..., :1], swapped[..., 1:]], dim=-1)


def mirror_values(values: Tensor, which: str | LandmarkScheme) -> Tensor:
    """Reorder what belongs to the points, for example visibility ``[..., K]``, for the flipped image."""
    layout = as_scheme(which)
    if values.shape[-1] != len(layout):
        raise DataError(f"scheme {layout.name} has {len(layout)} points, not {values.shape[-1]}.")
    layout.require_mirror()
    return values[..., list(layout.mirror)]


def convert_points(points: Tensor, source: str | LandmarkScheme, target: str | LandmarkScheme) -> Tensor:
    """Express landmarks in another scheme, where that is defined.

    Every point of the target is a point of the source or the mean of several; where no direct rule exists the shortest
    chain of rules is taken (98 to 66 goes over 68). A point made of a NaN point is NaN. Schemes whose points have
    the same names are the same, and points without a meaning (``points-7``) take that of any scheme of as many points.

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
    if start.names == end.names or (is_unnamed(start) and len(start) == len(end)):
        return points
    for groups in _chain(start, end):
        points = torch.stack([points[..., list(group), :].mean(-2) for group in groups], dim=-2)
    return points


def _chain(start: LandmarkScheme, end: LandmarkScheme) -> list[tuple[tuple[int, ...], ...]]:
    """Shortest list of conversion tables from ``start`` to ``end``."""
    queue: deque[tuple[LandmarkScheme, list[tuple[tuple[int, ...], ...]]]] = deque([(start, [])])
    seen = {start.name}
    while queue:
        here, tables = queue.popleft()
        for name, table in here.conversions.items():
            if name == end.name and len(table) == len(end):
                return [*tables, table]
            if name not in seen:
                seen.add(name)
                if name in scheme_names():
                    queue.append((scheme(name), [*tables, table]))
    reached = ", ".join(sorted(seen - {start.name})) or "none"
    raise UsageError(f"no rule turns scheme {start.name} into {end.name}: it can become {reached}.")


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
