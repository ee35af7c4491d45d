"""`lineament labels convert`: turns the label file of one tool into that of another."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from lineament.cli.parse import parse


@dataclass
class Command:
    """Read the labels of any known tool and write them as our json, csv, pts, or COCO keypoints.

    Read are: our json and csv, pts, COCO keypoints, CVAT for images 1.1 (xml), labelme (json), dlib (xml), LaPa and
    JD-landmark (txt), WFLW's list (txt); of a folder all label files together. The format is found by what is in the
    file, and the images need not be there. Example:
    `lineament labels convert annotations.xml --to json --out labels.json`.
    """

    # Label file, or folder of label files of one tool.
    source: Positional[Path]
    # Format to write.
    to: Literal["json", "csv", "pts", "coco"]
    # File to write; for pts a folder, which gets a file for each face.
    out: Path
    # Landmark scheme to write: a name or a yaml file. It names points without names; others are converted.
    scheme: str | None = None
    # What the file read calls the middle of the first pixel; where not given, what its format does (docs/labels.md).
    first_pixel: Literal["0", "0.5", "1"] | None = None
    # Replace what is there.
    overwrite: bool = False


def main(arguments: list[str]) -> int:
    """Run the verb."""
    command = parse(Command, "labels convert", arguments)
    from lineament.pipeline.convert_labels import convert_labels

    labels, written = convert_labels(
        command.source,
        command.to,
        command.out,
        scheme=command.scheme,
        first_pixel=None if command.first_pixel is None else float(command.first_pixel),
        overwrite=command.overwrite,
    )
    images = len({face.image for face in labels.faces})
    points = (
        "no points" if labels.scheme is None else f"{len(labels.scheme)} points (scheme {labels.scheme.name})"
    )
    missing = sum(int((~face.placed).sum()) for face in labels.faces)
    lost = f", {missing} points missing" if missing else ""
    print(f"{len(labels.faces)} faces in {images} images, {points}{lost}.")
    print(command.out if command.to == "pts" else written[0])
    return 0
