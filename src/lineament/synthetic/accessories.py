"""Meshes of what people wear and hold (worn.py), laid around each head by its own surface and landmarks."""

from __future__ import annotations

import numpy as np

from lineament.faces.schemes import scheme
from lineament.heads.model import HeadModel, Part
from lineament.synthetic.draping import Piece, Surroundings, ball, box, direction, joined, sheet, tube
from lineament.synthetic.extras import Extras, fit_to_face
from lineament.synthetic.worn import FIRST_WORN, SLOTS, Worn

CENTRE = np.array([0.0, -10.0, 85.0])
"""Point inside of the skull from which directions are counted, template frame, millimetres."""
EAR = np.array([76.0, 10.0, 104.0])
_DEGREE = np.pi / 180
_SCHEME = scheme("68")
_JAW, _BRIDGE = _SCHEME.contour("jaw"), _SCHEME.contour("nose_bridge")
_OUTER_LIP, _INNER_LIP = _SCHEME.contour("outer_lip"), _SCHEME.contour("inner_lip")
_CHIN = _SCHEME.index("chin")
_TOUCHED = [
    *_SCHEME.indices("chin", "nose_tip", "nose_middle_below", "mouth_left", "mouth_right"),
    *_SCHEME.indices("left_eye_outer", "right_eye_outer"),
    _OUTER_LIP[9], _JAW[2], _JAW[-3], _SCHEME.contour("left_brow")[2], _SCHEME.contour("right_brow")[2],
]  # fmt: skip
"""Where hands touch a face."""
_BROWS = [*_SCHEME.contour("left_brow"), *_SCHEME.contour("right_brow")]


def build_accessories(
    worn: Worn, head: HeadModel, vertices: np.ndarray, landmarks: np.ndarray, extras: Extras
) -> list[Extras]:
    """Meshes of what is worn, in the head frame; spectacles are built with the extras.

    Args:
        worn: What there is.
        head: The head model.
        vertices: ``[V, 3]`` this head's vertices.
        landmarks: ``[68, 3]`` its landmarks.
        extras: Its long hair, which hats cover, too.
    """
    pieces: list[tuple[int, Piece]] = []
    linear, shift = fit_to_face(landmarks)
    if worn.headgear or worn.mask or worn.headphones or worn.in_front:
        hair = np.unique(extras.faces[extras.part == Part.HAIR])
        space = Surroundings(np.concatenate([vertices, extras.vertices[hair]]), CENTRE @ linear + shift)
        bare = space
        if worn.mask or worn.in_front == "hand":
            # Hair and shoulders lift neither a mask nor the fingers of a hand.
            of_face = np.unique(head.faces[np.isin(head.part, (Part.SKIN, Part.EAR))])
            face = vertices[of_face]
            bare = Surroundings(face[face[:, 1] < landmarks[_CHIN, 1] + 15.0], space.centre)
        if worn.headgear:
            pieces.append((_slot("headgear"), _headgear(worn, space, landmarks)))
        if worn.mask:
            pieces.append((_slot("mask"), _mask(worn, bare, landmarks)))
        if worn.headphones:
            pieces.append((_slot("headphones"), _headphones(worn, space, EAR @ linear + shift)))
        pieces += _in_front(worn, bare if worn.in_front == "hand" else space, landmarks)
    tongue = _tongue(landmarks)
    if tongue is not None:
        pieces.append((_slot("tongue"), tongue))
    return [
        Extras(
            vertices=points,
            canonical=((points - shift) @ np.linalg.inv(linear)).astype(np.float32),
            faces=faces,
            part=np.full(len(faces), part, np.uint8),
            openness=np.full(len(points), 0.5 if part == _slot("tongue") else 0.92, np.float32),
        )
        for part, (points, faces) in pieces
    ]


def _slot(name: str) -> int:
    return FIRST_WORN + SLOTS.index(name)


