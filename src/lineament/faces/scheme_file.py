"""Reads a landmark scheme from YAML and says in one sentence what is wrong with it (format: docs/faces.md)."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from lineament.errors import DataError
from lineament.faces.landmark_scheme import Contour, LandmarkScheme, builtin_schemes

_KEYS = {
    "name",
    "description",
    "points",
    "aliases",
    "mirror",
    "parts",
    "contours",
    "eyes",
    "inter_ocular",
    "convert",
    "surface",
}
# What a file may say besides: where the points lie on the meshes of heads, which only those who draw heads read.
PLACES = "places"
_RANGE = re.compile(r"(\d+)-(\d+)")
_NUMBERED = re.compile(r"([A-Za-z][\w.-]*)\[(\d+)\]")
# Tools that people label with allow anything as a name; what would break a line or a table does not belong in one.
_NAME = re.compile(r"\S(?:[^\x00-\x1f\x7f\u2028\u2029]{0,98}\S)?")
# Names of built-in schemes, and of schemes of so many points of unknown meaning.
_TAKEN = re.compile(r"points-\d+")


def load_scheme(path: str | Path, builtin: bool = False) -> LandmarkScheme:
    """Read a scheme from a YAML file; ``builtin`` for those that come with the package.

    Raises:
        DataError: If the file cannot be read or is inconsistent; the message names the file and the fault.
    """
    content = read_scheme_file(path)
    content.pop(PLACES, None)
    try:
        return parse_scheme(content, builtin)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def read_scheme_file(path: str | Path) -> dict[str, Any]:
    """The mapping that a scheme file holds, ``places`` among it, unchecked.

    Raises:
        DataError: If the file cannot be read or holds no mapping.
    """
    path = Path(path)
    try:
        content = _plain(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path}: cannot read the landmark scheme ({error.strerror}).") from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise DataError(f"{path}: not a YAML file ({str(error).splitlines()[0]}).") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: a landmark scheme is a mapping with at least 'name' and 'points'.")
    return content


def parse_scheme_text(text: str) -> LandmarkScheme:
    """Build a scheme from the text of a YAML or JSON mapping; raises ``DataError`` on any fault."""
    try:
        content = _plain(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise DataError(f"not a landmark scheme ({str(error).splitlines()[0]}).") from error
    if not isinstance(content, dict):
        raise DataError("a landmark scheme is a mapping with at least 'name' and 'points'.")
    return parse_scheme(content)


def _plain(text: str) -> object:
    # Every JSON text that matters is YAML too, but for the characters that YAML refuses.
    try:
        return json.loads(text)
    except ValueError:
        return yaml.safe_load(text)


def scheme_content(layout: LandmarkScheme) -> dict[str, Any]:
    """The mapping that :func:`parse_scheme` builds an equal scheme from: plain values, ready for JSON or YAML."""
    content: dict[str, Any] = {"name": layout.name}
    if layout.description:
        content["description"] = layout.description
    content["points"] = list(layout.names)
    if layout.aliases:
        content["aliases"] = dict(layout.aliases)
    content["mirror"] = list(layout.mirror) if layout.mirror_known else None
    if layout.parts:
        content["parts"] = {name: list(part) for name, part in layout.parts.items()}
    if layout.contours:
        content["contours"] = {
            line.name: {"points": list(line.indices), "closed": line.closed} for line in layout.contours
        }
    if layout.eyes is not None:
        content["eyes"] = {"left": list(layout.eyes[0]), "right": list(layout.eyes[1])}
    if layout.inter_ocular is not None:
        content["inter_ocular"] = list(layout.inter_ocular)
    if layout.conversions:
        content["convert"] = {
            name: [list(group) for group in table] for name, table in layout.conversions.items()
        }
    if layout.surface is not None:
        content["surface"] = [list(place) for place in layout.surface]
    return content


def scheme_text(layout: LandmarkScheme) -> str:
    """:func:`scheme_content` on one line; equal schemes have equal texts."""
    return json.dumps(scheme_content(layout), ensure_ascii=False)


def parse_scheme(content: dict[str, Any], builtin: bool = False) -> LandmarkScheme:
    """Build a scheme from the mapping of a YAML file.

    Args:
        content: The mapping (docs/faces.md).
        builtin: Whether it is one that comes with the package, whose name others may not take.

    Raises:
        DataError: On any fault.
    """
    unknown = sorted(set(map(str, content)) - _KEYS)
    if unknown:
        raise DataError(f"unknown key {unknown[0]!r}: the keys are {', '.join(sorted(_KEYS))}.")
    name = content.get("name")
    if not isinstance(name, str) or not name:
        raise DataError(f"'name' must be a word in quotes, not {name!r}.")
    if not builtin and (name in builtin_schemes() or _TAKEN.fullmatch(name)):
        raise DataError(f"the name {name!r} is that of a built-in scheme: give yours another one.")
    names = _names(content.get("points"))
    mirror = mirror_of_names(names) if content.get("mirror") is None else _mirror(content["mirror"], names)
    parts = {
        str(part): _indices(items, names, f"part {part!r}")
        for part, items in _mapping(content, "parts").items()
    }
    contours = tuple(_contour(str(key), value, names) for key, value in _mapping(content, "contours").items())
    eyes = _eyes(content.get("eyes"), names)
    ocular = content.get("inter_ocular")
    corners = None if ocular is None else _indices(ocular, names, "inter_ocular")
    if corners is not None and len(corners) != 2:
        raise DataError(f"'inter_ocular' names two points, not {len(corners)}.")
    conversions = {
        str(target): _conversion(str(target), groups, names)
        for target, groups in _mapping(content, "convert").items()
    }
    pair = None if corners is None else (corners[0], corners[1])
    text = str(content.get("description", ""))
    known = mirror is not None
    swaps = tuple(range(len(names))) if mirror is None else mirror
    aliases = {
        str(alias): _alias(str(alias), item, names) for alias, item in _mapping(content, "aliases").items()
    }
    surface = _surface(content.get("surface"), names)
    return LandmarkScheme(
        name, names, swaps, parts, contours, eyes, pair, conversions, text, known, aliases, surface
    )


# Left and right as words, or as single letters that stand apart.
_SIDES = re.compile(r"left|right|(?<![A-Za-z])[lr](?![A-Za-z])", re.IGNORECASE)
_OTHER_SIDE = {"left": "right", "right": "left", "l": "r", "r": "l"}


def mirror_of_names(names: tuple[str, ...]) -> tuple[int, ...] | None:
    """Find which points swap in a flipped image by "left" and "right", or "l" and "r", in their names.

    Returns:
        The permutation; None where no name, or not every such name, has its other side. One point stays in its place.
    """
    places = {name.lower(): index for index, name in enumerate(names)}
    mirror = list(range(len(names)))
    for index, name in enumerate(names):
        other = _SIDES.sub(lambda side: _OTHER_SIDE[side[0].lower()], name.lower())
        if other not in places:
            return None
        mirror[index] = places[other]
    sided = any(index != place for index, place in enumerate(mirror))
    consistent = all(mirror[place] == index for index, place in enumerate(mirror))
    return tuple(mirror) if (sided or len(names) == 1) and consistent else None


def _mapping(content: dict[str, Any], key: str) -> dict[Any, Any]:
    value = content.get(key) or {}
    if not isinstance(value, dict):
        raise DataError(f"{key!r} must be a mapping, not {value!r}.")
    return value


def _names(items: object) -> tuple[str, ...]:
    """Expand ``jaw[17]`` to ``jaw_0`` ... ``jaw_16`` and check the names."""
    if not isinstance(items, list) or not items:
        raise DataError(
            "'points' must list the names of the landmarks, for example [left_eye, right_eye, nose]."
        )
    names: list[str] = []
    for item in items:
        if isinstance(item, str) and (numbered := _NUMBERED.fullmatch(item)):
            names.extend(f"{numbered[1]}_{i}" for i in range(int(numbered[2])))
        elif isinstance(item, str) and _NAME.fullmatch(item):
            names.append(item)
        else:
            raise DataError(
                f"point name {item!r} must be a text on one line of at most 100 characters, not a bare number."
            )
    repeated = [name for i, name in enumerate(names) if name in names[:i]]
    if repeated:
        raise DataError(f"point {repeated[0]!r} is listed twice: every landmark needs its own name.")
    return tuple(names)


def _indices(items: object, names: tuple[str, ...], where: str, ordered_once: bool = True) -> tuple[int, ...]:
    """Expand indices, names and ranges such as ``0-16`` or ``16-9`` (both ends included)."""
    found: list[int] = []
    for item in items if isinstance(items, list) else [items]:
        if isinstance(item, str) and item in names:
            found.append(names.index(item))
        elif isinstance(item, str) and (ends := _RANGE.fullmatch(item)):
            first, last = int(ends[1]), int(ends[2])
            step = 1 if last >= first else -1
            found.extend(range(first, last + step, step))
        elif isinstance(item, int) and not isinstance(item, bool):
            found.append(item)
        else:
            raise DataError(f"{where}: {item!r} is no point name, index or range such as '0-16'.")
    outside = [index for index in found if not 0 <= index < len(names)]
    if outside:
        raise DataError(f"{where}: index {outside[0]} is outside 0-{len(names) - 1}.")
    if ordered_once and len(set(found)) != len(found):
        twice = next(index for i, index in enumerate(found) if index in found[:i])
        raise DataError(f"{where}: point {names[twice]!r} is named twice.")
    return tuple(found)


def _alias(alias: str, item: object, names: tuple[str, ...]) -> int:
    found = _indices(item, names, f"alias {alias!r}")
    if alias in names or not _NAME.fullmatch(alias) or len(found) != 1:
        raise DataError(f"alias {alias!r} must be a new name of one point, not of {item!r}.")
    return found[0]


def _mirror(pairs: object, names: tuple[str, ...]) -> tuple[int, ...]:
    """Build the permutation from pairs, or check a full permutation of ``K`` indices."""
    if not isinstance(pairs, list):
        raise DataError(
            f"'mirror' must be a list of pairs, for example [[left_eye, right_eye]], not {pairs!r}."
        )
    if pairs and all(isinstance(item, int) for item in pairs):
        if sorted(pairs) != list(range(len(names))):
            raise DataError(f"'mirror' as one list must hold each index of 0-{len(names) - 1} once.")
        wrong = [i for i, j in enumerate(pairs) if pairs[j] != i]
        if wrong:
            i = wrong[0]
            raise DataError(
                f"'mirror' does not undo itself: {i} goes to {pairs[i]}, which goes to {pairs[pairs[i]]}."
            )
        return tuple(pairs)
    mirror = list(range(len(names)))
    taken: set[int] = set()
    for pair in pairs:
        if not isinstance(pair, list) or len(pair) != 2:
            raise DataError(f"mirror: {pair!r} is not a pair [left, right].")
        sides = [_indices(side, names, f"mirror pair {pair}") for side in pair]
        if len(sides[0]) != len(sides[1]):
            raise DataError(f"mirror pair {pair}: {len(sides[0])} points cannot swap with {len(sides[1])}.")
        for left, right in zip(*sides, strict=True):
            for index in {left, right}:
                if index in taken:
                    raise DataError(
                        f"mirror: point {names[index]!r} is in two pairs, so a flip would not undo itself."
                    )
                taken.add(index)
            mirror[left], mirror[right] = right, left
    return tuple(mirror)


def _contour(name: str, value: object, names: tuple[str, ...]) -> Contour:
    if not isinstance(value, dict) or "points" not in value or set(value) - {"points", "closed"}:
        raise DataError(f"contour {name!r} must read {{points: [...], closed: true or false}}.")
    indices = _indices(value["points"], names, f"contour {name!r}")
    if len(indices) < 2:
        raise DataError(f"contour {name!r} joins at least two points, not {len(indices)}.")
    return Contour(name, indices, bool(value.get("closed", False)))


def _eyes(value: object, names: tuple[str, ...]) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    if value is None:
        return None
    if not isinstance(value, dict) or set(value) != {"left", "right"}:
        raise DataError(f"'eyes' must read {{left: [...], right: [...]}}, not {value!r}.")
    return _indices(value["left"], names, "left eye"), _indices(value["right"], names, "right eye")


def _conversion(target: str, groups: object, names: tuple[str, ...]) -> tuple[tuple[int, ...], ...]:
    """One group of points per point of the target; a range outside an inner list is that many groups."""
    if not isinstance(groups, list):
        raise DataError(
            f"convert to {target!r}: list one point, or a list of points to average, per target point."
        )
    table: list[tuple[int, ...]] = []
    for group in groups:
        indices = _indices(group, names, f"convert to {target!r}", ordered_once=False)
        table.extend([indices] if isinstance(group, list) else [(index,) for index in indices])
    if target in builtin_schemes() and len(table) != _builtin_count(target):
        raise DataError(
            f"convert to {target!r}: {len(table)} points are given, it has {_builtin_count(target)}."
        )
    if any(not group for group in table):
        raise DataError(f"convert to {target!r}: an empty list averages nothing.")
    return tuple(table)


def _surface(rows: object, names: tuple[str, ...]) -> tuple[tuple[float, float, float], ...] | None:
    if rows is None:
        return None
    if not isinstance(rows, list) or len(rows) != len(names):
        raise DataError(
            f"'surface' lists a place [x, y, z] in millimetres for each of the {len(names)} points."
        )
    for name, row in zip(names, rows, strict=True):
        numbers = isinstance(row, list) and all(
            isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
            for value in row
        )
        if not numbers or len(row) != 3:
            raise DataError(f"surface: the place of {name!r} must be three numbers, not {row!r}.")
    places = [(float(x), float(y), float(z)) for x, y, z in rows]
    if len(places) < 4 or np.linalg.matrix_rank(np.array(places) - places[0], tol=1.0) < 2:
        raise DataError("'surface' needs four points or more that do not lie on one line.")
    return tuple(places)


def _builtin_count(name: str) -> int:
    # Every built-in scheme is named after its number of points.
    return int(name.split("-")[0])
