"""Two pictures of one scene, and of two people: matched pixels show the same point of the face."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lineament.data.sample import FaceSample
from lineament.errors import UsageError
from lineament.synthetic.correspondence import correspondences
from lineament.synthetic.source import SyntheticFaces


def world_points(sample: FaceSample, pixels: torch.Tensor) -> torch.Tensor:
    """Points of the head frame under integer pixels, from depth and camera alone."""
    assert sample.depth is not None and sample.camera is not None
    x, y = pixels.long().T
    depth = sample.depth[y, x]
    rays = torch.stack([pixels[:, 0], pixels[:, 1], torch.ones(len(pixels))], dim=1)
    points = (rays @ torch.linalg.inv(sample.camera.intrinsics).T) * depth[:, None]
    rotation, translation = sample.camera.world_to_camera[:3, :3], sample.camera.world_to_camera[:3, 3]
    return (points - translation) @ rotation


@pytest.mark.parametrize("index", [1, 7])
def test_two_views_agree_with_geometry(faces: SyntheticFaces, index: int) -> None:
    first, second = faces.two_views(index)
    torch.testing.assert_close(first.image, faces[index].image)
    assert torch.equal(first.identity_coefficients, second.identity_coefficients)
    assert torch.equal(first.expression_coefficients, second.expression_coefficients)
    here, there = correspondences(first, second)
    assert len(here) > 500
    assert second.camera is not None
    expected = second.camera.project(world_points(first, here))[:, :2]
    error = (there - expected).norm(dim=1)
    assert float(error.median()) < 0.25, "matches by uv must be where the second camera sees the same point"
    assert float((error < 1.5).float().mean()) > 0.98


def test_two_identities_match_features(faces: SyntheticFaces) -> None:
    first, second = faces.two_identities(2)
    assert first.identity != second.identity
    here, there = correspondences(first, second)
    assert len(here) > 300
    # Points matched near a landmark of one face lie near the same landmark of the other.
    assert first.landmarks is not None and second.landmarks is not None
    assert first.visibility is not None and second.visibility is not None
    size = float((second.landmarks[36] - second.landmarks[45]).norm())
    errors = []
    for landmark in (30, 33, 36, 39, 42, 45, 48, 54):
        if not (first.visibility[landmark] and second.visibility[landmark]):
            continue
        distance = (here - first.landmarks[landmark]).norm(dim=1)
        if distance.min() < 1.0:
            offset = there[distance.argmin()] - second.landmarks[landmark]
            errors.append(float(offset.norm()) / size)
    assert len(errors) >= 3 and float(np.median(errors)) < 0.1


def test_a_picture_matches_itself(faces: SyntheticFaces) -> None:
    sample = faces[3]
    here, there = correspondences(sample, sample)
    assert sample.correspondence is not None
    assert len(here) > 0.95 * int(torch.isfinite(sample.correspondence[0]).sum())
    torch.testing.assert_close(here, there, atol=1e-3, rtol=0)


def test_a_sample_without_surface_is_refused(faces: SyntheticFaces) -> None:
    bare = FaceSample("bare", faces[0].image)
    with pytest.raises(UsageError, match="bare"):
        correspondences(faces[0], bare)


def test_nothing_in_common_gives_no_matches(faces: SyntheticFaces) -> None:
    sample = faces[0]
    empty = FaceSample(
        "empty", sample.image, correspondence=torch.full_like(sample.correspondence, float("nan"))
    )
    here, there = correspondences(sample, empty)
    assert here.shape == there.shape == (0, 2)


def flat(slope: np.ndarray, shift: tuple[float, float], side: int = 24) -> FaceSample:
    """A picture whose surface coordinates are ``slope @ (x, y) + shift``."""
    y, x = np.mgrid[:side, :side].astype(np.float32)
    uv = np.einsum("ij,jhw->ihw", slope, np.stack([x, y])) + np.array(shift)[:, None, None]
    correspondence = torch.from_numpy(uv.astype(np.float32))
    return FaceSample(id="flat", image=torch.zeros(3, side, side), correspondence=correspondence)


def test_matches_of_flat_surfaces_are_exact_to_a_fraction_of_a_pixel() -> None:
    """Sheared, stretched, shifted by parts of a pixel: the refinement is linear, so exact here, at the border too."""
    first = flat(np.array([[0.01, 0.0], [0.0, 0.01]]), (0.0, 0.0))
    slope = np.array([[0.011, 0.003], [-0.002, 0.009]])
    shift = (0.0137, -0.0091)
    here, there = correspondences(first, flat(slope, shift))
    assert len(here) > 300
    wanted = (0.01 * here.numpy() - np.array(shift)) @ np.linalg.inv(slope).T
    np.testing.assert_allclose(there.numpy(), wanted, atol=2e-3)
    # Whatever lies outside the second picture has no match.
    assert bool(((there > -1.01) & (there < 24.01)).all())


def test_a_seam_of_the_coordinates_does_not_bend_the_slope() -> None:
    """Where uv jumps between two neighbours the slope comes from the other side alone."""
    second = flat(np.array([[0.01, 0.0], [0.0, 0.01]]), (0.0033, 0.0))
    assert second.correspondence is not None
    second.correspondence[0, :, 12:] += 5.0
    first = flat(np.array([[0.01, 0.0], [0.0, 0.01]]), (0.0, 0.0))
    here, there = correspondences(first, second)
    near = (there[:, 0] > 10.5) & (there[:, 0] < 11.7)
    assert int(near.sum()) > 10
    torch.testing.assert_close(there[near, 0], here[near, 0] - 0.33, atol=1e-3, rtol=0)
