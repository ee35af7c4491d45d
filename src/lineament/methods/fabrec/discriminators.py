"""D_z, which tells encoded faces from normal codes, and D, which tells decoded faces from real images."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lineament.nn.channels_last import arranged


class CodeDiscriminator(nn.Module):
    """Three linear layers over a code (section 3.1 of the paper, "D_z").

    Args:
        code: Dimensions of the code.
        hidden: Units of the hidden layers; 1000 in the published models.
    """

    def __init__(self, code: int = 99, hidden: int = 1000) -> None:
        super().__init__()
        self.lin1 = nn.Linear(code, hidden)
        self.lin2 = nn.Linear(hidden, hidden)
        self.lin3 = nn.Linear(hidden, 1)

    def forward(self, code: Tensor) -> Tensor:
        """Probability ``[B, 1]`` that each of the codes ``[B, code]`` was drawn from the normal distribution."""
        # Dropout stands before the non-linearity, as published.
        x = F.relu(F.dropout(self.lin1(code), 0.2, self.training))
        x = F.relu(F.dropout(self.lin2(x), 0.2, self.training))
        return torch.sigmoid(self.lin3(x))


class ImageDiscriminator(nn.Module):
    """Strided convolutions over an image ("D"), for any size of 128 px and more.

    Args:
        width: Channels of the first convolution; 32 in the published models.
        halvings: Convolutions of stride 2; 5 in the published models, 4 suffice for 64 px.
    """

    def __init__(self, width: int = 32, halvings: int = 5) -> None:
        super().__init__()
        channels = [width, 2 * width, 4 * width, 8 * width, 8 * width][:halvings]
        layers: list[nn.Module] = [nn.Conv2d(3, width, 4, 2, 1, bias=False), nn.LeakyReLU(0.2, inplace=True)]
        for inputs, outputs in pairwise(channels):
            layers += [
                nn.Conv2d(inputs, outputs, 4, 2, 1, bias=False),
                nn.BatchNorm2d(outputs),
                nn.LeakyReLU(0.2, inplace=True),
            ]
        layers.append(nn.Conv2d(channels[-1], 1, 4, 1, 0, bias=False))
        self.main = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        """Probability ``[B]`` that each mean-free image ``[B, 3, S, S]`` is a photo.

        The scores of all patches are averaged before the sigmoid.
        """
        x = images
        for layer in self.main:
            x = layer(arranged(x) if isinstance(layer, nn.Conv2d) else x)
        return torch.sigmoid(x.mean((1, 2, 3)))
