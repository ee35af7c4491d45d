"""The networks as prediction runs them: norms folded, no pass over a map that another one can do besides.

Torch multiplies small maps of single images the slow way; on a CPU its library of convolutions is called by name, with
weights that are put in order once. Elsewhere (a GPU, a torch without that library) the folded backbone is used as it
is. All give the same but for rounding.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lineament.methods.landmarks.model import (
    FIRST_SCALE,
    LEAST_SCALE,
    Backbone,
    Block,
    ConvNorm,
    Features,
    Head,
    Prediction,
)
from lineament.nn.soft_argmax import edge_aligned
from lineament.ops.allocator import reuse_freed_blocks
from lineament.ops.tails import NEGLIGIBLE_WEIGHT

# Products with a matrix of three columns are slower than with one of sixteen.
COLUMNS = 16


def folded(backbone: Backbone, device: torch.device | None = None) -> nn.Module:
    """The fastest form of a backbone on a device; the norms of the one that is given are folded in place."""
    backbone.fold().to(device)
    on_cpu = next(backbone.parameters()).device.type == "cpu"
    if on_cpu:
        reuse_freed_blocks()
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
        # A name without its overload is looked up at each call.
        result: Tensor = torch.ops.mkldnn._convolution_pointwise.default(
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
        x.add_(self.context(coarse)[:, :, None, None])
        for up, level in zip(self.up, levels[-2::-1], strict=True):
            x = F.interpolate(up(x), scale_factor=2.0).add_(level)
        return Features(self.last(x), coarse)


class PackedHead(nn.Module):
    """A :class:`~lineament.methods.landmarks.model.Head` that gives points without their maps, and no gradients.

    Pixels stay in the order in which the backbone writes them, and one array holds scores, exponents and masses.

    Args:
        head: Whose weights it uses.
    """

    def __init__(self, head: Head) -> None:
        super().__init__()
        self.head = head
        self.places: dict[tuple[int, int], Tensor] = {}

    def _places(self, height: int, width: int, like: Tensor) -> Tensor:
        """x, y, 1 and the square of the distance of every pixel: ``[h w, 16]``, further columns empty."""
        found = self.places.get((height, width))
        if found is None or found.device != like.device:
            x = edge_aligned(width, like).repeat(height)
            y = edge_aligned(height, like).repeat_interleave(width)
            found = like.new_zeros(height * width, COLUMNS)
            found[:, :4] = torch.stack([x, y, torch.ones_like(x), x.square() + y.square()], 1)
            self.places[height, width] = found
        return found

    @torch.no_grad()
    def forward(self, fine: Tensor, coarse: Tensor) -> Prediction:
        """As the head without gradients."""
        head, (height, width) = self.head, fine.shape[-2:]
        pixels = fine.permute(0, 2, 3, 1).flatten(1, 2)  # [B, h w, F]
        # A softmax does not change with the maps' biases.
        scores = torch.matmul(head.maps.weight.flatten(1), pixels.transpose(1, 2))  # [B, K, h w]
        mass = F.threshold(scores.softmax(-1), NEGLIGIBLE_WEIGHT, 0.0, inplace=True)
        sums = (mass.flatten(0, 1) @ self._places(height, width, mass)).unflatten(0, mass.shape[:2])
        # The softmax's own sum has other rounding, which the spread of a narrow map would show.
        sums.div_(sums[..., 2:3].clone())
        points = sums[..., :2]
        spread = (sums[..., 3] - torch.linalg.vecdot(points, points)).clamp_(min=1e-6).log_()
        around = torch.bmm(mass, pixels)  # [B, K, F]
        said = torch.linalg.vecdot(around[:, None], head.local)  # [B, 2, K]
        said += head.whole(coarse).unflatten(1, (2, -1))
        said.addcmul_(head.width, spread[:, None])
        scale = said[:, 0].clamp(max=4.0).exp_().mul_(FIRST_SCALE).add_(LEAST_SCALE)
        return Prediction(points, scale, said[:, 1], mass.new_empty(*mass.shape[:2], 0, 0))


def _layer(module: nn.Module) -> ConvNorm:
    assert isinstance(module, ConvNorm)
    return module


def _blocks(level: nn.Module) -> list[Block]:
    return [block for block in level.children() if isinstance(block, Block)]
