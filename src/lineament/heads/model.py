"""The head model: a neutral mesh, identity and expression offsets, eyes that turn, lids that never cut into them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property

import numba
import numpy as np
import numpy.typing as npt

from lineament.errors import UsageError, unknown_name
from lineament.faces import schemes as layouts
from lineament.heads.jaw import JawCurves, visible_jaw
from lineament.heads.linear import weighted_rows
from lineament.heads.normals import vertex_normals

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int32]


class Part(IntEnum):
    """What a face of the mesh belongs to; left and right are the person's own (left lies on the image right)."""

    SKIN = 0
    EYE_LEFT = 1
    EYE_RIGHT = 2
    MOUTH_INTERIOR = 3
    TEETH = 4
    HAIR = 5
    LASHES = 6
    EAR = 7
    CLOTH = 8


@dataclass(frozen=True)
class Eyes:
    """The two eyeballs (index 0 the person's left, 1 the right) and the lids that lie on them.

    Attributes:
        ids: Vertices that turn with each eyeball.
        anchors: Vertices of each eyeball whose mean is its centre.
        radius: Radius of the neutral eyeballs in millimetres.
        lid_ids: Vertices of the lids of each eye that must stay outside of the eyeball; may be empty.
        lid_clearance: For each of them the least distance from the eyeball's surface in millimetres.
        gaze_of_expression: ``[E, 2]`` yaw and pitch in radians of each expression at activation 1; zero for all
            but the gaze expressions.
    """

    ids: tuple[Ints, Ints]
    anchors: tuple[Ints, Ints]
    radius: float
    lid_ids: tuple[Ints, Ints]
    lid_clearance: tuple[Floats, Floats]
    gaze_of_expression: Floats  # [E, 2]


