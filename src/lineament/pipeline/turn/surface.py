"""A dense surface over an image of a head: a depth for every pixel, the face, and what moves along with it.

Depth comes from a fitted head (head_fit.py), bent so that its landmarks lie on the given ones; around the skin it runs
out to the plane of the ears. Steep flanks are made gentler: a photo shows hardly any pixel of them, and turning
would stretch those few over a large part of the image.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageDraw
from scipy import ndimage
from scipy.interpolate import RBFInterpolator
from torch import Tensor

from lineament.faces.normalisers import inter_ocular
from lineament.faces.schemes import scheme
from lineament.heads.fit import HeadFit
from lineament.heads.model import Part
from lineament.ops import rasterize_with_depth

# All lengths are in shares of the distance between the outer eye corners.
CELL = 1 / 26
REACH = 4.0  # half the side of the surface
STEEPEST = 1.15  # slope of the depth
SMOOTH = 0.035
FEATHER, OVERHANG = (
    0.12,
    0.04,
)  # width of the face's soft border, and how far of it lies outside of the outline
HOLD_NEAR, HOLD_FAR = (
    0.1,
    1.5,
)  # what lies nearer to the head than this turns with it; farther than that, stays
# Height of the face over the brows in shares of the distance from nose root to chin: with the forehead, and without.
FOREHEAD, BROWS_ONLY = 0.6, 0.1
# Where a head turns: in millimetres of the head frame, between the ears and a little below the eyes.
NECK = (0.0, 25.0, 68.0)
FACE = (0.0, 30.0, 10.0)
LAYOUT = scheme("68")
BROW_MIDDLES = [line[len(line) // 2] for line in map(LAYOUT.contour, ("left_brow", "right_brow"))]
SKIN = (Part.SKIN, Part.EYE_LEFT, Part.EYE_RIGHT, Part.EAR)


@dataclass(frozen=True)
class FaceSurface:
    """A grid of points over the image.

    Attributes:
        columns: Points in a row of the grid.
        points: ``[V, 3]`` float64: x and y in pixels of the image, z in pixels, growing away from the camera.
        faces: ``[F, 3]`` int32.
        alpha: ``[V]`` 1 on the face, falling to 0 at its border.
        hold: ``[V]`` 1 on the head, falling to 0 in the background, which stays where it is.
        known: ``[V]`` bool, where the fitted head shows skin or eyes.
        neck: ``[3]`` what a head turns about.
        face_centre: ``[3]`` middle of the face.
        rotation: ``[3, 3]`` head frame to camera frame.
        unit: Distance between the outer eye corners in pixels.
    """

    columns: int
    points: Tensor
    faces: Tensor
    alpha: Tensor
    hold: Tensor
    known: Tensor
    neck: Tensor
    face_centre: Tensor
    rotation: Tensor
    unit: float

    @property
    def grid_shape(self) -> tuple[int, int]:
        """Rows and columns of the grid."""
        return len(self.points) // self.columns, self.columns


def build_surface(fit: HeadFit, keypoints: Tensor, depth: Tensor, forehead: float = FOREHEAD) -> FaceSurface:
    """Make the surface of one face.

    Args:
        fit: The head fitted to the keypoints.
        keypoints: ``[68, 2]`` xy in pixels.
        depth: ``[68]`` depth of the keypoints in pixels, in the frame of ``fit`` (its own landmarks' depth, or another
            that has been brought to its scale).
        forehead: How far above the brows the face ends, in shares of the distance from nose root to chin.
    """
    points = keypoints.double().numpy()
    unit = float(inter_ocular(keypoints.double(), LAYOUT))
    step = CELL * unit
    middle = points[LAYOUT.contour("nose_bridge")].mean(0)
    count = int(2 * REACH / CELL) + 1
    axis_x = middle[0] + (np.arange(count) - count // 2) * step
    axis_y = middle[1] + (np.arange(count) - count // 2) * step
    grid = np.stack(np.meshgrid(axis_x, axis_y, indexing="xy"), axis=-1)  # [R, C, 2]
    relief, known = head_relief(fit, points, grid[0, 0], step, (count, count))
    relief = relief + keypoint_correction(fit, points, depth.double().numpy(), grid, known)
    neck = place_of(fit, NECK)
    relief = run_out(relief, known, float(neck[2]), step, unit)
    outline = face_outline(points, forehead)
    inside = _signed_distance(outline, grid[0, 0], step, count) / unit
    alpha = _smooth_step((ndimage.gaussian_filter(inside, 1.0) + OVERHANG) / FEATHER)
    head = np.maximum(_head_ellipse(points, grid), np.minimum(inside, 0.0))
    hold = _smooth_step((HOLD_FAR + head) / (HOLD_FAR - HOLD_NEAR))
    flat = np.concatenate([grid, relief[..., None]], axis=-1).reshape(-1, 3)
    return FaceSurface(
        columns=count,
        points=torch.from_numpy(flat),
        faces=grid_faces(count, count),
        alpha=torch.from_numpy(alpha.ravel()),
        hold=torch.from_numpy(hold.ravel()),
        known=torch.from_numpy(known.ravel()),
        neck=torch.from_numpy(neck),
        face_centre=torch.from_numpy(place_of(fit, FACE)),
        rotation=fit.rotation,
        unit=unit,
    )


def grid_faces(rows: int, columns: int) -> Tensor:
    """Two triangles per cell of a grid of points: ``[F, 3]`` int32."""
    corner = (torch.arange(rows - 1)[:, None] * columns + torch.arange(columns - 1)).flatten()
    upper = torch.stack([corner, corner + 1, corner + columns], dim=-1)
    lower = torch.stack([corner + columns + 1, corner + columns, corner + 1], dim=-1)
    return torch.cat([upper, lower]).int()


def face_outline(points: np.ndarray, forehead: float = FOREHEAD) -> np.ndarray:
    """Polygon ``[P, 2]`` around the face: the jaw, and half an ellipse over the forehead."""
    left, right, chin, root = points[LAYOUT.indices("jaw_end_left", "jaw_end_right", "chin", "nose_root")]
    middle = (left + right) / 2
    across = (right - left) / 2
    up = root - chin
    top = points[BROW_MIDDLES].mean(0) + forehead * up - middle
    angle = np.linspace(0, np.pi, 25)[1:-1, None]
    return np.concatenate(
        [points[LAYOUT.contour("jaw")], middle + np.cos(angle) * across + np.sin(angle) * top]
    )


def place_of(fit: HeadFit, millimetres: tuple[float, float, float]) -> np.ndarray:
    """A point of the head frame in the image's."""
    eyes = fit.landmarks[LAYOUT.part("eyes")].mean(0).numpy()
    # The landmarks of the lids lie in front of the eyeballs, whose middle is the origin.
    offset = np.array(millimetres) + np.array([0.0, 0.0, 6.0])
    place: np.ndarray = eyes + fit.scale * fit.rotation.numpy() @ offset
    return place


