"""`lineament turn` from images to files."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lineament.capabilities import LandmarkPredictor
from lineament.data.images import read_image
from lineament.errors import UsageError
from lineament.heads.load import load_head
from lineament.heads.model import HeadModel
from lineament.inference import Model, load
from lineament.pipeline.predict.photos import Photo
from lineament.pipeline.predict.results import table_meta
from lineament.pipeline.turn.angles import Angles, frame_count, ping_pong, poses
from lineament.pipeline.turn.depth import load_depth_run
from lineament.pipeline.turn.frames import (
    PreparedFace,
    prepare_face,
    turned_images,
)
from lineament.pipeline.turn.models import chosen_models
from lineament.pipeline.turn.numbers import UNITS, face_numbers, named_angles, write_face
from lineament.pipeline.turn.options import LARGEST_TURN, STRIP_SIZE, FaceOptions, TurnOptions
from lineament.pipeline.turn.points import FacePoints, points_from_file, points_from_head, points_from_model
from lineament.pipeline.turn.surface import BROWS_ONLY
from lineament.pipeline.turn.write import kind_of, write_images, write_png

STRIP_FRAMES, VIDEO_FRAMES = 7, 72


@dataclass(frozen=True)
class FaceRequest:
    """Where keypoints and depth come from.

    Attributes:
        keypoints: Label file, or None.
        landmarks: Landmark model, or None; with neither, the head is put on the detector's five points.
        run: Run of a depthnet recipe that predicts the depth, or None for the fitted head's.
        head: Head that is fitted.
        all_faces: Keep detections that the landmark model takes for no face.
    """

    keypoints: Path | None = None
    landmarks: Model | None = None
    run: str | None = None
    head: HeadModel = field(default_factory=lambda: load_head("builtin"))
    all_faces: bool = False

    @classmethod
    def open(cls, options: FaceOptions) -> FaceRequest:
        """Open what the options name; a wrong run is said before anything is drawn.

        Raises:
            LineamentError: If a run, a head or the device is not there.
        """
        depth, marks = chosen_models(options.model, options.landmarks_model, options.keypoints)
        if depth is not None:
            load_depth_run(str(depth))
        landmarks = None
        if marks is not None:
            landmarks = load(marks, options.device)
            landmarks.capability(LandmarkPredictor)
        run = None if depth is None else str(depth)
        head = load_head(options.head, options.packs)
        return cls(options.keypoints, landmarks, run, head, options.all_faces)

    def points(self, image: Tensor, photo: Path) -> FacePoints:
        """Keypoints of the main face of a photo; see points.py for what is raised."""
        if self.keypoints is not None:
            return points_from_file(self.keypoints, photo, (image.shape[2], image.shape[1]))
        if self.landmarks is not None:
            return points_from_model(self.landmarks, image, str(photo), all_faces=self.all_faces)
        return points_from_head(self.head, image, str(photo))


@dataclass(frozen=True)
class Written:
    """What came of one photo.

    Attributes:
        path: The image or video.
        points: Where the keypoints come from.
        depth: Where the depth comes from.
        count: Number of images in it.
        note: A sentence where what is shown had to be made up; else empty.
    """

    path: Path
    points: str
    depth: str
    count: int
    note: str = ""


def turn_photo(
    photo: Photo,
    request: FaceRequest,
    angles: tuple[Angles, Angles, Angles],
    options: TurnOptions,
    out: Path,
    frames: int | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Written:
    """Turn the face of one photo and write the result and its numbers.

    Args:
        photo: The photo.
        request: Where keypoints and depth come from.
        angles: Yaw, pitch and roll.
        options: How.
        out: A .png strip, an .mp4 or a .gif; its numbers go to the same name with .json.
        frames: Number of images; None by the kind of the result.
        settings: All that decides the result, for its numbers.

    Raises:
        DataError: If the photo or the keypoints cannot be used, or there is no face.
        UsageError: If angles and frames do not go together.
    """
    kind = kind_of(out)
    count = frame_count(angles, frames, STRIP_FRAMES if kind == "strip" else VIDEO_FRAMES)
    wanted = poses(*angles, count)
    if kind != "strip" and any(each.is_range for each in angles):
        wanted = ping_pong(wanted)
    options = _sized(options, kind)
    image = read_image(photo.path)
    found = request.points(image, photo.path)
    face = prepare_face(image, found.points, request.head, options, request.run, std=found.std)
    write_images(out, turned_images(face, wanted, options))
    views = [named_angles(each) for each in wanted]
    _write_numbers(photo, "turn", image, found, face, out, settings, views=views)
    note = made_up(face.fit.pose, wanted, absolute=options.absolute)
    return Written(out, found.origin, face.depth.origin, count, note)


def made_up(pose: Tensor, wanted: Tensor, *, absolute: bool = False) -> str:
    """Say what of turned images no pixel of the photo shows; empty where that is little.

    Args:
        pose: ``[3]`` yaw, pitch and roll of the face in the photo, radians.
        wanted: ``[T, 3]`` the turns.
        absolute: Whether they are the poses of the results instead of changes.
    """
    here = math.degrees(float(pose[0]))
    if abs(here) > LARGEST_TURN:
        return (
            f"the face looks {abs(here):.0f} degrees to the side: the half of it that is turned away is made up, so "
            f"take a photo that shows it within {LARGEST_TURN:g} degrees of the front."
        )
    turned = torch.rad2deg(wanted[:, 0]) - (here if absolute else 0.0)
    largest = float(turned.abs().max())
    if largest > LARGEST_TURN:
        return (
            f"the face is turned by up to {largest:.0f} degrees: beyond {LARGEST_TURN:g} degrees most of what comes "
            "into view is made up."
        )
    return ""


def swap_face(
    photo: Photo,
    target: Path,
    request: FaceRequest,
    target_request: FaceRequest,
    options: TurnOptions,
    out: Path,
    *,
    keep_colours: bool = False,
    settings: Mapping[str, Any] | None = None,
) -> Written:
    """Put the face of one photo on to that of another and write the image.

    Raises:
        DataError: If a photo or its keypoints cannot be used, or there is no face.
        UsageError: If ``out`` is no .png.
    """
    from lineament.pipeline.turn.onto import face_onto

    if kind_of(out) != "strip":
        raise UsageError(f"{out}: a face put on to another is one image: give a .png.")
    options = _sized(options, "strip")
    image, other = read_image(photo.path), read_image(target)
    found, there = request.points(image, photo.path), target_request.points(other, target)
    # Hair over the forehead stays with its owner.
    face = prepare_face(image, found.points, request.head, options, request.run, BROWS_ONLY, found.std)
    swapped = face_onto(face, other, there.points, options, keep_colours=keep_colours)
    write_png(out, swapped)
    onto = {
        "image": Path(os.path.relpath(target, out.parent)).as_posix(),
        "landmarks_from": there.origin,
        "landmarks": [[round(value, 3) for value in point] for point in there.points.tolist()],
    }
    _write_numbers(photo, "turn", image, found, face, out, settings, onto=onto)
    return Written(out, found.origin, face.depth.origin, 1)


def _sized(options: TurnOptions, kind: str) -> TurnOptions:
    return replace(options, size=STRIP_SIZE) if options.size is None and kind == "strip" else options


def _write_numbers(
    photo: Photo,
    verb: str,
    image: Tensor,
    found: FacePoints,
    face: PreparedFace,
    out: Path,
    settings: Mapping[str, Any] | None,
    **more: Any,
) -> None:
    path = out.with_suffix(".json")
    depth = face.depth.values / face.view.to_view.scale
    item = face_numbers(photo.name, found, depth, face.depth.origin, face.fit.pose) | more
    size = {"width": image.shape[2], "height": image.shape[1]}
    meta = table_meta([photo], path.parent, verb, settings or {}) | size | {"units": UNITS}
    write_face(path, meta, item)
