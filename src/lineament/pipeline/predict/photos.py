"""Which images a command works on, and where their results go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lineament.data.images import IMAGE_SUFFIXES, is_animation, list_images
from lineament.data.video import VIDEO_SUFFIXES, is_video, list_videos
from lineament.errors import DataError, UsageError

FACES = ".faces"
LANDMARKS = ".landmarks"


@dataclass(frozen=True)
class Photo:
    """An image to look at.

    Attributes:
        path: The file.
        name: Its name in tables, relative to the folder that was given.
        folder: Folder of the results.
        mark: What is put between the photo's name and the ending of a result.
        film: Take an animated image for a video.
    """

    path: Path
    name: str
    folder: Path
    mark: str = FACES
    film: bool = False

    @property
    def stem(self) -> Path:
        """Path of the results without their endings."""
        return self.folder / (self.name + self.mark)

    @property
    def root(self) -> Path:
        """The folder that :attr:`name` counts from."""
        return self.path.parents[len(Path(self.name).parts) - 1]

    @property
    def is_video(self) -> bool:
        """Whether it is a video by its ending, or an animation that is to be taken for one."""
        return self.film or is_video(self.path)

    @property
    def json(self) -> Path:
        """The file that is written last: where it exists, the image is done."""
        return self.stem.with_name(self.stem.name + ".json")


def plan(
    inputs: Sequence[Path],
    out: Path | None = None,
    mark: str = FACES,
    videos: bool = False,
    animations: bool = False,
) -> list[Photo]:
    """List the photos of files and folders and decide where results go.

    Results of a single photo lie beside it as ``photo.jpg.faces.json`` (and csv, png); those of a folder in a
    folder beside it, ``FOLDER-faces``, under the same relative names; everything goes under ``out`` where it is given.
    Other marks than ``.faces`` replace that word everywhere. With ``videos`` the videos of folders follow their
    photos; with ``animations`` animated images are videos.

    Raises:
        DataError: If an input does not exist, or a folder holds no image.
        UsageError: If two photos would write the same files, a path is none, the folder for results is a file, or
            a video is given where photos are wanted.
    """
    for given in (*inputs, *([] if out is None else [out])):
        if "\0" in str(given):
            raise UsageError(f"{str(given)!r} is no path: it holds a null character.")
    if out is not None and out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file: name a folder for the results with --out.")
    if not videos and (films := [given for given in inputs if is_video(given) and not given.is_dir()]):
        raise UsageError(
            f"{films[0]} is a video: `lineament landmarks {films[0]} --model RUN` reads videos, this verb photos."
        )
    photos: list[Photo] = []
    taken: dict[Path, Path] = {}
    for given in inputs:
        if given.is_dir():
            here = given.resolve()
            if out is None and not here.name:
                raise UsageError(f"there is no place beside {here} for the results: say where with --out.")
            folder = out or here.with_name(f"{here.name}-{mark.strip('.')}")
            paths = _listed(given, videos)
            if folder.resolve() != here:
                paths = [path for path in paths if folder.resolve() not in path.resolve().parents]
            if not paths:
                raise DataError(f"there is no photo in {given}, only images that earlier runs drew.")
            names = [path.relative_to(given).as_posix() for path in paths]
        else:
            folder = out or given.parent
            paths, names = [given], [given.name]
        for path, name in zip(paths, names, strict=True):
            photo = Photo(path, name, folder, mark, animations and is_animation(path))
            other = taken.setdefault(photo.stem, path)
            if other.resolve() != path.resolve():
                raise UsageError(
                    f"{other} and {path} would write the same files {photo.stem}.*: give one --out each."
                )
            if other is path:
                photos.append(photo)
    return photos


def _listed(folder: Path, videos: bool) -> list[Path]:
    """Images of a folder and, where they are wanted, its videos; nothing that earlier runs drew."""
    films = list_videos(folder) if videos else []
    try:
        photos = list_images(folder)
    except DataError as error:
        if films:
            return films
        if videos:
            endings = ", ".join(sorted(IMAGE_SUFFIXES | VIDEO_SUFFIXES))
            raise DataError(f"there is no image in {folder} and no video: expected {endings}.") from error
        raise
    return photos + films
