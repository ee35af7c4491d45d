"""CVAT for images 1.1: ``<image>`` with ``<skeleton>``, ``<points>`` and ``<box>``; positions on the canvas.

The outer corner of the first pixel is 0 there, so its middle is 0.5.
"""

from __future__ import annotations

from collections.abc import Iterable
from xml.etree.ElementTree import Element

from torch import Tensor

from lineament.errors import DataError
from lineament.faces.labels.formats import CANVAS
from lineament.faces.labels.named_points import NamedFace, label_file
from lineament.faces.labels.record import LabelFile, ReadRequest, face_box, number


def read(root: Element, request: ReadRequest) -> LabelFile:
    """Read a document whose root is ``<annotations>``.

    A skeleton is a face; so are all single points of one group, all single points of an image without a group, and each
    ``<points>`` of several points. A box belongs to the face of its group, or to the only face of its image.

    Raises:
        DataError: Naming the image and the fault.
    """
    if root.find("track") is not None:
        raise DataError("it is 'CVAT for video': export the task as 'CVAT for images 1.1'.")
    faces: list[NamedFace] = []
    sizes: dict[str, list[int]] = {}
    for image in root.iter("image"):
        name = image.get("name") or ""
        if not name:
            raise DataError(f"image {image.get('id')} has no name.")
        width, height = image.get("width", ""), image.get("height", "")
        if width.isdecimal() and height.isdecimal():
            sizes[name] = [int(width), int(height)]
        faces += _faces(image, name)
    return label_file(faces, request.scheme, request.first_pixel, _sublabels(root), sizes)


def _faces(image: Element, name: str) -> list[NamedFace]:
    faces: list[tuple[str, NamedFace]] = []
    single: dict[str, NamedFace] = {}
    for shape in image:
        group = shape.get("group_id") or ""
        group = "" if group == "0" else group
        if shape.tag == "skeleton":
            face = NamedFace(name)
            for point in shape.iter("points"):
                for x, y in _pairs(point, name):
                    if point.get("outside") != "1":
                        face.add((point.get("label") or "").strip(), x, y, point.get("occluded") != "1")
            faces.append((group, face))
        elif shape.tag == "points":
            pairs = _pairs(shape, name)
            visible = shape.get("occluded") != "1"
            if len(pairs) == 1:
                if group not in single:
                    single[group] = NamedFace(name)
                    faces.append((group, single[group]))
                single[group].add((shape.get("label") or "").strip(), *pairs[0], visible)
            else:
                face = NamedFace(name)
                for place, (x, y) in enumerate(pairs):
                    face.add(str(place), x, y, visible)
                faces.append((group, face))
    _add_boxes(faces, image, name)
    return [face for _, face in faces]


def _add_boxes(faces: list[tuple[str, NamedFace]], image: Element, name: str) -> None:
    for shape in image.iter("box"):
        group = shape.get("group_id") or ""
        box = _box(shape, name)
        owners = [face for other, face in faces if other == group and group not in ("", "0")]
        if not owners and len(faces) <= 1:
            owners = [face for _, face in faces]
        if owners:
            owners[0].box = box
        elif not faces:
            faces.append((group, NamedFace(name, box=box)))


def _box(shape: Element, name: str) -> Tensor | None:
    return face_box([shape.get(edge) for edge in ("xtl", "ytl", "xbr", "ybr")], name, CANVAS)


def _pairs(shape: Element, name: str) -> list[tuple[float, float]]:
    pairs = []
    for text in (shape.get("points") or "").split(";"):
        values = text.split(",")
        if len(values) != 2:
            raise DataError(f"points of {name} hold {text!r}, not x,y.")
        pairs.append((number(values[0], f"a point of {name}"), number(values[1], f"a point of {name}")))
    return pairs


def _sublabels(root: Element) -> Iterable[str]:
    """Names of the points of the task's skeleton where it has one skeleton, in its order."""
    skeletons = [
        [(point.findtext("name") or "").strip() for point in label.iter("sublabel")]
        for label in root.iter("label")
    ]
    # The attributes of newer exports list sublabels as labels whose parent is the skeleton.
    children = [
        (label.findtext("name") or "").strip() for label in root.iter("label") if label.findtext("parent")
    ]
    filled = [names for names in skeletons if names] + ([children] if children else [])
    used = {(point.get("label") or "").strip() for point in root.iter("points")}
    return filled[0] if len(filled) == 1 and used & set(filled[0]) else ()
