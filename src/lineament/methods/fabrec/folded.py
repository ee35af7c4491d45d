"""The networks as prediction runs them: image to heatmaps in fewer and faster operations, with the same result.

Norms with fixed statistics are part of the convolutions before them; maps lie channels last, which pooling and
convolutions on a CPU are written for; a transposed convolution of stride 2 is an ordinary one of 2 x 2 pixels whose
channels are then laid out as pixels; the affine maps between code and first decoder map are one matrix.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from lineament.methods.fabrec.decoder import Decoder, InverseBlock
from lineament.methods.fabrec.encoder import LINEAR_GAIN, LINEAR_SIDE, BasicBlock, Encoder
from lineament.methods.fabrec.transfer import TransferLayers

# Images that a CPU computes at a time: the maps of more do not stay in its cache (256 px: 70 ms each, 110 ms by 64).
CACHED = 4


class FoldedNetworks(nn.Module):
    """Heatmaps of mean-free images by copies of the weights; the networks themselves stay as they are.

    Args:
        encoder: Its norms use their running statistics.
        decoder: The same; only the stages that landmarks are read from are copied.
        transfer: The landmark head.
        dtype: ``torch.bfloat16`` halves memory and is faster on hardware that computes in it; heatmaps come back in
            float32 in any case.
    """

    def __init__(
        self,
        encoder: Encoder,
        decoder: Decoder,
        transfer: TransferLayers,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        first = _normed(encoder.conv1, encoder.bn1)
        self.start = nn.Sequential(first, nn.ReLU(inplace=True), encoder.maxpool)
        blocks = [block for name in encoder.stages for block in getattr(encoder, name)]
        self.blocks = nn.Sequential(*[_FoldedBlock(block) for block in blocks])
        self.code = _linear(encoder.fc.weight.detach(), encoder.fc.bias.detach())
        self.linear = None
        if encoder.linear is not None:
            weight = LINEAR_GAIN * encoder.linear.weight.detach()
            self.linear = _linear(weight, encoder.linear.bias.detach())
        self.spread = _spread(decoder)
        stages = []
        for number in range(1, transfer.count + 1):
            block = cast(InverseBlock, cast(nn.Sequential, decoder.layer(number))[0])
            stages.append(nn.Sequential(_FoldedInverse(block), _copied(getattr(transfer, f"t{number}"))))
        self.stages = nn.Sequential(*stages)
        self.lin = _Doubling(transfer.lin.weight.detach())
        self.dtype = dtype
        self.to(dtype=dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.requires_grad_(False).eval()

    def forward(self, images: Tensor) -> Tensor:
        """Heatmaps ``[B, K, h, h]``, float32, of mean-free images ``[B, 3, S, S]``."""
        if images.device.type == "cpu" and len(images) > CACHED:
            return torch.cat([self(part) for part in images.split(CACHED)])
        x = images.to(dtype=self.dtype, memory_format=torch.channels_last)
        last = self.blocks(self.start(x))
        if self.linear is None:
            code = self.code(last.mean((2, 3)))
        else:
            code = self.code(last.flatten(1)) + self.linear(F.adaptive_avg_pool2d(x, LINEAR_SIDE).flatten(1))
        x = F.relu(self.spread(code)).view(len(x), -1, 4, 4)
        x = self.stages(x.contiguous(memory_format=torch.channels_last))
        return self.lin(x).to(torch.float32, memory_format=torch.contiguous_format)


class _FoldedBlock(nn.Module):
    """A :class:`BasicBlock` of three convolutions at most."""

    def __init__(self, block: BasicBlock) -> None:
        super().__init__()
        self.conv1 = _normed(block.conv1, block.bn1)
        self.conv2 = _normed(block.conv2, block.bn2)
        self.side: nn.Module | None = None
        if block.downsample is not None:
            side, norm = cast(nn.Sequential, block.downsample)
            self.side = _normed(cast(nn.Conv2d, side), cast(nn.BatchNorm2d, norm))

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.side is None else self.side(x)
        x = self.conv2(self.conv1(x).relu_())
        return x.add_(shortcut).relu_()


class _Doubling(nn.Module):
    """A transposed convolution of 4 x 4, stride 2, padding 1, by an ordinary one around the corners of the pixels.

    The 2 x 2 pixels of the result around a corner depend on the 2 x 2 pixels of the map around it, on nothing else.

    Args:
        weight: ``[inputs, outputs, 4, 4]`` of the transposed convolution.
        bias: ``[outputs]``.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        super().__init__()
        inputs, outputs = weight.shape[:2]
        # Row a of the four reaches from the pixel before the corner (row a + 2 of the kernel) and after it (row a).
        taps = weight.view(inputs, outputs, 2, 2, 2, 2).flip(2, 4)  # [in, out, u, a, v, b]
        kernel = taps.permute(1, 3, 5, 0, 2, 4).reshape(4 * outputs, inputs, 2, 2)
        spread = None if bias is None else bias.repeat_interleave(4)
        self.conv = _convolution(kernel, spread, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.pixel_shuffle(self.conv(x), 2)[..., 1:-1, 1:-1]


class _FoldedInverse(nn.Module):
    """An :class:`InverseBlock`: one convolution begins both paths, one ends the main path."""

    def __init__(self, block: InverseBlock) -> None:
        super().__init__()
        side, norm = block.upsample
        main, main_shift = _fused(block.conv1, block.bn1)
        beside, side_shift = _fused(cast(nn.ConvTranspose2d, side), cast(nn.BatchNorm2d, norm))
        last, last_shift = _fused(block.conv2, block.bn2)
        # What the last norm adds is added with the shortcut.
        shifts = torch.cat([main_shift, side_shift + last_shift])
        self.both = _Doubling(torch.cat([main, beside], 1), shifts)
        self.conv2 = _convolution(last, None, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        main, shortcut = self.both(x).chunk(2, dim=1)
        return self.conv2(F.relu(main)).add_(shortcut).relu_()


def _fused(conv: nn.Conv2d | nn.ConvTranspose2d, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Weight and bias of a convolution and the norm with running statistics after it."""
    assert norm.running_mean is not None and norm.running_var is not None
    weight, bias = fuse_conv_bn_weights(
        conv.weight,
        conv.bias,
        norm.running_mean,
        norm.running_var,
        norm.eps,
        norm.weight,
        norm.bias,
        transpose=isinstance(conv, nn.ConvTranspose2d),
    )
    return weight.detach(), bias.detach()


def _normed(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Conv2d:
    return _convolution(*_fused(conv, norm), conv.stride[0], int(conv.padding[0]))


def _copied(conv: nn.Conv2d) -> nn.Conv2d:
    return _convolution(conv.weight.detach().clone(), None, conv.stride[0], int(conv.padding[0]))


def _convolution(weight: Tensor, bias: Tensor | None, stride: int, padding: int) -> nn.Conv2d:
    outputs, inputs, side, _ = weight.shape
    conv = nn.Conv2d(inputs, outputs, side, stride, padding, bias=bias is not None, device="meta")
    conv.weight = nn.Parameter(weight)
    if bias is not None:
        conv.bias = nn.Parameter(bias)
    return conv


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    linear = nn.Linear(weight.shape[1], weight.shape[0], device="meta")
    linear.weight, linear.bias = nn.Parameter(weight.clone()), nn.Parameter(bias.clone())
    return linear


def _spread(decoder: Decoder) -> nn.Linear:
    """Code to the 4 x 4 map x0 before its ReLU: two linear layers and a norm in one matrix."""
    fused, shift = _fused(decoder.conv1, decoder.bn1)
    kernel = fused.flatten(1).double()  # [inputs, outputs * 16]
    weight = kernel.T @ decoder.fc.weight.detach().double()
    bias = decoder.fc.bias.detach().double() @ kernel + shift.double().repeat_interleave(16)
    return _linear(weight.to(shift.dtype), bias.to(shift.dtype))
