"""Portraits without labels: four fifths to learn from, one fifth that a detector's five points test."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from lineament.data.registry import open_source
from lineament.data.sample import FaceSample, FaceSource
from lineament.errors import DataError
from lineament.faces.detection import detect_faces, main_face
from lineament.packs import GREY
from lineament.progress import Progress

# Its points on upright portraits are the more exact ones, and all published figures are disagreements with them.
REFERENCE_DETECTOR = "mtcnn"


def portrait_pack(packs: Path) -> Path:
    """Folder of the portraits among the data packs.

    Raises:
        DataError: If there is none.
    """
    root = packs / GREY
    if not root.is_dir():
        raise DataError(
            f"{packs} holds no {GREY}: get it with `lineament data fetch portraits-gray`, or point --packs at "
            "the folder of the data packs."
        )
    return root


@dataclass(frozen=True)
class Portraits:
    """What a portrait pack gives.

    Attributes:
        unlabelled: Portraits to learn from: images and the detector's boxes.
        test_set: Held-out portraits with the detector's boxes and its five points as landmarks.
        test_set_pack_boxes: Those of them that the pack has a box for, with that box.
    """

    unlabelled: FaceSource
    test_set: FaceSource
    test_set_pack_boxes: FaceSource


def read_portraits(root: Path, progress: Progress) -> Portraits:
    """Read a portrait pack; four fifths teach without labels, one fifth has the detector's five points."""
    unlabelled = portraits_to_learn_from(root, progress)
    test_set = find_portraits(root, "val", progress)
    return Portraits(unlabelled, test_set.found, test_set.boxes_of_the_pack)


def portraits_to_learn_from(root: Path, progress: Progress) -> FaceSource:
    """The portraits of a pack that are not held out, with the detector's boxes and without its points."""
    train = find_portraits(root, "train", progress).found
    # Nothing but the images and the boxes teaches.
    return replace(train, samples=[replace(each, landmarks=None, scheme=None) for each in train.samples])


def portrait_test_set(root: Path, progress: Progress) -> FaceSource:
    """The held-out portraits of a pack, with the detector's boxes and its five points as landmarks."""
    return find_portraits(root, "val", progress).found


@dataclass(frozen=True)
class _Listed:
    """Samples in memory as a source."""

    samples: list[FaceSample]
    name: str
    fingerprint: str

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> FaceSample:
        return self.samples[index]


@dataclass(frozen=True)
class _Found:
    """Portraits in which a face was found, with the detector's boxes; and those with a box of the pack, with that."""

    found: _Listed
    boxes_of_the_pack: _Listed


def find_portraits(root: Path, split: str, progress: Progress) -> _Found:
    """Find the faces of one split of a portrait pack.

    Raises:
        DataError: If there is none.
    """
    source = open_source("portraits", root, split=split)
    found, own = [], []
    with progress(f"finding portraits ({split})", len(source), "portraits") as advance:
        for index in range(len(source)):
            sample = source[index]
            face = main_face(detect_faces(sample.image, REFERENCE_DETECTOR, upright="off")[0])
            advance()
            if face is not None and face.points is not None:
                box = face.box.float()
                found.append(replace(sample, box=box, landmarks=face.points.float(), scheme="5"))
                # A detector's box in place of one that the pack lacks would pass for the pack's.
                if sample.box is not None:
                    own.append(replace(found[-1], box=sample.box))
    if not found:
        raise DataError(f"no face was found in the portraits of {root} ({split}).")
    name = source.name
    return _Found(
        _Listed(found, name, source.fingerprint),
        _Listed(own, f"{name}, boxes of the pack ({len(own)} of {len(found)})", source.fingerprint),
    )
