"""Draws a scene: the image, and the exact truth behind every pixel of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numba
import numpy as np

from lineament.errors import UsageError
from lineament.geometry.camera import Camera
from lineament.heads.model import Floats, HeadModel, Ints, Part
from lineament.heads.normals import vertex_normals
from lineament.synthetic.accessories import build_accessories
from lineament.synthetic.albedo import GLASSES_PART, hair_height, look_up
from lineament.synthetic.appearance import Appearance
from lineament.synthetic.background import draw_background
from lineament.synthetic.extras import Extras, build_extras, merged
from lineament.synthetic.fields import HAIRLINE_Y, feature_maps
from lineament.synthetic.glass import lay_glass, lens_points
from lineament.synthetic.light import Light, irradiance_coefficients, rotate_light
from lineament.synthetic.mesh import (
    ambient_occlusion,
    depth_buffer,
    front_faces,
    sun_view,
)
from lineament.synthetic.noise import noise_volume, smooth
from lineament.synthetic.packing import as_record
from lineament.synthetic.photo import draw_clutter
from lineament.synthetic.scene import Scene, camera_for, face_box, head_rotation
from lineament.synthetic.sensor import through_camera, with_flaws
from lineament.synthetic.shading import shade, tone_table, vertex_attributes
from lineament.synthetic.worn import FIRST_WORN

SHADOW_SIZE = 128
VISIBLE_WITHIN = 5.0
"""A landmark is seen when no surface lies more than this many millimetres in front of it."""
WORN_WITHIN = 1.0
"""The same for what is worn or held, which may lie close to the skin: masks, scarves, hands."""


@dataclass(frozen=True)
class Rendering:
    """One image and its truth; maps are sampled at the pixel centres, in the conventions of :class:`FaceSample`.

    Attributes:
        image: ``[H, W, 3]`` display values, multiples of 1/255.
        camera: Its world is the head frame.
        landmarks: ``[68, 3]`` of scheme ``68``, x and y in pixels, camera depth in millimetres.
        fixed: ``[68, 3]`` those of scheme ``68-3d``.
        visible: ``[68]`` True where the landmark is neither hidden nor outside of the image.
        fixed_visible: ``[68]`` the same of ``fixed``.
        box: ``[4]`` the face box of ``fixed`` (see :func:`lineament.synthetic.scene.face_box`).
        depth: ``[H, W]`` camera depth, 0 where empty.
        normals: ``[H, W, 3]`` unit normals in the camera frame, 0 where empty.
        mask: ``[H, W]`` True on the head.
        uv: ``[H, W, 2]`` surface coordinates, NaN where there is no head surface (background, clothes, spectacles).
        vertices: ``[V, 3]`` the head's vertices in its own frame, millimetres.
    """

    image: Floats
    camera: Camera
    landmarks: Floats
    fixed: Floats
    visible: np.ndarray
    fixed_visible: np.ndarray
    box: Floats
    depth: Floats
    normals: Floats
    mask: np.ndarray
    uv: Floats
    vertices: Floats


@dataclass(frozen=True)
class Mesh:
    """The head and what it wears, as one mesh."""

    vertices: Floats
    faces: Ints
    part: np.ndarray
    canonical: Floats
    openness: Floats
    uv: Floats
    faces_uv: Ints
    two_sided: np.ndarray
    casts: np.ndarray


@dataclass(frozen=True)
class SceneGeometry:
    """The head of a scene, shaped and dressed, before any camera looks at it.

    Attributes:
        scene: The scene.
        appearance: Skin and hair as this head shows them.
        vertices: ``[V, 3]`` the head's vertices in its own frame, millimetres.
        landmarks: ``[68, 3]`` its landmarks of scheme ``68-3d`` in the same frame.
        mesh: The head and what it wears.
    """

    scene: Scene
    appearance: Appearance
    vertices: Floats
    landmarks: Floats
    mesh: Mesh


class _Seen(NamedTuple):
    """A mesh before a camera: its vertices there, the faces that turn to it, and which of them each sample sees."""

    points: Floats
    normals: Floats
    pixels: Floats
    fine: Floats
    kept: Ints
    faces: Ints
    part: np.ndarray
    front: Ints
    fine_depth: Floats


def _light_seen_by(scene: Scene, rotation: Floats) -> Light:
    """The light of a scene in the frame of a camera with the given rotation from the head frame."""
    own = head_rotation(scene.view)
    # Turning by nothing would still round the harmonics.
    if np.array_equal(own.astype(np.float32), rotation):
        return scene.light
    return rotate_light(scene.light, rotation.astype(np.float64) @ own.T)


class Renderer:
    """Draws scenes of one head model; keeps what does not change from image to image.

    Args:
        head: The head model.
        samples: Samples along each side of a pixel; 2 gives 4 samples a pixel.
    """

    def __init__(self, head: HeadModel, samples: int = 2) -> None:
        self.head = head
        self.samples = samples
        solid = head.faces[~np.isin(head.part, (Part.HAIR, Part.LASHES, Part.CLOTH))]
        self._openness = ambient_occlusion(head.neutral, solid)
        # Hair and clothes are drawn in shapes far from the neutral one, so theirs cannot be worked out beforehand.
        for part, value in ((Part.HAIR, 0.85), (Part.LASHES, 0.6), (Part.CLOTH, 0.85)):
            self._openness[np.unique(head.faces[head.part == part])] = value
        self._openness_in_photos = _open_mouth(head, self._openness)
        self._has_cloth = bool((head.part == Part.CLOTH).any())
        self._has_hair = bool((head.part == Part.HAIR).any())
        self._rest_normals = vertex_normals(head.neutral, head.faces)
        self._scalp = np.zeros(len(head.neutral), bool)
        if not self._has_hair:
            self._scalp[np.unique(head.faces[head.part == Part.SKIN])] = True

    def build(self, scene: Scene) -> SceneGeometry:
        """Shape and dress the head of a scene: all that does not depend on a camera."""
        head, person = self.head, scene.appearance
        if self._has_hair:
            # The head's own hair covers the skull; none is painted on the skin beneath.
            person = person._replace(hair_density=0.0)
        vertices = head.vertices(scene.identity[None], scene.expression[None], scene.gaze[None])[0]
        landmarks = head.landmarks(vertices[None])[0]
        if self._scalp.any() and person.hair_volume > 0 and person.hair_density > 0.5:
            _raise_hair(vertices, self._rest_normals, head.canonical, self._scalp, feature_maps(), person)
        extras = build_extras(
            person,
            head,
            landmarks,
            cloth=not self._has_cloth,
            hair=bool(self._scalp.any()),
            glasses=scene.worn.glasses,
        )
        openness = self._openness
        if scene.photo:
            openness = self._openness_in_photos
            extras = merged([extras, *build_accessories(scene.worn, head, vertices, landmarks, extras)])
        return SceneGeometry(scene, person, vertices, landmarks, _join(head, vertices, openness, extras))

    def render_view(self, scene: Scene, size: int) -> Rendering:
        """Draw a scene as the camera of its own view sees it.

        Args:
            scene: What to draw.
            size: Side of the square image in pixels.
        """
        geometry = self.build(scene)
        return self.render(geometry, [camera_for(scene.view, geometry.landmarks, size)])[0]

    def render(self, scene: Scene | SceneGeometry, cameras: Sequence[Camera]) -> list[Rendering]:
        """Draw one scene as several cameras see it at the same moment.

        The light stays where it is: its frame is that of the scene's own view. Each camera has a background and a
        sensor noise of its own; those of the first are the ones of the scene's own view.

        Args:
            scene: What to draw, or its geometry where :meth:`build` made it already.
            cameras: Pinhole cameras whose world is the head frame; any size, no skew.

        Returns:
            An image and its truth for each camera; a pure function of the arguments and the head.

        Raises:
            UsageError: If a camera has skew.
        """
        geometry = scene if isinstance(scene, SceneGeometry) else self.build(scene)
        return [self._seen_by(camera, number, geometry) for number, camera in enumerate(cameras)]

    def _seen_by(self, camera: Camera, number: int, geometry: SceneGeometry) -> Rendering:
        scene, mesh, landmarks = geometry.scene, geometry.mesh, geometry.landmarks
        intrinsics = camera.intrinsics.float().numpy()
        if intrinsics[0, 1] or intrinsics[1, 0]:
            raise UsageError(
                f"camera {number} has the skew {intrinsics[0, 1]:g}: faces are drawn without skew."
            )
        rotation = camera.world_to_camera[:3, :3].float().numpy()
        translation = camera.world_to_camera[:3, 3].float().numpy()
        width, height = camera.width, camera.height
        seen = self._rasterise(intrinsics, rotation, translation, geometry, height, width)
        points, normals, pixels, fine, kept, faces, part, index, fine_depth = seen
        image, coverage = self._shade(
            _light_seen_by(scene, rotation), geometry, points, normals, fine, faces, part, index,
            (height, width), float(intrinsics[0, 0]),
        )  # fmt: skip
        seed = [*scene.image_seed, number] if number else list(scene.image_seed)
        rng = np.random.Generator(np.random.PCG64(seed))
        background = self._background(rng, scene, height, width)
        image += background * (1 - coverage)[..., None]
        if scene.worn.glasses is not None:
            corners = lens_points(scene.worn.glasses, landmarks) @ rotation.T + translation
            corners = _project(corners.reshape(-1, 3).astype(np.float32), intrinsics)
            corners[:, :2] = (corners[:, :2] + np.float32(0.5)) * np.float32(self.samples) - np.float32(0.5)
            bright = float(np.clip(background.mean() + 0.3, 0.2, 1.0))
            lay_glass(
                image,
                fine_depth,
                self.samples,
                corners.reshape(2, -1, 3),
                scene.worn.glasses,
                scene.worn.numbers,
                bright,
            )

        centre_index, depth = depth_buffer(pixels, faces, height, width)
        truth_normals, uv = _truth(
            centre_index, pixels, faces, normals, mesh.uv, np.take(mesh.faces_uv, kept, axis=0)
        )
        count = len(self.head.neutral)
        outlined = self.head.seen_landmarks(points[:count], normals)
        projected, fixed = (
            _project(each.astype(np.float32), intrinsics)
            for each in (outlined, landmarks @ rotation.T + translation)
        )
        if scene.photo:
            image = with_flaws(
                rng, image, scene.photo.flaws, scene.sensor, scene.grey, scene.view.framing * width
            )
        else:
            image = through_camera(rng, image, scene.sensor, scene.grey)
        return Rendering(
            image=image,
            camera=camera,
            landmarks=projected,
            fixed=fixed,
            visible=_visible(projected, fine_depth, index, part, self.samples),
            fixed_visible=_visible(fixed, fine_depth, index, part, self.samples),
            box=face_box(fixed[:, :2].astype(np.float64)).astype(np.float32),
            depth=depth,
            normals=truth_normals,
            mask=centre_index >= 0,
            uv=uv,
            vertices=geometry.vertices,
        )

    def _rasterise(
        self,
        intrinsics: Floats,
        rotation: Floats,
        translation: Floats,
        geometry: SceneGeometry,
        height: int,
        width: int,
    ) -> _Seen:
        mesh = geometry.mesh
        points = mesh.vertices @ rotation.T + translation
        normals = vertex_normals(points, mesh.faces)
        pixels = _project(points, intrinsics)
        # The samples of a pixel lie evenly around its centre: sample X of the fine grid is at (X + 0.5) / S - 0.5.
        fine = pixels.copy()
        fine[:, :2] = (pixels[:, :2] + np.float32(0.5)) * np.float32(self.samples) - np.float32(0.5)
        kept = front_faces(fine, mesh.faces, mesh.two_sided, np.ones(len(mesh.faces), bool))
        faces, part = np.take(mesh.faces, kept, axis=0), np.take(mesh.part, kept)
        index, fine_depth = depth_buffer(fine, faces, height * self.samples, width * self.samples)
        return _Seen(points, normals, pixels, fine, kept, faces, part, index, fine_depth)

    def _background(self, rng: np.random.Generator, scene: Scene, height: int, width: int) -> Floats:
        """What lies behind: a wall, a blur, clutter, and perhaps another face."""
        if scene.photo and rng.random() < scene.photo.clutter:
            background = draw_clutter(rng, height, width)
        else:
            background = draw_background(rng, height, width)
        if scene.beside is None:
            return background
        size = max(height, width)
        geometry = self.build(scene.beside)
        camera = camera_for(scene.beside.view, geometry.landmarks, size)
        intrinsics = camera.intrinsics.float().numpy()
        rotation = camera.world_to_camera[:3, :3].float().numpy()
        translation = camera.world_to_camera[:3, 3].float().numpy()
        seen = self._rasterise(intrinsics, rotation, translation, geometry, size, size)
        image, coverage = self._shade(
            scene.beside.light, geometry, seen.points, seen.normals, seen.fine, seen.faces, seen.part, seen.front,
            (size, size), float(intrinsics[0, 0]),
        )  # fmt: skip
        return background * (1 - coverage[:height, :width, None]) + image[:height, :width]

    def _shade(
        self, light: Light, geometry: SceneGeometry, points: Floats, normals: Floats, fine: Floats,
        faces: Ints, part: np.ndarray, index: Ints, shape: tuple[int, int], focal: float,
    ) -> tuple[Floats, Floats]:  # fmt: skip
        mesh = geometry.mesh
        image = np.empty((*shape, 3), np.float32)
        coverage = np.empty(shape, np.float32)
        middle = points[: len(self.head.neutral)].mean(axis=0)
        reach = 190.0
        in_sun = sun_view(points - middle, light.sun.astype(np.float64), SHADOW_SIZE, reach)
        # Closed surfaces: what turns its outside to the sun casts all of the shadow.
        casting = np.take(mesh.faces, front_faces(in_sun, mesh.faces, mesh.two_sided, mesh.casts), axis=0)
        _, shadow = depth_buffer(in_sun, casting, SHADOW_SIZE, SHADOW_SIZE)
        shade(
            index, self.samples, focal, fine, faces, part,
            vertex_attributes(normals, mesh.canonical, points, in_sun, mesh.openness),
            shadow, 2.2 * 2 * reach / SHADOW_SIZE, as_record(geometry.appearance), as_record(light),
            irradiance_coefficients(light.harmonics), tone_table(light.contrast), feature_maps(),
            noise_volume(), image, coverage,
        )  # fmt: skip
        return image, coverage


_TWO_SIDED = np.zeros(16, bool)
_TWO_SIDED[[Part.HAIR, Part.LASHES, Part.CLOTH, GLASSES_PART]] = True
_TWO_SIDED[FIRST_WORN:] = True
_CASTS = np.ones(16, bool)
_CASTS[[Part.MOUTH_INTERIOR, Part.TEETH, Part.EYE_LEFT, Part.EYE_RIGHT, GLASSES_PART]] = False


def _open_mouth(head: HeadModel, openness: Floats) -> Floats:
    """Openness with that of teeth and mouth as in an open one: at rest, where it was worked out, no light gets in."""
    opened = openness.copy()
    for part, front, back in ((Part.TEETH, 0.75, 0.25), (Part.MOUTH_INTERIOR, 0.40, 0.04)):
        of_part = np.unique(head.faces[head.part == part])
        behind = np.interp(head.canonical[of_part, 2], [-25.0, 15.0], [front, back])
        opened[of_part] = np.maximum(opened[of_part], behind)
    return opened


def _join(head: HeadModel, vertices: Floats, openness: Floats, extras: Extras) -> Mesh:
    part = np.concatenate([head.part, extras.part])
    nowhere = np.full((len(extras.faces), 3), len(head.uv), np.int32)
    return Mesh(
        vertices=np.concatenate([vertices, extras.vertices]),
        faces=np.concatenate([head.faces, extras.faces + np.int32(len(vertices))]),
        part=part,
        canonical=np.concatenate([head.canonical, extras.canonical]),
        openness=np.concatenate([openness, extras.openness]),
        uv=np.concatenate([head.uv, np.full((1, 2), np.nan, np.float32)]),
        faces_uv=np.concatenate([head.faces_uv, nowhere]),
        two_sided=_TWO_SIDED[part],
        casts=_CASTS[part],
    )


def _project(points: Floats, intrinsics: Floats) -> Floats:
    """``[N, 3]`` camera points to pixel x, y and depth, float32."""
    pixels = np.empty_like(points)
    depth = points[:, 2]
    pixels[:, 0] = points[:, 0] / depth * intrinsics[0, 0] + intrinsics[0, 2]
    pixels[:, 1] = points[:, 1] / depth * intrinsics[1, 1] + intrinsics[1, 2]
    pixels[:, 2] = depth
    return pixels


@numba.njit(cache=True, nogil=True)
def _visible(
    projected: np.ndarray, fine_depth: np.ndarray, index: np.ndarray, part: np.ndarray, samples: int
) -> np.ndarray:
    """Depth test of landmarks against the 3x3 samples around each."""
    height, width = fine_depth.shape
    visible = np.zeros(projected.shape[0], np.bool_)
    for number in range(projected.shape[0]):
        column = int(np.floor((projected[number, 0] + 0.5) * samples))
        row = int(np.floor((projected[number, 1] + 0.5) * samples))
        if not (0 <= column < width and 0 <= row < height):
            continue
        for y in range(max(row - 1, 0), min(row + 2, height)):
            for x in range(max(column - 1, 0), min(column + 2, width)):
                front, face = fine_depth[y, x], index[y, x]
                within = WORN_WITHIN if face >= 0 and part[face] >= FIRST_WORN else VISIBLE_WITHIN
                if front == 0 or front > projected[number, 2] - within:
                    visible[number] = True
    return visible


@numba.njit(cache=True, nogil=True)
def _truth(
    index: np.ndarray,
    pixels: np.ndarray,
    faces: np.ndarray,
    normals: np.ndarray,
    uv: np.ndarray,
    faces_uv: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Unit normals ``[H, W, 3]`` and uv ``[H, W, 2]`` (NaN where empty) at the pixel centres."""
    height, width = index.shape
    out_normals = np.zeros((height, width, 3), np.float32)
    out_uv = np.full((height, width, 2), np.nan, np.float32)
    for y in range(height):
        for x in range(width):
            face = index[y, x]
            if face < 0:
                continue
            i, j, k = faces[face, 0], faces[face, 1], faces[face, 2]
            x0, y0 = np.float64(pixels[i, 0]) - x, np.float64(pixels[i, 1]) - y
            x1, y1 = np.float64(pixels[j, 0]) - x, np.float64(pixels[j, 1]) - y
            x2, y2 = np.float64(pixels[k, 0]) - x, np.float64(pixels[k, 1]) - y
            z0, z1, z2 = np.float64(pixels[i, 2]), np.float64(pixels[j, 2]), np.float64(pixels[k, 2])
            u = (x1 * y2 - y1 * x2) * z1 * z2
            v = (x2 * y0 - y2 * x0) * z0 * z2
            w = (x0 * y1 - y0 * x1) * z0 * z1
            total = u + v + w
            u, v, w = u / total, v / total, w / total
            length = 0.0
            for c in range(3):
                value = u * normals[i, c] + v * normals[j, c] + w * normals[k, c]
                out_normals[y, x, c] = value
                length += value * value
            for c in range(3):
                out_normals[y, x, c] /= np.sqrt(length)
            for c in range(2):
                out_uv[y, x, c] = (
                    u * uv[faces_uv[face, 0], c] + v * uv[faces_uv[face, 1], c] + w * uv[faces_uv[face, 2], c]
                )
    return out_normals, out_uv


@numba.njit(cache=True, nogil=True)
def _raise_hair(
    vertices: np.ndarray,
    normals: np.ndarray,
    canonical: np.ndarray,
    scalp: np.ndarray,
    maps: np.ndarray,
    person: Appearance,
) -> None:
    """Lift the scalp by the volume of the hair, in place; nothing below the hairline moves."""
    scratch = np.empty(maps.shape[2], np.float32)
    for vertex in range(vertices.shape[0]):
        if not scalp[vertex]:
            continue
        x, y, z = canonical[vertex, 0], canonical[vertex, 1], canonical[vertex, 2]
        if y > 30.0 and z < 110.0:
            continue
        # Ears and temples stay where they are: there the hair lies flat.
        clear = 1.0 if z > 130.0 else max(smooth(-14.0, -44.0, y), smooth(116.0, 130.0, z))
        look_up(maps, x, y, scratch)
        height = hair_height(x, y, z, scratch[HAIRLINE_Y], person.hairline_shift, person.hairline_temples)
        lift = person.hair_volume * smooth(0.0, 22.0, height) * clear
        for c in range(3):
            vertices[vertex, c] += lift * normals[vertex, c]
