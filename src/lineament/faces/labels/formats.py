"""The formats of label files: their names, and what each calls the middle of the first pixel."""

from __future__ import annotations

from typing import Literal

Format = Literal["json", "csv", "pts", "coco", "cvat", "labelme", "dlib", "landmark list", "wflw"]
# Formats that can be written, and what :func:`lineament.faces.labels.write_keypoints` writes by the ending of the name.
WRITTEN: tuple[Format, ...] = ("json", "csv", "pts", "coco")

# What the middle of the first pixel is called; the source of each is in docs/labels.md.
FIRST_PIXEL: dict[Format, float] = {
    "json": 0.0,
    "csv": 0.0,
    "pts": 1.0,
    "coco": 0.0,
    "cvat": 0.5,
    "labelme": 0.5,
    "dlib": 0.0,
    "landmark list": 0.0,
    "wflw": 0.0,
}
# What of a canvas is called 0 is the outer corner of the first pixel, half a pixel before its middle.
CANVAS = 0.5
