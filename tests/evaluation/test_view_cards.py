"""Who somebody is from two sides, and whether two views show one scene."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from tests.evaluation.multiplane_people import HeadGenerator

from lineament.evaluation.face_geometry import PersonMeasures
from lineament.evaluation.generated import Draws
from lineament.evaluation.people import FRONT, LEFT, RIGHT, DrawnPeople
from lineament.evaluation.view_cards import area_under_roc, consistency_card, identity_card, likeness
from lineament.evaluation.view_consistency import Consistency, carry, view_consistency


def persons(count: int, noise: float, seed: int = 0) -> list[PersonMeasures]:
    """People told apart by random vectors, both views of each with noise."""
    draws = np.random.default_rng(seed)
    own = draws.normal(size=(count, 1, 12))
    return [PersonMeasures(who=each) for each in own + noise * draws.normal(size=(count, 2, 12))]


def card_of(found: list[PersonMeasures], truth: list[PersonMeasures], required: bool = True):
    return identity_card(found, truth, by="vectors", seen="both sides", how="drawn", required=required)


def test_the_area_is_the_share_of_pairs_in_order():
    same, different = np.array([3.0, 1.0, 2.0]), np.array([0.0, 2.0, 2.5, 1.0])
    pairs = [(a > b) + 0.5 * (a == b) for a in same for b in different]
    assert area_under_roc(same, different) == pytest.approx(np.mean(pairs))
    assert area_under_roc(same, same - 10) == 1 and area_under_roc(same, same) == 0.5


def test_likeness_compares_each_person_with_itself_and_with_all_others():
    who = np.stack([each.who for each in persons(5, 0.1) if each.who is not None])
    same, different = likeness(3.0 * who)
    assert len(same) == 5 and len(different) == 20
    one, two = who[2, 0], who[2, 1]
    assert same[2] == pytest.approx(one @ two / np.linalg.norm(one) / np.linalg.norm(two))
    assert same.min() > 0.9 > different.max()


def test_identity_is_shown_where_it_tells_synthetic_people_apart_alone():
    good, bad = persons(30, 0.2, 1), persons(30, 5.0, 2)
    card, why = card_of(persons(20, 0.2), good)
    assert card is not None and not why and card.count == 20 and card.value > 0.9
    assert card.baseline is not None and card.baseline < 0.5 and card.details["true_heads_auc"] > 0.99
    assert "30 synthetic people apart with an AUC of" in card.protocol
    card, why = card_of(persons(20, 0.2), bad)
    assert card is None and "less than 0.9" in why and "--arcface" in why
    # A network that the user trusts is shown either way, with the same figure beside it.
    card, _ = card_of(persons(20, 0.2), bad, required=False)
    assert card is not None and card.details["true_heads_auc"] < 0.9
    assert card_of(persons(20, 0.2), [])[0] is None and card_of([PersonMeasures()] * 9, good)[0] is None


def test_people_whose_face_was_not_found_are_counted():
    card, _ = card_of([*persons(10, 0.2), *[PersonMeasures()] * 5], persons(30, 0.2, 1))
    assert card is not None and card.count == 10 and card.details["people"] == 15
    assert "found in both views of 10" in card.protocol


def test_pixels_are_carried_to_where_another_camera_sees_them():
    cameras = HeadGenerator().cameras
    places, z = carry(torch.full((9, 9), 1.0), cameras, (0.0, 0.0), (0.0, 0.0))
    rows, columns = torch.meshgrid(torch.arange(9.0), torch.arange(9.0), indexing="ij")
    torch.testing.assert_close(places.float(), torch.stack([columns, rows], -1), atol=1e-5, rtol=0)
    # The middle pixel lies on the point that all cameras look at, which stays; what is nearer than it moves aside.
    places, z = carry(torch.full((9, 9), 1.0), cameras, (0.0, 0.3), (0.0, 0.1))
    torch.testing.assert_close(places[4, 4], torch.tensor([4.0, 4.0]).double(), atol=1e-6, rtol=0)
    assert float(z[4, 4]) == pytest.approx(1.0, abs=1e-6)
    nearer, _ = carry(torch.full((9, 9), 0.97), cameras, (0.0, 0.3), (0.0, 0.0))
    # A camera to the right sees what is near to the left of where it was.
    assert float(nearer[4, 4, 0]) < 3.9


def test_views_of_one_scene_agree_and_those_of_two_do_not():
    people = [DrawnPeople(Draws(HeadGenerator()))(number) for number in range(2)]

    def compare(images: torch.Tensor, depth: torch.Tensor) -> Consistency:
        found = view_consistency(images, depth, people[0].cameras, (0.0, math.radians(20)), (0.0, 0.0), 0.17)
        assert found is not None
        return found

    one, other = people
    both = [FRONT, RIGHT]
    found = compare(one.images[both], one.depth[both])
    assert found.seen > 0.5 and found.colour < 0.6 * found.unmoved
    # The same image twice is no second view.
    twice = compare(one.images[[FRONT, FRONT]], one.depth[both])
    assert twice.colour > 1.5 * found.colour
    strange = compare(
        torch.stack([one.images[FRONT], other.images[RIGHT]]),
        torch.stack([one.depth[FRONT], other.depth[RIGHT]]),
    )
    assert strange.colour > 2 * found.colour
    away = torch.full((2, 8, 8), 5.0)
    assert (
        view_consistency(torch.rand(2, 3, 8, 8), away, people[0].cameras, (0.0, 1.5), (0.0, 0.0), 1) is None
    )
    assert one.cameras is not None and one.yaw[LEFT] < 0


def test_consistency_is_the_mean_over_views():
    found = [
        PersonMeasures(consistency=[Consistency(1.0, 4.0, 0.5), Consistency(3.0, 6.0, 0.7)]),
        PersonMeasures(),
    ]
    card = consistency_card(found, how="drawn", seen="20 degrees to either side")
    assert card is not None and (card.value, card.baseline, card.count) == (2.0, 5.0, 2)
    assert "60.0 % of the pixels" in card.protocol and card.details["seen"] == pytest.approx(0.6)
    assert consistency_card([PersonMeasures()], how="", seen="") is None
