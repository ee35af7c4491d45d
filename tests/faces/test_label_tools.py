"""Label files as the tools that people label with write them: each in its true layout."""

import json
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lineament.errors import DataError
from lineament.faces.labels import FaceLabel, LabelFile, read_keypoints, write_keypoints
from lineament.faces.labels.cells import guard, unguard
from lineament.faces.labels.formats import FIRST_PIXEL
from lineament.faces.labels.reading import label_format
from lineament.faces.labels.writing import write_pts_folder
from lineament.faces.schemes import scheme, scheme_of_names

COCO = {
    "info": {"description": "three points"},
    "licenses": [],
    "images": [
        {"id": 7, "width": 640, "height": 480, "file_name": "a.jpg", "license": 0},
        {"id": 9, "width": 64, "height": 48, "file_name": "sub/b.jpg"},
    ],
    "categories": [
        {
            "id": 3,
            "name": "face",
            "supercategory": "",
            "keypoints": ["mouth_left", "mouth_right", "chin"],
            "skeleton": [[1, 2]],
        }
    ],
    "annotations": [
        {
            "id": 1,
            "image_id": 7,
            "category_id": 3,
            "keypoints": [10, 20, 2, 30, 20.5, 1, 0, 0, 0],
            "num_keypoints": 2,
            "bbox": [5.0, 6.0, 40.0, 50.0],
            "area": 2000.0,
            "iscrowd": 0,
            "segmentation": [],
        },
        {
            "id": 2,
            "image_id": 9,
            "category_id": 3,
            "keypoints": [1, 2, 2, 3, 4, 2, 5, 6, 2],
            "num_keypoints": 3,
        },
    ],
}

CVAT = """<?xml version="1.0" encoding="utf-8"?>
<annotations>
  <version>1.1</version>
  <meta>
    <task>
      <id>1</id><name>faces</name><size>3</size><mode>annotation</mode>
      <labels>
        <label><name>face</name><color>#ff0000</color><type>skeleton</type><attributes></attributes>
          <svg>&lt;line x1="1"/&gt;</svg></label>
        <label><name>mouth_left</name><type>points</type><attributes></attributes><parent>face</parent></label>
        <label><name>mouth_right</name><type>points</type><attributes></attributes><parent>face</parent></label>
        <label><name>chin</name><type>points</type><attributes></attributes><parent>face</parent></label>
      </labels>
    </task>
    <dumped>2024-05-01 10:00:00+00:00</dumped>
  </meta>
  <image id="0" name="a.jpg" width="640" height="480">
    <skeleton label="face" source="manual" z_order="0" group_id="4">
      <points label="chin" source="manual" outside="1" occluded="0" points="0.00,0.00">
      </points>
      <points label="mouth_right" source="manual" outside="0" occluded="1" points="30.50,21.00"></points>
      <points label="mouth_left" source="manual" outside="0" occluded="0" points="10.50,20.50"></points>
    </skeleton>
    <box label="face" source="manual" occluded="0" xtl="5.00" ytl="6.00" xbr="45.00" ybr="56.00"
      z_order="0" group_id="4">
    </box>
  </image>
  <image id="1" name="sub/b.jpg" width="64" height="48">
    <points label="mouth_left" source="manual" occluded="0" points="1.50,2.50" z_order="0"></points>
    <points label="mouth_right" source="manual" occluded="0" points="3.50,4.50" z_order="0"></points>
    <points label="chin" source="manual" occluded="0" points="5.50,6.50" z_order="0"></points>
  </image>
  <image id="2" name="empty.jpg" width="64" height="48"></image>
</annotations>
"""

