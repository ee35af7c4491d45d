"""Poses of faces by Deep3DFaceRecon's network, as the published evaluation of GMPI estimates them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torch import Tensor

from lineament.errors import DataError
from lineament.faces.deep3d_alignment import align_image, find_window
from lineament.faces.schemes import convert_points
from lineament.methods.gmpi.deep3d import load_deep3d, predict_coefficients


class Deep3DAngles:
    """Angles of a face.

    Args:
        path: The published checkpoint, ``epoch_20.pth``.

    Raises:
        CheckpointError: If the file holds another network.
    """

    def __init__(self, path: Path) -> None:
        self.network = load_deep3d(path)

    def __call__(self, image: Tensor, points: Tensor) -> np.ndarray | None:
        """Angles ``[3]`` about x, y and z, radians, of a face of an image ``[3, H, W]`` with points ``[68, 2]``.

        They are None where the points leave no window to cut out.
        """
        try:
            window = find_window(convert_points(points.double(), "68", "5"), (image.shape[1], image.shape[2]))
            aligned = align_image(image, window)
        except DataError:
            return None
        angles: np.ndarray = predict_coefficients(self.network, aligned[None])["angle"][0].double().numpy()
        return angles
