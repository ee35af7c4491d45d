"""Scores of depths that belong to single faces, not to pairs: AIGN's, and MOFA's or any other tool's from a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lineament.data.keypoint_depth import KeypointSet
from lineament.errors import DataError
from lineament.metrics.depth import depth_correlation


def single_depth_corr(depth: Tensor, faces: KeypointSet) -> dict[str, float]:
    """DepthCorr of one depth ``[N, K]`` per face: over all faces, and over those of each orientation."""
    if faces.depth is None:
        raise DataError("DepthCorr needs faces with known depths.")
    scores = {"all": depth_correlation(depth, faces.depth)}
    for word in dict.fromkeys(faces.orientations or ()):
        rows = torch.tensor([turned == word for turned in faces.orientations or ()])
        scores[word] = depth_correlation(depth[rows], faces.depth[rows])
    return scores


def read_mofa(path: Path, faces: KeypointSet) -> tuple[Tensor, KeypointSet]:
    """Read depths of single faces in the published form: ``ids`` and ``kps`` ``[n, 3 or more, K]``, depth last.

    Args:
        path: The ``.npz`` file; its ids may be a part of those of ``faces``.
        faces: The faces with their true keypoints and depths.

    Returns:
        Depths ``[n, K]`` and the faces they belong to, in the order of the file.

    Raises:
        DataError: If the file cannot be read, or does not fit the faces.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            ids, points = file["ids"], file["kps"]
    # numpy raises whatever its zip and header parsers meet.
    except (OSError, ValueError, EOFError, KeyError, SyntaxError) as error:
        raise DataError(f"{path} cannot be read as depths of single faces (ids, kps): {error}.") from error
    names = [value.decode() if isinstance(value, bytes) else str(value) for value in ids]
    rows = {name: row for row, name in enumerate(faces.ids)}
    unknown = [name for name in names if name not in rows]
    if unknown:
        raise DataError(f"{path} names the face {unknown[0]!r}, which the data does not hold.")
    if points.ndim != 3 or points.shape[0] != len(names) or points.shape[2] != faces.keypoints.shape[1]:
        raise DataError(
            f"kps of {path} has shape {points.shape}: {len(names)} x 3 or more x {faces.keypoints.shape[1]} is needed."
        )
    depth = torch.from_numpy(np.ascontiguousarray(points[:, -1], dtype=np.float32))
    if not bool(torch.isfinite(depth).all()):
        raise DataError(f"{path} holds depths that are not finite.")
    return depth, faces.take([rows[name] for name in names])
