"""Keeps decoded samples in memory, so that a small set is decoded once and not once per epoch."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor

from lineament.data.sample import FaceSample, FaceSource
from lineament.eight_bit import to_float, to_uint8
from lineament.errors import unknown_name

_OPTIONAL = (
    *("box", "landmarks", "visibility", "pose", "camera", "depth", "normals", "mask", "correspondence"),
    *("identity_coefficients", "expression_coefficients"),
)
WITHOUT_MAPS = ("box", "landmarks", "visibility", "pose", "camera")
"""The fields of a sample that are small: what landmark training and evaluation read."""


class CachedSource:
    """A source that remembers its samples up to a bound of memory; what does not fit is read each time.

    An image is kept as 8 bits where this loses nothing, else as it is; a sample from the cache equals the read one bit
    for bit. Every call returns fresh tensors, so that a caller may change them. Worker processes that are forked share
    what was cached before (see :meth:`warm`); workers started otherwise begin empty.

    With ``fields``, only these are given out and kept: the maps of a synthetic face take eight times the memory of its
    image, and most training never looks at them.

    Args:
        source: The samples.
        max_bytes: Memory to use at most.
        fields: Names of the tensors of :class:`FaceSample` to keep besides the image, for example
            :data:`WITHOUT_MAPS`; the others become None (``meta`` stays). None keeps everything.

    Raises:
        UsageError: If a name is not that of a field.
    """

    def __init__(
        self, source: FaceSource, max_bytes: int = 2 * 1024**3, fields: Collection[str] | None = None
    ) -> None:
        for name in fields or ():
            if name not in _OPTIONAL:
                raise unknown_name("field of a face sample", name, _OPTIONAL)
        self.source = source
        self.max_bytes = max_bytes
        self.fields = None if fields is None else frozenset(fields)
        self.used_bytes = 0
        self._kept: dict[int, FaceSample] = {}

    @property
    def name(self) -> str:
        """Name of the source."""
        return self.source.name

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the source: the cache changes nothing that it gives out."""
        return self.source.fingerprint

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> FaceSample:
        kept = self._kept.get(index)
        if kept is not None:
            return _unpacked(kept)
        sample = self.source[index]
        if self.fields is not None:
            sample = _thinned(sample, self.fields)
        packed = _packed(sample)
        size = _bytes(packed)
        if self.used_bytes + size <= self.max_bytes:
            self._kept[index] = packed
            self.used_bytes += size
            return _unpacked(packed)
        return sample

    def warm(self) -> int:
        """Read every sample that fits and return how many are kept; unreadable ones raise as when read."""
        for index in range(len(self)):
            if self.used_bytes >= self.max_bytes:
                break
            self[index]
        return len(self._kept)

    def __getstate__(self) -> dict[str, Any]:
        # A pickled cache would send every tensor to the worker through its own file descriptor.
        return {**self.__dict__, "_kept": {}, "used_bytes": 0}


def _thinned(sample: FaceSample, wanted: Collection[str]) -> FaceSample:
    left_out: dict[str, Any] = {name: None for name in _OPTIONAL if name not in wanted}
    return replace(sample, **left_out)


def _tensors(sample: FaceSample) -> dict[str, Tensor]:
    return {
        field.name: value
        for field in fields(sample)
        if isinstance(value := getattr(sample, field.name), Tensor)
    }


def _packed(sample: FaceSample) -> FaceSample:
    """Copy the tensors, the image in 8 bits where that is exact."""
    copies = {name: value.clone() for name, value in _tensors(sample).items()}
    eight = to_uint8(copies["image"])
    if torch.equal(to_float(eight), copies["image"]):
        copies["image"] = eight
    return replace(sample, **copies, meta=dict(sample.meta))  # type: ignore[arg-type]


def _unpacked(sample: FaceSample) -> FaceSample:
    copies = {name: value.clone() for name, value in _tensors(sample).items() if name != "image"}
    image = to_float(sample.image) if sample.image.dtype == torch.uint8 else sample.image.clone()
    return replace(sample, **copies, image=image, meta=dict(sample.meta))  # type: ignore[arg-type]


def _bytes(sample: FaceSample) -> int:
    return sum(value.numel() * value.element_size() for value in _tensors(sample).values())