DLIB = """<?xml version='1.0' encoding='ISO-8859-1'?>
<?xml-stylesheet type='text/xsl' href='image_metadata_stylesheet.xsl'?>
<dataset>
<name>imglab dataset</name>
<comment>Created by imglab tool.</comment>
<images>
  <image file='a.jpg' width='640' height='480'>
    <box top='6' left='5' width='40' height='50'>
      <label>face</label>
      <part name='mouth_left' x='10' y='20'/>
      <part name='mouth_right' x='30' y='21'/>
    </box>
    <box top='1' left='1' width='9' height='9' ignore='1'/>
  </image>
  <image file='sub\\b.jpg'>
    <box top='0' left='0' width='20' height='20'>
      <part name='chin' x='5' y='6'/>
      <part name='mouth_left' x='1' y='2'/>
      <part name='mouth_right' x='3' y='4'/>
    </box>
  </image>
</images>
</dataset>
"""


def labelme(name: str, points: dict[str, list[float]], **more: object) -> str:
    shapes = [
        {
            "label": label,
            "points": [xy],
            "group_id": None,
            "description": "",
            "shape_type": "point",
            "flags": {},
        }
        for label, xy in points.items()
    ]
    content = {"version": "5.4.1", "flags": {}, "shapes": shapes, "imagePath": name, "imageData": None}
    return json.dumps({**content, "imageHeight": 480, "imageWidth": 640, **more})


THREE = ("mouth_left", "mouth_right", "chin")
SECOND = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]


def check_three(labels: LabelFile, hidden: bool = True) -> None:
    """Two faces: of the first the chin is missing and the right mouth corner hidden."""
    assert labels.scheme is not None and labels.scheme.names == THREE
    assert labels.scheme.mirror == (1, 0, 2) and labels.scheme.mirror_known
    first, second = labels.faces
    assert (first.image, second.image) == ("a.jpg", "sub/b.jpg")
    assert first.landmarks is not None and second.landmarks is not None
    assert first.landmarks[:1].tolist() == [[10.0, 20.0]] and float(first.landmarks[1, 0]) == 30.0
    assert first.placed.tolist() == [True, True, False]
    assert second.landmarks.tolist() == SECOND
    assert second.visible is None
    if hidden:
        assert first.visible is not None and first.visible.tolist() == [True, False, False]


def test_coco(tmp_path: Path) -> None:
    path = tmp_path / "person_keypoints.json"
    path.write_text(json.dumps(COCO))
    labels = read_keypoints(path, allow_missing=True)
    check_three(labels)
    # Keypoints are pixel indices, boxes positions on the canvas.
    assert labels.faces[0].box is not None and labels.faces[0].box.tolist() == [4.5, 5.5, 44.5, 55.5]
    assert labels.meta == {"sizes": {"a.jpg": [640, 480], "sub/b.jpg": [64, 48]}}
    assert label_format(path) == "coco"
    again = write_keypoints(tmp_path / "again.json", labels, to="coco")
    check_three(read_keypoints(again, allow_missing=True))
    written = json.loads(again.read_text())
    assert written["annotations"][0]["keypoints"] == COCO["annotations"][0]["keypoints"]
    assert written["annotations"][0]["bbox"] == [5.0, 6.0, 40.0, 50.0]
    assert written["images"][1] == {"id": 2, "file_name": "sub/b.jpg", "width": 64, "height": 48}


def test_cvat(tmp_path: Path) -> None:
    path = tmp_path / "annotations.xml"
    path.write_text(CVAT)
    labels = read_keypoints(path, allow_missing=True)
    check_three(labels)
    assert labels.faces[0].box is not None and labels.faces[0].box.tolist() == [4.5, 5.5, 44.5, 55.5]
    assert labels.meta["sizes"]["sub/b.jpg"] == [64, 48]


