"""Semi-supervised landmarks: labels, drawn or few, and photos without labels; the recipe `landmarks`.

A plain network places the landmarks of crops that are moved, hidden in part and degraded at random. Its moving average
teaches it on unlabelled photos: it looks at a plain copy, and its points, carried along, are what a moved and
degraded copy must show (Tarvainen and Valpola, "Mean teachers are better role models", NeurIPS 2017).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from lineament.data.cache import CachedSource
from lineament.data.sample import FaceSample, FaceSource
from lineament.data.semi_supervised import UNLABELLED, SemiSupervisedSource, labelled_part
from lineament.data.subset import Mapped, Subset
from lineament.errors import DataError, UsageError
from lineament.faces.schemes import as_scheme, convert_points, scheme, scheme_word
from lineament.methods.landmarks.augment import Bank, degrade
from lineament.methods.landmarks.calibrate import calibrate
from lineament.methods.landmarks.crop import MILD, Spread, cut, inverted, moved, moved_square, prepared
from lineament.methods.landmarks.draws import Draws
from lineament.methods.landmarks.loss import carried_targets, map_loss, placement_loss, visibility_loss
from lineament.methods.landmarks.model import (
    BLOCKS,
    FEATURES,
    STRIDE,
    WIDTHS,
    Head,
    Prediction,
    build_networks,
    head_buffer,
    predict,
)
from lineament.methods.landmarks.occlude import occlude
from lineament.methods.landmarks.points import drawn_points, mirror_among
from lineament.methods.landmarks.predictor import LandmarkPredictor
from lineament.training.base_run import INHERIT, BaseKind, Inherited
from lineament.training.context import EVALUATED_AVERAGE, AverageSpec, StepContext
from lineament.training.recipe import Batch, Need, Origin, Recipe, RecipeConfig
from lineament.training.registry import RANDOM_BASE
from lineament.training.schedules import warmup_cosine
from lineament.training.sources import open_joined

# A point farther outside the image than this share of its side teaches nothing: no map can point there.
OUTSIDE = 0.02
SEEN_WEIGHT = 0.05


@dataclass(frozen=True)
class LandmarksConfig(RecipeConfig):
    """What can be set; the defaults are for a few labels on a trained base, --preset full learns from nothing."""

    # Run to start from: its backbone, and its head where the scheme is the same; random starts from nothing.
    base: str = RANDOM_BASE
    # Landmark scheme to learn, a name or a yaml file; labels are converted to it where they can be.
    scheme: str = "68"
    # Train on so many labelled faces only; 0 takes all of them.
    labels: int = 0
    # Which ones: the first of the data, or a random draw that depends on the seed.
    pick: str = "first"
    # Faces without labels, named as for --data; labels that they have stay unseen.
    unlabelled: tuple[str, ...] = ()
    # One of so many faces is unlabelled where there are any.
    unlabelled_every: int = 3
    # Weight of the unlabelled faces in the loss.
    consistency: float = 1.0
    # Share of the steps after which unlabelled faces take part.
    consistency_from: float = 0.12
    # Share of the steps after which they have their whole weight.
    consistency_full: float = 0.25
    # Optimiser steps in all.
    steps: int = 600
    # Faces of one step, the unlabelled ones among them.
    batch_size: int = 24
    # Highest learning rate.
    learning_rate: float = 2e-3
    # Points that one step learns, drawn anew each time, sides together; 0 takes all. Many points cost more than the
    # network.
    points_at_once: int = 0
    # Weight of the maps' cross-entropy, which shows them where to look.
    map_weight: float = 0.2
    # Decay of the weights.
    weight_decay: float = 1e-3
    # Gradients longer than this are shortened to it.
    clip: float = 5.0
    # With a base: share of the steps in which only the head learns.
    head_first: float = 0.3
    # With a base: highest learning rate of the backbone after them.
    backbone_rate: float = 5e-4
    # With a base of the same scheme: learn anew how sure and how visible points are, and leave the places as they are.
    scale_only: bool = False
    # Side of the network's images in pixels, a multiple of 16; a base decides it.
    size: Inherited[int] = INHERIT
    # Channels at strides 2, 4, 8 and 16; a base decides them.
    widths: Inherited[tuple[int, ...]] = INHERIT
    # Residual blocks at strides 4, 8 and 16; a base decides them.
    blocks: Inherited[tuple[int, ...]] = INHERIT
    # Channels of the maps at stride 4; a base decides them.
    features: Inherited[int] = INHERIT
    # Probability of a mirrored image; its landmarks change sides as the scheme says.
    mirror: float = 0.5
    # Training squares: standard deviation of the logarithm of the side.
    move_scale: float = 0.09
    # Training squares: standard deviation of the place, in sides of the box.
    move_shift: float = 0.06
    # Training squares: standard deviation of the angle, degrees.
    move_turn: float = 14.0
    # Draw glasses, patches and covers over training faces.
    occlusions: bool = True
    # Images that patches and colours are taken from.
    borrowed: int = 64
    # Memory for decoded training images, in megabytes (1e6 bytes) for labelled and unlabelled ones each.
    cache_mb: int = 4000
    # Decay of the moving average, which teaches and is what predicts.
    ema_decay: float = 0.9985
    # Average with the prediction for the mirrored image; twice the time.
    flip_tta: bool = False
    # Look at faces of photos a second time, mirrored, upright and closer, and average; twice the time.
    second_look: bool = True
    # Labelled faces used by an evaluation during training, and to calibrate the confidence.
    evaluate_count: int = 256
    # Steps between two checkpoints; 0 writes one only at the end.
    checkpoint_every: int = 500

    @property
    def spread(self) -> Spread:
        """How training squares vary."""
        return Spread(self.move_scale, self.move_shift, self.move_turn)


_SIZES: Mapping[str, Any] = {"size": 112, "widths": WIDTHS, "blocks": BLOCKS, "features": FEATURES}
_BASE = BaseKind(
    wanted="landmarks of this method",
    give="a run of `lineament train landmarks`",
    accepts=lambda run: run.method == "landmarks",
    defaults=_SIZES,
)


class LandmarksRecipe(Recipe[LandmarksConfig, FaceSample]):
    """Backbone and head, taught by labels and by their own moving average."""

    name = "landmarks"
    method = "landmarks"
    config_class = LandmarksConfig
    base_kind = _BASE
    needs = (
        Need(("pick",), lambda c: c.labels > 0, "a number of labels (--labels N)"),
        Need(
            ("unlabelled_every", "consistency", "consistency_from", "consistency_full"),
            lambda c: bool(c.unlabelled),
            "unlabelled faces (--unlabelled DATA)",
        ),
        Need(
            ("head_first", "backbone_rate", "scale_only"),
            lambda c: c.base not in ("", RANDOM_BASE),
            "a base (--base RUN)",
        ),
        Need(
            ("head_first", "backbone_rate", "map_weight", "unlabelled"),
            lambda c: not c.scale_only,
            "places that are learnt (without --scale-only)",
        ),
    )
    resource_fields = ("cache_mb",)
    best_metric = "landmark_error_percent"

    def __init__(
        self, config: LandmarksConfig, origin: Origin | None = None, *, unlabelled: FaceSource | None = None
    ) -> None:
        if unlabelled is not None and not config.unlabelled:
            config = replace(config, unlabelled=(unlabelled.name,))
        if config.scale_only:
            # The error of places that stay tells no step from another: the last one is used.
            self.best_metric = ""
        # The run keeps the content of a scheme file, which may be gone by the time it is used.
        super().__init__(replace(config, scheme=scheme_word(config.scheme)), origin)
        self._unlabelled = unlabelled
        self.landmarks = scheme(config.scheme)
        self.bank = Bank.of(torch.zeros(0, 3, self.config.size, self.config.size))
        self._check()

    def _check(self) -> None:
        c = self.config
        if c.size % STRIDE or not 32 <= c.size <= 512:
            raise UsageError(f"size is a multiple of {STRIDE} from 32 to 512, not {c.size}.")
        if len(c.widths) != 4 or len(c.blocks) != 3 or min(*c.widths, *c.blocks, c.features) < 1:
            raise UsageError(
                f"widths are four numbers and blocks three, of 1 or more; got widths {c.widths}, blocks {c.blocks}, "
                f"features {c.features}."
            )
        if c.pick not in ("first", "random"):
            raise UsageError(f"pick is first or random, not {c.pick!r}.")
        if min(c.labels, c.borrowed, c.cache_mb, c.points_at_once) < 0 or c.evaluate_count < 1:
            raise UsageError(
                "labels, borrowed, cache_mb and points_at_once are 0 or more and evaluate_count 1 or more; got "
                f"{c.labels}, {c.borrowed}, {c.cache_mb}, {c.points_at_once}, {c.evaluate_count}."
            )
        if c.unlabelled_every < 2 or c.consistency < 0:
            raise UsageError(
                f"unlabelled_every is 2 or more and consistency a weight of 0 or more, not {c.unlabelled_every} and "
                f"{c.consistency}."
            )
        if not 0 <= c.consistency_from <= c.consistency_full <= 1 or not 0 <= c.head_first < 1:
            raise UsageError(
                "consistency_from and consistency_full are shares of the steps in this order, head_first one below 1; "
                f"got {c.consistency_from}, {c.consistency_full}, {c.head_first}."
            )
        if not (c.learning_rate > 0 and c.backbone_rate > 0 and c.clip > 0 and 0 <= c.mirror <= 1):
            raise UsageError("learning rates and clip are larger than 0, mirror is a probability.")

    @property
    def on_base(self) -> bool:
        """Whether the backbone was trained before."""
        return self.config.base not in ("", RANDOM_BASE)

    def networks(self) -> dict[str, nn.Module]:
        """Backbone and head."""
        c = self.config
        networks = build_networks(len(self.landmarks), c.widths, c.blocks, c.features)
        # A base of another scheme has a head of its own.
        self.take_base_weights(networks, networks, optional=() if c.scale_only else ("head",))
        if c.scale_only:
            cast(Head, networks["head"]).learn_scale_anew()
            networks["backbone"].requires_grad_(False)
        return networks

    def averages(self, networks: dict[str, nn.Module]) -> dict[str, AverageSpec]:
        """The average that predicts and teaches; a short training has a faster one."""
        averages = super().averages(networks)
        if self.config.unlabelled and EVALUATED_AVERAGE not in averages:
            raise UsageError("unlabelled faces are taught by the moving average: give --ema-decay above 0.")
        return averages

    def optimisers(self, networks: dict[str, nn.Module]) -> dict[str, torch.optim.Optimizer]:
        """One AdamW; convolutions and matrices decay, nothing else does."""
        c = self.config
        groups = []
        for name, network in networks.items():
            rate = c.backbone_rate if self.on_base and name == "backbone" else c.learning_rate
            parameters = [p for p in network.parameters() if p.requires_grad]
            for decayed in (True, False):
                chosen = [p for p in parameters if (p.ndim > 1) == decayed]
                decay = c.weight_decay if decayed else 0.0
                groups.append({"params": chosen, "lr": rate, "weight_decay": decay})
        return {"all": torch.optim.AdamW(groups, fused=True)}

    def schedules(
        self, optimisers: dict[str, torch.optim.Optimizer]
    ) -> dict[str, torch.optim.lr_scheduler.LRScheduler]:
        """A tenth of the steps up, the rest along a cosine to zero; on a base the backbone begins later."""
        steps = self.config.steps
        late = int(self.config.head_first * steps) if self.on_base else 0

        def whole(step: int) -> float:
            return warmup_cosine(step, steps)

        def backbone(step: int) -> float:
            return 0.0 if step < late else warmup_cosine(step - late, max(1, steps - late))

        # Two groups of each network, the backbone's first.
        factors: list[Callable[[int], float]] = [backbone, backbone, whole, whole]
        return {name: torch.optim.lr_scheduler.LambdaLR(each, factors) for name, each in optimisers.items()}

    def training_source(self, source: FaceSource) -> FaceSource:
        """The labelled faces, or the few that are asked for, with the unlabelled ones between them; decoded once.

        Raises:
            DataError: If there are fewer faces, or they have no landmarks or landmarks of another scheme. Only the
                first is looked at, before anything is written.
        """
        c = self.config
        if c.mirror:
            self.landmarks.require_mirror()
        self._check_labels(source)
        if c.labels:
            source = self._few(source)
        labelled = self._kept(source, labelled=True)
        if not c.unlabelled:
            self._borrow(labelled)
            return labelled
        faces = self._unlabelled if self._unlabelled is not None else open_joined(c.unlabelled)
        unlabelled = self._kept(faces, labelled=False)
        self._borrow(unlabelled)
        return SemiSupervisedSource(labelled, unlabelled, c.unlabelled_every)

    def _few(self, source: FaceSource) -> FaceSource:
        c = self.config
        if c.labels > len(source):
            raise DataError(
                f"{c.labels} labelled faces are asked for, but {source.name} holds {len(source)}: lower --labels."
            )
        chosen = list(range(c.labels))
        if c.pick == "random":
            order = torch.randperm(len(source), generator=torch.Generator().manual_seed(c.seed))
            chosen = sorted(order[: c.labels].tolist())
        return Subset(source, chosen, f"{source.name}[{c.pick} {c.labels}]")

    def _kept(self, source: FaceSource, *, labelled: bool) -> FaceSource:
        """Faces cut to what training needs and kept in memory."""
        layout = self.landmarks if labelled else None
        cutting = partial(prepared, scheme=layout, size=self.config.size)
        tag = f"landmarks {scheme_word(layout) if layout else UNLABELLED} {self.config.size}"
        return CachedSource(Mapped(source, cutting, tag), self.config.cache_mb * 10**6)

    def _borrow(self, source: FaceSource) -> None:
        """Fill the bank of images that others borrow from, spread evenly over the faces."""
        count = min(self.config.borrowed, len(source))
        images = []
        for number in range(count):
            try:
                sample = source[number * len(source) // count]
            except DataError:
                # It is reported by name when training reads it.
                continue
            assert sample.box is not None
            still = Draws(torch.Generator().manual_seed(0))
            matrix = moved_square(sample.box, self.config.size, Spread(0.0, 0.0, 0.0), still, False)
            images.append(cut(sample.image, matrix, self.config.size))
        if images:
            self.bank = Bank.of(torch.stack(images))

    def _check_labels(self, source: FaceSource) -> None:
        first = source[0]
        if first.landmarks is None or first.scheme is None:
            raise DataError(
                f"{first.id} of {source.name} has no landmarks: {self.name} learns from labelled faces; others go to "
                "--unlabelled."
            )
        try:
            convert_points(first.landmarks.double(), first.scheme, self.landmarks)
        except UsageError as error:
            found = as_scheme(first.scheme).name
            raise DataError(
                f"{source.name} is labelled in scheme {found}, which cannot be turned into the scheme "
                f"{self.landmarks.name} to be learnt: give --scheme {found}, or its yaml file."
            ) from error

    def item(self, sample: FaceSample, generator: torch.Generator) -> Batch:
        """Move, hide and degrade one face; of an unlabelled one a plain copy too, which the average looks at."""
        c, draws = self.config, Draws(generator)
        if UNLABELLED not in sample.meta and sample.landmarks is None:
            raise DataError(f"{sample.id} has no landmarks: {self.name} learns from labelled faces.")
        if sample.box is None:
            sample = prepared(sample, self.landmarks if sample.landmarks is not None else None, c.size)
        assert sample.box is not None
        mirrored = draws.chance(c.mirror)
        matrix = moved_square(sample.box, c.size, c.spread, draws, mirrored)
        image = cut(sample.image, matrix, c.size)
        if sample.landmarks is None:
            plain = moved_square(sample.box, c.size, MILD, draws, False)
            seen_plain = cut(sample.image, plain, c.size)
            self._appear(image, None, draws)
            carry = _in_shares(torch.cat([inverted(plain), torch.tensor([[0.0, 0.0, 1.0]])]), matrix, c.size)
            image = self._finish(image, draws)
            return {"image": image, "plain": seen_plain, "carry": carry.float(), "mirrored": mirrored}
        points = moved(sample.landmarks.double(), matrix)
        seen = (
            torch.full((len(points),), torch.nan) if sample.visibility is None else sample.visibility.float()
        )
        if mirrored:
            order = list(self.landmarks.mirror)
            points, seen = points[order], seen[order]
        self._appear(image, points, draws)
        places = ((points + 0.5) / c.size).float()
        known = ((places > -OUTSIDE) & (places < 1 + OUTSIDE)).all(-1)
        image = self._finish(image, draws)
        return {"image": image, "points": places.nan_to_num(0.0), "known": known.float(), "seen": seen}

    def _appear(self, image: Tensor, points: Tensor | None, draws: Draws) -> None:
        if not self.config.occlusions:
            return
        groups = self.landmarks.eyes
        eyes = None
        if points is not None and groups is not None:
            eyes = torch.stack([points[list(group)].mean(0) for group in groups])
        occlude(image, eyes, self.bank.textures, draws)

    def _finish(self, image: Tensor, draws: Draws) -> Tensor:
        return degrade(image, self.bank, draws)

    def collate(self, items: list[Batch]) -> Batch:
        """Stack items, the labelled ones first."""
        labelled = [each for each in items if "points" in each]
        unlabelled = [each for each in items if "plain" in each]
        size, count = self.config.size, len(self.landmarks)
        empty: Batch = {
            "points": torch.zeros(0, count, 2),
            "known": torch.zeros(0, count),
            "seen": torch.zeros(0, count),
            "plain": torch.zeros(0, 3, size, size),
            "carry": torch.zeros(0, 2, 3),
            "mirrored": torch.zeros(0, dtype=torch.bool),
        }
        images = torch.stack([each["image"] for each in (*labelled, *unlabelled)])
        made = [torch.utils.data.default_collate(_others(part)) for part in (labelled, unlabelled) if part]
        return {**empty, **{key: value for part in made for key, value in part.items()}, "images": images}

    def step(self, networks: dict[str, nn.Module], batch: Batch, context: StepContext) -> dict[str, Tensor]:
        """One step; unlabelled faces are left out as long as they have no weight."""
        c, images, count = self.config, batch["images"], len(batch["points"])
        weight = self._weight(context.share) if len(batch["plain"]) else 0.0
        if self.on_base:
            _freeze_norms(networks["backbone"])
        chosen = drawn_points(self.landmarks.mirror, c.points_at_once, context.generator).to(images.device)
        some = None if len(chosen) == len(self.landmarks) else chosen
        targets, known, told = (batch[name][:, chosen] for name in ("points", "known", "seen"))
        said = predict(networks, images if weight else images[: max(count, 1)], some)
        labelled = Prediction(*(each[:count] for each in said))
        placed = placement_loss(labelled.points, labelled.scale, targets, known)
        seen = visibility_loss(labelled.seen, told)
        with torch.no_grad():
            error = (labelled.points - targets).norm(dim=-1) * known
            values = {
                "error_percent": 100.0 * error.sum() / known.sum().clamp(min=1.0),
                "visibility": seen.detach(),
            }
            if bool(torch.isfinite(told).any()):
                head_buffer(networks["head"], "visibility").fill_(1.0)
        # A batch without labels, or without visibility, still reaches every parameter.
        if c.map_weight:
            placed = placed + c.map_weight * map_loss(labelled.maps, targets, known)
        loss = placed + SEEN_WEIGHT * (seen + 0.0 * said.seen.sum()) + 0.0 * said.points.sum()
        if weight:
            unlabelled = Prediction(*(each[count:] for each in said))
            teacher = context.averages[EVALUATED_AVERAGE]
            values["consistency"] = self._consistency(teacher, unlabelled, batch, chosen, some)
            loss = loss + weight * values["consistency"]
        context.update.zero()
        context.update.backward(loss)
        parameters = [p for network in networks.values() for p in network.parameters() if p.grad is not None]
        length = torch.nn.utils.clip_grad_norm_(parameters, self.config.clip)
        context.update.step()
        return {
            "loss": loss.detach(),
            "gradient": length,
            **{name: value.detach() for name, value in values.items()},
        }

    def _weight(self, share: float) -> float:
        """Weight of unlabelled faces after a share of the steps: none before the first labels are learnt."""
        c = self.config
        if not c.unlabelled or share < c.consistency_from:
            return 0.0
        rise = (share - c.consistency_from) / max(1e-9, c.consistency_full - c.consistency_from)
        return c.consistency * min(1.0, max(1e-3, rise))

    def _consistency(
        self,
        teacher: Mapping[str, nn.Module],
        said: Prediction,
        batch: Batch,
        chosen: Tensor,
        some: Tensor | None,
    ) -> Tensor:
        """Loss of the unlabelled faces of a batch, whose points the average finds in their plain images."""
        with torch.no_grad():
            plain = predict(teacher, batch["plain"], some)
            targets, doubt, weights = carried_targets(
                plain.points,
                plain.scale,
                batch["carry"],
                batch["mirrored"],
                mirror_among(chosen, self.landmarks.mirror),
            )
        return placement_loss(said.points, said.scale, targets, weights, doubt)

    def predictor(
        self,
        networks: dict[str, nn.Module],
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> LandmarkPredictor:
        """Landmarks of the faces of photos; where the scheme lies on a head, descriptors of all of its places too."""
        c = self.config
        kind = LandmarkPredictor
        if self.landmarks.surface is not None:
            # Brings libraries that the first photo of a process would wait for.
            from lineament.methods.landmarks.dense import DensePredictor

            kind = DensePredictor
        looks = {"flip": c.flip_tta, "second_look": c.second_look}
        return kind(networks, self.landmarks, c.size, device, dtype, **looks)

    def evaluate(self, networks: dict[str, nn.Module], source: FaceSource) -> dict[str, float]:
        """Error on validation faces, cropped by their boxes; the confidence is calibrated on the same faces."""
        return calibrate(self, networks, labelled_part(source))

    def figures(self, networks: dict[str, nn.Module], source: FaceSource, folder: Path) -> list[Path]:
        """Validation faces with their points, each as large as its predicted standard deviation."""
        from lineament.methods.landmarks.figures import draw_predictions

        return draw_predictions(self, networks, labelled_part(source), folder)


def _others(items: list[Batch]) -> list[Batch]:
    return [{key: value for key, value in each.items() if key != "image"} for each in items]


def _in_shares(plain_to_photo: Tensor, photo_to_moved: Tensor, size: int) -> Tensor:
    """Plain to moved image ``[2, 3]`` where both count shares of their sides, 0 and 1 at the edges, not pixels."""
    carry = photo_to_moved @ plain_to_photo
    middle = torch.full((2,), 0.5, dtype=carry.dtype)
    carry[:, 2] = (carry[:, 2] + middle - carry[:, :2] @ middle) / size
    return carry


def _freeze_norms(network: nn.Module) -> None:
    """Normalise by the statistics of the base: those of a few faces say less."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
