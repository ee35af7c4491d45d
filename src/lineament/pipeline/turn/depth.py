"""The depth of a face's keypoints: that of a head fitted to them, or that of a trained DepthNet."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lineament.capabilities import DepthPredictor
from lineament.faces.normalisers import inter_ocular
from lineament.faces.schemes import convert_points
from lineament.geometry.rotation import matrix_from_pose
from lineament.heads.fit import HeadFit, fit_head
from lineament.heads.model import HeadModel
from lineament.inference import load
from lineament.training.run import Run

# The network has seen faces that fill their image: side of the image in outer eye distances.
FRAME = 3.6
# Where the middle of the points lies in it.
MIDDLE = (0.5, 0.57)
# Yaw of the targets, in degrees, over which the depth of the one source is averaged.
TARGET_YAWS = (-25.0, 0.0, 25.0)


@dataclass(frozen=True)
class KeypointDepth:
    """Depth of the 68 keypoints.

    Attributes:
        values: ``[68]`` float64, pixels, growing away from the camera; 0 midway between the outer eye corners.
        origin: Words that say where it comes from.
        correlation: Of the network's own depth with the fitted head's, -1..1; None without a network.
    """

    values: Tensor
    origin: str
    correlation: float | None = None


def load_depth_run(run: str) -> tuple[Run, DepthPredictor]:
    """Open a run or model that predicts the depth of keypoints, trained here or imported.

    Raises:
        LineamentError: If there is no such run.
        CheckpointError: If it is damaged.
        UsageError: If it predicts no depth of keypoints.
    """
    model = load(run)
    return model.run, model.capability(DepthPredictor)


def face_depth(
    head: HeadModel, points: Tensor, run: str | None = None, std: Tensor | None = None
) -> tuple[HeadFit, KeypointDepth]:
    """Fit a head to keypoints and find their depth.

    Args:
        head: The head.
        points: ``[68, 2]`` xy in pixels.
        run: Run of a depthnet recipe that predicts the depth; None takes the fitted head's.
        std: ``[68]`` predicted standard deviation of the keypoints, pixels; the fit weighs them by it.

    Raises:
        DataError: If no head can be fitted.
        LineamentError: If the run cannot be used.
    """
    fit = fit_head(head, points, std)
    if run is None:
        return fit, head_depth(fit)
    return fit, network_depth(fit, points, *load_depth_run(run))


def head_depth(fit: HeadFit) -> KeypointDepth:
    """Depth of the fitted head's own landmarks."""
    words = f"the {fit.head.name} head fitted to the keypoints (off by {100 * fit.error:.1f} % of the eye distance)"
    return KeypointDepth(fit.landmarks[:, 2] - fit.eye_depth, words)


def network_depth(fit: HeadFit, points: Tensor, run: Run, predictor: DepthPredictor) -> KeypointDepth:
    """Depth by a trained DepthNet, brought to the scale of the fitted head.

    What keypoints alone do not determine (sign, scale and a shear of the depth) is taken from the head: the network's
    depth ``d`` becomes ``a + b x + c y + e d``, the closest such to the head's depths. Its shape stays the network's.

    Args:
        fit: The head fitted to ``points``; it also gives the targets.
        points: ``[68, 2]`` xy in pixels.
        run: The run, for messages.
        predictor: Its network.
    """
    middle, side = _frame(points)
    # The network knows the fixed places of the jaw; the image shows its outline.
    fixed = fit.to_fixed(points)
    source = _framed(fixed, middle, side)
    targets = torch.stack([_framed(_turned(fit, math.radians(yaw)), middle, side) for yaw in TARGET_YAWS])
    own = predictor.own_depth(source[None].float(), targets.float())[0].double()
    pair = torch.cat([source, own[:, None]], dim=1)
    own = convert_points(pair, "66", "68")[:, 2]
    head = fit.fixed[:, 2]
    columns = torch.stack([torch.ones_like(own), *fixed.T, own], dim=1)
    factors = torch.linalg.lstsq(columns, head[:, None]).solution
    aligned = (columns @ factors)[:, 0] + (fit.landmarks - fit.fixed)[:, 2]
    correlation = float(torch.corrcoef(torch.stack([own, head]))[0, 1])
    words = (
        f"{run.label} ({run.recipe}), sign, scale and shear fitted to the {fit.head.name} head "
        f"(correlation before the fit {correlation:.2f})"
    )
    return KeypointDepth(aligned - fit.eye_depth, words, correlation)


def framed_keypoints(points: Tensor) -> Tensor:
    """The 66 keypoints ``[66, 2]`` of a face ``[68, 2]`` in pixels, over a square image around it."""
    return _framed(points.double(), *_frame(points))


def _frame(points: Tensor) -> tuple[Tensor, float]:
    """Middle and side of a square image around a face, as the network has seen faces."""
    side = FRAME * float(inter_ocular(points, "68"))
    return (points.amax(0) + points.amin(0)).double() / 2, side


def _framed(points: Tensor, middle: Tensor, side: float) -> Tensor:
    """Keypoints ``[68, 2]`` as 66 points over a square image around the face."""
    return convert_points((points - middle) / side + torch.tensor(MIDDLE, dtype=torch.float64), "68", "66")


def _turned(fit: HeadFit, yaw: float) -> Tensor:
    """The fitted head's fixed places ``[68, 2]`` with another yaw."""
    middle = fit.fixed.mean(0)
    turn = (
        fit.rotation @ matrix_from_pose(torch.tensor([yaw, 0.0, 0.0], dtype=torch.float64)) @ fit.rotation.T
    )
    return ((fit.fixed - middle) @ turn.T + middle)[:, :2]
