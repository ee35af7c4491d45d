"""CelebA, aligned version, and its part MAFL (Liu et al., ICCV 2015; Zhang et al., ECCV 2014).

Splits are those of the descriptor-exchange experiments: ``train`` is the official training part without any MAFL
image, ``val`` the first 2000 images of the official *test* part without MAFL, ``test`` all of that part.
"""

from __future__ import annotations

from pathlib import Path

from lineament.data.records import (
    Record,
    RecordSource,
    check_count,
    numbers,
    open_archive,
    read_lines,
    require,
    require_one,
)
from lineament.data.registry import register_reader
from lineament.data.rejects import find_rejects
from lineament.errors import DataError, unknown_name

WHERE = (
    "http://mmlab.ie.cuhk.edu.hk/projects/CelebA.html, or packed with MAFL from "
    "http://www.robots.ox.ac.uk/~vgg/research/DVE/data/datasets/celeba.tar.gz (9.0 GiB, sha1 "
    "f6872ab0f2df8e5843abe99dc6d6100dd4fea29f)"
)
MAFL_WHERE = "https://github.com/zhzhanp/TCDCN-face-alignment (folder MAFL), or the packed CelebA: " + WHERE
PUBLISHED = 202_599
# Folder of images below Img, the default first.
FOLDERS = {"hq": "img_align_celeba_hq", "standard": "img_align_celeba"}


@register_reader(
    "celeba",
    "CelebA aligned 178x218, 5 landmarks, without the MAFL images",
    splits=("train", "val", "test", "all"),
    where=WHERE,
)
def open_celeba(
    root: Path, split: str = "train", images: str = "auto", subset: bool = False, rejects: str | None = None
) -> RecordSource:
    """Open CelebA.

    Args:
        root: Holds ``Img/img_align_celeba_hq`` or ``Img/img_align_celeba`` (a folder or ``.zip``),
            ``Anno/list_landmarks_align_celeba.txt``, ``Eval/list_eval_partition.txt``, ``MAFL/{training,testing}.txt``
            and, if identities are wanted, ``Anno/identity_CelebA.txt``.
        split: ``train``, ``val``, ``test`` or ``all`` (every image, MAFL too).
        images: ``hq``, ``standard`` or ``auto`` (hq where it exists).
        subset: Accept a number of rows that differs from the published one.
        rejects: Reject list to honour instead of the one in the root.
    """
    landmarks = _landmarks(root, subset)
    names = list(landmarks)
    if split != "all":
        mafl = {*_mafl_names(root, "training", True), *_mafl_names(root, "testing", True)}
        part = "0" if split == "train" else "2"
        partition = _partition(root)
        names = [name for name in names if partition.get(name) == part and name not in mafl]
        names = names[:2000] if split == "val" else names
    return _source(f"celeba/{split}", root, names, landmarks, images, rejects)


@register_reader(
    "mafl", "MAFL: 20,000 CelebA faces with 5 landmarks", splits=("train", "test"), where=MAFL_WHERE
)
def open_mafl(
    root: Path, split: str = "train", images: str = "auto", subset: bool = False, rejects: str | None = None
) -> RecordSource:
    """Open MAFL: 19,000 training and 1,000 test images of CelebA; arguments as :func:`open_celeba`."""
    landmarks = _landmarks(root, subset)
    names = _mafl_names(root, {"train": "training", "test": "testing"}[split], subset)
    for name in names:
        if name not in landmarks:
            raise DataError(
                f"{root / 'Anno' / 'list_landmarks_align_celeba.txt'} has no landmarks of {name}, which MAFL names."
            )
    return _source(f"mafl/{split}", root, names, landmarks, images, rejects)


def _landmarks(root: Path, subset: bool) -> dict[str, tuple[tuple[float, float], ...]]:
    """Read five points xy of every image; the first two lines hold the count and the column names."""
    path = root / "Anno" / "list_landmarks_align_celeba.txt"
    lines = read_lines(path, "the five landmarks of every image", WHERE)[2:]
    check_count(str(path), len(lines), PUBLISHED, subset)
    result = {}
    for number, line in enumerate(lines, start=3):
        name, *values = line.split()
        if len(values) != 10:
            raise DataError(
                f"line {number} of {path} holds {len(values)} numbers instead of 10: {line.strip()!r}."
            )
        flat = numbers(values, f"line {number} of {path}")
        result[name] = tuple(zip(flat[::2], flat[1::2], strict=True))
    return result


def _partition(root: Path) -> dict[str, str]:
    path = root / "Eval" / "list_eval_partition.txt"
    return _pairs(path, read_lines(path, "which image belongs to train 0, val 1, test 2", WHERE))


def _pairs(path: Path, lines: list[str]) -> dict[str, str]:
    pairs = {}
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if len(words) != 2:
            raise DataError(
                f"line {number} of {path} holds {len(words)} words instead of 2: {line.strip()!r}."
            )
        pairs[words[0]] = words[1]
    return pairs


def _mafl_names(root: Path, part: str, subset: bool) -> list[str]:
    path = root / "MAFL" / f"{part}.txt"
    names = [line.strip() for line in read_lines(path, "names of the MAFL images", MAFL_WHERE)]
    check_count(str(path), len(names), {"training": 19_000, "testing": 1_000}[part], subset)
    return names


def _source(
    name: str,
    root: Path,
    names: list[str],
    landmarks: dict[str, tuple[tuple[float, float], ...]],
    images: str,
    rejects: str | None,
) -> RecordSource:
    folder, archive = _images(root, images)
    identity_file = root / "Anno" / "identity_CelebA.txt"
    identities = (
        _pairs(identity_file, read_lines(identity_file, "identities", WHERE))
        if identity_file.is_file()
        else {}
    )
    records = [
        Record(
            id=image,
            path=folder if archive else folder / image,
            member=archive.get(image, image) if archive else None,
            landmarks=landmarks[image],
            identity=identities.get(image),
        )
        for image in names
    ]
    return RecordSource(name, records, "5", 5, find_rejects(root, rejects))


def _images(root: Path, images: str) -> tuple[Path, dict[str, str]]:
    """Find the folder of images, or the archive with its member of every image name."""
    if images not in (*FOLDERS, "auto"):
        raise unknown_name("choice of CelebA images", images, (*FOLDERS, "auto"))
    wanted = list(FOLDERS.values()) if images == "auto" else [FOLDERS[images]]
    candidates = [root / "Img" / f"{name}{suffix}" for name in wanted for suffix in ("", ".zip")]
    require(root / "Img", "the folder of images", WHERE)
    found = require_one(candidates, "the aligned images", WHERE)
    if found.suffix != ".zip":
        return found, {}
    with open_archive(found) as archive:
        return found, {Path(member).name: member for member in archive.namelist() if not member.endswith("/")}
