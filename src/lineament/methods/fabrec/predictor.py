"""A trained run of this method as something that reconstructs faces, and finds their landmarks, in images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from lineament.capabilities import Landmarks, PlainNetwork, Reconstruction, check_float32
from lineament.data.sample import FaceSample
from lineament.faces import boxes as box_tools
from lineament.faces.schemes import LandmarkScheme, as_scheme, scheme
from lineament.geometry.affine2d import Affine2D
from lineament.methods.fabrec.crop import Region, View, region_offset
from lineament.methods.fabrec.decoder import Decoder
from lineament.methods.fabrec.encoder import Encoder
from lineament.methods.fabrec.folded import FoldedNetworks
from lineament.methods.fabrec.heatmaps import Style, as_peaks, confidences, read_heatmaps
from lineament.methods.fabrec.landmark_config import LandmarkConfig
from lineament.methods.fabrec.model import WholeNetworks, normalise_images, reconstruct, to_images
from lineament.methods.fabrec.tiles import Look, five_tiles, tile_images
from lineament.methods.fabrec.transfer import TransferLayers

# Images that go through the networks at a time.
BATCH = 16


class AutoencoderPredictor:
    """What an autoencoder makes of faces.

    Args:
        view: What the networks see of a face.
        networks: ``encoder`` and ``decoder`` among them, whose weights of now are used.
        device: Where the networks are put; None leaves them where they are.
        dtype: None or float32, in which images are computed.

    Attributes:
        view: What the networks see of a face.
        networks: All networks by name.
    """

    holds = "an autoencoder without landmarks"
    hints: ClassVar[Mapping[str, str]] = {
        "LandmarkPredictor": "teach it with `lineament train fabrec-landmarks --base {run} --data LABELLED`",
        "FaceTiles": "teach it landmarks with `lineament train fabrec-landmarks --base {run} --data LABELLED`",
        "DenseDescriptor": "dense descriptors need a run of dve-smallnet-16d or its siblings",
        "DepthPredictor": "depth needs a run of a depthnet recipe",
    }

    def __init__(
        self,
        view: View,
        networks: dict[str, nn.Module],
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        check_float32(dtype, "an autoencoder of fabrec")
        self.view = view
        self.networks = {name: network.to(device).eval() for name, network in networks.items()}

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return next(self.networks["decoder"].buffers()).device

    @property
    def cut_words(self) -> str:
        """How faces are cut, for cards."""
        return f"faces cropped by their {self.view.crop}, seen at {self.view.size} px, without moves"

    @torch.no_grad()
    def reconstruct(self, samples: Sequence[FaceSample]) -> list[Reconstruction]:
        """Reconstruct the faces of samples, all at once; landmarks stay in the sample's own scheme."""
        regions = [self.view.region(sample) for sample in samples]
        cut = [self.view.image(each.image, region) for each, region in zip(samples, regions, strict=True)]
        images = torch.stack(cut)
        made = to_images(reconstruct(self.networks, normalise_images(images.to(self.device)))).cpu()
        points = [self._points(*each) for each in zip(samples, regions, strict=True)]
        return [Reconstruction(*each) for each in zip(images, made, points, strict=True)]

    def _points(self, sample: FaceSample, region: Region) -> Tensor | None:
        if sample.landmarks is None or sample.scheme is None:
            return None
        return self.view.points(sample.landmarks.double(), as_scheme(sample.scheme), region)