def head_relief(
    fit: HeadFit,
    points: np.ndarray,
    corner: np.ndarray,
    step: float,
    shape: tuple[int, int],
    parts: tuple[Part, ...] = SKIN,
) -> tuple[np.ndarray, np.ndarray]:
    """Depth of parts of a fitted head on a grid, its landmarks moved on to the keypoints.

    Args:
        fit: The head.
        points: ``[68, 2]`` keypoints.
        corner: ``[2]`` xy of the grid's first point.
        step: Between points of the grid, pixels.
        shape: Rows and columns of the grid.
        parts: Parts of the head that are drawn.

    Returns:
        Depth ``[R, C]`` in pixels, and where there is any.
    """
    landmarks = fit.landmarks.numpy()
    unit = float(inter_ocular(torch.from_numpy(points), LAYOUT))
    move = RBFInterpolator(
        landmarks[:, :2], points - landmarks[:, :2], kernel="linear", smoothing=0.02 * unit
    )
    vertices = fit.vertices.numpy().copy()
    away = np.linalg.norm(vertices[:, :2] - landmarks[LAYOUT.part("nose"), :2].mean(0), axis=1) / unit
    fade = 1 - _smooth_step((away - 1.2) / 1.0)
    vertices[:, :2] += fade[:, None] * move(vertices[:, :2])
    vertices[:, :2] = (vertices[:, :2] - corner) / step
    skin = np.isin(fit.head.part, [int(part) for part in parts])
    base = 100 * unit  # far from the camera, so that the rasterizer's perspective is none
    placed = torch.from_numpy(vertices + np.array([0.0, 0.0, base]))[None]
    faces = torch.from_numpy(fit.head.faces[skin].astype(np.int32))
    index, depth = rasterize_with_depth(placed, faces, *shape)
    return depth[0].double().numpy() - base, index[0].numpy() >= 0


def keypoint_correction(
    fit: HeadFit, points: np.ndarray, depth: np.ndarray, grid: np.ndarray, known: np.ndarray
) -> np.ndarray:
    """What is added to the head's depth so that it passes through the keypoints' depths."""
    difference = depth - fit.landmarks[:, 2].numpy()
    if np.abs(difference).max() < 1e-6:
        return np.zeros(known.shape)
    unit = float(inter_ocular(torch.from_numpy(points), LAYOUT))
    bend = RBFInterpolator(points, difference, kernel="thin_plate_spline", smoothing=1.0, degree=1)
    ys, xs = np.nonzero(known)
    near = np.linalg.norm(grid[ys, xs] - points[LAYOUT.part("nose")].mean(0), axis=1) / unit
    limit = np.abs(difference).max()
    correction = np.zeros(known.shape)
    correction[ys, xs] = np.clip(bend(grid[ys, xs]), -limit, limit) * (1 - _smooth_step((near - 1.0) / 1.2))
    return correction


