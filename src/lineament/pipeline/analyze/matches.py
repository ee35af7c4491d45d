"""The best matches between the photos of a folder: whose faces are most alike, point by point."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lineament.capabilities import DenseDescriptor
from lineament.data.images import read_image
from lineament.errors import DataError
from lineament.faces.detection import Detection
from lineament.inference import Model
from lineament.pipeline.predict.face_view import FaceView, sampled_at, view_face
from lineament.pipeline.predict.match import match_faces, write_match
from lineament.pipeline.predict.photos import Photo

# Pairs that are drawn at most.
MOST_PAIRS = 12


@dataclass(frozen=True)
class MatchedFace:
    """The first face of a photo, as its analysis knows it.

    Attributes:
        photo: The photo.
        place: Where the face is.
        points: ``[K, 2]`` its landmarks in pixels of the photo.
        names: Of the landmarks.
    """

    photo: Photo
    place: Detection
    points: Tensor
    names: tuple[str, ...]

    @classmethod
    def of(cls, photo: Photo, item: Mapping[str, Any], names: Sequence[str]) -> MatchedFace:
        """Read it from the numbers of a face in a label file."""
        place = Detection(
            torch.tensor(item["box"]), float(item.get("score", 1.0)), turn=int(item.get("turn", 0))
        )
        return cls(photo, place, torch.tensor(item["landmarks"]), tuple(names))


def write_matches(
    dense: Model,
    faces: Sequence[MatchedFace],
    folder: Path,
    settings: Mapping[str, Any],
    advance: Callable[[], None] = lambda: None,
) -> list[dict[str, Any]]:
    """Find for each face the one most like it, and draw the pairs that are most alike.

    Two faces are as alike as their descriptors at the same landmarks are, the mean cosine; of a model without
    descriptors as the shapes of their landmarks are, moved, turned and scaled on to each other.

    Args:
        dense: Model that faces can be matched with.
        faces: One of each photo.
        folder: Where ``A-B.match.json`` and ``.png`` go.
        settings: All that decides a match besides the photos.
        advance: Called after each photo that was described.

    Returns:
        For each pair, the most alike first: names, how alike they are (1: the same), and once it is matched the mean
        similarity and round trip of its points and the name of its image.
    """
    described = []
    for face in faces:
        described.append(
            _descriptors(dense, face) if dense.has(DenseDescriptor) else shape_directions(face.points)
        )
        advance()
    pairs = best_pairs(torch.stack(described)) if len(faces) > 1 else []
    results = []
    taken: set[str] = set()
    for first, second, alike in pairs[:MOST_PAIRS]:
        a, b = faces[first], faces[second]
        match = match_faces(_view(dense, a), _view(dense, b), a.points, a.names)
        stem = folder / _name(a.photo.name, b.photo.name, taken)
        _, image = write_match(match, stem, settings)
        results.append(
            {
                "a": a.photo.name,
                "b": b.photo.name,
                "alike": round(alike, 4),
                "similarity": round(float(match.similarity.mean()), 4),
                "round_trip": round(float(match.round_trip.mean()), 4),
                "image": image.name,
            }
        )
    return results


def best_pairs(descriptors: Tensor) -> list[tuple[int, int, float]]:
    """For each face the one most like it, as pairs without repetition, the most alike first.

    Args:
        descriptors: ``[N, K, C]`` of unit length at the same K points of N faces, or complex ones ``[N, 1, C]``, whose
            common phase does not count.
    """
    flat = descriptors.flatten(1)
    alike = (flat @ flat.mH).abs() if flat.is_complex() else flat @ flat.T
    alike = alike / descriptors.shape[1]
    alike.fill_diagonal_(-torch.inf)
    pairs = {(min(i, j), max(i, j)) for i, j in enumerate(alike.argmax(1).tolist())}
    return sorted(((i, j, float(alike[i, j])) for i, j in pairs), key=lambda pair: (-pair[2], pair[:2]))


def shape_directions(points: Tensor) -> Tensor:
    """Points ``[K, 2]`` of a face as a complex unit vector ``[1, K]`` that no shift or scale changes.

    The absolute value of the product of two is the correlation of their shapes after the best turn (Kendall, "Shape
    manifolds, Procrustean metrics, and complex projective spaces", 1984): 1 where one is the other, seen elsewhere.
    """
    centred = points.double() - points.double().mean(0)
    return F.normalize(torch.view_as_complex(centred.contiguous())[None], dim=1)


def _view(dense: Model, face: MatchedFace) -> FaceView:
    try:
        image = read_image(face.photo.path)
    except DataError as error:
        raise DataError(f"{face.photo.path} cannot be matched any more: {error}") from error
    return view_face(dense, image, face.place, face.photo.name, face.photo.root)


def _descriptors(dense: Model, face: MatchedFace) -> Tensor:
    """Descriptors ``[K, C]`` of unit length at the landmarks."""
    view = _view(dense, face)
    return sampled_at(view.features, view.to_view.apply(face.points.float()) / view.stride)


def _name(a: str, b: str, taken: set[str]) -> str:
    """Name of a pair's files, without ending; photos of several folders may share theirs."""
    plain = "-".join(each.replace("/", "-") for each in (a, b))
    name, number = f"{plain}.match", 2
    while name.lower() in taken:
        name, number = f"{plain}-{number}.match", number + 1
    taken.add(name.lower())
    return name
