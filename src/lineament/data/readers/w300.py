"""300-W: 68 landmarks on AFW, HELEN, LFPW and iBUG (Sagonas et al., ICCV workshop 2013).

Train is AFW + HELEN train + LFPW train (3,148), test HELEN test + LFPW test + iBUG (689), as in the common protocol.
Points and boxes are stored with pixel centres at 1; both are moved to 0 here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from lineament.data.records import Record, RecordSource, check_count, require
from lineament.data.registry import register_reader
from lineament.data.rejects import find_rejects
from lineament.errors import DataError, unknown_name
from lineament.faces.labels import read_keypoints
from lineament.faces.schemes import scheme

WHERE = (
    "https://ibug.doc.ic.ac.uk/resources/300-W/, or packed from "
    "http://www.robots.ox.ac.uk/~vgg/research/DVE/data/datasets/300w.tar.gz (3.0 GiB, sha1 "
    "885b09159c61fa29998437747d589c65cfc4ccd3)"
)
# Name of the box file -> folder of its images.
FOLDERS = {
    "afw": "afw",
    "helen_trainset": "helen/trainset",
    "helen_testset": "helen/testset",
    "lfpw_trainset": "lfpw/trainset",
    "lfpw_testset": "lfpw/testset",
    "ibug": "ibug",
}
# The same in the layout of 3FabRec.
FABREC_FOLDERS = {
    "afw": "images/train/afw",
    "helen_trainset": "images/train/helen",
    "lfpw_trainset": "images/train/lfpw",
    "helen_testset": "images/test/common/helen",
    "lfpw_testset": "images/test/common/lfpw",
    "ibug": "images/test/challenging/ibug",
}
PARTS = {
    "train": ("afw", "helen_trainset", "lfpw_trainset"),
    "test": ("helen_testset", "lfpw_testset", "ibug"),
    "common": ("helen_testset", "lfpw_testset"),
    "challenging": ("ibug",),
}
PUBLISHED = {"train": 3148, "test": 689, "common": 554, "challenging": 135}


@register_reader("300w", "300-W: 68 landmarks and face boxes", splits=tuple(PARTS), where=WHERE)
def open_300w(
    root: Path,
    split: str = "train",
    subset: bool = False,
    boxes: Literal["ground_truth", "detector"] = "ground_truth",
    rejects: str | None = None,
) -> RecordSource:
    """Open 300-W.

    Args:
        root: Holds ``Bounding Boxes/bounding_boxes_*.mat`` and the folders ``afw``, ``helen/{trainset,testset}``,
            ``lfpw/{trainset,testset}``, ``ibug`` with images and ``.pts`` files; or a folder ``300w`` with them; or
            the folders ``images/train/{afw,helen,lfpw}``, ``images/test/common/{helen,lfpw}``,
            ``images/test/challenging/ibug``.
        split: ``train``, ``test``, or the parts of test: ``common``, ``challenging``.
        subset: Accept a number of images that differs from the published one.
        boxes: Which of the two boxes of each face to take.
        rejects: Reject list to honour instead of the one in the root.
    """
    if not (root / "Bounding Boxes").is_dir() and (root / "300w").is_dir():
        root = root / "300w"
    if boxes not in ("ground_truth", "detector"):
        raise unknown_name("kind of box", boxes, ("ground_truth", "detector"))
    folders = FABREC_FOLDERS if (root / "images").is_dir() else FOLDERS
    records = []
    for part in PARTS[split]:
        folder = require(root / folders[part], f"the images of {part}", WHERE)
        for name, box in sorted(_boxes(root, part, boxes).items()):
            # The box file of iBUG also lists images that the protocol does not use.
            if part == "ibug" and not name.startswith("image"):
                continue
            records.append(_record(root, folder / name, box, part))
    check_count(f"300w/{split} in {root}", len(records), PUBLISHED[split], subset)
    return RecordSource(f"300w/{split}", records, "68", len(scheme("68")), find_rejects(root, rejects))


def _boxes(root: Path, part: str, kind: str) -> dict[str, tuple[float, float, float, float]]:
    """Read file name -> box ``x0, y0, x1, y1`` as stored: inclusive pixel numbers counted from 1."""
    import scipy.io

    path = root / "Bounding Boxes" / f"bounding_boxes_{part}.mat"
    require(path, f"the face boxes of {part}", WHERE)
    try:
        entries: Any = scipy.io.loadmat(path, squeeze_me=True, struct_as_record=False)["bounding_boxes"]
        entries = entries.reshape(-1) if hasattr(entries, "reshape") else [entries]
        boxes = {}
        for entry in entries:
            x0, y0, x1, y1 = (float(value) for value in getattr(entry, f"bb_{kind}"))
            boxes[str(entry.imgName)] = (x0, y0, x1, y1)
        return boxes
    # A damaged .mat file raises almost anything out of the reader.
    except Exception as error:
        raise DataError(f"{path} cannot be read as the face boxes of {part}: {error}.") from error


def _record(root: Path, image: Path, box: tuple[float, float, float, float], part: str) -> Record:
    points = None
    fault = ""
    try:
        labelled = read_keypoints(image.with_suffix(".pts"), "68").faces[0].landmarks
        points = None if labelled is None else labelled.tolist()
    except DataError as error:
        fault = str(error).rstrip(".")
    x0, y0, x1, y1 = box
    edges = (x0 - 1.5, y0 - 1.5, x1 - 0.5, y1 - 0.5)
    name = image.relative_to(root).as_posix()
    # The published protocol rounds sizes computed from the stored numbers, so it must have them unchanged.
    meta: dict[str, Any] = {"published_box": box}
    if part in PARTS["test"]:
        meta["subsets"] = ("challenging",) if part == "ibug" else ("common",)
    return Record(name, image, box=edges, landmarks=points, meta=meta, fault=fault)
