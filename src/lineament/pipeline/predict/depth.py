"""`lineament depth`: a depth for every pixel of a face, as numbers, as an image and as a coloured mesh."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
import trimesh
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy import ndimage
from torch import Tensor

from lineament.data.images import read_image
from lineament.eight_bit import to_uint8
from lineament.faces.schemes import scheme
from lineament.files import replacing
from lineament.heads.fit import HeadFit
from lineament.pipeline.predict.photos import Photo
from lineament.pipeline.predict.results import result_meta
from lineament.pipeline.turn.depth import KeypointDepth, face_depth
from lineament.pipeline.turn.numbers import UNITS, face_numbers, write_face
from lineament.pipeline.turn.points import FacePoints
from lineament.pipeline.turn.run import FaceRequest
from lineament.pipeline.turn.surface import FaceSurface, build_surface, grid_faces

ENDINGS = ("npz", "png", "ply", "json")
# Points of the mesh are a pixel apart, or more where that would be more than so many over the eyes' distance.
FINEST = 90
# From this coverage on a pixel belongs to the face.
ON_FACE = 0.5


@dataclass(frozen=True)
class FaceDepth:
    """Depth of the main face of a photo.

    Attributes:
        image: ``[3, H, W]`` the photo.
        depth: ``[H, W]`` float32 pixels, growing away from the camera, 0 between the outer eye corners, NaN off the
            face.
        found: Its 68 keypoints and where they come from.
        keypoint_depth: Their depth.
        fit: The head fitted to them.
        surface: The surface in pixels of the photo.
    """

    image: Tensor
    depth: np.ndarray
    found: FacePoints
    keypoint_depth: KeypointDepth
    fit: HeadFit
    surface: FaceSurface

    @property
    def points(self) -> Tensor:
        """``[68, 2]`` keypoints."""
        return self.found.points


def measure_depth(photo: Path, request: FaceRequest) -> FaceDepth:
    """Find the depth of the main face of an image.

    Raises:
        DataError: If the image or its keypoints cannot be used, or there is no face.
    """
    image = read_image(photo)
    found = request.points(image, photo)
    fit, depth = face_depth(request.head, found.points.double(), request.run, found.std)
    zero = float(fit.eye_depth)
    surface = build_surface(fit, found.points, depth.values + zero)
    dense = dense_depth(surface, zero, (image.shape[1], image.shape[2]))
    return FaceDepth(image, dense, found, depth, fit, surface)


def dense_depth(surface: FaceSurface, zero: float, size: tuple[int, int]) -> np.ndarray:
    """Depth of a surface at the pixels of its image, counted from ``zero``; NaN off the face.

    Args:
        surface: The surface.
        zero: Depth between the outer eye corners, in the frame of the surface.
        size: Height and width of the image.

    Returns:
        ``[H, W]`` float32 pixels.
    """
    rows, columns = np.mgrid[: size[0], : size[1]]
    values, cover = _at(surface, columns, rows)
    return np.where(cover >= ON_FACE, values - zero, np.nan).astype(np.float32)


def _at(surface: FaceSurface, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Depth and coverage of the surface at pixels."""
    corner = surface.points[0, :2].numpy()
    step = float(surface.points[1, 0] - surface.points[0, 0])
    place = np.stack([(y - corner[1]) / step, (x - corner[0]) / step])
    grids = (surface.points[:, 2], surface.alpha)
    depth, cover = (
        ndimage.map_coordinates(
            values.numpy().reshape(surface.grid_shape), place, order=1, mode="constant", cval=0.0
        )
        for values in grids
    )
    return depth, cover


def write_depth(face: FaceDepth, photo: Photo, settings: Mapping[str, Any]) -> list[Path]:
    """Write ``.npz``, ``.png``, ``.ply`` and last ``.json``; each is complete or absent."""
    paths = {ending: photo.stem.with_name(f"{photo.stem.name}.{ending}") for ending in ENDINGS}
    with replacing(paths["npz"]) as temporary:
        np.savez_compressed(
            temporary,
            depth=face.depth,
            mask=np.isfinite(face.depth),
            keypoints=face.points.numpy(),
            keypoint_depth=face.keypoint_depth.values.numpy(),
            rotation=face.fit.rotation.numpy(),
            pixels_per_millimetre=face.fit.scale,
        )
    with replacing(paths["png"]) as temporary:
        _draw(face, temporary)
    with replacing(paths["ply"]) as temporary:
        exported: Any = face_mesh(face).export(file_type="ply")
        temporary.write_bytes(exported)
    depth = face.depth[np.isfinite(face.depth)]
    size = {"width": face.image.shape[2], "height": face.image.shape[1]}
    units = f"{UNITS}; the mesh is in millimetres of the fitted head, y up, z to the viewer"
    meta = result_meta(photo, "depth", settings, **size, units=units)
    item = face_numbers(
        photo.name, face.found, face.keypoint_depth.values, face.keypoint_depth.origin, face.fit.pose
    )
    item |= {
        "pixels_per_millimetre": round(face.fit.scale, 5),
        "nearest": round(float(depth.min()), 3),
        "farthest": round(float(depth.max()), 3),
    }
    write_face(paths["json"], meta, item)
    return list(paths.values())