def test_cvat_points_of_one_shape_and_groups(tmp_path: Path) -> None:
    path = tmp_path / "annotations.xml"
    shape = '<points label="face" occluded="0" points="{}"/>'
    five = ";".join(f"{10 * i + 0.5},{i + 0.5}" for i in range(5))
    path.write_text(f'<annotations><image id="0" name="a.jpg">{shape.format(five)}</image></annotations>')
    labels = read_keypoints(path)
    assert labels.scheme == scheme("5")
    assert labels.faces[0].landmarks is not None and labels.faces[0].landmarks[4].tolist() == [40.0, 4.0]
    nose = '<points label="nose" occluded="0" points="1.5,2.5" group_id="{}"/>'
    path.write_text(
        f'<annotations><image id="0" name="a.jpg">{nose.format(1)}{nose.format(2)}</image></annotations>'
    )
    assert len(read_keypoints(path).faces) == 2
    path.write_text(
        f'<annotations><image id="0" name="a.jpg">{nose.format(1)}{nose.format(1)}</image></annotations>'
    )
    with pytest.raises(
        DataError, match=r"'nose' stands twice in a\.jpg: give the points of each face a group"
    ):
        read_keypoints(path)
    path.write_text('<annotations><track id="0" label="face"/></annotations>')
    with pytest.raises(DataError, match="CVAT for images"):
        read_keypoints(path)


def test_labelme(tmp_path: Path) -> None:
    folder = tmp_path / "labels"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.json").write_text(
        labelme("a.jpg", {"mouth_left": [10.5, 20.5], "mouth_right": [30.5, 21.0]})
    )
    (folder / "sub/b.json").write_text(
        labelme("b.jpg", dict(zip(THREE, ([x + 0.5, y + 0.5] for x, y in SECOND), strict=True)))
    )
    check_three(read_keypoints(folder, allow_missing=True), hidden=False)
    single = read_keypoints(folder / "a.json")
    assert single.scheme is not None and single.scheme.names == THREE[:2]
    # Written on Windows; a rectangle is the box; other shapes are no faces.
    rectangle = {
        "label": "face",
        "points": [[45.0, 56.0], [5.0, 6.0]],
        "shape_type": "rectangle",
        "group_id": None,
    }
    polygon = {"label": "hair", "points": [[0, 0], [1, 0], [1, 1]], "shape_type": "polygon", "group_id": None}
    content = json.loads(labelme("sub\\b.jpg", {"nose": [1, 1]}))
    content["shapes"] += [rectangle, polygon]
    (tmp_path / "c.json").write_text(json.dumps(content))
    face = read_keypoints(tmp_path / "c.json").faces[0]
    assert face.image == "sub/b.jpg"
    assert face.box is not None and face.box.tolist() == [4.5, 5.5, 44.5, 55.5]


def test_dlib(tmp_path: Path) -> None:
    path = tmp_path / "faces.xml"
    path.write_text(DLIB, encoding="latin-1")
    labels = read_keypoints(path, allow_missing=True)
    check_three(labels, hidden=False)
    # A box from pixel 5 that is 40 wide ends with pixel 44, whose edge is 44.5.
    assert labels.faces[0].box is not None and labels.faces[0].box.tolist() == [4.5, 5.5, 44.5, 55.5]


def test_dlib_numbered_parts_are_a_scheme_by_their_count(tmp_path: Path) -> None:
    def box(places: list[int]) -> str:
        parts = "".join(f"<part name='{i:02d}' x='{10 * i}' y='{i}'/>" for i in places)
        return f"<image file='a.jpg'><box top='0' left='0' width='9' height='9'>{parts}</box></image>"

    path = tmp_path / "faces.xml"
    path.write_text(f"<dataset><images>{box([0, 1, 2, 4])}{box(list(range(5)))}</images></dataset>")
    labels = read_keypoints(path, allow_missing=True)
    assert labels.scheme == scheme("5")
    assert labels.faces[0].placed.tolist() == [True, True, True, False, True]
    assert labels.faces[0].landmarks is not None and labels.faces[0].landmarks[4].tolist() == [40.0, 4.0]


