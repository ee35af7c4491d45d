"""Scores of predictions whose every error is known: parts, subsets, failures, areas, what is left out."""

from __future__ import annotations

import math

import pytest
import torch

from lineament.capabilities import Landmarks
from lineament.data.sample import FaceSample
from lineament.errors import UsageError
from lineament.evaluation.landmark_cards import landmark_cards
from lineament.evaluation.landmarks import score_landmarks
from lineament.faces.schemes import scheme

# Errors of outline and inner landmarks of each face, in distances of the outer eye corners.
OUTLINE = (0.2, 0.4, 0.1, 0.04)
INNER = (0.05, 0.1, 0.02, 0.0)


class Known:
    """Faces of 68 points; each picture is a shade of grey that says which face it is."""

    name, fingerprint = "known", "known-1"

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> FaceSample:
        generator = torch.Generator().manual_seed(index)
        points = 20 + 60 * torch.rand(68, 2, generator=generator)
        points[36], points[45] = torch.tensor([30.0, 40.0]), torch.tensor([60.0, 80.0])  # 50 apart
        return FaceSample(
            id=f"face{index}",
            image=torch.full((3, 100, 100), index / 10),
            box=torch.tensor([10.0, 10.0, 90.0, 90.0]),
            landmarks=points,
            scheme="68",
            meta={"subsets": ("pose", "blur") if index == 3 else ("pose",)},
        )


class Shifted:
    """Answers the truth moved by a known length, outline down and the rest to the right."""

    scheme = scheme("68")

    def landmarks(self, image: torch.Tensor, boxes: torch.Tensor) -> Landmarks:
        index = round(float(image[0, 0, 0]) * 10)
        points = Known()[index].landmarks
        assert points is not None
        points = points.clone()
        points[:17, 1] += 50 * OUTLINE[index]
        points[17:, 0] += 50 * INNER[index]
        return Landmarks(points[None], torch.ones(1, 68))


def all_of(index: int) -> float:
    return (17 * OUTLINE[index] + 51 * INNER[index]) / 68


def test_errors_are_those_that_were_made():
    scores = score_landmarks(Shifted(), Known())
    assert scores is not None
    assert scores.errors.shape == (4, 68) and scores.missing == 0
    torch.testing.assert_close(scores.errors[:, 3].float(), torch.tensor(OUTLINE))
    torch.testing.assert_close(scores.errors[:, 30].float(), torch.tensor(INNER), atol=1e-6, rtol=0)
    means = [all_of(index) for index in range(4)]
    assert scores.per_face.tolist() == pytest.approx(means)
    assert scores.mean == scores.part("all") == pytest.approx(sum(means) / 4)
    assert scores.part("outline") == pytest.approx(sum(OUTLINE) / 4)
    assert scores.part("inner") == pytest.approx(sum(INNER) / 4)


def test_a_table_row_holds_percentages_by_hand():
    scores = score_landmarks(Shifted(), Known())
    assert scores is not None
    row = scores.summary()
    means = [all_of(index) for index in range(4)]
    assert (row["faces"], row["all"]) == (4, pytest.approx(100 * sum(means) / 4))
    assert (row["outline"], row["inner"]) == (
        pytest.approx(100 * sum(OUTLINE) / 4),
        pytest.approx(100 * sum(INNER) / 4),
    )
    # Of 0.0875, 0.175, 0.04 and 0.01 one is above a tenth.
    assert [round(mean, 6) for mean in means] == [0.0875, 0.175, 0.04, 0.01]
    assert row["failures_percent"] == 25
    assert row["area"] == pytest.approx((0.125 + 0 + 0.6 + 0.9) / 4, abs=1e-5)


def test_a_subset_is_scored_alone():
    scores = score_landmarks(Shifted(), Known())
    assert scores is not None
    assert scores.subset_names() == ["blur", "pose"]
    blurred = scores.only("blur")
    assert blurred.ids == ("face3",)
    assert blurred.mean == pytest.approx(all_of(3))
    assert scores.only("pose").mean == pytest.approx(scores.mean)
    with pytest.raises(UsageError, match="no sample belongs to the subset 'smile'"):
        scores.only("smile")


def test_cards_say_the_same_in_percent_point_by_point():
    card, failures, area = landmark_cards(Shifted(), Known())
    means = [100 * all_of(index) for index in range(4)]
    assert card.value == pytest.approx(sum(means) / 4)
    spread = math.sqrt(sum((mean - sum(means) / 4) ** 2 for mean in means) / 4)
    assert card.std == pytest.approx(spread, rel=1e-4) and card.std_over == "samples"
    names = scheme("68").names
    assert card.details["per_point"][names[0]] == pytest.approx(100 * sum(OUTLINE) / 4)
    assert card.details["per_point"][names[30]] == pytest.approx(100 * sum(INNER) / 4)
    assert failures.value == pytest.approx(25.0)
    assert area.value == pytest.approx((0.125 + 0 + 0.6 + 0.9) / 4, abs=1e-5)


def test_faces_without_labels_have_no_scores():
    class Bare(Known):
        def __getitem__(self, index: int) -> FaceSample:
            sample = super().__getitem__(index)
            return FaceSample(id=sample.id, image=sample.image, box=sample.box)

    assert score_landmarks(Shifted(), Bare()) is None
