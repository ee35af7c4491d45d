"""The built-in head: a sound mesh, landmarks in their places, modes that move what their names say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lineament.errors import UsageError
from lineament.heads import HeadModel, Part
from lineament.heads.builtin import builtin_head
from lineament.heads.builtin.build import _build_regions
from lineament.heads.builtin.styles import STYLE_ONLY
from lineament.heads.builtin.template import EYE_CENTRES, LANDMARKS68

MIRROR68 = [
    *range(16, -1, -1), *range(26, 16, -1), *range(27, 31), *range(35, 30, -1),
    45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40,
    *range(54, 47, -1), *range(59, 54, -1), *range(64, 59, -1), *range(67, 64, -1),
]  # fmt: skip


@pytest.fixture(scope="module")
def head() -> HeadModel:
    return builtin_head()


def draw(head: HeadModel, count: int, seed: int = 0) -> np.ndarray:
    values = np.clip(np.random.default_rng(seed).standard_normal((count, len(head.identity))), -2.8, 2.8)
    values[:, [head.identity_index(name) for name in STYLE_ONLY]] = 0.0
    return values.astype(np.float32)


def posed(head: HeadModel, **activations: float) -> np.ndarray:
    return head.vertices(np.zeros((1, 0), np.float32), head.activations(**activations))


def areas(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    a, b, c = (vertices[faces[:, corner]].astype(np.float64) for corner in range(3))
    return np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2


def edge_counts(faces: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    directed = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    edges, counts = np.unique(np.sort(directed, axis=1), axis=0, return_counts=True)
    return edges, counts, np.unique(directed, axis=0, return_counts=True)[1]


def test_shapes_and_sizes_fit_together(head: HeadModel) -> None:
    count = len(head.neutral)
    assert 3000 < count < 6500
    assert head.identity.shape == (len(head.identity_names), count, 3)
    assert head.expression.shape == (len(head.expression_names), count, 3)
    assert head.corrective.shape == (len(head.corrective_pairs), count, 3)
    assert len(head.identity_names) >= 30
    assert len(head.expression_names) >= 20
    assert len(set(head.identity_names)) == len(head.identity_names)
    assert head.faces.min() == 0
    assert head.faces.max() == count - 1
    assert head.part.shape == (len(head.faces),)
    assert {Part(value) for value in np.unique(head.part)} == set(Part)
    for array in (
        head.neutral,
        head.identity,
        head.expression,
        head.uv,
        head.landmark_weights,
        head.canonical,
    ):
        assert array.dtype == np.float32
        assert np.isfinite(array).all()


def test_building_it_again_gives_the_same_head(head: HeadModel) -> None:
    again = builtin_head.__wrapped__()
    for name in ("neutral", "identity", "expression", "corrective", "faces", "uv", "landmark_weights"):
        assert np.array_equal(getattr(head, name), getattr(again, name)), name


def test_no_edge_has_more_than_two_faces_and_they_agree_on_the_outside(head: HeadModel) -> None:
    for part in Part:
        _, counts, directed = edge_counts(head.faces[head.part == part])
        assert counts.max() == 2, part
        assert directed.max() == 1, part


@pytest.mark.parametrize("part", [Part.EYE_LEFT, Part.EYE_RIGHT])
def test_the_eyeballs_are_spheres_open_only_behind(head: HeadModel, part: Part) -> None:
    faces = head.faces[head.part == part]
    edges, counts, directed = edge_counts(faces)
    assert counts.max() == 2
    assert (directed == 1).all()
    assert head.neutral[edges[counts == 1], 2].min() > 6.0
    centre = EYE_CENTRES[0 if part == Part.EYE_LEFT else 1]
    radii = np.linalg.norm(head.neutral[np.unique(faces)] - centre, axis=1)
    assert np.allclose(radii, head.eyes.radius, atol=1e-3)


def test_the_skin_is_whole_but_for_eyes_lips_and_the_lower_edge(head: HeadModel) -> None:
    skin = head.faces[np.isin(head.part, (Part.SKIN, Part.CLOTH))]
    edges, counts, _ = edge_counts(skin)
    rim = head.neutral[edges[counts == 1]].mean(axis=1)
    at_eyes = (np.abs(np.abs(rim[:, 0]) - 31) < 15) & (np.abs(rim[:, 1]) < 7)
    at_mouth = (np.abs(rim[:, 0]) < 24) & (np.abs(rim[:, 1] - 67) < 1.5)
    assert (at_eyes | at_mouth | (rim[:, 1] > 150)).all()


def test_faces_look_outwards(head: HeadModel) -> None:
    for part, centre in (
        (Part.SKIN, (0, 20, 80)),
        (Part.EYE_LEFT, EYE_CENTRES[0]),
        (Part.EYE_RIGHT, EYE_CENTRES[1]),
    ):
        a, b, c = (head.neutral[head.faces[head.part == part][:, corner]] for corner in range(3))
        away = ((np.cross(b - a, c - a)) * ((a + b + c) / 3 - np.array(centre))).sum(axis=1) > 0
        assert away.mean() > 0.95, part


def test_no_triangle_is_degenerate_at_rest_or_on_drawn_people(head: HeadModel) -> None:
    visible = head.faces[head.part != Part.HAIR]
    assert areas(head.neutral, visible).min() > 1e-3
    people = head.vertices(draw(head, 6), np.zeros((6, 0), np.float32))
    for person in people:
        assert areas(person, visible).min() > 1e-4


def test_mesh_and_symmetric_modes_mirror_exactly(head: HeadModel) -> None:
    regions = _build_regions()
    mirror, flip = regions.mesh.mirror, np.array([-1.0, 1.0, 1.0], np.float32)
    assert np.array_equal(mirror[mirror], np.arange(len(mirror)))
    assert np.allclose(head.neutral[mirror] * flip, head.neutral, atol=1e-5)
    for name, field in zip(head.identity_names, head.identity, strict=True):
        off = np.abs(field[mirror] * flip - field).max()
        if name.startswith("asymmetric") or name in ("smooth_5", "smooth_6", "smooth_7", "hair_parting"):
            assert off > 0.1, name
        else:
            assert off < 1e-4, name
    for name in head.expression_names:
        if name.endswith("_left") and not name.startswith("gaze"):
            left = head.expression[head.expression_index(name)]
            right = head.expression[head.expression_index(name.replace("_left", "_right"))]
            assert np.allclose(left[mirror] * flip, right, atol=1e-4), name


def test_landmarks_lie_on_the_template(head: HeadModel) -> None:
    points = head.landmarks(head.neutral[None])[0]
    # The jaw has its own rule, and the bridge of the nose begins lower than the albedo's.
    on_template = np.setdiff1d(np.arange(17, 68), [27, 28, 29])
    assert np.linalg.norm((points - LANDMARKS68)[on_template], axis=1).max() < 0.5
    assert np.abs((points - LANDMARKS68)[17:, :2]).max() < 2.6
    assert np.allclose(head.landmark_weights.sum(axis=1), 1.0, atol=1e-5)
    assert np.allclose(points[MIRROR68] * [-1, 1, 1], points, atol=1e-3)


def test_landmarks_are_ordered_as_on_a_face(head: HeadModel) -> None:
    for points in head.landmarks(head.vertices(draw(head, 40), np.zeros((40, 0), np.float32))):
        x, y = points[:, 0], points[:, 1]
        assert (np.diff(x[:17]) > -1.5).all()
        assert (np.diff(x[2:15]) > 0).all()
        assert x[36] < x[37] < x[38] < x[39] < 0 < x[42] < x[43] < x[44] < x[45]
        assert y[37] < y[41]
        assert y[44] < y[46]
        assert (np.diff(y[27:31]) > 0).all()
        assert y[24] < y[44] < y[30] < y[51] < y[57] < y[8]
        assert x[48] < x[50] < x[52] < x[54]


def test_five_landmarks_come_from_the_sixty_eight(head: HeadModel) -> None:
    five, many = head.landmarks(head.neutral[None], "5")[0], head.landmarks(head.neutral[None])[0]
    assert np.allclose(five[0], many[36:42].mean(axis=0), atol=1e-4)
    assert np.allclose(five[1], many[42:48].mean(axis=0), atol=1e-4)
    assert np.array_equal(five[2:], many[[30, 48, 54]])


def test_people_differ_as_much_as_people_do(head: HeadModel) -> None:
    points = head.landmarks(head.vertices(draw(head, 300), np.zeros((300, 0), np.float32)))

    def length(first: int, second: int) -> np.ndarray:
        return np.linalg.norm(points[:, first] - points[:, second], axis=1)

    pupils = np.linalg.norm(points[:, 36:42].mean(axis=1) - points[:, 42:48].mean(axis=1), axis=1)
    for measured, mean, least, most in (
        (pupils, 63, 2.5, 4.5),
        (length(48, 54), 50, 3, 6),
        (length(27, 8), 120, 4, 8),
        (length(1, 15), 136, 4, 8),
        (length(4, 12), 101, 4.5, 9),
    ):
        assert measured.mean() == pytest.approx(mean, abs=2.5)
        assert least < measured.std() < most
    spread = np.sqrt(points.var(axis=0).sum(axis=1))
    assert spread.min() > 2.0
    assert spread.max() < 8.0


def test_a_batch_equals_its_members(head: HeadModel) -> None:
    identity = draw(head, 3)
    rng = np.random.default_rng(1)
    expression = rng.random((3, len(head.expression))).astype(np.float32) * 0.4
    gaze = rng.uniform(-0.3, 0.3, (3, 2, 2)).astype(np.float32)
    together = head.vertices(identity, expression, gaze)
    for index in range(3):
        alone = head.vertices(
            identity[index : index + 1], expression[index : index + 1], gaze[index : index + 1]
        )
        assert np.allclose(alone[0], together[index], atol=2e-3)
    assert together.dtype == np.float32


def test_texture_coordinates_are_unique_and_inside(head: HeadModel) -> None:
    assert head.uv.min() >= 0.0
    assert head.uv.max() <= 1.0
    corners = head.uv[head.faces_uv].astype(np.float64)
    u, v = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    signed = u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]
    # On each side of the face the chart keeps one orientation: it nowhere folds over itself.
    for part in (Part.SKIN, Part.EAR, Part.EYE_LEFT):
        for side in (corners.mean(axis=1)[:, 0] > 0.5, corners.mean(axis=1)[:, 0] < 0.5):
            chosen = signed[(head.part == part) & side]
            if len(chosen):
                assert (np.sign(chosen) == np.sign(np.median(chosen))).mean() > 0.97, part


def test_the_charts_of_the_parts_do_not_overlap(head: HeadModel) -> None:
    regions = _build_regions()
    names = ("eye", "teeth_upper", "teeth_lower", "tongue", "lashes", "ear", "hair")
    charts = [regions.mesh.uv[regions.mesh.groups[name]] for name in names]
    charts.append(regions.mesh.uv[np.concatenate([regions.mesh.groups[f"bag_{ring}"] for ring in range(5)])])
    skin = np.unique(head.faces[np.isin(head.part, (Part.SKIN, Part.CLOTH))])
    charts.append(regions.mesh.uv[skin[skin < regions.mesh.half_count]])
    boxes = [(chart.min(axis=0), chart.max(axis=0)) for chart in charts]
    for first in range(len(boxes)):
        for second in range(first):
            (low, high), (other_low, other_high) = boxes[first], boxes[second]
            assert (high < other_low).any() or (other_high < low).any(), (first, second)


def test_wrong_coefficients_are_refused_in_one_sentence(head: HeadModel) -> None:
    with pytest.raises(UsageError, match=r"identity coefficients of shape \(1, 3\)"):
        head.vertices(np.zeros((1, 3), np.float32), np.zeros((1, 0), np.float32))
    with pytest.raises(UsageError, match="same number of faces"):
        head.vertices(np.zeros((2, 0), np.float32), np.zeros((1, 0), np.float32))
    with pytest.raises(UsageError, match="jaw_open"):
        head.activations(jaw_opn=1.0)
    with pytest.raises(UsageError, match="scheme"):
        head.landmarks(head.neutral[None], "67")


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 10_000), style=st.sampled_from(sorted(builtin_head().styles)))
def test_any_person_of_any_style_is_finite_and_of_human_size(seed: int, style: str) -> None:
    head = builtin_head()
    identity = draw(head, 1, seed)
    for name, value in head.styles[style].items():
        identity[0, head.identity_index(name)] = value
    expression = np.random.default_rng(seed).random((1, len(head.expression))).astype(np.float32)
    vertices = head.vertices(identity, expression)[0]
    assert np.isfinite(vertices).all()
    skin = vertices[np.unique(head.faces[head.part == Part.SKIN])]
    size = skin.max(axis=0) - skin.min(axis=0)
    assert 120 < size[0] < 260
    assert 240 < size[1] < 420
    assert 160 < size[2] < 290


def test_styles_fix_every_mode_that_must_not_be_drawn(head: HeadModel) -> None:
    for name, fixed in head.styles.items():
        assert set(STYLE_ONLY) <= set(fixed), name
        assert all(mode in head.identity_names for mode in fixed)


def test_hair_styles_show_and_hide_hair(head: HeadModel) -> None:
    hair = np.unique(head.faces[head.part == Part.HAIR])

    def styled(name: str) -> np.ndarray:
        identity = np.zeros((1, len(head.identity)), np.float32)
        for mode, value in head.styles[name].items():
            identity[0, head.identity_index(mode)] = value
        return head.vertices(identity, np.zeros((1, 0), np.float32))[0]

    assert styled("bald")[hair, 1].min() > styled("short")[hair, 1].min() + 15
    assert styled("long")[hair, 1].max() > styled("short")[hair, 1].max() + 60
    over_forehead = hair[np.abs(head.neutral[hair, 0]) < 20]
    front = styled("fringe")[over_forehead]
    low = front[(front[:, 1] > -45) & (front[:, 2] < 20)]
    assert len(low) > 5
    assert low[:, 2].max() < head.landmarks(head.neutral[None])[0, 27, 2]


def test_the_documentation_names_every_mode(head: HeadModel) -> None:
    text = (Path(__file__).parents[2] / "docs" / "synthetic-head.md").read_text(encoding="utf-8")
    for name in (*head.identity_names, *head.expression_names, *head.styles):
        assert f"`{name}`" in text, name
