"""The page that the demo ends with: a real photo, curves, tables and images, each with its command."""

from __future__ import annotations

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
from lineament.eight_bit import from_array
from lineament.errors import LineamentError
from lineament.faces import boxes
from lineament.faces.detection import Detection, detect_faces, main_face
from lineament.faces.frame import Frame, PreparedFace, cut
from lineament.inference import load
from lineament.metrics.card import MetricCard, write_cards
from lineament.pipeline.demo.photo_score import PhotoScore, score_photo
from lineament.pipeline.demo.training import DemoPlan, DemoResult
from lineament.pipeline.evaluate.few_shot_report import few_shot_cards, few_shot_table, plot_few_shot
from lineament.pipeline.evaluate.portraits import REFERENCE_DETECTOR
from lineament.pipeline.predict.match import match_faces, points_to_match, view_face, write_match
from lineament.pipeline.predict.results import model_settings
from lineament.report.descriptors import descriptor_figure
from lineament.report.figures import draw_grid, plot_curves
from lineament.report.html import Report
from lineament.report.tables import Table
from lineament.training.run import Run
from lineament.training.run_report import train_command

SHOWN = 12
PHOTO = "astronaut"


def astronaut() -> Tensor:
    """The real photo: Eileen Collins, NASA, public domain, as scikit-image carries it; ``[3, 512, 512]``."""
    import skimage.data

    return from_array(skimage.data.astronaut())


def find_astronaut(photo: Tensor) -> tuple[Tensor, Tensor]:
    """Box ``[4]`` and five points ``[5, 2]`` of the photo's face, by the detector."""
    face = main_face(detect_faces(photo, REFERENCE_DETECTOR, upright="off")[0])
    if face is None or face.points is None:
        raise LineamentError("the detector finds no face in the astronaut photo: is its package complete?")
    return face.box.double(), face.points.float()


@dataclass(frozen=True)
class DemoReport:
    """What the demo ends with.

    Attributes:
        path: The page.
        photo: How well the model did on the real photo.
    """

    path: Path
    photo: PhotoScore


@dataclass(frozen=True)
class _DrawnPhoto:
    """The photo with the landmarks of model and mean shape, and their score."""

    path: Path
    score: PhotoScore
    command: str


def write_demo_report(result: DemoResult, plan: DemoPlan, out: Path, *, command: str) -> DemoReport:
    """Draw every image of the demo into ``out/figures`` and write ``out/report.html``.

    The real photo comes first where the model is convincing on it; else the page begins with the sentence that it
    is not, and shows the photo after everything else.

    Args:
        result: What was trained and measured.
        plan: How much of everything.
        out: Folder of the demo.
        command: The command that made all this.
    """
    figures = out / "figures"
    figures.mkdir(parents=True, exist_ok=True)
    write_cards(list(result.cards.values()), out / "cards.json")
    predictor = result.predictor()
    frame: Frame = result.landmarks.build_recipe().config.frame
    photo = astronaut()
    write_image(figures / f"{PHOTO}.png", photo)
    box, five = find_astronaut(photo)
    drawn = _draw_photo(figures, photo, box, five, result)
    page = Report("Landmarks from few labels", _lead(result, plan, drawn.score))
    if drawn.score.convincing:
        _add_photo(page, drawn)
    _add_numbers(page, result)
    _add_curves(page, figures, result, command)
    page.section("Faces of people never seen")
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
    _add_few_shot(page, figures, result, command)
    _add_matches(page, figures, photo, box, result)
    if not drawn.score.convincing:
        _add_photo(page, drawn)
    page.section("How it was made")
    page.command(command)
    _add_provenance(page, result, plan)
    return DemoReport(page.write(out / "report.html"), drawn.score)


def _lead(result: DemoResult, plan: DemoPlan, photo: PhotoScore) -> str:
    kinds = f"{plan.unlabelled} synthetic faces"
    if result.portraits is not None:
        kinds += " and real portraits"
    minutes = sum(result.seconds.values()) / 60
    made = (
        f"A network learnt dense descriptors from {kinds} without a label, was then shown {plan.labelled} labelled "
        f"synthetic faces, and finds landmarks on faces never seen. It took {minutes:.1f} minutes here."
    )
    return f"{made} {photo.sentence}" if photo.convincing else f"{photo.sentence} {made}"


def _evaluate_command(run: Run) -> str:
    words = ["lineament", "evaluate", str(run.folder), "--data", *run.validation, "--protocol", "landmarks"]
    return shlex.join(words)


def _draw_photo(figures: Path, photo: Tensor, box: Tensor, five: Tensor, result: DemoResult) -> _DrawnPhoto:
    """The real photo, the model's landmarks beside the mean shape."""
    predictor, mean = result.predictor(), result.mean_shape
    window = boxes.expand(boxes.square(box), 1.5)
    left, top = (int(v) for v in window[:2].clamp(min=0))
    right, bottom = (int(v) for v in window[2:].ceil())
    corner = torch.tensor([left, top], dtype=torch.float32)
    view = photo[:, top:bottom, left:right]
    found, placed = (model.landmarks(photo, box[None]).points[0] for model in (predictor, mean))
    score = score_photo(found, predictor.scheme, placed, mean.scheme, five)
    path = draw_grid(
        figures / "photo.png",
        [view, view],
        columns=2,
        titles=["model", "mean shape in the face box (the line to beat)"],
        predicted=[found - corner, placed - corner],
        true=[five - corner, five - corner],
        numbers={
            "scheme": predictor.scheme.name,
            "box": box.tolist(),
            "offset": [left, top],
            **asdict(score),
        },
        inches=4.0,
    )
    words = ["lineament", "landmarks", f"{figures / PHOTO}.png", "--model", str(result.landmarks.folder)]
    return _DrawnPhoto(path, score, shlex.join(words))


def _add_photo(page: Report, drawn: _DrawnPhoto) -> None:
    page.section("A real photo")
    if not drawn.score.convincing:
        page.text(drawn.score.sentence)
    page.image(
        drawn.path,
        "The astronaut Eileen Collins (NASA, public domain): landmarks of the model (left) and of the mean labelled "
        "shape (right) as yellow dots; the five points of an independent detector as blue rings.",
        command=drawn.command,
    )
    table = Table(
        "Disagreement with the detector's five points on this photo",
        ("who", "mean"),
        ("", "% of inter-pupil"),
    )
    table.add("model", drawn.score.model)
    table.add("mean shape", drawn.score.mean_shape)
    page.table(table)


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
