"""Who is who from frame to frame: faces keep their number as long as their boxes overlap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lineament.faces.boxes import centre, from_centre, iou, size

# Least overlap (intersection over union) of one person's boxes in two frames.
SAME = 0.25
# Seconds after which a face that was not seen is somebody new.
MEMORY = 1.0


@dataclass
class Track:
    """One person.

    Attributes:
        person: Number, from 0, in the order of appearance.
        box: ``[4]`` where the face was last.
        seen: Time in seconds of that.
    """

    person: int
    box: Tensor
    seen: float


class Tracks:
    """The people of a video so far."""

    def __init__(self) -> None:
        self.known: list[Track] = []
        self.count = 0

    def assign(self, boxes: Sequence[Tensor], time: float) -> list[Track]:
        """Give each box of a frame to a person, known or new, so that the overlaps sum to the most.

        Args:
            boxes: ``[4]`` each.
            time: Of the frame in seconds.

        Returns:
            One track per box, with that box.
        """
        self.known = [track for track in self.known if time - track.seen <= MEMORY]
        found: dict[int, Track] = {}
        if boxes and self.known:
            from scipy.optimize import linear_sum_assignment  # slow to import, and images never need it

            overlaps = iou(torch.stack([track.box for track in self.known]), torch.stack(list(boxes)))
            rows, columns = linear_sum_assignment(-overlaps.numpy())
            for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
                if overlaps[row, column] >= SAME:
                    found[column] = self.known[row]
        for index, box in enumerate(boxes):
            if index not in found:
                found[index] = Track(self.count, box, time)
                self.count += 1
                self.known.append(found[index])
            found[index].box, found[index].seen = box, time
        return [found[index] for index in range(len(boxes))]


@dataclass(frozen=True)
class BoxFollower:
    """Where a detector would put the box of a face, told from its landmarks by shift and size alone.

    Attributes:
        shift: ``[2]`` from the mean of the landmarks to the centre of the box, in units of their spread about the mean.
        extent: ``[2]`` width and height of the box in that unit.
    """

    shift: Tensor
    extent: Tensor

    @staticmethod
    def of(box: Tensor, landmarks: Tensor) -> BoxFollower | None:
        """Remember how a detected ``box`` ``[4]`` lies about ``landmarks`` ``[K, 2]``; None where these coincide."""
        middle, spread = _mean_and_spread(landmarks)
        if spread <= 0:
            return None
        return BoxFollower((centre(box) - middle) / spread, size(box) / spread)

    def __call__(self, landmarks: Tensor) -> Tensor:
        """The box ``[4]`` about the landmarks ``[K, 2]`` of another frame; without area where they coincide."""
        middle, spread = _mean_and_spread(landmarks)
        return from_centre(middle + self.shift * spread, self.extent * spread)


def _mean_and_spread(landmarks: Tensor) -> tuple[Tensor, float]:
    middle = landmarks.mean(0)
    return middle, float((landmarks - middle).norm())
