"""The demo's one real photo, and what the model that comes with the package gives on it before anything is trained."""

from __future__ import annotations

import shlex
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from lineament.capabilities import LandmarkPredictor
from lineament.data.images import write_image
from lineament.eight_bit import from_array
from lineament.errors import LineamentError
from lineament.faces import boxes
from lineament.faces.detection import detect_faces, main_face
from lineament.inference import DEFAULT_MODELS, has_default, load
from lineament.pipeline.demo.photo_score import detector_disagreement
from lineament.pipeline.evaluate.portraits import REFERENCE_DETECTOR
from lineament.report.figures import draw_grid

PHOTO = "astronaut"
CREDIT = "The astronaut Eileen Collins (NASA, public domain)"
# Side of what is shown of the photo, in sides of the face's square.
WINDOW = 1.5


def astronaut() -> Tensor:
    """The real photo: Eileen Collins, NASA, public domain, as scikit-image carries it; ``[3, 512, 512]``."""
    import skimage.data

    return from_array(skimage.data.astronaut())


def find_astronaut(photo: Tensor) -> tuple[Tensor, Tensor]:
    """Box ``[4]`` and five points ``[5, 2]`` of the photo's face, by the reference detector."""
    face = main_face(detect_faces(photo, REFERENCE_DETECTOR, upright="off")[0])
    if face is None or face.points is None:
        raise LineamentError("the detector finds no face in the astronaut photo: is its package complete?")
    return face.box.double(), face.points.float()


@dataclass(frozen=True)
class View:
    """The part of the photo around a face.

    Attributes:
        image: ``[3, H, W]``.
        corner: ``[2]`` xy of its upper left pixel in the photo.
    """

    image: Tensor
    corner: Tensor


def view_around(photo: Tensor, box: Tensor) -> View:
    """Cut what is shown of the photo out of it."""
    window = boxes.expand(boxes.square(box), WINDOW)
    left, top = (int(v) for v in window[:2].clamp(min=0))
    right, bottom = (int(v) for v in window[2:].ceil())
    return View(photo[:, top:bottom, left:right], torch.tensor([left, top], dtype=torch.float32))


@dataclass(frozen=True)
class ShippedPhoto:
    """The photo with the landmarks of the model that is taken where none is named.

    Attributes:
        model: Its name.
        points: Number of landmarks; 0 where it finds no face.
        disagreement: Mean distance from the reference detector's five points, % of the inter-pupil distance; NaN
            without a face.
        seconds: From nothing to the landmarks, reading the model included.
        again_ms: The same photo once more.
        path: The image; None without a face.
        command: What gives the same.
    """

    model: str
    points: int
    disagreement: float
    seconds: float
    again_ms: float
    path: Path | None
    command: str

    @property
    def sentence(self) -> str:
        """What it did, in numbers."""
        if self.path is None:
            return f"The model {self.model} finds no face in the photo."
        return (
            f"The model {self.model} puts {self.points} landmarks on the photo in {self.seconds:.1f} s, once more in "
            f"{self.again_ms:.0f} ms; they disagree with an independent detector's five points by "
            f"{self.disagreement:.1f} % of the eye distance."
        )


# What is said where there is no such model.
ABSENT = (
    f"The model {DEFAULT_MODELS[LandmarkPredictor]} does not come with this version of lineament: everything here was "
    "trained by the demo."
)


def mark_photo(figures: Path) -> ShippedPhoto | None:
    """Put the shipped model's landmarks on the photo and draw ``figures/photo.png``.

    Returns:
        What came of it; None where no such model is there.

    Raises:
        CheckpointError: If the model is damaged.
    """
    if not has_default(LandmarkPredictor):
        return None
    figures.mkdir(parents=True, exist_ok=True)
    photo = astronaut()
    source = write_image(figures / f"{PHOTO}.png", photo)
    _, five = find_astronaut(photo)
    start = time.perf_counter()
    model = load()
    faces = model(photo)
    seconds = time.perf_counter() - start
    start = time.perf_counter()
    model(photo)
    again = 1e3 * (time.perf_counter() - start)
    command = shlex.join(["lineament", "landmarks", str(source)])
    if not faces:
        return ShippedPhoto(model.run.label, 0, float("nan"), seconds, again, None, command)
    face = faces[0]
    view = view_around(photo, face.box.double())
    marked = ShippedPhoto(
        model.run.label,
        len(face.landmarks),
        detector_disagreement(face.landmarks, face.scheme, five),
        seconds,
        again,
        figures / "photo.png",
        command,
    )
    numbers = {key: value for key, value in asdict(marked).items() if key not in ("path", "command")}
    draw_grid(
        figures / "photo.png",
        [view.image],
        predicted=[face.landmarks - view.corner],
        true=[five - view.corner],
        numbers={
            **numbers,
            "scheme": face.scheme.name,
            "box": face.box.tolist(),
            "offset": view.corner.tolist(),
            "confidence": face.confidence.tolist(),
        },
        inches=4.5,
    )
    return marked
