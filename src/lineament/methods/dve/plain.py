"""Networks of DVE as functions of tensors, for other programs."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from lineament.capabilities import PlainNetwork
from lineament.errors import UsageError
from lineament.faces.frame import Frame
from lineament.faces.schemes import LandmarkScheme, scheme_content
from lineament.methods.dve.model import describe
from lineament.methods.dve.regressor import LandmarkRegressor, to_pixels


class _Descriptors(nn.Module):
    def __init__(self, descriptor: nn.Module) -> None:
        super().__init__()
        self.descriptor = descriptor

    def forward(self, images: Tensor) -> Tensor:
        """``[B, C, h, w]`` of images ``[B, 3, S, S]``."""
        return describe(self.descriptor, images)


class _Landmarks(_Descriptors):
    def __init__(self, descriptor: nn.Module, regressor: nn.Module) -> None:
        super().__init__(descriptor)
        self.regressor = regressor

    def forward(self, images: Tensor) -> Tensor:
        """``[B, K, 2]`` in shares of the side of images ``[B, 3, S, S]``."""
        side = images.shape[-1]
        unit = self.regressor(super().forward(images))[0]
        return (to_pixels(unit, side, side) + 0.5) / side


def plain_descriptors(descriptor: nn.Module, frame: Frame) -> PlainNetwork:
    """Dense descriptors of squares that were cut already."""
    return PlainNetwork(
        _Descriptors(descriptor).eval(),
        {"images": ("batch", 3, frame.seen, frame.seen)},
        ("descriptors",),
        {
            "input": _input(frame),
            "output": {
                "descriptors": "[C, h, w] of each square; cell (i, j) lies at pixel (j, i) times the side / w"
            },
        },
    )


def plain_landmarks(
    descriptor: nn.Module, regressor: nn.Module, frame: Frame, scheme: LandmarkScheme
) -> PlainNetwork:
    """Landmarks of squares that were cut already, from one look.

    Raises:
        UsageError: If the regressor fits a shape by steps that depend on what they find.
    """
    if not isinstance(regressor, LandmarkRegressor):
        raise UsageError(
            "landmarks of this run are a shape model fitted again and again to its own answer, which is no network: "
            "export a run of `landmarks`, `fabrec-landmarks` or dve-landmarks with --fit paper, or the "
            "descriptors below it."
        )
    return PlainNetwork(
        _Landmarks(descriptor, regressor).eval(),
        {"images": ("batch", 3, frame.seen, frame.seen)},
        ("landmarks",),
        {
            "input": _input(frame),
            "output": {"landmarks": "xy in shares of the square's side; 0 and 1 are its edges"},
            "scheme": scheme_content(scheme),
        },
    )


def _input(frame: Frame) -> dict[str, Any]:
    return {
        "images": {
            "layout": "NCHW",
            "channels": "RGB",
            "range": [0.0, 1.0],
            "size": frame.seen,
            "square": "the longer side of the detector's box times around, its middle lower than the box's by shift of "
            "that side; bilinear with anti-aliasing, black outside of the photo",
            "around": frame.view,
            "shift": frame.shift,
        }
    }