def face_mesh(face: FaceDepth) -> trimesh.Trimesh:
    """The face as a mesh with a colour for each vertex; millimetres of the fitted head, y up, z to the viewer."""
    height, width = face.depth.shape
    step = max(1.0, face.surface.unit / FINEST)
    rows, columns = np.nonzero(np.isfinite(face.depth))
    x = np.arange(max(columns.min() - 1, 0), min(columns.max() + 1, width - 1), step)
    y = np.arange(max(rows.min() - 1, 0), min(rows.max() + 1, height - 1), step)
    grid_x, grid_y = np.meshgrid(x, y)
    depth, cover = _at(face.surface, grid_x, grid_y)
    zero = float(face.fit.eye_depth)
    middle = face.points[scheme("68").ocular_points()].mean(0).numpy()
    scale = 1 / face.fit.scale
    points = np.stack(
        [(grid_x - middle[0]) * scale, (middle[1] - grid_y) * scale, (zero - depth) * scale], axis=-1
    )
    colours = np.stack(
        [ndimage.map_coordinates(channel, [grid_y, grid_x], order=1) for channel in face.image.numpy()],
        axis=-1,
    )
    faces = grid_faces(len(y), len(x)).numpy()
    faces = faces[(cover.ravel()[faces] >= ON_FACE).all(1)]
    used, renumbered = np.unique(faces, return_inverse=True)
    # The grid's triangles run clockwise as seen from the camera once y points up.
    order = renumbered.reshape(-1, 3)[:, ::-1]
    return trimesh.Trimesh(
        points.reshape(-1, 3)[used],
        order,
        vertex_colors=to_uint8(torch.from_numpy(colours.reshape(-1, 3)[used])).numpy(),
        process=False,
    )


def _draw(face: FaceDepth, path: Path) -> None:
    """The face, its depth in colours with lines of equal depth, and the bare surface in oblique light."""
    rows, columns = np.nonzero(np.isfinite(face.depth))
    margin = round(0.25 * face.surface.unit)
    top, bottom = max(rows.min() - margin, 0), rows.max() + margin + 1
    left, right = max(columns.min() - margin, 0), columns.max() + margin + 1
    image = face.image.permute(1, 2, 0).numpy()[top:bottom, left:right].clip(0, 1)
    depth = face.depth[top:bottom, left:right]
    extent = (left - 0.5, left + depth.shape[1] - 0.5, top + depth.shape[0] - 0.5, top - 0.5)
    figure = Figure(figsize=(12.0, 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    photo, colours, relief = figure.subplots(1, 3)
    photo.imshow(image, extent=extent)
    photo.plot(*face.points.T.numpy(), ".", color="lime", markersize=3)
    photo.set_title("photo and keypoints")
    colours.imshow(image.mean(-1), extent=extent, cmap="gray", vmin=-0.6, vmax=1.4)
    shown = colours.imshow(np.ma.masked_invalid(depth), extent=extent, cmap="viridis_r")
    levels = np.linspace(np.nanmin(depth), np.nanmax(depth), 14)
    grid = np.arange(depth.shape[1]) + left, np.arange(depth.shape[0]) + top
    colours.contour(*grid, depth, levels=levels, colors="black", linewidths=0.4)
    figure.colorbar(shown, ax=colours, label="pixels behind the outer eye corners", shrink=0.85)
    colours.set_title("depth")
    relief.imshow(_shaded(depth), extent=extent, cmap="gray", vmin=0, vmax=1)
    relief.set_title("surface")
    for axes in (photo, colours, relief):
        axes.set_xticks([])
        axes.set_yticks([])
    with matplotlib.rc_context({"savefig.dpi": 110}):
        figure.savefig(path, format="png")


def _shaded(depth: np.ndarray) -> np.ndarray:
    """Brightness of the surface in light from the upper left, white off the face."""
    down, across = np.gradient(depth)
    normal = np.stack([across, down, np.ones_like(depth)], axis=-1)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    light = np.array([-0.45, -0.5, 0.74])
    shade: np.ndarray = np.where(np.isfinite(depth), (normal @ light).clip(0, 1), 1.0)
    return np.nan_to_num(shade, nan=1.0)
