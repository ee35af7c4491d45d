"""Where every vertex of the built-in head lies on the face: the coordinates and weights that deformations use."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from lineament.heads.builtin.hair import HairGrid
from lineament.heads.builtin.half import FullMesh, Index
from lineament.heads.builtin.surface import smooth_step
from lineament.heads.builtin.template import EYE_CENTRES

Array = npt.NDArray[np.float64]

JAW_HINGE = np.array([0.0, 10.0, 74.0])
_SEPARATE = ("eye", "teeth_upper", "teeth_lower", "tongue", "ear", "hair")


@dataclass(frozen=True)
class Regions:
    """Coordinates and masks of all vertices of the mirrored mesh.

    Attributes:
        mesh: The mesh.
        hair: The grid of the hair shell.
    """

    mesh: FullMesh
    hair: HairGrid

    @cached_property
    def x(self) -> Array:
        """``[V]`` distance from the middle plane, millimetres (the same on both sides)."""
        return np.abs(self.mesh.points[:, 0])

    @cached_property
    def sign(self) -> Array:
        """``[V]`` +1 on the person's left (image right), -1 on the right, 0 on the middle plane."""
        return np.sign(self.mesh.points[:, 0])

    @property
    def y(self) -> Array:
        """``[V]`` height, millimetres, down."""
        return self.mesh.points[:, 1]

    @property
    def z(self) -> Array:
        """``[V]`` depth, millimetres, into the head."""
        return self.mesh.points[:, 2]

    @property
    def count(self) -> int:
        """Number of vertices."""
        return len(self.mesh.points)

    def group(self, *names: str) -> npt.NDArray[np.bool_]:
        """``[V]`` True for the vertices of these groups, on both sides."""
        chosen = np.zeros(self.count, bool)
        for name in names:
            ids = self.mesh.groups[name]
            chosen[ids] = True
            chosen[self.mesh.mirror[ids]] = True
        return chosen

    @cached_property
    def skin(self) -> Array:
        """``[V]`` 1 on the skin and the inside of the mouth, 0 on the separate parts."""
        return (~self.group(*_SEPARATE)).astype(float)

    @cached_property
    def front(self) -> Array:
        """``[V]`` 1 on the face, fading to 0 behind the cheek bones."""
        return smooth_step((72.0 - self.z) / 50.0)

    @cached_property
    def face(self) -> Array:
        """``[V]`` weight of features of the skin on the face: front and skin."""
        return self.front * self.skin

    def left(self, width: float = 14.0) -> Array:
        """``[V]`` weight of the person's left side, rising from 0 to 1 across the middle plane."""
        return smooth_step(self.mesh.points[:, 0] / width * 0.5 + 0.5)

    def hill(self, centre: tuple[float, float], radii: tuple[float, float]) -> Array:
        """``[V]`` Gaussian weight about a place (and its mirror image) of the front, on the skin."""
        return self.blob(centre, radii) * self.face

    def blob(self, centre: tuple[float, float], radii: tuple[float, float]) -> Array:
        """Like :meth:`hill` for all vertices of the front, the separate parts too."""
        return (
            np.exp(-(((self.x - centre[0]) / radii[0]) ** 2) - ((self.y - centre[1]) / radii[1]) ** 2)
            * self.front
        )

    @cached_property
    def jaw(self) -> Array:
        """``[V]`` how much each vertex follows the lower jaw; cut sharply between the lips."""
        x, y = self.x, self.y
        band = 5.0 + 46.0 * smooth_step((x - 22.0) / 34.0)
        weight = smooth_step((y - (67.0 + 0.12 * np.maximum(x - 25, 0))) / band + 0.5)
        weight *= 1 - smooth_step((self.z - 32.0) / 48.0)
        weight *= 1 - smooth_step((y - 117.0) / 34.0)
        middle = (self.mesh.groups["lip_0"].size - 1) // 2
        ring_names = [name for name in self.mesh.groups if name.startswith(("lip_", "bag_", "mouth_ring_"))]
        for name in ring_names:
            ids = self.mesh.groups[name]
            step = np.abs(np.arange(len(ids)) - middle) / middle  # 0 in the corner, 1 in the middle
            half = 0.5 * (1 - (1 - smooth_step(step / 0.8)))
            value = np.where(np.arange(len(ids)) < middle, 0.5 - half, 0.5 + half)
            if name.startswith("mouth_ring_"):
                blend = (int(name.rsplit("_", 1)[1]) + 1) / 4.0
                value = (1 - blend) * value + blend * weight[ids]
            weight[ids] = value
            weight[self.mesh.mirror[ids]] = value
        weight[self.group("teeth_lower")] = 1.0
        weight[self.group("tongue")] = 0.92
        weight[self.group("teeth_upper", "eye", "hair", "ear", "lashes")] = 0.0
        return weight

    def lid_rings(self, first: int, last: int) -> Index:
        """``[R, n]`` vertices of the rings around the person's left eye."""
        return np.stack([self.mesh.groups[f"lid_ring_{ring}"] for ring in range(first, last + 1)])

    def attach(self, offsets: Array) -> Array:
        """Offsets ``[V, 3]`` with the eyeballs moved as rigid bodies and the lashes carried by the lids."""
        moved = offsets.copy()
        eye = self.mesh.groups["eye"]
        for ids in (eye, self.mesh.mirror[eye]):
            moved[ids] = offsets[ids].mean(axis=0)
        lashes = self.mesh.groups["lashes"].reshape(2, -1)
        margin = self.mesh.groups["lid_ring_0"][: lashes.shape[1]]
        for row in lashes:
            moved[row] = moved[margin]
            moved[self.mesh.mirror[row]] = moved[self.mesh.mirror[margin]]
        return moved

    def eye_distance(self) -> Array:
        """``[V, 3]`` position relative to the eyeball of the same side, as if on the person's left."""
        relative = np.stack([self.x, self.y, self.z], axis=1)
        return relative - EYE_CENTRES[0]
