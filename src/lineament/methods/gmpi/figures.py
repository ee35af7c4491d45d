"""Grids of samples, which show a training's progress: the same latents every time."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor

from lineament.data.images import write_image
from lineament.files import write_text
from lineament.methods.gmpi.predictor import GMPIPredictor, StyleGAN2Predictor

# Columns and rows of a grid.
COLUMNS, ROWS = 8, 4
# Truncation of the second grid.
PSI = 0.7


def fixed_latents(count: int, size: int) -> Tensor:
    """``[count, size]``, the first ones of seed 0 whatever the count."""
    generator = torch.Generator().manual_seed(0)
    return torch.stack([torch.randn(size, generator=generator) for _ in range(count)])


def image_grid(images: Tensor, columns: int, fill: float = 1.0) -> Tensor:
    """``[N, C, H, W]`` as one image ``[C, rows H, columns W]``, row by row; what the last row lacks is ``fill``."""
    rows = -(-len(images) // columns)
    missing = images.new_full((rows * columns - len(images), *images.shape[1:]), fill)
    cells = torch.cat([images, missing]).view(rows, columns, *images.shape[1:])
    return cells.permute(2, 0, 3, 1, 4).reshape(images.shape[1], rows * images.shape[2], -1)


def sample_figures(predictor: StyleGAN2Predictor, folder: Path) -> list[Path]:
    """Draw ``samples.png`` and, nearer to the mean, ``samples-psi0.7.png``, each with its numbers as JSON.

    The numbers tell whether images differ: the mean over pixels of the standard deviation between images.
    """
    latents = fixed_latents(COLUMNS * ROWS, predictor.latent_size)
    paths = []
    for name, psi in (("samples", 1.0), (f"samples-psi{PSI:g}", PSI)):
        images = predictor.images(latents, psi)
        path = write_image(folder / f"{name}.png", image_grid(images, COLUMNS))
        facts = {
            "latents": f"{len(latents)} of seed 0, row by row",
            "psi": psi,
            "mean": float(images.mean()),
            "std_between_images": float(images.std(0).mean()),
        }
        write_text(path.with_suffix(".json"), json.dumps(facts, indent=1) + "\n")
        paths.append(path)
    return paths


def multiplane_figures(predictor: GMPIPredictor, folder: Path) -> list[Path]:
    """Draw ``samples.png``, ``depth.png`` (near black, far white) and ``yaws.png``, each with its numbers as JSON.

    The first two are seen from the middle of the poses' range. Each row of the third shows two latents from both ends
    of the yaw's range and from its middle.
    """
    poses = predictor.renderer.scene.poses
    yaws, pitches = poses.path(3)
    cameras = torch.stack([pitches, yaws], 1)
    latents = fixed_latents(COLUMNS * ROWS, predictor.latent_size)
    images, depths = predictor.views(latents, cameras)
    scene = predictor.renderer.scene
    grey = ((depths[:, 1] - scene.near) / (scene.far - scene.near)).clamp(0, 1).expand(-1, 3, -1, -1)
    facts = {
        "latents": f"{len(latents)} of seed 0, row by row",
        "std_between_images": float(images[:, 1].std(0).mean()),
        "mean_depth": float(depths.mean()),
        "std_of_depth_within_images": float(depths.std((-2, -1)).mean()),
        "yaws_radians": yaws.tolist(),
    }
    grids = {
        "samples": image_grid(images[:, 1], COLUMNS),
        "depth": image_grid(grey, COLUMNS),
        "yaws": image_grid(images[:COLUMNS].flatten(0, 1), 6),
    }
    paths = []
    for name, grid in grids.items():
        path = write_image(folder / f"{name}.png", grid)
        write_text(path.with_suffix(".json"), json.dumps(facts, indent=1) + "\n")
        paths.append(path)
    return paths
