"""A scene: who is seen, what the face does, how it is lit, and from where it is looked at."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch

from lineament.faces.crops import named_crop
from lineament.faces.schemes import convert_points
from lineament.geometry.camera import Camera
from lineament.geometry.rotation import matrix_from_pose
from lineament.heads.expressions import draw_expression
from lineament.heads.model import Floats, HeadModel
from lineament.synthetic.appearance import Appearance, draw_appearance
from lineament.synthetic.light import Light, draw_light
from lineament.synthetic.photo import MOODS, PhotoOptions, draw_photo_light, draw_pose
from lineament.synthetic.worn import NOTHING, Worn, draw_worn

HEAD_ANCHOR = np.array([0.0, 30.0, 10.0])
"""Point of the head frame (mm) that lies on the optical axis at the drawn distance."""

BOX_ABOVE_BROWS = 0.30
"""The face box reaches above the highest landmark by this share of the landmarks' height: face detectors include
the middle of the forehead, which the 68 points do not."""

BESIDE = 2**40
"""Images and persons from this number on are the other faces in an image."""

NATURAL_NOD = math.radians(9.0)
"""Mean pitch, radians. The head frame looks higher than people do: seen along its axis, the tip of the nose stands
nearer to the eyes than in any portrait. A face that looks into the camera nods below that axis."""


@dataclass(frozen=True)
class SceneOptions:
    """What is drawn at random, and how widely.

    Attributes:
        max_yaw: Largest turn of the head to either side, radians.
        max_pitch: Largest nod up or down, radians.
        max_roll: Largest tilt, radians.
        distance: Least and largest distance of the camera, millimetres.
        framing: Least and largest share of the image that the side of the face box takes.
        jitter: Standard deviation of the box centre from the image's, as a share of the image.
        grey: Probability of a black-and-white image.
        sensor: Strength of blur, noise and compression, 0 (clean) .. 1.
        expressions: Scale of the expressions, 0 (all faces at rest) .. 1.
        extras: Whether spectacles, long hair and clothes are drawn.
        photo: What photos have beyond the plain world, or ``None`` for that.
        fov: Full angle of view, radians, of images that are cut as the crop ``ffhq`` cuts photos (the portrait world);
            distance, framing and jitter then count for nothing, yaw and pitch are normal with half of their limits as
            standard deviation. ``None``: other worlds.
    """

    max_yaw: float = math.radians(40.0)
    max_pitch: float = math.radians(20.0)
    max_roll: float = math.radians(15.0)
    distance: tuple[float, float] = (450.0, 2500.0)
    framing: tuple[float, float] = (0.45, 0.80)
    jitter: float = 0.04
    grey: float = 0.2
    sensor: float = 1.0
    expressions: float = 1.0
    extras: bool = True
    photo: PhotoOptions | None = None
    fov: float | None = None


PHOTO = SceneOptions(
    max_yaw=math.radians(90.0),
    max_pitch=math.radians(40.0),
    max_roll=math.radians(30.0),
    photo=PhotoOptions(),
)
"""The photo world: wide poses, accessories, all kinds of light, and images with flaws."""
PORTRAIT = SceneOptions(max_yaw=2 * 0.289, max_pitch=2 * 0.127, max_roll=0.0, fov=math.radians(12.6))
"""The portrait world: images like those of FFHQ, seen as GMPI (Zhao et al., ECCV 2022, supplement) assumes of it."""
WORLDS = {"plain": SceneOptions(), "photo": PHOTO, "portrait": PORTRAIT}


@dataclass(frozen=True)
class View:
    """From where a scene is seen.

    Attributes:
        pose: Yaw, pitch, roll of the head relative to the camera, radians (geometry/rotation.py).
        distance: Millimetres from the camera to the middle of the face.
        framing: Share of the image that the side of the face box takes.
        shift: Where the box centre lies, as a share of the image from its middle (x, y).
        fov: Full angle of view of an image that is cut as the crop ``ffhq`` does, radians, in place of distance,
            framing and shift; the crop turns the image, so that roll is relative to it.
    """

    pose: tuple[float, float, float]
    distance: float
    framing: float
    shift: tuple[float, float]
    fov: float | None = None


@dataclass(frozen=True)
class Scene:
    """Everything that is drawn for one image, apart from the pixels.

    Attributes:
        person: Number of the person in its source.
        identity: ``[I]`` shape coefficients.
        expression: ``[E]`` activations.
        gaze: ``[2, 2]`` gaze beyond the expressions, radians.
        mood: Name of the expression.
        style: Name of the head model's style (hair), or ``""``.
        appearance: Skin, hair, eyes, clothes.
        light: In the frame of the camera of ``view``.
        view: The camera.
        image_seed: Seeds the background and the sensor.
        sensor: Strength of the camera's flaws, 0 .. 1.
        grey: Probability of a black-and-white image.
        photo: The options of the photo world when this is one of its scenes.
        worn: What is worn and held (photo world).
        beside: Another face behind this one, cut by the border.
    """

    person: int
    identity: Floats
    expression: Floats
    gaze: Floats
    mood: str
    style: str
    appearance: Appearance
    light: Light
    view: View
    image_seed: tuple[int, ...]
    sensor: float
    grey: float
    photo: PhotoOptions | None = None
    worn: Worn = NOTHING
    beside: Scene | None = None


class Shape(NamedTuple):
    """The part of a scene that decides where the landmarks are; fields as in :class:`Scene`."""

    identity: Floats
    style: str
    expression: Floats
    gaze: Floats
    mood: str
    view: View


def draw_shape(head: HeadModel, options: SceneOptions, seed: int, index: int, person: int) -> Shape:
    """Draw what decides the landmarks of image ``index`` alone: equal to the fields of :func:`draw_scene`."""
    return _draw_shape(head, options, *_generators(seed, index, person))


def _generators(seed: int, index: int, person: int) -> tuple[np.random.Generator, np.random.Generator]:
    """The random numbers of the person and those of the image."""
    of_person = np.random.Generator(np.random.PCG64([seed, 1, person]))
    return of_person, np.random.Generator(np.random.PCG64([seed, 2, index]))


def _draw_shape(
    head: HeadModel, options: SceneOptions, of_person: np.random.Generator, of_image: np.random.Generator
) -> Shape:
    identity = np.clip(of_person.standard_normal(len(head.identity)), -2.8, 2.8).astype(np.float32)
    styles = sorted(head.styles)
    style = styles[int(of_person.integers(len(styles)))] if styles else ""
    for name, value in head.styles.get(style, {}).items():
        identity[head.identity_index(name)] = value
    expression, gaze, mood = draw_expression(of_image, head, MOODS if options.photo else None)
    view = draw_view(of_image, options)
    return Shape(identity, style, (expression * options.expressions).astype(np.float32), gaze, mood, view)


def draw_scene(head: HeadModel, options: SceneOptions, seed: int, index: int, person: int) -> Scene:
    """Draw image ``index`` of the world ``seed``; a pure function of its arguments.

    What belongs to the person (shape, skin, hair, eyes) follows from ``seed`` and ``person`` alone, what belongs to the
    moment (expression, light, camera, clothes' background) from ``seed`` and ``index``.
    """
    of_person, of_image = _generators(seed, index, person)
    shape = _draw_shape(head, options, of_person, of_image)
    appearance = draw_appearance(of_person)
    worn, photo = NOTHING, options.photo
    if photo:
        worn = draw_worn(np.random.Generator(np.random.PCG64([seed, 7, index])), photo.worn)
        glasses = (
            np.zeros(5, np.float32)
            if worn.glasses is None
            else np.array([*worn.glasses.frame, 0.0, 1.0], np.float32)
        )
        appearance = appearance._replace(glasses=glasses, worn=worn.palette)
        if worn.numbers[22] < 0.5:
            appearance = appearance._replace(hair_tucked=0.9 * float(worn.numbers[23]))
        if worn.headgear == "scarf":
            appearance = appearance._replace(hair_length=-60.0, hair_volume=min(appearance.hair_volume, 8.0))
    if not options.extras:
        appearance = appearance._replace(glasses=np.zeros(5, np.float32), hair_length=-60.0)
    skin = appearance.skin_base * np.exp(
        -np.array([2.2, 2.65, 3.0]) * appearance.melanin - np.array([0.1, 0.95, 0.8]) * appearance.haemoglobin
    )
    return Scene(
        person=person,
        **shape._asdict(),
        appearance=appearance,
        light=draw_photo_light(of_image, skin, photo) if photo else draw_light(of_image, skin),
        image_seed=(seed, 3, index),
        sensor=options.sensor,
        grey=options.grey,
        photo=photo,
        worn=worn,
        beside=_draw_beside(head, options, seed, index, shape.view) if photo else None,
    )


def _draw_beside(head: HeadModel, options: SceneOptions, seed: int, index: int, view: View) -> Scene | None:
    """Another face at the border of the image, in some of them."""
    assert options.photo is not None
    rng = np.random.Generator(np.random.PCG64([seed, 8, index]))
    if rng.random() >= options.photo.neighbour:
        return None
    alone = replace(options, photo=replace(options.photo, neighbour=0.0))
    other = draw_scene(head, alone, seed, BESIDE + index, BESIDE + index)
    side = 1.0 if rng.random() < 0.5 else -1.0
    shift = (side * float(rng.uniform(0.38, 0.60)), float(rng.normal(0.0, 0.15)))
    framing = view.framing * float(rng.uniform(0.5, 1.1))
    return replace(other, view=replace(other.view, framing=framing, shift=shift))


def draw_view(rng: np.random.Generator, options: SceneOptions) -> View:
    """Draw a camera within the options' limits."""
    if options.photo:
        limits = np.array([options.max_yaw, options.max_pitch, options.max_roll])
        pose = np.array(draw_pose(rng, limits, min(NATURAL_NOD, options.max_pitch / 2)))
    elif options.fov is not None:
        pose = _normal_pose(rng, options)
    else:
        pose = _plain_pose(rng, options)
    low, high = np.log(options.distance[0]), np.log(options.distance[1])
    shift = rng.normal(0.0, 1.0, 2) * options.jitter
    return View(
        pose=(float(pose[0]), float(pose[1]), float(pose[2])),
        distance=float(np.exp(rng.uniform(low, high))),
        framing=float(rng.uniform(*options.framing)),
        shift=(float(shift[0]), float(shift[1])),
        fov=options.fov,
    )


def _normal_pose(rng: np.random.Generator, options: SceneOptions) -> np.ndarray:
    """Yaw and pitch as GMPI draws cameras, about a face that looks into the camera."""
    # What lies beyond the limits, one in 22, is drawn again as often as that is likely to end.
    draws = rng.standard_normal((8, 3))
    unit = draws[(np.abs(draws) < 2.0).argmax(axis=0), [0, 1, 2]].clip(-2.0, 2.0) / 2
    return unit * np.array([options.max_yaw, options.max_pitch, options.max_roll]) + [0.0, NATURAL_NOD, 0.0]


def _plain_pose(rng: np.random.Generator, options: SceneOptions) -> np.ndarray:
    spread = rng.standard_normal(3) * np.array([0.5, 0.45, 0.4])
    even = rng.uniform(-1.0, 1.0, 3)
    # A bell around frontal with long flat shoulders: all turns up to the limit are seen often enough.
    unit = np.clip(np.where(rng.random(3) < 0.35, even, spread), -1.0, 1.0)
    pose = unit * np.array([options.max_yaw, options.max_pitch, options.max_roll])
    pose[1] = min(pose[1] + min(NATURAL_NOD, options.max_pitch / 2), options.max_pitch)
    return pose


def with_view(scene: Scene, view: View) -> Scene:
    """The same scene seen by another camera; the light stays where it is, seen from the head."""
    from lineament.synthetic.light import rotate_light

    turn = head_rotation(view) @ head_rotation(scene.view).T
    return replace(scene, view=view, light=rotate_light(scene.light, turn))


def head_rotation(view: View) -> np.ndarray:
    """``[3, 3]`` float64 rotation of the head frame into the camera frame."""
    return matrix_from_pose(torch.tensor(view.pose, dtype=torch.float64)).numpy()


def face_box(landmarks: np.ndarray) -> np.ndarray:
    """Box ``x0, y0, x1, y1`` of 68 projected landmarks, raised to the middle of the forehead; ``[68, 2] -> [4]``."""
    low, high = landmarks.min(axis=0), landmarks.max(axis=0)
    top = low[1] - BOX_ABOVE_BROWS * (high[1] - low[1])
    return np.array([low[0], top, high[0], high[1]])


def camera_for(view: View, landmarks: np.ndarray, size: int) -> Camera:
    """The camera that sees a face as ``view`` says; where it has an angle of view, through the crop ``ffhq``.

    Args:
        view: Pose, distance and framing.
        landmarks: ``[68, 3]`` landmarks in the head frame, millimetres.
        size: Side of the (square) image in pixels.

    Returns:
        A camera whose world is the head frame.
    """
    if view.fov is not None:
        return _portrait_camera(view, view.fov, landmarks, size)
    rotation = head_rotation(view)
    translation = np.array([0.0, 0.0, view.distance]) - rotation @ HEAD_ANCHOR
    points = landmarks.astype(np.float64) @ rotation.T + translation
    box = face_box(points[:, :2] / points[:, 2:])
    side = max(box[2] - box[0], box[3] - box[1])
    focal = view.framing * size / side
    middle = 0.5 * (box[:2] + box[2:])
    centre = 0.5 * (size - 1) + np.array(view.shift) * size - focal * middle
    intrinsics = np.array([[focal, 0.0, centre[0]], [0.0, focal, centre[1]], [0.0, 0.0, 1.0]])
    extrinsics = np.eye(4)
    extrinsics[:3, :3], extrinsics[:3, 3] = rotation, translation
    return Camera(torch.from_numpy(intrinsics).float(), torch.from_numpy(extrinsics).float(), size, size)


def _portrait_camera(view: View, fov: float, landmarks: np.ndarray, size: int) -> Camera:
    """The camera whose image is the crop ``ffhq`` of a photo of the face.

    It stands where the crop of the frontal face has the angle of view, and its axis meets the middle of the crop, so
    that the image is no cut from the side of a larger one. As in photos, the crop of a turned face is a little larger
    or smaller, and turned.
    """
    head = torch.from_numpy(landmarks.astype(np.float64))
    aim, half = _ffhq_square(head)
    distance = half / math.tan(fov / 2)
    rotation = torch.from_numpy(head_rotation(view))
    seen = (head - aim) @ rotation.T
    seen[:, 2] += distance
    crop = named_crop("ffhq", landmarks=seen[:, :2] / seen[:, 2:], scheme="68", size=size)
    turn = matrix_from_pose(torch.tensor([0.0, 0.0, crop.rotation], dtype=torch.float64))
    intrinsics = torch.eye(3, dtype=torch.float64)
    intrinsics[[0, 1], [0, 1]] = crop.scale
    intrinsics[:2, 2] = crop.apply(torch.zeros(1, 2, dtype=torch.float64))[0]
    extrinsics = torch.eye(4, dtype=torch.float64)
    extrinsics[:3, :3] = turn @ rotation
    extrinsics[:3, 3] = torch.tensor([0.0, 0.0, distance]) - extrinsics[:3, :3] @ aim
    return Camera(intrinsics.float(), extrinsics.float(), size, size)


def _ffhq_square(landmarks: torch.Tensor) -> tuple[torch.Tensor, float]:
    """Middle ``[3]`` and half side of the crop ``ffhq`` on the frontal head, millimetres."""
    five = convert_points(landmarks, "68", "5")
    eyes, mouth = 0.5 * (five[0] + five[1]), 0.5 * (five[3] + five[4])
    square = named_crop("ffhq", landmarks=landmarks[:, :2], scheme="68", size=2)
    return eyes + 0.1 * (mouth - eyes), 1.0 / square.scale
