import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lineament.errors import DataError, UsageError
from lineament.faces.normalisers import normaliser
from lineament.faces.scheme_file import load_scheme, parse_scheme, scheme_text
from lineament.faces.schemes import (
    builtin_schemes,
    convert_points,
    mirror_points,
    mirror_values,
    scheme,
    scheme_content,
    scheme_of_names,
    scheme_word,
)

CAT = """
name: cat-9
description: nine points of a cat
points: ["left_ear[2]", "right_ear[2]", left_eye, right_eye, nose, left_mouth, right_mouth]
aliases: {nose_tip: nose}
mirror:
  - [left_ear_0, right_ear_0]
  - [1, 3]
  - [4-4, 5-5]
  - [left_mouth, right_mouth]
parts: {ears: [0-3], eyes: [left_eye, right_eye], muzzle: [6-8]}
contours: {ears: {points: [0, 1, 3, 2], closed: true}}
eyes: {left: [left_eye], right: [right_eye]}
inter_ocular: [left_eye, right_eye]
convert: {"5": [4-8]}
"""


def minimal(**changed: Any) -> dict[str, Any]:
    return {"name": "mine", "points": ["left_eye", "right_eye", "nose"], "mirror": [[0, 1]], **changed}


def test_user_scheme_is_as_good_as_a_built_in_one(tmp_path: Path) -> None:
    path = tmp_path / "cat.yaml"
    path.write_text(CAT)
    cat = scheme(str(path))
    assert len(cat) == 9
    assert cat.names[:2] == ("left_ear_0", "left_ear_1")
    points = torch.rand(9, 2) * 50
    assert torch.allclose(mirror_points(mirror_points(points, cat, 50), cat, 50), points, atol=1e-5)
    assert torch.equal(convert_points(points, cat, "5"), points[4:])
    assert normaliser("inter-ocular")(points, cat) > 0
    assert load_scheme(path) == cat


