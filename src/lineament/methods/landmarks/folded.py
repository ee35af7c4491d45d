"""The backbone as prediction runs it on a CPU: norms folded, rectifiers and additions done while the maps are written.

Torch multiplies small maps of single images the slow way; here its library of convolutions is called by name, with
weights that are put in order once. Elsewhere (a GPU, a torch without that library) the folded backbone is used as it
is. Both give the same but for rounding.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lineament.methods.landmarks.model import Backbone, Block, ConvNorm, Features


def folded(backbone: Backbone, device: torch.device | None = None) -> nn.Module:
    """The fastest form of a backbone on a device; the norms of the one that is given are folded in place."""
    backbone.fold().to(device)
    on_cpu = next(backbone.parameters()).device.type == "cpu"
    usable = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_convolution_pointwise")
    return PackedBackbone(backbone) if on_cpu and usable else backbone


class _Packed:
    """A folded convolution, its weights in the library's own order.

    Args:
        layer: Folded.
    """

    def __init__(self, layer: ConvNorm) -> None:
        conv = layer.conv
        assert conv.bias is not None
        self.weight, self.bias = conv.weight.detach(), conv.bias.detach()
        self.stride = [int(step) for step in conv.stride]
        self.packed: dict[torch.Size, Tensor] = {}

    def _ordered(self, x: Tensor) -> Tensor:
        found = self.packed.get(x.shape)
        if found is None:
            found = torch.ops.mkldnn._reorder_convolution_weight(
                self.weight, [1, 1], self.stride, [1, 1], 1, list(x.shape)
            )
            # The order depends on the number of images; few numbers occur.
            if len(self.packed) >= 4:
                self.packed.clear()
            self.packed[x.shape] = found
        return found

    def __call__(self, x: Tensor, after: str = "relu") -> Tensor:
        """Convolve, then rectify (``"none"``: do not)."""
        result: Tensor = torch.ops.mkldnn._convolution_pointwise(
            x, self._ordered(x), self.bias, [1, 1], self.stride, [1, 1], 1, after, [], ""
        )
        return result

    def onto(self, x: Tensor, shortcut: Tensor) -> Tensor:
        """Convolve, add ``shortcut``, which is overwritten, and rectify."""
        result: Tensor = torch.ops.mkldnn._convolution_pointwise_.binary(
            shortcut,
            x,
            self._ordered(x),
            self.bias,
            [1, 1],
            self.stride,
            [1, 1],
            1,
            "add",
            1.0,
            "relu",
            [],
            "",
        )
        return result


class PackedBackbone(nn.Module):
    """A :class:`~lineament.methods.landmarks.model.Backbone` on a CPU.

    Args:
        backbone: Folded.
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.context = backbone.context
        self.start = _Packed(_layer(backbone.start))
        self.down = [_Packed(_layer(each)) for each in backbone.down]
        self.blocks = [
            [(_Packed(block.first), _Packed(block.second)) for block in _blocks(level)]
            for level in backbone.blocks
        ]
        self.up = [_Packed(_layer(each)) for each in backbone.up]
        self.last = _Packed(_layer(backbone.last))

    def forward(self, images: Tensor) -> Features:
        """As the backbone."""
        x = self.start((images - 0.5).contiguous(memory_format=torch.channels_last))
        levels = []
        for down, blocks in zip(self.down, self.blocks, strict=True):
            x = down(x)
            for first, second in blocks:
                x = second.onto(first(x), x)
            levels.append(x)
        coarse = x.mean((2, 3))
        x = x + self.context(coarse)[:, :, None, None]
        for up, level in zip(self.up, levels[-2::-1], strict=True):
            x = F.interpolate(up(x), scale_factor=2.0).add_(level)
        return Features(self.last(x), coarse)


def _layer(module: nn.Module) -> ConvNorm:
    assert isinstance(module, ConvNorm)
    return module


def _blocks(level: nn.Module) -> list[Block]:
    return [block for block in level.children() if isinstance(block, Block)]
