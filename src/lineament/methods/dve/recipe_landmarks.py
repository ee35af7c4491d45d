"""Landmarks on frozen descriptors from a few labelled faces: the recipe `dve-landmarks`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from lineament.data.face_box import jittered_box
from lineament.data.order import sample_generator
from lineament.data.sample import FaceSample, FaceSource
from lineament.errors import DataError
from lineament.evaluation.landmark_cards import landmark_cards
from lineament.evaluation.published import published_face
from lineament.faces.frame import Frame, PreparedFace, cut
from lineament.faces.photometric import PhotometricRanges, apply_photometric, sample_photometric
from lineament.faces.schemes import (
    as_scheme,
    convert_points,
    mirror_points,
    mirror_values,
    scheme,
    scheme_word,
)
from lineament.geometry.tps_warp import WarpStd, carry_points_smoothly, random_weights, resample, warp_grid
from lineament.methods.dve.annotations import COPY, LimitedAnnotations
from lineament.methods.dve.base import descriptor_base
from lineament.methods.dve.evaluate import published_scores
from lineament.methods.dve.faithful import faithful_labelled
from lineament.methods.dve.model import build_backbone, describe_frozen
from lineament.methods.dve.predictor import LandmarkPredictor
from lineament.methods.dve.protocol import frame_of
from lineament.methods.dve.regressor import LandmarkRegressor, landmark_loss, to_unit
from lineament.methods.dve.schedule import StepDecay, step_factor
from lineament.methods.dve.shape import ShapeRegressor
from lineament.training.base_run import INHERIT, Inherited
from lineament.training.context import StepContext
from lineament.training.recipe import Batch, Need, Origin, Recipe, RecipeConfig


@dataclass(frozen=True)
class LandmarkConfig(RecipeConfig):
    """What can be set when fitting landmarks; the view of the network is taken over from the base run."""

    # Optimiser steps in all.
    steps: int = 60
    # Labelled faces of one step.
    batch_size: int = 25
    # Steps between two checkpoints; 0 writes one only at the end.
    checkpoint_every: int = 0
    # Images used by an evaluation during training.
    evaluate_count: int = 64
    # Run directory of the descriptors (`lineament train dve-smallnet-16d`), or "random" for an untrained network.
    base: str = ""
    # Landmark scheme to learn; labels are converted to it where they can be.
    scheme: str = "68"
    # Closed form with a shape model ("shape") or the published regressor trained by gradient descent ("paper").
    fit: Literal["shape", "paper"] = "shape"
    # Shape: factor on the detectors' scores before the soft-argmax.
    sharpness: float = 0.7
    # Shape: principal modes of the shape model.
    modes: int = 12
    # Shape: distance, in half views, at which a detector's answer counts half.
    outlier: float = 0.1
    # Published: virtual points per landmark.
    intermediate: int = 50
    # Published: factor on the match scores before the soft-argmax.
    softargmax: float = 100.0
    # Published: double the resolution of the descriptors first.
    upsample: bool = False
    # Published: factor on the coordinates in the smooth L1 loss.
    alpha: float = 10.0
    # Published: learning rate of Adam.
    learning_rate: float = 1e-3
    # Published: weight decay.
    weight_decay: float = 5e-4
    # Published: learning rate over time, constant or the published steps with their delay of one epoch.
    schedule: Literal["constant", "paper"] = "constant"
    # Epochs after which the published schedule multiplies the rate by 0.1.
    milestones: tuple[int, ...] = (100, 250)
    # Steps that make one epoch of the published schedule.
    steps_per_epoch: int = 593
    # Labelled images to use, drawn from the data by the seed as the published runs drew theirs; 0 uses all.
    labels: int = 0
    # Random move and scaling of the face box, as a fraction of its side.
    box_jitter: float = 0.1
    # Standard deviation of the warp's shift, in half image sides.
    warp_translation: float = 0.02
    # Standard deviation of the warp's scale around 1.
    warp_scale: float = 0.05
    # Standard deviation of the warp's rotation in degrees.
    warp_rotation: float = 5.0
    # Standard deviation of the warp's kernel weights.
    warp_kernel: float = 0.0005
    # Change the appearance: brightness, contrast, colour, gamma, side light, blur.
    look: bool = True
    # Probability of a greyscale image.
    grey: float = 0.3
    # Probability of a mirrored image; its landmarks change sides as the scheme says.
    mirror: float = 0.5
    # Boxes whose predictions are averaged when landmarks are predicted.
    views: int = 5
    # Average with the prediction for the mirrored image.
    flip_tta: bool = True
    # Shape: look again at the box that the first prediction suggests, and keep that where the views agree better. A
    # little better on faces like the labelled ones, now and then far worse on others.
    refine_box: bool = False
    # Network; the base's.
    backbone: Inherited[str] = INHERIT
    # Dimensions of a descriptor; the base's.
    channels: Inherited[int] = INHERIT
    # Side in pixels of the image that is warped; None takes the base's.
    image_size: Inherited[int] = INHERIT
    # Pixels cut off each side after the warp; None takes the base's.
    crop: Inherited[int] = INHERIT
    # Side of what the network sees, in sides of the face box; None takes the base's.
    view: Inherited[float] = INHERIT
    # How far below the middle of the face box that view is centred, in sides of the box; None takes the base's.
    view_shift: Inherited[float] = INHERIT
    # Show the network only the luma of images; as the base.
    luma: Inherited[bool] = INHERIT
    # Published preprocessing of a data set (celeba, aflw-m, aflw-r, 300w) in place of the crop around the face box.
    protocol: str = ""
    # How views are made: whole batches on the device, or as the published loaders did (8 bits, points snapped to
    # pixels, one lasting warp per repeated label).
    loader: Literal["batched", "paper"] = "batched"

    @property
    def frame(self) -> Frame:
        """The view of the network."""
        return frame_of(self.image_size, self.crop, (self.view, self.view_shift), self.protocol)

    @property
    def warp_spread(self) -> WarpStd:
        """Standard deviations of the warp."""
        return WarpStd(self.warp_kernel, 0.0, self.warp_translation, self.warp_scale, self.warp_rotation)


class LandmarkRecipe(Recipe[LandmarkConfig, FaceSample]):
    """Landmarks from few labels on frozen descriptors."""

    name = "dve-landmarks"
    method = "dve"
    config_class = LandmarkConfig
    base_kind = descriptor_base()
    needs = (
        Need(
            ("sharpness", "modes", "outlier", "refine_box"),
            lambda c: c.fit == "shape",
            "the closed form (--fit shape)",
        ),
        Need(
            ("intermediate", "softargmax", "upsample", "learning_rate", "weight_decay", "schedule"),
            lambda c: c.fit == "paper",
            "the regressor trained by gradient descent (--fit paper)",
        ),
        Need(("milestones", "steps_per_epoch"), lambda c: c.schedule == "paper", "--schedule paper"),
        Need(("look",), lambda c: c.loader == "batched", "views made in batches (--loader batched)"),
        Need(("grey",), lambda c: c.look and c.loader == "batched", "changes of appearance (--look)"),
        Need(
            ("mirror",),
            lambda c: c.loader == "batched" and not c.protocol,
            "crops around the face box made in batches (no --protocol, --loader batched)",
        ),
        Need(
            ("box_jitter", "view", "view_shift"),
            lambda c: not c.protocol,
            "a crop around the face box (no --protocol)",
        ),
    )

    def __init__(self, config: LandmarkConfig, origin: Origin | None = None) -> None:
        # The run keeps the content of a scheme file, which may be gone by the time it is used.
        super().__init__(replace(config, scheme=scheme_word(config.scheme)), origin)
        self.layout = scheme(config.scheme)

    def networks(self) -> dict[str, nn.Module]:
        """The frozen ``descriptor`` network and the ``regressor``."""
        c = self.config
        descriptor: nn.Module = build_backbone(c.backbone, c.channels, luma=c.luma)
        self.take_base_weights({"descriptor": descriptor}, ("descriptor",))
        descriptor.requires_grad_(False)
        regressor: nn.Module
        if c.fit == "shape":
            regressor = ShapeRegressor(c.channels, len(self.layout), c.sharpness, c.modes, c.outlier)
        else:
            regressor = LandmarkRegressor(
                c.channels, len(self.layout), c.intermediate, c.softargmax, c.upsample
            )
        return {"descriptor": descriptor, "regressor": regressor}

    def optimisers(self, networks: dict[str, nn.Module]) -> dict[str, torch.optim.Optimizer]:
        """Adam for the published regressor; the closed form has none."""
        c = self.config
        if c.fit == "shape":
            return {}
        parameters = networks["regressor"].parameters()
        return {
            "regressor": torch.optim.Adam(
                parameters, lr=c.learning_rate, weight_decay=c.weight_decay, amsgrad=True
            )
        }

    def schedules(
        self, optimisers: dict[str, torch.optim.Optimizer]
    ) -> dict[str, torch.optim.lr_scheduler.LRScheduler]:
        """The published steps where they are asked for."""
        c = self.config
        if c.schedule == "constant" or not optimisers:
            return {}
        factor = step_factor(StepDecay(c.milestones), c.steps_per_epoch, off_by_one=True)
        return {"regressor": torch.optim.lr_scheduler.LambdaLR(optimisers["regressor"], factor)}

    def training_source(self, source: FaceSource) -> FaceSource:
        """All of the source, or the few labels of a limited-annotation run, repeated as published."""
        c = self.config
        if c.mirror and not c.frame.protocol:
            self.layout.require_mirror()
        return LimitedAnnotations(source, c.labels, c.seed) if c.labels else source

    def item(self, sample: FaceSample, generator: torch.Generator) -> Batch:
        """Crop around the jittered box; draw one warp and one look."""
        c = self.config
        if sample.landmarks is None or sample.scheme is None:
            raise DataError(f"{sample.id} has no landmarks: dve-landmarks learns from labelled faces only.")
        frame = c.frame
        if frame.protocol:
            face = published_face(sample, frame.protocol, frame.size)
            image, points = face.image, face.points
        else:
            transform = frame.whole(jittered_box(sample, generator, c.box_jitter))
            image, points = (
                cut(sample.image, transform, frame.size),
                transform.apply(sample.landmarks.float()),
            )
        points = convert_points(points, sample.scheme, self.layout)
        labelled = torch.isfinite(points).all(-1)
        visible = labelled
        if sample.visibility is not None and as_scheme(sample.scheme).names == self.layout.names:
            visible = visible & sample.visibility
        if c.loader == "paper":
            if COPY in sample.meta:
                # The published runs warped every copy once, when they cached its descriptors.
                generator = sample_generator(c.seed, 0, sample.meta[COPY])
            face = PreparedFace(sample.id, image, points)
            seen, points = faithful_labelled(face, c.crop, c.warp_spread, generator)
            return {"seen": seen, "points": points, "visible": labelled, "labelled": labelled}
        # The published protocols never mirror.
        if c.mirror and not frame.protocol and float(torch.rand([], generator=generator)) < c.mirror:
            image = image.flip(-1)
            points = mirror_points(points, self.layout, frame.size)
            visible = mirror_values(visible, self.layout)
            labelled = mirror_values(labelled, self.layout)
        look = sample_photometric(PhotometricRanges(grey=c.grey, gamma=0.4, light=0.2, blur=0.3), generator)
        return {
            "image": image,
            "points": points,
            "visible": visible,
            "labelled": labelled,
            "weights": random_weights(c.warp_spread, generator),
            "look": look,
        }

    def views(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Warp a batch.

        Returns:
            Images ``[B, 3, h, w]``; landmarks ``[B, K, 2]`` in -1..1, NaN where they left the frame by more than a
            pixel; and which of them can be seen ``[B, K]``.
        """
        frame = self.config.frame
        if "seen" in batch:
            return batch["seen"], to_unit(batch["points"], frame.seen, frame.seen), batch["visible"]
        grid = warp_grid(batch["weights"], frame.size, frame.size)
        cut_off = slice(frame.crop, frame.size - frame.crop)
        images = resample(batch["image"], grid)[..., cut_off, cut_off]
        if self.config.look:
            images = apply_photometric(images, batch["look"])
        points = carry_points_smoothly(batch["points"], grid) - frame.crop
        unit = to_unit(points, frame.seen, frame.seen)
        return images, unit, batch["visible"] & torch.isfinite(points).all(-1)

    def step(self, networks: dict[str, nn.Module], batch: Batch, context: StepContext) -> dict[str, Tensor]:
        """One step of either fit."""
        images, points, visible = self.views(batch)
        descriptors = describe_frozen(networks["descriptor"], images)
        regressor = networks["regressor"]
        if self.config.fit == "shape":
            assert isinstance(regressor, ShapeRegressor)
            predicted = regressor.fit_batch(descriptors, points, visible, ~batch["labelled"])
        else:
            predicted, _ = regressor(descriptors)
        # Neither a point without a label nor one outside the frame teaches anything.
        known = batch["labelled"] & torch.isfinite(points).all(-1)
        loss = landmark_loss(predicted, points, self.config.alpha, known)
        if self.config.fit == "paper":
            context.update(loss)
        return {"loss": loss.detach()}

    def predictor(
        self,
        networks: dict[str, nn.Module],
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> LandmarkPredictor:
        """Landmarks and dense descriptors of the faces of images."""
        return LandmarkPredictor(self.config, networks, device, dtype)

    def evaluate(self, networks: dict[str, nn.Module], source: FaceSource) -> dict[str, float]:
        """Landmark error in % of inter-ocular distance on validation faces, ``evaluate_count`` at most."""
        indices = range(min(self.config.evaluate_count, len(source)))
        predictor = self.predictor(networks)
        if self.config.protocol:
            scores = published_scores(predictor, source, self.config.protocol, indices)
            return {"landmark_error_percent": 100 * scores.mean}
        cards = landmark_cards(predictor, source, indices, box_jitter=self.config.box_jitter)
        return {"landmark_error_percent": cards[0].value} if cards else {}

    def figures(self, networks: dict[str, nn.Module], source: FaceSource, folder: Path) -> list[Path]:
        """Faces with predicted and true landmarks."""
        from lineament.methods.dve.figures import landmark_figure  # loads the plotting library

        predictor = self.predictor(networks)
        samples = [source[index] for index in range(min(8, len(source)))]
        return [landmark_figure(predictor, samples, folder / "landmarks.png")]
