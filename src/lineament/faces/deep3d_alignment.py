"""The alignment of Deep3DFaceRecon: five points against a mean 3-D face, a resized image, a window of 224 px.

Deng et al., "Accurate 3D face reconstruction with weakly-supervised learning" (CVPR workshops 2019); the poses that
GMPI learns from and is measured by were estimated in such windows.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from lineament.eight_bit import to_pil
from lineament.errors import DataError

# Side of the window in pixels, and the width of the mean face in it.
SIDE, FACE = 224, 102.0
# The resized image may not have more pixels: points that nearly coincide ask for any amount of memory.
MAX_PIXELS = 100_000_000
# Mean 3-D left eye, right eye, nose, left and right mouth corner; x right, y up, z out of the face.
MEAN_FACE = (
    (-0.31148657, 0.29036078, 0.13377953),
    (0.30979887, 0.28972036, 0.13179526),
    (0.0032535, -0.04617932, 0.55244243),
    (-0.25216928, -0.38133916, 0.22405732),
    (0.2484662, -0.38128236, 0.22235769),
)


@dataclass(frozen=True)
class Window:
    """Where a face lies, and the window about it.

    Attributes:
        position: x and y of the mean face's origin in pixels of the image, y up from its last row.
        face_scale: Pixels of the image for each unit of the mean face.
        scale: Pixels of the window for each pixel of the image, before sizes are cut to whole pixels.
        size: Width and height of the resized image.
        corner: x and y of the window's first pixel in it, y down; may be negative.
        image_size: Height and width of the image.
    """

    position: tuple[float, float]
    face_scale: float
    scale: float
    size: tuple[int, int]
    corner: tuple[int, int]
    image_size: tuple[int, int]


def find_window(points: Tensor, image_size: tuple[int, int]) -> Window:
    """Fit the mean face by weak perspective, least squares over eight unknowns, and place the window about it.

    Args:
        points: ``[5, 2]`` xy in pixels of the image, scheme "5".
        image_size: Height and width of the image.

    Raises:
        DataError: If the points are not finite or coincide, or the image would shrink to nothing.
    """
    height, width = image_size
    points = points.double()
    if points.shape != (5, 2) or not bool(points.isfinite().all()):
        raise DataError("the alignment to 224 px needs five points without NaN.")
    upright = torch.stack([points[:, 0], height - 1 - points[:, 1]], dim=-1)
    mean_face = torch.tensor(MEAN_FACE, dtype=torch.float64)
    design = torch.cat([mean_face, mean_face.new_ones(5, 1)], dim=1)
    # Each image axis is its own least-squares problem with four unknowns.
    solution = torch.linalg.lstsq(design, upright, driver="gelsd").solution  # [4, 2]
    face_scale = 0.5 * float(solution[:3].norm(dim=0).sum())
    if face_scale < 1e-3:
        raise DataError("the alignment to 224 px needs five points that do not coincide.")
    x, y = solution[3].tolist()
    scale = FACE / face_scale
    size = (int(width * scale), int(height * scale))
    if min(size) < 1:
        raise DataError(
            f"the alignment to 224 px would shrink the image to {size[0]}x{size[1]}: check the five points."
        )
    half = SIDE / 2
    left = int(size[0] / 2 - half + (x - width / 2) * scale)
    up = int(size[1] / 2 - half + (height / 2 - y) * scale)
    return Window((x, y), face_scale, scale, size, (left, up), (height, width))


def align_image(image: Tensor, window: Window) -> Tensor:
    """Cut out a window: the image resized by a bicubic filter, black outside of it.

    Args:
        image: ``[3, H, W]`` RGB in 0..1 or uint8, rounded to 8 bits.
        window: For this image.

    Returns:
        ``[3, 224, 224]`` uint8.

    Raises:
        DataError: If the image would become larger than 100 million pixels.
    """
    cut = _cut(to_pil(image), window, Image.Resampling.BICUBIC)
    return torch.frombuffer(bytearray(cut.tobytes()), dtype=torch.uint8).view(SIDE, SIDE, 3).permute(2, 0, 1)


def align_map(values: Tensor, window: Window) -> Tensor:
    """Cut a window out of a map ``[H, W]`` of numbers, such as depths: nearest pixels, 0 outside; float32.

    Raises:
        DataError: If the map would become larger than 100 million pixels.
    """
    cut = _cut(Image.fromarray(values.float().contiguous().numpy()), window, Image.Resampling.NEAREST)
    return torch.frombuffer(bytearray(cut.tobytes()), dtype=torch.float32).view(SIDE, SIDE)


def align_points(points: Tensor, window: Window) -> Tensor:
    """Move points ``[..., 2]`` of the image into the window, y up from its last row, as the published program does.

    Image content lies up to a pixel beside them, since sizes and corner of the window are cut to whole pixels; the
    crop ``gmpi`` moves points with the image.
    """
    height, width = window.image_size
    x, y = window.position
    shift = points.new_tensor([width / 2 - x, height / 2 - y])
    flipped = torch.stack([points[..., 0], height - 1 - points[..., 1]], dim=-1)
    middle = points.new_tensor([side / 2 - SIDE / 2 for side in window.size])
    return (flipped + shift) * window.scale - middle


def _cut(image: Image.Image, window: Window, filter_: Image.Resampling) -> Image.Image:
    width, height = window.size
    if width * height > MAX_PIXELS:
        raise DataError(
            f"the face is {window.face_scale:.2g} px large: the alignment to 224 px would enlarge the image to "
            f"{width}x{height}, leave it out."
        )
    left, up = window.corner
    resized = image.resize(window.size, filter_)
    return resized.crop((left, up, left + SIDE, up + SIDE))
