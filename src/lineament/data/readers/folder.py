"""A folder of images, with labels where a label file lies beside them."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from lineament.data.images import list_images
from lineament.data.records import Record, RecordSource
from lineament.data.registry import refuse_unfinished, register_reader
from lineament.data.rejects import find_rejects
from lineament.data.subset import held_out
from lineament.errors import DataError, unknown_name
from lineament.faces.labels import FaceLabel, in_scheme, read_keypoints
from lineament.faces.schemes import LandmarkScheme, as_scheme, scheme_word

LABEL_NAMES = ("labels.json", "labels.csv", "labels.xml")
# One image in ten is held out by the splits train and val.
HELD_OUT = 0.1


@register_reader(
    "folder",
    "a folder of images, with or without labels",
    splits=("all", "train", "val"),
    where="your own images; labels in labels.json, .csv or .xml, or one .pts beside each image",
)
def open_folder(
    root: Path,
    split: str = "all",
    labels: str | None = None,
    labelled: bool = False,
    scheme: str | int | None = None,
    first_pixel: float | None = None,
    identity: Literal["none", "folder"] = "none",
    recursive: bool = True,
    rejects: str | None = None,
) -> RecordSource:
    """Open a folder of images, or a single image.

    Args:
        root: The folder; the order is that of :func:`lineament.data.images.list_images`.
        split: ``all``; or ``train`` and ``val``, nine tenths and one tenth chosen by a hash of the name (of the
            identity where there is one).
        labels: Label file of any tool, or a folder of them (docs/labels.md); ``none`` ignores labels. Where not given:
            ``labels.json``, ``.csv`` or ``.xml`` in the folder, else a ``.pts`` file beside each image. An image
            with several labelled faces gives one sample for each.
        labelled: Leave out images without labels. Labels whose image is missing count as bad samples.
        scheme: Scheme of the landmarks, a name or a yaml file, for label files that do not name their points.
        first_pixel: What the label file calls the middle of the first pixel, where it is not its format's convention.
        identity: ``folder`` takes the folder an image lies in as the name of its person.
        recursive: Look into folders inside the folder.
        rejects: Reject list to honour instead of the one in the folder.

    Raises:
        DataError: If there are no images, the folder is unfinished, or the label file cannot be read.
    """
    if identity not in ("none", "folder"):
        raise unknown_name("kind of identity", identity, ("none", "folder"))
    refuse_unfinished(root)
    images = list_images(root, recursive=recursive)
    base = root if root.is_dir() else root.parent
    known = _labels(base, images, labels, None if scheme is None else as_scheme(str(scheme)), first_pixel)
    records = []
    for image in images:
        name = image.relative_to(base).as_posix()
        person = image.parent.name if identity == "folder" else None
        if split != "all" and held_out(person or name, HELD_OUT) != (split == "val"):
            continue
        faces = known.faces.get(image, [])
        fault = known.faults.get(image, "")
        if fault or not (faces or labelled):
            records.append(Record(name, image, identity=person, fault=fault))
        records += [
            _record(name, image, face, number, person, known.scheme is not None and labelled)
            for number, face in enumerate(faces)
        ]
    if split == "all":
        records += [Record(name, base / name, fault=fault) for name, fault in known.strays.items()]
    layout = known.scheme
    return RecordSource(
        f"{base.resolve().name}/{split}",
        records,
        scheme_word(layout) if layout else None,
        len(layout) if layout else None,
        find_rejects(base, rejects),
    )


@dataclass
class _Labels:
    """Labels by image; what is wrong with those of one image; labels whose image is not there."""

    scheme: LandmarkScheme | None = None
    faces: dict[Path, list[FaceLabel]] = field(default_factory=dict)
    faults: dict[Path, str] = field(default_factory=dict)
    strays: dict[str, str] = field(default_factory=dict)


def _labels(
    base: Path,
    images: Sequence[Path],
    given: str | None,
    wanted: LandmarkScheme | None,
    first_pixel: float | None,
) -> _Labels:
    if given == "none":
        return _Labels()
    path = (
        Path(given) if given else next((base / name for name in LABEL_NAMES if (base / name).is_file()), None)
    )
    if path is None:
        return _beside(images, wanted, first_pixel)
    content = read_keypoints(path, allow_missing=True, first_pixel=first_pixel)
    if wanted is not None:
        content = in_scheme(content, wanted)
    found = _Labels(content.scheme)
    # The folder may be named from where we are and the label file from the root, or the other way round.
    resolved = functools.cache(Path.resolve)
    present = {resolved(image.parent) / image.name: image for image in images}
    home = path if path.is_dir() else path.parent
    for face in content.faces:
        # Names are relative to the label file; one that lies elsewhere may count from the folder of images.
        named = (place / face.image for place in (home, base))
        places = (resolved(each.parent) / each.name for each in named)
        image = next((present[each] for each in places if each in present), None)
        if image is None:
            found.strays[face.image] = f"{path} labels it, but there is no such image in {base}"
        else:
            found.faces.setdefault(image, []).append(face)
    return found


def _beside(images: Sequence[Path], wanted: LandmarkScheme | None, first_pixel: float | None) -> _Labels:
    """Read the ``.pts`` file of each image that has one; the first readable one sets the scheme."""
    found = _Labels(wanted)
    for image in images:
        path = image.with_suffix(".pts")
        if not path.is_file():
            continue
        try:
            content = read_keypoints(path, found.scheme, allow_missing=True, first_pixel=first_pixel)
        except DataError as error:
            found.faults[image] = str(error).rstrip(".")
            continue
        found.scheme = content.scheme
        found.faces[image] = content.faces
    return found


def _record(name: str, image: Path, face: FaceLabel, number: int, person: str | None, points: bool) -> Record:
    x0, y0, x1, y1 = face.box.tolist() if face.box is not None else (0.0, 0.0, 0.0, 0.0)
    return Record(
        id=name if number == 0 else f"{name}#{number + 1}",
        path=image,
        box=None if face.box is None else (x0, y0, x1, y1),
        landmarks=None if face.landmarks is None else face.landmarks.tolist(),
        visibility=None if face.visible is None else face.visible.tolist(),
        identity=person,
        # A box alone is of use where nobody asks for points.
        fault="no point of the face has a place"
        if face.landmarks is None and (points or face.box is None)
        else "",
    )
