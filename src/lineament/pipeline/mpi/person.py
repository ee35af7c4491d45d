"""Where a person is in a photo: from a fitted head, colours, and edges.

The head says where a person is likely: on the head, around it where hair may be, below it where shoulders are. Colours
near there and away from there are described by Gaussian mixtures, and both are brought together by a random walk
that hardly crosses edges of the photo (Grady, *Multilabel random walker image segmentation using prior models*, CVPR
2005). The result is refined along the edges by a guided filter (He, Sun, Tang, *Guided image filtering*, ECCV 2010).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage, sparse
from scipy.cluster.vq import kmeans2
from scipy.sparse.linalg import cg
from skimage.color import rgb2lab
from torch import Tensor
from torch.nn import functional as F

# Longer side of the image on which the person is found, pixels.
SIDE = 256
# Gaussians of a mixture, and how often mixtures and person are found in turn.
GAUSSIANS, ROUNDS = 8, 4
# Units of a position beside which one unit of colour counts in a mixture: colours are likely near where they were seen.
NEARBY = 12.0
# Pull of prior and colours against the smoothness of the walk, and how much steps across an edge are hindered.
PULL, EDGES = 0.02, 90.0
# Furthest that one pixel's colour alone tells, as a logarithm of odds.
MOST_TOLD = 2.5


@dataclass(frozen=True)
class Silhouette:
    """What a fitted head says of where a person is.

    Attributes:
        head: ``[H, W]`` bool, seen head with its neck.
        unit: Distance between the outer eye corners, pixels.
        middle: x of the neck, pixels.
        shoulders: y of the shoulders, pixels.
        half: Half the width of the shoulders, pixels.
    """

    head: np.ndarray
    unit: float
    middle: float
    shoulders: float
    half: float

    def scaled(self, height: int, width: int) -> Silhouette:
        """The same for an image of another size."""
        factor = width / self.head.shape[1]
        small = F.interpolate(torch.from_numpy(self.head).float()[None, None], (height, width), mode="area")
        return Silhouette(
            small[0, 0].numpy() > 0.5,
            self.unit * factor,
            self.middle * factor,
            self.shoulders * factor,
            self.half * factor,
        )


def person_matte(image: Tensor, silhouette: Silhouette) -> Tensor:
    """Find the person of a photo.

    Args:
        image: ``[3, H, W]`` in 0..1.
        silhouette: Where its head is.

    Returns:
        ``[H, W]`` share of the person in each pixel, 0..1.
    """
    height, width = image.shape[1:]
    factor = min(1.0, SIDE / max(height, width))
    size = (max(8, round(height * factor)), max(8, round(width * factor)))
    small = F.interpolate(image[None], size, mode="area")[0] if factor < 1 else image
    here = silhouette.scaled(*small.shape[1:])
    share = _walk(small, here)
    share = _one_person(share, here)
    large = F.interpolate(share[None, None], (height, width), mode="bilinear")[0, 0]
    radius = max(2, round(0.12 * silhouette.unit))
    matte = guided_filter(image, large, radius, 1e-4)
    # A guided filter leaves veils; what is nearly one or the other is that.
    return ((matte - 0.5) * 1.6 + 0.5).clamp(0, 1)


def _prior(silhouette: Silhouette) -> np.ndarray:
    """Logarithm of the odds ``[H, W]`` of a person, from the head alone."""
    head, unit = silhouette.head, silhouette.unit
    inside = ndimage.distance_transform_edt(head) / unit
    outside = ndimage.distance_transform_edt(~head) / unit
    y, x = np.mgrid[: head.shape[0], : head.shape[1]].astype(float)
    # Hair is up to half a unit around the head; beyond, a person is ever less likely.
    around = np.where(head, 1.0 + 12 * inside, 0.3 - 2.2 * outside)
    below = (y - silhouette.shoulders) / unit
    # Shoulders slope; arms and what they hold lie the further out the lower they are.
    beside = (np.abs(x - silhouette.middle) - silhouette.half) / unit - 0.6 * np.clip(below - 1, 0, 4)
    torso = np.minimum(
        2.2 * (below + 0.15 - np.clip(beside + 0.8, 0, 2) * 0.35), 1.5 - 1.6 * np.maximum(beside, -1.5)
    )
    return np.clip(np.maximum(around, np.minimum(torso, 3.0)), -5.0, 6.0)


def _walk(image: Tensor, silhouette: Silhouette) -> Tensor:
    """Share of the person ``[H, W]`` on a small image."""
    lab = rgb2lab(image.permute(1, 2, 0).double().numpy())
    height, width = lab.shape[:2]
    prior = _prior(silhouette)
    laplacian = _laplacian(lab)
    y, x = np.mgrid[:height, :width]
    places = np.stack([x, y], -1) / silhouette.unit * NEARBY
    features = np.concatenate([lab, places], -1).reshape(-1, 5)
    share = 1 / (1 + np.exp(-prior.ravel()))
    for _ in range(ROUNDS):
        told = _log_density(features, share) - _log_density(features, 1 - share)
        odds = prior.ravel() + np.clip(told, -MOST_TOLD, MOST_TOLD)
        # What is sure pulls more.
        pull = PULL * (1 + np.abs(odds) ** 2)
        system = laplacian + sparse.diags(pull)
        share, _ = cg(
            system,
            pull / (1 + np.exp(-odds)),
            x0=share,
            rtol=1e-3,
            maxiter=300,
            M=sparse.diags(1 / system.diagonal()),
        )
        share = share.clip(1e-4, 1 - 1e-4)
    return torch.from_numpy(share.reshape(height, width)).float()


def _laplacian(lab: np.ndarray) -> sparse.csr_matrix:
    """Of the grid of pixels, whose steps weigh less across edges."""
    height, width = lab.shape[:2]
    number = np.arange(height * width).reshape(height, width)
    ones, others, weights = [], [], []
    for one, other in (
        ((slice(None), slice(1, None)), (slice(None), slice(-1))),
        ((slice(1, None),), (slice(-1),)),
    ):
        difference = ((lab[one] - lab[other]) ** 2).sum(-1)
        ones.append(number[one].ravel())
        others.append(number[other].ravel())
        weights.append(np.exp(-EDGES * (difference / (difference.mean() + 1e-9)).ravel() / 30) + 1e-4)
    i, j, w = map(np.concatenate, (ones, others, weights))
    count = height * width
    steps = sparse.coo_matrix((np.r_[w, w], (np.r_[i, j], np.r_[j, i])), (count, count)).tocsr()
    return (sparse.diags(np.asarray(steps.sum(1)).ravel()) - steps).tocsr()


def _log_density(features: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Logarithm of the density of a Gaussian mixture that fits the features where the share is large."""
    chosen = features[share > 0.6]
    if len(chosen) < 10 * GAUSSIANS:
        chosen = features[np.argsort(share)[-10 * GAUSSIANS :]]
    thinned = chosen[:: max(1, len(chosen) // 4000)]
    _, label = kmeans2(thinned, GAUSSIANS, minit="++", iter=8, seed=0)
    densities = []
    for one in range(GAUSSIANS):
        own = thinned[label == one]
        if len(own) < 8:
            continue
        covariance = np.cov(own.T) + np.eye(own.shape[1]) * 9.0
        offset = features - own.mean(0)
        distance = (offset @ np.linalg.inv(covariance) * offset).sum(1)
        densities.append(
            np.log(len(own) / len(thinned)) - 0.5 * distance - 0.5 * np.linalg.slogdet(covariance)[1]
        )
    return np.logaddexp.reduce(densities)


def _one_person(share: Tensor, silhouette: Silhouette) -> Tensor:
    """Drop parts that are not connected with the head, and fill holes."""
    found = share.numpy() > 0.5
    labels, _ = ndimage.label(found | silhouette.head)
    own = np.bincount(labels[silhouette.head])
    kept = ndimage.binary_fill_holes(labels == (own[1:].argmax() + 1 if len(own) > 1 else 0))
    near = ndimage.binary_dilation(kept, iterations=2)
    values = np.where(kept & ~found, 1.0, np.where(near, share.numpy(), 0.0))
    return torch.from_numpy(values).float()


def guided_filter(image: Tensor, values: Tensor, radius: int, epsilon: float) -> Tensor:
    """Smooth values so that they follow the edges of an image: locally they become a linear map of its colours.

    Args:
        image: ``[3, H, W]`` in 0..1.
        values: ``[H, W]``.
        radius: Of the squares in which the map is one, pixels.
        epsilon: Variance of colours below which there is no edge.

    Returns:
        ``[H, W]``.
    """
    guide, target = image.double(), values.double()

    def mean(each: Tensor) -> Tensor:
        padded = F.pad(each.reshape(1, -1, *each.shape[-2:]), [radius] * 4, mode="replicate")
        rows = F.avg_pool2d(padded, (2 * radius + 1, 1), stride=1)
        return F.avg_pool2d(rows, (1, 2 * radius + 1), stride=1).reshape(each.shape)

    middle, level = mean(guide), mean(target)
    covariance = mean(guide[:, None] * guide[None]) - middle[:, None] * middle[None]
    cross = mean(guide * target) - middle * level
    system = covariance.permute(2, 3, 0, 1) + epsilon * torch.eye(3, dtype=torch.float64)
    slope = torch.linalg.solve(system, cross.permute(1, 2, 0)).permute(2, 0, 1)
    offset = level - (slope * middle).sum(0)
    return ((mean(slope) * guide).sum(0) + mean(offset)).float()
