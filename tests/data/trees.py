"""Small data sets in their true on-disk formats."""

from __future__ import annotations

import csv
import json
import zipfile
from pathlib import Path

import numpy as np
import scipy.io
from PIL import Image


def save_picture(path: Path, width: int, height: int, seed: int = 0) -> None:
    """Save noise: no two seeds give the same file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def make_celeba(root: Path, count: int = 30) -> np.ndarray:
    """CelebA: picture i is of partition i % 3; MAFL train is 0 and 2, MAFL test is 5; returns points ``[n, 5, 2]``."""
    rng = np.random.default_rng(1)
    points = rng.integers(40, 170, (count, 5, 2))
    names = [f"{i + 1:06d}.jpg" for i in range(count)]
    for folder in ("Anno", "Eval", "MAFL"):
        (root / folder).mkdir(parents=True)
    for i, name in enumerate(names):
        save_picture(root / "Img" / "img_align_celeba_hq" / name, 178, 218, i)
    columns = " ".join(
        f"{part}_{axis}"
        for part in ("lefteye", "righteye", "nose", "leftmouth", "rightmouth")
        for axis in "xy"
    )
    rows = [
        f"{n}    " + "  ".join(f"{v:d}" for v in p.reshape(-1)) for n, p in zip(names, points, strict=True)
    ]
    (root / "Anno" / "list_landmarks_align_celeba.txt").write_text(
        "\n".join([str(count), columns, *rows]) + "\n"
    )
    (root / "Eval" / "list_eval_partition.txt").write_text(
        "".join(f"{n} {i % 3}\n" for i, n in enumerate(names))
    )
    (root / "MAFL" / "training.txt").write_text(f"{names[0]}\n{names[2]}\n")
    (root / "MAFL" / "testing.txt").write_text(f"{names[5]}\n")
    return points


def write_pts(path: Path, points: np.ndarray) -> None:
    """Write points xy with the first pixel at 1, as iBUG's annotation tool does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = "\n".join(f"{x:.6f} {y:.6f}" for x, y in points)
    path.write_text(f"version: 1\nn_points:  {len(points)}\n{{\n{lines}\n}}\n")


def make_300w(root: Path, per_part: int = 2) -> dict[str, np.ndarray]:
    """300-W; returns file -> 68 points, first pixel at 1. iBUG also lists one box the protocol does not use."""
    parts = {
        "afw": ("afw", ".jpg"),
        "helen_trainset": ("helen/trainset", ".jpg"),
        "helen_testset": ("helen/testset", ".jpg"),
        "lfpw_trainset": ("lfpw/trainset", ".png"),
        "lfpw_testset": ("lfpw/testset", ".png"),
        "ibug": ("ibug", ".jpg"),
    }
    (root / "Bounding Boxes").mkdir(parents=True)
    rng = np.random.default_rng(2)
    written = {}
    for part, (folder, suffix) in parts.items():
        names = [f"image_{i:03d}{suffix}" for i in range(per_part)]
        if part == "ibug":
            names.append("other_001.jpg")
        entries = np.empty((1, len(names)), dtype=object)
        for i, name in enumerate(names):
            points = rng.uniform(10, 90, (68, 2)).round(3)
            save_picture(root / folder / name, 120, 100, len(written))
            write_pts((root / folder / name).with_suffix(".pts"), points)
            box = np.array([[5.0, 8.0, 95.0, 92.0]])
            entries[0, i] = {"imgName": name, "bb_detector": box + 1, "bb_ground_truth": box}
            written[f"{folder}/{name}"] = points
        scipy.io.savemat(root / "Bounding Boxes" / f"bounding_boxes_{part}.mat", {"bounding_boxes": entries})
    return written


