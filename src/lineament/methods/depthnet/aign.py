"""AIGN, the baseline with a 3-D adversary (Tung et al., ICCV 2017), as DepthNets compares with it.

Keypoints become heat maps; a convolutional network answers with a linear shape, a rotation, a translation and a camera.
The adversary judges the 3-D points, and the points' projection must meet the keypoints. The rotation is made from six
numbers that are not forced to be sines and cosines of anything, as published: it is a true rotation only by training.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lineament.capabilities import PlainNetwork
from lineament.methods.depthnet.model import CRITIC_WIDTHS, KEYPOINTS
from lineament.methods.depthnet.predictor import DepthPredictor

MAP_SIZE = 128
# Layers of the network: (output channels, stride).
CONVOLUTIONS = ((KEYPOINTS, 2), (64, 2), (64, 1), (128, 2), (128, 1), (256, 2), (256, 1))
# Faces whose heat maps are held at a time.
CHUNK = 16


def heat_maps(keypoints: Tensor, size: int = MAP_SIZE) -> Tensor:
    """Draw each keypoint as a small Gaussian of standard deviation one pixel.

    The 8 x 8 kernel runs from -3 to 4 and is pasted four pixels to the upper left of the truncated coordinate, as
    published: its peak lies one pixel up and left, a point within four pixels of the left or upper edge vanishes, and
    one at the right or lower edge is cut.

    Args:
        keypoints: ``[B, K, 2]`` xy over the image's size.
        size: Side of the maps in pixels.

    Returns:
        ``[B, K, size, size]`` in the type of ``keypoints``.
    """
    corner = (keypoints * size).trunc()  # [B, K, 2]
    kernel = torch.arange(-3, 5, dtype=torch.float64).square().mul(-0.5).exp()
    grid = torch.arange(size, device=keypoints.device)
    offset = grid - (corner[..., None] - 4)  # [B, K, 2, size]: place in the kernel
    weights = (kernel / kernel.sum()).to(keypoints)
    inside = (offset >= 0) & (offset < 8) & (corner >= 4).all(2)[..., None, None]
    profile = torch.where(inside, weights[offset.clamp(0, 7).long()], 0)
    return profile[:, :, 1, :, None] * profile[:, :, 0, None, :]


class Aign(nn.Module):
    """Shape, pose and camera from heat maps.

    Args:
        keypoints: Points of a face.
        size: Side of the heat maps in pixels, a multiple of 16.
    """

    def __init__(self, keypoints: int = KEYPOINTS, size: int = MAP_SIZE) -> None:
        super().__init__()
        self.keypoints, self.size = keypoints, size
        layers: list[nn.Module] = []
        inputs = keypoints
        for outputs, stride in CONVOLUTIONS:
            layers += [nn.Conv2d(inputs, outputs, 3, stride, 1), nn.BatchNorm2d(outputs), nn.ReLU()]
            inputs = outputs
        self.extractor = nn.Sequential(*layers)
        self.fc = nn.Sequential(nn.Linear(inputs * (size // 16) ** 2, 512), nn.ReLU())
        self.rot_model = nn.Sequential(nn.Linear(512, 6), nn.Tanh())
        self.alpha_model = nn.Linear(512, 3 * keypoints)
        self.T_model = nn.Linear(512, 3)
        self.f_model = nn.Linear(512, 2)
        self.c_model = nn.Linear(512, 2)

    def heads(self, maps: Tensor) -> dict[str, Tensor]:
        """The raw answers: ``rotation`` [B, 6], ``shape`` [B, 3 K], ``translation``, ``focal``, ``centre``."""
        features = self.fc(self.extractor(maps).flatten(1))
        return {
            "rotation": self.rot_model(features),
            "shape": self.alpha_model(features),
            "translation": self.T_model(features),
            "focal": self.f_model(features),
            "centre": self.c_model(features),
        }

    def forward(self, keypoints: Tensor) -> tuple[Tensor, Tensor]:
        """Lift keypoints ``[B, K, 2]`` to points ``[B, 3, K]`` (x, y, z), and project them: ``[B, K, 2]``."""
        answer = self.heads(heat_maps(keypoints, self.size))
        shape = answer["shape"].view(-1, 3, self.keypoints)
        points = rotation(answer["rotation"]) @ shape + answer["translation"][..., None]
        projected = answer["focal"][..., None] * points[:, :2] + answer["centre"][..., None]
        return points, projected.transpose(1, 2)


def rotation(values: Tensor) -> Tensor:
    """Matrices ``[B, 3, 3]`` from ``[B, 6]``: sine and cosine of theta, phi and psi, as B C D."""
    s_th, c_th, s_ph, c_ph, s_ps, c_ps = values.unbind(1)
    zero, one = torch.zeros_like(s_th), torch.ones_like(s_th)

    def matrix(*entries: Tensor) -> Tensor:
        return torch.stack(entries, dim=1).view(-1, 3, 3)

    b = matrix(s_ps, -c_ps, zero, c_ps, s_ps, zero, zero, zero, one)
    c = matrix(one, zero, zero, zero, c_th, s_th, zero, -s_th, c_th)
    d = matrix(-s_ph, c_ph, zero, -c_ph, -s_ph, zero, zero, zero, one)
    return b @ c @ d


class SpectralLinear(nn.Module):
    """A linear layer whose weight is divided by an estimate of its largest singular value (Miyato et al., ICLR 2018).

    One step of power iteration in every forward pass, in training and out of it, as published.

    Args:
        inputs: Input features.
        outputs: Output features.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        linear = nn.Linear(inputs, outputs)
        # Named as in the published checkpoints.
        self.module = nn.Module()
        self.module.bias = nn.Parameter(linear.bias.detach().clone())
        self.module.weight_bar = nn.Parameter(linear.weight.detach().clone())
        self.module.register_buffer("weight_u", F.normalize(torch.randn(outputs), dim=0))
        self.module.register_buffer("weight_v", F.normalize(torch.randn(inputs), dim=0))

    def forward(self, x: Tensor) -> Tensor:
        """``[B, inputs] -> [B, outputs]``."""
        weight: Tensor = self.module.weight_bar  # type: ignore[assignment]
        with torch.no_grad():
            v = _unit(weight.t() @ self.module.weight_u)  # type: ignore[operator]
            u = _unit(weight @ v)
            # New tensors and not new values: an earlier pass of the same step still needs its own.
            self.module.weight_v, self.module.weight_u = v, u
        return F.linear(x, weight / (u @ (weight @ v)), self.module.bias)  # type: ignore[arg-type]