def run_out(
    relief: np.ndarray, known: np.ndarray, back: float, step: float, unit: float, steepest: float = STEEPEST
) -> np.ndarray:
    """Fill holes, go on to the plane ``back`` around the head, limit the slope, smooth what was made up."""
    inside = ndimage.binary_fill_holes(known)
    nearest = ndimage.distance_transform_edt(~known, return_distances=False, return_indices=True)
    filled = relief[tuple(nearest)]
    holes = inside & ~known
    if holes.any():
        # Mouth and nostrils: what the rim gives, without the steps of the nearest pixel.
        soft = ndimage.gaussian_filter(filled, 0.06 * unit / step)
        filled = np.where(holes, soft, filled)
    full = np.where(inside, np.minimum(filled, back), back)
    reach = int(np.ceil(1.2 * unit / step))
    gentle = _limit_slope(full, steepest * step, reach)
    smooth = ndimage.gaussian_filter(gentle, SMOOTH * unit / step)
    wide = ndimage.gaussian_filter(gentle, 0.2 * unit / step)
    # The eyes, nose and mouth keep their relief; the rim of the head, which no image agrees with, is soft.
    depth_inside = ndimage.distance_transform_edt(inside) * step / unit
    share = _smooth_step(depth_inside / 0.5)
    blended: np.ndarray = share * smooth + (1 - share) * wide
    return blended


def _limit_slope(relief: np.ndarray, steepest: float, reach: int) -> np.ndarray:
    """Largest surface in front of ``relief`` that rises by no more than ``steepest`` per cell, by sweeps."""
    gentle = relief.copy()
    diagonal = steepest * np.sqrt(2)
    for _ in range(reach):
        before = gentle.copy()
        gentle[1:] = np.minimum(gentle[1:], before[:-1] + steepest)
        gentle[:-1] = np.minimum(gentle[:-1], before[1:] + steepest)
        gentle[:, 1:] = np.minimum(gentle[:, 1:], before[:, :-1] + steepest)
        gentle[:, :-1] = np.minimum(gentle[:, :-1], before[:, 1:] + steepest)
        for rows_a, rows_b in ((slice(1, None), slice(None, -1)), (slice(None, -1), slice(1, None))):
            gentle[rows_a, 1:] = np.minimum(gentle[rows_a, 1:], before[rows_b, :-1] + diagonal)
            gentle[rows_a, :-1] = np.minimum(gentle[rows_a, :-1], before[rows_b, 1:] + diagonal)
        if np.array_equal(before, gentle):
            break
    return gentle


def _signed_distance(polygon: np.ndarray, corner: np.ndarray, step: float, count: int) -> np.ndarray:
    """Distance in pixels to a polygon's border on the grid, positive inside."""
    fine = 4
    mask = Image.new("L", (count * fine, count * fine))
    scaled = ((polygon - corner) / step + 0.5) * fine - 0.5
    ImageDraw.Draw(mask).polygon([tuple(point) for point in scaled.tolist()], fill=1)
    inside = np.asarray(mask) > 0
    signed = ndimage.distance_transform_edt(inside) - ndimage.distance_transform_edt(~inside)
    means: np.ndarray = signed.reshape(count, fine, count, fine).mean((1, 3)) * step / fine
    return means


def _head_ellipse(points: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """Rough distance, negative outside, to an ellipse around head and hair, in shares of the inter-ocular distance."""
    left, right = points[LAYOUT.ocular_points()]
    unit = np.linalg.norm(left - right)
    across = (right - left) / unit
    down = np.array([-across[1], across[0]])
    lowest, root = points[LAYOUT.indices("chin", "nose_root")]
    chin = (lowest - root) @ down / unit
    middle = root - 0.05 * chin * down * unit
    half_x, half_y = 1.25, 1.05 * chin
    offset = (grid - middle) / unit
    radius = np.sqrt((offset @ across / half_x) ** 2 + (offset @ down / half_y) ** 2)
    distance: np.ndarray = np.minimum((1 - radius) * min(half_x, half_y), 0.0)
    return distance


def _smooth_step(value: np.ndarray) -> np.ndarray:
    t = np.clip(value, 0.0, 1.0)
    smooth: np.ndarray = t * t * (3 - 2 * t)
    return smooth
