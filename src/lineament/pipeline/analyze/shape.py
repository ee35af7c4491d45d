"""One face of a photo in files: depth, coloured mesh, turned views and crops."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
import trimesh
from torch import Tensor

from lineament.data.images import write_image
from lineament.eight_bit import from_array
from lineament.errors import DataError, UsageError
from lineament.faces.crop_rules import crop_entry, crop_size
from lineament.faces.crops import crop_image, landmarks_serve, named_crop
from lineament.faces.detection import Detection, turned_upright
from lineament.files import replacing, write_text
from lineament.geometry.affine2d import Affine2D
from lineament.inference import Face
from lineament.pipeline.analyze.face import FittedFace
from lineament.pipeline.analyze.options import AnalyzeOptions
from lineament.pipeline.predict.depth import FaceDepth, dense_depth, face_mesh
from lineament.pipeline.turn.frames import PreparedFace, prepare_face, turned_images
from lineament.pipeline.turn.options import LARGEST_TURN, TurnOptions
from lineament.pipeline.turn.points import FacePoints, check_points
from lineament.pipeline.turn.write import strip_of, write_png

# Longer side of turned views and of what the depth is found in, pixels.
SIDE = 320
# What a face whose surface cannot be built lacks; one without a head has no pose either.
DRAWN = ("depth", "mesh", "turned")


@dataclass(frozen=True)
class FaceShape:
    """What is drawn of one face, upright.

    Attributes:
        prepared: Its surface, in pixels of a view.
        to_photo: These pixels to those of the photo.
        depth: ``[h, w]`` depth in pixels of the view, NaN off the face.
        mesh: The face with a colour for each vertex.
    """

    prepared: PreparedFace
    to_photo: Affine2D
    depth: np.ndarray
    mesh: trimesh.Trimesh

    @property
    def scale(self) -> float:
        """Pixels of the view per pixel of the photo."""
        return self.prepared.view.to_view.scale


def shape_face(image: Tensor, found: FittedFace, depth_run: str | None) -> FaceShape:
    """Build the surface of a face of a photo ``[3, H, W]``.

    Raises:
        DataError: If it has no head, or is too small or too far outside of the photo.
    """
    if found.fit is None or found.points is None:
        raise DataError(found.lacking)
    upright, _, to_upright = turned_upright(image, Detection(found.face.box.float(), turn=found.face.turn))
    points = to_upright.apply(found.points.double())
    check_points(points, (upright.shape[2], upright.shape[1]), "a face of it")
    look = TurnOptions(keep_background=True, size=SIDE)
    std = found.face.std if found.face.scheme.name == "68" else None
    prepared = prepare_face(upright, points, found.fit.head, look, depth_run, std=std)
    view = prepared.view
    depth = dense_depth(
        prepared.surface, float(prepared.fit.eye_depth), (view.image.shape[1], view.image.shape[2])
    )
    placed = FacePoints(prepared.points.float(), "")
    whole = FaceDepth(view.image, depth, placed, prepared.depth, prepared.fit, prepared.surface)
    return FaceShape(prepared, to_upright.then(view.to_view).inverse(), depth, face_mesh(whole))


def turned_views(shape: FaceShape, degrees: float) -> list[Tensor]:
    """Two images ``[3, h, w]`` of the face turned to the left and to the right.

    Raises:
        DataError: If it looks too far to the side: what is hidden cannot be drawn.
    """
    yaw = math.degrees(float(shape.prepared.fit.pose[0]))
    if abs(yaw) > LARGEST_TURN:
        raise DataError(
            f"it looks {abs(yaw):.0f} degrees to the side, and faces are turned up to {LARGEST_TURN:g} degrees away."
        )
    # No further than that from the front either.
    ends = [min(max(turn, -LARGEST_TURN - yaw), LARGEST_TURN - yaw) for turn in (-degrees, degrees)]
    poses = torch.deg2rad(torch.tensor([[end, 0.0, 0.0] for end in ends], dtype=torch.float64))
    return list(turned_images(shape.prepared, poses, TurnOptions(keep_background=True, size=SIDE)))


def depth_image(shape: FaceShape) -> Tensor:
    """The depth in colours, near ones bright, over the grey photo: ``[3, h, w]`` of the view that is shown."""
    window = shape.prepared.view.window
    rows = slice(int(window.top), int(window.top) + window.height)
    columns = slice(int(window.left), int(window.left) + window.width)
    grey = shape.prepared.view.shown.mean(0, keepdim=True).expand(3, -1, -1)
    depth = shape.depth[rows, columns]
    inside = np.isfinite(depth)
    if not inside.any():
        return grey
    low, high = float(depth[inside].min()), float(depth[inside].max())
    share = np.where(inside, (depth - low) / max(high - low, 1e-9), 0.0)
    colours = matplotlib.colormaps["viridis_r"](share, bytes=True)[..., :3]
    mask = torch.from_numpy(inside)[None]
    return torch.where(mask, 0.85 * from_array(colours) + 0.15 * grey, 0.35 + 0.5 * grey)


def aligned_crop(image: Tensor, face: Face, name: str, size: int | None) -> Tensor:
    """A published crop of a face of a photo ``[3, H, W]``: ``[3, s, s]``.

    Raises:
        DataError: If the face lacks what the crop needs.
    """
    height, width = image.shape[1:]
    place: dict[str, Any] = {"box": face.box}
    if landmarks_serve(name, face.landmarks, face.scheme, (height, width)):
        place = {"landmarks": face.landmarks, "scheme": face.scheme}
    crop = named_crop(name, **place, image_size=(height, width), size=size)
    side = crop_size(name) if size is None else size
    return crop_image(image, crop, side, fill=crop_entry(name).border).clamp(0, 1)


def write_face_files(
    image: Tensor, found: FittedFace, stem: Path, depth_run: str | None, options: AnalyzeOptions
) -> dict[str, Any]:
    """Write the files of one face, and return what its numbers say of them.

    Args:
        image: ``[3, H, W]`` the photo.
        found: The face.
        stem: Path of its files without their endings.
        depth_run: Model of depth, or None for the fitted head's.
        options: What is wanted.

    Returns:
        ``files``: name by kind; ``depth`` of the landmarks and ``depth_from``; ``left_out``: reason by kind.
    """
    files: dict[str, str] = {}
    left_out: dict[str, str] = {}
    more: dict[str, Any] = {"files": files}

    def path(ending: str) -> Path:
        return stem.with_name(f"{stem.name}.{ending}")

    for name in options.crops:
        try:
            crop = aligned_crop(image, found.face, name, options.crop_size)
        except (DataError, UsageError) as error:
            left_out[name] = str(error)
            continue
        files[name] = write_image(path(f"{name}.png"), crop).name
    try:
        shape = shape_face(image, found, depth_run)
    except DataError as error:
        left_out |= dict.fromkeys(DRAWN, str(error))
    else:
        files["mesh"] = write_mesh(path("obj"), shape.mesh).name
        files["depth_map"] = _write_depth(path("depth.npz"), shape).name
        files["depth"] = write_image(path("depth.png"), depth_image(shape)).name
        depth = shape.prepared.depth
        more["depth"] = [round(value / shape.scale, 3) for value in depth.values.tolist()]
        more["depth_from"] = depth.origin
        try:
            views = turned_views(shape, options.turn)
        except DataError as error:
            left_out["turned"] = str(error)
        else:
            write_png(path("turned.png"), strip_of(views))
            files["turned"] = path("turned.png").name
    if left_out:
        more["left_out"] = left_out
    return more


def write_mesh(path: Path, mesh: trimesh.Trimesh) -> Path:
    """Write a coloured mesh as Wavefront OBJ (``v x y z r g b``); it is complete or absent."""
    visual: Any = mesh.visual
    colours = np.asarray(visual.vertex_colors)[:, :3] / 255
    lines = ["# Made by lineament analyze: millimetres, y up, z to the viewer; a colour follows each place."]
    lines += [
        "v {:.3f} {:.3f} {:.3f} {:.4f} {:.4f} {:.4f}".format(*place, *colour)
        for place, colour in zip(mesh.vertices.tolist(), colours.tolist(), strict=True)
    ]
    lines += ["f {} {} {}".format(*face) for face in (np.asarray(mesh.faces) + 1).tolist()]
    write_text(path, "\n".join(lines) + "\n")
    return path


def _write_depth(path: Path, shape: FaceShape) -> Path:
    """Depth in pixels of the photo on the pixels of a view, and the map ``[2, 3]`` from these to the photo's."""
    with replacing(path) as temporary:
        np.savez_compressed(
            temporary,
            depth=(shape.depth / shape.scale).astype(np.float32),
            to_photo=shape.to_photo.matrix.numpy(),
        )
    return path
