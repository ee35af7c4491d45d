"""The disagreement with an independent tool's points."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor

from lineament.capabilities import DenseDescriptor, Descriptors, LandmarkPredictor, Landmarks
from lineament.data.sample import FaceSample
from lineament.errors import DataError, UsageError
from lineament.faces.detection import Detection
from lineament.faces.schemes import scheme
from lineament.pipeline.evaluate.judge import disagreement_cards, noisy_box, read_judge
from lineament.pipeline.evaluate.judge_matching import matching_disagreement_cards
from lineament.pipeline.evaluate.score import card_path

COUNT = len(scheme("68"))


class Off:
    """A model that is off by three pixels where its box is right, and by the box's move besides."""

    scheme = scheme("68")
    box = torch.tensor([10.0, 10.0, 50.0, 60.0])

    def __init__(self, truth: Tensor) -> None:
        self.truth = truth

    def capability(self, wanted: object) -> Off:
        return self

    def detect(self, image: Tensor, **_: Any) -> list[Detection]:
        return [] if float(image.mean()) == 0.0 else [Detection(self.box)]

    def landmarks(self, image: Tensor, boxes: Tensor) -> Landmarks:
        moves = 0.5 * (boxes[:, :2] + boxes[:, 2:]) - 0.5 * (self.box[:2] + self.box[2:])
        points = self.truth + torch.tensor([3.0, 0.0]) + moves[:, None]
        return Landmarks(points, torch.ones(len(boxes), COUNT))


class Photos:
    name, fingerprint = "photos", "1"

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> FaceSample:
        return FaceSample(f"{index}.jpg", torch.full((3, 64, 64), 0.0 if index == 2 else 0.5))


def test_the_disagreement_is_in_eye_distances_and_grows_with_the_noise(tmp_path: Path) -> None:
    truth = 64 * torch.rand(COUNT, 2, generator=torch.Generator().manual_seed(0))
    left, right = scheme("68").ocular_points()
    truth[left], truth[right] = torch.tensor([20.0, 30.0]), torch.tensor([50.0, 30.0])
    index = torch.randperm(80, generator=torch.Generator().manual_seed(1))[:COUNT]
    points = np.zeros((3, 80, 2), np.float32)
    points[:, index] = truth.numpy()
    # The judge does not know the last photo; in the one before nobody is found.
    np.savez(
        tmp_path / "judge.npz",
        files=np.array(["0.png", "1.png", "2.png"]),
        points=points,
        index68=index.numpy(),
    )
    judge = read_judge(tmp_path / "judge.npz")
    cards = disagreement_cards(cast(Any, Off(truth)), Photos(), judge)
    assert [card.count for card in cards] == [2, 2, 2] and cards[0].details["not_found"] == 1
    assert cards[0].value == pytest.approx(100 * 3 / 30, rel=1e-5)
    assert cards[2].value > cards[1].value > 0 and "5 % of its longer side" in cards[1].protocol
    with pytest.raises(DataError, match="knows none of the images"):
        disagreement_cards(cast(Any, Off(truth)), Photos(), type(judge)(judge.path, {}))
    (tmp_path / "bad.npz").write_bytes(b"no archive")
    with pytest.raises(DataError, match="cannot be read as points of a judge"):
        read_judge(tmp_path / "bad.npz")


def test_noise_on_a_box_has_its_standard_deviation() -> None:
    box, generator = torch.tensor([0.0, 0.0, 30.0, 40.0]), torch.Generator().manual_seed(0)
    assert torch.equal(noisy_box(box, 0.0, generator), box.double())
    drawn = torch.stack([noisy_box(box, 0.1, generator) for _ in range(2000)])
    centres = 0.5 * (drawn[:, :2] + drawn[:, 2:])
    torch.testing.assert_close(centres.std(0), torch.full((2,), 4.0, dtype=torch.float64), rtol=0.08, atol=0)
    assert float(((drawn[:, 2] - drawn[:, 0]) / 30).std()) == pytest.approx(0.1, rel=0.08)


