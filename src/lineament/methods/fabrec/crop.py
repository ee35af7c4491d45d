"""From a photo to what the networks see: the published crop pixel for pixel, and one without its flaws.

Both take a region sqrt(2) larger than the image, so that a turned image has no empty corners, move it, and keep the
centre. Published: the region is cut at whole pixels and resized bicubically to 8 bits, without a filter against
aliasing, then moved bicubically. Exact: the photo is resampled once, through the product of all transforms.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from lineament.data.face_box import sample_box
from lineament.data.sample import FaceSample
from lineament.eight_bit import quantised
from lineament.errors import DataError
from lineament.faces.crops import landmarks_serve, named_crop, published_points
from lineament.faces.resample import crop_image
from lineament.faces.schemes import LandmarkScheme, as_scheme
from lineament.geometry.affine2d import Affine2D
from lineament.methods.fabrec.augment import (
    AffineParams,
    affine_matrix,
    apply_affine,
    published_mirror,
    transform_points,
)
from lineament.methods.fabrec.cut import cut_region
from lineament.methods.fabrec.level import TurnedRegion, levelling

Style = Literal["paper", "exact"]
Region = Affine2D | TurnedRegion


# What a box is grown by above and below on VGGFace2, in shares of its height.
PUBLISHED_MARGINS = (0.05, 0.10)
# Share of its side that may be missing of what is seen, where a crop was prepared by another rule.
MISSING = 0.05


def region_side(size: int) -> int:
    """Side of the region that is moved before the inner ``size`` pixels are kept."""
    return math.ceil(size * math.sqrt(2.0))


def region_offset(size: int) -> int:
    """Pixels cut off the left and the top of the region."""
    return int((region_side(size) - size) / 2)


@dataclass(frozen=True)
class View:
    """Which square of an image the networks see.

    Attributes:
        size: Side in pixels of what they see.
        crop: ``box`` cuts by the face box; ``landmarks`` by the landmarks where a sample has more than five, none of
            them missing, of a scheme that can become 68 points; else by the box.
        margins: What a box is grown by, above and below, in shares of its height.
        style: ``exact`` or ``published``.
        align: Turn faces that are cut by their landmarks upright first.
    """

    size: int
    crop: Literal["box", "landmarks"] = "box"
    margins: tuple[float, float] = PUBLISHED_MARGINS
    style: Style = "exact"
    align: bool = False

    def region(self, sample: FaceSample) -> Region:
        """Image to the region that is moved; of a crop prepared by this rule the region that it was cut around.

        Raises:
            DataError: If a crop that was prepared by another rule does not hold what is to be seen.
        """
        points = sample.landmarks if self.crop == "landmarks" else None
        by_landmarks = self._cut_by_landmarks(sample, points)
        rule = sample.meta.get("crop_rule")
        if rule is not None and not self.align and self._cut_already(rule, by_landmarks):
            side = region_side(self.size)
            return Affine2D.window(torch.tensor(rule["region"], dtype=torch.float64), (side, side))
        if by_landmarks:
            assert points is not None
            region = self._region_of_landmarks(points, as_scheme(sample.scheme or str(len(points))))
        else:
            height, width = sample.image.shape[-2:]
            region = self.region_of_box(sample_box(sample), (height, width))
        if rule is not None:
            self._check_covered(sample, region)
        return region

    def _cut_by_landmarks(self, sample: FaceSample, points: Tensor | None) -> bool:
        if points is None or len(points) <= 5:
            return False
        height, width = sample.image.shape[-2:]
        return landmarks_serve("fabrec", points, sample.scheme, (height, width))

    def _cut_already(self, rule: Mapping[str, Any], by_landmarks: bool) -> bool:
        """Say whether a prepared crop was cut around the very region of this view."""
        if rule["crop"] != "fabrec" or (rule["cut_by"] not in ("box", "landmarks 5")) != by_landmarks:
            return False
        return by_landmarks or tuple(rule["margins"] or PUBLISHED_MARGINS) == tuple(self.margins)

    def _check_covered(self, sample: FaceSample, region: Region) -> None:
        """Refuse a prepared crop that ends where the image goes on and the face is to be seen."""
        height, width = sample.image.shape[-2:]
        edges = torch.tensor([-0.5, -0.5, self.size - 0.5, self.size - 0.5], dtype=torch.float64)
        seen = self.inner(region).inverse().apply_box(edges)
        photo_width, photo_height = sample.meta["photo_size"]
        photo = torch.tensor([-0.5, -0.5, photo_width - 0.5, photo_height - 0.5], dtype=torch.float64)
        to_photo = Affine2D(torch.tensor(sample.meta["crop_to_photo"], dtype=torch.float64))
        limits = to_photo.inverse().apply_box(photo)
        before = (torch.maximum(seen[:2], limits[:2]) + 0.5).neg()
        behind = torch.minimum(seen[2:], limits[2:]) + 0.5 - torch.tensor([width, height])
        missing = float(torch.cat([before, behind]).max() / (seen[2:] - seen[:2]).max())
        if missing > MISSING:
            rule = sample.meta["crop_rule"]["crop"]
            raise DataError(
                f"the crop {sample.id} was cut by the rule {rule!r} and lacks {missing:.0%} of what 3FabRec sees of "
                "the face: prepare the photos with --crop fabrec."
            )

    def region_of_box(self, box: Tensor, image_size: tuple[int, int]) -> Affine2D:
        """Photo of height and width ``image_size`` to the region around a box ``[4]``."""
        return named_crop(
            "fabrec", box=box, image_size=image_size, size=self.size, margins=self.margins, trim=False
        )

    def _region_of_landmarks(self, points: Tensor, layout: LandmarkScheme) -> Region:
        if not self.align:
            return named_crop("fabrec", landmarks=points, scheme=layout, size=self.size, trim=False)
        turn = levelling(points, layout, self.style == "paper")
        upright = turn.apply(points.double())
        return TurnedRegion(
            turn, named_crop("fabrec", landmarks=upright, scheme=layout, size=self.size, trim=False)
        )

    def inner(self, region: Region) -> Affine2D:
        """Photo to the image that is seen, from the transform to the region."""
        offset = -float(region_offset(self.size))
        return region.then(Affine2D.from_similarity(translation=(offset, offset)))

    def image(self, image: Tensor, region: Region, move: AffineParams | None = None) -> Tensor:
        """Cut the image ``[3, size, size]`` in 0..1 out of a photo ``[3, H, W]``."""
        side, offset = region_side(self.size), region_offset(self.size)
        if self.style == "exact":
            crop = self.inner(region if move is None else _moved(region, move, side))
            return crop_image(image, crop, self.size).clamp(0, 1)
        if isinstance(region, TurnedRegion):
            cut = cut_region(image, region.cut, side, turn=region.turn)
        else:
            cut = cut_region(image, region, side)
        if move is None:
            return cut[:, offset : offset + self.size, offset : offset + self.size]
        cut = cut.flip(-1) if move.mirror else cut
        if move == AffineParams(mirror=move.mirror):
            return cut[:, offset : offset + self.size, offset : offset + self.size]
        return quantised(apply_affine(cut, affine_matrix(move, side), self.size, offset))

    def clean_to_augmented(self, region: Region, move: AffineParams) -> Tensor:
        """Matrix ``[2, 3]`` from pixels of the unmoved image to pixels of the moved one, in the exact style."""
        moved = self.inner(_moved(region, move, region_side(self.size)))
        return self.inner(region).inverse().then(moved).matrix

    def points(
        self, points: Tensor, layout: LandmarkScheme, region: Region, move: AffineParams | None = None
    ) -> Tensor:
        """Landmarks ``[K, 2]`` of the photo in pixels of the image."""
        side, offset = region_side(self.size), region_offset(self.size)
        if self.style == "exact":
            if move is None:
                return self.inner(region).apply(points)
            kept = points[..., list(layout.mirror), :] if move.mirror else points
            return self.inner(_moved(region, move, side)).apply(kept)
        if isinstance(region, TurnedRegion):
            points, region = region.turn.apply(points), region.cut
        placed = published_points(points, region)
        if move is not None:
            placed = published_mirror(placed, layout, side) if move.mirror else placed
            placed = transform_points(placed, affine_matrix(move, side))
        # The published centre crop puts every negative coordinate on the border.
        return (placed - offset).clamp(min=0)


def _moved(region: Region, move: AffineParams, side: int) -> Affine2D:
    matrix = affine_matrix(move, side)
    if move.mirror:
        flip = torch.diag(torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64))
        flip[0, 2] = side - 1
        matrix = matrix @ flip
    return region.then(Affine2D(matrix[:2]))
