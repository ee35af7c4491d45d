"""A trained run of this method as something that describes faces, and finds their landmarks, in images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, ClassVar, Protocol

import torch
from torch import Tensor, nn

from lineament.capabilities import Descriptors, Landmarks, PlainNetwork, check_float32
from lineament.data.sample import FaceSource
from lineament.faces import boxes as box_tools
from lineament.faces.frame import Frame, cut
from lineament.faces.schemes import LandmarkScheme, scheme
from lineament.methods.dve.model import describe
from lineament.methods.dve.regressor import to_pixels
from lineament.methods.dve.shape import ShapeRegressor, spread_of

if TYPE_CHECKING:
    from lineament.evaluation.landmarks import LandmarkScores

# Boxes around the given one whose predictions are averaged: shifts in box sides, and a factor on the side.
BOX_VIEWS = (
    (0.0, 0.0, 1.0),
    (-0.05, 0.0, 1.04),
    (0.05, 0.0, 1.04),
    (0.0, -0.05, 0.96),
    (0.0, 0.05, 0.96),
)
# Boxes that are looked at to say how sure a prediction is, also where fewer make it: one always agrees with itself.
LEAST_VIEWS = 3
# Share of the box side over which the views' predictions may differ for a confidence of one half.
HALF_CONFIDENCE = 0.02
# Images that go through the network at a time.
BATCH = 64


class DescriptorPredictor:
    """Dense descriptors of the face in any box of any image.

    Args:
        frame: The view of the network.
        networks: ``descriptor`` among them; its weights of now are used.
        device: Where the networks are put; None leaves them where they are.
        dtype: None or float32, in which the networks compute.

    Attributes:
        frame: The view of the network.
        descriptor: The network.
    """

    holds = "descriptors without landmarks"
    hints: ClassVar[Mapping[str, str]] = {
        "LandmarkPredictor": "fit them with `lineament train dve-landmarks --base {run} --data LABELLED`",
        "Reconstructor": "reconstruction needs a run of fabrec-ae or fabrec-landmarks",
        "FaceTiles": "tiles need a run of fabrec-landmarks",
        "DepthPredictor": "depth needs a run of a depthnet recipe",
    }

    def __init__(
        self,
        frame: Frame,
        networks: dict[str, nn.Module],
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        check_float32(dtype, "DVE")
        self.frame = frame
        self.descriptor = networks["descriptor"].to(device).eval()

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.descriptor.parameters()).device

    @torch.no_grad()
    def describe(self, image: Tensor, boxes: Tensor) -> Descriptors:
        """Describe the faces in ``boxes`` ``[N, 4]`` of an image ``[3, H, W]``."""
        side = self.frame.seen
        transforms = [self.frame.view_of(box_tools.check_box(box.double())) for box in boxes]
        views = [cut(image, transform, side) for transform in transforms]
        features = self.describe_views(torch.stack(views) if views else image.new_zeros(0, 3, side, side))
        places = [transform.matrix for transform in transforms]
        return Descriptors(
            features,
            torch.stack(places) if places else torch.zeros(0, 2, 3, dtype=torch.float64),
            side,
            side / features.shape[-1],
            side / self.frame.view,
        )

    @torch.no_grad()
    def describe_views(self, views: Tensor) -> Tensor:
        """Describe squares ``[B, 3, s, s]`` in 0..1: ``[B, C, h, w]``."""
        parts = [describe(self.descriptor, part.to(self.device)).cpu() for part in views.split(BATCH)]
        return torch.cat(parts)

    def plain_network(self) -> PlainNetwork:
        """Descriptors of squares that were cut already; see :mod:`.plain`."""
        from lineament.methods.dve.plain import plain_descriptors

        return plain_descriptors(self.descriptor, self.frame)


class PredictorConfig(Protocol):
    """What a predictor needs to know of the recipe that fitted its networks."""

    @property
    def frame(self) -> Frame:
        """The view of the network."""

    @property
    def scheme(self) -> str:
        """Name of the landmark scheme."""

    @property
    def views(self) -> int:
        """Boxes whose predictions are averaged."""

    @property
    def flip_tta(self) -> bool:
        """Average with the prediction for the mirrored image."""

    @property
    def refine_box(self) -> bool:
        """Look again at the box that the first prediction suggests."""


class LandmarkPredictor(DescriptorPredictor):
    """Landmarks for any face box in any image; answers in the image's own pixels.

    The confidence of a landmark tells how well the predictions from several boxes around the face agree: one half where
    they lie 2 % of the box side from their mean, 1 where they coincide. It is a measure of stability, not a
    probability. At least three boxes are looked at for it, also by the published regressors, which predict from one.

    Args:
        config: Of the recipe that fitted the networks.
        networks: ``descriptor`` and ``regressor``, whose weights of now are used.
        device: Where the networks are put; None leaves them where they are.
        dtype: None or float32, in which the networks compute.

    Attributes:
        config: Of the recipe.
        scheme: What the landmarks mean.
        regressor: The network that reads landmarks from descriptors.
    """

    holds = "landmarks and dense descriptors"

    def __init__(
        self,
        config: PredictorConfig,
        networks: dict[str, nn.Module],
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(config.frame, networks, device, dtype)
        self.config = config
        self.scheme: LandmarkScheme = scheme(config.scheme)
        self.regressor = networks["regressor"].to(device).eval()

    @torch.no_grad()
    def landmarks(self, image: Tensor, boxes: Tensor) -> Landmarks:
        """Find the landmarks of the faces in ``boxes`` ``[N, 4]`` of an image ``[3, H, W]``."""
        if not len(boxes):
            none = image.new_zeros(0, len(self.scheme))
            return Landmarks(none[..., None].expand(-1, -1, 2), none)
        given = [box_tools.check_box(box) for box in boxes]
        points, spread = self._look(image, given)
        if self.config.refine_box and isinstance(self.regressor, ShapeRegressor):
            usual = [self._usual_box(face, box) for face, box in zip(points, given, strict=True)]
            again, again_spread = self._look(image, usual)
            # A first look that went astray proposes a box in which the views disagree even more.
            better = (again_spread.mean(1) < spread.mean(1))[:, None]
            points = torch.where(better[..., None], again, points)
            spread = torch.where(better, again_spread, spread)
        return Landmarks(points, 1 / (1 + (spread / HALF_CONFIDENCE) ** 2))

    def plain_network(self) -> PlainNetwork:
        """One look at squares that were cut already; see :mod:`.plain`."""
        from lineament.methods.dve.plain import plain_landmarks

        return plain_landmarks(self.descriptor, self.regressor, self.frame, self.scheme)

    def published_crops(self, data: str) -> str:
        """Name of the published preprocessing of a data set in which this method was measured, "" for none."""
        from lineament.evaluation.published import protocol_for

        return protocol_for(data)

    def published_scores(
        self, source: FaceSource, crops: str, indices: Iterable[int] | None = None, which: str | None = None
    ) -> LandmarkScores:
        """Score in the published protocol; see :func:`~lineament.methods.dve.evaluate.published_scores`."""
        from lineament.methods.dve.evaluate import published_scores

        return published_scores(self, source, crops, indices, which)

    @torch.no_grad()
    def regress(self, views: Tensor) -> Tensor:
        """Landmarks ``[B, K, 2]`` in -1..1 of views ``[B, 3, s, s]``, without mirrored or moved looks."""
        parts = [
            self.regressor(describe(self.descriptor, part.to(self.device)))[0] for part in views.split(BATCH)
        ]
        return torch.cat(parts).cpu()

    def _look(self, image: Tensor, given: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Mean prediction ``[N, K, 2]`` of several boxes around each given one, and how far they disagree ``[N, K]``.

        The disagreement is the mean distance of the boxes' predictions from their mean, in shares of the box side.
        """
        averaged = max(1, self.config.views)
        looks = BOX_VIEWS[: max(averaged, LEAST_VIEWS)]
        moved = [self._moved(box, *look) for box in given for look in looks]
        found = self._predict(image, moved).unflatten(0, (len(given), len(looks)))
        sides = torch.stack([box_tools.size(box).max() for box in given]).to(found.dtype)
        apart = (found - found.mean(1, keepdim=True)).norm(dim=-1).mean(1)
        return found[:, :averaged].mean(1), apart / sides[:, None]

    def _predict(self, image: Tensor, around: list[Tensor]) -> Tensor:
        """Landmarks ``[N, K, 2]`` in photo pixels from N boxes."""
        transforms = [self.frame.view_of(box) for box in around]
        found = []
        for start in range(0, len(transforms), BATCH):
            part = transforms[start : start + BATCH]
            views = torch.stack([cut(image, transform, self.frame.seen) for transform in part])
            unit = self.regress(views)
            # Where nobody knows which points swap, a mirrored image tells nothing.
            if self.config.flip_tta and self.scheme.mirror_known:
                other = self.regress(views.flip(-1))
                unit = (unit + other[:, list(self.scheme.mirror)] * unit.new_tensor([-1, 1])) / 2
            pixels = to_pixels(unit, self.frame.seen, self.frame.seen)
            found += [
                transform.inverse().apply(points) for transform, points in zip(part, pixels, strict=True)
            ]
        return torch.stack(found)

    def _usual_box(self, points: Tensor, box: Tensor) -> Tensor:
        """The box that would put the points where the labelled shapes lay in their views.

        It stays within half a side and a factor 1.5 of the given box: a prediction that far off is not to be trusted.
        """
        assert isinstance(self.regressor, ShapeRegressor)
        middle, spread = self.regressor.usual_place()
        given = float(box_tools.size(box).max())
        shape = points.double()
        half = float(spread_of(shape)) / spread
        side = min(max(2 * half / self.frame.view, given / 1.5), given * 1.5)
        centre = shape.mean(0) - middle.cpu() * half
        centre = centre - torch.tensor([0.0, self.frame.shift * side])
        start = box_tools.centre(box)
        centre = start + (centre - start).clamp(-given / 2, given / 2)
        return box_tools.from_centre(centre, torch.full((2,), side, dtype=torch.float64))

    @staticmethod
    def _moved(box: Tensor, right: float, down: float, factor: float) -> Tensor:
        extent = box_tools.size(box)
        shift = extent.max() * box.new_tensor([right, down])
        return box_tools.from_centre(box_tools.centre(box) + shift, extent * factor)
