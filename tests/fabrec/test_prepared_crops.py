"""Training on prepared crops: what the networks see is what they would see of the photographs."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from tests.fabrec.faces import Marks

from lineament.cli.main import main
from lineament.data.images import write_image
from lineament.data.registry import open_data
from lineament.data.sample import FaceSource
from lineament.errors import DataError
from lineament.faces.labels import FaceLabel, LabelFile, write_keypoints
from lineament.faces.schemes import scheme
from lineament.methods.fabrec.augment import AffineParams
from lineament.methods.fabrec.crop import View, region_side
from lineament.pipeline.prepare.options import PrepareOptions
from lineament.pipeline.prepare.run import prepare

# Turns that bring the corners of the region into the picture, the last one also what lies outside it.
TURNED, MIRRORED = AffineParams(angle=math.radians(40)), AffineParams(mirror=True)
MOVED = AffineParams(angle=math.radians(40), shift=(3.0, -2.0), scale=(0.95, 1.02))
# Pixels of the photograph around each of the pictures.
ROOM = 40


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    labels = []
    for number, sample in enumerate(Marks(6, size=160)):
        image = torch.nn.functional.pad(sample.image, (ROOM,) * 4, mode="replicate")
        write_image(folder / f"{number}.png", image)
        labels.append(FaceLabel(f"{number}.png", sample.landmarks + ROOM, sample.box + ROOM))
    write_keypoints(folder / "labels.json", LabelFile(scheme("5"), labels))
    return folder


def crops(photos: Path, out: Path, **options: object) -> FaceSource:
    prepare(open_data(photos), out, PrepareOptions(**{"crop": "fabrec", "size": 64, **options}))  # type: ignore[arg-type]
    return open_data(out)


@pytest.mark.parametrize(
    ("move", "around"), [(None, 0.0), (TURNED, 0.0), (MIRRORED, 0.0), (MIRRORED, 0.1), (MOVED, 0.1)]
)
def test_crops_show_what_the_photographs_show(
    photos: Path, tmp_path: Path, move: AffineParams | None, around: float
) -> None:
    view, layout = View(64), scheme("5")
    for crop, photo in zip(crops(photos, tmp_path / "out", around=around), open_data(photos), strict=True):
        seen = [view.image(s.image, view.region(s), move) for s in (crop, photo)]
        assert float((seen[0] - seen[1]).abs().mean()) < 0.004
        assert seen[0].amin() > 0.2, "a black corner"
        marks = [view.points(s.landmarks.double(), layout, view.region(s), move) for s in (crop, photo)]
        assert torch.allclose(marks[0], marks[1], atol=2e-3)


def test_the_published_region_is_the_crop_itself(photos: Path, tmp_path: Path) -> None:
    view = View(64, style="paper")
    for crop in crops(photos, tmp_path / "out", format="png"):
        assert crop.image.shape[-1] == region_side(64)
        assert torch.equal(view.image(crop.image, view.region(crop)), crop.image[:, 13:77, 13:77])


@pytest.mark.parametrize("rule", ["fabrec", "box"])
def test_other_margins_and_the_default_rule_serve(photos: Path, tmp_path: Path, rule: str) -> None:
    view = View(64, margins=(0.1, 0.12) if rule == "fabrec" else (0.05, 0.1))
    source = crops(photos, tmp_path / "out", crop=rule, size=200 if rule == "box" else 128)
    for crop, photo in zip(source, open_data(photos), strict=True):
        for move in (None, TURNED, MIRRORED):
            seen = [view.image(s.image, view.region(s), move) for s in (crop, photo)]
            # Both cut the edges of the box to whole pixels: of the crop here, of the photograph there.
            assert float((seen[0] - seen[1]).abs().mean()) < 0.02


def test_a_rule_that_cut_too_much_is_refused(photos: Path, tmp_path: Path) -> None:
    source = crops(photos, tmp_path / "out", crop="depthnet-80", size=80)
    view = View(64)
    with pytest.raises(
        DataError, match=r"was cut by the rule 'depthnet-80' and lacks \d+% .* prepare .* --crop fabrec"
    ):
        view.region(source[0])


def test_a_recipe_trains_on_them(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    crops(photos, tmp_path / "crops")
    monkeypatch.chdir(tmp_path)
    words = ["train", "fabrec-ae", "--preset", "tiny", "--data", "crops/"]
    assert main([*words, "--workers", "1", "--run", "run"]) == 0
    assert Path("run", "metrics.jsonl").read_text().count('"loss"') >= 1
    shard = tmp_path / "crops" / "shards" / "shard-00000.tar"
    shard.write_bytes(shard.read_bytes().replace(b"VP8L", b"VP8 "))
    capsys.readouterr()
    assert main([*words, "--run", "other"]) == 1
    error = capsys.readouterr().err
    assert "shard-00000.tar is damaged" in error and "`lineament data prepare` again" in error
    assert "Traceback" not in error
