"""What is measured of one person: the order of depths in the face, the fitted head's depth, pose and shape."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

from lineament.errors import DataError
from lineament.evaluation.generated import drawn_in_chunks
from lineament.evaluation.people import (
    DRAWN,
    FRONT,
    LEFT,
    RIGHT,
    People,
    PersonViews,
    convex_hull_mask,
)
from lineament.evaluation.view_consistency import Consistency, view_consistency
from lineament.faces.detection import main_face
from lineament.faces.schemes import convert_points, scheme
from lineament.geometry.multiplane import SphereCameras
from lineament.heads.fit import HeadFit, fit_heads
from lineament.heads.model import HeadModel
from lineament.inference import Model
from lineament.metrics.depth_map import depth_correlation_in, standardised_error
from lineament.ops.rasterize import rasterize_with_depth
from lineament.progress import Progress, silent

# Smaller images are enlarged to this before a face is looked for.
LOOK = 128
LAYOUT = scheme("68")
# An embedding ``[C]`` of a face: image ``[3, S, S]``, its landmarks ``[68, 2]``.
Embed = Callable[[Tensor, Tensor], np.ndarray]


# Angles ``[3]`` of a face about x, y and z as Deep3DFaceRecon has them, radians: the same arguments; None: they are not
# to be had.
Angles = Callable[[Tensor, Tensor], np.ndarray | None]


@dataclass(frozen=True)
class Observer:
    """What looks at people.

    Attributes:
        model: Finds faces and landmarks of a scheme that turns into scheme 68.
        head: What is fitted to the landmarks.
        embed: Describes who somebody is; None: the shape of the fitted head does.
        angles: Estimates poses as published, beside the fitted head; None: nobody does.
    """

    model: Model
    head: HeadModel
    embed: Embed | None = None
    angles: Angles | None = None


@dataclass(frozen=True)
class FoundFace:
    """A face in a view: landmarks ``[68, 2]`` and their standard deviation ``[68]``, pixels."""

    points: Tensor
    std: Tensor | None


@dataclass
class PersonMeasures:
    """What was found of one person; what is None was not found.

    Attributes:
        nose_nearest: Whether the tip of the nose is nearer than eyes, mouth and ears, from the front.
        ears_farthest: Whether both ears are farther than eyes, mouth and nose, from the front.
        depth_correlation: Pearson's r of the depth with the fitted head's, within the face, from the front.
        depth_error: The published error of the same two depths.
        pose: ``[3]`` yaw, pitch and roll of the head fitted to the drawn view, radians, as a camera has them.
        angles: ``[3]`` of that view, as :data:`Angles` has them.
        camera: ``[2]`` yaw and pitch of that view's camera.
        who: ``[2, C]`` what tells who it is, from the left and the right.
        consistency: Of the front view with each of the last two: :class:`.view_consistency.Consistency`.
    """

    nose_nearest: bool | None = None
    ears_farthest: bool | None = None
    depth_correlation: float | None = None
    depth_error: float | None = None
    pose: np.ndarray | None = None
    angles: np.ndarray | None = None
    camera: np.ndarray = field(default_factory=lambda: np.zeros(2))
    who: np.ndarray | None = None
    consistency: list[Consistency] = field(default_factory=list)


def look_at(
    people: People,
    count: int,
    observer: Observer,
    *,
    workers: int = 1,
    title: str = "people",
    progress: Progress = silent,
) -> list[PersonMeasures]:
    """Measure the first so many people.

    Args:
        people: Who.
        count: How many.
        observer: Who looks.
        workers: Processes.
        title: What they are called where progress is shown.
        progress: How it is shown.
    """
    work = partial(_look_at_some, people, observer)
    with drawn_in_chunks(work, range(count), workers, title, "people", progress) as found:
        return list(found)


def _look_at_some(people: People, observer: Observer, numbers: Sequence[int]) -> list[PersonMeasures]:
    views = [people(number) for number in numbers]
    faces = [[find_face(observer.model, image) for image in each.images] for each in views]
    fits = _fit_all(observer.head, faces, people.side)
    return [_measure(observer, *each, fits[row]) for row, each in enumerate(zip(views, faces, strict=True))]


def find_face(model: Model, image: Tensor) -> FoundFace | None:
    """The main face of an upright image ``[3, S, S]`` in 0..1; None where none is found, or it is taken for none."""
    side = image.shape[-1]
    larger = max(side, LOOK)
    if larger > side:
        image = F.interpolate(image[None], (larger, larger), mode="bilinear")[0]
    place = main_face(model.detect(image, upright="off"))
    if place is None:
        return None
    face = model.face(image, place)
    if not model.is_face(face):
        return None
    shrink = side / larger
    points = convert_points(face.landmarks.double(), face.scheme, LAYOUT)
    std = face.std if face.std is not None and face.scheme.name == LAYOUT.name else None
    return FoundFace((points + 0.5) * shrink - 0.5, None if std is None else std * shrink)


def _fit_all(
    head: HeadModel, faces: Sequence[Sequence[FoundFace | None]], side: int
) -> list[list[HeadFit | None]]:
    """A head for each face that was found, all fitted together."""
    known = [(row, view, face) for row, some in enumerate(faces) for view, face in enumerate(some) if face]
    fits: list[list[HeadFit | None]] = [[None] * len(some) for some in faces]
    if not known:
        return fits
    certain = all(face.std is not None for _, _, face in known)
    std = torch.stack([face.std for _, _, face in known if face.std is not None]) if certain else None
    points = torch.stack([face.points for _, _, face in known])
    try:
        found: list[HeadFit | None] = list(fit_heads(head, points, std, (side, side)))
    except DataError:
        # One face whose points lie on a line spoils them all.
        found = [_fit_one(head, face, side) for _, _, face in known]
    for (row, view, _), fit in zip(known, found, strict=True):
        fits[row][view] = fit
    return fits


def _fit_one(head: HeadModel, face: FoundFace, side: int) -> HeadFit | None:
    try:
        return fit_heads(head, face.points[None], None if face.std is None else face.std[None], (side, side))[
            0
        ]
    except DataError:
        return None


def _measure(
    observer: Observer,
    views: PersonViews,
    faces: Sequence[FoundFace | None],
    fits: Sequence[HeadFit | None],
) -> PersonMeasures:
    found = PersonMeasures(camera=np.array([float(views.yaw[DRAWN]), float(views.pitch[DRAWN])]))
    front, fit = faces[FRONT], fits[FRONT]
    if front is not None:
        found.nose_nearest, found.ears_farthest = order_of_depths(views.depth[FRONT], front.points)
    if fit is not None:
        depth, mask = fitted_depth(fit, *views.depth.shape[1:])
        mask &= views.depth[FRONT] > 0
        found.depth_correlation = depth_correlation_in(views.depth[FRONT], depth, mask)
        found.depth_error = standardised_error(views.depth[FRONT], depth, mask)
    if (drawn := fits[DRAWN]) is not None:
        yaw, pitch, roll = drawn.pose.tolist()
        # A face turned to the left is seen by a camera on the right.
        found.pose = np.array([-yaw, pitch, roll])
    if observer.angles is not None and (face := faces[DRAWN]) is not None:
        found.angles = observer.angles(views.images[DRAWN], face.points)
    if views.cameras is not None:
        found.consistency = _consistency(views, views.cameras)
    sides = [_who(observer, views.images[view], faces[view], fits[view]) for view in (LEFT, RIGHT)]
    if sides[0] is not None and sides[1] is not None:
        found.who = np.stack([sides[0], sides[1]])
    return found


def _consistency(views: PersonViews, cameras: SphereCameras) -> list[Consistency]:
    near, far = (float(each) for each in (views.depth.min(), views.depth.max()))
    pairs = []
    for other in (LEFT, RIGHT):
        both = [FRONT, other]
        yaw, pitch = ((float(each[FRONT]), float(each[other])) for each in (views.yaw, views.pitch))
        pair = view_consistency(views.images[both], views.depth[both], cameras, yaw, pitch, far - near)
        pairs += [] if pair is None else [pair]
    return pairs


def _who(observer: Observer, image: Tensor, face: FoundFace | None, fit: HeadFit | None) -> np.ndarray | None:
    if observer.embed is not None:
        return None if face is None else observer.embed(image, face.points)
    return None if fit is None else fit.identity.numpy()


def order_of_depths(depth: Tensor, points: Tensor) -> tuple[bool, bool]:
    """Whether the nose is nearest and the ears are farthest of the places of a face that is seen from the front.

    Places are the tip of the nose, each eye and the mouth (means over their points), and both ends of the jaw, which
    lie at the ears.

    Args:
        depth: ``[H, W]``, larger away from the camera.
        points: ``[68, 2]`` of scheme 68, pixels.
    """
    x, y = points.numpy().T
    at = ndimage.map_coordinates(depth.numpy().astype(np.float64), [y, x], order=1, mode="nearest")
    nose = at[LAYOUT.index("nose_tip")]
    within = [at[LAYOUT.contour(part)].mean() for part in ("left_eye", "right_eye", "outer_lip")]
    ears = at[LAYOUT.indices("jaw_end_left", "jaw_end_right")]
    return bool(nose < min(*within, *ears)), bool(min(ears) > max(*within, nose))


def fitted_depth(fit: HeadFit, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Depth ``[H, W]`` of a fitted head up to an offset, and where its face is: within the hull of its landmarks."""
    vertices = fit.vertices.float()
    # What is drawn must lie in front of the camera.
    vertices[:, 2] += 1 - vertices[:, 2].min()
    index, depth = rasterize_with_depth(vertices[None], torch.from_numpy(fit.head.faces).int(), height, width)
    hull = torch.from_numpy(convex_hull_mask(fit.landmarks[:, :2].numpy(), height, width))
    return depth[0], hull & (index[0] >= 0)
