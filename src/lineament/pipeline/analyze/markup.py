"""Pieces of the page of an analysis: a photo with its faces drawn over it, the numbers of a face, a chart over time."""

from __future__ import annotations

import base64
import html
import math
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

import numpy as np
import torch
from PIL import Image

from lineament.faces.schemes import LandmarkScheme
from lineament.geometry.rotation import matrix_from_pose

# Expressions from this activation on are shown, the strongest so many.
SHOWN_FROM, SHOWN_MOST = 0.08, 8
# Length of the pose axes in sides of the face box.
AXIS = 0.45
ANGLES = ("yaw", "pitch", "roll")


def jpeg_uri(pixels: np.ndarray, quality: int = 82) -> str:
    """An image ``[h, w, 3]`` uint8 as a data URI."""
    data = BytesIO()
    Image.fromarray(pixels).save(data, "JPEG", quality=quality)
    return f"data:image/jpeg;base64,{base64.b64encode(data.getvalue()).decode()}"


def photo_svg(
    data: str, width: int, height: int, faces: Sequence[Mapping[str, Any]], layout: LandmarkScheme
) -> str:
    """A photo with the boxes, contours, points and pose axes of its faces, in the photo's pixels.

    Args:
        data: The photo as a data URI, of any size.
        width: Of the photo in pixels.
        height: The same.
        faces: As they stand in label files, with ``pose``.
        layout: What the landmarks mean.
    """
    # Pixel centres lie at integers: the photo begins half a pixel before them.
    drawn = "".join(_face_group(number, face, layout) for number, face in enumerate(faces, start=1))
    return (
        f'<svg class="photo" viewBox="-0.5 -0.5 {width} {height}" role="group" aria-label="Photo with its faces">'
        f'<image href="{data}" x="-0.5" y="-0.5" width="{width}" height="{height}" preserveAspectRatio="none"/>'
        f"{drawn}</svg>\n"
    )


def _face_group(number: int, face: Mapping[str, Any], layout: LandmarkScheme) -> str:
    x0, y0, x1, y1 = face["box"]
    side = max(x1 - x0, y1 - y0)
    points: list[list[float] | None] = face.get("landmarks") or []
    sure = face.get("confidence") or [None] * len(points)
    lines = []
    for contour in layout.contours if len(points) == len(layout) else ():
        line = [point for index in contour.indices if (point := points[index]) is not None]
        if line:
            path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in line) + ("Z" if contour.closed else "")
            lines.append(f'<path class="line" d="{path}"/>')
    radius = side / 95
    dots = "".join(
        f'<circle class="point" cx="{point[0]:.2f}" cy="{point[1]:.2f}" r="{radius:.2f}" data-i="{index}"'
        + (f' data-c="{value:.2f}"' if value is not None else "")
        + "/>"
        for index, (point, value) in enumerate(zip(points, sure, strict=True))
        if point is not None
    )
    said = f"Face {number}\n{tip_of(face)}"
    return (
        f'<g class="face" tabindex="0" role="img" aria-label="{html.escape(said, quote=True)}" '
        f'data-tip="{html.escape(said, quote=True)}">'
        f'<rect class="box" x="{x0:.2f}" y="{y0:.2f}" width="{x1 - x0:.2f}" height="{y1 - y0:.2f}" '
        f'rx="{side / 40:.2f}"/>{"".join(lines)}{_axes(face, side)}{dots}</g>'
    )


def _axes(face: Mapping[str, Any], side: float) -> str:
    """Where the head's own right, down and forward point, from the middle of the face."""
    pose, points = face.get("pose"), [point for point in face.get("landmarks") or [] if point is not None]
    if pose is None or not points:
        return ""
    radians = torch.tensor([math.radians(pose[name]) for name in ANGLES], dtype=torch.float64)
    rotation = matrix_from_pose(radians, "xyz")
    x, y = np.mean(points, axis=0)
    ends = rotation[:2] * side * AXIS  # [2, 3]: columns are where the axes of the head end
    ends[:, 2] *= -1
    return "".join(
        f'<line class="axis {name}" x1="{x:.1f}" y1="{y:.1f}" x2="{x + dx:.1f}" y2="{y + dy:.1f}"/>'
        for name, (dx, dy) in zip(("across", "down", "forward"), ends.T.tolist(), strict=True)
    )