def make_aflw_m(root: Path, count: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """AFLW_M: training crops and 1 of the test set in the csv, 3 test pictures; points with the first pixel at 1."""
    rng = np.random.default_rng(3)
    train = rng.uniform(1, 150, (count + 1, 5, 2)).round(2)
    test = rng.uniform(1, 150, (3, 5, 2)).round(2)
    (root / "aflw_cropped").mkdir(parents=True)
    with (root / "aflw_cropped" / "facedata_cropped.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        points = [f"p{i}{axis}" for i in range(1, 6) for axis in "xy"]
        writer.writerow(["image_file", "crop_file", "face_id", "set", *points, "yaw"])
        for i in range(count + 1):
            name = f"image{20000 + i}.jpg"
            writer.writerow(
                [name, f"crop{i}.jpg", 100 + i, 1 if i < count else 2, *train[i].reshape(-1), 0.1]
            )
            save_picture(root / "aflw_cropped" / f"crop{i}.jpg", 150, 150, i)
    lines = []
    for i in range(3):
        name = f"{i + 1:04d}-image{30000 + i}.jpg"
        values = " ".join(f"{value:.2f}" for value in (*test[i, :, 0], *test[i, :, 1]))
        lines.append(f" AFLW\\{name} {values} 1 2 2 3")
        save_picture(root / "MTFL" / "AFLW" / name, 150, 150, 10 + i)
    (root / "MTFL" / "testing.txt").write_text("\n".join(lines) + "\n")
    return train, test


def make_aflw_r(root: Path, train: int = 20, test: int = 3) -> np.ndarray:
    """AFLW_R; returns the training points ``[n, 5, 2]`` as y, x."""
    rng = np.random.default_rng(4)
    result = None
    for part, count in (("train", train), ("test", test)):
        points = rng.uniform(5, 60, (count, 5, 2))
        names = [f"{part}{i}.jpg" for i in range(count)]
        for i, name in enumerate(names):
            save_picture(root / "output" / name, 80, 70, 100 + i)
        (root / f"aflw_{part}_images.txt").write_text("\n".join(names) + "\n")
        sizes = np.tile([[70, 80]], (count, 1))
        scipy.io.savemat(root / f"aflw_{part}_keypoints.mat", {"gt": points, "hw": sizes})
        result = points if result is None else result
    return result


def make_portraits(root: Path, count: int = 6, prefix: str = "face", inside: str = "") -> None:
    """A portrait pack with boxes of 20x24 pixels at (3, 4); the last picture has no known face."""
    root.mkdir(parents=True, exist_ok=True)
    rows = []
    with zipfile.ZipFile(root / "pictures.zip", "w") as archive:
        for i in range(count):
            save_picture(root / "one.jpg", 40, 50, i)
            archive.write(root / "one.jpg", f"{inside}P{i:03d}.jpg")
            rows.append([f"P{i:03d}", *((3, 4, 20, 24) if i < count - 1 else (-1, -1, 0, 0)), 100 + i])
    (root / "one.jpg").unlink()
    with (root / "index.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["person", *(f"{prefix}_{axis}" for axis in "xywh"), "grey"])
        writer.writerows(rows)


def make_ffhq(path: Path, count: int = 5, side: int = 16) -> list[str]:
    """FFHQ as StyleGAN2-ADA packs it, with a dataset.json without labels; returns the names of the images."""
    path.parent.mkdir(parents=True, exist_ok=True)
    names = [f"{i // 3:05d}/img{i:08d}.png" for i in range(count)]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        # Members are in no order.
        for i in reversed(range(count)):
            save_picture(path.with_suffix(".png"), side, side, i)
            archive.write(path.with_suffix(".png"), names[i])
        archive.writestr("dataset.json", '{"labels": null}')
    path.with_suffix(".png").unlink()
    return names


def make_afhq(root: Path, count: int = 4, side: int = 16) -> list[str]:
    """AFHQ's cats as EG3D packs them, unpacked; cameras at (0, 0, 2.7) that look at the origin."""
    names = [f"00000/img{i:08d}.png" for i in range(count)]
    for i, name in enumerate(names):
        save_picture(root / name, side, side, i)
    camera = [1.0, 0, 0, 0, 0, -1, 0, 0, 0, 0, -1, 2.7, 0, 0, 0, 1, 4.2647, 0, 0.5, 0, 4.2647, 0.5, 0, 0, 1]
    (root / "dataset.json").write_text(json.dumps({"labels": [[name, camera] for name in reversed(names)]}))
    return names


def pack(folder: Path, path: Path) -> Path:
    """A folder as a zip archive."""
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(each for each in folder.rglob("*") if each.is_file()):
            archive.write(file, file.relative_to(folder).as_posix())
    return path


def make_metfaces(root: Path, count: int = 3, side: int = 16, flips: bool = True) -> list[str]:
    """MetFaces, all in one folder, each with its mirror image where wanted; returns the names of the originals."""
    names = [f"{i:05d}-0{i % 2}.png" for i in range(count)]
    for i, name in enumerate(names):
        save_picture(root / name, side, side, i)
        if flips:
            flipped = Image.open(root / name).transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            flipped.save(root / name.replace(".png", "_xflip.png"))
    return names
