"""LMH, the interleaved transfer layers: landmarks read out of a frozen decoder (section 3.2 of the paper)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from lineament.methods.fabrec.decoder import Decoder


class TransferLayers(nn.Module):
    """One 3x3 convolution after each of the decoder's stages, and one heatmap per landmark at the end.

    Args:
        landmarks: Number of landmarks.
        width: Channels of the decoder's last stage.
        stages: Decoder stages that are used: four, from 8 to 64 px, so that heatmaps are 128 px wide; the 64 px decoder
            has only three.
        lateral: Ours: add the encoder's maps of 8, 16 and 32 px to the decoder's. What a code cannot hold, the exact
            place of an edge, then reaches the heatmaps past it.
    """

    def __init__(self, landmarks: int, width: int = 64, stages: int = 4, lateral: bool = False) -> None:
        super().__init__()
        self.count = stages
        self.lin = nn.ConvTranspose2d(width, landmarks, 4, 2, 1, bias=False)
        channels = [4 * width, 2 * width, width, width][:stages]
        for number, depth in enumerate(channels, start=1):
            self.add_module(f"t{number}", nn.Conv2d(depth, depth, 3, 1, 1, bias=False))
        sides = [nn.Conv2d(depth, depth, 1) for depth in channels[:3]] if lateral else []
        for side in sides:
            # Nothing at first: the decoder's maps come through as they are.
            nn.init.zeros_(side.weight)
            if side.bias is not None:
                nn.init.zeros_(side.bias)
        self.laterals = nn.ModuleList(sides)

    def forward(self, x1: Tensor, decoder: Decoder, maps: Sequence[Tensor] = ()) -> Tensor:
        """Heatmaps of a batch.

        Args:
            x1: ``[B, 4 width, 8, 8]`` the first stage of ``decoder``.
            decoder: Its further stages are run between the transfer layers.
            maps: The encoder's maps (:meth:`Encoder.maps`), which lateral layers need.

        Returns:
            ``[B, K, side, side]`` raw scores, 1 at a landmark; ``side`` is 128, for 64 px images 64.
        """
        x = x1
        for number in range(1, self.count + 1):
            transfer: nn.Module = getattr(self, f"t{number}")
            x = x if number == 1 else decoder.layer(number)(x)
            if number <= len(self.laterals):
                x = x + self.laterals[number - 1](maps[3 - number])
            x = transfer(x)
        return self.lin(x)