def _headgear(worn: Worn, space: Surroundings, landmarks: np.ndarray) -> Piece:
    a, b, c, d = (float(number) for number in worn.numbers[:4])
    brow = float(space.angles(landmarks[_BROWS])[1].max())
    if worn.headgear == "scarf":
        return _scarf(space, landmarks, brow, a, b)
    turn = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    lowest = 10.0 if worn.headgear == "hat" else 5.0
    front = brow + (lowest + 17.0 * a) * _DEGREE
    back = (-22.0 + 14.0 * b) * _DEGREE if worn.headgear == "beanie" else (-4.0 + 12.0 * b) * _DEGREE
    rim = back + (front - back) * (0.5 + 0.5 * np.cos(turn))
    share = np.linspace(0.0, 1.0, 9)[:, None]
    lift = rim + (0.5 * np.pi - rim) * share
    tall = {"beanie": 5.0 + 25.0 * c, "cap": 4.0 + 10.0 * c, "hat": 15.0 + 35.0 * c}[worn.headgear]
    above = 4.0 + tall * np.sin(0.5 * np.pi * np.minimum(share * 1.8, 1.0))
    around = np.broadcast_to(turn, lift.shape)
    radius = space.radius(around, lift)
    # A crown keeps its shape where the head falls away beneath it.
    radius = np.maximum(radius, radius.mean(axis=1, keepdims=True) * 0.93) + above
    dome = sheet(space.centre + radius[..., None] * direction(around, lift), closed=True)
    if worn.headgear == "beanie":
        return dome
    if worn.headgear == "cap":
        turn = np.linspace(-58, 58, 19) * _DEGREE
        rim = back + (front - back) * (0.5 + 0.5 * np.cos(turn))
        reach = (50.0 + 30.0 * d) * np.cos(turn * 90 / 60) ** 0.6
    else:
        reach = np.full(len(turn), 30.0 + 45.0 * d)
    inner = space.at(turn, rim, 4.0)
    level = np.stack([np.sin(turn), np.full(len(turn), 0.25 * c), -np.cos(turn)], axis=-1)
    if worn.headgear == "cap":
        level = np.stack(
            [0.35 * np.sin(turn), np.full(len(turn), 0.1 + 0.3 * c), -np.ones(len(turn))], axis=-1
        )
    brim = np.stack(
        [inner - 2.0 * level, inner + 0.5 * reach[:, None] * level, inner + reach[:, None] * level]
    )
    brim[1, :, 1] -= 3.0
    return joined([dome, sheet(brim, closed=worn.headgear == "hat")])


def _scarf(space: Surroundings, landmarks: np.ndarray, brow: float, a: float, b: float) -> Piece:
    """Cloth around hair, ears and neck, open at the face: rings around the forward axis."""
    jaw = landmarks[_JAW]
    crown = np.array([-50.0, -28.0, 0.0, 28.0, 50.0]) * _DEGREE
    top = space.at(crown, brow + (6.0 + 16.0 * a) * _DEGREE * np.cos(crown) ** 0.5)
    away = np.concatenate([jaw, top]) - space.centre
    around = np.arctan2(-away[:, 1], away[:, 0])
    opening = np.arctan2(np.hypot(away[:, 0], away[:, 1]), -away[:, 2])
    order = np.argsort(around)
    turn = np.linspace(-np.pi, np.pi, 48, endpoint=False)
    edge = np.interp(turn, around[order], opening[order], period=2 * np.pi) + (2.0 * b - 1.0) * _DEGREE * 2
    angle = edge + (155 * _DEGREE - edge) * np.linspace(0.0, 1.0, 12)[:, None] ** 1.3
    unit = np.stack([np.cos(turn) * np.sin(angle), -np.sin(turn) * np.sin(angle), -np.cos(angle)], axis=-1)
    azimuth, elevation = space.angles(space.centre + unit)
    fold = 1.5 * np.sin(9 * turn + 7 * a) + 1.0 * np.sin(17 * turn + 5 * b)
    above = 3.5 + 6.0 * np.sin(np.pi * np.linspace(0, 1, 12))[:, None] ** 0.5 + fold
    return sheet(space.at(azimuth, elevation, above), closed=True)


def _mask(worn: Worn, space: Surroundings, landmarks: np.ndarray) -> Piece:
    """Cloth over nose, mouth and chin, with loops to the ears."""
    a, b = (float(number) for number in worn.numbers[4:6])
    azimuth, elevation = space.angles(landmarks)
    side = min(abs(float(azimuth[_JAW[2]])), abs(float(azimuth[_JAW[-3]]))) - 4 * _DEGREE
    top, bottom = (
        float(elevation[_BRIDGE[1]]) - (6.0 * a) * _DEGREE,
        float(elevation[_CHIN]) - (2.0 + 3.0 * b) * _DEGREE,
    )
    side_top = 0.5 * float(elevation[_JAW[2]] + elevation[_JAW[-3]]) + 3 * _DEGREE
    side_bottom = 0.5 * float(elevation[_JAW[4]] + elevation[_JAW[-5]]) + 4 * _DEGREE
    across = np.linspace(-1.0, 1.0, 25)
    upper = top + (side_top - top) * np.abs(across) ** 1.4
    lower = bottom + (side_bottom - bottom) * np.abs(across) ** 2
    share = np.linspace(0.0, 1.0, 12)[:, None]
    lift = lower + (upper - lower) * share
    puff = (2.5 + 5.0 * np.sin(np.pi * share) ** 0.7) * (1 - 0.6 * across**2)
    turn = np.broadcast_to(side * across, lift.shape)
    pieces = [sheet(space.at(turn, lift, puff))]
    for sign in (-1.0, 1.0):
        for start, lift_at in ((side_top, 4.0), (side_bottom, -6.0)):
            way = np.linspace(0.0, 1.0, 6)
            path = space.at(
                sign * (side + (102 * _DEGREE - side) * way), start + (lift_at * _DEGREE - start) * way, 1.5
            )
            pieces.append(tube(path, 1.1, sides=5))
    return joined(pieces)


