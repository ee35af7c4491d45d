"""Analyses photos one at a time, writes each one's files, and skips what is done."""

from __future__ import annotations

import glob
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from lineament.data.images import read_image
from lineament.errors import NoFaceError
from lineament.faces.labels.own_json import FORMAT, scheme_item
from lineament.files import replacing, write_text
from lineament.pipeline.analyze.analyzer import Analyzer
from lineament.pipeline.analyze.face import UNITS, face_numbers, fit_faces, merged
from lineament.pipeline.analyze.shape import write_face_files
from lineament.pipeline.predict.landmarks import draw_landmarks
from lineament.pipeline.predict.photos import Photo
from lineament.pipeline.predict.results import Tally, go_through, result_meta

# Between the name of a photo and the endings of its results.
ANALYSIS = ".analysis"


def analyze_photos(
    analyzer: Analyzer, photos: Sequence[Photo], single: bool, advance: Callable[[], None] = lambda: None
) -> Tally:
    """Analyse photos and write their files; one photo is in memory at a time.

    Args:
        analyzer: What looks at faces.
        photos: From :func:`lineament.pipeline.predict.photos.plan`; their settings were compared before.
        single: Whether the user named this one photo: then what is wrong with it is raised.
        advance: Called after each photo.

    Raises:
        DataError: If a single photo cannot be used, or has no face.
    """

    def work(photo: Photo) -> bool:
        try:
            if photo.json.exists() and not analyzer.options.overwrite:
                return True
            analyze_photo(analyzer, photo, keep_empty=not single)
            return False
        finally:
            advance()

    return go_through(photos, work, single)


def analyze_photo(analyzer: Analyzer, photo: Photo, keep_empty: bool = False) -> dict[str, Any]:
    """Analyse one photo and write ``.png``, the files of its faces and last ``.json``, whose content is returned.

    Args:
        analyzer: What looks at faces.
        photo: The photo.
        keep_empty: Write the JSON of a photo without a face, so that it is not looked at again.

    Raises:
        DataError: If it cannot be read.
        NoFaceError: If it shows no face.
    """
    image = read_image(photo.path)
    model = analyzer.model
    options = analyzer.options
    seen = model.find(image, upright=options.upright, all_faces=options.all_faces)
    faces = seen.faces
    size = (image.shape[2], image.shape[1])
    found = fit_faces(analyzer.head, faces, size)
    remove_face_files(photo)
    items: list[dict[str, Any]] = []
    for number, each in enumerate(found, start=1):
        more = write_face_files(
            image, each, face_stem(photo, "face", number), analyzer.depth_run, analyzer.options
        )
        items.append(merged(face_numbers(photo.name, each), more))
    if faces:
        with replacing(photo.stem.with_name(f"{photo.stem.name}.png")) as temporary:
            draw_landmarks(image, faces, model.scheme).save(temporary, "PNG")
    content = {
        "format": FORMAT,
        "scheme": scheme_item(model.scheme),
        "meta": photo_meta(analyzer, photo, image) | {"rejected": seen.rejected_numbers},
        "faces": items,
    }
    if faces or keep_empty:
        write_text(photo.json, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    if not faces:
        why = f" ({seen.note})" if seen.note else ""
        raise NoFaceError(
            f"{photo.path}: no face was found in it{why}: choose a photo in which it is larger or less turned."
        )
    return content


def photo_meta(analyzer: Analyzer, photo: Photo, image: Tensor) -> dict[str, Any]:
    """The ``meta`` of a photo's file."""
    size = {"width": image.shape[2], "height": image.shape[1]}
    return result_meta(photo, "analyze", analyzer.settings(), **size, units=UNITS)


def face_stem(photo: Photo, kind: str, number: int) -> Path:
    """Path of the files of one face without their endings; kinds are ``face`` and, of videos, ``person``."""
    return photo.stem.with_name(f"{photo.stem.name}.{kind}-{number}")


def remove_face_files(photo: Photo) -> None:
    """Remove the files of faces that an earlier run found: this one may find fewer."""
    for kind in ("face", "person"):
        pattern = f"{glob.escape(photo.stem.name)}.{kind}-[0-9]*"
        for old in photo.stem.parent.glob(pattern) if photo.stem.parent.is_dir() else ():
            old.unlink()
