"""The published preprocessings of data sets, by which published numbers are compared.

Data readers give whole images with their annotations; here each is brought to the square of ``size`` pixels on which
the warps of Descriptor Vector Exchange act (100 for SmallNet, 136 for the hourglass), with the labels in the published
convention: they are scaled about the corner of the first pixel, without the half pixel (docs/conventions.md). Images
keep 8 bits throughout, as the published loaders did: resizing goes through an 8-bit image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import overload

import torch
from PIL import Image
from torch import Tensor

from lineament.data.sample import FaceSample, FaceSource
from lineament.eight_bit import from_pil, to_pil
from lineament.errors import DataError, unknown_name
from lineament.evaluation import published_300w
from lineament.faces.frame import PreparedFace
from lineament.faces.schemes import scheme
from lineament.geometry.tps_warp import crop_images

# CelebA's aligned images, height and width, and the first row of the square that is kept.
CELEBA_SIZE = (218, 178)
CELEBA_TOP = 30
# Side of the AFLW_M crops that the labels refer to.
AFLW_M_SIDE = 150


@dataclass(frozen=True)
class Protocol:
    """One published preprocessing.

    Attributes:
        prepare: From a sample and the side in pixels to the face on which warps act.
        layout: Landmark scheme of its faces.
    """

    prepare: Callable[[FaceSample, int], PreparedFace]
    layout: str

    @property
    def eyes(self) -> tuple[int, int]:
        """Indices of the two points whose distance normalises landmark errors."""
        left, right = scheme(self.layout).ocular_points()
        return left, right

    @property
    def points(self) -> int:
        """Number of landmarks."""
        return len(scheme(self.layout))


def celeba_face(sample: FaceSample, size: int) -> PreparedFace:
    """CelebA and MAFL: rows 30 to 207 of the aligned image, all columns, resized.

    Raises:
        DataError: If the image is not an aligned one of 178x218 pixels, or has no landmarks.
    """
    height, width = CELEBA_SIZE
    if tuple(sample.image.shape[1:]) != CELEBA_SIZE:
        found = "x".join(str(n) for n in reversed(sample.image.shape[1:]))
        raise DataError(
            f"{sample.id} is {found}: the CelebA protocol needs the aligned images of {width}x{height} pixels."
        )
    square = to_pil(sample.image[:, CELEBA_TOP : CELEBA_TOP + width])
    points = (_landmarks(sample, 5) - torch.tensor([0.0, CELEBA_TOP])) * (size / width)
    return PreparedFace(sample.id, _resized(square, size), points.float(), sample.identity)


def aflw_r_face(sample: FaceSample, size: int) -> PreparedFace:
    """AFLW_R: the whole image squeezed into a square, whatever its aspect."""
    height, width = sample.image.shape[1:]
    # The labels come with the size of the image they were made on.
    width, height = sample.meta.get("published_size", (width, height))
    points = _landmarks(sample, 5) * (size / torch.tensor([width, height], dtype=torch.float64))
    return PreparedFace(sample.id, _resized(to_pil(sample.image), size), points.float(), sample.identity)


def aflw_m_face(sample: FaceSample, size: int) -> PreparedFace:
    """AFLW_M: the 150x150 crop resized."""
    points = _landmarks(sample, 5) * (size / AFLW_M_SIDE)
    return PreparedFace(sample.id, _resized(to_pil(sample.image), size), points.float(), sample.identity)


def w300_face(sample: FaceSample, size: int, resize: str = "nearest") -> PreparedFace:
    """300-W: see :mod:`lineament.evaluation.published_300w`; ``resize`` is nearest (as published) or bicubic."""
    window, points = published_300w.face_window(sample, _landmarks(sample, len(scheme("68"))), resize)
    scaled = points * (size / published_300w.WINDOW)
    return PreparedFace(sample.id, _resized(window, size), scaled.float(), sample.identity)


PROTOCOLS: dict[str, Protocol] = {
    "celeba": Protocol(celeba_face, "5"),
    "aflw-r": Protocol(aflw_r_face, "5"),
    "aflw-m": Protocol(aflw_m_face, "5"),
    "300w": Protocol(w300_face, "68"),
    "300w-bicubic": Protocol(lambda sample, size: w300_face(sample, size, "bicubic"), "68"),
}


def get_protocol(name: str) -> Protocol:
    """Return a protocol by name; raises ``UsageError`` naming the nearest one."""
    if name not in PROTOCOLS:
        raise unknown_name("published preprocessing", name, PROTOCOLS)
    return PROTOCOLS[name]


def protocol_for(source_name: str) -> str:
    """Name of the protocol of a source that a reader opened (``mafl/test`` -> ``celeba``), "" where there is none."""
    family = source_name.partition("/")[0]
    family = {"mafl": "celeba"}.get(family, family)
    return family if family in PROTOCOLS else ""


def published_face(sample: FaceSample, protocol: str, size: int) -> PreparedFace:
    """Prepare one sample in the published way; see :func:`published_faces`."""
    return get_protocol(protocol).prepare(sample, size)


class PublishedFaces(Sequence[PreparedFace]):
    """Samples of a source, prepared in the published way when they are asked for."""

    def __init__(self, source: FaceSource, protocol: str, size: int, indices: Sequence[int]) -> None:
        self.source = source
        self.protocol = protocol
        self.size = size
        self.indices = indices

    def __len__(self) -> int:
        return len(self.indices)

    @overload
    def __getitem__(self, index: int) -> PreparedFace: ...

    @overload
    def __getitem__(self, index: slice) -> list[PreparedFace]: ...

    def __getitem__(self, index: int | slice) -> PreparedFace | list[PreparedFace]:
        if isinstance(index, slice):
            return [self[i] for i in range(len(self))[index]]
        return published_face(self.source[self.indices[index]], self.protocol, self.size)


def published_faces(
    source: FaceSource, protocol: str, size: int, indices: Iterable[int] | None = None
) -> PublishedFaces:
    """Prepare samples of a source in the published way, one at a time as they are asked for.

    Args:
        source: Whole images with landmarks.
        protocol: One of :data:`PROTOCOLS`.
        size: Side in pixels.
        indices: Which samples; all when None.

    Raises:
        UsageError: If the protocol is unknown.
        DataError: While reading, if a sample lacks landmarks or its image is not of the form the protocol needs.
    """
    get_protocol(protocol)
    return PublishedFaces(source, protocol, size, range(len(source)) if indices is None else list(indices))


def plain_view(face: PreparedFace, crop: int) -> tuple[Tensor, Tensor]:
    """The evaluation view without a warp: image ``[3, h, w]`` in 0..1 and points ``[K, 2]`` in its pixels."""
    return crop_images(face.image, crop), face.points - crop


def _landmarks(sample: FaceSample, count: int) -> Tensor:
    if sample.landmarks is None:
        raise DataError(f"{sample.id} has no landmarks: the published protocol needs {count}.")
    if len(sample.landmarks) != count:
        raise DataError(
            f"{sample.id} has {len(sample.landmarks)} landmarks: the published protocol needs {count}."
        )
    return sample.landmarks.double()


def _resized(image: Image.Image, size: int) -> Tensor:
    return from_pil(image.resize((size, size), Image.Resampling.BILINEAR))
