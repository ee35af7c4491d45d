"""People keep their numbers; boxes follow from landmarks."""

from __future__ import annotations

import torch

from lineament.faces.tracking import MEMORY, SAME, BoxFollower, Tracks


def box(x: float, y: float = 0.0, side: float = 40.0) -> torch.Tensor:
    return torch.tensor([x, y, x + side, y + side])


def people(tracks: Tracks, boxes: list[torch.Tensor], time: float) -> list[int]:
    return [track.person for track in tracks.assign(boxes, time)]


def test_numbers_stay_when_the_order_changes():
    tracks = Tracks()
    assert people(tracks, [box(0), box(100)], 0.0) == [0, 1]
    assert people(tracks, [box(95), box(8)], 0.04) == [1, 0]
    assert people(tracks, [box(15), box(90), box(200)], 0.08) == [0, 1, 2]


def test_the_sum_of_overlaps_decides():
    """The first box overlaps both; taken greedily it would leave the other without a partner."""
    tracks = Tracks()
    tracks.assign([box(0), box(20)], 0.0)
    assert people(tracks, [box(9), box(-11)], 0.04) == [1, 0]


def test_who_is_gone_for_long_comes_back_as_somebody_new():
    tracks = Tracks()
    assert people(tracks, [box(0)], 0.0) == [0]
    assert people(tracks, [], 0.5 * MEMORY) == []
    assert people(tracks, [box(2)], 0.9 * MEMORY) == [0]
    assert people(tracks, [box(2)], 2.0 * MEMORY) == [1]
    assert len(tracks.known) == 1


def test_boxes_follow_shift_and_size():
    landmarks = 30 * torch.rand(68, 2, generator=torch.Generator().manual_seed(0)) + 100
    detected = torch.tensor([95.0, 90.0, 140.0, 150.0])
    follower = BoxFollower.of(detected, landmarks)
    assert follower is not None
    torch.testing.assert_close(follower(landmarks), detected, rtol=1e-4, atol=1e-3)
    moved = follower(1.5 * landmarks + torch.tensor([7.0, -3.0]))
    expected = 1.5 * detected + torch.tensor([7.0, -3.0, 7.0, -3.0])
    torch.testing.assert_close(moved, expected, rtol=1e-4, atol=1e-3)
    assert BoxFollower.of(detected, torch.ones(5, 2)) is None


def test_memory_and_overlap_count_at_their_very_limits():
    tracks = Tracks()
    assert people(tracks, [box(0)], 0.0) == [0]
    # Exactly as long ago as faces are remembered.
    assert people(tracks, [box(0)], MEMORY) == [0]
    assert people(tracks, [box(0)], 2 * MEMORY + 1e-6) == [1]
    # 40 px boxes that share 16 x 40 of 64 x 40: a quarter, the least that counts; then less.
    assert SAME == 0.25
    assert people(tracks, [box(24)], 2 * MEMORY + 0.1) == [1]
    assert people(tracks, [box(49)], 2 * MEMORY + 0.2) == [2]


def test_people_far_apart_never_swap_although_the_assignment_must_pair_them():
    tracks = Tracks()
    assert people(tracks, [box(0)], 0.0) == [0]
    assert people(tracks, [box(500)], 0.04) == [1]
    assert people(tracks, [box(2), box(502)], 0.08) == [0, 1]