def test_points_without_a_pair_mirror_to_themselves() -> None:
    assert parse_scheme(minimal()).mirror == (1, 0, 2)
    assert parse_scheme(minimal(mirror=[1, 0, 2])).mirror == (1, 0, 2)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"points": ["nose", "nose"], "mirror": []}, "'nose' is listed twice"),
        ({"points": []}, "must list the names"),
        ({"points": [1, 2]}, "not a bare number"),
        ({"points": ["a\nb"]}, "on one line"),
        ({"name": 68}, "'name' must be a word"),
        ({"name": "68"}, "'68' is that of a built-in scheme"),
        ({"name": "points-3"}, "'points-3' is that of a built-in scheme"),
        ({"mirror": [[0, 1], [1, 2]]}, "'right_eye' is in two pairs"),
        ({"mirror": [1, 2, 0]}, "does not undo itself"),
        ({"mirror": [0, 1]}, "each index of 0-2"),
        ({"mirror": [[0]]}, "not a pair"),
        ({"mirror": [["0-1", 2]]}, "2 points cannot swap with 1"),
        ({"mirror": "left-right"}, "list of pairs"),
        ({"mirror": [["left_eye", "chin"]]}, "'chin'"),
        ({"parts": {"eyes": [0, 5]}}, "index 5 is outside 0-2"),
        ({"parts": {"eyes": [0, 0]}}, "named twice"),
        ({"parts": [0]}, "'parts' must be a mapping"),
        ({"contours": {"line": [0, 1]}}, "contour 'line'"),
        ({"contours": {"line": {"points": [0]}}}, "at least two points"),
        ({"eyes": {"left": [0]}}, "'eyes' must read"),
        ({"inter_ocular": [0]}, "two points"),
        ({"convert": {"5": [0, 1, 2]}}, "3 points are given, it has 5"),
        ({"convert": {"5": 3}}, "list one point"),
        ({"convert": {"other": [[]]}}, "averages nothing"),
        ({"aliases": {"nose": 0}}, "alias 'nose' must be a new name"),
        ({"aliases": {"eye": [0, 1]}}, "alias 'eye' must be a new name of one point"),
        ({"aliases": ["eye"]}, "'aliases' must be a mapping"),
        ({"aliases": {"eye": 7}}, "index 7 is outside 0-2"),
        ({"flip": []}, "unknown key 'flip'"),
    ],
)
def test_faults_are_named(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        parse_scheme(minimal(**changed))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a: [", "not a YAML file"),
        ("[1, 2]", "is a mapping"),
        ("", "is a mapping"),
        ("\x00", "not a YAML file"),
    ],
)
def test_broken_files_are_named(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(content)
    with pytest.raises(DataError, match=message) as caught:
        load_scheme(path)
    assert str(path) in str(caught.value)


def test_missing_file_and_unknown_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot read"):
        load_scheme(tmp_path / "absent.yaml")
    with pytest.raises(UsageError, match="unknown landmark scheme"):
        scheme("cat")


def test_the_text_of_a_scheme_is_all_of_it(tmp_path: Path) -> None:
    path = tmp_path / "cat.yaml"
    path.write_text(CAT)
    cat = load_scheme(path)
    assert cat.index("nose_tip") == cat.index("nose")
    word = scheme_word(cat)
    path.unlink()
    assert scheme(word) == cat and scheme_word(scheme(word)) == word
    assert [scheme_word(name) for name in (*builtin_schemes(), "points-7")] == [
        *builtin_schemes(),
        "points-7",
    ]
    # A name says nothing: other content is another scheme.
    other = scheme(word.replace("nose", "snout"))
    assert other.name == cat.name and scheme_word(other) != word
    with pytest.raises(DataError, match=r"not a landmark scheme|mapping"):
        scheme("{name")


def test_a_scheme_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "cat.yaml"
    path.write_text(CAT)
    assert scheme(str(path)).names[6] == "nose"
    path.write_text(CAT.replace("nose", "snout"))
    assert scheme(str(path)).names[6] == "snout"


@pytest.mark.parametrize(
    ("names", "mirror"),
    [
        (("mouth_left", "nose", "mouth_right"), (2, 1, 0)),
        (("LeftEye", "rightEye"), (1, 0)),
        (("eye.l", "eye.r", "tip of the nose"), (1, 0, 2)),
        (("l eye", "r eye"), (1, 0)),
        (("nose",), (0,)),
        (("left_eye", "nose"), None),
        (("tear", "ear"), None),
    ],
)
def test_names_tell_how_points_mirror(names: tuple[str, ...], mirror: tuple[int, ...] | None) -> None:
    made = scheme_of_names(names)
    assert made.names == names and made.mirror_known == (mirror is not None)
    if mirror is not None:
        assert made.mirror == mirror
        return
    with pytest.raises(UsageError, match="--mirror 0"):
        mirror_points(torch.zeros(len(names), 2), made, 9)
    with pytest.raises(UsageError, match="mirrored image"):
        mirror_values(torch.zeros(len(names)), made)


def test_names_of_known_schemes_and_counts_are_recognised() -> None:
    for name in builtin_schemes():
        # 68-3d has the names of 68: other places, the same words.
        assert scheme_of_names(scheme(name).names) == scheme("68" if name == "68-3d" else name)
    assert scheme_of_names([f"{index:02d}" for index in range(68)]) == scheme("68")
    assert scheme_of_names([str(index) for index in range(1, 8)]) == scheme("points-7")
    assert scheme_of_names(["2", "1", "0"]).names == ("2", "1", "0")


NAMES = st.lists(
    st.text(st.characters(exclude_categories=["C", "Zl", "Zp", "Zs"]), min_size=1, max_size=9),
    min_size=1,
    max_size=9,
)


@given(NAMES)
def test_any_names_make_a_scheme_that_its_text_gives_back(names: list[str]) -> None:
    names = [name.replace("[", "(").replace("]", ")") for name in dict.fromkeys(names)]
    made = scheme_of_names(list(dict.fromkeys(names)))
    assert scheme(scheme_word(made)) == made
    assert parse_scheme(json.loads(scheme_text(made)), builtin=True) == made


def test_points_without_a_meaning_take_one() -> None:
    points = torch.rand(5, 2)
    assert torch.equal(convert_points(points, "points-5", "5"), points)
    with pytest.raises(UsageError, match="no rule turns"):
        convert_points(points, "points-5", "68")
    mine = parse_scheme(minimal())
    renamed = parse_scheme(minimal(name="yours", mirror=[]))
    assert torch.equal(convert_points(points[:3], mine, renamed), points[:3])


def test_a_surface_comes_back_and_is_checked() -> None:
    content = {
        "name": "bump",
        "points": ["left", "right", "top", "tip"],
        "surface": [[-30, 0, 0], [30, 0, 0], [0, -40.5, 0], [0, -10, -20]],
    }
    layout = parse_scheme(content)
    assert layout.surface is not None and layout.surface[2] == (0.0, -40.5, 0.0)
    assert parse_scheme(scheme_content(layout)) == layout
    assert scheme("68").surface is None
    for wrong, message in (
        ([[0, 0, 0]] * 3, "for each of the 4 points"),
        ([[0, 0, 0]] * 3 + [[0, 0]], "place of 'tip' must be three numbers"),
        ([[0, 0, 0]] * 3 + [[0, 0, float("nan")]], "place of 'tip' must be three numbers"),
        ([[0, 0, 0], [1, 0, 0], [2, 0, 0], [9, 0, 0]], "do not lie on one line"),
    ):
        with pytest.raises(DataError, match=message):
            parse_scheme({**content, "surface": wrong})


def test_places_in_a_file_are_left_to_those_who_draw(tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text("name: one\npoints: [nose]\nplaces: {ict: [{3: 1}]}\n")
    assert load_scheme(tmp_path / "one.yaml") == parse_scheme({"name": "one", "points": ["nose"]})