def tip_of(face: Mapping[str, Any]) -> str:
    """The numbers of a face in a few lines."""
    lines = [pose_words(face)]
    if face.get("score") is not None:
        lines.append(f"detected with {face['score']:.2f}")
    sure = face.get("confidence")
    if sure:
        lines.append(f"landmarks sure by {sum(sure) / len(sure):.2f}")
    lines += [f"{name} {value:.2f}" for name, value in strongest(face)[:4]]
    return "\n".join(lines)


def pose_words(face: Mapping[str, Any]) -> str:
    """The pose in words, or that there is none."""
    pose = face.get("pose")
    if pose is None:
        return "no pose"
    ways = {
        "yaw": ("to the right", "to the left"),
        "pitch": ("down", "up"),
        "roll": ("clockwise", "anticlockwise"),
    }
    parts = [f"{name} {abs(pose[name]):.0f}° {ways[name][pose[name] < 0]}" for name in ANGLES]
    return ", ".join(parts)


def strongest(face: Mapping[str, Any]) -> list[tuple[str, float]]:
    """Expressions that are seen, the strongest first, their names in plain words."""
    known = face.get("expression") or {}
    shown = sorted(((value, name) for name, value in known.items() if value >= SHOWN_FROM), reverse=True)
    return [(name.replace("_", " "), value) for value, name in shown[:SHOWN_MOST]]


def face_details(title: str, face: Mapping[str, Any], images: Sequence[tuple[str, str]], links: str) -> str:
    """What is known of one face, to be opened and closed.

    Args:
        title: Its name.
        face: Its numbers.
        images: Words and data URI of each small image.
        links: Anchors to its files.
    """
    figures = "".join(
        f'<figure><img src="{data}" alt="{html.escape(words, quote=True)}"><figcaption>{html.escape(words)}'
        "</figcaption></figure>"
        for words, data in images
    )
    bars = "".join(
        f'<li><span>{html.escape(name)}</span><span class="bar"><i style="width:{100 * value:.0f}%"></i></span>'
        f"<b>{value:.2f}</b></li>"
        for name, value in strongest(face)
    )
    lacking = "".join(
        f'<p class="lacking">{html.escape(what)}: {html.escape(why)}</p>'
        for what, why in (face.get("left_out") or {}).items()
    )
    return (
        f"<details open><summary><b>{html.escape(title)}</b> {html.escape(pose_words(face))}</summary>\n"
        f'<div class="strip">{figures}</div>\n'
        + (f'<ul class="bars" aria-label="Expression">{bars}</ul>\n' if bars else "")
        + f'{lacking}<p class="links">{links}</p>\n</details>\n'
    )


def chart(rows: Sequence[Mapping[str, Any]], width: int = 640, height: int = 150) -> str:
    """Yaw, pitch and roll of one person over the time of a video."""
    known = [row for row in rows if row.get("pose") is not None]
    if len(known) < 2:
        return ""
    times = [row["time"] for row in known]
    largest = max(30.0, *(abs(row["pose"][name]) for row in known for name in ANGLES))
    first, spread = times[0], max(times[-1] - times[0], 1e-9)

    def place(row: Mapping[str, Any], name: str) -> str:
        x = 40 + (width - 50) * (row["time"] - first) / spread
        y = height / 2 - (height / 2 - 16) * row["pose"][name] / largest
        return f"{x:.1f},{y:.1f}"

    lines = "".join(
        f'<polyline class="{name}" points="{" ".join(place(row, name) for row in known)}"/>'
        for name in ANGLES
    )
    key = "".join(
        f'<text class="{name}" x="{44 + 60 * index}" y="{height - 3}">{name}</text>'
        for index, name in enumerate(ANGLES)
    )
    middle = height / 2
    return (
        f'<svg class="chart" viewBox="0 0 {width} {height}" role="img" aria-label="Head pose over time in degrees">'
        f'<line x1="40" y1="{middle}" x2="{width - 10}" y2="{middle}"/>'
        f'<text x="2" y="{middle + 4}">0°</text><text x="2" y="20">{largest:.0f}°</text>'
        f'<text x="2" y="{height - 10}">-{largest:.0f}°</text>{lines}{key}'
        f'<text x="{width - 70}" y="{height - 3}">{times[-1]:.1f} s</text></svg>\n'
    )
