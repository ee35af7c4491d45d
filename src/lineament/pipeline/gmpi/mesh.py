"""Coloured meshes of a run: the surface of the opacities of many evenly spaced planes.

One definition at all sizes, that of the published program for large volumes: the opacities in a cube of cells, less a
half, smoothed with a Gaussian of three cells, are cut where they are 0.01. Only the largest part is kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from scipy import ndimage
from torch import Tensor

from lineament.capabilities import MultiplaneGenerator
from lineament.errors import DataError
from lineament.files import write_bytes
from lineament.geometry.isosurface import Surface, extract_surface, largest_component
from lineament.progress import Progress, silent

# The published definition of the surface; sigma in cells.
OPAQUE, SIGMA, LEVEL = 0.5, 3.0, 0.01
# Planes that are drawn at once.
TOGETHER = 32


@dataclass(frozen=True)
class Volume:
    """The cube in which opacities lie, ending at the last plane; world frame, z away from the viewer.

    Attributes:
        side: Cells of a side.
        planes: Of the slices, those from the first plane on; the slices before them are empty.
        width: Of the planes but the last, in the world's unit.
        height: Likewise.
        near: z of the first plane.
        far: z of the last.
    """

    side: int
    planes: int
    width: float
    height: float
    near: float
    far: float

    @property
    def published_box(self) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
        """The corners that the published program spreads the cells over: least and greatest x, y, z."""
        reach = max(self.width, self.height)
        return (-reach / 2, -reach / 2, self.far - reach), (reach / 2, reach / 2, self.far)

    def place(self, vertices: np.ndarray) -> np.ndarray:
        """World points ``[V, 3]`` of columns, rows and slices ``[V, 3]``, as the renderer places its texels.

        The outermost texels lie on the planes' borders, and the last slice on the last plane; the published program
        spreads N cells over N steps instead of N - 1, which moves points by up to a cell.
        """
        share = vertices.astype(np.float64) / [self.side - 1, self.side - 1, 1]
        x, y = (share[:, 0] - 0.5) * self.width, (share[:, 1] - 0.5) * self.height
        step = (self.far - self.near) / (self.planes - 1)
        return np.stack([x, y, self.far + (vertices[:, 2] - (self.side - 1)) * step], 1)


def volume_of(planes: Tensor, side: int) -> Volume:
    """The cube of a table of planes ``[P, 3]`` (z, height, width), with as many cells as textures have texels.

    Raises:
        DataError: If there are fewer than two planes, or they are too close for their size.
    """
    if len(planes) < 2:
        raise DataError(f"a mesh needs two planes or more, not {len(planes)}.")
    near, far = float(planes[0, 0]), float(planes[-1, 0])
    height, width = (float(planes[:-1, axis].max()) for axis in (1, 2))
    real = int(min(1.0, (far - near) / max(height, width)) * side)
    if real < 2:
        raise DataError(
            f"planes from {near:g} to {far:g} are thinner than two cells of {max(height, width) / side:.3g}: no mesh "
            "can be made of them."
        )
    return Volume(side, real, width, height, near, far)


def draw_mesh(
    generator: MultiplaneGenerator,
    latent: Tensor,
    *,
    psi: float = 1.0,
    sigma: float = SIGMA,
    whole: bool = False,
    progress: Progress = silent,
) -> trimesh.Trimesh:
    """Make the mesh of a latent, coloured by its front image.

    Args:
        generator: Draws it.
        latent: ``[latent_size]``.
        psi: Share of the way from the mean style.
        sigma: Of the Gaussian, in cells.
        whole: Keep all parts of the surface instead of the largest.
        progress: Shows how far it is.

    Returns:
        The mesh in the unit of the world, x to the right, y up, z to the viewer, with the point that cameras look at in
        the origin. Vertices at the same x and y have the same colour.

    Raises:
        DataError: If there is no surface.
        UsageError: If the generator draws no other planes than those of its training.
    """
    volume = volume_of(generator.planes, generator.resolution)
    with progress("planes", volume.planes, "planes") as advance:

        def slices() -> Iterator[np.ndarray]:
            empty = np.full((volume.side, volume.side), -OPAQUE, np.float32)
            for _ in range(volume.side - volume.planes):
                yield empty
            for part in generator.opacities(latent, volume.planes, psi, TOGETHER):
                for alpha in part.numpy():
                    yield alpha - np.float32(OPAQUE)
                    advance()

        surface = extract_surface(slices(), LEVEL, sigma=sigma)
    if not whole:
        surface = largest_component(surface)
    if not len(surface.faces):
        raise DataError(
            "there is no surface: the opacities of no plane pass a half once they are smoothed; train for longer, or "
            "smooth less with --smooth."
        )
    image = generator.multiplane(latent, None, psi)
    return coloured(surface, volume, image.colour, generator.cameras.centre_z)


def coloured(surface: Surface, volume: Volume, colour: Tensor, centre_z: float) -> trimesh.Trimesh:
    """A surface as a mesh with the colours ``[3, H, W]`` of the front image; frame as of :func:`draw_mesh`."""
    world = volume.place(surface.vertices)
    places = surface.vertices[:, 1::-1].T  # row, column
    painted = np.stack(
        [ndimage.map_coordinates(each, places, order=1, mode="nearest") for each in colour.cpu().numpy()], 1
    )
    # Half a turn about x: y down and z away become y up and z to the viewer, and triangles keep their sides.
    points = np.stack([world[:, 0], -world[:, 1], centre_z - world[:, 2]], 1)
    levels = (painted.clip(0, 1) * 255).round().astype(np.uint8)
    return trimesh.Trimesh(points, surface.faces, vertex_colors=levels, process=False)


def write_mesh(path: Path, mesh: trimesh.Trimesh) -> Path:
    """Write a mesh as binary PLY or as GLB, as the ending says; it is complete or absent.

    Colours of GLB are linear light, as its standard has them; those of PLY are values as shown.
    """
    kind = path.suffix.lower().lstrip(".")
    if kind == "glb":
        mesh = mesh.copy()
        visual: Any = mesh.visual
        shown = np.asarray(visual.vertex_colors)[:, :3] / 255
        linear = np.where(shown <= 0.04045, shown / 12.92, ((shown + 0.055) / 1.055) ** 2.4)
        visual.vertex_colors = (linear * 255).round().astype(np.uint8)
    data: Any = mesh.export(file_type=kind)
    write_bytes(path, data)
    return path
