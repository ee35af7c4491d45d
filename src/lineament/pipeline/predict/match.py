"""Matches points between two faces, and draws the result."""

from __future__ import annotations

import colorsys
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from lineament.capabilities import LandmarkPredictor
from lineament.eight_bit import to_float, to_pil
from lineament.errors import DataError, NoFaceError, UsageError
from lineament.faces.detection import Detection, Upright, main_face
from lineament.faces.labels import faces_of, read_keypoints
from lineament.files import replacing, write_text
from lineament.geometry.affine2d import Affine2D
from lineament.heads.places import carried
from lineament.inference import Model
from lineament.metrics.correspondence import match_points_smoothly, match_points_softly
from lineament.pipeline.predict.face_view import PANEL, FaceView, sampled_at
from lineament.pipeline.predict.options import MatchOptions
from lineament.pipeline.predict.results import file_digest, model_settings, settings_meta
from lineament.report.descriptors import descriptor_colours, image_grid, warp_onto

# Points per side of the grid that is matched where neither landmarks nor a file of points are at hand.
GRID = 9


@dataclass(frozen=True)
class FaceMatch:
    """Points of face A and where they are on face B.

    Attributes:
        a: The first face.
        b: The second face.
        points_a: ``[K, 2]`` pixels of photo A.
        points_b: ``[K, 2]`` pixels of photo B.
        similarity: ``[K]`` cosine of the matched descriptors, -1..1.
        round_trip: ``[K]`` distance in shares of A's box side between a point and where its match leads back to.
        names: Name of each point.
    """

    a: FaceView
    b: FaceView
    points_a: Tensor
    points_b: Tensor
    similarity: Tensor
    round_trip: Tensor
    names: tuple[str, ...]

    def to_json(self, meta: Mapping[str, Any], folder: Path) -> dict[str, Any]:
        """Plain values for a file in ``folder``; pixels of the two photos."""
        rows = zip(
            self.names,
            self.points_a.tolist(),
            self.points_b.tolist(),
            self.similarity.tolist(),
            self.round_trip.tolist(),
            strict=True,
        )
        return {
            "format": "lineament-match",
            "meta": meta,
            "a": self.a.to_json(folder),
            "b": self.b.to_json(folder),
            "units": "pixels of each photo; similarity is a cosine; round_trip in shares of A's box side",
            "matches": [
                {"name": name, "a": a, "b": b, "similarity": cosine, "round_trip": back}
                for name, a, b, cosine, back in rows
            ],
        }


def find_face(
    model: Model, image: Tensor, name: str, upright: Upright = "search", *, all_faces: bool = False
) -> Detection:
    """The main face of a photo.

    Args:
        model: The model, with its detector.
        image: ``[3, H, W]``.
        name: Of the photo, for messages.
        upright: As for :func:`lineament.faces.detection.detect_faces`.
        all_faces: Keep detections that the model takes for no face.

    Raises:
        NoFaceError: If there is none.
    """
    note = ""
    if model.uncertainty_limit is None or all_faces:
        places = model.detect(image, upright=upright)
    else:
        found = model.find(image, upright=upright)
        places, note = [face.place for face in found.faces], found.note
    face = main_face(places)
    if face is None:
        why = f" ({note})" if note else ""
        raise NoFaceError(
            f"{name}: no face was found in it{why}: choose an image in which the face is larger or less turned."
        )
    return face


def match_faces(a: FaceView, b: FaceView, points: Tensor, names: Sequence[str] = ()) -> FaceMatch:
    """Match points of face A on to face B.

    Args:
        a: The face that holds the points.
        b: The face to search.
        points: ``[K, 2]`` pixels of photo A.
        names: One per point; numbers when empty.
    """
    start = a.to_view.apply(points.float())
    found, similarity = _matched(a, b, start)
    back, _ = _matched(b, a, found)
    round_trip = (back - start).norm(dim=1) / a.box_side
    titles = tuple(names) or tuple(str(number) for number in range(len(points)))
    return FaceMatch(a, b, points.float(), b.to_view.inverse().apply(found), similarity, round_trip, titles)


