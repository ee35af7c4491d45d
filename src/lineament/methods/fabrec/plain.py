"""The landmark networks of 3FabRec as a function of tensors, for other programs."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from lineament.capabilities import PlainNetwork
from lineament.faces.schemes import LandmarkScheme, scheme_content
from lineament.methods.fabrec.crop import region_offset, region_side
from lineament.methods.fabrec.heatmaps import Style, as_peaks, confidences, read_heatmaps
from lineament.methods.fabrec.landmark_config import LandmarkConfig
from lineament.methods.fabrec.model import WholeNetworks, normalise_images


class _Landmarks(nn.Module):
    """Encoder, decoder and transfer layers, heatmaps, and what is read from them."""

    def __init__(
        self, networks: dict[str, nn.Module], config: LandmarkConfig, mirror: tuple[int, ...] | None
    ) -> None:
        super().__init__()
        self.whole = WholeNetworks({name: networks[name] for name in ("encoder", "decoder", "transfer")})
        self.config = config
        self.mirror = None if mirror is None else list(mirror)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Landmarks ``[B, K, 2]`` in shares of the side, confidence ``[B, K]``, heatmaps ``[B, K, h, h]``."""
        c = self.config
        batch = normalise_images(images)
        heatmaps: Tensor = self.whole(batch)
        if self.mirror is not None:
            other: Tensor = self.whole(batch.flip(-1))
            heatmaps = 0.5 * (heatmaps + other.flip(-1)[:, self.mirror])
        if c.loss == "cross-entropy":
            heatmaps = as_peaks(heatmaps, c.heatmap_sigma)
        points = read_heatmaps(heatmaps, c.size, c.heatmap_sigma, cast(Style, c.heatmaps))
        return (points + 0.5) / c.size, confidences(heatmaps), heatmaps


def plain_landmarks(
    networks: dict[str, nn.Module], config: LandmarkConfig, scheme: LandmarkScheme
) -> PlainNetwork:
    """Landmarks of squares that were cut already."""
    mirror = tuple(scheme.mirror) if config.flip_tta and scheme.mirror_known else None
    view = config.view
    above, below = view.margins
    facts = {
        "input": {
            "images": {
                "layout": "NCHW",
                "channels": "RGB",
                "range": [0.0, 1.0],
                "size": view.size,
                "square": "the detector's box grown by margins of its height above and below, a square around its "
                f"middle scaled to {region_side(view.size)} px, of which {view.size} px from "
                f"{region_offset(view.size)} on are kept (docs/methods/fabrec.md)",
                "margins": [above, below],
            }
        },
        "output": {
            "landmarks": "xy in shares of the square's side; 0 and 1 are its edges",
            "confidence": "height of each heatmap's peak, 0..1",
            "heatmaps": "[K, h, h], from which the landmarks are read",
        },
        "scheme": scheme_content(scheme),
    }
    return PlainNetwork(
        _Landmarks(networks, config, mirror).eval(),
        {"images": ("batch", 3, view.size, view.size)},
        ("landmarks", "confidence", "heatmaps"),
        facts,
        jumping=("landmarks",),
    )
