"""Plausibility of depth on photographs without labels: order of nose, eyes and jaw; card, sheet and words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from tests.depthnet.turning import KEYPOINTS, astronaut, keypoints, seen_head

from lineament.cli.main import main
from lineament.errors import DataError
from lineament.faces.schemes import convert_points
from lineament.pipeline.evaluate.depth_photos import PhotoFaces, draw_sheet, plausibility_card, plausible


def depth_of(yaw: float, seed: int) -> torch.Tensor:
    return seen_head((yaw, 0.0, 0.0), 2.0, seed)[0][:, 2]


def test_heads_are_plausible_and_hollow_ones_are_not():
    heads = torch.stack([depth_of(yaw, seed) for yaw, seed in ((0, 1), (10, 2), (-12, 3))])
    assert all(passed.all() for passed in plausible(heads))
    of_66 = torch.stack([convert_points(head[:, None].expand(-1, 2), "68", "66")[:, 0] for head in heads])
    assert all(passed.all() for passed in plausible(of_66))
    assert not any(passed.any() for passed in plausible(-heads))
    flat_jaw = heads.clone()
    flat_jaw[:, 16] = heads[:, 36]
    nose, jaw = plausible(flat_jaw)
    assert nose.all() and not jaw.any()


def faces(tmp_path: Path) -> PhotoFaces:
    photo = tmp_path / "astronaut.png"
    Image.fromarray((astronaut().permute(1, 2, 0) * 255).round().byte().numpy()).save(photo)
    good = depth_of(0, 1)
    depth = torch.stack([good, -good, good])
    of_66 = convert_points(depth[..., None].expand(-1, -1, 2), "68", "66")[..., 0]
    poses = torch.deg2rad(torch.tensor([[0.0, 0, 0], [14.0, 0, 0], [40.0, 0, 0]]))
    return PhotoFaces(
        (photo,) * 3, keypoints().expand(3, -1, -1), poses, of_66, depth, ("gone: no face.",), "r"
    )


def test_the_card_counts_frontal_faces_alone(tmp_path: Path):
    card = plausibility_card(faces(tmp_path), "photos")
    assert card.value == 50 and card.count == 2
    assert card.details["nose_in_front"] == 50 and card.details["with_the_opposite_sign"] == 50
    assert card.details["all_faces"] == {"plausible": pytest.approx(66.67), "faces": 3}
    assert card.details["failed"] == ["astronaut.png"] and card.details["left_out"] == ["gone: no face."]
    with pytest.raises(DataError, match="within"):
        plausibility_card(faces(tmp_path), "photos", degrees=-1)


def test_the_sheet_begins_with_the_failed_faces(tmp_path: Path):
    path = draw_sheet(faces(tmp_path), tmp_path / "sheet.png")
    with Image.open(path) as picture:
        assert picture.width > 200
    numbers = json.loads(path.with_suffix(".json").read_text())
    assert len(numbers["depth"]) == 2 and numbers["depth"][0][30] > numbers["depth"][1][30]


def test_the_command_scores_photographs_and_tells_what_it_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    run, folder = tmp_path / "run", tmp_path / "photos"
    words = ["train", "depthnet-modern", "--preset", "tiny", "--data", "synthetic-keypoints?count=20"]
    assert main([*words, "--run", str(run), "--device", "cpu"]) == 0
    folder.mkdir()
    picture = Image.fromarray((astronaut().permute(1, 2, 0) * 255).round().byte().numpy())
    picture.save(folder / "astronaut.png")
    picture.resize((8, 8)).save(folder / "small.png")
    capsys.readouterr()
    words = ["evaluate", "depth", str(run), "--photos", str(folder), "--keypoints", str(KEYPOINTS)]
    assert main([*words, "--figures", str(tmp_path / "figures"), "--frontal", "30"]) == 0
    said = capsys.readouterr().out
    assert "plausible depth" in said and "1 photos left out" in said
    assert (tmp_path / "figures" / "run-photos.png").exists()
    (cards,) = (run / "evaluations").glob("depth-photos-*.json")
    (card,) = json.loads(cards.read_text())
    assert card["count"] == 1 and "small.png" in card["details"]["left_out"][0]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ([], 2, "--data for faces"),
        (["--data", "synthetic-keypoints", "--photos", "p"], 2, "--data for faces"),
        (["--data", "synthetic-keypoints", "--keypoints", "k.json"], 2, "belong to --photos"),
        (["--photos", "p", "--dump", "d"], 2, "no pairs"),
        (["--photos", "p", "--frontal", "0"], 2, "above 0"),
    ],
)
def test_wrong_words(
    words: list[str], code: int, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert main(["evaluate", "depth", str(tmp_path), *words]) == code
    assert said in capsys.readouterr().err
