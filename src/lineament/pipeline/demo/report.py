"""The page that the demo ends with: a real photo first, then curves, tables and images, each with its command."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lineament.capabilities import DenseDescriptor, LandmarkPredictor
from lineament.data.face_box import sample_box
from lineament.data.images import write_image
from lineament.data.sample import FaceSample, FaceSource
from lineament.faces.detection import Detection
from lineament.faces.frame import Frame, PreparedFace, cut
from lineament.files import write_text
from lineament.inference import load
from lineament.metrics.card import MetricCard, write_cards
from lineament.pipeline.demo.photo import (
    ABSENT,
    CREDIT,
    PHOTO,
    ShippedPhoto,
    View,
    astronaut,
    find_astronaut,
    view_around,
)
from lineament.pipeline.demo.photo_score import PhotoScore, detector_disagreement
from lineament.pipeline.demo.training import DemoPlan, DemoResult
from lineament.pipeline.evaluate.few_shot_report import few_shot_cards, few_shot_table, plot_few_shot
from lineament.pipeline.predict.face_view import view_face
from lineament.pipeline.predict.match import match_faces, points_to_match, write_match
from lineament.pipeline.predict.results import model_settings
from lineament.report.descriptors import descriptor_figure
from lineament.report.figures import draw_grid, jsonable, plot_curves
from lineament.report.html import Report
from lineament.report.tables import Table
from lineament.training.run import Run
from lineament.training.run_report import train_command

SHOWN = 12


@dataclass(frozen=True)
class DemoReport:
    """What the demo ends with.

    Attributes:
        path: The page.
        photo: How well the landmarks trained here did on the real photo.
    """

    path: Path
    photo: PhotoScore


def write_demo_report(
    result: DemoResult, plan: DemoPlan, out: Path, *, command: str, shipped: ShippedPhoto | None = None
) -> DemoReport:
    """Draw every image of the demo into ``out/figures`` and write ``out/report.html``.

    The page begins with the photo as the shipped model marks it. The landmarks trained by the demo are shown on the
    photo only where they are convincing there; their numbers are told in any case.

    Args:
        result: What was trained and measured.
        plan: How much of everything.
        out: Folder of the demo.
        command: The command that made all this.
        shipped: What the shipped model gives on the photo; None where it is not there.
    """
    figures = out / "figures"
    figures.mkdir(parents=True, exist_ok=True)
    write_cards(list(result.cards.values()), out / "cards.json")
    predictor = result.predictor()
    frame: Frame = result.landmarks.build_recipe().config.frame
    photo = astronaut()
    write_image(figures / f"{PHOTO}.png", photo)
    box, five = find_astronaut(photo)
    found, placed = (model.landmarks(photo, box[None]).points[0] for model in (predictor, result.mean_shape))
    mean_error = detector_disagreement(placed, result.mean_shape.scheme, five)
    score = PhotoScore(detector_disagreement(found, predictor.scheme, five), mean_error)
    _write_scores(out / "photo.json", score, shipped)

    page = Report("A photo, and what is learnt without labels", _lead(result, plan, score, shipped))
    if shipped is not None:
        _add_shipped(page, shipped)
    _add_curves(page, figures, result, command)
    _add_matches(page, figures, photo, box, result)
    _add_few_shot(page, figures, result, command)
    page.section("Landmarks from few labels")
    page.text(
        f"The descriptors above, and {plan.labelled} labelled synthetic faces; trained by this demo, in seconds, to "
        "show the method. For photos of your own take the model that comes with the package."
    )
    path = _faces_figure(figures / "unseen.png", result.test, predictor, frame)
    page.image(
        path,
        "Synthetic faces of unseen people: predicted landmarks (yellow dots), truth (blue rings).",
        command=_evaluate_command(result.landmarks),
    )
    if result.portraits is not None:
        path = _faces_figure(figures / "portraits.png", result.portraits, predictor, frame)
        page.image(
            path,
            "Real portraits held out of training: predicted landmarks (yellow dots); the detector's five points (blue "
            "rings), which the model never saw.",
            command=command,
        )
    page.text(score.sentence)
    if score.convincing:
        _add_trained_photo(page, figures, view_around(photo, box), [found, placed], five, result)
    page.table(_photo_table(score, shipped))
    _add_numbers(page, result)
    page.section("How it was made")
    page.command(command)
    _add_provenance(page, result, plan)
    return DemoReport(page.write(out / "report.html"), score)


def _lead(result: DemoResult, plan: DemoPlan, photo: PhotoScore, shipped: ShippedPhoto | None) -> str:
    kinds = f"{plan.unlabelled} synthetic faces"
    if result.portraits is not None:
        kinds += " and real portraits"
    minutes = sum(result.seconds.values()) / 60
    return (
        f"{ABSENT if shipped is None else shipped.sentence} The rest of the page was trained here in {minutes:.1f} "
        f"minutes: a network learnt dense descriptors from {kinds} without a label, and was then shown {plan.labelled} "
        f"labelled synthetic faces. {photo.sentence}"
    )


def _write_scores(path: Path, score: PhotoScore, shipped: ShippedPhoto | None) -> None:
    """Disagreements with the detector on the photo, as JSON; null where there is no number."""
    numbers = {"shipped": None if shipped is None else shipped.disagreement, **asdict(score)}
    write_text(path, json.dumps(jsonable(numbers), indent=1) + "\n")


def _add_shipped(page: Report, shipped: ShippedPhoto) -> None:
    page.section("A photo, with the model that comes with the package")
    page.text(shipped.sentence)
    if shipped.path is not None:
        page.image(
            shipped.path,
            f"{CREDIT}: {shipped.points} landmarks of {shipped.model} (yellow dots); the five points of an independent "
            "detector (blue rings). Nothing was trained for it here.",
            command=shipped.command,
        )


def _evaluate_command(run: Run) -> str:
    words = ["lineament", "evaluate", str(run.folder), "--data", *run.validation, "--protocol", "landmarks"]
    return shlex.join(words)


def _add_trained_photo(
    page: Report, figures: Path, view: View, points: list[Tensor], five: Tensor, result: DemoResult
) -> None:
    """The photo with the landmarks of the trained model beside the mean shape, ``points``."""
    path = draw_grid(
        figures / "photo-trained.png",
        [view.image, view.image],
        columns=2,
        titles=["trained by this demo", "mean shape in the face box (the line to beat)"],
        predicted=[each - view.corner for each in points],
        true=[five - view.corner] * 2,
        inches=4.0,
    )
    words = ["lineament", "landmarks", f"{figures / PHOTO}.png", "--model", str(result.landmarks.folder)]
    page.image(
        path,
        f"{CREDIT}: landmarks of the model trained here (left) and of the mean labelled shape (right) as yellow dots; "
        "the five points of an independent detector as blue rings.",
        command=shlex.join(words),
    )


def _photo_table(score: PhotoScore, shipped: ShippedPhoto | None) -> Table:
    table = Table(
        "Disagreement with an independent detector's five points on the real photo",
        ("who", "mean"),
        ("", "% of inter-pupil"),
    )
    if shipped is not None:
        table.add(f"{shipped.model}, which comes with the package", shipped.disagreement)
    table.add("trained here", score.model)
    table.add("mean shape", score.mean_shape)
    return table


def _add_numbers(page: Report, result: DemoResult) -> None:
    page.section("Numbers")
    landmark = Table(
        "Landmark errors: faces cropped by their box alone, box moved and scaled by up to 10 %",
        ("faces", "model", "mean shape", "count", "normaliser"),
        ("", "%", "%", "", ""),
    )
    for key, card in result.cards.items():
        if key.endswith(": model"):
            other = result.cards[key.removesuffix("model") + "mean shape"]
            landmark.add(key.removesuffix(": model"), card.value, other.value, card.count, card.normaliser)
    page.table(landmark)
    matching = Table(
        "Matching error of the descriptors alone (no labels)",
        ("pairs", "error", "count"),
        ("", "px at 70 px", ""),
    )
    for key in ("matching, same person", "matching, another person"):
        matching.add(key.removeprefix("matching, "), result.cards[key].value, result.cards[key].count)
    page.table(matching)
    timing = Table("Time on this machine", ("stage", "time"), ("", "s"), digits=3)
    for stage, seconds in result.seconds.items():
        timing.add(stage, seconds)
    for stage, seconds in result.beside.items():
        timing.add(f"meanwhile, in a process of its own: {stage}", seconds)
    page.table(timing)


def loss_name(config: Mapping[str, Any]) -> str:
    """What a run of descriptors minimises, by the paper's names, from the fields of its config."""
    if not config["exchange"] or config["dense_share"] >= 1:
        return "dense correlation loss (without exchange)"
    words = "descriptor-exchange loss"
    if config["dense_share"] > 0:
        words += f" (a share of {config['dense_share']:g} without exchange)"
    if config["warmup"] > 0:
        words += f", without exchange in the first {config['warmup']:.0%} of the steps"
    return words


