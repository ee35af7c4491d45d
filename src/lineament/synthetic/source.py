"""Synthetic faces as a source of samples: image ``i`` of seed ``s`` is always the same image."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lineament.data.sample import FaceSample
from lineament.errors import UsageError, unknown_name
from lineament.faces.schemes import convert_points
from lineament.geometry.rotation import pose_from_matrix
from lineament.heads.load import load_head
from lineament.heads.model import HeadModel
from lineament.synthetic.render import Renderer, Rendering
from lineament.synthetic.scene import Scene, SceneOptions, draw_scene, draw_view, with_view
from lineament.synthetic.subsets import subsets_of

WORLD_VERSION = 4
"""Raised whenever a change of the code changes the images; part of every fingerprint."""

LANDMARK_SCHEMES = ("68", "68-3d")


@functools.lru_cache(maxsize=4)
def _named_renderer(head: str, packs: str | None, samples: int) -> Renderer:
    """Renderers of the named heads are shared: what they keep takes seconds to make."""
    return Renderer(load_head(head, packs), samples)


class SyntheticFaces:
    """An endless world of faces, cut to ``count`` images.

    Args:
        seed: Number of the world; two seeds share no image and no person.
        count: Number of images.
        size: Side of the square images in pixels.
        head: ``"builtin"``, ``"ict"``, or a head model.
        packs: Where the ICT head lies.
        identities: Number of distinct people; each image then shows one of them drawn at random. ``None``: every
            image shows another person.
        options: Ranges of pose, distance, light and so on.
        samples: Samples along each side of a pixel (2 = 4 samples a pixel).
        scheme: Of the landmarks: ``"68"``, whose jaw follows the visible outline, or ``"68-3d"``, fixed places.
        **ranges: Fields of :class:`SceneOptions` to replace, for example ``max_yaw=math.radians(30)``.

    Raises:
        UsageError: On impossible numbers or unknown options.
    """

    def __init__(
        self,
        seed: int = 0,
        count: int = 1000,
        size: int = 128,
        head: str | HeadModel = "builtin",
        packs: Path | str | None = None,
        identities: int | None = None,
        options: SceneOptions | None = None,
        samples: int = 2,
        scheme: str = "68",
        **ranges: object,
    ) -> None:
        if seed < 0 or count < 0 or size < 8 or samples < 1 or (identities is not None and identities < 1):
            raise UsageError(
                f"synthetic faces need seed and count >= 0, size >= 8, samples and identities >= 1; got seed {seed}, "
                f"count {count}, size {size}, samples {samples}, identities {identities}."
            )
        if scheme not in LANDMARK_SCHEMES:
            raise unknown_name("scheme of synthetic landmarks", scheme, LANDMARK_SCHEMES)
        self.scheme = scheme
        known = asdict(SceneOptions())
        for name in ranges:
            if name not in known:
                raise unknown_name("option of synthetic faces", name, known)
        self.seed, self.count, self.size, self.identities = int(seed), int(count), int(size), identities
        self.options = replace(options or SceneOptions(), **ranges)  # type: ignore[arg-type]
        if isinstance(head, HeadModel):
            self.renderer = Renderer(head, samples)
        else:
            self.renderer = _named_renderer(head, str(packs) if packs else None, samples)
        self.head = self.renderer.head

    @property
    def name(self) -> str:
        """For example ``synthetic-ict-seed0``."""
        return f"synthetic-{self.head.name}-seed{self.seed}"

    @property
    def fingerprint(self) -> str:
        """Hex digest of all that decides the images."""
        digest = hashlib.sha256(
            repr(
                (WORLD_VERSION, self.seed, self.count, self.size, self.identities, self.renderer.samples)
            ).encode()
        )
        told = asdict(self.options)
        for added in ("photo", "fov"):
            # Worlds keep the fingerprint that they had before there was another.
            if told[added] is None:
                del told[added]
        digest.update(repr((self.scheme, sorted(told.items()))).encode())
        digest.update(_head_digest(self.head))
        return digest.hexdigest()

    def __len__(self) -> int:
        """Number of images."""
        return self.count

    def __getitem__(self, index: int) -> FaceSample:
        """Draw image ``index``; raises ``IndexError`` outside of ``0 .. count - 1``."""
        return self._draw(f"{index:07d}", self.scene(index))

    def _draw(self, name: str, scene: Scene) -> FaceSample:
        rendering = self.renderer.render_view(scene, self.size)
        return to_sample(f"{self.name}/{name}", scene, rendering, self.scheme)

    def scene(self, index: int) -> Scene:
        """Everything that is drawn at random for image ``index``."""
        if not 0 <= index < self.count:
            raise IndexError(f"image {index} of {self.count}")
        return draw_scene(self.head, self.options, self.seed, index, self._person(index))

    def _person(self, index: int) -> int:
        if self.identities is None:
            return index
        return int(np.random.Generator(np.random.PCG64([self.seed, 4, index])).integers(self.identities))

    def two_views(self, index: int) -> tuple[FaceSample, FaceSample]:
        """Image ``index`` and the same moment seen by a second camera; light and face stay as they are."""
        scene = self.scene(index)
        rng = np.random.Generator(np.random.PCG64([self.seed, 5, index]))
        other = with_view(scene, draw_view(rng, self.options))
        first = self[index]
        second = self._draw(f"{index:07d}-view1", other)
        return first, second

    def two_identities(self, index: int) -> tuple[FaceSample, FaceSample]:
        """Image ``index`` and one of another person, with another moment, light and camera."""
        rng = np.random.Generator(np.random.PCG64([self.seed, 6, index]))
        # Beyond the persons of this source, so that the second is never the first.
        stranger = (self.identities or self.count) + int(rng.integers(2**31))
        other = draw_scene(self.head, self.options, self.seed, 2**32 + index, stranger)
        first = self[index]
        second = self._draw(f"{index:07d}-other", other)
        return first, second


def _head_digest(head: HeadModel) -> bytes:
    digest = hashlib.sha256(head.name.encode())
    curves = () if head.jaw is None else head.jaw
    for array in (
        head.neutral,
        head.faces,
        head.landmark_ids,
        head.landmark_weights,
        head.canonical,
        *curves,
    ):
        digest.update(np.ascontiguousarray(array).tobytes())
    for basis in (head.identity, head.expression):
        # The bases hold tens of megabytes; their sums over a few vertices tell two apart as well.
        digest.update(np.ascontiguousarray(basis[:, ::97]).tobytes())
    return digest.digest()


def to_sample(name: str, scene: Scene, rendering: Rendering, scheme: str = "68") -> FaceSample:
    """Turn a rendered scene into the record that readers yield; all of its fields are filled."""
    light = scene.light
    if scheme == "68":
        landmarks, visible = rendering.landmarks, rendering.visible
    else:
        landmarks, visible = rendering.fixed, rendering.fixed_visible
    pose = torch.tensor(scene.view.pose, dtype=torch.float32)
    if scene.view.fov is not None:
        # The crop has turned the image.
        pose = pose_from_matrix(rendering.camera.world_to_camera[:3, :3])
    return FaceSample(
        id=name,
        image=torch.from_numpy(np.ascontiguousarray(rendering.image.transpose(2, 0, 1))),
        box=torch.from_numpy(rendering.box),
        landmarks=torch.from_numpy(np.ascontiguousarray(landmarks[:, :2])),
        scheme=scheme,
        visibility=torch.from_numpy(visible),
        identity=f"person{scene.person:07d}",
        pose=pose,
        camera=rendering.camera,
        depth=torch.from_numpy(rendering.depth),
        normals=torch.from_numpy(np.ascontiguousarray(rendering.normals.transpose(2, 0, 1))),
        mask=torch.from_numpy(rendering.mask),
        correspondence=torch.from_numpy(np.ascontiguousarray(rendering.uv.transpose(2, 0, 1))),
        identity_coefficients=torch.from_numpy(scene.identity),
        expression_coefficients=torch.from_numpy(scene.expression),
        meta={
            "landmark_depth": torch.from_numpy(np.ascontiguousarray(landmarks[:, 2])),
            "landmarks_3d": torch.from_numpy(rendering.fixed),
            "visibility_3d": torch.from_numpy(rendering.fixed_visible),
            "landmarks5": five_points(torch.from_numpy(landmarks[:, :2])),
            "mood": scene.mood,
            "style": scene.style,
            "worn": ",".join(scene.worn.names),
            "subsets": subsets_of(float(pose[0]), ",".join(scene.worn.names), rendering.box.tolist()),
            "light": {
                "harmonics": light.harmonics.tolist(),
                "sun": light.sun.tolist(),
                "sun_colour": light.sun_colour.tolist(),
                "softness": light.softness,
                "exposure": light.exposure,
            },
        },
    )


def five_points(landmarks: Tensor) -> Tensor:
    """Centres of the image-left and image-right eye, nose tip, mouth corners, from 68 points; ``[68, 2] -> [5, 2]``."""
    return convert_points(landmarks, "68", "5")
