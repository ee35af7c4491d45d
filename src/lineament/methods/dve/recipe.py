"""Training of dense descriptors from unlabelled images: the recipes `dve-smallnet-16d` and its siblings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from lineament.data.face_box import jittered_box
from lineament.data.sample import FaceSample, FaceSource
from lineament.evaluation.matching import matching_cards, prepare_faces
from lineament.evaluation.published import published_face
from lineament.faces.frame import Frame, PreparedFace, cut
from lineament.faces.photometric import PhotometricRanges, apply_photometric, sample_photometric
from lineament.geometry.tps_warp import FIRST_KERNEL_FACTOR, WarpStd, random_weights, warp_pair
from lineament.methods.dve.faithful import faithful_pair
from lineament.methods.dve.loss import descriptor_loss
from lineament.methods.dve.model import STRIDE, build_backbone, describe, normalise_images
from lineament.methods.dve.optimiser import published_optimiser
from lineament.methods.dve.predictor import DescriptorPredictor
from lineament.methods.dve.protocol import frame_of
from lineament.methods.dve.schedule import StepDecay, step_factor
from lineament.training.context import StepContext
from lineament.training.recipe import Batch, Need, Recipe, RecipeConfig
from lineament.training.schedules import rate_schedules


@dataclass(frozen=True)
class DveConfig(RecipeConfig):
    """What can be set when training descriptors; the defaults are those of the published CelebA runs."""

    # Samples (pairs of views) of one step.
    batch_size: int = 32
    # Optimiser steps in all.
    steps: int = 20000
    # Network: smallnet, hourglass, a form of the hourglass that only old checkpoints have, or the unpublished unet.
    backbone: Literal[
        "smallnet", "hourglass", "hourglass-gn", "hourglass-scaled", "hourglass-gn-scaled", "unet"
    ] = "smallnet"
    # Dimensions of a descriptor.
    channels: int = 16
    # Show the network only the luma of images: grey and colour images look alike to it.
    luma: bool = False
    # Exchange descriptors with another face before matching (the paper's contribution).
    exchange: bool = True
    # Share of the steps trained without exchange first, which short runs need; 0 in the published ones. Exchange is
    # slow to begin with: reconstructions from unformed descriptors carry next to no signal.
    warmup: float = 0.0
    # Weight of the loss without exchange beside that with exchange, 0..1; 0 in the published runs.
    dense_share: float = 0.0
    # Give descriptors the length 20 in the loss; the published SmallNet runs leave them raw.
    normalize: bool = False
    # Exponent of the pixel distance in the loss.
    power: float = 0.5
    # Source points per image that enter the loss, drawn anew each step; 0 takes all of them.
    loss_points: int = 0
    # Side in pixels of the image that is warped.
    image_size: int = 100
    # Pixels cut off each side after the warp.
    crop: int = 15
    # Side of what the network sees, in sides of the face box.
    view: float = 1.2
    # How far below the middle of the face box that view is centred, in sides of the box.
    view_shift: float = 0.0
    # Published preprocessing of a data set (celeba, aflw-m, aflw-r, 300w) in place of the crop around the face box.
    protocol: str = ""
    # How views are made: whole batches on the device, or one by one as the published loaders did (8 bits, JPEG noise,
    # colour jitter, colour noise), which is slower.
    loader: Literal["batched", "paper"] = "batched"
    # Random move and scaling of the face box, as a fraction of its side.
    box_jitter: float = 0.1
    # Probability of mirroring the image.
    mirror: float = 0.0
    # Standard deviation of all kernel weights of the second warp; the first warp's are half as large.
    warp_kernel_all: float = 0.001
    # Standard deviation of the half of the kernel weights that is drawn again.
    warp_kernel_subset: float = 0.01
    # Standard deviation of the warps' shift, in half image sides.
    warp_translation: float = 0.1
    # Standard deviation of the warps' scale around 1.
    warp_scale: float = 0.1
    # Standard deviation of the warps' rotation in degrees.
    warp_rotation: float = 5.0
    # Change of brightness, a factor in 1 +- this.
    brightness: float = 0.4
    # Change of contrast, a factor in 1 +- this.
    contrast: float = 0.4
    # Change of saturation, a factor in 1 +- this.
    saturation: float = 0.4
    # Standard deviation of colour noise along the principal axes.
    colour: float = 0.1
    # Probability of a greyscale image.
    grey: float = 0.0
    # Change of gamma: exponent 2 ** u with u in +- this.
    gamma: float = 0.0
    # Standard deviation of the slope of side light.
    light: float = 0.0
    # Probability of a blur.
    blur: float = 0.0
    # Largest standard deviation of pixel noise, in 0..1 units.
    noise: float = 0.0
    # Optimiser: Adam with AMSGrad and a rate of its own for biases, as published, or AdamW.
    optimiser: Literal["paper", "adamw"] = "paper"
    # Learning rate.
    learning_rate: float = 1e-3
    # Learning rate of the biases of the convolutions; 0 uses the one above.
    bias_learning_rate: float = 1e-5
    # Weight decay.
    weight_decay: float = 0.0
    # Learning rate over time: constant, cosine to zero, one cycle (a tenth of the steps up, the rest down to zero), or
    # the published steps with their delay of one epoch.
    schedule: Literal["constant", "cosine", "one-cycle", "paper"] = "constant"
    # Epochs after which the published schedule multiplies the rate by 0.1.
    milestones: tuple[int, ...] = (70, 90)
    # Steps that make one epoch of the published schedule (about 162,500 CelebA images in batches of 32).
    steps_per_epoch: int = 5077
    # Images used by an evaluation during training.
    evaluate_count: int = 64

    @property
    def frame(self) -> Frame:
        """The view of the network."""
        return frame_of(self.image_size, self.crop, (self.view, self.view_shift), self.protocol)

    @property
    def warp_spread(self) -> WarpStd:
        """Standard deviations of the second warp."""
        return WarpStd(
            self.warp_kernel_all,
            self.warp_kernel_subset,
            self.warp_translation,
            self.warp_scale,
            self.warp_rotation,
        )

    @property
    def look_spread(self) -> PhotometricRanges:
        """Changes of appearance."""
        return PhotometricRanges(
            self.brightness,
            self.contrast,
            self.saturation,
            self.colour,
            self.grey,
            self.gamma,
            self.light,
            self.blur,
            self.noise,
        )


class DveRecipe(Recipe[DveConfig, FaceSample]):
    """Dense descriptors learnt from unlabelled images by matching each to its own random warp."""

    name = "dve-smallnet-16d"
    method = "dve"
    config_class = DveConfig
    needs = (
        Need(
            (
                "mirror",
                "brightness",
                "contrast",
                "saturation",
                "colour",
                "grey",
                "gamma",
                "light",
                "blur",
                "noise",
                "loss_points",
            ),
            lambda c: c.loader == "batched",
            "views made in batches (--loader batched)",
        ),
        Need(
            ("box_jitter", "view", "view_shift"),
            lambda c: not c.protocol,
            "a crop around the face box (no --protocol)",
        ),
        Need(("warmup", "dense_share"), lambda c: c.exchange, "exchange (--exchange)"),
        Need(("milestones", "steps_per_epoch"), lambda c: c.schedule == "paper", "--schedule paper"),
        Need(
            ("bias_learning_rate",),
            lambda c: c.optimiser == "paper",
            "the published Adam (--optimiser paper)",
        ),
    )

    def networks(self) -> dict[str, nn.Module]:
        """The network ``descriptor``."""
        c = self.config
        return {"descriptor": build_backbone(c.backbone, c.channels, luma=c.luma)}

    def optimisers(self, networks: dict[str, nn.Module]) -> dict[str, torch.optim.Optimizer]:
        """The published Adam, or AdamW."""
        c = self.config
        if c.optimiser == "adamw":
            parameters = networks["descriptor"].parameters()
            return {"descriptor": torch.optim.AdamW(parameters, c.learning_rate, weight_decay=c.weight_decay)}
        return {
            "descriptor": published_optimiser(
                networks["descriptor"], c.learning_rate, c.bias_learning_rate, c.weight_decay
            )
        }

    def schedules(
        self, optimisers: dict[str, torch.optim.Optimizer]
    ) -> dict[str, torch.optim.lr_scheduler.LRScheduler]:
        """Learning rate over the steps as ``schedule`` says."""
        c = self.config
        if c.schedule == "paper":
            factor = step_factor(StepDecay(c.milestones), c.steps_per_epoch, off_by_one=True)
            return {"descriptor": torch.optim.lr_scheduler.LambdaLR(optimisers["descriptor"], factor)}
        return rate_schedules(optimisers, c.schedule, c.steps)

    def item(self, sample: FaceSample, generator: torch.Generator) -> Batch:
        """Crop around the jittered face box; draw both warps and both looks."""
        c = self.config
        frame = c.frame
        if frame.protocol:
            image = published_face(sample, frame.protocol, frame.size).image
        else:
            box = jittered_box(sample, generator, c.box_jitter)
            image = cut(sample.image, frame.whole(box), frame.size)
        if c.loader == "paper":
            return faithful_pair(
                PreparedFace(sample.id, image, torch.zeros(0, 2)), c.crop, c.warp_spread, generator
            )
        if c.mirror and float(torch.rand([], generator=generator)) < c.mirror:
            image = image.flip(-1)
        item = {
            "image": image,
            "weights1": random_weights(c.warp_spread.scaled(kernel=FIRST_KERNEL_FACTOR), generator),
            "weights2": random_weights(c.warp_spread, generator),
            "looks": torch.stack([sample_photometric(c.look_spread, generator) for _ in range(2)]),
        }
        if c.noise:
            item["noise"] = torch.randn(2, 1, frame.seen, frame.seen, generator=generator)
        if c.loss_points:
            # Which source points enter the loss must come from the sample's generator; the first of a batch decides.
            side = -(-frame.seen // STRIDE)
            item["rows"] = torch.randperm(side * side, generator=generator)[: c.loss_points]
        return item

    def views(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Warp a batch: interleaved views ``[2B, 3, h, w]`` in 0..1 and the grid ``[B, h, w, 2]`` between them."""
        if "views" in batch:
            return batch["views"].flatten(0, 1), batch["grid"]
        pair = warp_pair(batch["image"], batch["weights1"], batch["weights2"], self.config.crop)
        views = torch.stack([pair.first, pair.second], dim=1).flatten(0, 1)
        noise = batch["noise"].flatten(0, 1) if "noise" in batch else None
        return apply_photometric(views, batch["looks"].flatten(0, 1), noise), pair.grid

    def loss(self, network: nn.Module, batch: Batch, *, exchange: bool | None = None) -> Tensor:
        """The loss of a batch; scores are computed in float32 whatever the precision of the network.

        Args:
            network: The descriptor network.
            batch: Stacked items.
            exchange: Overrides the config.
        """
        c = self.config
        views, grid = self.views(batch)
        features = network(normalise_images(views))
        dense_share = c.dense_share if (c.exchange if exchange is None else exchange) else 1.0
        loss = features.new_zeros((), dtype=torch.float32)
        with torch.autocast(features.device.type, enabled=False):
            for share, exchanged in ((1 - dense_share, True), (dense_share, False)):
                if share:
                    loss = loss + share * descriptor_loss(
                        features.float(),
                        grid.float(),
                        stride=STRIDE,
                        normalize=c.normalize,
                        power=c.power,
                        exchanged=exchanged,
                        rows=batch["rows"][0] if "rows" in batch else None,
                    )
        return loss

    def step(self, networks: dict[str, nn.Module], batch: Batch, context: StepContext) -> dict[str, Tensor]:
        """One step of the descriptor network."""
        c = self.config
        warm = context.step + 1 <= c.warmup * c.steps
        loss = self.loss(networks["descriptor"], batch, exchange=c.exchange and not warm)
        context.update(loss)
        return {"loss": loss.detach()}

    def predictor(
        self,
        networks: dict[str, nn.Module],
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> DescriptorPredictor:
        """Dense descriptors of the faces of images."""
        return DescriptorPredictor(self.config.frame, networks, device, dtype)

    def evaluate(self, networks: dict[str, nn.Module], source: FaceSource) -> dict[str, float]:
        """Matching error in px at 70 px for the same and for another identity, where landmarks are known."""
        count = min(len(source), self.config.evaluate_count)
        faces = prepare_faces(source, self.config.frame, range(count))
        network = networks["descriptor"]
        if len(faces) < 2:
            return {}
        same, other = matching_cards(
            lambda x: describe(network, x),
            faces,
            self.config.frame,
            source,
            eight_bit=bool(self.config.protocol),
        )
        return {"matching_same_px": same.value, "matching_other_px": other.value}

    def figures(self, networks: dict[str, nn.Module], source: FaceSource, folder: Path) -> list[Path]:
        """Images, their warps, and the descriptors as colours."""
        from lineament.report.descriptors import descriptor_figure

        frame = self.config.frame
        faces = prepare_faces(source, frame, range(min(len(source), 8)), need_landmarks=False)
        network = networks["descriptor"]
        return [descriptor_figure(lambda x: describe(network, x), faces, frame, folder / "descriptors.png")]
