"""COCO keypoints: images, categories with the names of their keypoints, annotations with ``x, y, v`` for each.

``v`` is 0 where a point is not labelled, 1 where it is hidden and 2 where it is seen. Keypoints are pixel indices,
boxes (``x, y, width, height``) are canvas positions; so detectron2 documents its reading of the format.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from lineament.errors import DataError
from lineament.faces.labels.formats import CANVAS, FIRST_PIXEL
from lineament.faces.labels.named_points import NamedFace, label_file
from lineament.faces.labels.record import (
    SIZES,
    FaceLabel,
    LabelFile,
    ReadRequest,
    face_box,
    face_score,
    number,
    tight_box,
)


def is_coco(content: object) -> bool:
    """Whether a JSON document is of this format."""
    return isinstance(content, dict) and "annotations" in content and "images" in content


def read(content: dict[str, Any], request: ReadRequest) -> LabelFile:
    """Read a document; raises ``DataError`` naming the annotation and the fault."""
    images: dict[object, str] = {}
    sizes: dict[str, list[int]] = {}
    for image in _objects(content, "images"):
        name = image.get("file_name")
        if not isinstance(name, str) or not name:
            raise DataError(f"image {image.get('id')!r} has no file_name.")
        images[_key(image.get("id"))] = name
        width, height = image.get("width"), image.get("height")
        if isinstance(width, int) and isinstance(height, int) and min(width, height) > 0:
            sizes[name] = [width, height]
    categories = {
        _key(each.get("id")): _names(each) for each in _objects(content, "categories", required=False)
    }
    faces, used = [], {}
    for item in _objects(content, "annotations"):
        what = f"annotation {item.get('id')!r}"
        values = item.get("keypoints")
        if values is None:
            continue
        if _key(item.get("image_id")) not in images:
            raise DataError(f"{what} is of the image {item.get('image_id')!r}, which is not listed.")
        if not isinstance(values, list) or not values or len(values) % 3:
            raise DataError(f"keypoints of {what} must hold x, y, v for each point.")
        names = categories.get(_key(item.get("category_id"))) or tuple(map(str, range(len(values) // 3)))
        if len(names) != len(values) // 3:
            raise DataError(
                f"{what} has {len(values) // 3} keypoints, its category names {len(names)} points."
            )
        used[names] = what
        faces.append(_face(images[_key(item.get("image_id"))], names, item, what))
    if len(used) > 1:
        raise DataError(
            f"{' and '.join(list(used.values())[:2])} are of categories with other points: "
            "export one category at a time."
        )
    return label_file(faces, request.scheme, request.first_pixel, next(iter(used), ()), sizes)


def _face(image: str, names: tuple[str, ...], item: Mapping[str, Any], what: str) -> NamedFace:
    face = NamedFace(image, box=_box(item.get("bbox"), what), score=face_score(item.get("score"), what))
    values = [number(value, f"keypoints of {what}") for value in item["keypoints"]]
    for name, x, y, v in zip(names, values[::3], values[1::3], values[2::3], strict=True):
        if v not in (0, 1, 2):
            raise DataError(f"the point {name!r} of {what} has the visibility {v:g}: 0, 1 or 2 is read.")
        if v:
            face.add(name, x, y, v == 2)
    return face


def _box(given: object, what: str) -> Tensor | None:
    if given is None:
        return None
    if not isinstance(given, list) or len(given) != 4:
        raise DataError(f"bbox of {what} must hold x, y, width, height, not {given!r}.")
    x, y, width, height = (number(value, f"bbox of {what}") for value in given)
    # Tools write an empty box where nobody drew one.
    if not (width > 0 and height > 0):
        return None
    return face_box([x, y, x + width, y + height], what, CANVAS)


def _objects(content: Mapping[str, Any], key: str, required: bool = True) -> list[dict[str, Any]]:
    items = content.get(key) if required else content.get(key) or []
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise DataError(f'"{key}" must be a list of objects.')
    return items


def _key(given: object) -> object:
    # Some tools write ids as text in one place and as numbers in another.
    return str(given)


def _names(category: Mapping[str, Any]) -> tuple[str, ...]:
    names = category.get("keypoints") or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DataError(f'"keypoints" of category {category.get("id")!r} must list the names of its points.')
    stripped = tuple(name.strip() for name in names)
    if len(set(stripped)) < len(stripped):
        raise DataError(f"category {category.get('id')!r} names a point twice.")
    return stripped


def text_of(labels: LabelFile) -> str:
    """The document of a label file; the box of a face without one is that of its points."""
    names = labels.scheme.names if labels.scheme is not None else ()
    known = labels.meta.get(SIZES) or {}
    ids: dict[str, int] = {}
    annotations = []
    for index, face in enumerate(labels.faces, start=1):
        image = ids.setdefault(face.image, len(ids) + 1)
        annotations.append({"id": index, "image_id": image, "category_id": 1, **_item(face, len(names))})
    images: list[dict[str, Any]] = []
    for name, number_ in ids.items():
        size = known.get(name)
        extent = {"width": size[0], "height": size[1]} if size else {}
        images.append({"id": number_, "file_name": name, **extent})
    category = {"id": 1, "name": "face", "supercategory": "face", "keypoints": list(names), "skeleton": []}
    content = {"images": images, "categories": [category], "annotations": annotations}
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def _item(face: FaceLabel, count: int) -> dict[str, Any]:
    keypoints: list[float] = [0, 0, 0] * count
    if face.landmarks is not None:
        seen = face.placed if face.visible is None else face.visible
        points = (face.landmarks.double() + FIRST_PIXEL["coco"]).tolist()
        for place, ((x, y), visible) in enumerate(zip(points, seen.tolist(), strict=True)):
            if not math.isnan(x):
                keypoints[3 * place : 3 * place + 3] = [_rounded(x), _rounded(y), 2 if visible else 1]
    item: dict[str, Any] = {"keypoints": keypoints, "num_keypoints": int(face.placed.sum()), "iscrowd": 0}
    box = face.box
    if box is None and face.landmarks is not None:
        box = tight_box(face.landmarks)
    if box is not None:
        x0, y0, x1, y1 = (box.double() + CANVAS).tolist()
        item["bbox"] = [_rounded(value) for value in (x0, y0, x1 - x0, y1 - y0)]
        item["area"] = _rounded((x1 - x0) * (y1 - y0))
    if face.score is not None:
        item["score"] = _rounded(face.score)
    return item


def _rounded(value: float) -> float:
    return float(f"{value:.9g}")
