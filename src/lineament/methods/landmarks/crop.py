"""What the network sees of a face: a square around a detector's box, and how that square varies in training."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lineament.data.face_box import sample_box
from lineament.data.sample import LANDMARKS68, FaceSample
from lineament.eight_bit import to_float, to_uint8
from lineament.errors import DataError, UsageError
from lineament.faces import boxes
from lineament.faces.detection import detect_faces, main_face
from lineament.faces.resample import crop_image
from lineament.faces.schemes import LandmarkScheme, convert_points, scheme_word
from lineament.geometry.affine2d import Affine2D
from lineament.methods.landmarks.draws import Draws

# Side of the square in longer sides of the box.
AROUND = 1.35
# Side of the square of a second look in sides of the one around the box that the points tell, chosen on drawn faces;
# least overlap of that box with the first one.
CLOSER, LEAST_SHARED = 0.85, 0.2
# Images for training keep this many longer sides of the box, more than a moved square reaches, and that side has at
# most so many pixels for each pixel that the network sees of it: a larger image costs memory and shows nothing more.
KEPT, FINEST = 2.6, 1.4


@dataclass(frozen=True)
class Spread:
    """How a training square varies: standard deviations.

    Attributes:
        scale: Of the natural logarithm of the side.
        shift: Of the place, in longer sides of the box, on each axis.
        turn: Of the angle in the plane, degrees.
    """

    scale: float = 0.09
    shift: float = 0.06
    turn: float = 14.0


# What the moving average looks at.
MILD = Spread(0.03, 0.02, 4.0)


def square_of_box(box: Tensor, size: int) -> Affine2D:
    """The transform from a photo to the square of ``size`` pixels around a box ``[4]``."""
    window = boxes.expand(boxes.square(boxes.check_box(box)), AROUND)
    return Affine2D.window(window, (size, size))


def closer_square(points: Tensor, scheme: LandmarkScheme, box: Tensor, size: int) -> Affine2D:
    """The transform from a photo to the square of a second look: closer, around the points of the first, upright.

    The square is ``CLOSER`` times that around the detector's box as the points tell it, turned until the line from the
    eyes to the mouth points down. Where they tell no box, or one that has little to do with ``box`` (what was found
    there is hardly a face), it is the square of ``box`` made closer.

    Args:
        points: ``[K, 2]`` of the first look.
        scheme: What they mean.
        box: ``[4]`` that it looked at.
        size: Side of the square in pixels.
    """
    told = told_box(points.double(), scheme)
    if told is None or float(boxes.iou(told[None], box.double()[None])) < LEAST_SHARED:
        return square_of_box(boxes.expand(box.double(), CLOSER), size)
    x, y = boxes.centre(told).tolist()
    scale = size / (AROUND * CLOSER * float(boxes.size(told).max()))
    angle = 0.0
    five = _converted(points.double(), scheme, "5")
    if five is not None:
        across, down = (five[3:].mean(0) - five[:2].mean(0)).tolist()
        angle = math.atan2(across, down)
    turned = Affine2D.from_similarity(scale, angle)
    left, top = turned.apply(torch.tensor([x, y], dtype=torch.float64)).tolist()
    middle = 0.5 * (size - 1)
    return Affine2D.from_similarity(scale, angle, (middle - left, middle - top))


def moved_square(box: Tensor, size: int, spread: Spread, draws: Draws, mirrored: bool) -> Tensor:
    """A training square around a box.

    Args:
        box: ``[4]``.
        size: Side of the square in pixels.
        spread: How far it varies.
        draws: Four normal numbers are taken.
        mirrored: Whether left and right of the square change places.

    Returns:
        ``[2, 3]`` float64 from pixels of the photo to pixels of the square.
    """
    x0, y0, x1, y1 = (float(edge) for edge in box)
    side = max(x1 - x0, y1 - y0)
    scale = size / (AROUND * side * math.exp(spread.scale * draws.normal()))
    x = 0.5 * (x0 + x1) + spread.shift * side * draws.normal()
    y = 0.5 * (y0 + y1) + spread.shift * side * draws.normal()
    angle = math.radians(spread.turn * draws.normal())
    c, s, middle = scale * math.cos(angle), scale * math.sin(angle), 0.5 * (size - 1)
    sign = -1.0 if mirrored else 1.0
    rows = [[sign * c, -sign * s, middle - sign * (c * x - s * y)], [s, c, middle - (s * x + c * y)]]
    return torch.tensor(rows, dtype=torch.float64)


def moved(points: Tensor, matrix: Tensor) -> Tensor:
    """Points ``[..., K, 2]`` through plane transforms ``[..., 2, 3]``."""
    return points @ matrix[..., :2].transpose(-1, -2) + matrix[..., None, :, 2]


def inverted(matrix: Tensor) -> Tensor:
    """The inverse ``[2, 3]`` of a plane transform."""
    (a, b, x), (c, d, y) = matrix.tolist()
    over = 1.0 / (a * d - b * c)
    rows = [[d * over, -b * over, (b * y - d * x) * over], [-c * over, a * over, (c * x - a * y) * over]]
    return torch.tensor(rows, dtype=matrix.dtype)


def cut(image: Tensor, matrix: Tensor, size: int) -> Tensor:
    """Read a square of an image bilinearly; its border is repeated outside.

    Args:
        image: ``[3, H, W]``, not much finer than the square.
        matrix: ``[2, 3]`` pixels of the image to pixels of the square.
        size: Side of the square.

    Returns:
        ``[3, size, size]``.
    """
    # Training alone compiles; the first photo of a process does not wait for the compiler.
    from lineament.methods.landmarks.resample import read_square

    return read_square(image, inverted(matrix), size)


def training_box(sample: FaceSample) -> Tensor:
    """The box that a detector would give for a sample's face, as the landmarks tell; else one that is given.

    Landmarks of scheme 68 (of the sample, or beside its own in ``meta``), or of one that turns into it or into five
    points, tell it. Of others (a scheme of one's own)
    the detector is asked, then the box of the sample, then the box around the landmarks, grown by a tenth.

    Raises:
        DataError: If nothing tells where the face is.
    """
    if sample.landmarks is not None and sample.scheme is not None:
        beside = sample.meta.get(LANDMARKS68)
        told = (
            told_box(sample.landmarks.double(), sample.scheme)
            if beside is None
            else told_box(beside.double(), "68")
        )
        if told is not None:
            return told
    found = found_box(sample.image, sample)
    if found is not None:
        return found
    if sample.box is not None:
        return sample_box(sample)
    if sample.landmarks is not None:
        return boxes.box_from_landmarks(sample.landmarks.double(), 0.1)
    raise DataError(f"no face is found in {sample.id}, and it has no box: leave it out.")


def found_box(image: Tensor, sample: FaceSample) -> Tensor | None:
    """The detector's box ``[4]`` of the face that a sample shows, None where it finds none."""
    found = detect_faces(image, upright="off")[0]
    if sample.landmarks is not None:
        around = boxes.box_from_landmarks(sample.landmarks.double())
    elif sample.box is not None:
        around = boxes.check_box(sample.box)
    else:
        face = main_face(found)
        return None if face is None else face.box.double()
    shares = [float(boxes.iou(face.box[None].double(), around[None])) for face in found]
    best = max(range(len(found)), key=shares.__getitem__, default=None)
    return None if best is None or shares[best] < 0.2 else found[best].box.double()


def told_box(landmarks: Tensor, which: str | LandmarkScheme) -> Tensor | None:
    """The detector's box as landmarks tell it, None where they do not."""
    whole = _converted(landmarks, which, "68")
    if whole is not None and bool(torch.isfinite(whole).all()):
        return boxes.box_like_yunet(whole)
    five = _converted(landmarks, which, "5")
    return (
        None
        if five is None or int(torch.isfinite(five).all(-1).sum()) < 2
        else boxes.box_from_five_points(five)
    )


def _converted(landmarks: Tensor, which: str | LandmarkScheme, wanted: str) -> Tensor | None:
    try:
        return convert_points(landmarks, which, wanted)
    except UsageError:
        return None


def prepared(sample: FaceSample, scheme: LandmarkScheme | None, size: int) -> FaceSample:
    """What training keeps of a sample: its face with what lies around, not finer than needed, in 8 bits.

    Args:
        sample: Any; with landmarks where ``scheme`` is given.
        scheme: What the landmarks are turned into; None forgets them (an unlabelled face).
        size: Side of the network's images.

    Returns:
        Image, box, landmarks ``[K, 2]`` and visibility, in pixels of the image that it holds.

    Raises:
        DataError: If it has no landmarks although it should, or no face is found.
    """
    landmarks = visible = None
    if scheme is not None:
        if sample.landmarks is None or sample.scheme is None:
            raise DataError(f"{sample.id} has no landmarks: landmarks learns from labelled faces.")
        landmarks = convert_points(sample.landmarks.double(), sample.scheme, scheme)
        if sample.visibility is not None and len(sample.visibility) == len(landmarks):
            visible = sample.visibility
    else:
        sample = replace(sample, landmarks=None, scheme=None, visibility=None)
    box = training_box(sample)
    kept = boxes.expand(boxes.square(box), KEPT)
    height, width = sample.image.shape[-2:]
    kept = boxes.clip(torch.stack([*kept[:2].floor(), *kept[2:].ceil()]) + 0.5, width, height)
    if not bool((boxes.size(kept) >= 2).all()):
        raise DataError(f"the face of {sample.id} lies outside its image.")
    side = float(boxes.size(box).max())
    shrink = min(1.0, FINEST * size / (AROUND * side))
    across, down = (max(2, round(shrink * extent)) for extent in boxes.size(kept).tolist())
    window = Affine2D.window(kept, (across, down))
    image = to_float(to_uint8(crop_image(sample.image, window, (down, across), "edge")))
    return FaceSample(
        sample.id,
        image,
        window.apply_box(box).float(),
        None if landmarks is None else window.apply(landmarks).float(),
        None if scheme is None else scheme_word(scheme),
        visible,
    )
