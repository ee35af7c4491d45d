"""Loads trained runs and models as something that can be called: with images, or by another of its capabilities."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar, overload

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lineament.capabilities import DenseDescriptor, DepthPredictor, FaceTiles, LandmarkPredictor, capability
from lineament.data.image_inputs import ImageLike, Order, as_image
from lineament.data.images import list_images
from lineament.errors import CheckpointError, DataError, UsageError, unknown_name
from lineament.faces import boxes as box_tools
from lineament.faces.detection import (
    DEFAULT_DETECTOR,
    Detection,
    Detector,
    Upright,
    detect_faces,
    detectors,
    make_detector,
    turned_upright,
)
from lineament.faces.schemes import LandmarkScheme, as_scheme, convert_points, scheme_word
from lineament.training.model_folder import ModelFolder
from lineament.training.models import named_models, open_trained
from lineament.training.run import CONFIG, Run

Photo = ImageLike
T = TypeVar("T")
# Capability -> the model that is taken where none is named.
DEFAULT_MODELS: dict[type, str] = {
    LandmarkPredictor: "face-68",
    DenseDescriptor: "face-dense",
    DepthPredictor: "face-depth",
}


@dataclass(frozen=True)
class Face:
    """One face of a photo, in the photo's own pixels.

    Attributes:
        landmarks: ``[K, 2]`` xy.
        confidence: ``[K]`` in 0..1, larger where the model believes itself more. What it measures is the method's: how
            well predictions from several crops around the face agree (dve), the height of a heatmap's peak (fabrec).
        box: ``[4]`` x0, y0, x1, y1.
        score: The detector's score in 0..1; 1 for a given box.
        scheme: What the landmarks mean.
        turn: Degrees by which the photo must be turned counter-clockwise for the face to be upright.
        std: ``[K]`` predicted standard deviation of each landmark's coordinates in pixels; None where the model
            predicts none, or gives its landmarks in another scheme.
        uncertainty: How unsure the model is of the whole face, as a share of the box
            (:func:`~lineament.faces.uncertainty.face_uncertainty`); None where it predicts none.
    """

    landmarks: Tensor
    confidence: Tensor
    box: Tensor
    score: float
    scheme: LandmarkScheme
    turn: int = 0
    std: Tensor | None = None
    uncertainty: float | None = None

    @property
    def place(self) -> Detection:
        """Where the face is, as a detector says it."""
        return Detection(self.box, self.score, turn=self.turn)


@dataclass(frozen=True)
class FoundFaces:
    """What the detector finds in a photo, with landmarks.

    Attributes:
        faces: Faces, best score first.
        rejected: What the detector takes for faces and the model for none: it is too unsure of the points.
        limit: The model's limit of the uncertainty, a share of the box; None where it has none.
    """

    faces: list[Face]
    rejected: list[Face]
    limit: float | None = None

    @property
    def note(self) -> str:
        """What was rejected, and how to see it all the same; empty where nothing was."""
        if not self.rejected:
            return ""
        least = min(face.uncertainty or 0.0 for face in self.rejected)
        what = "1 detection was" if len(self.rejected) == 1 else f"{len(self.rejected)} detections were"
        return (
            f"{what} taken for no face, as the points are uncertain by {100 * least:.1f} % of the box or more (limit "
            f"{100 * (self.limit or 0.0):.1f} %): --all-faces keeps them"
        )

    @property
    def rejected_numbers(self) -> list[dict[str, Any]]:
        """What was rejected, as result files say it; pixels of the photo."""
        return [
            {
                "box": [round(value, 3) for value in face.box.tolist()],
                "score": round(face.score, 5),
                "turn": face.turn,
                "uncertainty": None if face.uncertainty is None else round(face.uncertainty, 5),
            }
            for face in self.rejected
        ]


class Model:
    """A trained run or model with its detector; made by :func:`load`.

    What it can do depends on the run: :meth:`has` tells. Calling it finds faces and their landmarks.

    Attributes:
        run: The run, or model folder, that it was loaded from.
        predictor: What the run's recipe makes of its networks; it answers the protocols of
            :mod:`lineament.capabilities`.
        detector_name: Of what finds faces in photos.
        dtype: What the networks compute in.
    """

    def __init__(
        self,
        run: Run,
        predictor: Any,
        detector: str = DEFAULT_DETECTOR,
        dtype: torch.dtype = torch.float32,
        scheme: LandmarkScheme | None = None,
    ) -> None:
        if detector not in detectors():
            raise unknown_name("detector", detector, detectors())
        self.run = run
        self.predictor = predictor
        self.detector_name = detector
        self.dtype = dtype
        self._scheme = scheme
        if scheme is not None:
            own = self.capability(LandmarkPredictor).scheme
            try:
                convert_points(torch.zeros(len(own), 2), own, scheme)
            except UsageError as error:
                raise UsageError(
                    f"{run.label} cannot give its landmarks in the scheme {scheme.name}: {error}"
                ) from error

    def __repr__(self) -> str:
        """Recipe, step, landmark scheme and folder."""
        scheme = f", scheme {self.scheme.name}" if self.has(LandmarkPredictor) else ""
        return f"Model({self.run.recipe}, step {self.step}{scheme}, {self.run.label})"

    @cached_property
    def step(self) -> int:
        """Optimiser steps after which the weights were saved."""
        return self.run.read_checkpoint("best").step

    @cached_property
    def detector(self) -> Detector:
        """Finds faces in photos; made when it is first needed."""
        return make_detector(self.detector_name)

    @property
    def uncertainty_limit(self) -> float | None:
        """Largest uncertainty of a face that the model believes, a share of the box; None: it believes all."""
        return self.run.uncertainty_limit if isinstance(self.run, ModelFolder) else None

    def has(self, wanted: type) -> bool:
        """Whether the run has a capability, one of the protocols of :mod:`lineament.capabilities`."""
        return isinstance(self.predictor, wanted)

    def capability(self, wanted: type[T], hint: str = "") -> T:
        """The predictor as something that has a capability.

        Raises:
            UsageError: If the run lacks it; the message says what it holds and what to do instead.
        """
        kind = "model" if isinstance(self.run, ModelFolder) else "run"
        what = f"the {kind} {self.run.label} ({self.run.recipe})"
        return capability(self.predictor, wanted, what, self.run.label, hint)

    @property
    def scheme(self) -> LandmarkScheme:
        """What the landmarks mean; raises ``UsageError`` where the run gives none."""
        return self._scheme or self.capability(LandmarkPredictor).scheme

    @property
    def settings(self) -> dict[str, str]:
        """What else than the weights decides its answers, for the settings of results."""
        return {} if self._scheme is None else {"scheme": scheme_word(self._scheme)}

    @overload
    def __call__(
        self,
        photo: bytes | Image.Image | Tensor | np.ndarray,
        boxes: Any = None,
        *,
        points: Any = None,
        min_score: float | None = ...,
        order: Order = ...,
        all_faces: bool = ...,
    ) -> list[Face]: ...

    # A path may be that of a folder.
    @overload
    def __call__(
        self,
        photo: str | Path,
        boxes: Any = None,
        *,
        points: Any = None,
        min_score: float | None = ...,
        order: Order = ...,
        all_faces: bool = ...,
    ) -> list[Any]: ...

    @overload
    def __call__(
        self,
        photo: list[Any] | tuple[Any, ...],
        *,
        min_score: float | None = ...,
        order: Order = ...,
        all_faces: bool = ...,
    ) -> list[list[Face]]: ...

    def __call__(
        self,
        photo: Any,
        boxes: Any = None,
        *,
        points: Any = None,
        min_score: float | None = None,
        order: Order = "rgb",
        all_faces: bool = False,
    ) -> list[Any]:
        """Find the faces of one image or several, and their landmarks.

        Args:
            photo: One image of any kind that :func:`lineament.data.image_inputs.as_image` takes; or a list of them, or
                a folder, whose images are looked at in the order of :func:`lineament.data.images.list_images`
                (:meth:`each` gives their paths, and one image at a time).
            boxes: Face boxes ``[N, 4]`` in pixels of the one image; found by the detector when neither boxes nor points
                are given.
            points: The five points of scheme "5" of each face, ``[N, 5, 2]`` in pixels of the one image, as detectors
                give them: they take the place of boxes.
            min_score: Detections with a lower score are left out; None: the detector's own least score.
            order: ``"bgr"`` for arrays and tensors whose first channel is blue, as OpenCV reads them.
            all_faces: Keep detections that the model takes for no face (:meth:`is_face`); given ones are always kept.

        Returns:
            The faces in pixels of the image, best score first, given ones in their order; empty when there is none. For
            a list or a folder a list of such lists.

        Raises:
            UsageError: If the run gives no landmarks, or boxes or points are given for several images.
            DataError: If an image, a box or a point cannot be used.
        """
        self.capability(LandmarkPredictor)
        several = _several(photo)
        if several is not None:
            if boxes is not None or points is not None:
                raise UsageError("boxes and points belong to one image: call for each.")
            return [self._look(each, min_score, order, all_faces) for each in several]
        if boxes is None and points is None:
            return self._look(photo, min_score, order, all_faces)
        return self.faces(as_image(photo, order), _given(boxes, points))

    def _look(self, photo: Any, min_score: float | None, order: Order, all_faces: bool) -> list[Face]:
        return self.find(as_image(photo, order), min_score, all_faces=all_faces).faces

    def find(
        self,
        image: Tensor,
        min_score: float | None = None,
        upright: Upright = "search",
        *,
        all_faces: bool = False,
    ) -> FoundFaces:
        """Faces of ``[3, H, W]`` with their landmarks, and apart what the detector alone takes for faces.

        Args:
            image: The photo, RGB in 0..1.
            min_score: As for :meth:`detect`.
            upright: As for :meth:`detect`.
            all_faces: Reject nothing.

        Raises:
            UsageError: If the run gives no landmarks.
        """
        faces = self.faces(image, self.detect(image, min_score, upright))
        kept = [face for face in faces if all_faces or self.is_face(face)]
        rejected = [face for face in faces if not (all_faces or self.is_face(face))]
        return FoundFaces(kept, rejected, self.uncertainty_limit)

    def is_face(self, face: Face) -> bool:
        """Whether the model is sure enough of the points; always where it has no limit, or predicts no uncertainty."""
        limit = self.uncertainty_limit
        return limit is None or face.uncertainty is None or face.uncertainty <= limit

    def detect(
        self, image: Tensor, min_score: float | None = None, upright: Upright = "search"
    ) -> list[Detection]:
        """Faces that the detector finds in ``[3, H, W]``, best score first; see :func:`detect_faces`."""
        return detect_faces(image, self.detector, min_score=min_score, upright=upright)[0]

    def faces(self, image: Tensor, places: Sequence[Detection]) -> list[Face]:
        """Landmarks of the detected faces of ``[3, H, W]``, found together; the predictor sees each face upright."""
        predictor = self.capability(LandmarkPredictor)
        faces: dict[int, Face] = {}
        for turn in sorted({place.turn for place in places}):
            own = [index for index, place in enumerate(places) if place.turn == turn]
            views = [turned_upright(image, places[index]) for index in own]
            turned, _, to_turned = views[0]
            boxes = torch.stack([upright.box for _, upright, _ in views])
            found = predictor.landmarks(turned, boxes)
            unsure = None if found.uncertainty is None else found.uncertainty.tolist()
            placed = self._converted(
                torch.cat([to_turned.inverse().apply(found.points), found.confidence[..., None]], -1)
            )
            for number, (index, rows) in enumerate(zip(own, placed, strict=True)):
                place = places[index]
                std = None if found.std_px is None or self._scheme is not None else found.std_px[number]
                faces[index] = Face(
                    rows[:, :2],
                    rows[:, 2],
                    place.box,
                    float(place.score),
                    self.scheme,
                    turn,
                    std,
                    None if unsure is None else unsure[number],
                )
        return [faces[index] for index in range(len(places))]

    def _converted(self, points: Tensor) -> Tensor:
        """Points and confidences ``[N, K, 3]`` in the scheme that was asked for: means of what they are made of."""
        return points if self._scheme is None else convert_points(points, self.predictor.scheme, self._scheme)

    def face(self, image: Tensor, place: Detection) -> Face:
        """Landmarks of one detected face of ``[3, H, W]``."""
        return self.faces(image, [place])[0]

    def describe(self, photo: Photo, box: Tensor) -> Tensor:
        """Dense descriptors ``[C, h, w]`` of the face in ``box`` ``[4]``.

        :class:`~lineament.capabilities.Descriptors` of the predictor tell where in the photo they lie.

        Raises:
            UsageError: If the run gives none.
        """
        return self.capability(DenseDescriptor).describe(as_image(photo), box[None]).features[0]

    def tiles(self, image: Tensor, place: Detection) -> Tensor:
        """What the model makes of one face of ``[3, H, W]``, side by side: ``[3, h, w]``.

        Raises:
            UsageError: If the run cannot show that.
        """
        turned, upright, _ = turned_upright(image, place)
        return self.capability(FaceTiles).tiles(turned, upright.box)

    def each(self, folder: str | Path) -> Iterator[tuple[Path, list[Face]]]:
        """Go through a folder one photo at a time, so that memory does not grow with it."""
        for path in list_images(folder):
            yield path, self(path)


def load(
    model: str | Path | None = None,
    device: str = "cpu",
    *,
    detector: str = DEFAULT_DETECTOR,
    dtype: torch.dtype = torch.float32,
    scheme: str | LandmarkScheme | None = None,
) -> Model:
    """Load a model.

    Args:
        model: Run directory of ``lineament train`` or ``lineament import``, a model folder, or the name of a model that
            ``lineament models`` lists; a path wins over a name. None takes ``face-68``, landmarks on photos.
        device: Where the networks run, ``cpu`` or ``cuda``.
        detector: Finds faces in photos, ``yunet``, ``mtcnn`` or ``lbp``.
        dtype: What the networks compute in; ``torch.bfloat16`` where a method can.
        scheme: What landmarks are converted to, where the model's own can become it (68 points become 66 or 5); a name,
            or the path of a scheme file.

    Returns:
        The model. ``model("photo.jpg")[0].landmarks`` are in the photo's pixels where the run gives landmarks;
        runs of other capabilities say what reads them.

    Raises:
        LineamentError: If there is no such run or model; the message names the nearest.
        CheckpointError: If its weights are damaged, or of another method than its recipe.
        UsageError: If the device is not there, the method cannot compute in the number type, or the model cannot give
            the scheme.
    """
    opened = open_trained(default_model(LandmarkPredictor) if model is None else model)
    if device not in ("cpu", "cuda") or (device == "cuda" and not torch.cuda.is_available()):
        raise UsageError(f"the device {device!r} is not there: use cpu, or cuda on a machine that has it.")
    recipe = opened.build_recipe()
    if recipe.method != opened.method:
        raise CheckpointError(
            f"the run {opened.folder} says that it is of the method {opened.method!r}, but its recipe {opened.recipe} "
            f"is of {recipe.method!r}: {CONFIG} was changed."
        )
    predictor = recipe.predictor(opened.load_networks(), torch.device(device), dtype)
    if isinstance(opened, ModelFolder):
        opened.check_scheme(getattr(predictor, "scheme", None))
    return Model(opened, predictor, detector, dtype, None if scheme is None else as_scheme(scheme))


def default_model(wanted: type) -> str:
    """Name of the model that is taken for a capability where none is named.

    Raises:
        UsageError: If it does not come with this version of the package.
    """
    name = DEFAULT_MODELS[wanted]
    if not has_default(wanted):
        raise UsageError(
            f"no model is named, and {name}, which would be taken, does not come with this version of lineament: give "
            "a run or a model (--model; `lineament models` lists those that are there)."
        )
    return name


def has_default(wanted: type) -> bool:
    """Whether there is a model for a capability that is taken where none is named."""
    return DEFAULT_MODELS[wanted] in named_models()


def _several(photo: Any) -> list[Any] | None:
    """The images of a list or a folder; None for one image."""
    if isinstance(photo, str | Path):
        folder = Path(photo).expanduser()
        return list(list_images(folder)) if folder.is_dir() else None
    if isinstance(photo, Sequence) and not isinstance(photo, bytes | bytearray):
        return list(photo)
    return None


def _given(boxes: Any, points: Any) -> list[Detection]:
    """Faces that need no detecting."""
    if boxes is not None and points is not None:
        raise UsageError("boxes and points both say where the faces are: give one of them.")
    if points is None:
        rows = _numbers(boxes, (4,), "boxes")
        return [Detection.given(box=box_tools.check_box(box)) for box in rows]
    return [Detection.given(points=five) for five in _numbers(points, (5, 2), "points")]


def _numbers(given: Any, shape: tuple[int, ...], what: str) -> Tensor:
    """``[N, *shape]`` float32 of whatever holds numbers."""
    wanted = f"{what} are [N, {', '.join(map(str, shape))}] numbers"
    try:
        if isinstance(given, list | tuple):
            given = [np.asarray(each) for each in given]
            given = np.stack(given) if given else np.zeros((0, *shape))
        values = torch.as_tensor(given, dtype=torch.float32)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"{wanted} ({error}).") from error
    if values.shape == shape:
        values = values[None]
    if values.ndim != len(shape) + 1 or tuple(values.shape[1:]) != shape:
        raise DataError(f"{wanted}, not an array of shape {tuple(values.shape)}.")
    return values
