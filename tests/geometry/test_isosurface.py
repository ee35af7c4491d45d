"""Surfaces of volumes: closed forms, and that blocks do not show."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh
from scipy import ndimage
from skimage.measure import marching_cubes

from lineament.errors import DataError, UsageError
from lineament.geometry.isosurface import Surface, extract_surface, largest_component


def ball(shape: tuple[int, int, int], centre: tuple[float, float, float], radius: float) -> np.ndarray:
    """How far inside a ball the points of a grid are; centre as slice, row, column."""
    grids = np.meshgrid(*(np.arange(n, dtype=np.float32) for n in shape), indexing="ij")
    return radius - np.sqrt(sum((grid - c) ** 2 for grid, c in zip(grids, centre, strict=True)))


def as_mesh(surface: Surface) -> trimesh.Trimesh:
    return trimesh.Trimesh(surface.vertices, surface.faces, process=False)


@pytest.mark.parametrize("block", [1, 5, 9, 64])
def test_a_ball_is_closed_and_faces_outwards(block):
    mesh = as_mesh(extract_surface(ball((30, 26, 24), (14.3, 12.2, 11.6), 8), 0.0, block=block))
    assert mesh.is_watertight and mesh.is_winding_consistent
    assert mesh.volume == pytest.approx(4 / 3 * np.pi * 8**3, rel=0.02)
    # Columns, rows, slices.
    assert mesh.center_mass.tolist() == pytest.approx([11.6, 12.2, 14.3], abs=0.02)


@pytest.mark.parametrize("block", [3, 7, 40])
@pytest.mark.parametrize("sigma", [0.0, 1.0, 2.0])
def test_blocks_give_the_surface_of_the_whole(block, sigma):
    noise = np.random.default_rng(0).random((20, 17, 19)).astype(np.float32) - 0.5
    volume = ndimage.gaussian_filter(noise, 1.2)
    smooth = ndimage.gaussian_filter(volume, sigma) if sigma else volume
    vertices, faces, _, _ = marching_cubes(smooth, 0.003)
    found = extract_surface(iter(volume), 0.003, sigma=sigma, block=block)
    assert found.vertices.shape == vertices.shape
    # An ambiguous triangle may be degenerate in one of the two.
    assert abs(len(found.faces) - len(faces)) <= 2
    order, wanted = (np.lexsort(np.round(v, 2).T) for v in (found.vertices, vertices[:, ::-1]))
    np.testing.assert_allclose(found.vertices[order], vertices[:, ::-1][wanted], atol=0.02)
    area = as_mesh(found).area
    assert area == pytest.approx(trimesh.Trimesh(vertices, faces, process=False).area, rel=1e-4)


def test_nothing_is_found_where_nothing_crosses():
    surface = extract_surface(np.zeros((5, 4, 4), np.float32), 0.5)
    assert surface.vertices.shape == (0, 3) and surface.faces.shape == (0, 3)
    assert largest_component(surface) is surface


def test_empty_slices_between_two_parts_do_not_join_them():
    volume = np.maximum(ball((40, 16, 16), (8, 8, 8), 4.3), ball((40, 16, 16), (31, 7, 7), 6.3))
    whole = extract_surface(volume, 0.0, block=4)
    assert as_mesh(whole).body_count == 2
    larger = as_mesh(largest_component(whole))
    assert larger.is_watertight and larger.body_count == 1
    assert larger.center_mass.tolist() == pytest.approx([7, 7, 31], abs=0.05)
    assert len(np.unique(larger.faces)) == len(larger.vertices)


@pytest.mark.parametrize(
    ("volume", "options", "error", "sentence"),
    [
        (np.zeros((1, 4, 4)), {}, DataError, "at least two slices, got 1"),
        (np.zeros((0, 4, 4)), {}, DataError, "at least two slices, got 0"),
        ([np.zeros((4, 4)), np.zeros((4, 5))], {}, DataError, r"one size.*got \(4, 5\)"),
        (np.zeros((4, 1, 4)), {}, DataError, "at least 2 x 2"),
        (np.zeros((4, 8, 8)), {"sigma": 3.0}, DataError, "4 slices is thinner"),
        (np.zeros((4, 8, 8)), {"sigma": -1.0}, UsageError, "0 or more"),
        (np.zeros((4, 8, 8)), {"block": 0}, UsageError, "at least 1"),
    ],
)
def test_impossible_volumes_are_refused(volume, options, error, sentence):
    with pytest.raises(error, match=sentence):
        extract_surface(volume, 0.0, **options)
