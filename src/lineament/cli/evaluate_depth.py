"""`lineament evaluate depth`: scores depths of keypoints over all pairs of faces, or on photos without labels."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields
from pathlib import Path

from tyro.conf import Positional

from lineament.cli.parse import parse
from lineament.pipeline.evaluate.depth_options import DepthOptions
from lineament.pipeline.turn.options import KeypointOptions


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
    # How depths are scored.
    scoring: DepthOptions = field(default_factory=DepthOptions)
    # With --photos: where their keypoints come from, and the head that tells how far a face is turned.
    points: KeypointOptions = field(default_factory=KeypointOptions)
    # File for the cards (one subject only).
    out: Path | None = None


def main(arguments: list[str]) -> int:
    """Run the verb."""
    command = parse(Command, "evaluate depth", arguments)
    from lineament.errors import UsageError

    if not command.subject:
        raise UsageError("give at least one run or file to score.")
    command.scoring.check()
    if len(command.subject) > 1 and (command.scoring.dump or command.out):
        raise UsageError("--dump and --out name one file: score one run at a time with them.")
    if bool(command.data) == bool(command.photos):
        raise UsageError("say what to score on: --data for faces with known depths, or --photos.")
    if command.photos:
        return _on_photos(command)
    given = [*_changed(command.points), *({"frontal"} & set(_changed(command.scoring)))]
    if given:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise UsageError(f"leave out {flags}: they belong to --photos, and --data has its own keypoints.")
    return _on_data(command)


def _changed(options: DepthOptions | KeypointOptions) -> list[str]:
    """Names of the options that were given another value than the usual one."""
    return [each.name for each in fields(options) if getattr(options, each.name) != each.default]


def _on_data(command: Command) -> int:
    from lineament.data.registry import open_data
    from lineament.metrics.card import write_cards
    from lineament.pipeline.evaluate.depth import draw_figures, grid_text, score_subject, table_over_seeds

    source, options = open_data(command.data), command.scoring
    scored = []
    for subject in command.subject:
        result = score_subject(subject, source, options.count, options.dump)
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
    if options.dump:
        print(f"wrote {options.dump}")
    if options.figures:
        for drawn in draw_figures(scored, options.figures):
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

    options = command.scoring
    if options.dump or any(subject.is_file() for subject in command.subject):
        raise UsageError("--photos scores run directories, and has no pairs to --dump.")
    for subject in command.subject:
        load_depth_run(str(subject))  # a wrong run is said before thousands of images are read
    photos = [photo.path for photo in plan(command.photos, mark=".depth")]
    photos = photos[: options.count or None]
    request = FaceRequest.open(FaceOptions(**vars(command.points), model=OF_HEAD))
    name = ", ".join(each.resolve().name for each in command.photos)
    found = find_faces(photos, request, progress=progress)
    for subject in command.subject:
        faces = predict_depth(subject, found)
        card = plausibility_card(faces, name, options.frontal)
        print(f"== {faces.run}\n{card.text()}\n{summary(card)}")
        path = command.out or _card_path(subject, f"photos-{name}")
        write_cards([card], path)
        print(f"wrote {path}")
        if options.figures:
            sheet = draw_sheet(faces, options.figures / f"{subject.name}-photos.png", options.frontal)
            print(f"wrote {sheet}")
    return 0
