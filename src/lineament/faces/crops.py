"""Named crops: from a box or landmarks to the plane transform of a published (or our own) crop.

Each rule gives a :class:`~lineament.geometry.affine2d.Affine2D` from the pixels of the photo to the pixels of
the crop; its exact inverse brings every result back. The rules move image content exactly (an edge to an edge); where
a published protocol scales its *labels* about the corner of the first pixel instead, :func:`published_points` gives the
labels as that protocol has them. Formulas: docs/faces.md.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from lineament.errors import DataError, UsageError, unknown_name
from lineament.faces import boxes
from lineament.faces.crop_rules import CropRequest, crop_entry, crop_names, crop_size, register_crop
from lineament.faces.deep3d_alignment import SIDE, find_window
from lineament.faces.resample import crop_image
from lineament.faces.schemes import LandmarkScheme, as_scheme, builtin_schemes, scheme
from lineament.geometry.affine2d import Affine2D
from lineament.geometry.umeyama import fit_similarity

__all__ = [
    "CropRequest",
    "crop_image",
    "crop_names",
    "crop_size",
    "landmarks_serve",
    "named_crop",
    "published_points",
    "region_side",
    "register_crop",
]


def named_crop(
    name: str,
    *,
    box: Tensor | None = None,
    landmarks: Tensor | None = None,
    scheme: str | LandmarkScheme | None = None,
    image_size: tuple[int, int] | None = None,
    size: int | None = None,
    **options: Any,
) -> Affine2D:
    """Return the transform from the photo to the crop ``name``.

    Where both are given, landmarks win over the box.

    Args:
        name: One of :func:`crop_names`.
        box: ``[4]`` face box x0 y0 x1 y1 in pixels (edges).
        landmarks: ``[K, 2]`` xy in pixels.
        scheme: Scheme of the landmarks; where None, the built-in one with as many points.
        image_size: Height and width of the photo (needed by rules that look at the whole image).
        size: Side of the crop in pixels; where None the published one, see :func:`crop_size`.
        options: Arguments of single rules, see docs/faces.md: ``factor`` (box), ``trim`` (dve-celeba, dve-hourglass,
            fabrec), ``margins`` (fabrec).

    Raises:
        UsageError: On an unknown crop or option, or landmarks of a scheme the rule cannot use.
        DataError: On a malformed box or landmarks, or where the rule needs something that is not given.
    """
    entry = crop_entry(name)
    unknown = sorted(set(options) - entry.options)
    if unknown:
        raise unknown_name(f"option of crop {name}", unknown[0], entry.options)
    size = entry.size if size is None else size
    if size < 1:
        raise UsageError(f"a crop is at least 1 pixel wide, not {size}.")
    layout = None
    if landmarks is not None:
        landmarks = landmarks.detach().to("cpu", torch.float64)
        layout = _scheme_of(landmarks, scheme)
    box = None if box is None else boxes.check_box(box)
    request = CropRequest(size, box, landmarks, layout, image_size, options)
    return entry.rule(request)


def landmarks_serve(
    name: str, landmarks: Tensor | None, scheme: str | LandmarkScheme | None, image_size: tuple[int, int]
) -> bool:
    """Whether crop ``name`` can be set by landmarks ``[K, 2]``: their scheme has what it needs, and none is missing.

    Raises:
        UsageError: On an unknown crop.
    """
    crop_entry(name)
    if landmarks is None:
        return False
    try:
        named_crop(name, landmarks=landmarks, scheme=scheme, image_size=image_size)
    except (DataError, UsageError):
        return False
    return True


def region_side(name: str, size: int) -> int:
    """Side in pixels of the region that crop ``name`` of ``size`` pixels is cut from after random moves.

    ``ceil(size * sqrt(2))`` for ``fabrec``, where ``trim=False`` gives the transform to it; ``size`` for the others.
    """
    return math.ceil(size * crop_entry(name).region)


def published_points(points: Tensor, crop: Affine2D) -> Tensor:
    """Labels of protocols that scale coordinates without the half pixel: ``q = (p - corner) * s``.

    CelebA/MAFL in Descriptor Vector Exchange, 3FabRec and DepthNets do. The image itself moves as
    ``q = (p - corner + 0.5) * s - 0.5``, so such labels sit ``(1 - s) / 2`` crop pixels beside the feature they name.

    Args:
        points: ``[..., 2]`` xy in pixels of the photo.
        crop: An axis-aligned crop.

    Returns:
        ``[..., 2]`` labels in crop pixels.
    """
    shift = torch.tensor([0.5 * (1.0 - s) for s in crop.axis_scales], dtype=torch.float64)
    return crop.apply(points) + shift.to(points)


def _scheme_of(landmarks: Tensor, given: str | LandmarkScheme | None) -> LandmarkScheme:
    if landmarks.ndim != 2 or landmarks.shape[-1] != 2:
        raise DataError(f"landmarks are [K, 2] xy, not an array of shape {tuple(landmarks.shape)}.")
    if given is None:
        given = str(len(landmarks))
        if given not in builtin_schemes():
            raise UsageError(f"{given} landmarks belong to no built-in scheme: name theirs.")
    layout = as_scheme(given)
    layout.check(landmarks)
    return layout


# With so much around it the crop also holds what 3FabRec moves at random: 1.15 sqrt(2) times the box.
@register_crop("box", size=128, options=("factor",), around=0.15)
def box_crop(request: CropRequest) -> Affine2D:
    """Square about the centre of the box, its side ``factor`` (1.3) times the longer side of the box."""
    factor = float(request.options.get("factor", 1.3))
    if factor <= 0.0:
        raise UsageError(f"the factor of a box crop is positive, not {factor}.")
    window = boxes.expand(boxes.square(request.face_box("box")), factor)
    return Affine2D.window(window, (request.size, request.size))


# Where a detector's box lies in such an image: measured on 655 portraits as 2.16 eye distances wide and 2.84 high, its
# centre 0.30 below the middle of the eyes.
_CELEBA_BOX_HEIGHT, _CELEBA_BOX_CENTRE = 2.84 * 39.0, (88.5, 111.0 + 0.30 * 39.0)


def _dve(request: CropRequest, resized: int, cut: int) -> Affine2D:
    """Rows 30..207 of the aligned image, resized to ``resized``, ``cut`` pixels taken off every side."""
    if request.landmarks is not None:
        aligned = fit_similarity(request.points("5"), torch.tensor(boxes.FIVE_POINTS, dtype=torch.float64))
    elif request.box is not None:
        scale = _CELEBA_BOX_HEIGHT / float(boxes.size(request.box).max())
        middle = boxes.centre(request.box) * scale
        shift = (_CELEBA_BOX_CENTRE[0] - float(middle[0]), _CELEBA_BOX_CENTRE[1] - float(middle[1]))
        aligned = Affine2D.from_similarity(scale, 0.0, shift)
    elif request.image_size == (218, 178):
        aligned = Affine2D.identity()
    else:
        raise DataError(
            f"this crop needs a box, landmarks, or one of CelebA's aligned 178x218 images (got {request.image_size})."
        )
    inner = resized - 2 * cut if request.options.get("trim", True) else resized
    edge = (resized - inner) / 2 / resized * 178.0
    window = (-0.5 + edge, 29.5 + edge, 177.5 - edge, 207.5 - edge)
    return aligned.then(Affine2D.window(window, (request.size, request.size)))


@register_crop("dve-celeba", size=70, options=("trim",))
def dve_celeba(request: CropRequest) -> Affine2D:
    """CelebA for the SmallNet of Descriptor Vector Exchange: 178 px to 100, of which the inner 70 are kept."""
    return _dve(request, 100, 15)


@register_crop("dve-hourglass", size=96, options=("trim",))
def dve_hourglass(request: CropRequest) -> Affine2D:
    """CelebA for the hourglass of Descriptor Vector Exchange: 178 px to 136, of which the inner 96 are kept."""
    return _dve(request, 136, 20)


@register_crop("dve-300w", size=100)
def dve_300w(request: CropRequest) -> Affine2D:
    """300-W in Descriptor Vector Exchange: the box becomes 52 px wide in a 100 px window, 2 px above its centre.

    The published preprocessing rounds the resized image and the window to whole pixels, so this needs the size of the
    photo; without it the same window is cut without rounding.
    """
    box = request.face_box("dve-300w")
    width = float(box[2] - box[0])
    factor = 52.0 / width
    # The protocol counts pixels from 1 and puts the centre at min + (size + 1) / 2, one and a half pixels beyond ours.
    middle = (boxes.centre(box) + 2.0) * factor
    if request.image_size is None:
        resized = Affine2D.from_similarity(factor, 0.0, (0.5 * factor - 0.5, 0.5 * factor - 0.5))
    else:
        height, image_width = request.image_size
        target = (max(1, int(image_width * factor)), max(1, int(height * factor)))
        resized = Affine2D.resize((image_width, height), target)
        middle = middle.floor()
    x, y = middle.tolist()
    window = Affine2D.window((x - 50.5, y - 52.5, x + 49.5, y + 47.5), (request.size, request.size))
    return resized.then(window)


@register_crop("fabrec", size=256, options=("trim", "margins"), region=math.sqrt(2.0), border=0.0)
def fabrec(request: CropRequest) -> Affine2D:
    """3FabRec: a region sqrt(2) larger than the face, resized to ``ceil(S sqrt 2)``, of which the inner S are kept.

    From landmarks: the eyes and the chin set the square. From a box: grown by ``margins`` (top, bottom; fractions of
    its height, 0.05 and 0.10 as on VGGFace2; 300-W has 0.20 and 0.12, WFLW 0 and 0.10), then made square. Edges are cut
    to whole pixels as the reference does.
    """
    size, region = request.size, math.ceil(request.size * math.sqrt(2.0))
    offset = int((region - size) / 2)
    if request.landmarks is not None and len(request.landmarks) > 5:
        left, top, right, bottom = _fabrec_landmark_region(request)
    else:
        left, top, right, bottom = _fabrec_box_region(request, region / size)
    window = (left - 0.5, top - 0.5, right - 0.5, bottom - 0.5)
    whole = Affine2D.window(window, (region, region))
    if not request.options.get("trim", True):
        return whole
    return whole.then(Affine2D.from_similarity(translation=(-float(offset), -float(offset))))


def _fabrec_box_region(request: CropRequest, growth: float) -> tuple[int, int, int, int]:
    # The reference's boxes count pixel corners from 0; ours count from the centre of the first pixel.
    left, upper, right, lower = (edge + 0.5 for edge in request.face_box("fabrec").tolist())
    if (int(right) - int(left) < 10 or int(lower) - int(upper) < 10) and request.image_size is not None:
        height, width = request.image_size
        return 0, 0, width - 1, height - 1
    top, bottom = request.options.get("margins", (0.05, 0.10))
    tall = lower - upper
    x0, y0, x1, y1 = int(left), int(upper - tall * top), int(right), int(lower + tall * bottom)
    half = 0.5 * growth * max(x1 - x0, y1 - y0)
    x, y = 0.5 * (x0 + x1), 0.5 * (y0 + y1)
    return int(x - half), int(y - half), int(x + half), int(y + half)


def _fabrec_landmark_region(request: CropRequest) -> tuple[int, int, int, int]:
    points = request.points("68")
    layout = scheme("68")
    # The reference takes the eye corners only.
    corners = layout.indices("left_eye_outer", "left_eye_inner", "right_eye_inner", "right_eye_outer")
    eyes, chin = points[corners].mean(0), points[layout.index("chin")]
    # The extent is that of all labelled points; the reference marks missing ones by an x of zero.
    assert request.landmarks is not None
    ys = request.landmarks[request.landmarks[:, 0] > 0][:, 1]
    if not len(ys):
        raise DataError("crop 'fabrec' needs landmarks inside the image: all lie left of it.")
    highest, lowest = float(ys.min()), float(ys.max())
    height = lowest - highest
    top, bottom = int(highest - 0.25 * height), int(lowest + 0.15 * height)
    x = float(eyes[0] + 0.25 * (chin[0] - eyes[0]))
    half = 0.5 * math.sqrt(2.0) * (bottom - top)
    y = 0.5 * (top + bottom)
    return int(x - half), int(y - half), int(x + half), int(y + half)


@register_crop("ffhq", size=1024)
def ffhq(request: CropRequest) -> Affine2D:
    """FFHQ's alignment (Karras et al. 2019): eye centres and mouth corners set a rotated square.

    With e the vector between the eyes, m the one from the eyes to the mouth: the x axis of the square points along
    ``e - rot90(m)``, its half side is ``max(2 |e|, 1.8 |m|)``, its centre lies a tenth of m below the eyes.
    """
    if request.landmarks is None:
        raise DataError("crop 'ffhq' needs landmarks: the eyes and the mouth corners set its rotation.")
    left_eye, right_eye, _, left_mouth, right_mouth = request.points("5")
    eyes, mouth = 0.5 * (left_eye + right_eye), 0.5 * (left_mouth + right_mouth)
    across, down = right_eye - left_eye, mouth - eyes
    axis = across + torch.stack([down[1], -down[0]])
    length = float(axis.norm())
    if length == 0.0:
        raise DataError("crop 'ffhq' needs eyes and mouth corners that do not coincide.")
    half = max(2.0 * float(across.norm()), 1.8 * float(down.norm()))
    centre = eyes + 0.1 * down
    scale = request.size / (2.0 * half)
    turn = Affine2D.from_similarity(scale, -math.atan2(float(axis[1]), float(axis[0])))
    middle = 0.5 * (request.size - 1)
    x, y = (middle - turn.apply(centre)).tolist()
    return turn.then(Affine2D.from_similarity(translation=(x, y)))


@register_crop("gmpi", size=224)
def gmpi(request: CropRequest) -> Affine2D:
    """The crop from which GMPI's poses were estimated (Deep3DFaceRecon): five points against a mean 3-D face.

    A weak-perspective fit gives the scale s and the position t of the mean face; the image is resized by ``102 / s``
    (both sides cut to whole pixels) and a window of 224 px is cut about t.
    """
    if request.landmarks is None or request.image_size is None:
        raise DataError("crop 'gmpi' needs landmarks and the size of the image.")
    window = find_window(request.points("5"), request.image_size)
    height, width = request.image_size
    left, up = window.corner
    edges = (left - 0.5, up - 0.5, left + SIDE - 0.5, up + SIDE - 0.5)
    return Affine2D.resize((width, height), window.size).then(
        Affine2D.window(edges, (request.size, request.size))
    )


@register_crop("depthnet-80", size=80)
def depthnet_80(request: CropRequest) -> Affine2D:
    """DepthNets' 80 px images: the tight box of the keypoints in whole pixels, squashed to a square.

    From a box or five points: the square of the box's width below its upper edge.
    """
    if request.landmarks is not None and len(request.landmarks) > 5:
        tight = boxes.box_from_landmarks(request.landmarks).tolist()
        x0, y0, x1, y1 = (float(int(edge)) - 0.5 for edge in tight)
    else:
        x0, y0, x1, _ = request.face_box("depthnet-80").tolist()
        y1 = y0 + (x1 - x0)
    return Affine2D.window((x0, y0, x1, y1), (request.size, request.size))
