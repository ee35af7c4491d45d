"""The features of FID: the Inception network with the weights that the user has."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from lineament.errors import CheckpointError
from lineament.interop.torch_file import read_torch_file
from lineament.nn.inception import InceptionV3

# Images that go through the network at a time: the first maps of one are 11 MB.
BATCH = 8


class InceptionFeatures:
    """Pooled features of the Inception network of FID.

    Args:
        path: The published state dict (``pt_inception-2015-12-05``), written by ``torch.save``; nothing in it is run.
        device: Where to compute.

    Raises:
        CheckpointError: If the file cannot be read, or does not hold exactly these weights.
    """

    def __init__(self, path: Path, device: str = "cpu") -> None:
        state = read_torch_file(path).data
        if not isinstance(state, dict):
            raise CheckpointError(
                f"{path} holds no state dict: give the published pt_inception-2015-12-05 state dict."
            )
        self.network = InceptionV3().load(state, str(path)).to(device)
        self.device = torch.device(device)

    @torch.no_grad()
    def pooled_features(self, images: Tensor) -> Tensor:
        """``[B, 2048]`` of images ``[B, 3, H, W]`` in 0..1, which are taken in whole levels of 255, on the CPU."""
        levels = [(part.to(self.device) * 255).round() for part in images.split(BATCH)]
        return torch.cat([self.network(part).cpu() for part in levels])