def _matched(a: FaceView, b: FaceView, start: Tensor) -> tuple[Tensor, Tensor]:
    """Where points ``[K, 2]`` of what is seen of face A lie on face B, and the cosines ``[K]`` there."""
    if a.anchors is not None and b.anchors is not None:
        found = carried(start, a.anchors, b.anchors)
        alike = sampled_at(a.features, start / a.stride) * sampled_at(b.features, found / b.stride)
        return found, alike.sum(1)
    match = match_points_smoothly if a.smooth and b.smooth else match_points_softly
    return match(a.features, b.features, start, a.stride)


def points_to_match(
    model: Model, image: Tensor, face: Detection, given: str | Path | None, photo: Path
) -> tuple[Tensor, tuple[str, ...]]:
    """Points of photo A: written out or from a file, else the model's landmarks, else a grid over the face.

    Args:
        model: Any model that faces can be matched with.
        image: ``[3, H, W]`` photo A.
        face: Its face.
        given: Pixels as ``"120,80 164.5,82"``, or a label file.
        photo: Path of photo A, by which the label file knows it.

    Returns:
        ``[K, 2]`` pixels and their names.

    Raises:
        DataError: If the file cannot be read or holds no points of this photo, or a point lies outside the photo.
    """
    if given is not None and (written := written_points(str(given))) is not None:
        height, width = image.shape[1:]
        inside = (written >= -0.5) & (written <= written.new_tensor([width - 0.5, height - 0.5]))
        if not bool(inside.all()):
            x, y = written[~inside.all(1)][0].tolist()
            raise DataError(f"the point {x:g},{y:g} lies outside the photo of {width}x{height} pixels.")
        return written, ()
    if given is not None:
        labels = read_keypoints(given, allow_missing=True)
        known = [label.landmarks for label in faces_of(labels, photo, Path(given))]
        # Of several faces in the photo the one that was found in it.
        middle = (face.box[:2] + face.box[2:]) / 2
        points = min((each for each in known if each is not None), key=lambda each: _offset(each, middle))
        assert labels.scheme is not None
        kept = torch.isfinite(points).all(-1)
        names = tuple(name for name, keep in zip(labels.scheme.names, kept.tolist(), strict=True) if keep)
        return points[kept], names
    if model.has(LandmarkPredictor):
        return model.face(image, face).landmarks, model.scheme.names
    to_upright = Affine2D.quarter_turn(face.turn, (image.shape[2], image.shape[1]))
    x0, y0, x1, y1 = face.seen_through(to_upright).box.tolist()
    ys, xs = torch.meshgrid(
        torch.linspace(y0, y1, GRID + 2)[1:-1], torch.linspace(x0, x1, GRID + 2)[1:-1], indexing="ij"
    )
    return to_upright.inverse().apply(torch.stack([xs, ys], dim=-1).view(-1, 2)), ()


def match_settings(model: Model, options: MatchOptions) -> dict[str, Any]:
    """All that decides a match besides the two photos, as its results say it.

    Raises:
        DataError: If the file of points cannot be read.
    """
    points = options.points
    if points is not None and written_points(points) is None:
        points = file_digest(Path(points))
    return {
        **model_settings(model),
        "points": points,
        "upright": options.upright,
        "all_faces": options.all_faces or None,
    }


def written_points(text: str) -> Tensor | None:
    """Points ``[K, 2]`` written as ``"x,y x,y ..."``; None where the text is something else, such as a path.

    Raises:
        UsageError: If it holds numbers that are no pairs.
    """
    pairs = [word.split(",") for word in text.replace(";", " ").split()]
    try:
        numbers = [[float(value) for value in pair] for pair in pairs]
    except ValueError:
        return None
    if any(len(pair) != 2 for pair in numbers):
        raise UsageError(
            f'the points {text!r} are no pairs: write "x,y x,y ..." in pixels, such as "212,180 268,181", or name a '
            "label file."
        )
    return torch.tensor(numbers) if numbers else None


def point_colours(count: int) -> list[tuple[int, int, int]]:
    """Colours around the circle, one per point."""
    colours = []
    for index in range(count):
        red, green, blue = colorsys.hsv_to_rgb(index / max(1, count), 0.9, 1.0)
        colours.append((round(255 * red), round(255 * green), round(255 * blue)))
    return colours