def _unit(vector: Tensor) -> Tensor:
    return vector / (vector.norm() + 1e-12)


class SpectralCritic(nn.Module):
    """The adversary with spectral norms in place of batch norms; arguments as :class:`~.model.Critic`."""

    def __init__(self, keypoints: int = KEYPOINTS, widths: tuple[int, ...] = CRITIC_WIDTHS) -> None:
        super().__init__()
        sizes = [3 * keypoints, *widths, 1]
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(sizes):
            layers += [SpectralLinear(inputs, outputs), nn.ReLU()]
        self.disc = nn.Sequential(*layers[:-1])

    def forward(self, points: Tensor) -> Tensor:
        """Score ``[B, 1]`` of points ``[B, 3, K]``."""
        return self.disc(points.flatten(1))


class AignPredictor(DepthPredictor):
    """Depth of one face from its keypoints alone; the target enters the affine map only."""

    single = True

    def plain_network(self) -> PlainNetwork:
        """Depths of keypoints; see :mod:`.plain`."""
        from lineament.methods.depthnet.plain import plain_depth

        return plain_depth(self.network, self.scheme, lambda source: self.network(source)[0][:, 2])

    def _predict(self, source: Tensor, target: Tensor) -> tuple[Tensor, Tensor | None]:
        parts = [self.network(part)[0][:, 2] for part in source.split(CHUNK)]
        return torch.cat(parts), None
