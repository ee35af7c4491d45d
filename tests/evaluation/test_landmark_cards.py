"""Landmark cards: the mean shape beside the error, and what is counted."""

from __future__ import annotations

import pytest
import torch
from tests.dve.faces import Blobs

from lineament.capabilities import Landmarks
from lineament.data.face_box import sample_box
from lineament.data.sample import FaceSample
from lineament.evaluation.landmark_cards import landmark_cards
from lineament.evaluation.landmarks import score_landmarks
from lineament.evaluation.mean_shape import MeanShape, others_mean
from lineament.faces import boxes as box_tools
from lineament.faces.schemes import scheme


class Middle:
    """A model that answers with the middle of the box everywhere."""

    scheme = scheme("5")

    def landmarks(self, image: torch.Tensor, boxes: torch.Tensor) -> Landmarks:
        middle = 0.5 * (boxes[:, :2] + boxes[:, 2:])
        return Landmarks(middle[:, None].expand(-1, 5, -1).float(), torch.ones(len(boxes), 5))


def test_the_mean_shape_of_the_others_stands_beside_the_error():
    source = Blobs(count=6)
    card = landmark_cards(Middle(), source, box_jitter=0.0)[0]
    samples = [source[i] for i in range(6)]
    errors = []
    for index, sample in enumerate(samples):
        others = MeanShape([each for i, each in enumerate(samples) if i != index], "5")
        placed = others.landmarks(sample.image, sample_box(sample)[None]).points[0]
        assert sample.landmarks is not None
        eyes = (sample.landmarks[0] - sample.landmarks[1]).norm()
        errors.append((placed - sample.landmarks).norm(dim=-1).mean() / eyes)
    assert card.baseline == pytest.approx(100 * float(torch.stack(errors).mean()), rel=1e-4)
    assert card.baseline < card.value
    first, second = card.text().splitlines()[:2]
    assert first.startswith("landmark error:") and "mean shape of the other faces" in second


def test_moved_boxes_move_the_mean_shape_too():
    source = Blobs(count=8)
    steady = landmark_cards(Middle(), source)[0]
    moved = landmark_cards(Middle(), source, box_jitter=0.2)[0]
    assert steady.baseline is not None and moved.baseline is not None
    assert moved.baseline > 1.5 * steady.baseline


def test_a_single_face_has_no_others():
    scores = score_landmarks(Middle(), Blobs(count=1))
    assert scores is not None and scores.mean_shape_error is None
    assert landmark_cards(Middle(), Blobs(count=1))[0].baseline is None


def test_unknown_points_take_no_part_in_the_mean_of_the_others():
    shapes = torch.tensor([[[0.0, 0.0]], [[2.0, 4.0]], [[torch.nan, torch.nan]]])
    torch.testing.assert_close(others_mean(shapes)[2, 0], torch.tensor([1.0, 2.0]))
    torch.testing.assert_close(others_mean(shapes)[0, 0], torch.tensor([2.0, 4.0]))


class Eyeless(Blobs):
    """The first face lacks an eye, by which errors are divided."""

    def __getitem__(self, index: int) -> FaceSample:
        sample = super().__getitem__(index)
        if index == 0:
            assert sample.landmarks is not None
            sample.landmarks[0] = torch.nan
        return sample


def test_a_face_that_cannot_be_normalised_is_counted():
    card = landmark_cards(Middle(), Eyeless(count=4))[0]
    assert card.count == 3 and card.details["left_out_faces"] == 1
    assert "1 faces left out" in card.protocol
    assert landmark_cards(Middle(), Eyeless(count=4), normalise_by="box")[0].count == 4


def test_the_box_of_a_face_is_squared_for_the_mean_shape():
    square = box_tools.square(torch.tensor([0.0, 0.0, 10.0, 20.0]))
    samples = [Blobs()[0]]
    placed = MeanShape(samples, "5").landmarks(samples[0].image, square[None]).points[0]
    assert samples[0].landmarks is not None
    own = box_tools.square(sample_box(samples[0]))
    share = (samples[0].landmarks - own[:2]) / (own[2:] - own[:2])
    torch.testing.assert_close(placed, (square[:2] + share * 20).float(), atol=1e-4, rtol=0)