def _headphones(worn: Worn, space: Surroundings, ear: np.ndarray) -> Piece:
    a, b, c = (float(number) for number in worn.numbers[6:9])
    bend = np.linspace(-92.0, 92.0, 25) * _DEGREE
    tilt = -0.15 + 0.3 * a
    unit = np.stack([np.sin(bend), -np.cos(bend), tilt * np.cos(bend) + 0.12], axis=-1)
    azimuth, elevation = space.angles(space.centre + unit)
    pieces = [
        tube(
            space.at(azimuth, elevation, 8.0),
            5.0 + 7.0 * b,
            sides=8,
            flat=0.35 + 0.3 * c,
            up=np.array([0, 0, 1.0]),
        )
    ]
    for sign in (-1.0, 1.0):
        azimuth, elevation = space.angles(ear * np.array([sign, 1, 1]))
        middle = space.at(azimuth, elevation, 2.0)
        pieces.append(ball(middle, np.array([13.0 + 5 * c, 30.0 + 9 * b, 27.0 + 9 * b])))
    return joined(pieces)


def _in_front(worn: Worn, space: Surroundings, landmarks: np.ndarray) -> list[tuple[int, Piece]]:
    n = worn.numbers[9:]
    if worn.in_front == "hand":
        return [(_slot("skin"), _hand(n, space, landmarks))]
    if worn.in_front == "microphone":
        azimuth, elevation = space.angles(landmarks[_OUTER_LIP[9]])
        where = space.at(azimuth + (n[0] - 0.5) * 0.9, elevation - (0.35 * n[1] - 0.1), 28.0 + 50.0 * n[2])
        radius = 17.0 + 11.0 * float(n[3])
        down = np.array([0.9 * (n[4] - 0.5), 1.0, -0.5 * n[5]])
        handle = where + np.outer(np.linspace(0.6 * radius, 180.0, 5), down / np.linalg.norm(down))
        return [(_slot("held"), joined([ball(where, np.full(3, radius)), tube(handle, 11.0 + 5.0 * n[6])]))]
    if worn.in_front == "object":
        azimuth, elevation = (n[0] - 0.5) * 2.2, (-50.0 + 95.0 * n[1]) * _DEGREE
        axes = _frame(azimuth, elevation, n[2] * 2 * np.pi)
        half = np.array([12.0 + 40.0 * n[3], 20.0 + 60.0 * n[4], 3.0 + 12.0 * n[5]])
        where = space.at(azimuth, elevation, half[2] + 8.0 + 60.0 * n[6])
        return [
            (
                _slot("held"),
                box(where, half, axes) if n[7] < 0.6 else ball(where, np.r_[half[:2], 25.0], axes),
            )
        ]
    if worn.in_front in ("strands", "fringe"):
        return [(int(Part.HAIR), _strands(worn, space, landmarks))]
    return []


def _frame(azimuth: np.ndarray | float, elevation: np.ndarray | float, roll: float) -> np.ndarray:
    """Rows: two directions along the surface, the first turned by ``roll`` from the horizontal, and the outward one."""
    out = direction(np.float64(azimuth), np.float64(elevation))
    level = np.cross([0.0, -1.0, 0.0], out)
    level /= np.linalg.norm(level)
    down = np.cross(level, out)
    return np.stack(
        [np.cos(roll) * level + np.sin(roll) * down, -np.sin(roll) * level + np.cos(roll) * down, out]
    )