def test_lapa_and_jd_landmark(tmp_path: Path) -> None:
    points = "\n".join(f"{i}.25 {2 * i}" for i in range(106))
    (tmp_path / "10009865324_0.txt").write_text(f"106\n{points}\n")
    labels = read_keypoints(tmp_path / "10009865324_0.txt")
    assert labels.scheme == scheme("points-106") and not labels.scheme.mirror_known
    assert labels.faces[0].image == "10009865324_0.jpg"
    assert labels.faces[0].landmarks is not None and labels.faces[0].landmarks[3].tolist() == [3.25, 6.0]
    (tmp_path / "AFW_1.jpg.txt").write_text(f"106\r\n{points}\r\n")
    assert read_keypoints(tmp_path / "AFW_1.jpg.txt").faces[0].image == "AFW_1.jpg"
    (tmp_path / "10009865324_0.PNG").write_bytes(b"")
    assert read_keypoints(tmp_path / "10009865324_0.txt").faces[0].image == "10009865324_0.PNG"
    (tmp_path / "short.txt").write_text("3\n1 2\n3 4\n")
    with pytest.raises(DataError, match="says 3 points, but 2 lines follow"):
        read_keypoints(tmp_path / "short.txt")


def test_wflw_list(tmp_path: Path) -> None:
    points = " ".join(f"{i}.5 {i}" for i in range(98))
    line = f"{points} 5 6 45 56 0 0 1 0 0 1 37--Soccer/37_Soccer_0.jpg"
    path = tmp_path / "list_98pt_rect_attr_test.txt"
    path.write_text(f"{line}\n{line}\n")
    labels = read_keypoints(path)
    assert labels.scheme == scheme("98") and len(labels.faces) == 2
    face = labels.faces[1]
    assert face.image == "37--Soccer/37_Soccer_0.jpg"
    assert face.landmarks is not None and face.landmarks[97].tolist() == [97.5, 97.0]
    assert face.box is not None and face.box.tolist() == [4.5, 5.5, 44.5, 55.5]


@pytest.mark.parametrize(
    ("content", "encoding"),
    [
        ("image,x0,y0,x1,y1,x2,y2\na.jpg,1,2,3.5,4,5,6\n", "utf-8"),
        ("image;x0;y0;x1;y1;x2;y2\na.jpg;1;2;3,5;4;5;6\n", "utf-8-sig"),
        ("image;x0;y0;x1;y1;x2;y2\r\nä.jpg;1;2;3,5;4;5;6\r\n", "cp1252"),
        ("image\tx1\ty1\tx2\ty2\tx3\ty3\na.jpg\t1\t2\t3.5\t4\t5\t6\n", "utf-8"),
        ('image,x0,y0,x1,y1,x2,y2\na.jpg,1,2,"3,5",4,5,6\n', "utf-8"),
    ],
)
def test_tables_of_other_tools(tmp_path: Path, content: str, encoding: str) -> None:
    path = tmp_path / "labels.csv"
    path.write_bytes(content.encode(encoding))
    labels = read_keypoints(path)
    assert labels.scheme == scheme("points-3")
    face = labels.faces[0]
    assert face.image in ("a.jpg", "ä.jpg") and face.box is None
    assert face.landmarks is not None and face.landmarks.tolist() == [[1.0, 2.0], [3.5, 4.0], [5.0, 6.0]]
    named = scheme_of_names(THREE)
    assert read_keypoints(path, named).scheme == named


