"""`lineament evaluate depth`: scores depths of keypoints over all pairs of faces, or on photos without labels."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from lineament.cli.parse import parse


@dataclass
class Command:
    """Score runs of DepthNets and AIGN, or depths from a file (MOFA), on faces with known depths or on photos.

    With --data prints DepthCorr and keypoint error as metric cards, and the mean over seeds where runs differ in
    nothing else. With --photos needs no depths: the share of frontal faces whose nose lies in front of the eye corners
    and whose jaw ends lie behind them. Cards go into RUN/evaluations, or to --out. Example:
    `lineament evaluate depth runs/depthnet --data 3dfaw-keypoints:/data/3dfaw?split=test --figures figures/`.
    """

    # Run directories, or .npz files with ids and kps (n x 3 or more x 66, depth last).
    subject: Positional[tuple[Path, ...]]
    # Faces: 3dfaw-keypoints:FOLDER?split=test, synthetic-keypoints?split=test&head=ict, ...
    data: str = ""
    # Photos and folders of photos of faces, instead of --data.
    photos: tuple[Path, ...] = ()
    # With --photos: label file (json, csv) with 68 keypoints of each, or such as can be turned into them.
    keypoints: Path | None = None
    # With --photos: run directory or name of a landmark model; face-68 when neither this nor --keypoints is given;
    # head: a mean head is put on the faces.
    landmarks_model: Path | None = None
    # With --photos: head that tells how far a face is turned, builtin or ict.
    head: str = "builtin"
    # Folder of the data packs, for the ICT head.
    packs: Path | None = None
    # With --photos: largest yaw of a frontal face in degrees.
    frontal: float = 15.0
    # Use only the first so many faces; 0 uses all (the published valid score takes 225).
    count: int = 0
    # Write the predicted depths of all pairs to this .npz (one run only; N x N x 66 numbers).
    dump: Path | None = None
    # Draw the figures of the paper, or the sheet of the photos, into this folder.
    figures: Path | None = None
    # File for the cards (one subject only).
    out: Path | None = None


def main(arguments: list[str]) -> int:
    """Run the verb."""
    command = parse(Command, "evaluate depth", arguments)
    from lineament.errors import UsageError

    if not command.subject or command.count < 0:
        raise UsageError("give at least one run or file to score, and a --count of 0 or more.")
    if len(command.subject) > 1 and (command.dump or command.out):
        raise UsageError("--dump and --out name one file: score one run at a time with them.")
    if bool(command.data) == bool(command.photos):
        raise UsageError("say what to score on: --data for faces with known depths, or --photos.")
    if command.photos:
        return _on_photos(command)
    if command.keypoints or command.landmarks_model:
        raise UsageError(
            "--keypoints and --landmarks-model belong to --photos; --data has its own keypoints."
        )
    return _on_data(command)


def _on_data(command: Command) -> int:
    from lineament.data.registry import open_data
    from lineament.metrics.card import write_cards
    from lineament.pipeline.evaluate.depth import draw_figures, grid_text, score_subject, table_over_seeds

    source = open_data(command.data)
    scored = []
    for subject in command.subject:
        result = score_subject(subject, source, command.count, command.dump)
        scored.append(result)
        print(f"== {result.name}")
        for card in result.cards:
            print(card.text())
        if grid_text(result.scores):
            print(grid_text(result.scores))
        path = command.out or _card_path(subject, source.name)
        write_cards(result.cards, path)
        print(f"wrote {path}")
    if table_over_seeds(scored):
        print(table_over_seeds(scored))
    if command.dump:
        print(f"wrote {command.dump}")
    if command.figures:
        for drawn in draw_figures(scored, command.figures):
            print(f"wrote {drawn}")
    return 0


def _card_path(subject: Path, data: str) -> Path:
    word = re.sub(r"[^\w.-]+", "-", data).strip("-") or "data"
    beside = subject.with_name(f"{subject.stem}-depth-{word}.cards.json")
    return subject / "evaluations" / f"depth-{word}.json" if subject.is_dir() else beside


def _on_photos(command: Command) -> int:
    from lineament.errors import UsageError
    from lineament.metrics.card import write_cards
    from lineament.pipeline.evaluate.depth_photos import (
        draw_sheet,
        find_faces,
        plausibility_card,
        predict_depth,
        summary,
    )
    from lineament.pipeline.predict.photos import plan
    from lineament.pipeline.turn.depth import load_depth_run
    from lineament.pipeline.turn.models import OF_HEAD
    from lineament.pipeline.turn.options import FaceOptions
    from lineament.pipeline.turn.run import FaceRequest
    from lineament.progress import progress

    if command.dump or any(subject.is_file() for subject in command.subject):
        raise UsageError("--photos scores run directories, and has no pairs to --dump.")
    if not 0 < command.frontal <= 90:
        raise UsageError(f"--frontal is an angle above 0 and at most 90 degrees, not {command.frontal:g}.")
    for subject in command.subject:
        load_depth_run(str(subject))  # a wrong run is said before thousands of images are read
    photos = [photo.path for photo in plan(command.photos, mark=".depth")]
    photos = photos[: command.count or None]
    request = FaceRequest.open(
        FaceOptions(command.keypoints, command.landmarks_model, OF_HEAD, command.head, command.packs)
    )
    name = ", ".join(each.resolve().name for each in command.photos)
    found = find_faces(photos, request, progress=progress)
    for subject in command.subject:
        faces = predict_depth(subject, found)
        card = plausibility_card(faces, name, command.frontal)
        print(f"== {faces.run}\n{card.text()}\n{summary(card)}")
        path = command.out or _card_path(subject, f"photos-{name}")
        write_cards([card], path)
        print(f"wrote {path}")
        if command.figures:
            sheet = draw_sheet(faces, command.figures / f"{subject.name}-photos.png", command.frontal)
            print(f"wrote {sheet}")
    return 0