class Flat:
    """A model whose descriptors and landmarks know each photo's plane map; everything it says is exact."""

    scheme = scheme("68")

    def __init__(self, *, describes: bool = True, marks: bool = True) -> None:
        self.kinds = {DenseDescriptor: describes, LandmarkPredictor: marks}

    def has(self, wanted: type) -> bool:
        return self.kinds[wanted]

    def capability(self, wanted: object) -> Flat:
        return self

    def detect(self, image: Tensor, **_: Any) -> list[Detection]:
        return [Detection(torch.tensor([10.0, 10.0, 50.0, 50.0]))]

    def describe(self, image: Tensor, boxes: Tensor) -> Descriptors:
        scale, shift = float(image[0, 0, 0]), float(image[1, 0, 0]) * 10
        y, x = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
        x, y = ((2 * each - shift) / scale / 40 for each in (x, y))
        waves = torch.stack([x.cos(), x.sin(), y.cos(), y.sin()])
        to_view = torch.tensor([[[1.0, 0, 0], [0, 1.0, 0]]], dtype=torch.float64)
        return Descriptors(waves[None], to_view, 64, 2.0, 40.0, smooth=True)

    def landmarks(self, image: Tensor, boxes: Tensor) -> Landmarks:
        scale, shift = float(image[0, 0, 0]), float(image[1, 0, 0]) * 10
        return Landmarks((MESH_68 * scale + shift)[None], torch.ones(1, COUNT))


MESH_68 = 6.0 + 40.0 * torch.rand(COUNT, 2, generator=torch.Generator().manual_seed(3))


class Moved:
    """Photos whose first pixels say how their face is scaled and shifted."""

    name, fingerprint = "moved", "1"

    def __len__(self) -> int:
        return 9

    def __getitem__(self, index: int) -> FaceSample:
        image = torch.zeros(3, 64, 64)
        image[0], image[1] = 0.9 + 0.02 * index, 0.1 * index
        return FaceSample(f"{index}.jpg", image)


def test_points_carried_between_people_are_compared_with_the_tool(tmp_path: Path) -> None:
    base = 8.0 + 36.0 * torch.rand(80, 2, generator=torch.Generator().manual_seed(5))
    photos = Moved()
    points = np.stack([base * (0.9 + 0.02 * index) + index for index in range(9)]).astype(np.float32)
    np.savez(
        tmp_path / "judge.npz",
        files=np.array([f"{index}.png" for index in range(9)]),
        points=points,
        index68=np.arange(COUNT),
    )
    judge = read_judge(tmp_path / "judge.npz")
    cards = matching_disagreement_cards(cast(Any, Flat()), photos, judge)
    assert [card.count for card in cards] == [9, 9] and "9 pairs of 80 points" in cards[0].protocol
    assert "descriptors" in cards[0].definition and "spline" in cards[1].definition
    assert max(card.value for card in cards) < 0.5 and cards[0].details["median"] <= 0.5
    # A judge that sees all points of every second photo three pixels on is disagreed with by as much.
    left, right = scheme("68").ocular_points()
    points[1::2] += 3.0
    np.savez(tmp_path / "judge.npz", files=np.array([f"{i}.png" for i in range(9)]), points=points,
             index68=np.arange(COUNT))  # fmt: skip
    judge = read_judge(tmp_path / "judge.npz")
    # Landmarks alone serve, too, by a head fitted to them.
    by_head, card = matching_disagreement_cards(cast(Any, Flat(describes=False)), photos, judge)
    assert "head fitted" in by_head.definition and by_head.count == 9
    lengths = np.linalg.norm(points[:, left] - points[:, right], axis=1)
    pairs = [(index, (index + 7) % 9) for index in range(9)]
    scales = 0.9 + 0.02 * np.arange(9)
    off = [3.0 * np.sqrt(2) * abs(scales[b] / scales[a] * (a % 2) - b % 2) for a, b in pairs]
    expected = np.mean([100 * each / lengths[b] for each, (_, b) in zip(off, pairs, strict=True)])
    assert card.value == pytest.approx(expected, rel=0.01)
    with pytest.raises(UsageError, match="descriptors or landmarks"):
        matching_disagreement_cards(cast(Any, Flat(describes=False, marks=False)), photos, judge)
    few = type(judge)(judge.path, {"1": judge.points["1"]}, judge.mesh)
    with pytest.raises(DataError, match="needs 8 or more"):
        matching_disagreement_cards(cast(Any, Flat()), photos, few)


def test_cards_of_a_named_model_do_not_shadow_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cards of a run lie inside it; of a model that is given by its name no folder of that name is made."""
    monkeypatch.chdir(tmp_path)
    assert card_path("face-68", "judge-grey") == Path("face-68-judge-grey.cards.json")
    (tmp_path / "run").mkdir()
    assert card_path("run", "judge-grey") == Path("run/evaluations/judge-grey.json")
