"""The three networks of the MTCNN cascade (Zhang et al. 2016, figure 2) and the weights of the `mtcnn` package.

All take RGB normalised as ``(255 * rgb - 127.5) / 128`` and look at images the usual way up.
"""

from __future__ import annotations

import importlib.metadata
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lineament.errors import CheckpointError, LineamentError
from lineament.interop.numpy_pickle import load_arrays

# The largest of the three files holds 1.6 MB; a file that unpacks to more than this is not one of them.
_MOST_BYTES = 16_000_000


class ProposalNetwork(nn.Module):
    """P-Net: a 12x12 window slid over the image with stride 2."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 10, 3)
        self.prelu1 = nn.PReLU(10)
        self.conv2 = nn.Conv2d(10, 16, 3)
        self.prelu2 = nn.PReLU(16)
        self.conv3 = nn.Conv2d(16, 32, 3)
        self.prelu3 = nn.PReLU(32)
        self.box = nn.Conv2d(32, 4, 1)
        self.face = nn.Conv2d(32, 2, 1)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Score every window of ``image`` ``[N, 3, H, W]`` (H, W >= 12).

        Returns:
            Face logit ``[N, h, w]`` (the sigmoid is the probability) and box offsets ``[N, 4, h, w]`` x0 y0 x1 y1 in
            units of the window's side; cell (row, column) is the window whose corner is at ``2 * (column, row)``.
        """
        x = self.prelu1(self.conv1(image))
        x = F.max_pool2d(x, 2, 2, ceil_mode=True)
        x = self.prelu2(self.conv2(x))
        x = self.prelu3(self.conv3(x))
        scores = self.face(x)
        return scores[:, 1] - scores[:, 0], self.box(x)


class RefinementNetwork(nn.Module):
    """R-Net: is the 24x24 crop a face, and how must its box move?"""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 28, 3)
        self.prelu1 = nn.PReLU(28)
        self.conv2 = nn.Conv2d(28, 48, 3)
        self.prelu2 = nn.PReLU(48)
        self.conv3 = nn.Conv2d(48, 64, 2)
        self.prelu3 = nn.PReLU(64)
        self.dense = nn.Linear(576, 128)
        self.prelu4 = nn.PReLU(128)
        self.box = nn.Linear(128, 4)
        self.face = nn.Linear(128, 2)

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        """Score crops ``[N, 3, 24, 24]``: face logit ``[N]`` and box offsets ``[N, 4]`` in units of the side."""
        x = F.max_pool2d(self.prelu1(self.conv1(crops)), 3, 2, ceil_mode=True)
        x = F.max_pool2d(self.prelu2(self.conv2(x)), 3, 2)
        x = self.prelu3(self.conv3(x))
        x = self.prelu4(self.dense(_flatten(x)))
        scores = self.face(x)
        return scores[:, 1] - scores[:, 0], self.box(x)


class OutputNetwork(nn.Module):
    """O-Net: the last word on a 48x48 crop: score, box and five points."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 32, 3)
        self.prelu1 = nn.PReLU(32)
        self.conv2 = nn.Conv2d(32, 64, 3)
        self.prelu2 = nn.PReLU(64)
        self.conv3 = nn.Conv2d(64, 64, 3)
        self.prelu3 = nn.PReLU(64)
        self.conv4 = nn.Conv2d(64, 128, 2)
        self.prelu4 = nn.PReLU(128)
        self.dense = nn.Linear(1152, 256)
        self.prelu5 = nn.PReLU(256)
        self.box = nn.Linear(256, 4)
        self.points = nn.Linear(256, 10)
        self.face = nn.Linear(256, 2)

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Score crops ``[N, 3, 48, 48]``.

        Returns:
            Face logit ``[N]``, box offsets ``[N, 4]`` in units of the side, points ``[N, 5, 2]`` xy as fractions of
            the crop's side: left eye, right eye, nose, left mouth corner, right mouth corner (sides of the image).
        """
        x = F.max_pool2d(self.prelu1(self.conv1(crops)), 3, 2, ceil_mode=True)
        x = F.max_pool2d(self.prelu2(self.conv2(x)), 3, 2)
        x = F.max_pool2d(self.prelu3(self.conv3(x)), 2, 2)
        x = self.prelu4(self.conv4(x))
        x = self.prelu5(self.dense(_flatten(x)))
        scores = self.face(x)
        points = self.points(x)  # [N, 10]: five x, then five y
        return scores[:, 1] - scores[:, 0], self.box(x), torch.stack([points[:, :5], points[:, 5:]], dim=-1)


def _flatten(x: Tensor) -> Tensor:
    # The weights descend from a column-major implementation: its dense layers take column, row, channel. Any other
    # order still finds many faces, but then the boxes no longer settle when the crop is moved.
    return x.permute(0, 3, 2, 1).flatten(1)


def weights_folder() -> Path:
    """Return the folder of the weights that the installed `mtcnn` package carries; the package is not imported.

    Raises:
        LineamentError: If the package is not installed.
    """
    try:
        distribution = importlib.metadata.distribution("mtcnn")
    except importlib.metadata.PackageNotFoundError as error:
        raise LineamentError(
            "the mtcnn detector needs the package 'mtcnn' for its weights: pip install mtcnn."
        ) from error
    return Path(str(distribution.locate_file("mtcnn/assets/weights")))


def load_weights(network: nn.Module, path: Path) -> None:
    """Fill ``network`` from a list of Keras arrays (convolutions H W in out, dense in out), in the order of its layers.

    Raises:
        CheckpointError: If the file is missing, damaged, or made for another network.
    """
    import lz4.frame

    try:
        with lz4.frame.open(path, "rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except (OSError, RuntimeError, EOFError) as error:
        raise CheckpointError(
            f"{path}: cannot read the detector's weights ({error}): reinstall 'mtcnn'."
        ) from error
    if len(data) > _MOST_BYTES:
        raise CheckpointError(f"{path}: unpacks to more than {_MOST_BYTES} bytes: reinstall 'mtcnn'.")
    arrays = load_arrays(data, str(path))
    names = list(network.state_dict())
    if not isinstance(arrays, list) or len(arrays) != len(names):
        raise CheckpointError(
            f"{path}: expected {len(names)} arrays for {type(network).__name__}: reinstall 'mtcnn'."
        )
    state = {}
    for name, wanted, array in zip(names, network.state_dict().values(), arrays, strict=True):
        if not isinstance(array, np.ndarray):
            raise CheckpointError(f"{path}: entry {name} is no array: reinstall 'mtcnn'.")
        if name.endswith("weight"):
            array = (
                array.transpose(3, 2, 0, 1)
                if array.ndim == 4
                else array.T
                if array.ndim == 2
                else array.reshape(-1)
            )
        if array.shape != tuple(wanted.shape):
            raise CheckpointError(f"{path}: {name} has shape {array.shape}, not {tuple(wanted.shape)}.")
        state[name] = torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
    network.load_state_dict(state)


@lru_cache(maxsize=4)
def load_cascade(device: str = "cpu") -> tuple[ProposalNetwork, RefinementNetwork, OutputNetwork]:
    """Return the three networks with their weights, in eval mode, channels last, without gradients."""
    folder = weights_folder()
    networks = (ProposalNetwork(), RefinementNetwork(), OutputNetwork())
    for network, file in zip(networks, ("pnet.lz4", "rnet.lz4", "onet.lz4"), strict=True):
        load_weights(network, folder / file)
        network.requires_grad_(False).eval().to(torch.device(device))
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return networks
