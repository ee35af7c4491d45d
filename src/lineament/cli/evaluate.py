"""`lineament evaluate`: scores a run, a file of predictions or features, or a function, on labelled data."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING

from tyro.conf import Positional

from lineament.cli.parse import parse
from lineament.pipeline.evaluate.generator_options import GeneratorOptions
from lineament.pipeline.evaluate.options import GMPI, EvaluateOptions
from lineament.progress import progress, say

if TYPE_CHECKING:
    from lineament.data.sample import FaceSource
    from lineament.metrics.card import MetricCard


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
    # Label file of the data, of any tool (docs/labels.md): only its labelled faces are scored.
    annotations: Path | None = None
    # How it is scored.
    scoring: EvaluateOptions = field(default_factory=EvaluateOptions)
    # Runs that draw images (--protocol gmpi): stylegan2, gmpi-folder.
    generator: GeneratorOptions = field(default_factory=GeneratorOptions)
    # File (.npz) with an independent tool's points on the portraits of --data, faces found by the default detector:
    # how far the landmarks of a run lie from them, the boxes moved; with --protocol matching, how far its points lie
    # from them when a run carries them from one person to another.
    judge: Path | None = None
    # File for the cards.
    out: Path | None = None


def main(arguments: list[str]) -> int:
    """Run the verb."""
    command = parse(Command, "evaluate", arguments)
    from lineament.data.registry import open_data, with_labels
    from lineament.errors import UsageError
    from lineament.metrics.card import write_cards
    from lineament.pipeline.evaluate.score import (
        default_card_path,
        evaluate,
        evaluate_seeds,
        write_matching_images,
    )

    options = command.scoring
    options.check()
    if options.tables and len(command.subject) != 1:
        raise UsageError("--tables belongs to one subject.")
    if command.judge is not None:
        return _judge(command, command.judge)
    named = command.data if command.annotations is None else with_labels(command.data, command.annotations)
    if options.protocol == GMPI:
        return _generator(command, open_data(named))
    if command.generator.given():
        raise UsageError(f"{command.generator.given()[0]} belongs to --protocol {GMPI}: leave it out.")
    source = open_data(named)
    if not command.subject:
        print(f"wrote the images into {write_matching_images(source, options)}")
        return 0
    if len(command.subject) > 1:
        cards = evaluate_seeds([Path(each) for each in command.subject], source, options)
    else:
        cards = evaluate(command.subject[0], source, options)
    if options.tables:
        print((options.tables / "subsets.txt").read_text(encoding="utf-8"), end="")
        print(f"wrote the tables into {options.tables}")
    path = command.out or default_card_path(command.subject, source, options)
    write_cards(cards, path)
    for card in cards:
        print(card.text())
    for extra in filter(None, (options.pictures_out, options.features_out)):
        print(f"wrote {extra}")
    print(f"wrote {path}")
    return 0


def _generator(command: Command, source: FaceSource) -> int:
    """Score runs that draw images."""
    from lineament.errors import UsageError
    from lineament.metrics.card import write_cards
    from lineament.pipeline.evaluate.generator import evaluate_generator
    from lineament.pipeline.evaluate.score import default_card_path, evaluate_seeds

    options, left_out = command.scoring, {}

    def score(run: str | Path) -> list[MetricCard]:
        cards, missing = evaluate_generator(
            run, source, command.generator, seed=options.seed, device=options.device, progress=progress
        )
        left_out.update(dict.fromkeys(missing))
        return cards

    if not command.subject:
        raise UsageError(f"--protocol {GMPI} scores a run: name one.")
    if len(command.subject) > 1:
        cards = evaluate_seeds([Path(each) for each in command.subject], source, options, score)
    else:
        cards = score(command.subject[0])
    path = command.out or default_card_path(command.subject, source, options)
    write_cards(cards, path)
    for card in cards:
        print(card.text())
    for line in left_out:
        say(f"left out: {line}")
    print(f"wrote {path}")
    return 0


def _judge(command: Command, judge: Path) -> int:
    """Compare one run with an independent tool."""
    from lineament.data.registry import open_data
    from lineament.data.subset import Subset
    from lineament.errors import UsageError
    from lineament.faces.detection import DEFAULT_DETECTOR
    from lineament.inference import load
    from lineament.metrics.card import write_cards
    from lineament.pipeline.evaluate.judge import disagreement_cards, read_judge
    from lineament.pipeline.evaluate.judge_matching import matching_disagreement_cards
    from lineament.pipeline.evaluate.score import card_path

    options, plain = command.scoring, EvaluateOptions()
    matching = options.protocol == "matching"
    # Nothing of the matching is random.
    kept = ("count", "device", *(("protocol",) if matching else ("seed",)))
    given = [
        f.name
        for f in fields(options)
        if f.name not in kept and getattr(options, f.name) != getattr(plain, f.name)
    ]
    given += ["annotations"] if command.annotations is not None else []
    if len(command.subject) != 1 or given:
        words = ", ".join(f"--{name.replace('_', '-')}" for name in given) or "all subjects but one run"
        raise UsageError(f"--judge compares one run with a tool in one way: leave {words} out.")
    source = open_data(command.data)
    if options.count:
        source = Subset(source, range(min(options.count, len(source))))
    model = load(command.subject[0], options.device, detector=DEFAULT_DETECTOR)
    told = read_judge(judge)
    cards = (
        matching_disagreement_cards(model, source, told)
        if matching
        else disagreement_cards(model, source, told, seed=options.seed)
    )
    pack = "".join(letter if letter.isalnum() else "-" for letter in source.name)
    words = f"judge-{'matching-' if matching else ''}{pack}"
    path = command.out or card_path(command.subject[0], words)
    write_cards(cards, path)
    for card in cards:
        print(card.text())
    print(f"wrote {path}")
    return 0