def test_one_box_is_a_box_and_more_are_points(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("image,x0,y0,x1,y1\na.jpg,1,2,3,4\n")
    face = read_keypoints(path).faces[0]
    assert face.landmarks is None and face.box is not None and face.box.tolist() == [1.0, 2.0, 3.0, 4.0]
    path.write_text("image,x0,y0,x1,y1,nose_x,nose_y\na.jpg,1,2,3,4,5,6\n")
    labels = read_keypoints(path)
    assert labels.scheme is not None and labels.scheme.names == ("nose",)
    assert labels.faces[0].box is not None


def test_what_the_first_pixel_is_called_can_be_said(tmp_path: Path) -> None:
    coco, table = tmp_path / "a.json", tmp_path / "a.csv"
    coco.write_text(json.dumps(COCO))
    table.write_text("image,nose_x,nose_y\na.jpg,1,2\n")
    for first in (0.0, 0.5, 1.0):
        face = read_keypoints(coco, first_pixel=first, allow_missing=True).faces[1]
        assert face.landmarks is not None
        assert face.landmarks.tolist() == [[x - first, y - first] for x, y in SECOND]
        nose = read_keypoints(table, first_pixel=first).faces[0].landmarks
        assert nose is not None and nose.tolist() == [[1 - first, 2 - first]]
    assert {
        **dict.fromkeys(("json", "csv", "coco", "dlib", "landmark list", "wflw"), 0.0),
        **dict.fromkeys(("cvat", "labelme"), 0.5),
        "pts": 1.0,
    } == FIRST_PIXEL


def test_content_tells_the_format_where_the_ending_does_not(tmp_path: Path) -> None:
    for name, text, kind in (
        ("a.txt", json.dumps(COCO), "coco"),
        ("b.json", CVAT, "cvat"),
        ("c.dat", DLIB, "dlib"),
        ("d.txt", "version: 1\nn_points: 1\n{\n1 1\n}\n", "pts"),
        ("e.txt", "image;nose_x;nose_y\na.jpg;1;2\n", "csv"),
        ("f", '{"scheme": "5", "faces": []}', "json"),
        ("g.csv", labelme("a.jpg", {"nose": [1, 2]}), "labelme"),
    ):
        (tmp_path / name).write_text(text)
        assert label_format(tmp_path / name) == kind


COORDINATE = st.floats(-5000, 12000, width=32)
WORDS = st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters="[]"), min_size=1, max_size=8)


@st.composite
def label_files(draw: st.DrawFn) -> LabelFile:
    names = draw(st.lists(WORDS, min_size=1, max_size=6, unique=True))
    layout = scheme_of_names(names)
    images = draw(st.lists(WORDS.map(lambda word: f"{word}.jpg"), min_size=1, max_size=3, unique=True))
    faces = []
    for image in images:
        for _ in range(draw(st.integers(1, 2))):
            states = draw(
                st.lists(st.sampled_from([True, False, None]), min_size=len(layout), max_size=len(layout))
            )
            rows = [[draw(COORDINATE), draw(COORDINATE)] if s is not None else [math.nan] * 2 for s in states]
            if all(state is None for state in states):
                states[0], rows[0] = True, [1.0, 2.0]
            visible = torch.tensor([s is True for s in states]) if False in states else None
            box = torch.tensor([1.25, 2.0, 30.5, 41.0]) if draw(st.booleans()) else None
            faces.append(FaceLabel(image, torch.tensor(rows), box, visible=visible))
    return LabelFile(layout, faces)


@settings(max_examples=40, deadline=None)
@given(label_files(), st.sampled_from(["json", "csv", "coco"]))
def test_everything_comes_back(tmp_path_factory: pytest.TempPathFactory, labels: LabelFile, to: str) -> None:
    path = tmp_path_factory.mktemp("labels") / "labels.dat"
    read = read_keypoints(write_keypoints(path, labels, to=to), allow_missing=True)
    assert read.scheme == labels.scheme
    for before, after in zip(labels.faces, read.faces, strict=True):
        assert before.landmarks is not None and after.landmarks is not None
        assert before.image == after.image
        torch.testing.assert_close(after.landmarks, before.landmarks, rtol=0, atol=1e-3, equal_nan=True)
        assert (before.visible is None) == (after.visible is None)
        if before.visible is not None and after.visible is not None:
            assert torch.equal(before.visible, after.visible)
        if before.box is not None:
            assert after.box is not None
            torch.testing.assert_close(after.box, before.box, rtol=0, atol=1e-3)


