"""Where the points of scheme 68 lie on a head: shares of lids and lips, and the jaw on the visible outline."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from lineament.errors import UsageError
from lineament.faces.schemes import scheme
from lineament.geometry.rotation import matrix_from_pose
from lineament.heads.load import load_head
from lineament.heads.model import HeadModel, Part
from lineament.heads.normals import vertex_normals
from lineament.synthetic.mesh import depth_buffer
from lineament.synthetic.source import SyntheticFaces

PACKS = Path(__file__).parents[3] / "shared" / "realdata"
MIRROR = list(scheme("68").mirror)
SIZE, SCALE = 600, 3.0


@pytest.fixture(params=["builtin", "ict"])
def head(request: pytest.FixtureRequest) -> HeadModel:
    if request.param == "builtin":
        return load_head("builtin")
    found = [place for place in (PACKS, *(parent / "shared" / "realdata" for parent in PACKS.parents)) if
             (place / "ict_facekit").is_dir()]  # fmt: skip
    if not found:
        pytest.skip("the data packs are not here")
    return load_head("ict", found[0])


def turned(vertices: np.ndarray, yaw: float, pitch: float = 0.0) -> np.ndarray:
    """Vertices in pixels as a far camera sees them."""
    pose = torch.deg2rad(torch.tensor([yaw, pitch, 0.0], dtype=torch.float64))
    points = SCALE * vertices.astype(np.float64) @ matrix_from_pose(pose).numpy().T
    return (points + np.array([SIZE / 2, SIZE / 3, 4000.0])).astype(np.float32)


def mouth(head: HeadModel, opening: float) -> np.ndarray:
    name = "jaw_open" if "jaw_open" in head.expression_names else "jawOpen"
    return head.vertices(np.zeros((1, 0), np.float32), head.activations(**{name: opening}))[0]


def test_places_are_symmetric_and_their_weights_sum_to_one(head: HeadModel):
    np.testing.assert_allclose(head.landmark_weights.sum(1), 1.0, atol=1e-5)
    points = head.landmarks(head.neutral[None])[0]
    np.testing.assert_allclose(points[MIRROR] * [-1, 1, 1], points, atol=0.1)
    seen = head.landmarks(head.neutral[None], "68")[0]
    np.testing.assert_allclose(seen[MIRROR] * [-1, 1, 1], seen, atol=0.5)


def test_mirrored_faces_have_mirrored_points(head: HeadModel):
    left, right = (head.landmarks(turned(head.neutral, yaw, 9.0)[None], "68")[0, :, :2] for yaw in (-35, 35))
    np.testing.assert_allclose([SIZE, 0] + left[MIRROR] * [-1, 1], right, atol=SCALE)


@pytest.mark.parametrize("opening", [0.0, 0.4])
def test_lips_and_lids_are_cut_at_their_thirds(head: HeadModel, opening: float):
    x, y = head.landmarks(mouth(head, opening)[None])[0, :, :2].T

    def share(point: int, left: int, right: int) -> float:
        return float((x[point] - x[left]) / (x[right] - x[left]))

    for upper, lower, third in ((61, 67, 1 / 3), (63, 65, 2 / 3)):
        assert share(upper, 60, 64) == pytest.approx(third, abs=0.05)
        assert share(lower, 60, 64) == pytest.approx(third, abs=0.05)
    for upper, lower, third in ((37, 41, 1 / 3), (38, 40, 2 / 3)):
        assert share(upper, 36, 39) == pytest.approx(third, abs=0.05)
        assert share(lower, 36, 39) == pytest.approx(third, abs=0.05)
    # The bow dips in the middle, and every inner point lies inside of the outer lips.
    assert y[51] > y[50] + 1 and y[51] > y[52] + 1
    assert (y[[61, 62, 63]] > y[[50, 51, 52]] + 3).all() and (y[[67, 66, 65]] < y[[58, 57, 56]] - 3).all()
    gap = y[66] - y[62]
    assert gap > 8 if opening else abs(gap) < 2.0


def test_lids_follow_their_rim(head: HeadModel):
    """Between lid and ball: right at a lid's point the eyeball shows on one side and skin on the other."""
    vertices = turned(head.neutral, 0.0)
    index, _ = depth_buffer(vertices, head.faces[head.part != Part.LASHES], SIZE, SIZE)
    part = head.part[head.part != Part.LASHES][index]
    for point in (37, 38, 40, 41):
        x, y = head.landmarks(vertices[None])[0, point, :2]
        column = part[int(y) - 5 : int(y) + 6, round(float(x))]
        assert (column == Part.EYE_RIGHT).any() and (column == Part.SKIN).any(), point