def match_sheet(match: FaceMatch) -> Image.Image:
    """Draw both faces with lines between matched points; below, descriptors as colours, and A warped on to B."""
    a, b = match.a, match.b
    shown = [to_float(view.shown) for view in (a, b)]
    top = torch.cat(shown, dim=2)
    colours = descriptor_colours(torch.stack([a.features, b.features]))
    gap = 2
    side = (2 * PANEL - 3 * gap) // 4
    warped = warp_onto(shown[0], a.directions, b.directions, side)
    row = image_grid([[colours[0], colours[1], warped, shown[1]]], side, gap)
    bottom = torch.ones(3, row.shape[1], 2 * PANEL)
    bottom[:, :, : row.shape[2]] = row
    sheet = to_pil(torch.cat([top, bottom], dim=1))
    pen = ImageDraw.Draw(sheet)
    scale = PANEL / a.side
    left = ((a.to_view.apply(match.points_a) + 0.5) * scale).tolist()
    right = ((b.to_view.apply(match.points_b) + 0.5) * scale).tolist()
    for (xa, ya), (xb, yb), colour in zip(left, right, point_colours(len(left)), strict=True):
        pen.line([xa, ya, xb + PANEL, yb], fill=colour, width=1)
        for x, y in ((xa, ya), (xb + PANEL, yb)):
            pen.ellipse([x - 3, y - 3, x + 3, y + 3], fill=colour, outline=(0, 0, 0))
    return sheet


def write_match(match: FaceMatch, stem: Path, settings: Mapping[str, Any]) -> list[Path]:
    """Write ``<stem>.json`` and ``<stem>.png``; the JSON comes last, and says with which settings it was made."""
    json_path, png_path = stem.with_name(stem.name + ".json"), stem.with_name(stem.name + ".png")
    with replacing(png_path) as temporary:
        match_sheet(match).save(temporary, "PNG")
    content = match.to_json(settings_meta("match", settings), stem.parent)
    write_text(json_path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    return [json_path, png_path]


def result_stems(a: Path, targets: Sequence[Path], folder: Path, out: Path | None) -> list[Path]:
    """Where the results of matching photo A with others go, without ending: beside A, or in ``out``.

    Args:
        a: The photo that holds the points.
        targets: The others.
        folder: The folder that was given, or the one photo.
        out: Folder of the results.

    Returns:
        One name for each: that of A and of the other, ``anna-ben.match``; where two others have one name, their path
        inside the folder with its ending, ``anna-sub-ben.jpg.match``.

    Raises:
        UsageError: If two would have one name all the same.
    """
    # Names that differ by capitals alone are one file on some systems.
    short = Counter(target.stem.lower() for target in targets)
    stems: list[Path] = []
    taken: dict[str, Path] = {}
    for target in targets:
        alone = short[target.stem.lower()] == 1
        name = target.stem if alone else "-".join(relative_to(target, folder).parts)
        other = taken.setdefault(name.lower(), target)
        if other != target:
            raise UsageError(
                f"{other} and {target} would write one result, {a.stem}-{name}.match: rename one."
            )
        stems.append((out or a.parent) / f"{a.stem}-{name}.match")
    return stems


def relative_to(target: Path, folder: Path) -> Path:
    """Path of a photo inside the folder that was given; its name where it was given alone."""
    return target.relative_to(folder) if folder.is_dir() else Path(target.name)


def _offset(points: Tensor, middle: Tensor) -> float:
    return float((points.nanmean(0) - middle).norm())


def table_stem(a: Path, folder: Path, out: Path | None) -> Path:
    """Where the tables and the sheet of a whole folder go, without ending."""
    return (out or a.parent) / f"{a.stem}-{folder.name or 'folder'}.matches"


def refuse_existing(stem: Path, overwrite: bool) -> None:
    """Raise where a result would be overwritten.

    Raises:
        UsageError: If it exists and ``overwrite`` is False.
    """
    path = stem.with_name(stem.name + ".json")
    if path.exists() and not overwrite:
        raise UsageError(f"{path} exists: give --overwrite, or another folder with --out.")