@settings(max_examples=15, deadline=None)
@given(label_files())
def test_pts_of_a_folder_come_back(tmp_path_factory: pytest.TempPathFactory, labels: LabelFile) -> None:
    folder = tmp_path_factory.mktemp("pts")
    names = {face.image: f"{index}.jpg" for index, face in enumerate(labels.faces)}
    faces = [FaceLabel(names[face.image], face.landmarks) for face in labels.faces]
    written = write_pts_folder(folder, LabelFile(labels.scheme, faces))
    read = read_keypoints(folder, labels.scheme, allow_missing=True)
    by_name = {
        path.relative_to(folder).stem: face for path, face in zip(sorted(written), read.faces, strict=True)
    }
    for path, face in zip(written, faces, strict=True):
        found = by_name[path.stem].landmarks
        assert found is not None and face.landmarks is not None
        torch.testing.assert_close(found, face.landmarks, rtol=0, atol=1e-3, equal_nan=True)


@given(st.text(max_size=6))
def test_no_text_runs_in_a_spreadsheet_and_all_of_it_comes_back(text: str) -> None:
    assert unguard(guard(text)) == text
    assert not guard(text).startswith(("=", "+", "-", "@", "\t", "\r"))


def test_names_that_would_run_are_guarded_and_numbers_are_not(tmp_path: Path) -> None:
    layout = scheme_of_names(["=cmd|' /C calc'!A0", "nose"])
    face = FaceLabel('@SUM(1+1)*"x".jpg', torch.tensor([[-1.5, 2.0], [3.0, 4.0]]))
    path = write_keypoints(tmp_path / "labels.csv", LabelFile(layout, [face]))
    text = path.read_text()
    assert "'=cmd" in text and "'@SUM" in text and ",-1.5," in text
    read = read_keypoints(path)
    assert read.scheme == layout and read.faces[0].image == face.image


@pytest.mark.parametrize("name", ["../a.jpg", "/etc/a.jpg", "sub/../../a.jpg", ""])
def test_no_file_is_written_outside_the_folder(tmp_path: Path, name: str) -> None:
    face = FaceLabel(name, torch.zeros(5, 2))
    with pytest.raises(DataError, match="no file can be named after"):
        write_pts_folder(tmp_path / "out", LabelFile(scheme("5"), [face]))
    assert not list(tmp_path.rglob("*.pts"))


def test_two_pictures_of_one_stem_are_refused(tmp_path: Path) -> None:
    faces = [FaceLabel(name, torch.zeros(5, 2)) for name in ("a.jpg", "a.png")]
    with pytest.raises(DataError, match=r"a\.jpg and a\.png would both write"):
        write_pts_folder(tmp_path, LabelFile(scheme("5"), faces))


