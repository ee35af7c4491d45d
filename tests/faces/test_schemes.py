import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lineament.errors import DataError, UsageError
from lineament.faces.normalisers import normaliser, normaliser_names
from lineament.faces.schemes import (
    builtin_schemes,
    convert_points,
    eye_centres,
    mirror_points,
    mirror_values,
    register_scheme,
    scheme,
    scheme_names,
)
from lineament.geometry.affine2d import Affine2D

every_scheme = pytest.mark.parametrize("name", builtin_schemes())


def face(name: str, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 100.0 + 40.0 * torch.randn(len(scheme(name)), 2, generator=generator, dtype=torch.float64)


@every_scheme
def test_counts_and_parts(name: str) -> None:
    layout = scheme(name)
    assert len(layout) == int(name.split("-")[0]) == len(set(layout.names))
    assert sorted(index for part in layout.parts.values() for index in part) == list(range(len(layout)))
    assert all(0 <= index < len(layout) for contour in layout.contours for index in contour.indices)


@every_scheme
@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 4000))
def test_flip_twice_is_the_identity(name: str, seed: int, width: int) -> None:
    points = face(name, seed)
    once = mirror_points(points, name, width)
    assert torch.allclose(mirror_points(once, name, width), points, atol=1e-9)
    values = torch.rand(3, len(scheme(name)))
    assert torch.equal(mirror_values(mirror_values(values, name), name), values)


@every_scheme
def test_mirror_swaps_sides_by_name(name: str) -> None:
    layout = scheme(name)
    for here, there in enumerate(layout.mirror):
        first, second = layout.names[here], layout.names[there]
        assert first.startswith("left") == second.startswith("right"), (first, second)
    assert layout.eyes is not None
    assert {layout.mirror[index] for index in layout.eyes[0]} == set(layout.eyes[1])
    assert layout.inter_ocular is not None
    assert layout.mirror[layout.inter_ocular[0]] == layout.inter_ocular[1]


@every_scheme
def test_contours_mirror_onto_contours(name: str) -> None:
    layout = scheme(name)
    drawn = {frozenset(contour.indices) for contour in layout.contours}
    for contour in layout.contours:
        assert frozenset(layout.mirror[index] for index in contour.indices) in drawn


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("68", "5"),
        ("68", "66"),
        ("66", "68"),
        ("98", "68"),
        ("98", "5"),
        ("19", "5"),
        ("68", "19"),
        ("98", "66"),
    ],
)
def test_conversion_commutes_with_the_mirror(source: str, target: str) -> None:
    points = face(source)
    flipped_first = convert_points(mirror_points(points, source, 200), source, target)
    flipped_last = mirror_points(convert_points(points, source, target), target, 200)
    assert flipped_first.shape == (int(target), 2)
    assert torch.allclose(flipped_first, flipped_last, atol=1e-9)


def test_conversion_by_hand() -> None:
    points = face("68")
    five = convert_points(points, "68", "5")
    assert torch.allclose(five[0], points[36:42].mean(0))
    assert torch.equal(five[2], points[30])
    assert torch.equal(five[4], points[54])
    back = convert_points(convert_points(points, "68", "66"), "66", "68")
    kept = [index for index in range(68) if index not in (60, 64)]
    assert torch.equal(back[kept], points[kept])
    assert torch.allclose(back[60], 0.5 * (points[49] + points[59]))


def test_conversion_keeps_batches_and_further_columns() -> None:
    points = torch.rand(4, 2, 98, 3)
    assert convert_points(points, "98", "66").shape == (4, 2, 66, 3)
    assert convert_points(points, "98", "98") is points


def test_nan_touches_only_what_is_made_of_it() -> None:
    points = face("68")
    points[37] = float("nan")
    five = convert_points(points, "68", "5")
    assert five[0].isnan().all()
    assert five[1:].isfinite().all()


