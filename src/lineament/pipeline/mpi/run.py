"""`lineament mpi` from a photo to a page, a video and files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lineament.data.images import read_image
from lineament.data.video import video_writer
from lineament.eight_bit import to_array
from lineament.files import replacing
from lineament.geometry.multiplane import MultiplaneImage
from lineament.heads.fit import HeadFit, fit_head
from lineament.pipeline.gmpi.video import STOP, TOGETHER, camera_path
from lineament.pipeline.mpi.build import build_multiplane
from lineament.pipeline.mpi.options import MpiOptions
from lineament.pipeline.mpi.person import person_matte
from lineament.pipeline.mpi.relief import person_relief, rounded
from lineament.pipeline.predict.photos import Photo
from lineament.pipeline.predict.results import result_meta
from lineament.pipeline.turn.depth import KeypointDepth, face_depth
from lineament.pipeline.turn.numbers import UNITS, face_numbers, write_face
from lineament.pipeline.turn.points import FacePoints
from lineament.pipeline.turn.run import FaceRequest, made_up
from lineament.progress import Progress, silent
from lineament.report.multiplane_files import write_atlas, write_npz
from lineament.report.multiplane_page import write_multiplane_page

NOTE = "Made by lineament mpi from one photo: what lies behind the person is made up."
# Cameras are taken for no nearer than this many times the longer side of the photo (73 degrees of view), and for no
# farther than that (6 degrees).
NEAREST, FARTHEST = 0.675, 10.0


@dataclass(frozen=True)
class PhotoMultiplane:
    """The multiplane image of a photo.

    Attributes:
        photo: ``[3, H, W]`` as it is shown at yaw 0: no larger than asked for.
        image: The multiplane image.
        found: Keypoints of the face, pixels of the photo that was given.
        depth: Their depth, pixels of ``photo``.
        fit: The head fitted to them.
        scale: Pixels of ``photo`` for each of the photo that was given.
        note: A sentence where much had to be made up; else empty.
    """

    photo: Tensor
    image: MultiplaneImage
    found: FacePoints
    depth: KeypointDepth
    fit: HeadFit
    scale: float
    note: str


def photo_multiplane(photo: Path, request: FaceRequest, options: MpiOptions) -> PhotoMultiplane:
    """Make the multiplane image of a photo with a face.

    Args:
        photo: The file.
        request: Where keypoints and depth come from.
        options: Size and planes.

    Raises:
        NoFaceError: If there is no face.
        DataError: If the photo or the keypoints cannot be used, or no head can be fitted.
        UsageError: If an option is impossible.
    """
    options.check()
    given = read_image(photo)
    found = request.points(given, photo)
    image = shrunk(given, options.size)
    height, width = image.shape[1:]
    scale = width / given.shape[2]
    factors = torch.tensor([scale, height / given.shape[1]], dtype=torch.float64)
    points = (found.points.double() + 0.5) * factors - 0.5
    std = None if found.std is None else found.std * scale
    fit, depth = face_depth(request.head, points, request.run, std)
    relief = person_relief(fit, points, depth.values + fit.eye_depth, (height, width))
    matte = person_matte(image, relief.silhouette)
    multiplane = build_multiplane(
        image,
        matte,
        rounded(relief, matte),
        relief.neck,
        relief.silhouette.unit,
        focal_length(fit_head(request.head, points, std, (width, height)), max(height, width)),
        options.planes,
        {"photo": photo.name, "landmarks_from": found.origin, "depth_from": depth.origin},
    )
    note = made_up(fit.pose, torch.zeros(1, 3, dtype=torch.float64))
    return PhotoMultiplane(image, multiplane, found, depth, fit, scale, note)


def shrunk(image: Tensor, longest: int) -> Tensor:
    """An image whose longer side is no longer than this, ``[3, H, W]``."""
    height, width = image.shape[1:]
    factor = longest / max(height, width)
    if factor >= 1:
        return image
    size = (max(1, round(height * factor)), max(1, round(width * factor)))
    return F.interpolate(image[None], size, mode="bilinear", antialias=True)[0].clamp(0, 1)


def focal_length(fit: HeadFit, longest: int) -> float:
    """Focal length in pixels of the camera that a fitted head is seen by."""
    most = FARTHEST * longest
    focal = fit.scale / fit.camera.nearness if fit.camera.nearness > fit.scale / most else most
    return min(max(focal, NEAREST * longest), most)


def write_results(
    made: PhotoMultiplane,
    photo: Photo,
    results: tuple[str, ...],
    options: MpiOptions,
    settings: Mapping[str, Any],
    progress: Progress = silent,
) -> list[Path]:
    """Write what is asked for, the JSON file last; each is complete or absent.

    Args:
        made: What was made of the photo.
        photo: Where results go.
        results: Of :data:`lineament.pipeline.mpi.options.RESULTS`.
        options: Of the video.
        settings: All that decides the result besides the photo.
        progress: Shows how far it is.

    Raises:
        DataError: If a file cannot be written.
    """
    image, stem = made.image, photo.stem
    files = []
    if "page" in results:
        page = stem.with_name(f"{stem.name}.html")
        files.append(write_multiplane_page(page, image, photo.path.name, NOTE))
    if "atlas" in results:
        files.append(write_atlas(stem, image))
    if "npz" in results:
        files.append(write_npz(stem.with_name(f"{stem.name}.npz"), image))
    if "video" in results:
        files.append(_film(image, stem.with_name(f"{stem.name}.mp4"), options, progress))
    size = {
        "width": round(made.photo.shape[2] / made.scale),
        "height": round(made.photo.shape[1] / made.scale),
    }
    meta = result_meta(photo, "mpi", settings, **size, units=UNITS)
    item = face_numbers(
        photo.name, made.found, made.depth.values / made.scale, made.depth.origin, made.fit.pose
    )
    item |= {"planes": len(image.planes), "files": [file.name for file in files]}
    write_face(photo.json, meta, item)
    return [*files, photo.json]


def _film(image: MultiplaneImage, path: Path, options: MpiOptions, progress: Progress) -> Path:
    """A closed circle around the person."""
    yaw, pitch = camera_path(image.cameras, "circle", options.frames)
    with (
        replacing(path) as temporary,
        video_writer(temporary, options.fps, NOTE) as write,
        progress("filming", options.frames, "frames") as advance,
    ):
        for first in range(0, options.frames, TOGETHER):
            frames = slice(first, first + TOGETHER)
            seen = image.render(yaw[frames], pitch[frames], options.video_size, stop=STOP)
            for each in seen.image:
                write(to_array(each.clamp(0, 1)))
                advance()
    return path
