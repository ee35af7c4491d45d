"""Which square of an image a network sees, and how points get there and back."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lineament.faces import boxes
from lineament.faces.resample import crop_image
from lineament.geometry.affine2d import Affine2D


@dataclass(frozen=True)
class Frame:
    """The view of a network.

    Attributes:
        size: Side in pixels of the image that is warped in training.
        crop: Pixels cut off each side after the warp; a network sees ``size - 2 * crop``.
        view: Side of what the network sees, in sides of the squared face box.
        shift: How far below the middle of the box its centre lies, in sides of the box.
        protocol: Published preprocessing by which labelled data sets are cut instead
            (``evaluation.published.PROTOCOLS``); "" for none. Photos from elsewhere are always cut by their box.
    """

    size: int
    crop: int
    view: float
    shift: float = 0.0
    protocol: str = ""

    @property
    def seen(self) -> int:
        """Side in pixels of what the network sees."""
        return self.size - 2 * self.crop

    def whole(self, box: Tensor) -> Affine2D:
        """Photo pixels -> pixels of the ``size`` image around a face box ``[4]``."""
        window = boxes.expand(self._square(box), self.view * self.size / self.seen)
        return Affine2D.window(window, (self.size, self.size))

    def view_of(self, box: Tensor) -> Affine2D:
        """Photo pixels -> pixels of the image that the network sees."""
        return Affine2D.window(boxes.expand(self._square(box), self.view), (self.seen, self.seen))

    def _square(self, box: Tensor) -> Tensor:
        square = boxes.square(box)
        down = self.shift * (square[3] - square[1])
        return square + torch.stack([down.new_zeros(()), down]).repeat(2)


@dataclass(frozen=True)
class PreparedFace:
    """A face in the frame that warps act on.

    Attributes:
        id: Name of the sample.
        image: ``[3, size, size]`` RGB in 0..1.
        points: ``[K, 2]`` landmarks in pixels of ``image``; empty where unknown.
        identity: Label of the person, where it is known.
    """

    id: str
    image: Tensor
    points: Tensor
    identity: str | None = None


def cut(image: Tensor, transform: Affine2D, side: int) -> Tensor:
    """Resample a photo ``[3, H, W]`` into a square image ``[3, side, side]``."""
    return crop_image(image, transform, side)
