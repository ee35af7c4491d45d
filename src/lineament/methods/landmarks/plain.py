"""The network of landmarks as a function of tensors, for other programs."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from lineament.capabilities import PlainNetwork
from lineament.faces.landmark_scheme import LandmarkScheme
from lineament.faces.schemes import scheme_content
from lineament.methods.landmarks.crop import AROUND, CLOSER, LEAST_SHARED
from lineament.methods.landmarks.model import Backbone, Head


class _Landmarks(nn.Module):
    """Backbone and head, norms folded, the scale in standard deviations."""

    def __init__(self, backbone: Backbone, head: Head, mirror: tuple[int, ...] | None) -> None:
        super().__init__()
        self.backbone = copy.deepcopy(backbone).cpu().fold()
        self.head = copy.deepcopy(head).cpu().requires_grad_(False).eval()
        self.temperature = float(head.temperature)
        self.mirror = None if mirror is None else list(mirror)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Points ``[B, K, 2]``, std ``[B, K]``, logits of being seen ``[B, K]`` of images ``[B, 3, S, S]``."""
        points, scale, seen = self._read(images)
        if self.mirror is not None:
            other, other_scale, other_seen = (each[:, self.mirror] for each in self._read(images.flip(-1)))
            across = torch.stack([1.0 - other[..., 0], other[..., 1]], -1)
            points, scale, seen = (
                0.5 * (points + across),
                0.5 * (scale + other_scale),
                0.5 * (seen + other_seen),
            )
        return points, self.temperature * scale, seen

    def _read(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        # Decided while the graph is made: the head keeps its maps for gradients alone.
        with torch.no_grad():
            said = self.head(*self.backbone(images))
        return said.points, said.scale, said.seen


def plain_landmarks(
    networks: Mapping[str, nn.Module], scheme: LandmarkScheme, size: int, *, flip: bool, second_look: bool
) -> PlainNetwork:
    """One look at squares that were cut already.

    Args:
        networks: ``backbone`` and ``head`` as they were trained.
        scheme: What the points mean.
        size: Side of the images.
        flip: Average with the mirrored image, inside the network.
        second_look: Whether this package looks twice, which the program has to do then.
    """
    head = cast(Head, networks["head"])
    mirror = tuple(scheme.mirror) if scheme.mirror_known else None
    facts = {
        "input": {
            "images": {
                "layout": "NCHW",
                "channels": "RGB",
                "range": [0.0, 1.0],
                "size": size,
                "square": "centred on the middle of the detector's box, its side the longer side of the box times "
                "around; bilinear with anti-aliasing, the border of the photo repeated outside",
                "around": AROUND,
            }
        },
        "output": {
            "landmarks": "xy in shares of the square's side; 0 and 1 are its edges",
            "std": "standard deviation of the error per coordinate, in shares of the square's side",
            "visible": "logit of the point being seen"
            + ("" if bool(head.visibility > 0) else " (never learnt: ignore it)"),
        },
        "scheme": scheme_content(scheme),
        "second_look": {
            "done": "no: the program does it, on the mirrored square around the points of the first look",
            "closer": CLOSER,
            "least_shared": LEAST_SHARED,
        }
        if second_look
        else None,
    }
    return PlainNetwork(
        _Landmarks(cast(Backbone, networks["backbone"]), head, mirror if flip else None),
        {"images": ("batch", 3, size, size)},
        ("landmarks", "std", "visible"),
        facts,
    )