def test_impossible_requests_are_refused() -> None:
    with pytest.raises(UsageError, match="no rule turns scheme 5"):
        convert_points(face("5"), "5", "68")
    with pytest.raises(DataError, match="68 points"):
        convert_points(face("66"), "68", "5")
    with pytest.raises(DataError, match="5 points"):
        mirror_points(face("19"), "5", 10)
    with pytest.raises(DataError):
        mirror_values(torch.rand(4), "5")
    with pytest.raises(UsageError, match="landmark scheme"):
        scheme("67")
    with pytest.raises(UsageError, match="left_eye"):
        scheme("5").index("lefteye")
    with pytest.raises(UsageError, match="exists already"):
        register_scheme(scheme("68"))
    assert set(builtin_schemes()) <= set(scheme_names())


@pytest.mark.parametrize("measure", normaliser_names())
@every_scheme
@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**31), st.floats(0.1, 10.0), st.floats(-3.0, 3.0))
def test_normalisers_follow_the_scale(measure: str, name: str, seed: int, scale: float, angle: float) -> None:
    points = face(name, seed)
    # An upright box turns into another one, so the two box normalisers are promised for scale and shift alone.
    angle = angle if measure.startswith("inter") else 0.0
    moved = Affine2D.from_similarity(scale, angle, (3.0, -8.0)).apply(points)
    assert torch.allclose(
        normaliser(measure)(moved, name), scale * normaliser(measure)(points, name), rtol=1e-9
    )


def test_normalisers_by_hand() -> None:
    points = torch.zeros(68, 2)
    points[36], points[45], points[8] = (
        torch.tensor([0.0, 0.0]),
        torch.tensor([30.0, 40.0]),
        torch.tensor([10.0, 90.0]),
    )
    assert normaliser("inter-ocular")(points, "68").item() == pytest.approx(50.0)
    assert normaliser("inter_pupil")(points, "68").item() == pytest.approx(50.0 / 6)
    assert normaliser("box")(points, "68").item() == pytest.approx((30.0 * 90.0) ** 0.5)
    assert normaliser("diagonal")(points, "68").item() == pytest.approx((30.0**2 + 90.0**2) ** 0.5)
    box = torch.tensor([0.0, 0.0, 3.0, 4.0])
    assert normaliser("diagonal")(points, "68", box=box).item() == pytest.approx(5.0)
    assert normaliser("inter-ocular")(torch.rand(7, 68, 2), "68").shape == (7,)
    with pytest.raises(UsageError, match="inter-ocular"):
        normaliser("interocular")
    with pytest.raises(DataError):
        normaliser("box")(points, "68", box=torch.zeros(3))
    with pytest.raises(DataError):
        eye_centres(points[:5], "68")


@pytest.mark.parametrize("name", ["66", "68", "98"])
def test_aliases_name_what_they_say(name: str):
    """Against the schemes' own contours, mirror and eyes."""
    layout = scheme(name)
    jaw, bridge = layout.contour("jaw"), layout.contour("nose_bridge")
    assert layout.index("chin") == jaw[len(jaw) // 2]
    assert layout.indices("jaw_end_left", "jaw_end_right") == [jaw[0], jaw[-1]]
    assert layout.indices("nose_root", "nose_tip") == [bridge[0], bridge[-1]]
    assert layout.index("nose_middle_below") == layout.contour("nose_base")[2]
    assert layout.indices("left_eye_outer", "right_eye_outer") == layout.ocular_points()
    for side, (outer, inner) in (("left", ("outer", "inner")), ("right", ("outer", "inner"))):
        eye = layout.contour(f"{side}_eye")
        corners = layout.indices(f"{side}_eye_{outer}", f"{side}_eye_{inner}")
        assert set(corners) == {eye[0], eye[len(eye) // 2]}
    lips = layout.contour("outer_lip")
    assert layout.indices("mouth_left", "mouth_right") == [lips[0], lips[len(lips) // 2]]
    for alias, index in layout.aliases.items():
        other = alias.replace("left", "*").replace("right", "left").replace("*", "right")
        assert layout.mirror[index] == layout.index(other)


def test_parts_contours_and_points_that_are_not_there_name_the_nearest():
    layout = scheme("68")
    with pytest.raises(UsageError, match="left_eye"):
        layout.contour("left_eyes")
    with pytest.raises(UsageError, match="mouth"):
        layout.part("mouht")
    with pytest.raises(UsageError, match="chin"):
        layout.index("chinn")
    with pytest.raises(UsageError, match="eye corners"):
        scheme("points-7").ocular_points()
