"""Embeddings of faces by an ArcFace network that the user has (Deng et al., CVPR 2019), an ONNX file."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from lineament.errors import CheckpointError, UsageError
from lineament.faces.resample import crop_image
from lineament.faces.schemes import convert_points
from lineament.geometry.affine2d import Affine2D
from lineament.geometry.umeyama import fit_similarity

Levels = Literal["-1..1", "0..1", "0..255"]
SIDE = 112
# Where eyes, tip of the nose and corners of the mouth lie in the images that these networks learn from.
TEMPLATE = (
    (38.2946, 51.6963),
    (73.5318, 51.5014),
    (56.0252, 71.7366),
    (41.5493, 92.3655),
    (70.7299, 92.2041),
)


class ArcFace:
    """An embedding network.

    Args:
        path: ONNX file with one input, ``[N, 3, 112, 112]`` or ``[N, 112, 112, 3]``, RGB.
        levels: Range of the input's values; most files have -1..1, those of the ONNX model zoo 0..255.

    Raises:
        UsageError: If onnxruntime is not installed.
        CheckpointError: If the file is no such network.
    """

    def __init__(self, path: Path, levels: Levels = "-1..1") -> None:
        self.path, self.levels = path, levels
        inputs = _session(path, os.getpid()).get_inputs()
        shapes = {(3, SIDE, SIDE): False, (SIDE, SIDE, 3): True}
        shape = tuple(inputs[0].shape)
        if len(inputs) != 1 or len(shape) != 4 or shape[1:] not in shapes:
            raise CheckpointError(
                f"{path} takes {len(inputs)} input(s), the first {list(shape)}: an ArcFace network takes images "
                f"[N, 3, {SIDE}, {SIDE}] or [N, {SIDE}, {SIDE}, 3]."
            )
        self.channels_last = shapes[shape[1:]]

    def __call__(self, image: Tensor, points: Tensor) -> np.ndarray:
        """Embed a face.

        Args:
            image: ``[3, H, W]`` RGB in 0..1.
            points: ``[68, 2]`` of scheme 68, pixels.

        Returns:
            ``[C]`` float64.

        Raises:
            CheckpointError: If the network does not answer with one vector of finite numbers.
        """
        crop = crop_image(image, alignment(points), SIDE, "edge").clamp(0, 1)
        low, high = (float(each) for each in self.levels.split(".."))
        values = (low + (high - low) * crop).float()
        batch = values.permute(1, 2, 0)[None] if self.channels_last else values[None]
        # A session belongs to the process that made it.
        session = _session(self.path, os.getpid())
        name = session.get_inputs()[0].name
        found = np.asarray(session.run(None, {name: np.ascontiguousarray(batch.numpy())})[0], np.float64)
        if found.size < 2 or not np.isfinite(found).all() or found.size != found.shape[-1]:
            raise CheckpointError(
                f"{self.path} answers with {list(found.shape)}, not with one finite vector."
            )
        return found.reshape(-1)


def alignment(points: Tensor) -> Affine2D:
    """The map from pixels of an image to the 112 px crop of a face with points ``[68, 2]`` of scheme 68."""
    five = convert_points(points.double(), "68", "5")
    return fit_similarity(five, torch.tensor(TEMPLATE, dtype=torch.float64))


@functools.lru_cache(maxsize=4)
def _session(path: Path, process: int) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise UsageError("--arcface needs onnxruntime: pip install 'lineament[export]'.") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    # The library raises classes of its own, which it does not export.
    except Exception as error:
        raise CheckpointError(f"{path} is no ONNX network that can be read ({error}).") from error