class LandmarkPredictor(AutoencoderPredictor):
    """Landmarks for any face box in any photo; answers in the photo's own pixels.

    The confidence of a landmark is the height of its heatmap's peak, 1 where the heatmap looks as in training.

    Args:
        config: Of a `fabrec-landmarks` recipe.
        networks: Its networks, whose weights of now are used.
        device: Where the networks are put; None leaves them where they are.
        dtype: What heatmaps are computed in, float32 (None too) or bfloat16.

    Attributes:
        config: Of the recipe.
        scheme: What the landmarks mean.
        folded: The networks from an image to its heatmaps.
    """

    holds = "landmarks without dense descriptors"

    def __init__(
        self,
        config: LandmarkConfig,
        networks: dict[str, nn.Module],
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        parts = {name: networks[name] for name in ("encoder", "decoder", "transfer")}
        super().__init__(config.view, parts, device)
        self.config = config
        self.scheme: LandmarkScheme = scheme(config.scheme)
        if config.lateral:
            check_float32(dtype, "a landmark head of fabrec with lateral layers")
            self.folded: nn.Module = WholeNetworks(self.networks)
        else:
            self.folded = FoldedNetworks(
                cast(Encoder, networks["encoder"]),
                cast(Decoder, networks["decoder"]),
                cast(TransferLayers, networks["transfer"]),
                dtype or torch.float32,
            )

    @torch.no_grad()
    def landmarks(self, image: Tensor, boxes: Tensor) -> Landmarks:
        """Find the landmarks of the faces in ``boxes`` ``[N, 4]`` of an image ``[3, H, W]``."""
        if not len(boxes):
            none = image.new_zeros(0, len(self.scheme))
            return Landmarks(none[..., None].expand(-1, -1, 2), none)
        crops = [self.crop(image, box) for box in boxes]
        images = torch.stack([self.view.image(image, crop) for crop in crops])
        points, confidence = self.read(images)
        placed = [self.to_photo(face, crop) for face, crop in zip(points, crops, strict=True)]
        return Landmarks(torch.stack(placed), confidence)

    def plain_network(self) -> PlainNetwork:
        """Landmarks of squares that were cut already; see :mod:`.plain`."""
        from lineament.methods.fabrec.plain import plain_landmarks

        return plain_landmarks(self.networks, self.config, self.scheme)

    def tiles(self, image: Tensor, box: Tensor) -> Tensor:
        """Input, reconstruction, heatmaps, landmarks in both, side by side: ``[3, h, 5 w]``."""
        return tile_images([five_tiles(self.look(image, box), self.scheme)])

    def crop(self, image: Tensor, box: Tensor) -> Affine2D:
        """Photo to the region around a box, from which the image is cut."""
        return self.view.region_of_box(box_tools.check_box(box), (image.shape[-2], image.shape[-1]))

    def to_photo(self, points: Tensor, crop: Affine2D) -> Tensor:
        """Landmarks ``[K, 2]`` of the image in pixels of the photo."""
        if self.view.style == "exact":
            return self.view.inner(crop).inverse().apply(points)
        # The published crop moves points without the half pixel, so they go back without it too.
        scales = points.new_tensor(crop.axis_scales)
        placed = points + region_offset(self.view.size) - 0.5 * (1.0 - scales)
        return crop.inverse().apply(placed)

    @torch.no_grad()
    def read(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Landmarks ``[B, K, 2]`` and confidences ``[B, K]`` of images ``[B, 3, S, S]`` in 0..1."""
        parts = [self._read(part) for part in images.split(BATCH)]
        points, heights = zip(*parts, strict=True)
        return torch.cat(points), torch.cat(heights)

    def _read(self, images: Tensor) -> tuple[Tensor, Tensor]:
        c = self.config
        batch = normalise_images(images.to(self.device))
        # Where nobody knows which points swap, a mirrored image tells nothing.
        flipped = c.flip_tta and self.scheme.mirror_known
        both = torch.cat([batch, batch.flip(-1)]) if flipped else batch
        heatmaps = self.folded(both)
        if flipped:
            straight, mirrored = heatmaps.chunk(2)
            heatmaps = 0.5 * (straight + mirrored.flip(-1)[:, list(self.scheme.mirror)])
        if c.loss == "cross-entropy":
            heatmaps = as_peaks(heatmaps, c.heatmap_sigma)
        points = read_heatmaps(heatmaps, c.size, c.heatmap_sigma, cast(Style, c.heatmaps))
        return points.cpu(), confidences(heatmaps).cpu()

    @torch.no_grad()
    def look(self, image: Tensor, box: Tensor) -> Look:
        """What the model makes of one face, for figures."""
        cut = self.view.image(image, self.crop(image, box))
        batch = normalise_images(cut[None].to(self.device))
        points, _ = self.read(cut[None])
        raw = self.folded(batch)
        return Look(
            cut,
            to_images(reconstruct(self.networks, batch))[0].cpu(),
            (as_peaks(raw, self.config.heatmap_sigma) if self.config.loss == "cross-entropy" else raw)[
                0
            ].cpu(),
            points[0],
        )