def _hand(n: np.ndarray, space: Surroundings, landmarks: np.ndarray) -> Piece:
    """Four fingers, a thumb, a palm and a forearm, laid on the face; fingers bend towards it."""
    target = _TOUCHED[int(n[0] * 0.999 * len(_TOUCHED))]
    azimuth, elevation = space.angles(landmarks[target])
    roll = (n[1] - 0.5) * 2.4
    x, y, out = _frame(azimuth, elevation, roll)
    if y[1] < 0:
        x, y = -x, -y
    scale = 0.85 + 0.25 * float(n[2])
    bend, spread = 0.15 + 0.5 * float(n[3]), 0.06 + 0.22 * float(n[4])
    flip = 1.0 if n[5] < 0.5 else -1.0
    # The tips lie near the target point.
    base = space.at(azimuth, elevation, 16.0 + 14.0 * n[6]) + (15.0 + 45.0 * n[7]) * scale * y
    pieces = []
    for finger, (place, length, radius) in enumerate(
        ((-29, 65, 8.2), (-10, 76, 8.8), (10, 72, 8.8), (28, 56, 7.6))
    ):
        angle = spread * (finger - 1.5) * 0.6
        step = np.cumsum([0.0, 0.42, 0.32, 0.26]) * length
        sink = bend * np.array([0.0, 0.08, 0.3, 0.62]) * length
        path = (
            base
            + scale
            * (flip * (place + np.sin(angle) * step)[:, None] * x - (np.cos(angle) * step)[:, None] * y)
            - scale * sink[:, None] * out
        )
        thickness = scale * radius * np.array([1.05, 1.0, 0.92, 0.75])
        pieces.append(tube(space.lifted(path, 0.7 * thickness), thickness, sides=9))
    thumb = base + scale * (
        flip * np.array([36.0, 52.0, 60.0, 62.0])[:, None] * x
        + np.array([52.0, 28.0, 5.0, -14.0])[:, None] * y
        - bend * np.array([0.0, 4.0, 10.0, 18.0])[:, None] * out
    )
    pieces.append(tube(space.lifted(thumb, 6.0), scale * np.array([12.0, 11.0, 9.5, 8.0]), sides=9))
    pieces.append(ball(base + 40.0 * scale * y, scale * np.array([42.0, 50.0, 15.0]), np.stack([x, y, out])))
    arm = base + np.outer(np.linspace(70.0, 330.0, 5), y + 0.15 * out) * scale
    pieces.append(tube(arm, scale * np.linspace(27.0, 40.0, 5), sides=10))
    return joined(pieces)


def _strands(worn: Worn, space: Surroundings, landmarks: np.ndarray) -> Piece:
    n = np.random.Generator(np.random.PCG64(int(worn.numbers[9] * 2**24)))
    brow = float(space.angles(landmarks[_BROWS])[1].mean())
    fringe = worn.in_front == "fringe"
    count = 34 if fringe else int(n.integers(3, 9))
    middle, sweep = n.uniform(-0.5, 0.5), n.normal(0.0, 0.25)
    starts = np.linspace(-0.95, 0.95, count) if fringe else middle + n.normal(0.0, 0.25, count)
    level = brow + n.uniform(-7.0, 10.0) * _DEGREE
    pieces = []
    for start in starts:
        end = level + n.normal(0.0, 2.5) * _DEGREE if fringe else n.uniform(-35.0, 12.0) * _DEGREE
        way = np.linspace(0.0, 1.0, 7)
        lift = 62 * _DEGREE + (end - 62 * _DEGREE) * way
        turn = start + (sweep + n.normal(0.0, 0.06)) * way**1.5 + n.normal(0.0, 0.02) * np.sin(5 * way)
        path = space.at(turn, lift, 2.0 + 2.0 * np.sin(np.pi * way) + n.uniform(0, 2))
        width = n.uniform(3.5, 6.5) if fringe else n.uniform(0.8, 3.5)
        pieces.append(
            tube(
                path,
                width * np.linspace(1.0, 0.45, 7),
                sides=5,
                flat=0.4,
                up=direction(np.float64(start), np.float64(0.3)),
            )
        )
    return joined(pieces)


def _tongue(landmarks: np.ndarray) -> Piece | None:
    """A tongue behind the lower lip of an open mouth."""
    upper, lower = landmarks[_INNER_LIP[1:4]].mean(axis=0), landmarks[_INNER_LIP[5:]].mean(axis=0)
    gap = float(np.linalg.norm(lower - upper))
    if gap < 7.0:
        return None
    width = 0.30 * float(np.linalg.norm(landmarks[_OUTER_LIP[6]] - landmarks[_OUTER_LIP[0]]))
    middle = lower + np.array([0.0, 1.5, 20.0])
    return ball(middle, np.array([width, min(0.25 * gap, 7.0), 16.0]), sides=12)
