"""The shipped model as a judge of what is a face: nothing where there is none, everybody where there are people."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image

import lineament
from lineament.cli.main import main
from lineament.data.registry import open_source
from lineament.data.video import Frame
from lineament.eight_bit import from_array
from lineament.faces.boxes import iou, size
from lineament.faces.crops import crop_image
from lineament.faces.detection import main_face
from lineament.geometry.affine2d import Affine2D
from lineament.inference import Model
from lineament.packs import COLOUR, GREY
from lineament.pipeline.video.options import FollowOptions
from lineament.pipeline.video.track_faces import follow_faces
from lineament.synthetic.dataset import SyntheticFaces
from lineament.synthetic.scene import SceneOptions

FOLDER = Path(skimage.data.__file__).parent
# Images of the wheel that show people.
PEOPLE = ("astronaut.png", "camera.png")
TURNS = (0, 90, 180, 270)


@pytest.fixture(scope="module")
def model() -> Model:
    return lineament.load("face-68")


def without_faces() -> list[Path]:
    endings = (".png", ".jpg", ".gif", ".tif")
    return sorted(path for path in FOLDER.iterdir() if path.suffix in endings and path.name not in PEOPLE)


def test_the_model_knows_how_unsure_faces_are(model: Model) -> None:
    assert model.uncertainty_limit is not None
    measured = model.run.facts["uncertainty_limit"]  # type: ignore[attr-defined]
    assert measured["value"] == pytest.approx(measured["margin"] * measured["typical"], rel=1e-3)
    (face,) = model(FOLDER / "astronaut.png")
    assert face.uncertainty is not None and face.uncertainty < 0.75 * model.uncertainty_limit


def test_no_face_where_there_is_none(model: Model) -> None:
    """Some of these have things that the detector takes for faces, which is what the model is asked about."""
    rejected, kept = 0, []
    for path in without_faces():
        try:
            with Image.open(path) as opened:
                image = from_array(np.asarray(opened.convert("RGB")))
        except OSError:
            continue
        for upright in ("search", "off"):
            found = model.find(image, upright=upright)  # type: ignore[arg-type]
            rejected += len(found.rejected)
            kept += [(path.name, upright, face.score, face.uncertainty) for face in found.faces]
    assert len(without_faces()) > 20 and rejected >= 8
    assert kept == []


def test_what_is_rejected_is_told_and_shown_when_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The detector takes a part of the motorcycle for a face."""
    photo = tmp_path / "motorcycle.png"
    photo.write_bytes((FOLDER / "motorcycle_left.png").read_bytes())
    words = ["landmarks", str(photo), "--format", "json"]
    assert main(words) == 1
    said = capsys.readouterr().err
    assert "1 detection was taken for no face" in said and "--all-faces" in said
    assert main([*words, "--all-faces"]) == 0
    assert capsys.readouterr().out.startswith("1 face(s)")


@pytest.mark.parametrize("every", [1, 5])
def test_two_seconds_of_a_turning_head_hold_one_person(model: Model, every: int) -> None:
    """The astronaut's photo turned by up to three degrees to and fro, 25 frames a second."""
    photo = from_array(skimage.data.astronaut())
    frames = []
    for index in range(50):
        angle = math.radians(3.0) * math.sin(2 * math.pi * index / 50)
        move = Affine2D.from_similarity(1.0, angle, (60.0 * math.sin(angle), -240 * math.sin(angle)))
        frames.append(Frame(index, index / 25, crop_image(photo, move, 512, "edge")))
    found = list(follow_faces(model, frames, FollowOptions(detect_every=every)))
    assert [[each.person for each in people] for _, people in found] == [[0]] * 50


@pytest.mark.slow
@pytest.mark.parametrize(("pack", "count"), [(GREY, 657), (COLOUR, 300)])
def test_all_portraits_are_kept(model: Model, packs: Path, pack: str, count: int) -> None:
    source = open_source("portraits", packs / pack)
    found = [model.find(source[index].image, upright="off") for index in range(len(source))]
    lost = [source[index].id for index, each in enumerate(found) if not each.faces]
    assert len(found) == count and lost == []


@pytest.mark.slow
def test_synthetic_people_are_kept() -> None:
    model = lineament.load("face-68")
    options = SceneOptions(max_yaw=math.radians(65.0))
    faces = SyntheticFaces(seed=77, count=300, size=160, options=options)
    kept = 0
    for index in range(len(faces)):
        sample = faces[index]
        assert sample.box is not None
        found = model.find(sample.image).faces
        kept += any(float(iou(face.box[None], sample.box[None].float())) > 0.3 for face in found)
    assert kept / len(faces) >= 0.97, f"{kept} of {len(faces)}"


def points_right(model: Model, image: torch.Tensor, degrees: int) -> bool:
    """Whether the landmarks of a turned image are those of the image as it is."""
    faces = model.find(image, upright="off").faces
    turned = model.find(torch.rot90(image, degrees // 90, (1, 2))).faces
    best, other = (main_face([face.place for face in each]) for each in (faces, turned))
    if best is None or other is None or other.turn != (360 - degrees) % 360:
        return False
    expected, given = (
        next(face.landmarks for face in each if face.box is place.box)
        for each, place in ((faces, best), (turned, other))
    )
    moved = Affine2D.quarter_turn(degrees, (image.shape[2], image.shape[1])).apply(expected)
    side = float(size(best.box).max())
    return float((given - moved).norm(dim=-1).mean()) < 0.03 * side


@pytest.mark.parametrize("degrees", TURNS)
def test_the_astronaut_keeps_her_points_in_every_turn(model: Model, degrees: int) -> None:
    assert points_right(model, from_array(skimage.data.astronaut()), degrees)


@pytest.mark.slow
@pytest.mark.parametrize("pack", [GREY, COLOUR])
def test_portraits_keep_their_points_in_every_turn(model: Model, packs: Path, pack: str) -> None:
    source = open_source("portraits", packs / pack)
    images = [source[index * len(source) // 60].image for index in range(60)]
    right = {turn: sum(points_right(model, image, turn) for image in images) for turn in TURNS}
    assert min(right.values()) >= 58, right
