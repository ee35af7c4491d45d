"""Writes the cameras of drawn faces the way training of GMPI reads them (docs/methods/gmpi.md)."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import torch

from lineament.errors import UsageError
from lineament.methods.gmpi.datasets import eg3d_labels
from lineament.methods.gmpi.pose_formats import DATASET_JSON, write_dataset_json
from lineament.synthetic.dataset import INDEX
from lineament.synthetic.folder import SyntheticFolder
from lineament.synthetic.world import World

# Distance of the cameras from the point that they look at, as the paper has it for FFHQ.
RADIUS = 1.0


def check_poses(world: World) -> float:
    """The angle of view of a world's images, radians.

    Raises:
        UsageError: If they have none in common.
    """
    fov = world.options().fov
    if fov is None:
        raise UsageError(
            f"--poses needs images of one angle of view, and --world {world.world} has many: give --world portrait."
        )
    return fov


def write_synthetic_poses(folder: Path) -> Path:
    """Write ``images/dataset.json``, EG3D's labels of all images of a folder that ``lineament data synth`` wrote.

    The directions are exact. Every camera looks at the middle of its image from a distance of 1; the distance that it
    was drawn from and the size of the crop, which vary a little, are left out, as they are where poses are estimated.

    Args:
        folder: With ``index.parquet``.

    Returns:
        The file.

    Raises:
        DataError: If there is no index, or it cannot be read.
        UsageError: If its images have no angle of view in common.
    """
    fov = check_poses(World.of(SyntheticFolder(folder).world))
    table = pq.read_table(folder / INDEX, columns=["file", "world_to_camera"])
    cameras = torch.tensor(table["world_to_camera"].to_pylist(), dtype=torch.float64).view(-1, 4, 4)
    cameras[:, :3, 3] = torch.tensor([0.0, 0.0, RADIUS])
    labels = eg3d_labels(cameras, centre_z=0.0, fov=fov)
    paths = [folder / file for file in table["file"].to_pylist()]
    target = paths[0].parent / DATASET_JSON
    write_dataset_json(target, {path.name: label for path, label in zip(paths, labels.tolist(), strict=True)})
    return target