BOMB = (
    '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY a "ha"><!ENTITY b "'
    + "&a;" * 50
    + '">]><dataset><name>&b;</name></dataset>'
)
OUTSIDE = '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><dataset><name>&x;</name></dataset>'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (BOMB, "document type"),
        (OUTSIDE, "document type"),
        ("<dataset>", "not an XML file"),
        ("<html></html>", "neither CVAT's"),
        ('<?xml version="1.0" encoding="nonsense"?><dataset/>', "not an XML file"),
        (
            "<dataset><image file='a'><box top='1' left='x' width='1' height='1'/></image></dataset>",
            "not a number",
        ),
        ("<dataset><image/></dataset>", "no file"),
        ('<annotations><image name="a"><points label="n" points="1"/></image></annotations>', "not x,y"),
        ('<annotations><image name="a"><points points="1,2"/></image></annotations>', "no name"),
        ("{" + '"faces": ' * 1 + "[" * 90000, "not a JSON file"),
        ('{"images": 1, "annotations": []}', "list of objects"),
        ('{"images": [], "annotations": [{"id": 1, "image_id": 4, "keypoints": [1, 2, 2]}]}', "not listed"),
        ('{"images": [{"id": 1}], "annotations": []}', "no file_name"),
        (
            '{"images": [{"id": 1, "file_name": "a"}], "annotations": [{"image_id": 1, "keypoints": [1, 2]}]}',
            "x, y, v",
        ),
        (
            '{"images": [{"id": 1, "file_name": "a"}], "annotations": [{"image_id": 1, "keypoints": [1, 2, 7]}]}',
            "visibility 7",
        ),
        (
            '{"scheme": "5", "faces": [{"landmarks": [[1%s, 2], null, null, null, null]}]}' % ("0" * 400),
            "outside any",
        ),
        ('{"scheme": "5", "faces": [{"landmarks": [[1%s, 2]]}]}' % ("0" * 5000), "not a JSON file"),
        ('{"scheme": {"name": "68", "points": ["a"]}, "faces": []}', "built-in scheme"),
        ('{"scheme": "absent.yaml", "faces": []}', "cannot read the landmark scheme"),
        (
            '{"scheme": "5", "faces": [{"landmarks": [[1, 2], null, null, null, null], "visible": [1]}]}',
            "visible",
        ),
        ('{"shapes": [{"shape_type": "point", "points": [1]}]}', "points as"),
        ('{"shapes": [3]}', "not an object"),
        ('{"cats": []}', "a label file is an object"),
        ("99999\n1 2\n", "says 99999 points"),
        ("image,nose_x,nose_y,nose_visible\na,1,2,maybe\n", "visible 'maybe'"),
    ],
)
def test_hostile_files_are_one_sentence(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "labels.any"
    path.write_text(content)
    with pytest.raises(DataError, match=message) as caught:
        read_keypoints(path, allow_missing=True)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@settings(max_examples=150, deadline=None)
@given(
    st.binary(max_size=60),
    st.sampled_from(["json", "xml", "csv", "pts", "txt"]),
    st.sampled_from([b"", b"{", b"<"]),
)
def test_noise_is_refused_or_read(
    tmp_path_factory: pytest.TempPathFactory, noise: bytes, ending: str, start: bytes
) -> None:
    path = tmp_path_factory.mktemp("noise") / f"a.{ending}"
    path.write_bytes(start + noise)
    try:
        read_keypoints(path, allow_missing=True)
    except DataError as error:
        assert str(path) in str(error)


def test_own_scheme_travels_in_json_and_its_path_counts_from_the_file(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "six.yaml").write_text("name: six\npoints: [left_a, right_a, b]\n")
    content = {"scheme": "six.yaml", "faces": [{"image": "a.jpg", "landmarks": [[1, 2], [3, 4], None]}]}
    (folder / "labels.json").write_text(json.dumps(content))
    labels = read_keypoints(folder / "labels.json", allow_missing=True)
    assert labels.scheme is not None and labels.scheme.name == "six" and labels.scheme.mirror == (1, 0, 2)
    moved = write_keypoints(tmp_path / "elsewhere.json", labels)
    (folder / "six.yaml").unlink()
    assert read_keypoints(moved, allow_missing=True).scheme == labels.scheme


def test_a_face_without_any_point_has_no_landmarks(tmp_path: Path) -> None:
    path = tmp_path / "labels.json"
    path.write_text(json.dumps({"scheme": "5", "faces": [{"image": "a.jpg", "landmarks": [None] * 5}]}))
    assert read_keypoints(path, allow_missing=True).faces[0].landmarks is None
    # Half a point is none.
    path.write_text(
        json.dumps({"scheme": "5", "faces": [{"image": "a", "landmarks": [[1, None], *[[1, 2]] * 4]}]})
    )
    face = read_keypoints(path, allow_missing=True).faces[0]
    assert face.placed.tolist() == [False, True, True, True, True]
    assert face.landmarks is not None and bool(face.landmarks[0].isnan().all())
