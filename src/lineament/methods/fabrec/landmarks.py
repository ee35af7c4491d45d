"""Predicting landmarks in the pixels of a photograph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from lineament.faces import boxes
from lineament.faces.schemes import LandmarkScheme, scheme
from lineament.geometry.affine2d import Affine2D
from lineament.methods.fabrec.crop import region_offset
from lineament.methods.fabrec.decoder import Decoder
from lineament.methods.fabrec.encoder import Encoder
from lineament.methods.fabrec.folded import FoldedNetworks
from lineament.methods.fabrec.heatmaps import Style, as_peaks, confidences, read_heatmaps
from lineament.methods.fabrec.landmark_config import LandmarkConfig
from lineament.methods.fabrec.model import WholeNetworks, normalise_images, reconstruct, to_pictures
from lineament.methods.fabrec.transfer import TransferLayers


@dataclass(frozen=True)
class Landmarks:
    """Landmarks of one face.

    Attributes:
        points: ``[K, 2]`` xy in pixels of the photograph.
        confidence: ``[K]`` height of each heatmap's peak, in 0..1.
    """

    points: Tensor
    confidence: Tensor


@dataclass(frozen=True)
class Look:
    """Everything the model sees and says of one face, in pixels of its picture.

    Attributes:
        image: ``[3, S, S]`` in 0..1.
        reconstruction: ``[3, S, S]`` in 0..1.
        heatmaps: ``[K, h, h]`` raw.
        points: ``[K, 2]``.
    """

    image: Tensor
    reconstruction: Tensor
    heatmaps: Tensor
    points: Tensor


class LandmarkPredictor:
    """Landmarks for any face box in any photograph; answers in the photograph's own pixels.

    Args:
        config: Of a `fabrec-landmarks` recipe.
        networks: Its networks, whose weights of now are used.
        dtype: What heatmaps are computed in, ``torch.float32`` or ``torch.bfloat16``.
    """

    def __init__(
        self, config: LandmarkConfig, networks: dict[str, nn.Module], dtype: torch.dtype = torch.float32
    ) -> None:
        self.config = config
        self.view = config.view
        self.scheme: LandmarkScheme = scheme(config.scheme)
        self.networks = {name: networks[name].eval() for name in ("encoder", "decoder", "transfer")}
        self.folded: nn.Module = (
            WholeNetworks(self.networks)
            if config.lateral
            else FoldedNetworks(
                cast(Encoder, networks["encoder"]),
                cast(Decoder, networks["decoder"]),
                cast(TransferLayers, networks["transfer"]),
                dtype,
            )
        )

    @torch.no_grad()
    def __call__(self, image: Tensor, box: Tensor) -> Landmarks:
        """Find the landmarks of one face.

        Args:
            image: ``[3, H, W]`` RGB in 0..1.
            box: ``[4]`` face box in pixels.
        """
        crop = self.crop(image, box)
        picture = self.view.picture(image, crop)
        points, confidence = self.read(picture[None])
        return Landmarks(self.to_photo(points[0], crop), confidence[0])

    def crop(self, image: Tensor, box: Tensor) -> Affine2D:
        """Photograph to the region around a box, from which the picture is cut."""
        return self.view.region_of_box(boxes.check_box(box), (image.shape[-2], image.shape[-1]))

    def to_photo(self, points: Tensor, crop: Affine2D) -> Tensor:
        """Landmarks ``[K, 2]`` of the picture in pixels of the photograph."""
        if self.view.style == "exact":
            return self.view.inner(crop).inverse().apply(points)
        # The published crop moves points without the half pixel, so they go back without it too.
        scales = points.new_tensor(crop.axis_scales)
        placed = points + region_offset(self.view.size) - 0.5 * (1.0 - scales)
        return crop.inverse().apply(placed)

    @torch.no_grad()
    def read(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Landmarks ``[B, K, 2]`` and confidences ``[B, K]`` of pictures ``[B, 3, S, S]`` in 0..1."""
        c = self.config
        device = next(self.networks["decoder"].buffers()).device
        batch = normalise_images(pictures.to(device))
        # Where nobody knows which points swap, a mirrored picture tells nothing.
        flipped = c.mirrored_look and self.scheme.mirror_known
        both = torch.cat([batch, batch.flip(-1)]) if flipped else batch
        heatmaps = self.folded(both)
        if flipped:
            straight, mirrored = heatmaps.chunk(2)
            heatmaps = 0.5 * (straight + mirrored.flip(-1)[:, list(self.scheme.mirror)])
        if c.loss == "place":
            heatmaps = as_peaks(heatmaps, c.heatmap_sigma)
        points = read_heatmaps(heatmaps, c.size, c.heatmap_sigma, cast(Style, c.heatmaps))
        return points.cpu(), confidences(heatmaps).cpu()

    @torch.no_grad()
    def look(self, image: Tensor, box: Tensor) -> Look:
        """What the model makes of one face, for figures."""
        picture = self.view.picture(image, self.crop(image, box))
        device = next(self.networks["decoder"].buffers()).device
        batch = normalise_images(picture[None].to(device))
        points, _ = self.read(picture[None])
        raw = self.folded(batch)
        return Look(
            picture,
            to_pictures(reconstruct(self.networks, batch))[0].cpu(),
            (as_peaks(raw, self.config.heatmap_sigma) if self.config.loss == "place" else raw)[0].cpu(),
            points[0],
        )
