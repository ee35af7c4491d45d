"""Landmarks of the synthetic world without its images: thousands a minute where drawing gives tens a second.

Face ``i`` of seed ``s`` has the landmarks that image ``i`` of seed ``s`` has (synthetic/source.py).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch

from lineament.data.keypoint_depth import ORIENTATIONS, SCHEME, KeypointSet, depth_in_pixels
from lineament.errors import DataError
from lineament.faces.normalisers import inter_ocular
from lineament.faces.schemes import convert_points
from lineament.heads.model import Eyes, Floats, HeadModel
from lineament.synthetic.scene import SceneOptions, Shape, camera_for, draw_shape

TURNED = math.radians(15.0)
"""A face turned further than this to the image left or right counts as left or right."""
CHUNK = 256


def landmark_head(head: HeadModel) -> HeadModel:
    """The head reduced to the vertices of its landmarks of scheme 68-3d: the same points, a fraction of the work."""
    used = np.unique(head.landmark_ids)
    eyes = head.eyes
    moved = [*eyes.ids, *eyes.lid_ids]
    if any(np.isin(used, ids).any() for ids in moved):
        # Lids are pushed out of the eyeballs, whose centre and radius are means over their vertices.
        used = np.unique(np.concatenate([used, *eyes.ids, *eyes.anchors]))
        lids = [np.isin(ids, used) for ids in eyes.lid_ids]
        kept = Eyes(
            ids=tuple(_places(used, ids) for ids in eyes.ids),  # type: ignore[arg-type]
            anchors=tuple(_places(used, ids) for ids in eyes.anchors),  # type: ignore[arg-type]
            radius=eyes.radius,
            lid_ids=tuple(_places(used, ids[lid]) for ids, lid in zip(eyes.lid_ids, lids, strict=True)),  # type: ignore[arg-type]
            lid_clearance=tuple(c[lid] for c, lid in zip(eyes.lid_clearance, lids, strict=True)),  # type: ignore[arg-type]
            gaze_of_expression=eyes.gaze_of_expression,
        )
    else:
        # An eyeball of one vertex turns about itself: nothing moves.
        first, none = np.zeros(1, np.int32), np.zeros(0, np.int32)
        kept = replace(
            eyes,
            ids=(first, first),
            anchors=(first, first),
            lid_ids=(none, none),
            lid_clearance=(none.astype(np.float32), none.astype(np.float32)),
        )
    corrective = head.corrective[:, used] if head.corrective.size else head.corrective
    return replace(
        head,
        neutral=head.neutral[used],
        identity=head.identity[:, used],
        expression=head.expression[:, used],
        corrective=corrective,
        canonical=head.canonical[used],
        landmark_ids=_places(used, head.landmark_ids),
        faces=head.faces[:0],
        faces_uv=head.faces_uv[:0],
        part=head.part[:0],
        eyes=kept,
        jaw=None,
    )


def _places(used: np.ndarray, ids: np.ndarray) -> np.ndarray:
    return np.searchsorted(used, ids).astype(np.int32)


def orientation(yaw: float) -> str:
    """``left``, ``center`` or ``right``: where in the image a face of this yaw (radians) looks."""
    return "center" if abs(yaw) <= TURNED else ("right" if yaw > 0 else "left")


def draw_keypoints(
    head: HeadModel,
    indices: Iterable[int],
    *,
    seed: int,
    size: int = 128,
    noise: float = 0.0,
    options: SceneOptions | None = None,
    per_orientation: int | None = None,
) -> KeypointSet:
    """Draw the 66 keypoints and depths of faces of the world ``seed``; each face shows another person.

    Args:
        head: The head model.
        indices: Numbers of the faces; may be endless with ``per_orientation``.
        seed: Number of the world.
        size: Side of the (never drawn) images in pixels.
        noise: Standard deviation of normal noise on each coordinate, in distances of the outer eye corners.
        options: Ranges of pose, distance and so on.
        per_orientation: Keep the first so many faces that look left, as many centre and right ones, in this order;
            None keeps all.

    Returns:
        The faces; depths are exact.

    Raises:
        DataError: If the indices end before each orientation has enough faces.
    """
    options = options or SceneOptions()
    small = landmark_head(head)
    shapes = _shapes(head, indices, seed, options, per_orientation)
    keypoints, depths = [], []
    for start in range(0, len(shapes), CHUNK):
        part = shapes[start : start + CHUNK]
        vertices = small.vertices(
            *(np.stack([getattr(s, name) for _, s in part]) for name in ("identity", "expression", "gaze"))
        )
        for (index, shape), landmarks in zip(part, small.landmarks(vertices), strict=True):
            points, depth = _seen(shape, landmarks, size)
            if noise:
                rng = np.random.Generator(np.random.PCG64([seed, 7, index]))
                eyes = float(inter_ocular(points, "68"))
                points = points + noise * eyes * torch.from_numpy(rng.standard_normal(points.shape))
            keypoints.append(points / size)
            depths.append(depth / size)
    columns = torch.cat([torch.stack(keypoints), torch.stack(depths)[..., None]], dim=2)
    columns = convert_points(columns, "68-3d", SCHEME).float()
    return KeypointSet(
        tuple(f"{index:07d}" for index, _ in shapes),
        columns[..., :2].contiguous(),
        columns[..., 2].contiguous(),
        tuple(orientation(shape.view.pose[0]) for _, shape in shapes),
        torch.full((len(shapes), 2), size),
    )


def _shapes(
    head: HeadModel, indices: Iterable[int], seed: int, options: SceneOptions, per_orientation: int | None
) -> Sequence[tuple[int, Shape]]:
    drawn: Iterator[tuple[int, Shape]] = (
        (index, draw_shape(head, options, seed, index, index)) for index in indices
    )
    if per_orientation is None:
        return list(drawn)
    bins: dict[str, list[tuple[int, Shape]]] = {name: [] for name in ORIENTATIONS}
    for index, shape in drawn:
        fitting = bins[orientation(shape.view.pose[0])]
        if len(fitting) < per_orientation:
            fitting.append((index, shape))
        if all(len(faces) == per_orientation for faces in bins.values()):
            return [entry for faces in bins.values() for entry in faces]
    short = next(name for name, faces in bins.items() if len(faces) < per_orientation)
    raise DataError(
        f"only {len(bins[short])} faces look {short}, {per_orientation} are needed: widen max_yaw."
    )


def _seen(shape: Shape, landmarks: Floats, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Pixels ``[68, 2]`` and depth in pixels ``[68]`` of landmarks in the head frame, float64."""
    camera = camera_for(shape.view, landmarks, size)
    projected = camera.project(torch.from_numpy(landmarks).double())
    return projected[:, :2], depth_in_pixels(projected[:, 2], float(camera.intrinsics[0, 0]))
