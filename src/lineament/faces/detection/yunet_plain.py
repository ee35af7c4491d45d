"""YuNet as a function of tensors, for other programs: every cell's score, box and points, in pixels."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lineament.capabilities import PlainNetwork
from lineament.faces.detection.yunet import Yunet
from lineament.faces.detection.yunet_network import MULTIPLE, STRIDES, YunetNetwork, fold, load_weights


class _Decoded(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.network = YunetNetwork()
        self.network.load_state_dict(fold(load_weights()))
        self.network.requires_grad_(False).eval()

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Scores ``[B, A]``, boxes ``[B, A, 4]`` and points ``[B, A, 5, 2]`` of images ``[B, 3, H, W]``."""
        found = []
        for stride, level in zip(STRIDES, self.network(images.flip(1) * 255.0), strict=True):
            height, width = level.face.shape[1:]
            rows = torch.arange(height, dtype=images.dtype)[:, None].expand(height, width)
            columns = torch.arange(width, dtype=images.dtype)[None].expand(height, width)
            cell = torch.stack([columns, rows], -1)
            middle = (cell + level.box[..., :2]) * stride - 0.5
            half = 0.5 * stride * level.box[..., 2:].exp()
            points = (cell[:, :, None] + level.points) * stride - 0.5
            scores = (level.face * level.centred).sqrt()
            found.append(
                (
                    scores.flatten(1),
                    torch.cat([middle - half, middle + half], -1).flatten(1, 2),
                    points.flatten(1, 2),
                )
            )
        scores, boxes, points = (torch.cat(each, 1) for each in zip(*found, strict=True))
        return scores, boxes, points


def plain_yunet() -> PlainNetwork:
    """One look at images of any size that is a multiple of 32; suppression is left to the program."""
    usual = Yunet()
    return PlainNetwork(
        _Decoded(),
        {"images": ("batch", 3, "height", "width")},
        ("scores", "boxes", "points"),
        {
            "input": {
                "images": {
                    "layout": "NCHW",
                    "channels": "RGB",
                    "range": [0.0, 1.0],
                    "size": f"any multiple of {MULTIPLE}: append black rows and columns",
                    "shorter_side": usual.first_side,
                    "margin": usual.traits.margin,
                    "margin_hint": "what is mirrored beyond each border first, in shares of the shorter side",
                    "shorter_side_hint": "scale a photo down to this first, then to twice as much while no face, or "
                    f"one below {usual.large_face:g} px, is found",
                }
            },
            "output": {
                "scores": "0..1 for each cell",
                "boxes": "x0 y0 x1 y1 in pixels of the input, the middle of the first pixel at 0",
                "points": "the eye on the image left, that on the right, nose, corners of the mouth",
            },
            "least_score": usual.traits.least_score,
            "overlap": usual.overlap,
        },
        {"height": MULTIPLE, "width": MULTIPLE},
    )
