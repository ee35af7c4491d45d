"""Matching pairs: who is paired with whom, what is counted, and what the cards say."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from tests.dve.faces import Blobs
from torch import Tensor

from lineament.data.sample import FaceSample
from lineament.errors import DataError
from lineament.evaluation.matching import couples, matching_cards, matching_errors, prepare_faces
from lineament.faces.frame import Frame, PreparedFace

FRAME = Frame(40, 4, 1.2)


@dataclass
class People:
    """Faces of known people (None: unknown), read one at a time."""

    identities: list[str | None]

    def __post_init__(self) -> None:
        self.alive: set[int] = set()
        self.read = 0

    def __len__(self) -> int:
        return len(self.identities)

    def __getitem__(self, index: int) -> PreparedFace:
        self.read += 1
        return PreparedFace(str(index), torch.zeros(3, 4, 4), torch.zeros(0, 2), self.identities[index])


def numbers(people: People) -> list[tuple[int, int]]:
    return [(int(a.id), int(b.id)) for a, b in couples(people)]  # type: ignore[arg-type]


def test_strangers_are_paired_as_published():
    assert numbers(People([None] * 5)) == [(0, 1), (2, 3)]
    assert numbers(People(["a", "b", "c", "d"])) == [(0, 1), (2, 3)]


def test_faces_of_one_person_wait_for_another():
    people = People(["a", "a", "a", "b", "b", "b", "b"])
    assert numbers(people) == [(0, 3), (1, 4), (2, 5)]
    assert numbers(People(["a"] * 6)) == []
    # An unknown face may be anybody.
    assert numbers(People(["a", "a", None, "b"])) == [(0, 2), (1, 3)]


@given(st.lists(st.sampled_from(["a", "b", "c", None]), max_size=25))
def test_no_pair_shows_one_person_and_no_face_is_in_two(identities: list[str | None]):
    people = People(identities)
    pairs = numbers(people)
    used = list(itertools.chain(*pairs))
    assert len(used) == len(set(used))
    for one, other in pairs:
        assert identities[one] is None or identities[one] != identities[other]
    # Faces that are left, but for an odd one, are all of one person.
    left = {identities[i] for i in set(range(len(identities))) - set(used)}
    assert len(left) <= 1
    assert people.read <= 2 * len(identities)


class Sorted(Blobs):
    """Four people with two pictures each, one after the other; the first and the third picture lack a point."""

    def __getitem__(self, index: int) -> FaceSample:
        sample = super().__getitem__(index)
        assert sample.landmarks is not None
        if index in (0, 2):
            sample.landmarks[index + 1] = torch.nan
        return replace(sample, identity=f"person{index // 2}")


def colours(pictures: Tensor) -> Tensor:
    return F.avg_pool2d(pictures, 2) - 0.5


def test_sorted_people_are_never_paired_with_themselves():
    source = Sorted(count=8)
    faces = prepare_faces(source, FRAME, range(8))
    result = matching_errors(colours, faces, FRAME)
    assert len(result.errors) == 4 and result.identified == 4 and result.unpaired == 0
    people = [(a.identity, b.identity) for a, b in couples(faces)]
    assert all(one != other for one, other in people)


def test_cards_carry_a_std_and_count_what_has_no_label():
    source = Sorted(count=8)
    faces = prepare_faces(source, FRAME, range(8))
    result = matching_errors(colours, faces, FRAME)
    # The first pair is of pictures 0 and 2: one query is missing in both targets, one place in the other face alone.
    assert result.errors.isnan().nonzero().tolist() == [[0, 0, 1], [0, 1, 1], [0, 1, 3]]
    for column, card in enumerate(matching_cards(colours, faces, FRAME, source)):
        errors = result.errors[:, column]
        assert card.value == pytest.approx(float(errors.nanmean()))
        assert card.std == pytest.approx(float(errors.nanmean(1).std(correction=0)))
        assert card.std_over == "samples" and card.count == 4
        assert card.details["missing_points"] == 1 + column
        assert f"{1 + column} of them have no label" in card.protocol
        assert "4 of 4 pairs are known to show two people" in card.protocol


def test_one_person_cannot_be_matched():
    faces = [replace(face, identity="a") for face in prepare_faces(Blobs(count=4), FRAME, range(4))]
    with pytest.raises(DataError, match="4 faces show one person"):
        matching_errors(colours, faces, FRAME)
