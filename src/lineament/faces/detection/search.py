"""Runs any detector over pictures, and finds the faces that are not upright or that the border cuts."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from lineament.errors import DataError, UsageError, unknown_name
from lineament.faces import boxes
from lineament.faces.detection.base import (
    Detection,
    Detector,
    make_detector,
    scores_of,
)
from lineament.faces.detector_options import DEFAULT_DETECTOR, Upright
from lineament.geometry.affine2d import Affine2D

TURNS = (0, 90, 180, 270)
# A face is looked at again in the other turns when its score is lower than this, when its eyes and mouth lean further,
# or when they are further apart, in widths of the mouth: detectors find some faces that lie on their side or stand on
# their head, and put the points of an upright face on them, a little too long. Of 127 such faces all were caught, and
# one upright portrait in five is looked at again for nothing.
SURE_SCORE = 0.98
LEANING = math.radians(30.0)
LONG = 1.15
# Of two looks at a face, one that shows it nearer its side than upright loses, whatever the scores.
LYING = math.radians(45.0)
# A long face loses this many units of logit per unit of the logarithm of its length: it halves the wrong choices.
LENGTH_COST = 5.0
# What the look at the picture as it is has ahead of the others, in logit: few photographs are turned.
HEAD_START = 1.0
# Least score of a face that only a turned look shows: four looks see four times as many faces where there are none.
TURNED_SCORE = 0.9
# Boxes that share more than this of the smaller one show the same face.
SAME_FACE = 0.3
# What is mirrored beyond each border, as a share of the shorter side: half a face and its mirror image look like a
# face. A quarter found more halves of portraits than black, grey or repeated borders, and no face where there is none.
MARGIN = 0.25

_Look = Callable[[Sequence[Tensor], float | None], list[list[Detection]]]


def detect_faces(
    images: Tensor | Sequence[Tensor],
    detector: str | Detector = DEFAULT_DETECTOR,
    *,
    min_face: float | None = None,
    min_score: float | None = None,
    batch_size: int = 16,
    upright: Upright = "search",
) -> list[list[Detection]]:
    """Find the faces of one or many pictures.

    Pictures of one size are worked on together; sizes may be mixed and of any value. A picture too small to hold a
    face gives an empty list.

    With ``upright="search"`` the border is mirrored outwards, so that a face that it cuts in half is found, and a
    picture is looked at in the three other turns as well when no face was found in it, or when one was found whose
    score is below 0.98 or whose five points lean or are too long for an upright face. Of several looks at one face the
    best score wins (less something for long points, and with a head start for the picture as it is). A turned face
    needs a score of 0.9, and beside faces of another turn that outweigh it 0.98.

    Args:
        images: ``[3, H, W]``, ``[N, 3, H, W]``, or a sequence of ``[3, H, W]``; RGB float in 0..1.
        detector: Name (see :func:`detectors`) or a detector.
        min_face: Smallest face looked for, side of its box in pixels. None: 20, or a twentieth of the picture's shorter
            side where that is more, which bounds the work on large photographs.
        min_score: Faces with a lower score are left out (0..1). None: the detector's own least score, 0.6 for YuNet; a
            lower one looks further.
        batch_size: How many pictures of one size are worked on at once.
        upright: ``search``; or ``off`` for pictures whose faces are known to be upright, such as the frames of a video:
            one look, without margin.

    Returns:
        One list per picture, also for a single one; best score first. Box and points are in pixels of the picture as
        it was given, whatever its turn.

    Raises:
        DataError: On pictures of the wrong shape or type.
        UsageError: On an unknown detector, or a smallest face that is not a positive length.
    """
    if min_face is not None and not 0.0 < min_face < float("inf"):
        raise UsageError(f"the smallest face is a positive number of pixels, not {min_face}.")
    if upright not in ("search", "off"):
        raise unknown_name("upright", upright, ("search", "off"))
    run = make_detector(detector) if isinstance(detector, str) else detector
    pictures = _as_list(images)
    least = scores_of(run).least if min_score is None else min_score

    def look(several: Sequence[Tensor], smallest: float | None) -> list[list[Detection]]:
        return _look_at(several, run, smallest, least, batch_size)

    with torch.inference_mode():
        if upright == "off":
            return look(pictures, min_face)
        found = _turned_looks(pictures, look, min_face, 0)
        again = [index for index, faces in enumerate(found) if not faces or any(map(is_doubtful, faces))]
        looks = [
            _turned_looks([pictures[index] for index in again], look, min_face, turn) for turn in TURNS[1:]
        ]
        for place, index in enumerate(again):
            found[index] = choose_looks([*found[index], *(face for each in looks for face in each[place])])
    return found


def lean(points: Tensor) -> float:
    """Radians by which the line from eyes to mouth of five points ``[5, 2]`` leans from straight down, 0..pi."""
    down = points[3:5].mean(0) - points[:2].mean(0)
    return math.atan2(abs(float(down[0])), float(down[1]))


def length(points: Tensor) -> float:
    """Distance from the eyes to the mouth of five points ``[5, 2]`` in widths of the mouth; about 1 where upright."""
    down = points[3:5].mean(0) - points[:2].mean(0)
    return float(down.norm() / (points[4] - points[3]).norm().clamp_min(1e-6))


def is_doubtful(face: Detection) -> bool:
    """Whether the score or the five points say that a face may not be upright."""
    if face.score < SURE_SCORE:
        return True
    return face.points is not None and (lean(face.points) > LEANING or length(face.points) > LONG)


def choose_looks(looks: Sequence[Detection]) -> list[Detection]:
    """Keep one look at every face of a picture, and of faces that no other look shows those that can be trusted.

    Args:
        looks: Faces of all turns, in pixels of the picture as it is.

    Returns:
        The faces, best score first.
    """
    kept: list[Detection] = []
    for face in sorted(looks, key=_rank, reverse=True):
        if all(_overlap(face, other) <= SAME_FACE for other in kept):
            kept.append(face)
    kept = [face for face in kept if face.turn == 0 or face.score >= TURNED_SCORE]
    weights = {turn: sum(face.score for face in kept if face.turn == turn) for turn in TURNS}
    main = max(TURNS, key=lambda turn: weights[turn])
    trusted = [face for face in kept if face.turn == main or (face.score >= SURE_SCORE and not _lies(face))]
    return sorted(trusted, key=lambda face: -face.score)


def _rank(face: Detection) -> tuple[bool, float]:
    score = min(max(face.score, 1e-6), 1.0 - 1e-6)
    merit = math.log(score / (1.0 - score)) + (HEAD_START if face.turn == 0 else 0.0)
    if face.points is not None:
        merit -= LENGTH_COST * max(0.0, math.log(max(length(face.points), 1e-6)))
    return not _lies(face), merit


def turned_upright(image: Tensor, face: Detection) -> tuple[Tensor, Detection, Affine2D]:
    """Turn a picture ``[3, H, W]`` so that a face in it is upright.

    Returns:
        The turned picture, the face in its pixels, and the transform from the picture as it was to it.
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


