"""The disagreement with an independent tool's points."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor

from lineament.capabilities import Landmarks
from lineament.data.sample import FaceSample
from lineament.errors import DataError
from lineament.faces.detection import Detection
from lineament.faces.schemes import scheme
from lineament.pipeline.evaluate.judge import disagreement_cards, noisy_box, read_judge

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
