"""Prepared crops with labels from a file that was made after them, or by another tool."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import torch

from lineament.data.crop_cache import CropCache
from lineament.data.rejects import label_faults
from lineament.data.sample import FaceSample
from lineament.data.subset import digest
from lineament.errors import DataError
from lineament.faces.labels import FaceLabel, LabelFile
from lineament.faces.labels.record import tight_box
from lineament.faces.schemes import scheme_word
from lineament.geometry.affine2d import Affine2D

log = logging.getLogger(__name__)


class LabelledCrops(CropCache):
    """The crops of a cache with the landmarks of a label file in place of its own.

    Labels are in pixels of the images, as if the crops did not exist; a label names its image by the path it
    had when the crops were cut, or the crop by its id (``a.jpg@2``). Of several faces in one image each label goes
    to the crop whose face box lies nearest.

    Args:
        root: Folder of the cache.
        path: The label file; names of images may count from its folder.
        labels: Its content.
        split: As for :class:`~lineament.data.crop_cache.CropCache`.
        rejects: As there.
        labelled: Leave out crops without a label.

    Raises:
        DataError: If no label belongs to a crop.
    """

    def __init__(
        self,
        root: Path,
        path: Path,
        labels: LabelFile,
        *,
        split: str = "all",
        rejects: Mapping[str, str] | None = None,
        labelled: bool = False,
    ) -> None:
        super().__init__(root, split, rejects)
        self.labels_scheme = None if labels.scheme is None else scheme_word(labels.scheme)
        self._labels, strays = _assigned(self._places(), labels, path if path.is_dir() else path.parent)
        if not self._labels:
            raise DataError(
                f"{path} labels none of the {len(self)} crops in {root}: it names {_some(strays)}, the crops are of "
                f"{self._places()[0].photo_id} and others."
            )
        if strays:
            log.warning("%s: %d labels belong to no crop: %s", path, len(strays), _some(strays))
        if labelled:
            names = self._table["id"].to_pylist()
            self._rows = self._rows[[names[row] in self._labels for row in self._rows]]

    @property
    def fingerprint(self) -> str:
        """Changes with every crop and label that is given out."""
        return digest("labelled crops", super().fingerprint, *map(self._label_digest, range(len(self))))

    def digest_of(self, index: int) -> str:
        """Digest of the image and the label of one sample."""
        return digest(super().digest_of(index), self._label_digest(index))

    def __getitem__(self, index: int) -> FaceSample:
        sample = replace(super().__getitem__(index), landmarks=None, scheme=None, visibility=None)
        face = self._labels.get(sample.id)
        if face is None or face.landmarks is None:
            return sample
        to_crop = Affine2D(torch.tensor(sample.meta["crop_to_photo"], dtype=torch.float64)).inverse()
        marked = replace(
            sample,
            landmarks=to_crop.apply(face.landmarks.double()).float(),
            scheme=self.labels_scheme,
            visibility=face.visible,
        )
        faults = label_faults(marked)
        if faults:
            raise DataError(f"the labels of {sample.id} cannot be used: {'; '.join(faults)}.")
        return marked

    def _label_digest(self, index: int) -> str:
        face = self._labels.get(self.id_of(index))
        if face is None or face.landmarks is None:
            return ""
        seen = None if face.visible is None else face.visible.tolist()
        return digest(self.labels_scheme, face.landmarks.tolist(), seen)

    def _places(self) -> list[_Place]:
        columns = self._table.select(["id", "photo_id", "photo", "box"]).to_pydict()
        rows = zip(*columns.values(), strict=True)
        every = [_Place(name, photo_id, photo, box) for name, photo_id, photo, box in rows]
        return [every[int(row)] for row in self._rows]


@dataclass(frozen=True)
class _Place:
    """Where a crop comes from."""

    id: str
    photo_id: str
    photo: str | None
    box: list[float]

    def distance(self, face: FaceLabel) -> float:
        """Of the face's middle from that of the box, in box sides."""
        assert face.landmarks is not None
        x0, y0, x1, y1 = self.box
        middle = torch.tensor([x0 + x1, y0 + y1]) / 2
        around = tight_box(face.landmarks)
        centre = face.landmarks.nanmean(0) if around is None else (around[:2] + around[2:]) / 2
        return float((centre - middle).norm()) / max(x1 - x0, y1 - y0)


def _assigned(places: list[_Place], labels: LabelFile, home: Path) -> tuple[dict[str, FaceLabel], list[str]]:
    """Label by id of the crop; and names of images whose labels belong to none."""
    by_id = {place.id: place for place in places}
    by_photo: dict[str, list[_Place]] = {}
    by_path: dict[str, list[_Place]] = {}
    by_name: dict[str, set[str]] = {}
    for place in places:
        by_photo.setdefault(place.photo_id, []).append(place)
        by_path.setdefault(str(place.photo), []).append(place)
        by_name.setdefault(PurePosixPath(place.photo_id).name, set()).add(place.photo_id)
    found: dict[str, FaceLabel] = {}
    strays: list[str] = []
    for face in labels.faces:
        if face.landmarks is None:
            continue
        name = face.image
        alone = by_name.get(PurePosixPath(name).name, set())
        candidates = by_photo.get(name) or by_path.get(name) or by_path.get(str((home / name).resolve()))
        if not candidates and name in by_id:
            candidates = [by_id[name]]
        if not candidates and len(alone) == 1:
            candidates = by_photo[next(iter(alone))]
        free = [place for place in candidates or [] if place.id not in found]
        if free:
            found[min(free, key=lambda place: place.distance(face)).id] = face
        else:
            strays.append(name)
    return found, strays


def _some(names: list[str]) -> str:
    shown = list(dict.fromkeys(names))
    return ", ".join(shown[:3]) + (f" and {len(shown) - 3} more" if len(shown) > 3 else "") or "none"