@dataclass(frozen=True)
class HeadModel:
    """A linear head with corrective products of expressions and rigidly turning eyes.

    All positions are millimetres in the head frame (x to the image right of a frontal face, y down, z into the
    head, origin midway between the eyeball centres); see docs/conventions.md.

    Attributes:
        name: ``"builtin"`` or the name of the pack it was read from.
        neutral: ``[V, 3]`` mean face at rest.
        identity: ``[I, V, 3]`` offsets for one unit of each coefficient; coefficients are drawn from N(0, 1).
        identity_names: One name for each identity mode.
        expression: ``[E, V, 3]`` offsets at activation 1; activations lie in 0..1.
        expression_names: One name for each expression.
        corrective: ``[C, V, 3]`` offsets for the product of two activations.
        corrective_pairs: ``[C, 2]`` which two expressions each corrective multiplies.
        faces: ``[F, 3]`` vertex indices a, b, c; (b - a) x (c - a) points out of the surface.
        uv: ``[T, 2]`` texture coordinates in 0..1; no two points of the surface share one.
        faces_uv: ``[F, 3]`` indices into ``uv``.
        part: ``[F]`` the :class:`Part` of each face.
        landmark_ids: ``[68, n]`` vertices that make each landmark of scheme ``68-3d``.
        landmark_weights: ``[68, n]`` their weights, each row summing to 1.
        canonical: ``[V, 3]`` the vertices in the template frame, where the albedo is painted (head/template.py).
        eyes: The eyeballs.
        jaw: The curves that the jaw points of scheme ``68`` slide along as the head turns; None where they are not
            known: there both schemes are one.
        styles: Named sets of coefficients that a Gaussian draw would never hit, for example hair styles: for each
            style the modes (by name) it fixes.
    """

    name: str
    neutral: Floats
    identity: Floats
    identity_names: tuple[str, ...]
    expression: Floats
    expression_names: tuple[str, ...]
    faces: Ints
    uv: Floats
    faces_uv: Ints
    part: npt.NDArray[np.uint8]
    landmark_ids: Ints
    landmark_weights: Floats
    canonical: Floats
    eyes: Eyes
    corrective: Floats = field(default_factory=lambda: np.zeros((0, 0, 3), np.float32))
    corrective_pairs: Ints = field(default_factory=lambda: np.zeros((0, 2), np.int32))
    jaw: JawCurves | None = None
    styles: dict[str, dict[str, float]] = field(default_factory=dict)

    @cached_property
    def _basis(self) -> Floats:
        """``[1 + I + E + C, 3 V]``: everything that is linear, as the one matrix of :meth:`vertices`."""
        count = 3 * len(self.neutral)
        blocks = [self.neutral, self.identity, self.expression, self.corrective]
        return np.concatenate([block.reshape(-1, count) for block in blocks if block.size]).astype(np.float32)

    @cached_property
    def landmark_basis(self) -> npt.NDArray[np.float64]:
        """``[1 + I + E, 68, 3]``: neutral landmarks of scheme ``68-3d``, then their change with each coefficient."""
        blocks = [self.neutral[None], self.identity, self.expression]
        return np.concatenate([self.landmarks(block) for block in blocks]).astype(np.float64)

    @cached_property
    def jaw_basis(self) -> npt.NDArray[np.float64]:
        """``[1 + I + E, 17, S, 3]``: the same of the samples of the jaw's curves; of none (S = 0) without curves."""
        if self.jaw is None:
            return np.zeros((1 + len(self.identity) + len(self.expression), 17, 0, 3))
        blocks = [self.neutral[None], self.identity, self.expression]
        samples = [np.einsum("bksnc,ksn->bksc", block[:, self.jaw.ids], self.jaw.weights) for block in blocks]
        return np.concatenate(samples).astype(np.float64)

    @cached_property
    def jaw_normals(self) -> Floats:
        """``[17, S, 3]`` normals of the neutral head at the samples of the jaw's curves, not of unit length."""
        if self.jaw is None:
            return np.zeros((17, 0, 3), np.float32)
        normals = vertex_normals(self.neutral, self.faces)
        return np.einsum("ksnc,ksn->ksc", normals[self.jaw.ids], self.jaw.weights)

    def identity_index(self, name: str) -> int:
        """Index of an identity mode; raises ``UsageError`` naming the nearest known one."""
        if name not in self.identity_names:
            raise unknown_name("identity mode", name, self.identity_names)
        return self.identity_names.index(name)

    def expression_index(self, name: str) -> int:
        """Index of an expression; raises ``UsageError`` naming the nearest known one."""
        if name not in self.expression_names:
            raise unknown_name("expression", name, self.expression_names)
        return self.expression_names.index(name)

    def activations(self, **values: float) -> Floats:
        """``[1, E]`` activations from names, for example ``activations(jaw_open=0.7)``; the others are zero."""
        row = np.zeros((1, len(self.expression_names)), np.float32)
        for name, value in values.items():
            row[0, self.expression_index(name)] = value
        return row

    def vertices(self, identity: Floats, expression: Floats, gaze: Floats | None = None) -> Floats:
        """Pose-free vertices of a batch of faces.

        Args:
            identity: ``[B, I]`` coefficients, or ``[B, 0]`` for the mean face.
            expression: ``[B, E]`` activations in 0..1, or ``[B, 0]`` for the face at rest.
            gaze: ``[B, 2, 2]`` yaw and pitch in radians of the person's left and right eye, added to what the gaze
                expressions give; positive yaw looks to the image right, positive pitch looks down. The lids follow
                the mean pitch.

        Returns:
            ``[B, V, 3]`` float32 millimetres in the head frame.

        Raises:
            UsageError: When the number of coefficients does not fit the model.
        """
        identity = self._coefficients("identity", identity, len(self.identity))
        expression = self._coefficients("expression", expression, len(self.expression))
        batch = len(identity)
        if len(expression) != batch or (gaze is not None and np.shape(gaze) != (batch, 2, 2)):
            raise UsageError(
                f"identity, expression and gaze must describe the same number of faces, got {batch}, "
                f"{len(expression)} and {None if gaze is None else np.shape(gaze)}: pass [B, I], [B, E], [B, 2, 2]."
            )
        turns = np.repeat((expression @ self.eyes.gaze_of_expression)[:, None], 2, axis=1)  # [B, 2, 2]
        if gaze is not None:
            turns = turns + np.asarray(gaze, np.float32)
            expression = self._follow_gaze(expression, np.asarray(gaze, np.float32))
        pairs = self.corrective_pairs
        products = expression[:, pairs[:, 0]] * expression[:, pairs[:, 1]]
        ones = np.ones((batch, 1), np.float32)
        coefficients = np.concatenate([ones, identity, expression, products], axis=1)
        # Not a matrix product: those round differently with the number of threads, and an image must not.
        points = weighted_rows(coefficients.astype(np.float32), self._basis).reshape(batch, -1, 3)
        for eye in range(2):
            self._turn_eye(points, eye, turns[:, eye])
        return points

    def landmarks(self, vertices: Floats, scheme: str = "68-3d") -> Floats:
        """Landmarks of a batch of meshes.

        Args:
            vertices: ``[B, V, 3]`` vertices in any frame; for ``"68"`` one whose z grows away from the viewer.
            scheme: ``"68-3d"``: fixed places of the mesh; ``"68"``: the same but for the jaw, which lies on the outline
                of the face as it is seen along z from far away (:meth:`seen_landmarks` has a camera); ``"5"``: centres
                of the image-left and image-right eye (the mean of the contour), nose tip, image-left and image-right
                mouth corner.

        Returns:
            ``[B, K, 3]`` points in the frame of the vertices.

        Raises:
            UsageError: When the scheme is not one of these.
        """
        if scheme not in ("68", "68-3d", "5"):
            raise unknown_name("landmark scheme", scheme, ("68", "68-3d", "5"))
        if scheme == "68":
            return np.stack([self.seen_landmarks(points, None, perspective=False) for points in vertices])
        points = np.einsum("bknc,kn->bkc", vertices[:, self.landmark_ids], self.landmark_weights)
        if scheme == "68-3d":
            return points
        groups = layouts.scheme("68").conversions["5"]
        return np.stack([points[:, list(group)].mean(axis=1) for group in groups], axis=1)

    def seen_landmarks(
        self, vertices: Floats, normals: Floats | None = None, perspective: bool = True
    ) -> Floats:
        """Landmarks of scheme ``68`` of one face as a camera sees it: the jaw lies on the visible outline.

        A head without jaw curves keeps its fixed places.

        Args:
            vertices: ``[V, 3]`` in the camera frame.
            normals: ``[>= V, 3]`` unit normals that point out of the surface; worked out where not given.
            perspective: Whether the camera is at the origin; else it looks along z from far away.

        Returns:
            ``[68, 3]`` points in the camera frame.
        """
        points = self.landmarks(vertices[None])[0]
        if self.jaw is None:
            return points
        if normals is None:
            normals = vertex_normals(vertices, self.faces)
        points[layouts.scheme("68").contour("jaw")] = visible_jaw(self.jaw, vertices, normals, perspective)
        return points

    def _coefficients(self, kind: str, values: Floats, count: int) -> Floats:
        values = np.asarray(values, np.float32)
        if values.ndim != 2 or values.shape[1] not in (0, count):
            raise UsageError(
                f"{kind} coefficients of shape {values.shape} do not fit head {self.name!r}: pass [B, {count}]."
            )
        return values if values.shape[1] else np.zeros((len(values), count), np.float32)

    def _follow_gaze(self, expression: Floats, gaze: Floats) -> Floats:
        """Activations with ``gaze_up`` and ``gaze_down`` raised so that the lids follow an explicit gaze."""
        followed = expression.copy()
        pitch = gaze[:, :, 1].mean(axis=1)
        for name, sign in (("gaze_down", 1.0), ("gaze_up", -1.0)):
            if name in self.expression_names:
                index = self.expression_index(name)
                limit = abs(float(self.eyes.gaze_of_expression[index, 1])) or 1.0
                followed[:, index] += np.clip(sign * pitch / limit, 0.0, 1.0)
        return followed

    def _turn_eye(self, points: Floats, eye: int, turn: Floats) -> None:
        """Turn one eyeball about its centre and push the lids out of it, in place.

        Args:
            points: ``[B, V, 3]`` vertices.
            eye: 0 for the person's left eye, 1 for the right one.
            turn: ``[B, 2]`` yaw and pitch in radians.
        """
        eyes = self.eyes
        rotations = _gaze_rotation(turn)
        for number in range(len(points)):
            _turn_eyeball(
                points[number], eyes.anchors[eye], eyes.ids[eye], rotations[number], eyes.lid_ids[eye],
                eyes.lid_clearance[eye],
            )  # fmt: skip


