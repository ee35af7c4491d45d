"""A trained run of this method as something that finds the landmarks of faces in photos."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import ClassVar, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lineament.capabilities import Landmarks, PlainNetwork, check_float32
from lineament.faces.resample import crop_image
from lineament.faces.schemes import LandmarkScheme
from lineament.faces.uncertainty import face_uncertainty
from lineament.geometry.affine2d import Affine2D
from lineament.methods.landmarks.crop import AROUND, closer_square, square_of_box
from lineament.methods.landmarks.folded import PackedHead, folded
from lineament.methods.landmarks.model import Backbone, Head, Prediction, predict

# Faces that go through the network at a time: the maps of more do not stay in the processor's cache.
BATCH = 16
# The confidence of a point is the probability that it lies within this share of the box's longer side of its true
# place: about a tenth of the distance of the outer eye corners.
NEAR = 0.05


class _Look(NamedTuple):
    """What is said of N faces: points ``[N, K, 2]`` and std ``[N, K]`` in pixels, logits of being seen."""

    points: Tensor
    std: Tensor
    seen: Tensor


class LandmarkPredictor:
    """Landmarks for any face box in any photo; answers in the photo's own pixels.

    The network predicts the scale of each point's error; the run's ``temperature`` turns it into the standard deviation
    per coordinate, and the confidence is the probability of an error below a twentieth of the box's longer side under a
    round normal distribution of that standard deviation: ``1 - exp(-t^2 / (2 std^2))``.

    A second look sees the face mirrored, upright, and in a square around the points of the first one instead of the
    detector's box; the two answers are averaged with the inverse squares of their standard deviations as weights. What
    is told of a point's error is then the mean of both in the same sense: no smaller for there being two. Whether
    there is a face at all is told by the first look alone.

    Args:
        networks: ``backbone`` and ``head``, whose weights of now are copied.
        scheme: What the landmarks mean.
        size: Side of the network's images.
        device: Where the copy is put; None leaves it where it is.
        dtype: None or float32.
        flip: Average with the answer for the mirrored image, where the scheme says how points mirror.
        second_look: Look twice at the faces of photos; twice the time.

    Attributes:
        scheme: What the landmarks mean.
        size: Side of the network's images.
        second_look: Whether faces of photos are looked at twice.
        networks: The copies, batch norms folded into the convolutions.
    """

    holds = "landmarks without dense descriptors"
    hints: ClassVar[Mapping[str, str]] = {
        "DenseDescriptor": "dense descriptors need landmarks of a scheme that lies on a head, such as 400-dense, or a "
        "run of dve-smallnet-16d or its siblings",
        "DepthPredictor": "depth needs a run of a depthnet recipe",
    }

    def __init__(
        self,
        networks: Mapping[str, nn.Module],
        scheme: LandmarkScheme,
        size: int,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
        *,
        flip: bool = False,
        second_look: bool = False,
    ) -> None:
        check_float32(dtype, "a network of landmarks")
        backbone = cast(Backbone, copy.deepcopy(_plain(networks["backbone"])))
        head = cast(Head, copy.deepcopy(_plain(networks["head"])))
        self.networks: dict[str, nn.Module] = {
            "backbone": folded(backbone, device),
            "head": PackedHead(head.requires_grad_(False).eval().to(device)),
        }
        self.scheme = scheme
        self.size = size
        self.flip = flip and scheme.mirror_known
        self.second_look = second_look
        self._trained = {name: _plain(network) for name, network in networks.items()}
        self._temperature, self._tells_visibility = float(head.temperature), bool(head.visibility > 0)

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return next(self.networks["head"].parameters()).device

    @torch.no_grad()
    def landmarks(self, image: Tensor, boxes: Tensor) -> Landmarks:
        """Find the landmarks of the faces in ``boxes`` ``[N, 4]`` of an image ``[3, H, W]``."""
        count = len(self.scheme)
        if not len(boxes):
            none = torch.zeros(0, count)
            visible = none.bool() if self._tells_visibility else None
            return Landmarks(none[..., None].expand(-1, -1, 2), none, none, visible, torch.zeros(0))
        squares = [square_of_box(box, self.size) for box in boxes]
        found = self._look(image, squares)
        # The second look sees the place that the first one chose: it is surer of what is no face at all.
        unsure = face_uncertainty(found.std, boxes.cpu())
        if self.second_look:
            closer = [
                closer_square(points, self.scheme, box, self.size)
                for points, box in zip(found.points, boxes, strict=True)
            ]
            found = _averaged(found, self._look(image, closer, mirrored=self.scheme.mirror_known))
        # Confidence is told for the detector's box, whatever the second look saw.
        scales = torch.tensor([square.scale / self.size for square in squares])
        return Landmarks(
            found.points.float(),
            confidence(found.std * scales[:, None]).float(),
            found.std.float(),
            found.seen > 0.0 if self._tells_visibility else None,
            unsure.float(),
        )

    @torch.no_grad()
    def pooled_features(self, images: Tensor) -> Tensor:
        """Mean ``[B, C]`` of the backbone's coarsest level, over whole images ``[B, 3, H, W]`` in 0..1, on the CPU.

        The images are brought to the network's size bilinearly, smoothed where they shrink; no face is looked for.
        """
        side = (self.size, self.size)
        seen = [
            F.interpolate(part.to(self.device), side, mode="bilinear", antialias=True)
            for part in images.split(BATCH)
        ]
        return torch.cat([self.networks["backbone"](part).coarse.cpu() for part in seen])

    def plain_network(self) -> PlainNetwork:
        """One look at squares that were cut already; see :mod:`.plain`."""
        from lineament.methods.landmarks.plain import plain_landmarks

        looks = {"flip": self.flip, "second_look": self.second_look}
        return plain_landmarks(self._trained, self.scheme, self.size, **looks)

    def _look(self, image: Tensor, squares: list[Affine2D], mirrored: bool = False) -> _Look:
        """What the network says of squares of a photo, in the photo's pixels."""
        crops = torch.stack([crop_image(image, square, self.size, "edge") for square in squares])
        points, std, seen = self.read_many(crops.flip(-1) if mirrored else crops)
        if mirrored:
            order = list(self.scheme.mirror)
            points, std, seen = points[:, order], std[:, order], seen[:, order]
            points = torch.stack([1.0 - points[..., 0], points[..., 1]], -1)
        placed = [
            square.inverse().apply(face * self.size - 0.5)
            for square, face in zip(squares, points, strict=True)
        ]
        sides = torch.tensor([self.size / square.scale for square in squares])
        return _Look(torch.stack(placed), std * sides[:, None], seen)

    def read_many(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As :meth:`read`, so many at a time as the processor's cache holds."""
        parts = [self.read(part) for part in images.split(BATCH)]
        points, std, seen = (torch.cat(each) for each in zip(*parts, strict=True))
        return points, std, seen

    @torch.no_grad()
    def read(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What the network says of images ``[B, 3, S, S]`` in 0..1.

        Returns:
            Points ``[B, K, 2]`` and standard deviations of their errors per coordinate ``[B, K]``, both in shares of
            the images' side, and logits of being seen ``[B, K]``; on the CPU.
        """
        batch = images.to(self.device)
        said = predict(self.networks, batch)
        if self.flip:
            order = list(self.scheme.mirror)
            other = Prediction(*(each[:, order] for each in predict(self.networks, batch.flip(-1))))
            across = torch.stack([1.0 - other.points[..., 0], other.points[..., 1]], -1)
            pairs = zip(said, (across, other.scale, other.seen, other.maps), strict=True)
            said = Prediction(*(0.5 * (one + two) for one, two in pairs))
        return said.points.cpu(), (self._temperature * said.scale).cpu(), said.seen.cpu()


def _averaged(one: _Look, two: _Look) -> _Look:
    first, second = one.std.double().pow(-2), two.std.double().pow(-2)
    share = (first / (first + second))[..., None]
    return _Look(
        share * one.points + (1.0 - share) * two.points,
        (2.0 / (first + second)).sqrt(),
        0.5 * (one.seen + two.seen),
    )


def confidence(std: Tensor) -> Tensor:
    """Probability that an error of this std per coordinate, in sides of the square, is below ``NEAR``."""
    near = NEAR / AROUND
    return -torch.expm1(-0.5 * (near / std.clamp(min=1e-6)).square())


def _plain(network: nn.Module) -> nn.Module:
    """The network itself, which training may have wrapped."""
    return cast(nn.Module, getattr(network, "module", network))
