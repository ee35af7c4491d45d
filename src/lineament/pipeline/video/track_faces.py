"""Follows the faces of a video: detection now and then, landmarks in every frame, smoothed, each person numbered."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from lineament.data.video import Frame
from lineament.faces.boxes import iou, size
from lineament.faces.detection import Detection, Upright
from lineament.faces.one_euro import OneEuroFilter
from lineament.faces.tracking import MEMORY, SAME, BoxFollower, Track, Tracks
from lineament.inference import Face
from lineament.pipeline.video.options import FollowOptions

# A face is lost when its mean confidence falls below this share of what it was when it was last detected.
LOST = 0.5
# Seconds for which a face is followed by its landmarks although the detector does not find it.
PATIENCE = 0.5


class FaceFinder(Protocol):
    """What following needs of a :class:`lineament.inference.Model`."""

    def detect(
        self, image: Tensor, min_score: float | None = None, upright: Upright = "search"
    ) -> list[Detection]:
        """Faces of ``[3, H, W]``."""
        ...

    def face(self, image: Tensor, place: Detection) -> Face:
        """Landmarks of one of them."""
        ...

    def is_face(self, face: Face) -> bool:
        """Whether it is believed to be one."""
        ...


@dataclass(frozen=True)
class Followed:
    """One person in one frame.

    Attributes:
        person: Number, from 0, in the order of appearance.
        face: With smoothed landmarks; its score is that of the last detection.
        detected: Whether the detector found it in this frame.
    """

    person: int
    face: Face
    detected: bool


@dataclass
class _State:
    """What is remembered of one person."""

    track: Track
    smoother: OneEuroFilter
    follower: BoxFollower | None = None
    trust: float = 0.0  # mean confidence at the last detection
    score: float = 0.0
    confirmed: float = 0.0  # time of the last detection
    box: Tensor | None = None  # where the face should be in the next frame


def follow_faces(
    model: FaceFinder,
    frames: Iterable[Frame],
    options: FollowOptions | None = None,
    *,
    all_faces: bool = False,
    reject: Callable[[Face], None] = lambda _: None,
) -> Iterator[tuple[Frame, list[Followed]]]:
    """Find the landmarks of all faces in frame after frame; one frame is in memory at a time.

    Args:
        model: Finds faces and their landmarks.
        frames: In the order of time.
        options: How often to search and how much to smooth.
        all_faces: Keep what the model takes for no face; else that is nobody, and ends who was followed there.
        reject: Called for every detection that is taken for no face.

    Yields:
        Each frame with its people, in the order of their numbers.
    """
    options = options or FollowOptions()
    model = _Believing(model) if all_faces else model
    tracks = Tracks()
    states: dict[int, _State] = {}
    for frame in frames:
        followed = None if frame.index % options.detect_every == 0 else _by_landmarks(model, frame, states)
        if followed is None:
            followed = _by_detection(model, frame, states, tracks, options, reject)
        shown = {state.track.person for state, _, _ in followed}
        for person in list(states):
            if person not in shown:
                states[person].box = None
            if frame.time - states[person].track.seen > MEMORY:
                del states[person]
        people = [_smoothed(frame, *each) for each in followed]
        yield frame, sorted(people, key=lambda each: each.person)


@dataclass(frozen=True)
class _Believing:
    """A finder that takes all for faces."""

    finder: FaceFinder

    def detect(
        self, image: Tensor, min_score: float | None = None, upright: Upright = "search"
    ) -> list[Detection]:
        return self.finder.detect(image, min_score, upright)

    def face(self, image: Tensor, place: Detection) -> Face:
        return self.finder.face(image, place)

    def is_face(self, face: Face) -> bool:
        return True


_Found = tuple[_State, Face, bool]


def _by_landmarks(model: FaceFinder, frame: Frame, states: dict[int, _State]) -> list[_Found] | None:
    """Faces where their last landmarks say; None as soon as one is not there."""
    found: list[_Found] = []
    for state in states.values():
        if state.box is None:
            continue
        face = _at(model, frame, state)
        if face is None or any(_overlap(face.box, other.box) > 0.7 for _, other, _ in found):
            return None
        found.append((state, face, False))
    for state, face, _ in found:
        _remember(state, face, frame.time)
    return found


def _by_detection(
    model: FaceFinder,
    frame: Frame,
    states: dict[int, _State],
    tracks: Tracks,
    options: FollowOptions,
    reject: Callable[[Face], None],
) -> list[_Found]:
    """Faces where the detector says, and for a moment those that it missed."""
    looks = [(place, model.face(frame.image, place)) for place in model.detect(frame.image, upright="off")]
    for _, face in looks:
        if not model.is_face(face):
            reject(face)
    # What is taken for no face must not take over somebody's number.
    looks = [(place, face) for place, face in looks if model.is_face(face)]
    places = [place for place, _ in looks]
    found: list[_Found] = []
    people = tracks.assign([each.box for each in places], frame.time)
    for (_, face), track in zip(looks, people, strict=True):
        state = states.setdefault(track.person, _State(track, OneEuroFilter(options.smooth)))
        state.follower = BoxFollower.of(face.box, face.landmarks)
        state.trust, state.score = float(face.confidence.mean()), face.score
        state.confirmed = frame.time
        found.append((state, face, True))
    here = {state.track.person for state, _, _ in found}
    for person, state in states.items():
        if person in here or state.box is None or frame.time - state.confirmed > PATIENCE:
            continue
        if any(_overlap(state.box, place.box) > SAME for place in places):
            continue
        face_there = _at(model, frame, state)
        if face_there is not None:
            found.append((state, face_there, False))
    for state, face, _ in found:
        _remember(state, face, frame.time)
    return found


def _at(model: FaceFinder, frame: Frame, state: _State) -> Face | None:
    """The face where it should be; None where it left the frame or is not believed."""
    box = state.box
    assert box is not None
    height, width = frame.image.shape[-2:]
    frame_box = box.new_tensor([-0.5, -0.5, width - 0.5, height - 0.5])
    x, y = (0.5 * (box[:2] + box[2:])).tolist()
    inside = -0.5 <= x <= width - 0.5 and -0.5 <= y <= height - 0.5
    if not inside or float(size(box).min()) < 4 or bool((size(box) > 2 * size(frame_box)).any()):
        return None
    face = model.face(frame.image, Detection(box, state.score))
    if not model.is_face(face):
        return None
    return face if float(face.confidence.mean()) >= LOST * state.trust else None


def _remember(state: _State, face: Face, time: float) -> None:
    state.track.box, state.track.seen = face.box, time
    # The unsmoothed landmarks lead the box: smoothed ones would let a fast face slip out of it.
    state.box = None if state.follower is None else state.follower(face.landmarks).float()


def _smoothed(frame: Frame, state: _State, face: Face, detected: bool) -> Followed:
    side = float(size(face.box).mean())
    landmarks = state.smoother(face.landmarks, frame.time, side)
    calm = Face(landmarks, face.confidence, face.box, face.score, face.scheme)
    return Followed(state.track.person, calm, detected)


def _overlap(first: Tensor, second: Tensor) -> float:
    return float(iou(first[None].double(), second[None].double()))
