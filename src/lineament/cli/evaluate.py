"""`lineament evaluate`: scores a run, a file of predictions or features, or a function, on labelled data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from lineament.cli.parse import parse


@dataclass
class Command:
    """Score a run, or somebody else's landmarks or dense features, on labelled data; prints metric cards.

    Writes the cards as json: into RUN/evaluations, or to --out. Several runs that differ in their seed give the mean
    and the standard deviation over the seeds. Data sets with a published preprocessing (celeba, mafl, 300w, aflw-m,
    aflw-r) are cut by it. Examples:
    `lineament evaluate runs/faces --data mafl:/data/celeba?split=test --protocol matching`,
    `lineament evaluate my_package.features:describe --data mafl:/data/celeba?split=test --protocol matching`.
    """

    # What is scored: run directories (several: seeds of one configuration); a label file (json, csv) of predicted
    # landmarks; dense features in an .npz, .safetensors or folder of .npy; or package.module:function.
    subject: Positional[tuple[str, ...]]
    # Labelled data: a folder, NAME:FOLDER, or NAME?option=value (see `lineament data list`).
    data: str
    # landmarks: error of the landmarks; matching: error of matched landmarks between warps and identities;
    # reconstruction: what an autoencoder makes of the faces, as a whole and at their landmarks.
    protocol: Literal["landmarks", "matching", "reconstruction"] = "landmarks"
    # How faces are cut: auto (as published where data set and model have a published way, else box), box, or the name
    # of a published preprocessing (celeba, aflw-m, aflw-r, 300w, 300w-bicubic); auto when not given.
    crops: str | None = None
    # Use only the first so many samples; 0 uses all.
    count: int = 0
    # Label file of the data, of any tool (docs/labels.md): only its labelled faces are scored.
    annotations: Path | None = None
    # Landmark scheme to compare in, a name or a yaml file; the labels' own when not given.
    scheme: str | None = None
    # What errors are divided by (landmarks, faces cut by the box): inter-ocular, inter-pupil, box, box-side, diagonal;
    # when not given inter-ocular, and box for a scheme without eyes.
    normaliser: str | None = None
    # Move and scale each face box by up to this share of its side (landmarks protocol, faces cut by the box).
    box_jitter: float = 0.0
    # Features from elsewhere: side in pixels of the images before the crop; 100 when not given.
    image_size: int | None = None
    # Features from elsewhere: pixels cut off each side; 15 when not given.
    crop: int | None = None
    # Write the images of the matching evaluation into this folder, for a program that will describe them.
    pictures_out: Path | None = None
    # Write the features of the matching evaluation: .npz, .safetensors, or a folder.
    features_out: Path | None = None
    # Landmarks: also write subset tables, cumulative curves and the error of every landmark into this folder.
    tables: Path | None = None
    # Landmarks: how the area under the cumulative curve is taken: exact (when not given), or paper (3FabRec: the
    # mean of the curve at 50 thresholds from 0 to 10 %).
    area: Literal["exact", "paper"] | None = None
    # Seed of everything random in the protocol.
    seed: int = 0
    # File for the cards.
    out: Path | None = None
    # Where the model runs: cpu or cuda.
    device: str = "cpu"


def main(arguments: list[str]) -> int:
    """Run the verb."""
    command = parse(Command, "evaluate", arguments)
    from lineament.data.registry import open_data, with_labels
    from lineament.errors import UsageError
    from lineament.metrics.card import write_cards
    from lineament.pipeline.evaluate.score import (
        EvaluateOptions,
        default_card_path,
        evaluate,
        evaluate_seeds,
        write_matching_images,
    )

    if command.count < 0 or not 0 <= command.box_jitter < 1:
        raise UsageError("--count is at least 0 and --box-jitter in 0..1.")
    options = EvaluateOptions(
        protocol=command.protocol,
        count=command.count,
        scheme=command.scheme,
        normaliser=command.normaliser,
        box_jitter=command.box_jitter,
        seed=command.seed,
        device=command.device,
        crops=command.crops,
        image_size=command.image_size,
        crop=command.crop,
        features_out=command.features_out,
        pictures_out=command.pictures_out,
        tables=command.tables,
        area=command.area,
    )
    if command.tables and len(command.subject) != 1:
        raise UsageError("--tables belongs to one subject.")
    named = command.data if command.annotations is None else with_labels(command.data, command.annotations)
    source = open_data(named)
    if not command.subject:
        print(f"wrote the images into {write_matching_images(source, options)}")
        return 0
    if len(command.subject) > 1:
        cards = evaluate_seeds([Path(each) for each in command.subject], source, options)
    else:
        cards = evaluate(command.subject[0], source, options)
    if command.tables:
        print((command.tables / "subsets.txt").read_text(encoding="utf-8"), end="")
        print(f"wrote the tables into {command.tables}")
    path = command.out or default_card_path(command.subject, source, options)
    write_cards(cards, path)
    for card in cards:
        print(card.text())
    for extra in filter(None, (command.pictures_out, command.features_out)):
        print(f"wrote {extra}")
    print(f"wrote {path}")
    return 0
