"""Photographs, warps and crops of the published loaders of DVE, picture by picture, written out anew."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from scipy.spatial import KDTree
from torch import Tensor

from lineament.methods.dve.model import IMAGE_MEAN, IMAGE_STD

Numbers = dict[str, Tensor]


def draw_warp(spread: dict[str, float]) -> Tensor:
    kernel = torch.randn(100, 2) * spread["warpsd_all"]
    again = torch.rand(100, 2) > 0.5
    kernel[again] = torch.randn(int(again.sum())) * spread["warpsd_subset"]
    angle = float(torch.randn([]) * spread["rotsd"]) / 180 * math.pi
    scale = float(1 + torch.randn([]) * spread["scalesd"])
    shift = [float(torch.randn([]) * spread["transsd"]) for _ in range(2)]
    c, s = scale * math.cos(angle), scale * math.sin(angle)
    return torch.cat([kernel, torch.tensor([shift, [c, -s], [s, c]])])


def basis(height: int, width: int) -> Tensor:
    def plane(h: int, w: int) -> Tensor:
        ys, xs = torch.meshgrid(torch.linspace(-1, 1, h), torch.linspace(-1, 1, w), indexing="ij")
        return torch.stack([xs, ys], -1).view(-1, 2)

    pixels = plane(height, width)
    r2 = ((pixels[:, None] - plane(10, 10)) ** 2).sum(2)
    return torch.cat([r2 * torch.log(r2 + 1e-5), torch.ones(len(pixels), 1), pixels], 1)


def grid_of(weights: Tensor, height: int, width: int) -> Tensor:
    return (basis(height, width) @ weights).view(1, height, width, 2)


def sampled(image: Tensor, grid: Tensor, corners: bool = True) -> Tensor:
    return F.grid_sample(image[None], grid, align_corners=corners)[0]


def held(columns: np.ndarray, rows: np.ndarray, height: int, width: int) -> Tensor:
    """Pixels read off the float32 lattice."""
    xs = (torch.linspace(-1, 1, width) + 1) / 2 * (width - 1)
    ys = (torch.linspace(-1, 1, height) + 1) / 2 * (height - 1)
    return torch.stack([xs[torch.from_numpy(columns)], ys[torch.from_numpy(rows)]], 1)


def carried(points: Tensor, grid: Tensor) -> Tensor:
    height, width = grid.shape[1:3]
    wanted = points.double().numpy() * 2 / np.array([width - 1, height - 1]) - 1
    index = KDTree(grid[0].reshape(-1, 2).double().numpy()).query(wanted)[1]
    return held(index % width, index // width, height, width)


def unnormalised(grid: Tensor) -> Tensor:
    height, width = grid.shape[1:3]
    return (grid + 1) / 2 * torch.tensor([width - 1, height - 1])


def cut_grid(grid: Tensor, crop: int) -> Tensor:
    if not crop:
        return grid
    pixels = unnormalised(grid)[:, crop:-crop, crop:-crop] - crop
    height, width = pixels.shape[1:3]
    return pixels * 2 / torch.tensor([width - 1, height - 1]) - 1


def cut(image: Tensor, crop: int) -> Tensor:
    return image[..., crop:-crop, crop:-crop] if crop else image


def warped_pair(image: Tensor, points: Tensor, weights: list[Tensor], crop: int) -> Numbers:
    grids = [grid_of(each, *image.shape[-2:]) for each in weights]
    once = sampled(image, grids[0])
    on_once = carried(points, grids[0])
    grid = cut_grid(grids[1], crop)
    here = unnormalised(F.affine_grid(torch.eye(2, 3)[None], (1, 1, *grid.shape[1:3]), align_corners=True))
    return {
        "grid1": grids[0],
        "grid2": grids[1],
        "second": cut(once, crop),
        "first": cut(sampled(once, grids[1]), crop),
        "grid": grid,
        "flow": unnormalised(grid) - here,
        "kp_second": on_once - crop,
        "kp_first": carried(on_once, grids[1]) - crop,
    }


TRAINING = {"warpsd_all": 0.001, "warpsd_subset": 0.01, "transsd": 0.1, "scalesd": 0.1, "rotsd": 5.0}
EVALUATION = {key: value / 2 for key, value in TRAINING.items()}
SINGLE = {"warpsd_all": 0.0005, "warpsd_subset": 0.0, "transsd": 0.02, "scalesd": 0.02, "rotsd": 2.0}


def scaled(spread: dict[str, float], kernel: float, affine: float) -> dict[str, float]:
    return {key: value * (kernel if "warpsd" in key else affine) for key, value in spread.items()}


def tps(rs: np.random.RandomState, shape: tuple[int, int], crop: int, pair: bool) -> dict[str, object]:
    image = torch.from_numpy(rs.uniform(0, 255, (3, *shape))).float()
    points = torch.from_numpy(rs.uniform(5, 25, (6, 2))).float()
    seed = int(rs.randint(1000))
    torch.manual_seed(seed)
    known = {"image": image, "keypts_in": points, "crop": crop, "torch_seed": seed}
    if not pair:
        weights = draw_warp(SINGLE)
        grid = grid_of(weights, *shape)
        done = {"align1.im": cut(sampled(image, grid), crop), "kp": carried(points, grid) - crop}
        return {**known, **done, "weights1": weights, "grid1": grid}
    spread = {"warpsd_all": 0.002, "warpsd_subset": 0.008, "transsd": 0.05, "scalesd": 0.2, "rotsd": 9.0}
    factors = {"im1_multiplier": 0.7, "im1_multiplier_aff": 0.4}
    weights = [draw_warp(scaled(spread, *factors.values())), draw_warp(spread)]
    done = warped_pair(image, points, weights, crop)
    return {
        **known,
        **{f"param.{key}": value for key, value in {**spread, **factors}.items()},
        "weights1": weights[0],
        "weights2": weights[1],
        "basis_F_rows_0_7_last": basis(*shape)[[0, 7, -1]],
        "align1.im_first": done.pop("first"),
        "align1.im_second": done.pop("second"),
        **done,
    }


def photograph(rs: np.random.RandomState, height: int, width: int) -> np.ndarray:
    """A smooth picture with a flat patch, whose grey values are whole after any resampling."""
    coarse = rs.randint(0, 256, (height // 8 + 1, width // 8 + 1, 3)).astype(np.uint8)
    picture = np.array(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
    picture[height // 3 : height // 2, width // 3 : width // 2] = rs.randint(0, 256, 3)
    return picture


def resized(picture: np.ndarray, size: int) -> np.ndarray:
    return np.array(Image.fromarray(picture).resize((size, size), Image.Resampling.BILINEAR))


def as_network_sees(pixels: Tensor) -> Tensor:
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in (IMAGE_MEAN, IMAGE_STD))
    return (pixels / 255 - mean) / std


def view_of(picture: np.ndarray, points: Tensor, crop: int) -> dict[str, object]:
    seen = cut(torch.from_numpy(picture).permute(2, 0, 1).float(), crop)
    side = seen.shape[-1]
    points = points.float() - crop
    return {"data": as_network_sees(seen), "keypts": points, "keypts_normalized": points * 2 / (side - 1) - 1}


def celeba(rs: np.random.RandomState, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, Tensor]:
    """Photograph, points, and both as they are before the warp."""
    picture = photograph(rs, 218, 178)
    raw = rs.uniform((50, 80), (130, 165), (5, 2))
    square = resized(picture[30:208], size)
    points = torch.from_numpy((raw - [0, 30]) * size / 178).float()
    return picture, raw, square, points


def celeba_item(rs: np.random.RandomState, size: int, crop: int) -> dict[str, object]:
    picture, raw, square, points = celeba(rs, size)
    seed = int(rs.randint(1000))
    torch.manual_seed(seed)
    weights = [draw_warp(scaled(TRAINING, 0.5, 1.0)), draw_warp(TRAINING)]
    done = warped_pair(torch.from_numpy(square).permute(2, 0, 1).float(), points, weights, crop)
    seen = torch.stack([as_network_sees(done[key].to(torch.uint8).float()) for key in ("first", "second")])
    return {
        **{f"plain.{key}": value for key, value in view_of(square, points, crop).items()},
        "image_hwc_uint8": picture,
        "landmarks_raw": raw[None],
        "imwidth": size,
        "pair.torch_seed": seed,
        "pair.weights1": weights[0],
        "pair.weights2": weights[1],
        "pair.data": seen,
        "pair.grid": done["grid"][0],
        "pair.flow": done["flow"][0],
        "pair.kp1": done["kp_first"],
        "pair.kp2": done["kp_second"],
    }


def w300_item(
    rs: np.random.RandomState, resample: Image.Resampling, size: int, crop: int
) -> dict[str, object]:
    height, width = 190, 170
    picture = photograph(rs, height, width)
    # A box that leaves the picture on the left.
    box = np.array([-8.25, 40.5, 93.75, 151.0])
    across, down = box[2] - box[0] + 1, box[3] - box[1] + 1
    factor = 52 / across
    middle = np.floor(factor * (box[:2] + (np.array([across, down]) + 1) / 2)).astype(int)
    small = Image.fromarray(picture).resize((int(width * factor), int(height * factor)), resample)
    left, top = middle[0] - 50, middle[1] - 52
    window = np.zeros((100, 100, 3), np.uint8)
    pixels = np.array(small)
    for row in range(100):
        for column in range(100):
            y, x = top + row, left + column
            if 0 <= y < pixels.shape[0] and 0 <= x < pixels.shape[1]:
                window[row, column] = pixels[y, x]
    raw = rs.uniform((5, 50), (90, 145), (68, 2)).astype(np.float32)
    points = torch.from_numpy((raw * factor - [left, top] - 1) * size / 100)
    return {
        "image_hwc_uint8": picture,
        "landmarks_raw": raw,
        "bbox_xyxy": torch.from_numpy(box),
        "crop100_hwc_uint8": window,
        **view_of(resized(window, size), points, crop),
    }


def aflw_item(rs: np.random.RandomState) -> dict[str, object]:
    height, width, size, crop = 100, 140, 120, 18
    picture = photograph(rs, height, width)
    points = rs.uniform((30, 30), (100, 80), (5, 2))
    placed = torch.from_numpy(points * size / [width, height])
    return {
        "image_hwc_uint8": picture,
        "gt_as_stored_yx": points[None, :, ::-1].copy(),
        "hw": torch.tensor([height, width]),
        **view_of(resized(picture, size), placed, crop),
    }


def colour_noise(rs: np.random.RandomState) -> dict[str, object]:
    vectors = np.array([[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]])
    alpha = rs.normal(size=3).astype(np.float32)
    image = torch.from_numpy(rs.uniform(0, 1, (3, 5, 9))).float()
    noise = (vectors * (0.1 * alpha * np.array([0.2175, 0.0188, 0.0045]))).sum(1)
    return {"image": image, "randn3": alpha, "output": image + torch.from_numpy(noise).float().view(3, 1, 1)}


def picks(rs: np.random.RandomState) -> dict[str, object]:
    found = {}
    for seed in rs.randint(0, 50, 2):
        for count in (1, 3, 20):
            np.random.seed(seed)
            found[f"seed{seed}.n{count}"] = np.random.choice(10122, count, replace=False)
    return found