@numba.njit(cache=True, nogil=True)
def _turn_eyeball(
    points: np.ndarray,
    anchors: np.ndarray,
    ids: np.ndarray,
    rotation: np.ndarray,
    lids: np.ndarray,
    clearance: np.ndarray,
) -> None:
    """Turn the vertices ``ids`` of one face ``[V, 3]`` about the mean of the anchors; lids keep their clearance."""
    cx = cy = cz = radius = 0.0
    for vertex in anchors:
        cx, cy, cz = cx + points[vertex, 0], cy + points[vertex, 1], cz + points[vertex, 2]
    cx, cy, cz = cx / len(anchors), cy / len(anchors), cz / len(anchors)
    for vertex in ids:
        x, y, z = points[vertex, 0] - cx, points[vertex, 1] - cy, points[vertex, 2] - cz
        radius += math.sqrt(x * x + y * y + z * z)
        points[vertex, 0] = cx + rotation[0, 0] * x + rotation[0, 1] * y + rotation[0, 2] * z
        points[vertex, 1] = cy + rotation[1, 0] * x + rotation[1, 1] * y + rotation[1, 2] * z
        points[vertex, 2] = cz + rotation[2, 0] * x + rotation[2, 1] * y + rotation[2, 2] * z
    radius /= len(ids)
    for number in range(len(lids)):
        vertex = lids[number]
        x, y, z = points[vertex, 0] - cx, points[vertex, 1] - cy, points[vertex, 2] - cz
        distance = max(math.sqrt(x * x + y * y + z * z), 1e-3)
        push = max((radius + clearance[number]) / distance, 1.0) - 1.0
        points[vertex, 0] += x * push
        points[vertex, 1] += y * push
        points[vertex, 2] += z * push


def _gaze_rotation(turn: Floats) -> Floats:
    """``[B, 3, 3]`` rotations that take the forward direction (0, 0, -1) to the given yaw and pitch."""
    yaw, pitch = turn[:, 0], turn[:, 1]
    rotation = np.zeros((len(turn), 3, 3), np.float32)
    sin_yaw, cos_yaw, sin_pitch, cos_pitch = np.sin(yaw), np.cos(yaw), np.sin(pitch), np.cos(pitch)
    # Forward becomes (sin yaw cos pitch, sin pitch, -cos yaw cos pitch).
    rotation[:, 0] = np.stack([cos_yaw, -sin_yaw * sin_pitch, -sin_yaw * cos_pitch], axis=1)
    rotation[:, 1] = np.stack([np.zeros_like(yaw), cos_pitch, -sin_pitch], axis=1)
    rotation[:, 2] = np.stack([sin_yaw, cos_yaw * sin_pitch, cos_yaw * cos_pitch], axis=1)
    return rotation
