"""Landmarks of drawn faces at any places of the head's mesh: schemes of one's own, without drawing anew.

A scheme file names the places under ``places``: for each head and each point the vertices that make it and their
weights (docs/faces.md). A drawn folder tells the shape and the camera of each of its images, so the places are
projected as the drawing projects its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lineament.errors import DataError, UsageError
from lineament.faces.landmark_scheme import LandmarkScheme, builtin_schemes
from lineament.faces.scheme_file import PLACES, read_scheme_file
from lineament.faces.schemes import SCHEME_FILES, scheme
from lineament.geometry.camera import Camera
from lineament.heads.model import Floats, HeadModel, Ints
from lineament.synthetic.keypoints import landmark_head
from lineament.synthetic.scene import SceneOptions, draw_shape


def read_places(which: str, head: str) -> tuple[LandmarkScheme, list[dict[int, float]]]:
    """A scheme and where its points lie on a head.

    Args:
        which: Name of a built-in scheme, or path of a scheme file.
        head: Name of the head.

    Returns:
        The scheme, and for each point its vertices with their weights, which sum to 1.

    Raises:
        UsageError: If there is no such scheme, or it names no places on this head.
        DataError: If the file cannot be read, or its places are none.
    """
    layout = scheme(which)
    path = SCHEME_FILES / f"{which}.yaml" if which in builtin_schemes() else Path(which).expanduser()
    places = read_scheme_file(path).get(PLACES)
    if places is None or (isinstance(places, dict) and head not in places):
        raise UsageError(
            f"scheme {layout.name} does not say where its points lie on the head {head}: add 'places: {{{head}: "
            "[{vertex: weight}, ...]}' to its file, or draw and train another scheme."
        )
    rows = places[head] if isinstance(places, dict) else None
    if not isinstance(rows, list) or len(rows) != len(layout):
        raise DataError(
            f"{path}: 'places' of {head} must list {{vertex: weight}} for each of {len(layout)} points."
        )
    return layout, [_place(row, name, path) for row, name in zip(rows, layout.names, strict=True)]


def _place(row: object, name: str, path: Path) -> dict[int, float]:
    try:
        if not isinstance(row, dict):
            raise TypeError
        place = {int(vertex): float(weight) for vertex, weight in row.items()}
    except (TypeError, ValueError) as error:
        raise DataError(
            f"{path}: the place of {name!r} must read {{vertex: weight, ...}}, not {row!r}."
        ) from error
    if not place or abs(sum(place.values()) - 1.0) > 2e-3:
        raise DataError(f"{path}: the weights of {name!r} sum to {sum(place.values()):g}, not 1.")
    return place


class Relabeller:
    """Gives the landmarks of a scheme for the faces of a drawn folder.

    Args:
        head: The head that was drawn.
        places: For each point its vertices and their weights.
        options: Of the drawn world.
        seed: Of the drawn world.

    Raises:
        DataError: If a place names a vertex that the head does not have.
    """

    def __init__(
        self, head: HeadModel, places: list[dict[int, float]], options: SceneOptions, seed: int
    ) -> None:
        ids, weights = _arrays(places)
        if ids.min() < 0 or ids.max() >= len(head.neutral):
            raise DataError(
                f"the head {head.name} has {len(head.neutral)} vertices; a place of the scheme names vertex "
                f"{ids.max() if ids.min() >= 0 else ids.min()}."
            )
        self._head, self._options, self._seed = head, options, seed
        self._small = landmark_head(replace(head, landmark_ids=ids, landmark_weights=weights))
        # The direction of the eyes is not in the index; it moves lids and eyeballs alone.
        moved = [*head.eyes.ids, *head.eyes.lid_ids]
        follows = bool({"gaze_up", "gaze_down"} & set(head.expression_names))
        self._needs_gaze = follows or any(bool(np.isin(ids, each).any()) for each in moved)

    def points(self, row: Mapping[str, Any], camera: Camera) -> Tensor:
        """Landmarks ``[K, 3]`` of an image: x and y in its pixels, depth in millimetres.

        Args:
            row: Of the folder's index.
            camera: Of the image.

        Raises:
            DataError: If the direction of the eyes is needed and this version draws the face otherwise.
        """
        identity, expression = (
            np.asarray(row[name], np.float32)[None] for name in ("identity", "expression")
        )
        gaze = self._gaze(row, expression[0])[None] if self._needs_gaze else None
        vertices = self._small.vertices(identity, expression, gaze)
        places = self._small.landmarks(vertices)[0]
        return camera.project(torch.from_numpy(np.ascontiguousarray(places)).double()).float()

    def _gaze(self, row: Mapping[str, Any], expression: Floats) -> Floats:
        person = int(str(row["person"]).removeprefix("person"))
        shape = draw_shape(self._head, self._options, self._seed, int(row["index"]), person)
        if not np.allclose(shape.expression, expression, atol=1e-5):
            raise DataError(
                f"{row['file']} was drawn by another version of the world, which alone knows where the eyes look: draw "
                "the folder anew."
            )
        return shape.gaze


def _arrays(places: list[dict[int, float]]) -> tuple[Ints, Floats]:
    """Vertices and weights ``[K, n]``, filled up with weight 0."""
    width = max(len(place) for place in places)
    ids = np.zeros((len(places), width), np.int32)
    weights = np.zeros((len(places), width), np.float32)
    for number, place in enumerate(places):
        ids[number] = next(iter(place))
        ids[number, : len(place)], weights[number, : len(place)] = [*place], [*place.values()]
        weights[number] /= weights[number].sum()
    return ids, weights