def _add_curves(page: Report, figures: Path, result: DemoResult, command: str) -> None:
    page.section("Learning without labels")
    # Data that lay in memory only cannot be named on a command line.
    made_by = train_command(result.descriptors) if result.descriptors.data else command
    name = loss_name(result.descriptors.config)
    losses = result.descriptors.metrics("train")
    steps = [float(line["step"]) for line in losses]
    window = max(1, len(losses) // 60)
    smooth = [
        sum(line["loss"] for line in losses[max(0, i - window + 1) : i + 1])
        / len(losses[max(0, i - window + 1) : i + 1])
        for i in range(len(losses))
    ]
    path = plot_curves(
        figures / "loss.png",
        {f"loss (mean over {window} steps)": (steps, smooth)},
        x_label="step",
        y_label=f"loss (px to the power {result.descriptors.config['power']:g})",
    )
    page.image(
        path,
        f"The {name} while training without labels.",
        command=made_by,
    )
    measured = result.descriptors.metrics("evaluation")
    if measured:
        at = [float(line["step"]) for line in measured]
        curves = {
            name: (at, [float(line[key]) for line in measured])
            for name, key in (("same person", "matching_same_px"), ("another person", "matching_other_px"))
            if key in measured[0]
        }
        path = plot_curves(
            figures / "matching.png", curves, x_label="step", y_label="matching error (px at 70 px)"
        )
        page.image(
            path,
            "Matching error on unseen synthetic people while training.",
            command=made_by,
        )


def _add_few_shot(page: Report, figures: Path, result: DemoResult, command: str) -> None:
    """Errors against the number of labels, and what the autoencoder makes of faces."""
    study = result.few_shot
    page.section("How many labels it takes")
    write_cards(
        few_shot_cards(study.plan, study.cells, study.test_sets), figures.parent / "few-shot.cards.json"
    )
    path = plot_few_shot(figures / "few-shot.png", study.plan, study.cells, study.test_sets)
    page.image(
        path,
        "Landmark error against the number of labelled faces. Descriptors had minutes to learn without labels, the "
        "autoencoder part of one, and its landmarks see unlabelled faces beside the labelled ones; the same networks "
        "without an autoencoder see nothing but the labels. All of it is seconds of training.",
        command=command,
    )
    for test_set in study.test_sets:
        page.table(few_shot_table(study.plan, study.cells, test_set))
    drawn = study.autoencoder.figures(int(study.autoencoder.config["steps"])) / "reconstructions.png"
    if drawn.is_file():
        made_by = train_command(study.autoencoder) if study.autoencoder.data else command
        page.image(
            drawn, "Unseen faces (top) and what the autoencoder makes of them (bottom).", command=made_by
        )


def _faces_figure(path: Path, source: FaceSource, predictor: LandmarkPredictor, frame: Frame) -> Path:
    samples = [source[index] for index in range(min(SHOWN, len(source)))]
    images, predicted, true = [], [], []
    for sample in samples:
        transform = frame.view_of(sample_box(sample))
        images.append(cut(sample.image, transform, frame.seen))
        predicted.append(
            transform.apply(predictor.landmarks(sample.image, sample_box(sample)[None]).points[0])
        )
        true.append(None if sample.landmarks is None else transform.apply(sample.landmarks.float()))
    return draw_grid(
        path, images, columns=6, predicted=predicted, true=true, titles=[_short(s) for s in samples]
    )


def _short(sample: FaceSample) -> str:
    return sample.id.rpartition("/")[2]


def _add_matches(page: Report, figures: Path, photo: Tensor, box: Tensor, result: DemoResult) -> None:
    """Descriptors as colours, and dense matches from the photo to another face."""
    page.section("What the descriptors see")
    recipe = result.descriptors.build_recipe()
    model = load(result.descriptors.folder)
    describe = model.capability(DenseDescriptor).describe_views
    frame = recipe.config.frame
    sources = [result.test] if result.portraits is None else [result.portraits, result.test]
    others = [source[index] for source in sources for index in range(min(6 // len(sources), len(source)))]
    faces = [PreparedFace(PHOTO, cut(photo, frame.whole(box), frame.size), torch.zeros(0, 2))]
    for sample in others:
        whole = frame.whole(sample_box(sample))
        faces.append(PreparedFace(sample.id, cut(sample.image, whole, frame.size), torch.zeros(0, 2)))
    path = descriptor_figure(describe, faces, frame, figures / "descriptors.png")
    page.image(
        path,
        "Top: faces. Middle: their descriptors as colours, the same part of a face in the same colour. Bottom: the "
        "photo rendered in the geometry of each face, through dense matches alone.",
    )
    other = others[0]
    write_image(figures / "other.png", other.image)
    face = Detection.given(box=box)
    first = view_face(model, photo, face, PHOTO)
    second = view_face(model, other.image, Detection.given(box=sample_box(other)), other.id)
    points, names = points_to_match(model, photo, face, None, Path(PHOTO))
    match = ["lineament", "match", f"{figures / PHOTO}.png", str(figures / "other.png")]
    settings = model_settings(model, detects=False)
    path = write_match(match_faces(first, second, points, names), figures / "match", settings)[1]
    page.image(
        path,
        "Points of the photo and where the descriptors find them on another face.",
        command=shlex.join([*match, "--model", str(result.descriptors.folder)]),
    )


def _add_provenance(page: Report, result: DemoResult, plan: DemoPlan) -> None:
    card: MetricCard = result.cards["unseen people: model"]
    session = (result.descriptors.environment() or [{}])[-1]
    page.facts(
        "Provenance",
        {
            "seed": result.descriptors.config["seed"],
            "unlabelled data": session.get("data_name"),
            "unlabelled samples": session.get("data_samples"),
            "data fingerprint": session.get("data_fingerprint"),
            "labelled faces": plan.labelled,
            "test data": card.data,
            "test fingerprint": card.fingerprint,
            "commit": session.get("commit"),
            "torch": session.get("torch"),
            "device": session.get("device"),
            "definition of every number": "cards.json beside this page",
        },
    )
