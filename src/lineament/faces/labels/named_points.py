"""Faces made of single named points, as most labelling tools keep them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from lineament.errors import DataError
from lineament.faces.labels.record import FaceLabel, LabelFile, points_tensor, visible_of
from lineament.faces.schemes import LandmarkScheme, scheme_of_names


@dataclass
class NamedFace:
    """A face while it is being read.

    Attributes:
        image: Name of the image.
        points: Name -> x, y and whether it is visible, in the order of the file; absent ones are missing.
        box: Of the face, or None.
        score: Of the face, or None.
    """

    image: str
    points: dict[str, tuple[float, float, bool]] = field(default_factory=dict)
    box: Tensor | None = None
    score: float | None = None

    def add(self, name: str, x: float, y: float, visible: bool = True) -> None:
        """Add a point; nothing where it has no place.

        Raises:
            DataError: If there is one of that name already, so that the points are of several faces.
        """
        if not name:
            raise DataError(f"a point of {self.image} has no name: give each point a label.")
        if name in self.points:
            raise DataError(
                f"the point {name!r} stands twice in {self.image}: give the points of each face a group of their own."
            )
        if not (math.isnan(x) or math.isnan(y)):
            self.points[name] = (x, y, visible)


def label_file(
    faces: Sequence[NamedFace],
    wanted: LandmarkScheme | None,
    first_pixel: float,
    names: Iterable[str] = (),
    sizes: dict[str, list[int]] | None = None,
) -> LabelFile:
    """Faces of named points -> a label file; a point that a face lacks is missing there.

    Args:
        faces: In the order of the file.
        wanted: The scheme the points must have, or None.
        first_pixel: What the file calls the middle of the first pixel.
        names: Names of points in their order where the file lists them; others follow as they come.
        sizes: Width and height of images.

    Raises:
        DataError: If the points are not those of the scheme wanted.
    """
    found = list(dict.fromkeys([*names, *(name for face in faces for name in face.points)]))
    if all(name.isascii() and name.isdigit() for name in found):
        # They only count, and the first face may lack some.
        found.sort(key=int)
    layout = None
    if found:
        layout, found = _layout(found, wanted)
    labels = []
    for face in faces:
        rows = [face.points.get(name, (math.nan, math.nan, None)) for name in found]
        landmarks = points_tensor([row[:2] for row in rows], first_pixel) if face.points else None
        visible = visible_of([row[2] for row in rows]) if face.points else None
        labels.append(FaceLabel(face.image, landmarks, face.box, face.score, visible=visible))
    return LabelFile(layout, labels, {"sizes": sizes} if sizes else {})


def _layout(found: list[str], wanted: LandmarkScheme | None) -> tuple[LandmarkScheme, list[str]]:
    """The scheme of these names, and the names in its order."""
    if wanted is None:
        return scheme_of_names(found), found
    if set(found) <= set(wanted.names):
        return wanted, list(wanted.names)
    made = scheme_of_names(found)
    if len(made) == len(wanted) and made.names != tuple(found):
        # They only count: the scheme wanted says what they are.
        return wanted, found
    stranger = next(name for name in found if name not in wanted.names)
    raise DataError(f"the point {stranger!r} is none of scheme {wanted.name}: convert the labels first.")
