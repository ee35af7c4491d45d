"""dlib's XML, as imglab writes it: ``<image file><box top left width height><part name x y/>``; whole pixels from 0."""

from __future__ import annotations

from xml.etree.ElementTree import Element

from torch import Tensor

from lineament.errors import DataError
from lineament.faces.labels.formats import CANVAS
from lineament.faces.labels.named_points import NamedFace, label_file
from lineament.faces.labels.record import LabelFile, ReadRequest, face_box, number


def read(root: Element, request: ReadRequest) -> LabelFile:
    """Read a document whose root is ``<dataset>``; boxes that dlib is to ignore are left out.

    Raises:
        DataError: Naming the image and the fault.
    """
    faces = []
    sizes: dict[str, list[int]] = {}
    for image in root.iter("image"):
        name = (image.get("file") or "").replace("\\", "/")
        if not name:
            raise DataError("an <image> has no file.")
        width, height = image.get("width", ""), image.get("height", "")
        if width.isdecimal() and height.isdecimal():
            sizes[name] = [int(width), int(height)]
        for box in image.iter("box"):
            if box.get("ignore") in ("1", "true"):
                continue
            face = NamedFace(name, box=_box(box, name))
            for part in box.iter("part"):
                what = f"the part {part.get('name')!r} of {name}"
                face.add(
                    (part.get("name") or "").strip(), number(part.get("x"), what), number(part.get("y"), what)
                )
            faces.append(face)
    return label_file(faces, request.scheme, request.first_pixel, (), sizes)


def _box(box: Element, name: str) -> Tensor | None:
    # A rectangle of dlib holds its last column and row: width 100 from left 0 reaches pixel 99, whose edge is 99.5.
    left, top, width, height = (
        number(box.get(key), f"box of {name}") for key in ("left", "top", "width", "height")
    )
    return face_box([left, top, left + width, top + height], name, CANVAS)
