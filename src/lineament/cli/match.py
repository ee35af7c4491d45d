"""`lineament match`: matches points between two faces."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tyro.conf import Positional

from lineament.cli.parse import parse
from lineament.pipeline.predict.options import MatchOptions

if TYPE_CHECKING:
    from torch import Tensor

    from lineament.faces.detection import Detection


@dataclass
class Command:
    """Match points of one face on to another, or on to all faces of a folder.

    By dense descriptors, where the model has them, else by a head fitted to its landmarks.

    Writes A-B.match.json (points in pixels of both photos) and an image: lines between matched points, the
    descriptors as colours, and A in the geometry of B. For a folder also A-FOLDER.matches.json and .csv with all points
    and a contact sheet .png: under every face its descriptors as colours and A in its geometry. Points come from
    --points, else they are the model's landmarks, else a grid. Examples:
    `lineament match anna.jpg ben.jpg --model runs/faces`,
    `lineament match anna.jpg photos/ --points "212,180 268,181" --model runs/faces`.
    """

    # Photo that holds the points.
    a: Positional[Path]
    # Photo, or folder of photos, to find them in.
    b: Positional[Path]
    # Run directory of descriptors or landmarks, model folder, or name of a model (`lineament models`); face-dense when
    # not given and there, else face-68.
    model: Path | None = None
    # Folder for the results; beside A when not given.
    out: Path | None = None
    # Where the model runs: cpu or cuda.
    device: str = "cpu"
    # How points are matched.
    matching: MatchOptions = field(default_factory=MatchOptions)


def main(arguments: list[str]) -> int:
    """Run the verb."""
    command = parse(Command, "match", arguments)
    from lineament.data.images import list_images, read_image
    from lineament.errors import DataError, NoFaceError
    from lineament.inference import load
    from lineament.pipeline.predict.describe import check_matches, default_matcher
    from lineament.pipeline.predict.face_view import view_face
    from lineament.pipeline.predict.match import (
        find_face,
        match_faces,
        match_settings,
        points_to_match,
        refuse_existing,
        relative_to,
        result_stems,
        table_stem,
        write_match,
    )
    from lineament.pipeline.predict.match_many import write_matches
    from lineament.pipeline.predict.results import Tally

    options = command.matching
    targets = list_images(command.b)
    stems = result_stems(command.a, targets, command.b, command.out)
    table = table_stem(command.a, command.b, command.out) if command.b.is_dir() else None
    for stem in [*stems, *([table] if table else [])]:
        refuse_existing(stem, options.overwrite)
    first = read_image(command.a)
    model = load(command.model or default_matcher(), command.device)
    check_matches(model)
    settings = match_settings(model, options)

    def main_face_of(image: Tensor, path: Path) -> Detection:
        return find_face(model, image, str(path), options.upright, all_faces=options.all_faces)

    face = main_face_of(first, command.a)
    points, names = points_to_match(model, first, face, options.points, command.a)
    source = view_face(model, first, face, command.a.name, command.a.parent)
    root = command.b if command.b.is_dir() else command.b.parent
    tally = Tally()
    matches = []
    for target, stem in zip(targets, stems, strict=True):
        try:
            image = read_image(target)
            name = relative_to(target, command.b).as_posix()
            other = view_face(model, image, main_face_of(image, target), name, root)
        except DataError as error:
            if not command.b.is_dir():
                raise
            kind = tally.without_face if isinstance(error, NoFaceError) else tally.failed
            kind[str(target)] = str(error)
            continue
        match = match_faces(source, other, points, names)
        matches.append(match)
        written = write_match(match, stem, settings)
        print(f"{len(points)} points: wrote {' and '.join(str(path) for path in written)}")
        tally.done += 1
    if table and matches:
        written = write_matches(matches, table, settings)
        print(f"{len(matches)} faces: wrote {', '.join(str(path) for path in written)}")
    return tally.tell() if command.b.is_dir() else 0
