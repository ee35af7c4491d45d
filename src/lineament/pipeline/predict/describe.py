"""What points of a face are matched by: a model's dense descriptors, else a head fitted to its landmarks."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
from torch import Tensor

from lineament.capabilities import DenseDescriptor, Descriptors, LandmarkPredictor
from lineament.errors import UsageError
from lineament.faces import boxes
from lineament.faces.schemes import convert_points, scheme
from lineament.geometry.affine2d import Affine2D
from lineament.heads.load import load_head
from lineament.heads.places import Anchors, HeadPlaces
from lineament.heads.surface import embed
from lineament.inference import Model, default_model, has_default

# What is described of a face by its landmarks: this many sides of its box, in cells of one pixel.
AROUND, SIDE = 1.35, 64


@dataclass(frozen=True)
class Description:
    """One face that was described.

    Attributes:
        descriptors: Of this one face.
        anchors: Points that mean the same on every face, in pixels of the square that was described; None where
            descriptors alone tell.
    """

    descriptors: Descriptors
    anchors: Anchors | None = None


def can_match(model: Model) -> bool:
    """Whether points of faces can be matched with a model."""
    return model.has(DenseDescriptor) or _marks_a_head(model)


def default_matcher() -> str:
    """Name of the model that faces are matched with where none is named.

    Raises:
        UsageError: If none comes with this version of the package.
    """
    return default_model(DenseDescriptor if has_default(DenseDescriptor) else LandmarkPredictor)


def check_matches(model: Model) -> None:
    """Refuse a model that points of faces cannot be matched with.

    Raises:
        UsageError: One sentence says what it holds and what to do instead.
    """
    if not can_match(model):
        model.capability(DenseDescriptor)


def describe_face(model: Model, image: Tensor, box: Tensor) -> Description:
    """Describe the upright face in ``box`` ``[4]`` of ``[3, H, W]``.

    Raises:
        UsageError: If the model gives neither descriptors nor landmarks of scheme 68.
        DataError: If no head can be fitted to the landmarks.
    """
    check_matches(model)
    if model.has(DenseDescriptor):
        return Description(model.capability(DenseDescriptor).describe(image, box[None]))
    return describe_by_landmarks(model.capability(LandmarkPredictor), image, box)


def describe_by_landmarks(predictor: LandmarkPredictor, image: Tensor, box: Tensor) -> Description:
    """Describe a face by where on the built-in head its pixels lie, as a fit to its landmarks tells.

    Args:
        predictor: Of a scheme that turns into 68.
        image: ``[3, H, W]``, the face upright.
        box: ``[4]``.

    Raises:
        DataError: If no head can be fitted to the landmarks.
    """
    found = predictor.landmarks(image, box[None].float())
    points = convert_points(found.points[0], predictor.scheme, "68").double()
    to_view = Affine2D.window(boxes.expand(boxes.square(boxes.check_box(box)), AROUND), (SIDE, SIDE))
    std = None
    if found.std_px is not None and points.shape[0] == found.std_px.shape[1]:
        std = found.std_px[0]
    places = _places()
    anchors = places.anchors(points, std, (image.shape[2], image.shape[1]))
    anchors = anchors._replace(points=to_view.apply(torch.from_numpy(anchors.points)).numpy())
    features = embed(torch.from_numpy(places.view(anchors, SIDE))).permute(2, 0, 1)
    return Description(
        Descriptors(features[None], to_view.matrix.double()[None], SIDE, 1.0, SIDE / AROUND, smooth=True),
        anchors,
    )


def _marks_a_head(model: Model) -> bool:
    """Whether a model's landmarks are 68, or turn into them."""
    if not model.has(LandmarkPredictor):
        return False
    layout = model.capability(LandmarkPredictor).scheme
    try:
        convert_points(torch.zeros(len(layout), 2), layout, scheme("68"))
    except UsageError:
        return False
    return True


@functools.lru_cache(maxsize=1)
def _places() -> HeadPlaces:
    return HeadPlaces(load_head("builtin"))
