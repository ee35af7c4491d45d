"""The best matches between photos: whose descriptors are most alike, and what the table and the page say of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.analyze.conftest import portrait, save
from torch import Tensor
from torch.nn import functional as F

from lineament.capabilities import Descriptors
from lineament.faces.resample import crop_image
from lineament.geometry.affine2d import Affine2D
from lineament.heads.load import load_head
from lineament.inference import Model
from lineament.pipeline.analyze import run as analysis
from lineament.pipeline.analyze.analyzer import Analyzer
from lineament.pipeline.analyze.matches import best_pairs, shape_directions
from lineament.pipeline.analyze.options import AnalyzeOptions
from lineament.pipeline.video.options import FollowOptions


class Colours:
    """Describes a place by its colours and those around it."""

    def describe(self, image: Tensor, boxes: Tensor) -> Descriptors:
        squares = [Affine2D.window(box.double(), (64, 64)) for box in boxes]
        views = torch.stack([crop_image(image, square, 64) for square in squares])
        matrices = torch.stack([square.matrix for square in squares])
        return Descriptors(self.describe_views(views), matrices, 64, 2.0, 64.0)

    def describe_views(self, views: Tensor) -> Tensor:
        patches = F.unfold(F.avg_pool2d(views, 2) - 0.5, 5, padding=2)
        return patches.unflatten(2, (32, 32))


def test_each_face_is_paired_with_the_one_most_like_it():
    # Faces 0 and 2 agree at both points, 1 is nearer to 3 than to them, 3 nearest to 1.
    angles = torch.tensor([[0.0, 0.1], [1.0, 1.1], [0.05, 0.1], [1.2, 1.5]])
    descriptors = torch.stack([angles.cos(), angles.sin()], dim=-1)
    pairs = best_pairs(descriptors)
    assert [pair[:2] for pair in pairs] == [(0, 2), (1, 3)]
    expected = (torch.cos(torch.tensor(0.05)) + 1) / 2
    assert pairs[0][2] == pytest.approx(float(expected), abs=1e-6)


def test_shapes_are_alike_wherever_they_are_seen():
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randn(2, 20, 2, generator=generator)
    turn = torch.tensor([[0.6, -0.8], [0.8, 0.6]])
    faces = [first, second, 3.0 * first @ turn.T + 5.0, second + 0.05 * first]
    pairs = best_pairs(torch.stack([shape_directions(each) for each in faces]))
    assert [pair[:2] for pair in pairs] == [(0, 2), (1, 3)]
    assert pairs[0][2] == pytest.approx(1.0, abs=1e-6) and 0.9 < pairs[1][2] < 0.9999
    # A mirrored face is another shape.
    mirrored = shape_directions(first * torch.tensor([-1.0, 1.0]))
    assert float((shape_directions(first).conj() * mirrored).sum().abs()) < 0.9


def test_without_descriptors_landmarks_tell(tmp_path: Path, shape_model: Model):
    photos = tmp_path / "photos"
    for name, pixels in (("a.png", portrait()), ("b.png", portrait()), ("c.png", portrait(mirrored=True))):
        save(photos / name, pixels)
    analyzer = Analyzer(shape_model, load_head("builtin"), AnalyzeOptions(), dense=shape_model)
    files = analysis.plan_analysis([photos], None)
    result = analysis.run_analysis(analyzer, files, FollowOptions(), "photos")
    best = result.matches[0]
    assert (best["a"], best["b"]) == ("a.png", "b.png") and best["alike"] > 0.999
    rows = json.loads((result.folder / "a.png-b.png.match.json").read_text())["matches"]
    moved = [abs(row["a"][axis] - row["b"][axis]) for row in rows for axis in (0, 1)]
    assert len(rows) == 68 and max(moved) < 0.1


def test_a_folder_tells_its_best_matches_once(tmp_path: Path, shape_model: Model, monkeypatch):
    photos = tmp_path / "photos"
    brighter = (portrait().astype(float) * 0.8 + 40).astype(np.uint8)
    for name, pixels in (("a.png", portrait()), ("b.png", brighter), ("c.png", portrait(mirrored=True))):
        save(photos / name, pixels)
    dense = Model(shape_model.run, Colours())
    analyzer = Analyzer(shape_model, load_head("builtin"), AnalyzeOptions(), dense=dense)
    files = analysis.plan_analysis([photos], None)
    result = analysis.run_analysis(analyzer, files, FollowOptions(), "photos")
    best = result.matches[0]
    assert (best["a"], best["b"]) == ("a.png", "b.png") and best["alike"] > result.matches[-1]["alike"]
    assert best["round_trip"] < 0.2 and (result.folder / best["image"]).is_file()
    table = json.loads((result.folder / "analysis.json").read_text())
    assert table["matches"] == result.matches and table["matched"]["photos"] == ["a.png", "b.png", "c.png"]
    page = (result.folder / "analysis.html").read_text()
    assert "Best matches" in page and "a.png and b.png: mean similarity" in page
    points = json.loads((result.folder / "a.png-b.png.match.json").read_text())["matches"]
    assert len(points) == 68

    def never(*_: object) -> None:
        raise AssertionError("matched again")

    monkeypatch.setattr(analysis, "write_matches", never)
    again = analysis.run_analysis(analyzer, files, FollowOptions(), "photos")
    assert again.matches == result.matches and again.photos.skipped == 3
    # Once a photo is done again its matches are no longer known.
    files[0].json.unlink()
    with pytest.raises(AssertionError, match="matched again"):
        analysis.run_analysis(analyzer, files, FollowOptions(), "photos")


def test_one_face_has_nothing_to_be_matched_with(tmp_path: Path, shape_model: Model):
    save(tmp_path / "photos" / "a.png", portrait())
    dense = Model(shape_model.run, Colours())
    analyzer = Analyzer(shape_model, load_head("builtin"), AnalyzeOptions(), dense=dense)
    files = analysis.plan_analysis([tmp_path / "photos"], None)
    result = analysis.run_analysis(analyzer, files, FollowOptions(), "photos")
    assert result.matches == [] and "no two photos" in result.left_out["matches"]
