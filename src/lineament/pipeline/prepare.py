"""Finds the faces of a data set, cuts each out by a named rule, and keeps account of what was left out and why.

The output folder holds ``crops/`` with the pictures, ``index.parquet`` (one row per crop, with the transform back to
the photograph), ``left_out.csv``, and ``journal.jsonl``: one line per photograph, written when its crops are complete,
from which an interrupted or repeated run goes on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from torch import Tensor

from lineament.data.images import write_image
from lineament.data.sample import FaceSample, FaceSource
from lineament.errors import DataError
from lineament.faces.boxes import box_from_landmarks
from lineament.faces.crops import crop_size, named_crop
from lineament.faces.detection import Detection, Detector, detect_faces, main_face, make_detector
from lineament.faces.resample import crop_image
from lineament.geometry.similarity import Similarity
from lineament.pipeline.check import sample_id
from lineament.pipeline.prepare_files import Journal, write_index, write_left_out
from lineament.pipeline.progress import Progress, silent

# Photographs read and searched together.
CHUNK = 16


@dataclass(frozen=True)
class PrepareOptions:
    """How faces are found and cut out.

    Attributes:
        crop: Name of the crop rule, see ``faces.crops.crop_names``.
        size: Side of the crop in pixels; None takes the published one.
        by: ``auto`` lets the rule use landmarks where they are known or found; ``box`` uses the box alone.
        faces: ``main`` takes the one face a portrait is of, ``all`` every face found.
        detector: Name of the detector.
        detect: Search even where the data set knows box or landmarks.
        min_face: Smallest face in pixels of the photograph, longer side of its box.
        min_score: Least score of a detection, 0..1.
        suffix: ``.png`` or ``.jpg``.
    """

    crop: str = "box"
    size: int | None = None
    by: Literal["auto", "box"] = "auto"
    faces: Literal["main", "all"] = "main"
    detector: str = "mtcnn"
    detect: bool = False
    min_face: float = 20.0
    min_score: float = 0.7
    suffix: Literal[".png", ".jpg"] = ".png"


@dataclass
class PrepareReport:
    """What a run did.

    Attributes:
        out: Folder of the crops.
        photographs: Photographs of the data set.
        skipped: Photographs that were done before.
        crops: Crops in the index.
        left_out: Photograph -> reason.
    """

    out: Path
    photographs: int
    skipped: int = 0
    crops: int = 0
    left_out: dict[str, str] = field(default_factory=dict)

    def summary(self) -> str:
        """Say the result in two lines at most."""
        before = f" ({self.skipped} photographs were done before)" if self.skipped else ""
        text = f"wrote {self.crops} crops of {self.photographs} photographs to {self.out}{before}"
        if not self.left_out:
            return text + "; nothing was left out."
        kinds = Counter(_kind(reason) for reason in self.left_out.values())
        shown = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
        return f"{text}\nleft out {len(self.left_out)} ({shown}): {self.out / 'left_out.csv'}"


def prepare(
    source: FaceSource,
    out: Path,
    options: PrepareOptions,
    overwrite: bool = False,
    workers: int = 2,
    progress: Progress = silent,
) -> PrepareReport:
    """Cut out the faces of every photograph of a source.

    Unreadable photographs, photographs without a face and faces that the rule cannot cut are left out and listed.

    Args:
        source: The photographs.
        out: Folder to write; an interrupted run goes on in it.
        options: How.
        overwrite: Start again; crops of an older run are removed.
        workers: Threads that read and write pictures.
        progress: Shows progress, for example :func:`lineament.pipeline.progress.progress`.

    Raises:
        UsageError: On an unknown crop or detector.
        LineamentError: If the folder holds something else, or a run with other options.
    """
    size = options.size or crop_size(options.crop)
    detector = make_detector(options.detector)
    names = [sample_id(source, index) for index in range(len(source))]
    files = crop_files(names, options.suffix)
    settings = {"source": source.name, **asdict(options), "size": size}
    journal = Journal(out, settings, overwrite)
    todo = [index for index, name in enumerate(names) if name not in journal.done]
    cutter = _Cutter(options, size, out, frozenset(files))
    skipped = len(names) - len(todo)
    with (
        journal,
        ThreadPoolExecutor(workers) as pool,
        progress("cropping", len(names), "photographs", skipped) as step,
    ):
        for start in range(0, len(todo), CHUNK):
            chunk = todo[start : start + CHUNK]
            read = list(pool.map(lambda index: _read(source, index), chunk))
            found = _find(read, detector, options)
            results = pool.map(cutter.cut, [files[index] for index in chunk], read, found)
            for index, (rows, reason) in zip(chunk, results, strict=True):
                journal.add(names[index], rows, reason)
                step()
    left_out, rows = journal.left_out(names), journal.rows(names)
    write_left_out(out / "left_out.csv", left_out)
    if not rows:
        raise DataError(
            f"no face of {source.name} could be cut out: {len(left_out)} photographs were left out, see "
            f"{out / 'left_out.csv'}."
        )
    write_index(out / "index.parquet", rows, settings)
    return PrepareReport(out, len(names), skipped, len(rows), left_out)


def crop_files(names: Sequence[str], suffix: str) -> list[str]:
    """Name the crop file of every photograph, relative to the output folder, without two alike.

    ``holiday/a.jpg`` becomes ``crops/holiday/a.png``; where ``holiday/a.bmp`` would become the same, both keep their
    ending as part of the name.
    """
    stems = [PurePosixPath(name).with_suffix("").as_posix().lstrip("/") for name in names]
    # Compared without case: some file systems do not tell a.png and A.png apart.
    often = Counter(stem.casefold() for stem in stems)
    return [
        f"crops/{stem if often[stem.casefold()] == 1 else name.replace('.', '_')}{suffix}"
        for stem, name in zip(stems, names, strict=True)
    ]


@dataclass(frozen=True)
class _Face:
    """One face to cut out, in pixels of the photograph."""

    box: Tensor
    landmarks: Tensor | None = None
    scheme: str | None = None
    score: float | None = None
    points: Tensor | None = None


def _read(source: FaceSource, index: int) -> FaceSample | str:
    """Read a photograph, or say why not."""
    try:
        return source[index]
    except DataError as error:
        return str(error)


def _known(sample: FaceSample, options: PrepareOptions) -> _Face | None:
    """Return the face that the labels of a photograph tell of."""
    if options.detect or (sample.box is None and sample.landmarks is None):
        return None
    if sample.box is not None:
        box = sample.box
    elif sample.scheme == "5":
        box = Detection.given(points=sample.landmarks).box
    else:
        assert sample.landmarks is not None
        box = box_from_landmarks(sample.landmarks)
    return _Face(box, sample.landmarks, sample.scheme)


def _find(read: Sequence[FaceSample | str], detector: Detector, options: PrepareOptions) -> list[list[_Face]]:
    """List the faces of every photograph: the labelled one, else those the detector finds."""
    faces: list[list[_Face]] = [[] for _ in read]
    search = []
    for place, sample in enumerate(read):
        if isinstance(sample, str):
            continue
        known = _known(sample, options)
        if known:
            faces[place] = [known]
        else:
            search.append((place, sample.image))
    if not search:
        return faces
    found = detect_faces(
        [image for _, image in search], detector, min_face=options.min_face, min_score=options.min_score
    )
    for (place, _), detections in zip(search, found, strict=True):
        chosen = detections
        if options.faces == "main":
            best = main_face(detections)
            chosen = [] if best is None else [best]
        faces[place] = [_Face(one.box, score=one.score, points=one.points) for one in chosen]
    return faces


class _Cutter:
    """Cuts the faces of one photograph, writes them, and describes them for the index."""

    def __init__(self, options: PrepareOptions, size: int, out: Path, files: frozenset[str]) -> None:
        self.files = files
        self.options = options
        self.size = size
        self.out = out

    def cut(
        self, file: str, sample: FaceSample | str, faces: list[_Face]
    ) -> tuple[list[dict[str, Any]], str]:
        """Return the rows of the index, and why nothing was cut ("" where something was)."""
        if isinstance(sample, str):
            return [], f"unreadable: {sample}"
        if not faces:
            return [], "no face found"
        rows: list[dict[str, Any]] = []
        reason = ""
        for number, face in enumerate(faces):
            name = file if number == 0 else self._further(file, number + 1)
            longest = float(max(face.box[2] - face.box[0], face.box[3] - face.box[1]))
            if longest < self.options.min_face:
                reason = f"face too small: {longest:.0f} px, the least is {self.options.min_face:g} px"
                continue
            try:
                transform = self._transform(sample, face)
                write_image(self.out / name, crop_image(sample.image, transform, self.size, "edge"))
            except DataError as error:
                reason = f"cannot be cut: {error}"
                continue
            rows.append(_row(name, sample, face, transform))
        return rows, "" if rows else reason

    def _further(self, file: str, number: int) -> str:
        """Name the crop of a further face, so that it is not the crop of another photograph."""
        stem = PurePosixPath(file).with_suffix("").as_posix()
        name = f"{stem}_{number}{self.options.suffix}"
        while name in self.files:
            stem += "_"
            name = f"{stem}_{number}{self.options.suffix}"
        return name

    def _transform(self, sample: FaceSample, face: _Face) -> Similarity:
        landmarks, scheme = face.landmarks, face.scheme
        if landmarks is None and face.points is not None:
            landmarks, scheme = face.points, "5"
        if self.options.by == "box":
            landmarks = scheme = None
        height, width = sample.image.shape[-2:]
        return named_crop(
            self.options.crop,
            box=face.box,
            landmarks=landmarks,
            scheme=scheme,
            image_size=(height, width),
            size=self.size,
        )


def _row(file: str, sample: FaceSample, face: _Face, transform: Similarity) -> dict[str, Any]:
    """Describe one crop; everything but the transform is in pixels of the photograph."""
    height, width = sample.image.shape[-2:]
    return {
        "id": file,
        "file": file,
        "photo_id": sample.id,
        "photo": str(sample.path) if sample.path is not None else None,
        "photo_width": width,
        "photo_height": height,
        "identity": sample.identity,
        "box": face.box.double().tolist(),
        "score": face.score,
        "scheme": face.scheme,
        "landmarks": None if face.landmarks is None else face.landmarks.double().flatten().tolist(),
        "detected_points": None if face.points is None else face.points.double().flatten().tolist(),
        "crop_to_photo": transform.inverse().matrix.flatten().tolist(),
    }


def _kind(reason: str) -> str:
    """Shorten a reason to its kind, for counting."""
    return reason.partition(":")[0]
