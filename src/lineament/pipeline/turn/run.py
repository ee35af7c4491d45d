"""`lineament turn` from photographs to files."""

from __future__ import annotations

from dataclasses import dataclass, field
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
from lineament.pipeline.turn.angles import Angles, frame_count, poses, there_and_back
from lineament.pipeline.turn.depth import load_depth_run
from lineament.pipeline.turn.frames import PreparedFace, TurnOptions, prepare_face, turned_pictures
from lineament.pipeline.turn.points import FacePoints, points_from_file, points_from_head, points_from_model
from lineament.pipeline.turn.surface import BROWS_ONLY
from lineament.pipeline.turn.write import kind_of, write_numbers, write_pictures, write_png

STRIP_FRAMES, VIDEO_FRAMES = 7, 72
STRIP_SIZE, VIDEO_SIZE = 320, 512
SMALLEST_SIZE, LARGEST_SIZE = 32, 4096


@dataclass(frozen=True)
class FaceRequest:
    """Where keypoints and depth come from.

    Attributes:
        keypoints: Label file, or None.
        landmarks: Landmark model, or None; with neither, the head is put on the detector's five points.
        run: Run of a depthnet recipe that predicts the depth, or None for the fitted head's.
        head: Head that is fitted.
    """

    keypoints: Path | None = None
    landmarks: Model | None = None
    run: str | None = None
    head: HeadModel = field(default_factory=lambda: load_head("builtin"))

    def points(self, image: Tensor, photo: Path) -> FacePoints:
        """Keypoints of the main face of a photo; see points.py for what is raised."""
        if self.keypoints is not None:
            return points_from_file(self.keypoints, photo, (image.shape[2], image.shape[1]))
        if self.landmarks is not None:
            return points_from_model(self.landmarks, image, str(photo))
        return points_from_head(self.head, image, str(photo))


def make_request(
    keypoints: Path | None,
    landmarks_model: Path | None,
    model: Path | None,
    head: str,
    packs: Path | None,
    device: str,
) -> FaceRequest:
    """Open what a request names; a wrong run is said before anything is drawn.

    Raises:
        LineamentError: If a run, a head or the device is not there.
    """
    if model is not None:
        load_depth_run(str(model))
    landmarks = None if landmarks_model is None else load(landmarks_model, device)
    if landmarks is not None:
        landmarks.capability(LandmarkPredictor)
    return FaceRequest(keypoints, landmarks, None if model is None else str(model), load_head(head, packs))


@dataclass(frozen=True)
class Written:
    """What came of one photograph.

    Attributes:
        path: The picture or video.
        points: Where the keypoints come from.
        depth: Where the depth comes from.
        count: Number of pictures in it.
    """

    path: Path
    points: str
    depth: str
    count: int


def check_size(size: int | None, kind: str) -> int:
    """Longer side of a picture: as given, else by the kind of the result.

    Raises:
        UsageError: If it is too small or too large.
    """
    chosen = size if size is not None else (STRIP_SIZE if kind == "strip" else VIDEO_SIZE)
    if not SMALLEST_SIZE <= chosen <= LARGEST_SIZE:
        raise UsageError(f"--size must lie between {SMALLEST_SIZE} and {LARGEST_SIZE} pixels, not {chosen}.")
    return chosen


def turn_photo(
    photo: Path,
    request: FaceRequest,
    angles: tuple[Angles, Angles, Angles],
    options: TurnOptions,
    out: Path,
    frames: int | None = None,
) -> Written:
    """Turn the face of one photograph and write the result and its numbers.

    Args:
        photo: The photograph.
        request: Where keypoints and depth come from.
        angles: Yaw, pitch and roll.
        options: How.
        out: A .png strip, an .mp4 or a .gif; its numbers go to the same name with .json.
        frames: Number of pictures; None by the kind of the result.

    Raises:
        DataError: If the photograph or the keypoints cannot be used, or there is no face.
        UsageError: If angles and frames do not go together.
    """
    kind = kind_of(out)
    count = frame_count(angles, frames, STRIP_FRAMES if kind == "strip" else VIDEO_FRAMES)
    wanted = poses(*angles, count)
    if kind != "strip" and any(each.is_range for each in angles):
        wanted = there_and_back(wanted)
    image = read_image(photo)
    found = request.points(image, photo)
    face = prepare_face(image, found.points, request.head, options, request.run)
    write_pictures(out, turned_pictures(face, wanted, options))
    numbers = _numbers(photo, found, face, options)
    degrees = torch.rad2deg(wanted).round(decimals=3).tolist()
    write_numbers(out.with_suffix(".json"), numbers | {"yaw_pitch_roll": degrees})
    return Written(out, found.origin, face.depth.origin, count)


def put_onto(
    photo: Path,
    target: Path,
    request: FaceRequest,
    target_request: FaceRequest,
    options: TurnOptions,
    out: Path,
    *,
    keep_colours: bool = False,
) -> Written:
    """Put the face of one photograph on to that of another and write the picture.

    Raises:
        DataError: If a photograph or its keypoints cannot be used, or there is no face.
        UsageError: If ``out`` is no .png.
    """
    from lineament.pipeline.turn.onto import face_onto

    if kind_of(out) != "strip":
        raise UsageError(f"{out}: a face put on to another is one picture: give a .png.")
    image, other = read_image(photo), read_image(target)
    found, there = request.points(image, photo), target_request.points(other, target)
    # Hair over the forehead stays with its owner.
    face = prepare_face(image, found.points, request.head, options, request.run, BROWS_ONLY)
    picture = face_onto(face, other, there.points, options, keep_colours=keep_colours)
    write_png(out, picture)
    numbers = _numbers(photo, found, face, options)
    more = {"onto": str(target), "onto_keypoints_from": there.origin, "onto_keypoints": there.points.tolist()}
    write_numbers(out.with_suffix(".json"), numbers | more)
    return Written(out, found.origin, face.depth.origin, 1)


def _numbers(photo: Path, found: FacePoints, face: PreparedFace, options: TurnOptions) -> dict[str, Any]:
    scale = face.view.to_view.scale
    return {
        "photo": str(photo),
        "units": "pixels of the photograph, degrees; depth grows away from the camera, 0 between the outer eye corners",
        "keypoints_from": found.origin,
        "keypoints": [[round(value, 3) for value in point] for point in found.points.tolist()],
        "depth_from": face.depth.origin,
        "depth": [round(value / scale, 3) for value in face.depth.values.tolist()],
        "pose_in_photo": torch.rad2deg(face.fit.pose).round(decimals=2).tolist(),
        "warp": options.warp,
        "keep_background": options.keep_background,
        "absolute": options.absolute,
    }