def test_seen_from_the_front_both_schemes_agree(head: HeadModel):
    fixed, seen = (head.landmarks(head.neutral[None], name)[0] for name in ("68-3d", "68"))
    np.testing.assert_allclose(seen[:, :2], fixed[:, :2], atol=1.5)
    # Even steps along the outline, from the height of the eyes to the chin.
    nod = head.landmarks(turned(head.neutral, 0.0, 9.0)[None])[0, :, :2] / SCALE
    steps = np.linalg.norm(np.diff(nod[:17], axis=0), axis=1)
    assert steps.max() < 1.25 * steps.min()
    assert abs(nod[0, 1] - nod[36, 1]) < 5
    assert abs(nod[27, 1] - nod[36, 1]) < 6


@pytest.mark.parametrize("yaw", [-40.0, 40.0])
def test_the_far_jaw_lies_on_the_silhouette(head: HeadModel, yaw: float):
    vertices = turned(head.neutral, yaw)
    fixed, seen = (head.landmarks(vertices[None], name)[0] for name in ("68-3d", "68"))
    near, far = (range(8), range(10, 16)) if yaw > 0 else (range(9, 17), range(1, 7))
    np.testing.assert_allclose(seen[near], fixed[near], atol=1e-3)
    solid = head.faces[np.isin(head.part, (Part.SKIN, Part.EAR))]
    index, depth = depth_buffer(vertices, solid, SIZE, SIZE)
    depth = np.where(index >= 0, depth, 1e6)
    outward = 1 if yaw > 0 else -1
    for point in far:
        x, y, z = seen[point]
        row = depth[round(float(y))]
        # The face ends within a pixel: before it the skin of the point, behind it nothing or what lies far behind.
        edge = [c for c in range(int(x) - 3, int(x) + 5) if abs(row[c] - z) < 12 * SCALE]
        assert edge, point
        last = max(edge) + 0.5 if outward > 0 else min(edge) - 0.5
        assert abs(last - x) <= 1.0, (point, last, x)
        assert outward * (x - fixed[point, 0]) > 2, point


def test_an_unknown_scheme_is_named(head: HeadModel):
    with pytest.raises(UsageError, match="68-3d"):
        head.landmarks(head.neutral[None], "68-2d")


def test_drawn_faces_have_either_scheme():
    seen, fixed = (
        SyntheticFaces(seed=4, count=3, size=64, max_yaw=1.0, scheme=name) for name in ("68", "68-3d")
    )
    first, second = seen[1], fixed[1]
    assert first.landmarks is not None and second.landmarks is not None
    assert (first.scheme, second.scheme) == ("68", "68-3d") and seen.fingerprint != fixed.fingerprint
    assert torch.equal(first.image, second.image)
    assert torch.allclose(first.landmarks[17:], second.landmarks[17:], atol=1e-3)
    assert torch.equal(first.meta["landmarks_3d"][:, :2], second.landmarks)
    with pytest.raises(UsageError, match="68-3d"):
        SyntheticFaces(scheme="68-4d")


def test_normals_of_the_jaw_curves_point_out_of_the_face(head: HeadModel):
    assert head.jaw is not None
    normals = vertex_normals(head.neutral, head.faces)[head.jaw.ids[:, 0, 0]]
    outward = np.concatenate([head.jaw.outward, np.zeros((17, 1))], axis=1)
    assert ((normals * outward).sum(1) > 0.3).all()
