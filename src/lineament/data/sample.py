"""The one record that every reader yields and every recipe consumes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

from torch import Tensor

from lineament.geometry.camera import Camera

# Key of ``FaceSample.meta``: points of scheme 68 ``[68, 2]`` of a face whose landmarks follow a scheme that does not
# turn into it; they tell where a detector sees the face.
LANDMARKS68 = "landmarks68"


@dataclass
class FaceSample:
    """One image of one face with whatever is known about it; what is unknown is ``None``.

    Pixel centres are at integers, x right, y down (docs/conventions.md).

    Attributes:
        id: Stable name of the sample inside its source, for example the path relative to the data root.
        image: ``[3, H, W]`` float32 RGB in 0..1.
        box: ``[4]`` face box ``x0, y0, x1, y1`` in pixels.
        landmarks: ``[K, 2]`` xy in pixels; NaN where a single point is missing, which no loss and no metric counts.
        scheme: The landmark scheme the K points follow, as :func:`lineament.faces.schemes.scheme_word` writes it.
        visibility: ``[K]`` bool, True where the point is seen, False where it is hidden or missing; None where nobody
            says what is hidden.
        identity: Label of the person, equal for two images of one person.
        pose: ``[3]`` yaw, pitch, roll of the head in radians.
        camera: The camera that took the image.
        depth: ``[H, W]`` camera depth in millimetres, 0 where empty.
        normals: ``[3, H, W]`` unit surface normals in the camera frame, 0 where empty.
        mask: ``[H, W]`` bool, True on the head.
        correspondence: ``[2, H, W]`` surface coordinates (uv), equal for the same point of two heads of one model;
            NaN where empty.
        identity_coefficients: ``[I]`` shape coefficients of the head model.
        expression_coefficients: ``[E]`` expression activations in 0..1.
        path: The file the image was read from.
        meta: Anything else a source wants to keep, by name.
    """

    id: str
    image: Tensor
    box: Tensor | None = None
    landmarks: Tensor | None = None
    scheme: str | None = None
    visibility: Tensor | None = None
    identity: str | None = None
    pose: Tensor | None = None
    camera: Camera | None = None
    depth: Tensor | None = None
    normals: Tensor | None = None
    mask: Tensor | None = None
    correspondence: Tensor | None = None
    identity_coefficients: Tensor | None = None
    expression_coefficients: Tensor | None = None
    path: Path | None = None
    meta: dict[str, Any] = field(default_factory=dict)


Sample = TypeVar("Sample", covariant=True)


@runtime_checkable
class Source(Protocol[Sample]):
    """A finite, ordered, pure collection of samples of one kind: the same index always gives the same sample.

    Samples have an ``id``, a name that is stable inside their source.
    """

    @property
    def name(self) -> str:
        """Name of the data set and split, for cards and reports."""
        ...

    @property
    def fingerprint(self) -> str:
        """Hex digest that changes when any sample of the source would change."""
        ...

    def __len__(self) -> int:
        """Number of samples."""
        ...

    def __getitem__(self, index: int) -> Sample:
        """Read sample ``index``; raises ``DataError`` naming the file when it cannot be read."""
        ...


@runtime_checkable
class FaceSource(Source[FaceSample], Protocol):
    """A source of face samples."""
