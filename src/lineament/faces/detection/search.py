"""Runs any detector over images, and finds the faces that are not upright or that the border cuts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from lineament.errors import DataError, UsageError, unknown_name
from lineament.faces import boxes
from lineament.faces.detection.base import (
    Detection,
    Detector,
    ScaledDetector,
    Traits,
    make_detector,
    traits_of,
)
from lineament.faces.detector_options import DEFAULT_DETECTOR, Upright
from lineament.geometry.affine2d import Affine2D

TURNS = (0, 90, 180, 270)
# A face whose eyes and mouth lean further is looked at again in the other turns.
LEANING = math.radians(30.0)
# Of two looks at a face, one that shows it nearer its side than upright loses, whatever the scores.
LYING = math.radians(45.0)
# Boxes that share more than this of the smaller one show the same face.
SAME_FACE = 0.3


def detect_faces(
    images: Tensor | Sequence[Tensor],
    detector: str | Detector = DEFAULT_DETECTOR,
    *,
    min_face: float | None = None,
    min_score: float | None = None,
    batch_size: int = 16,
    upright: Upright = "search",
) -> list[list[Detection]]:
    """Find the faces of one or many images.

    Images of one size are worked on together; sizes may be mixed and of any value. A image too small to hold a
    face gives an empty list. YuNet looks at a small copy first, and at larger ones where that shows nothing or faces so
    small that others may be smaller still.

    With ``upright="search"`` the border is mirrored outwards, so that a face that it cuts in half is found, and a
    image is looked at in the three other turns as well when no face was found in it, or when one was found that may
    not be upright (:func:`is_doubtful`). Of several looks at one face the best score wins. What a score must be depends
    on the detector (:class:`Traits`).

    Args:
        images: ``[3, H, W]``, ``[N, 3, H, W]``, or a sequence of ``[3, H, W]``; RGB float in 0..1.
        detector: Name (see :func:`detectors`) or a detector.
        min_face: Smallest face looked for, longer side of its box in pixels. None: what bounds the work on large
            photos, for MTCNN 20 or a twentieth of the image's shorter side where that is more.
        min_score: Faces with a lower score are left out (0..1). None: the detector's own least score, 0.6 for YuNet; a
            lower one looks further.
        batch_size: How many images of one size are worked on at once.
        upright: ``search``; or ``off`` for images whose faces are known to be upright, such as the frames of a video:
            one look, without margin.

    Returns:
        One list per image, also for a single one; best score first. Box and points are in pixels of the image as
        it was given, whatever its turn.

    Raises:
        DataError: On images of the wrong shape or type.
        UsageError: On an unknown detector, or a smallest face that is not a positive length.
    """
    if min_face is not None and not 0.0 < min_face < float("inf"):
        raise UsageError(f"the smallest face is a positive number of pixels, not {min_face}.")
    if upright not in ("search", "off"):
        raise unknown_name("upright", upright, ("search", "off"))
    run = make_detector(detector) if isinstance(detector, str) else detector
    traits = traits_of(run)
    least = traits.least_score if min_score is None else min_score
    with torch.inference_mode():
        return _Search(run, traits, min_face, least, batch_size, upright)(_as_list(images))


def lean(points: Tensor) -> float:
    """Radians by which the line from eyes to mouth of five points ``[5, 2]`` leans from straight down, 0..pi."""
    down = points[3:5].mean(0) - points[:2].mean(0)
    return math.atan2(abs(float(down[0])), float(down[1]))


def length(points: Tensor) -> float:
    """Distance from the eyes to the mouth of five points ``[5, 2]`` in widths of the mouth; about 1 where upright."""
    down = points[3:5].mean(0) - points[:2].mean(0)
    return float(down.norm() / (points[4] - points[3]).norm().clamp_min(1e-6))


def is_doubtful(face: Detection, traits: Traits) -> bool:
    """Whether the score or the five points say that a face may not be upright."""
    if face.score < traits.sure_score:
        return True
    return face.points is not None and (lean(face.points) > LEANING or length(face.points) > traits.longest)


def choose_looks(looks: Sequence[Detection], traits: Traits) -> list[Detection]:
    """Keep one look at every face of a image, and of faces that no other look shows those that can be trusted.

    A turned face needs ``turned_score``, and beside faces of another turn that outweigh it ``sure_score``.

    Args:
        looks: Faces of all turns, in pixels of the image as it is.
        traits: Of the detector.

    Returns:
        The faces, best score first.
    """
    kept: list[Detection] = []
    for face in sorted(looks, key=lambda face: _rank(face, traits), reverse=True):
        if all(_overlap(face, other) <= SAME_FACE for other in kept):
            kept.append(face)
    kept = [face for face in kept if face.turn == 0 or face.score >= traits.turned_score]
    main = _main_turn(kept)
    trusted = [
        face for face in kept if face.turn == main or (face.score >= traits.sure_score and not _lies(face))
    ]
    return sorted(trusted, key=lambda face: -face.score)


def _main_turn(faces: Sequence[Detection]) -> int:
    weights = {turn: sum(face.score for face in faces if face.turn == turn) for turn in TURNS}
    return max(TURNS, key=lambda turn: weights[turn])


def _rank(face: Detection, traits: Traits) -> tuple[bool, float]:
    score = min(max(face.score, 1e-6), 1.0 - 1e-6)
    merit = math.log(score / (1.0 - score)) + (traits.head_start if face.turn == 0 else 0.0)
    if face.points is not None:
        merit -= traits.length_cost * max(0.0, math.log(max(length(face.points), 1e-6)))
    return not _lies(face), merit


def turned_upright(image: Tensor, face: Detection) -> tuple[Tensor, Detection, Affine2D]:
    """Turn a image ``[3, H, W]`` so that a face in it is upright.

    Returns:
        The turned image, the face in its pixels, and the transform from the image as it was to it.
    """
    turn = Affine2D.quarter_turn(face.turn, (image.shape[2], image.shape[1]))
    if face.turn == 0:
        return image, face, turn
    return torch.rot90(image, face.turn // 90, (1, 2)).contiguous(), face.seen_through(turn), turn


def _lies(face: Detection) -> bool:
    if face.points is None:
        return False
    return lean(Affine2D.quarter_turn(face.turn, (1, 1)).apply(face.points)) > LYING


def _overlap(a: Detection, b: Detection) -> float:
    """Shared area as a share of the smaller box."""
    corner = torch.maximum(a.box[:2], b.box[:2])
    shared = (torch.minimum(a.box[2:], b.box[2:]) - corner).clamp_min(0).prod()
    return float(shared / torch.minimum(boxes.size(a.box).prod(), boxes.size(b.box).prod()))


@dataclass(frozen=True)
class _Search:
    """One way of looking at images."""

    run: Detector
    traits: Traits
    min_face: float | None
    min_score: float
    batch_size: int
    upright: Upright

    def __call__(self, images: Sequence[Tensor]) -> list[list[Detection]]:
        """Faces of each image, in its own pixels; looks grow until they show enough."""
        found: list[list[Detection]] = [[] for _ in images]
        scales = [self._scales(image) for image in images]
        for step in range(max(map(len, scales), default=0)):
            open_ones = [
                index
                for index, own in enumerate(scales)
                if step < len(own) and (step == 0 or not self._is_enough(found[index], own[step - 1]))
            ]
            views = [_View.of(images[index], scales[index][step], self.min_face) for index in open_ones]
            before = [found[index] for index in open_ones]
            for index, view, faces in zip(open_ones, views, self._looks(views, before), strict=True):
                seen = [face.seen_through(view.back, face.turn) for face in faces]
                found[index] = choose_looks([*found[index], *seen], self.traits) if found[index] else seen
        return found

    def _scales(self, image: Tensor) -> list[float]:
        if isinstance(self.run, ScaledDetector):
            return self.run.scales(image.shape[1], image.shape[2], self.min_face)
        return [1.0]

    def _is_enough(self, faces: Sequence[Detection], scale: float) -> bool:
        if self.min_score < self.traits.least_score:
            return False  # whoever asks for doubtful faces wants all there are
        return not isinstance(self.run, ScaledDetector) or self.run.is_enough(faces, scale, self.min_face)

    def _looks(self, views: Sequence[_View], before: Sequence[list[Detection]]) -> list[list[Detection]]:
        """Faces of each view, in its pixels: in the turn of those found ``before``, else in all turns if need be."""
        if self.upright == "off":
            return self._look_at(views)
        found: list[list[Detection]] = [[] for _ in views]
        first = [_main_turn(faces) for faces in before]
        for turn in sorted(set(first)):
            own = [index for index, other in enumerate(first) if other == turn]
            for index, faces in zip(own, self._look_turned([views[i] for i in own], turn), strict=True):
                found[index] = faces
        again = [
            index
            for index, faces in enumerate(found)
            if not before[index] and (not faces or any(is_doubtful(face, self.traits) for face in faces))
        ]
        looks = [self._look_turned([views[index] for index in again], turn) for turn in TURNS[1:]]
        for place, index in enumerate(again):
            others = (face for each in looks for face in each[place])
            found[index] = choose_looks([*found[index], *others], self.traits)
        return found

    def _look_turned(self, views: Sequence[_View], turn: int) -> list[list[Detection]]:
        """Look at turned views with mirrored margins; answers are in pixels of the views as they are."""
        shown, margins = [], []
        for view in views:
            margin = int(self.traits.margin * min(view.image.shape[1:]))
            turned = torch.rot90(view.image, turn // 90, (1, 2))
            # The detector's own choice would grow with the margin.
            smallest = view.min_face
            if smallest is None and not isinstance(self.run, ScaledDetector):
                smallest = max(20.0, min(view.image.shape[1:]) / 20.0)
            shown.append(_View(F.pad(turned[None], (margin,) * 4, mode="reflect")[0], smallest, view.back))
            margins.append(margin)
        found: list[list[Detection]] = []
        for view, margin, faces in zip(views, margins, self._look_at(shown), strict=True):
            width, height = view.image.shape[2], view.image.shape[1]
            shift = Affine2D.from_similarity(translation=(-float(margin), -float(margin)))
            back = shift.then(Affine2D.quarter_turn(turn, (width, height)).inverse())
            seen = [face.seen_through(back, turn) for face in faces]
            limit = seen[0].box.new_tensor([width, height]) - 0.5 if seen else torch.zeros(2)
            middles = [boxes.centre(face.box) for face in seen]
            # A face whose middle lies outside is a mirror image.
            inside = [bool(((middle >= -0.5) & (middle <= limit)).all()) for middle in middles]
            found.append([face for face, here in zip(seen, inside, strict=True) if here])
        return found

    def _look_at(self, views: Sequence[_View]) -> list[list[Detection]]:
        """Run the detector once over views of any sizes."""
        alike: dict[tuple[object, ...], list[int]] = {}
        for index, view in enumerate(views):
            key = (*view.image.shape, view.image.device, view.min_face)
            alike.setdefault(key, []).append(index)
        found: list[list[Detection]] = [[] for _ in views]
        for indices in alike.values():
            for start in range(0, len(indices), self.batch_size):
                chunk = indices[start : start + self.batch_size]
                batch = torch.stack([views[index].image.to(torch.float32) for index in chunk])  # [N, 3, H, W]
                answers = self.run(batch, min_face=views[chunk[0]].min_face, min_score=self.min_score)
                for index, faces in zip(chunk, answers, strict=True):
                    found[index] = faces
        return found


@dataclass(frozen=True)
class _View:
    """A image at the size at which it is looked at.

    Attributes:
        image: ``[3, h, w]``.
        min_face: Smallest face looked for, in its pixels.
        back: From it to the image as it was given.
    """

    image: Tensor
    min_face: float | None
    back: Affine2D

    @staticmethod
    def of(image: Tensor, scale: float, min_face: float | None) -> _View:
        """Shrink ``image``."""
        height, width = image.shape[1:]
        shape = (max(1, round(height * scale)), max(1, round(width * scale)))
        if shape == (height, width):
            return _View(image, min_face, Affine2D.identity())
        small = F.interpolate(
            image.float()[None], size=shape, mode="bilinear", align_corners=False, antialias=True
        )
        back = Affine2D.resize((shape[1], shape[0]), (width, height))
        return _View(small[0], None if min_face is None else min_face * scale, back)


def _as_list(images: Tensor | Sequence[Tensor]) -> list[Tensor]:
    if isinstance(images, Tensor) and images.ndim == 3:
        images = [images]
    several = list(images)
    for image in several:
        if image.ndim != 3 or image.shape[0] != 3 or not image.is_floating_point() or 0 in image.shape:
            raise DataError(
                f"images are RGB float [3, H, W] in 0..1, not {image.dtype} of shape {tuple(image.shape)}."
            )
    return several