def _turned_looks(
    pictures: Sequence[Tensor], look: _Look, min_face: float | None, turn: int
) -> list[list[Detection]]:
    """Look at turned pictures with mirrored margins; answers are in pixels of the pictures as they are."""
    by_face: dict[float, list[int]] = {}
    for index, picture in enumerate(pictures):
        # The detector's own choice would grow with the margin.
        smallest = min_face if min_face is not None else max(20.0, min(picture.shape[1:]) / 20.0)
        by_face.setdefault(smallest, []).append(index)
    found: list[list[Detection]] = [[] for _ in pictures]
    for smallest, indices in by_face.items():
        views = [_with_margin(torch.rot90(pictures[index], turn // 90, (1, 2))) for index in indices]
        for index, (_, margin), faces in zip(
            indices, views, look([view for view, _ in views], smallest), strict=True
        ):
            width, height = pictures[index].shape[2], pictures[index].shape[1]
            shift = Affine2D.from_similarity(translation=(-float(margin), -float(margin)))
            back = shift.then(Affine2D.quarter_turn(turn, (width, height)).inverse())
            seen = [face.seen_through(back, turn) for face in faces]
            limit = seen[0].box.new_tensor([width, height]) - 0.5 if seen else torch.zeros(2)
            for face in seen:
                middle = boxes.centre(face.box)
                # A face whose middle lies outside is a mirror image.
                if bool(((middle >= -0.5) & (middle <= limit)).all()):
                    found[index].append(face)
    return found


def _with_margin(picture: Tensor) -> tuple[Tensor, int]:
    margin = int(MARGIN * min(picture.shape[1:]))
    return F.pad(picture[None], (margin,) * 4, mode="reflect")[0], margin


def _look_at(
    pictures: Sequence[Tensor], run: Detector, min_face: float | None, min_score: float, batch_size: int
) -> list[list[Detection]]:
    """Run the detector once over pictures of any sizes."""
    by_size: dict[tuple[int, ...], list[int]] = {}
    for index, picture in enumerate(pictures):
        by_size.setdefault((*picture.shape, hash(picture.device)), []).append(index)
    found: list[list[Detection]] = [[] for _ in pictures]
    for indices in by_size.values():
        for start in range(0, len(indices), batch_size):
            chunk = indices[start : start + batch_size]
            batch = torch.stack([pictures[index].to(torch.float32) for index in chunk])  # [N, 3, H, W]
            for index, faces in zip(chunk, run(batch, min_face=min_face, min_score=min_score), strict=True):
                found[index] = faces
    return found


def _as_list(images: Tensor | Sequence[Tensor]) -> list[Tensor]:
    if isinstance(images, Tensor) and images.ndim == 3:
        images = [images]
    pictures = list(images)
    for picture in pictures:
        if (
            picture.ndim != 3
            or picture.shape[0] != 3
            or not picture.is_floating_point()
            or 0 in picture.shape
        ):
            raise DataError(
                f"pictures are RGB float [3, H, W] in 0..1, not {picture.dtype} of shape {tuple(picture.shape)}."
            )
    return pictures
