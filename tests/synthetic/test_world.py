"""The pieces of the world: light, albedo, expressions, hair, backgrounds, sensor, mesh helpers."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from lineament.heads.builtin.template import LANDMARKS68
from lineament.heads.expressions import draw_expression
from lineament.heads.linear import weighted_rows
from lineament.heads.model import Part
from lineament.heads.normals import vertex_normals
from lineament.synthetic import fields
from lineament.synthetic.albedo import albedo, hair_height
from lineament.synthetic.appearance import draw_appearance
from lineament.synthetic.background import draw_background
from lineament.synthetic.fields import feature_maps
from lineament.synthetic.light import (
    Light,
    add_lobe,
    draw_light,
    harmonic_basis,
    irradiance_coefficients,
    rotate_light,
)
from lineament.synthetic.mesh import ambient_occlusion, front_faces
from lineament.synthetic.noise import noise, noise_volume
from lineament.synthetic.packing import as_record
from lineament.synthetic.scene import SceneOptions, draw_view, head_rotation
from lineament.synthetic.sensor import through_camera
from lineament.synthetic.shading import TONE_STEPS, TONE_TOP, tone_table
from lineament.synthetic.source import SyntheticFaces


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def colour_at(landmark: int, **changes: object) -> np.ndarray:
    """Albedo at a template landmark of a person of medium skin with nothing grown or painted."""
    plain = {"beard": 0.0, "moustache": 0.0, "stubble": 0.0, "freckles": 0.0, "wrinkles": 0.0, "melanin": 0.2}
    person = draw_appearance(rng(1))._replace(**{**plain, **changes})  # type: ignore[arg-type]
    scratch = np.zeros(10, np.float32)
    x, y, z = (float(value) for value in LANDMARKS68[landmark])
    record = as_record(person)[0]
    return np.array(albedo(int(Part.SKIN), record, feature_maps(), noise_volume(), scratch, 0.5, x, y, z)[:3])


def test_constant_sky_lights_all_sides_alike() -> None:
    harmonics = np.zeros((9, 3))
    harmonics[0] = 2.0 / 0.282095
    # Radiance 2 from everywhere gives irradiance 2 pi, so irradiance / pi is 2.
    values = harmonic_basis(rng().normal(size=(20, 3))) @ irradiance_coefficients(harmonics)
    np.testing.assert_allclose(values, 2.0, rtol=1e-5)


@pytest.mark.parametrize("width", [0.0, 0.5, 1.0])
def test_lobe_gives_the_asked_irradiance_and_less_aside(width: float) -> None:
    harmonics = np.zeros((9, 3))
    toward = np.array([0.6, -0.8, 0.0])
    add_lobe(harmonics, toward, np.array([1.0, 0.5, 0.25]), width)
    lit = harmonic_basis(np.stack([toward, [0.8, 0.6, 0.0], -toward])) @ irradiance_coefficients(harmonics)
    np.testing.assert_allclose(lit[0], [1.0, 0.5, 0.25], rtol=1e-5)
    assert lit[0, 0] > lit[1, 0] > lit[2, 0]


def test_turned_light_shines_on_the_turned_surface() -> None:
    light = draw_light(rng(3), np.array([0.5, 0.4, 0.3]))
    rotation = head_rotation(draw_view(rng(4), SceneOptions()))
    turned = rotate_light(light, rotation)
    normals = rng(5).normal(size=(30, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    before = harmonic_basis(normals) @ light.harmonics
    after = harmonic_basis(normals @ rotation.T) @ turned.harmonics
    np.testing.assert_allclose(before, after, atol=1e-5)
    np.testing.assert_allclose(turned.sun, rotation @ light.sun, atol=1e-6)


def test_exposure_brings_every_skin_to_a_visible_level() -> None:
    for seed in range(40):
        skin = np.array([0.7, 0.5, 0.4]) * (0.06 + 0.94 * rng(seed).random())
        light: Light = draw_light(rng(seed), skin)
        assert np.isfinite(light.harmonics).all() and light.exposure > 0
        assert float(np.linalg.norm(light.sun)) == pytest.approx(1.0, abs=1e-5)


def test_tones_rise_and_agree_with_a_power_in_the_shadows() -> None:
    table = tone_table(1.0)
    assert (np.diff(table) > 0).all() and table[0] == 0 and table[-1] <= 1.0
    value = TONE_TOP * (100 / TONE_STEPS) ** 2
    assert float(table[100]) == pytest.approx(value ** (1 / 2.2), rel=1e-5)


def test_features_are_painted_where_the_template_has_them() -> None:
    skin, brow, lip, nose = colour_at(2), colour_at(19), colour_at(51), colour_at(30)
    assert brow.sum() < 0.7 * skin.sum()
    assert lip[0] / lip[1] > 1.15 * skin[0] / skin[1], "lips are redder than skin"
    assert nose.sum() > 0.5 * skin.sum()
    assert colour_at(8, beard=1.0, beard_colour=np.full(3, 0.01, np.float32)).sum() < 0.4 * colour_at(8).sum()


def test_more_melanin_is_darker_in_every_channel() -> None:
    shades = [colour_at(2, melanin=value) for value in (0.0, 0.3, 0.6, 0.95)]
    assert all((lighter > darker).all() for lighter, darker in itertools.pairwise(shades))


def test_eye_has_pupil_iris_and_white() -> None:
    person = draw_appearance(rng(2))._replace(iris_colour=np.array([0.1, 0.2, 0.4], np.float32))
    record, scratch = as_record(person)[0], np.zeros(10, np.float32)

    def at(x: float) -> np.ndarray:
        z = -float(np.sqrt(12.2**2 - x**2))
        return np.array(albedo(int(Part.EYE_LEFT), record, feature_maps(), noise_volume(), scratch, 0.3,
                               31.5 + x, 0.0, z)[:3])  # fmt: skip

    assert at(0.0).sum() < 0.1, "pupil"
    assert at(4.5)[2] > at(4.5)[0], "blue iris"
    assert at(9.0).min() > 0.25, "white of the eye"


def test_signed_distances_have_the_right_sign() -> None:
    maps = feature_maps()

    def at(x: float, y: float, channel: int) -> float:
        return float(maps[round(y) - fields.Y_FIRST, round(x), channel])

    assert at(10, 64, fields.LIP) < 0 < at(10, 40, fields.LIP)
    assert at(31, 0, fields.EYE) < 0 < at(31, -20, fields.EYE)
    assert at(39, -27, fields.BROW_ACROSS) == pytest.approx(0.0, abs=1.0)
    assert at(39, -33, fields.BROW_ACROSS) > 4
    assert at(18, -22, fields.BROW_ALONG) < 0.15 and at(57, -18, fields.BROW_ALONG) > 0.85
    assert at(30, 95, fields.BEARD) > 0.8 and at(30, 0, fields.BEARD) < 0.05


def test_hair_grows_on_the_skull_not_on_the_face() -> None:
    hairline = -72.0
    assert hair_height(0.0, -100.0, 20.0, hairline, 0.0, 0.0) > 20
    assert hair_height(0.0, -40.0, -10.0, hairline, 0.0, 0.0) < -20
    assert hair_height(0.0, 40.0, 180.0, hairline, 0.0, 0.0) > 20, "back of the head"
    assert hair_height(75.0, 10.0, 105.0, hairline, 0.0, 0.0) < 0, "ear"


def test_expressions_stay_in_range_for_any_head(faces: SyntheticFaces) -> None:
    moods = set()
    for seed in range(60):
        activations, gaze, mood = draw_expression(rng(seed), faces.head)
        assert activations.shape == (len(faces.head.expression_names),)
        assert activations.min() >= 0 and activations.max() <= 1
        assert gaze.shape == (2, 2) and np.abs(gaze).max() < 0.6
        moods.add(mood)
    assert len(moods) >= 6


def test_noise_tiles_and_is_smooth() -> None:
    volume = noise_volume()
    assert noise(volume, 1.3, 2.7, 3.1) == pytest.approx(noise(volume, 33.3, -29.3, 3.1), abs=1e-4)
    assert abs(noise(volume, 1.3, 2.7, 3.1) - noise(volume, 1.301, 2.7, 3.1)) < 0.02


def test_backgrounds_fill_any_size() -> None:
    for seed in range(12):
        picture = draw_background(rng(seed), 31, 47)
        assert picture.shape == (31, 47, 3) and picture.dtype == np.float32
        assert picture.min() >= 0 and picture.max() <= 1


def test_clean_sensor_only_rounds() -> None:
    picture = rng().random((16, 16, 3)).astype(np.float32)
    clean = through_camera(rng(), picture, 0.0, 0.0)
    assert np.abs(clean - picture).max() <= 0.5 / 255 + 1e-6
    grey = through_camera(rng(), picture, 0.0, 1.0)
    assert np.ptp(grey, axis=2).max() == 0


def test_normals_occlusion_and_culling_of_a_box_with_a_lid() -> None:
    # An open box: the floor sees little sky, the rim much; the outside is counter-clockwise seen from outside.
    top = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]], np.float32) * 50
    floor = top * 0.98 + np.array([0, 0, 120], np.float32)
    vertices = np.concatenate([top, floor, [[0, 0, 120]]]).astype(np.float32)
    # Seen from -z, the inside walls and the floor turn towards the viewer.
    quads = [(0, 1, 5, 4), (1, 2, 6, 5), (2, 3, 7, 6), (3, 0, 4, 7)]
    faces = [(a, c, b) for a, b, c, _ in quads] + [(a, d, c) for a, _, c, d in quads]
    faces += [(4, 8, 5), (5, 8, 6), (6, 8, 7), (7, 8, 4)]
    triangles = np.array(faces, np.int32)
    normals = vertex_normals(vertices, triangles)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1.0, atol=1e-5)
    np.testing.assert_allclose(normals[8], [0, 0, -1], atol=1e-5)
    openness = ambient_occlusion(vertices, triangles, directions=64)
    assert openness[8] < 0.5
    floor_only = triangles[-4:]
    pixels = vertices + np.array([0, 0, 200], np.float32)
    none = np.zeros(4, bool)
    assert front_faces(pixels, floor_only, none, ~none).tolist() == [0, 1, 2, 3]
    assert front_faces(pixels, floor_only[:, ::-1].copy(), none, ~none).tolist() == []
    assert front_faces(pixels, floor_only[:, ::-1].copy(), ~none, ~none).tolist() == [0, 1, 2, 3]


def test_weighted_rows_is_the_matrix_product() -> None:
    weights = torch.randn(3, 7, generator=torch.Generator().manual_seed(0)).numpy()
    weights[:, 2] = 0.0
    rows = torch.randn(7, 50, generator=torch.Generator().manual_seed(1)).numpy()
    np.testing.assert_allclose(weighted_rows(weights, rows), weights @ rows, atol=1e-5)


SPHERE = np.stack(
    [
        np.sqrt(1 - np.linspace(-0.9999, 0.9999, 4000) ** 2) * np.cos(np.pi * (3 - 5**0.5) * np.arange(4000)),
        np.linspace(-0.9999, 0.9999, 4000),
        np.sqrt(1 - np.linspace(-0.9999, 0.9999, 4000) ** 2) * np.sin(np.pi * (3 - 5**0.5) * np.arange(4000)),
    ],
    axis=1,
)
"""Unit vectors spread evenly over the sphere, each for 4 pi / 4000 of it."""


def test_harmonics_are_orthonormal() -> None:
    basis = harmonic_basis(SPHERE)
    np.testing.assert_allclose(basis.T @ basis * 4 * np.pi / len(SPHERE), np.eye(9), atol=2e-3)


def test_harmonics_stand_in_their_usual_order() -> None:
    """Of degree 1: y, z, x; of degree 2: xy, yz, 3 z^2 - 1, xz, x^2 - y^2."""
    x, y, z = np.eye(3)
    along = harmonic_basis(np.stack([x, y, z]))
    assert along[1].tolist() == pytest.approx([0.282095, 0.488603, 0, 0, 0, 0, -0.315392, 0, -0.546274])
    assert along[0].tolist() == pytest.approx([0.282095, 0, 0, 0.488603, 0, 0, -0.315392, 0, 0.546274])
    assert along[2].tolist() == pytest.approx([0.282095, 0, 0.488603, 0, 0, 0, 2 * 0.315392, 0, 0])
    between = harmonic_basis(np.stack([x + y, y + z, x + z]) / 2**0.5)
    assert between[:, [4, 5, 7]].tolist() == [
        pytest.approx([0.546274, 0, 0]),
        pytest.approx([0, 0.546274, 0]),
        pytest.approx([0, 0, 0.546274]),
    ]


def test_irradiance_is_the_integral_of_the_radiance_over_the_cosine() -> None:
    """All nine coefficients: at a normal n, (1 / pi) times the integral of L(w) max(0, n . w)."""
    harmonics = rng(7).normal(size=(9, 3))
    normals = SPHERE[::397]
    radiance = harmonic_basis(SPHERE) @ harmonics
    cosine = np.maximum(normals @ SPHERE.T, 0)
    integral = cosine @ radiance * 4 * np.pi / len(SPHERE) / np.pi
    np.testing.assert_allclose(
        harmonic_basis(normals) @ irradiance_coefficients(harmonics), integral, atol=6e-3
    )


def test_light_comes_from_above_and_the_exposure_suits_the_face() -> None:
    skin = np.array([0.5, 0.35, 0.28])
    lights = [draw_light(rng(seed), skin) for seed in range(120)]
    # y points down: a sun above the horizon has a negative y. Of these draws nine in ten stand above it.
    assert np.mean([light.sun[1] < 0 for light in lights]) > 0.9
    # The sky, above, is brighter than the ground: the coefficient of y.
    assert np.mean([light.harmonics[1].mean() < 0 for light in lights]) > 0.8
    # And most light comes from the camera's side, z < 0.
    assert np.mean([light.sun[2] < 0 for light in lights]) > 0.8
    front = np.array([[0.0, 0.0, -1.0]])
    values = []
    for light in lights:
        ambient = harmonic_basis(front) @ irradiance_coefficients(light.harmonics)
        lit = ambient[0] + light.sun_colour * max(0.0, float(-light.sun[2]))
        values.append(light.exposure * float(lit @ (skin * [0.3, 0.6, 0.1])))
    # Whatever the light, a cheek that faces the camera is drawn at about a third of full brightness.
    assert 0.25 < float(np.median(values)) < 0.5


def test_the_exposure_counts_the_sun_on_the_sides_that_it_reaches() -> None:
    """Four directions of a face, of which a sun from the side lights two or three; the rest of the draw is noise."""
    skin = np.array([0.5, 0.35, 0.28])
    ways = [
        np.array([np.sin(turn) * np.cos(lift), -np.sin(lift), -np.cos(turn) * np.cos(lift)])
        for turn, lift in ((0.0, 0.0), (0.7, 0.1), (-0.7, 0.1), (0.0, 0.5))
    ]
    target = 0.34 * (float(skin @ [0.3, 0.6, 0.1]) / 0.4) ** 0.45
    off = []
    for light in (draw_light(rng(seed), skin) for seed in range(600)):
        if abs(light.sun[0]) < 0.8 or light.sun_colour.mean() < 0.4:
            continue
        reached = np.mean([max(0.0, float(way @ light.sun)) for way in ways])
        ambient = (harmonic_basis(np.stack(ways)) @ irradiance_coefficients(light.harmonics)).mean(axis=0)
        seen = float((ambient + light.sun_colour * reached) * skin @ [0.3, 0.6, 0.1])
        off.append(np.log(light.exposure * seen / target))
    assert len(off) > 60
    assert float(np.mean(off)) == pytest.approx(0.0, abs=0.07)
    assert float(np.std(off)) == pytest.approx(0.3, rel=0.25)
